//! A caller that makes the server work without asking anything: its connection ends, and others are answered.

use crate::answers::answered;
use crate::frames::{
    CONTINUATION, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS, RST_STREAM, WINDOW_UPDATE, call,
    fields, frame, goodbye, send_until_closed,
};
use crate::house::{request, samples};
use crate::probes::{gauge, until};
use crate::sidecar::{Sidecar, block_on, entries};
use crate::wire::{MODEL_INFER, Wire, framed, head};
use http::HeaderValue;
use serde_json::Value;

fn good() -> asepsis::proto::ModelInferRequest {
    request("wdbc", &samples("wdbc").clean[0])
}

/// Stops the sidecar after a last good answer; all entries but that one's.
fn survived(sidecar: Sidecar) -> Vec<Value> {
    block_on(async {
        let mut client = sidecar.client("client").await;
        answered(&mut client, good()).await;
    });
    let left = sidecar.stop();
    asepsis::audit::verify::verify(&left.path().join("audit")).unwrap();
    let mut entries = entries(left.path());
    let last = entries.iter().position(|entry| entry["action"] == "allowed").unwrap();
    entries.remove(last);
    assert!(entries.iter().all(|entry| entry["status"] != "INTERNAL"));
    entries
}

fn streams() -> impl Iterator<Item = u32> {
    (1..).step_by(2)
}

#[test]
fn rapid_resets_end_the_connection_and_each_call_that_came_in_is_one_entry() {
    let sidecar = Sidecar::start();
    let sent = 5_000;
    let pairs = streams().take(sent).flat_map(|stream| {
        let mut pair = frame(HEADERS, END_HEADERS, stream, &call(MODEL_INFER));
        pair.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        pair
    });
    let answer = block_on(send_until_closed(&sidecar, pairs.collect()));
    assert_eq!(goodbye(&answer), Some(ENHANCE_YOUR_CALM));
    let entries = survived(sidecar);
    assert!(entries.len() < sent);
    assert!(entries.iter().all(|entry| entry["action"] == "abandoned" && entry["reason"] == "hung_up"));
}

#[test]
fn a_server_made_to_reset_streams_itself_ends_the_connection() {
    let sidecar = Sidecar::start();
    // CVE-2025-8671: a WINDOW_UPDATE of zero is an error of the stream, which the server resets.
    let pairs = streams().take(2_000).flat_map(|stream| {
        let mut pair = frame(HEADERS, END_HEADERS, stream, &call(MODEL_INFER));
        pair.extend(frame(WINDOW_UPDATE, 0, stream, &[0; 4]));
        pair
    });
    let answer = block_on(send_until_closed(&sidecar, pairs.collect()));
    assert!(goodbye(&answer).is_some_and(|code| code != 0));
    assert!(survived(sidecar).len() < 2_000);
}

#[test]
fn headers_without_an_end_end_the_connection() {
    let sidecar = Sidecar::start();
    // CVE-2024-27316 and its kin: CONTINUATION for ever.
    let field = fields(&[("x-flood", &"x".repeat(100))]).repeat(140);
    let mut bytes = frame(HEADERS, END_STREAM, 1, &call(MODEL_INFER));
    for _ in 0..2_000 {
        bytes.extend(frame(CONTINUATION, 0, 1, &field));
    }
    let answer = block_on(send_until_closed(&sidecar, bytes));
    assert!(goodbye(&answer).is_some_and(|code| code != 0));
    assert!(survived(sidecar).is_empty());
}

#[test]
fn headers_beyond_the_limit_are_refused_and_the_connection_goes_on() {
    let sidecar = Sidecar::start();
    block_on(async {
        let mut wire = Wire::connect(sidecar.grpc(), "client").await;
        let mut large = head(MODEL_INFER);
        let value = HeaderValue::from_str(&"x".repeat(20 << 10)).unwrap();
        large.headers_mut().insert("x-large", value);
        let response = wire.send.send_request(large, true).unwrap().0.await;
        let refused = match response {
            Ok(response) => response.status() == http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Err(error) => error.is_reset(),
        };
        assert!(refused);
        let ended = wire.call(head(MODEL_INFER), None).await.unwrap();
        assert_eq!(ended.reason(), "malformed");
    });
    assert_eq!(survived(sidecar).len(), 1);
}

#[test]
fn a_fragment_in_a_path_does_not_pass_what_the_path_without_it_may_not() {
    let sidecar = Sidecar::start();
    // The HTTP library drops what follows `#` before anybody here sees it (compare CVE-2021-32779): door and
    // handler read the same path, so that the role that may not infer may not do it so either.
    block_on(async {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let stream = crate::wire::dial(sidecar.grpc(), "client-Security_Incident_Response").await;
        let (mut read, mut write) = tokio::io::split(stream);
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frame(4, 0, 0, &[]));
        for (stream, path) in streams().zip(["/inference.GRPCInferenceService/ModelInfer#x", "/x#ServerLive"])
        {
            bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &call(path)));
        }
        write.write_all(&bytes).await.unwrap();
        write.flush().await.unwrap();
        let mut answer = Vec::new();
        while crate::frames::parsed(&answer).iter().filter(|(kind, ..)| *kind == HEADERS).count() < 2 {
            assert_ne!(read.read_buf(&mut answer).await.unwrap(), 0);
        }
    });
    let mut reasons: Vec<_> = survived(sidecar).iter().map(|e| e["reason"].to_string()).collect();
    reasons.sort();
    assert_eq!(reasons, ["\"method_forbidden\"", "\"unsupported\""]);
}

#[test]
fn a_body_that_never_ends_is_cut_off_at_the_deadline_and_gives_its_place_back() {
    let sidecar = Sidecar::start_with(|config| {
        config.limits.request_timeout_ms = 1_000;
        config.limits.in_flight_max = 1;
    });
    block_on(async {
        let wire = Wire::connect(sidecar.grpc(), "client").await;
        for sent in [&b""[..], b"\0", b"\0\0\0\x10\0begun"] {
            let mut send = wire.send.clone().ready().await.unwrap();
            let (response, mut body) = send.send_request(head(MODEL_INFER), false).unwrap();
            body.send_data(sent.into(), false).unwrap();
            let ended = crate::wire::ended(response).await.unwrap();
            assert_eq!(ended.status.code(), tonic::Code::DeadlineExceeded);
            assert_eq!(ended.reason(), "deadline_exceeded");
        }
    });
    let entries = survived(sidecar);
    assert_eq!(entries.len(), 3);
    assert!(entries.iter().all(|e| e["reason"] == "deadline_exceeded" && e["action"] == "refused"));
}

#[test]
fn a_caller_that_hangs_up_while_it_sends_is_recorded_as_such_and_gives_its_place_back() {
    let sidecar = Sidecar::start_with(|config| config.limits.in_flight_max = 1);
    let admin = sidecar.admin();
    block_on(async {
        let resets = [h2::Reason::CANCEL, h2::Reason::INTERNAL_ERROR, h2::Reason::ENHANCE_YOUR_CALM];
        for reset in resets.into_iter().map(Some).chain([None]) {
            let wire = Wire::connect(sidecar.grpc(), "client").await;
            let mut send = wire.send.clone().ready().await.unwrap();
            let (_response, mut body) = send.send_request(head(MODEL_INFER), false).unwrap();
            body.send_data(framed(0, 1000, b"begun"), false).unwrap();
            until("the call is in flight", || gauge(admin, "asepsis_in_flight") > 0.0);
            match reset {
                Some(reason) => body.send_reset(reason),
                None => wire.connection.abort(),
            }
            until("its place is free", || gauge(admin, "asepsis_in_flight") < 1.0);
        }
    });
    let entries = survived(sidecar);
    let told: Vec<_> =
        entries.iter().map(|e| ["action", "reason"].map(|key| e[key].as_str().unwrap())).collect();
    assert_eq!(told, [["abandoned", "hung_up"]; 4]);
}

#[test]
fn a_caller_that_does_not_read_its_answers_holds_no_place() {
    let sidecar = Sidecar::start_with(|config| config.limits.in_flight_max = 1);
    block_on(async {
        use prost::Message;
        let stream = crate::wire::dial(sidecar.grpc(), "client").await;
        let mut builder = h2::client::Builder::new();
        let (send, connection) = builder.initial_window_size(0).handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let mut unread = Vec::new();
        let body = crate::wire::frame(0, &good().encode_to_vec());
        for _ in 0..8 {
            let mut send = send.clone().ready().await.unwrap();
            let (response, mut stream) = send.send_request(head(MODEL_INFER), false).unwrap();
            stream.send_data(body.clone(), true).unwrap();
            unread.push(response.await.unwrap());
        }
        let mut client = sidecar.client("client").await;
        answered(&mut client, good()).await;
    });
    assert_eq!(survived(sidecar).len(), 9);
}

#[test]
fn a_connection_on_which_nothing_is_said_is_ended_and_does_not_hold_up_a_shutdown() {
    let sidecar = Sidecar::start_with(|config| {
        config.limits.handshake_timeout_ms = 1_000;
        config.limits.drain_timeout_ms = 24 * 60 * 60 * 1000;
    });
    block_on(async {
        use tokio::io::AsyncReadExt;
        let mut silent = crate::wire::dial(sidecar.grpc(), "client").await;
        let mut said = Vec::new();
        // SETTINGS, and then the end; how it ends is of no matter.
        drop(silent.read_to_end(&mut said).await);
    });
    survived(sidecar);
}

#[test]
fn a_caller_that_announces_what_it_never_sends_does_not_shut_others_out() {
    let sidecar = Sidecar::start();
    block_on(async {
        let wire = Wire::connect(sidecar.grpc(), "client-Radiologists_AI_Read").await;
        let mut begun = Vec::new();
        // 80 bytes on the wire announce 1 GiB; the caller's share holds half of it.
        for _ in 0..16 {
            let mut send = wire.send.clone().ready().await.unwrap();
            let (response, mut body) = send.send_request(head(MODEL_INFER), false).unwrap();
            body.send_data(framed(0, 64 << 20, b""), false).unwrap();
            begun.push((response, body));
        }
        until("its share is taken", || gauge(sidecar.admin(), "asepsis_in_flight") >= 8.0);
        let mut client = sidecar.client("client").await;
        answered(&mut client, good()).await;
    });
}
