//! ModelStreamInfer: each message is a request of its own, with its own answer and its own entry.

use crate::answers::floats;
use crate::house::{request, samples};
use crate::probes::{gauge, until};
use crate::sidecar::{PATIENCE, Sidecar, block_on, client_tls, entries};
use crate::wire::{MODEL_STREAM_INFER, Wire, frame, framed, head, messages};
use asepsis::proto::{ModelInferRequest, ModelStreamInferResponse};
use asepsis::transport::client::Client;
use bytes::Bytes;
use futures_util::stream;
use prost::Message;
use serde_json::Value;
use tokio::sync::mpsc;
use tonic::{Code, Status, Streaming};

fn good(id: &str) -> ModelInferRequest {
    let mut good = request("wdbc", &samples("wdbc").clean[0]);
    id.clone_into(&mut good.id);
    good
}

fn changed(id: &str, change: impl FnOnce(&mut ModelInferRequest)) -> ModelInferRequest {
    let mut changed = good(id);
    change(&mut changed);
    changed
}

/// An open stream: what is put in at one end, and what comes out at the other.
struct Open {
    send: Option<mpsc::Sender<ModelInferRequest>>,
    answers: Streaming<ModelStreamInferResponse>,
}

impl Open {
    async fn on(client: &mut Client) -> Result<Self, Status> {
        let (send, receive) = mpsc::channel(16);
        let requests = stream::unfold(receive, async |mut receive: mpsc::Receiver<_>| {
            receive.recv().await.map(|request| (request, receive))
        });
        let answers = client.inner().model_stream_infer(requests).await?.into_inner();
        Ok(Self { send: Some(send), answers })
    }

    async fn send(&self, request: ModelInferRequest) {
        self.send.as_ref().unwrap().send(request).await.unwrap();
    }

    async fn ask(&mut self, request: ModelInferRequest) -> ModelStreamInferResponse {
        self.send(request).await;
        self.answers.message().await.unwrap().expect("an answer")
    }
}

fn of_each<'a>(entries: &'a [Value], key: &str) -> Vec<&'a str> {
    entries.iter().map(|entry| entry[key].as_str().unwrap()).collect()
}

#[test]
fn a_refused_message_is_an_error_in_its_answer_and_the_stream_goes_on() {
    let sidecar = Sidecar::start();
    block_on(async {
        let mut client = sidecar.client("client").await;
        let mut open = Open::on(&mut client).await.unwrap();
        let sent = [
            good("one"),
            changed("two", |r| r.inputs[0].shape = vec![1, 29]),
            changed("three", |r| r.model_name = "nope".into()),
            good("four"),
        ];
        // All at once: the answers come in the order of the messages.
        for request in &sent {
            open.send(request.clone()).await;
        }
        open.send = None;
        for (request, error) in sent.iter().zip(["", "inputs[0].shape[1]", "no such model", ""]) {
            let answer = open.answers.message().await.unwrap().unwrap();
            let response = answer.infer_response.unwrap();
            assert_eq!(response.id, request.id);
            assert!(answer.error_message.contains(error), "{}", answer.error_message);
            assert_eq!(answer.error_message.is_empty(), error.is_empty());
            assert_eq!(response.outputs.is_empty(), !error.is_empty(), "{}", request.id);
        }
        assert_eq!(open.answers.message().await.unwrap(), None);
    });
    let left = sidecar.stop();
    let entries = entries(left.path());
    assert_eq!(of_each(&entries, "client_id"), ["one", "two", "three", "four"]);
    assert_eq!(of_each(&entries, "reason"), ["clean", "bad_shape", "model_forbidden", "clean"]);
    assert!(entries.iter().all(|entry| entry["rpc"] == "ModelStreamInfer"));
    let ids: std::collections::BTreeSet<_> = of_each(&entries, "request_id").into_iter().collect();
    assert_eq!(ids.len(), 4);
}

#[test]
fn a_stream_answers_bit_by_bit_what_a_single_call_answers() {
    let sidecar = Sidecar::start();
    block_on(async {
        let mut client = sidecar.client("client").await;
        let alone = crate::answers::answered(&mut client, good("")).await;
        let mut open = Open::on(&mut client).await.unwrap();
        let answer = open.ask(good("")).await.infer_response.unwrap();
        assert_eq!(floats(&answer), floats(&alone));
    });
}

#[test]
fn a_role_that_may_not_stream_is_refused_once_and_by_name() {
    let sidecar = Sidecar::start();
    block_on(async {
        let mut client = sidecar.client("client-Radiologists_AI_Read").await;
        let refused = Open::on(&mut client).await.map(drop).unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
    });
    let left = sidecar.stop();
    assert_eq!(of_each(&entries(left.path()), "reason"), ["method_forbidden"]);
}

#[test]
fn a_stream_and_its_message_hold_a_place_each_and_give_it_back() {
    let sidecar = Sidecar::start_with(|config| config.limits.in_flight_max = 4);
    block_on(async {
        let mut client = sidecar.client("client").await;
        let mut open = Open::on(&mut client).await.unwrap();
        for id in ["a", "b"] {
            assert_eq!(open.ask(good(id)).await.error_message, "");
            crate::answers::answered(&mut client, good("between")).await;
        }
        // With a second stream there is no place left for any message: it is refused, and the stream goes on.
        let mut second = Open::on(&mut client).await.unwrap();
        assert!(open.ask(good("c")).await.error_message.contains("in flight"));
        let third = Open::on(&mut client).await.map(drop).unwrap_err();
        assert_eq!(third.code(), Code::ResourceExhausted);
        second.send = None;
        assert_eq!(second.answers.message().await.unwrap(), None);
        drop(second);
        until("the place of the second is free", || gauge(sidecar.admin(), "asepsis_in_flight") < 2.0);
        assert_eq!(open.ask(good("d")).await.error_message, "");
    });
}

#[test]
fn a_stream_that_waits_for_its_next_message_keeps_no_other_caller_from_sending_one() {
    let sidecar = Sidecar::start_with(|config| {
        config.limits.message_bytes_max = 1 << 20;
        config.limits.received_bytes_max = 4 << 20;
    });
    block_on(async {
        let message = good("").encode_to_vec();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, &message).unwrap();
        let compressed = frame(1, &encoder.finish().unwrap());
        let wire = Wire::connect(sidecar.grpc(), "client").await;
        let mut waiting = Vec::new();
        for _ in 0..8 {
            let mut send = wire.send.clone().ready().await.unwrap();
            let mut head = head(MODEL_STREAM_INFER);
            head.headers_mut().insert("grpc-encoding", http::HeaderValue::from_static("gzip"));
            let (response, mut body) = send.send_request(head, false).unwrap();
            body.send_data(compressed.clone(), false).unwrap();
            let mut answers = response.await.unwrap().into_body();
            let answer = answers.data().await.expect("an answer").unwrap();
            let answer = ModelStreamInferResponse::decode(&messages(&answer)[0][..]).unwrap();
            assert_eq!(answer.error_message, "");
            waiting.push((body, answers));
        }
    });
}

/// Sends raw bytes as the body of a stream; the answers and the final status.
fn raw(sidecar: &Sidecar, change: fn(&mut http::HeaderMap), body: Bytes) -> (usize, Status, String) {
    block_on(async {
        let mut wire = Wire::connect(sidecar.grpc(), "client").await;
        let mut head = head(MODEL_STREAM_INFER);
        change(head.headers_mut());
        let ended = wire.call(head, Some(body)).await.unwrap();
        let reason = ended.reason();
        (messages(&ended.body).len(), ended.status, reason)
    })
}

#[test]
fn what_cannot_be_decoded_ends_the_stream_and_is_recorded_as_the_request_it_was_meant_to_be() {
    let sidecar = Sidecar::start_with(|config| config.limits.message_bytes_max = 4096);
    let good = frame(0, &good("first").encode_to_vec());
    let cases: [(Bytes, Code, &str); 4] = [
        (frame(0, b"\xff\xff\xff"), Code::InvalidArgument, "malformed"),
        (framed(0, 4097, b""), Code::ResourceExhausted, "too_large"),
        (frame(7, b""), Code::InvalidArgument, "malformed"),
        (Bytes::from_static(b"\0\0\0\0\x09half"), Code::InvalidArgument, "malformed"),
    ];
    for (bad, code, reason) in &cases {
        let (answers, status, told) = raw(&sidecar, |_| {}, [&good[..], bad].concat().into());
        assert_eq!((answers, status.code(), told.as_str()), (1, *code, *reason));
        assert!(*reason != "too_large" || status.message().contains("4096"), "{}", status.message());
    }
    let left = sidecar.stop();
    let wanted: Vec<&str> = cases.iter().flat_map(|(_, _, reason)| ["clean", reason]).collect();
    assert_eq!(of_each(&entries(left.path()), "reason"), wanted);
}

#[test]
fn a_stream_that_is_refused_before_its_first_message_is_recorded_once() {
    let sidecar = Sidecar::start();
    let body = frame(0, &good("").encode_to_vec());
    let compressed = |headers: &mut http::HeaderMap| {
        headers.insert("grpc-encoding", http::HeaderValue::from_static("br"));
    };
    let (_, status, reason) = raw(&sidecar, compressed, body.clone());
    assert_eq!((status.code(), reason.as_str()), (Code::Unimplemented, "unsupported"));
    let untyped = |headers: &mut http::HeaderMap| {
        headers.remove("content-type");
    };
    let (_, status, reason) = raw(&sidecar, untyped, body);
    assert_eq!((status.code(), reason.as_str()), (Code::InvalidArgument, "malformed"));
    let left = sidecar.stop();
    assert_eq!(of_each(&entries(left.path()), "reason"), ["unsupported", "malformed"]);
}

#[test]
fn a_silent_stream_is_ended_and_a_slow_message_as_well() {
    let sidecar = Sidecar::start_with(|config| config.limits.stream_idle_ms = 1_000);
    block_on(async {
        let mut client = sidecar.client("client").await;
        let mut open = Open::on(&mut client).await.unwrap();
        assert_eq!(open.ask(good("")).await.error_message, "");
        let ended = open.answers.message().await.unwrap_err();
        assert_eq!(ended.code(), Code::DeadlineExceeded);
        // Half a message, and never the rest.
        let wire = Wire::connect(sidecar.grpc(), "client").await;
        let mut send = wire.send.clone().ready().await.unwrap();
        let (response, mut body) = send.send_request(head(MODEL_STREAM_INFER), false).unwrap();
        body.send_data(framed(0, 1000, b"half"), false).unwrap();
        let ended = crate::wire::ended(response).await.unwrap();
        assert_eq!(ended.status.code(), Code::DeadlineExceeded);
        crate::answers::answered(&mut client, good("")).await;
    });
    let left = sidecar.stop();
    assert_eq!(of_each(&entries(left.path()), "reason"), ["clean", "clean"]);
}

#[test]
fn a_caller_that_leaves_a_stream_leaves_no_entry_of_a_request_it_never_made() {
    let sidecar = Sidecar::start();
    block_on(async {
        for _ in 0..5 {
            // Once with a reset, once with the connection, each time between two messages.
            let mut client = sidecar.client("client").await;
            let mut open = Open::on(&mut client).await.unwrap();
            open.ask(good("")).await;
            drop(open);
            let wire = Wire::connect(sidecar.grpc(), "client").await;
            let mut send = wire.send.clone().ready().await.unwrap();
            let (response, mut body) = send.send_request(head(MODEL_STREAM_INFER), false).unwrap();
            body.send_data(frame(0, &good("").encode_to_vec()), false).unwrap();
            let mut answers = response.await.unwrap().into_body();
            answers.data().await.unwrap().unwrap();
            wire.connection.abort();
        }
    });
    let left = sidecar.stop();
    assert_eq!(of_each(&entries(left.path()), "reason"), ["clean"; 10]);
}

#[test]
fn a_drain_ends_a_stream_with_unavailable_after_what_was_asked_is_answered() {
    let sidecar = Sidecar::start();
    let target = sidecar.target();
    let (opened, ready) = std::sync::mpsc::channel();
    let caller = std::thread::spawn(move || {
        block_on(async {
            let mut client = Client::connect(&target, Some(client_tls(Some("client")))).await.unwrap();
            let mut open = Open::on(&mut client).await.unwrap();
            open.ask(good("")).await;
            opened.send(()).unwrap();
            let mut answers = 1;
            // Asks on until it is told to stop: whatever was answered must be on record.
            loop {
                if let Some(send) = &open.send {
                    drop(send.try_send(good("")));
                }
                match open.answers.message().await {
                    Ok(Some(answer)) => {
                        assert_eq!(answer.error_message, "");
                        answers += 1;
                    }
                    Ok(None) => panic!("ended without a word"),
                    Err(status) => return (answers, status),
                }
                if answers == 20 {
                    // From here on silent, and told of the drain all the same.
                    open.send(good("last")).await;
                    assert_eq!(open.answers.message().await.unwrap().unwrap().error_message, "");
                    return (21, open.answers.message().await.unwrap_err());
                }
            }
        })
    });
    ready.recv_timeout(PATIENCE).unwrap();
    let left = sidecar.stop();
    let (answers, status) = caller.join().unwrap();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_eq!(of_each(&entries(left.path()), "action"), vec!["allowed"; answers]);
}

#[test]
fn a_message_is_held_to_the_policy_of_its_moment_and_not_of_its_streams() {
    let policy = |model: &str| {
        format!(
            "[roles.R]\nmembers = [\"spiffe://asepsis.dev/client\"]\n\
             permissions = [{{ rpcs = [\"ModelStreamInfer\"], models = [\"{model}\"] }}]\n"
        )
    };
    let sidecar = Sidecar::start_under(&policy("wdbc"), |_| {});
    block_on(async {
        let mut client = sidecar.client("client").await;
        let mut open = Open::on(&mut client).await.unwrap();
        assert_eq!(open.ask(good("before")).await.error_message, "");
        std::fs::write(sidecar.directory().join("access.toml"), policy("digits")).unwrap();
        sidecar.app().reload();
        assert!(open.ask(good("after")).await.error_message.contains("no such model"));
    });
    let left = sidecar.stop();
    let requests: Vec<_> = entries(left.path()).into_iter().filter(|entry| entry["rpc"] != "").collect();
    assert_eq!(of_each(&requests, "reason"), ["clean", "model_forbidden"]);
}
