//! What no gRPC library sends: each is one call with one entry and a word that fits, and the next is answered.

use crate::answers::answered;
use crate::house::{request, samples};
use crate::sidecar::{Sidecar, block_on, entries};
use crate::wire::{Ended, MODEL_INFER, Wire, frame, framed, head};
use asepsis::proto::ModelInferRequest;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderValue, Method, Request, StatusCode};
use prost::Message;
use std::io::Write;

/// A change to a good call, and how it must end.
struct Case {
    name: &'static str,
    head: Request<()>,
    body: Option<Bytes>,
    http: StatusCode,
    status: tonic::Code,
    reason: &'static str,
}

fn good() -> ModelInferRequest {
    request("wdbc", &samples("wdbc").clean[0])
}

fn whole() -> Bytes {
    frame(0, &good().encode_to_vec())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn with(name: &'static str, value: &'static str) -> Request<()> {
    let mut head = head(MODEL_INFER);
    head.headers_mut().insert(name, HeaderValue::from_static(value));
    head
}

fn malformed(name: &'static str, head: Request<()>, body: Option<Bytes>) -> Case {
    let status = tonic::Code::InvalidArgument;
    Case { name, head, body, http: StatusCode::OK, status, reason: "malformed" }
}

fn unsupported(name: &'static str, head: Request<()>) -> Case {
    let (status, reason) = (tonic::Code::Unimplemented, "unsupported");
    Case { name, head, body: Some(whole()), http: StatusCode::OK, status, reason }
}

fn too_large(name: &'static str, head: Request<()>, body: Bytes) -> Case {
    let (status, reason) = (tonic::Code::ResourceExhausted, "too_large");
    Case { name, head, body: Some(body), http: StatusCode::OK, status, reason }
}

fn heads() -> Vec<Case> {
    let mut get = head(MODEL_INFER);
    *get.method_mut() = Method::GET;
    let mut untyped = head(MODEL_INFER);
    untyped.headers_mut().remove("content-type");
    let not_allowed = StatusCode::METHOD_NOT_ALLOWED;
    let wrong_type = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    let other_type = |name, value| Case {
        http: wrong_type,
        ..malformed(name, with("content-type", value), Some(whole()))
    };
    vec![
        Case { http: not_allowed, ..malformed("GET", get, None) },
        Case { http: wrong_type, ..malformed("no content type", untyped, Some(whole())) },
        other_type("JSON", "application/json"),
        other_type("gRPC-Web", "application/grpc-web+proto"),
        unsupported("a doubled slash", head("//inference.GRPCInferenceService/ModelInfer")),
        unsupported("a doubled inner slash", head("/inference.GRPCInferenceService//ModelInfer")),
        unsupported("an encoded slash", head("/inference.GRPCInferenceService%2FModelInfer")),
        unsupported("an encoded letter", head("/inference.GRPCInferenceService/Model%49nfer")),
        unsupported("a trailing slash", head("/inference.GRPCInferenceService/ModelInfer/")),
        unsupported("a query", head("/inference.GRPCInferenceService/ModelInfer?x=1")),
        unsupported("an empty query", head("/inference.GRPCInferenceService/ModelInfer?")),
        unsupported("a path with dots", head("/x/../inference.GRPCInferenceService/ModelInfer")),
        unsupported("another case", head("/inference.grpcinferenceservice/ModelInfer")),
        unsupported("the root", head("/")),
        unsupported("an unknown compression", with("grpc-encoding", "br")),
        unsupported("a compression that is switched off", with("grpc-encoding", "zstd")),
    ]
}

fn bodies() -> Vec<Case> {
    let sent = good().encode_to_vec();
    let plain = || head(MODEL_INFER);
    let gzipped = || with("grpc-encoding", "gzip");
    let bomb = frame(1, &gzip(&vec![0; 100 << 20]));
    assert!(bomb.len() < 128 << 10);
    let trailing: Bytes = [&frame(0, &sent)[..], b"trailing"].concat().into();
    let mut open_groups = vec![0x0b; 60_000];
    open_groups.extend(vec![0x0c; 60_000]);
    let mut not_utf8 = sent.clone();
    not_utf8[2] = 0xff;
    let length = u32::try_from(sent.len()).unwrap();
    vec![
        malformed("no body", plain(), None),
        malformed("an empty body", plain(), Some(Bytes::new())),
        malformed("half a prefix", plain(), Some(Bytes::from_static(b"\0\0\0"))),
        malformed("half a message", plain(), Some(framed(0, length, &sent[..20]))),
        malformed("a message shorter than its length", plain(), Some(framed(0, length + 1, &sent))),
        malformed("a message longer than its length", plain(), Some(framed(0, length - 1, &sent))),
        malformed("bytes after the message", plain(), Some(trailing)),
        malformed("no such flag", plain(), Some(frame(2, &sent))),
        malformed("every flag", plain(), Some(frame(255, &sent))),
        malformed("a flag without a compression", plain(), Some(frame(1, &sent))),
        malformed("a flag with identity", with("grpc-encoding", "identity"), Some(frame(1, &sent))),
        malformed("gzip that is none", gzipped(), Some(frame(1, &sent))),
        malformed("gzip cut short", gzipped(), Some(frame(1, &gzip(&sent)[..40]))),
        malformed("random bytes", plain(), Some(frame(0, b"\xff\xfe\xfd\xfc"))),
        malformed("a name that is not UTF-8", plain(), Some(frame(0, &not_utf8))),
        malformed("groups in groups", plain(), Some(frame(0, &open_groups))),
        too_large("a length of 4 GiB", plain(), framed(0, u32::MAX, b"x")),
        too_large("a length just beyond the limit", plain(), framed(0, LIMIT + 1, b"x")),
        too_large("a gzip bomb of 100 MiB", gzipped(), bomb),
    ]
}

const LIMIT: u32 = 200_000;

async fn call(wire: &mut Wire, case: &Case) -> Ended {
    let mut head = Request::builder().method(case.head.method()).uri(case.head.uri()).body(()).unwrap();
    *head.headers_mut() = case.head.headers().clone();
    let ended = wire.call(head, case.body.clone()).await;
    ended.unwrap_or_else(|error| panic!("{}: {error}", case.name))
}

#[test]
fn every_abuse_of_a_call_is_one_refusal_with_one_entry_and_the_next_call_is_answered() {
    let sidecar = Sidecar::start_with(|config| config.limits.message_bytes_max = LIMIT as usize);
    let cases: Vec<Case> = heads().into_iter().chain(bodies()).collect();
    block_on(async {
        let mut client = sidecar.client("client").await;
        let mut wire = Wire::connect(sidecar.grpc(), "client").await;
        let mut wrong = Vec::new();
        for case in &cases {
            let ended = call(&mut wire, case).await;
            let told = (ended.status.code(), ended.reason(), ended.http);
            if told != (case.status, case.reason.to_owned(), case.http) || !ended.body.is_empty() {
                wrong.push((case.name, told));
            }
            answered(&mut client, good()).await;
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    });
    let left = sidecar.stop();
    let entries = entries(left.path());
    assert_eq!(entries.len(), 2 * cases.len());
    for (pair, case) in entries.as_chunks::<2>().0.iter().zip(&cases) {
        assert_eq!(pair[0]["reason"], case.reason, "{}", case.name);
        assert_eq!(pair[0]["action"], "refused", "{}", case.name);
        assert_eq!(pair[1]["action"], "allowed", "{}", case.name);
    }
}

#[test]
fn a_compression_that_is_not_offered_is_refused_with_those_that_are() {
    let sidecar = Sidecar::start();
    block_on(async {
        let mut wire = Wire::connect(sidecar.grpc(), "client").await;
        let ended = wire.call(with("grpc-encoding", "br"), Some(whole())).await.unwrap();
        // gRPC compression specification: the client learns from it what it may use.
        let offered = ended.headers.get("grpc-accept-encoding").and_then(|value| value.to_str().ok());
        assert!(offered.is_some_and(|offered| offered.contains("gzip")), "{:?}", ended.headers);
    });
}

#[test]
fn gzip_within_the_limit_is_answered() {
    let sidecar = Sidecar::start_with(|config| config.limits.message_bytes_max = LIMIT as usize);
    block_on(async {
        let mut wire = Wire::connect(sidecar.grpc(), "client").await;
        for encoding in ["gzip", "identity"] {
            let body = match encoding {
                "gzip" => frame(1, &gzip(&good().encode_to_vec())),
                _ => frame(0, &good().encode_to_vec()),
            };
            let ended = wire.call(with("grpc-encoding", encoding), Some(body)).await.unwrap();
            assert_eq!(ended.status.code(), tonic::Code::Ok, "{encoding}: {ended:?}");
        }
    });
}

#[test]
fn a_timeout_that_is_none_and_odd_headers_do_not_keep_a_call_from_its_answer() {
    let sidecar = Sidecar::start();
    block_on(async {
        let mut wire = Wire::connect(sidecar.grpc(), "client").await;
        for (name, value) in [
            ("grpc-timeout", "soon"),
            ("grpc-timeout", "99999999H"),
            ("traceparent", "00-00000000000000000000000000000000-0000000000000000-00"),
            ("traceparent", "ff-xyz"),
            ("grpc-message-type", "x"),
        ] {
            let ended = wire.call(with(name, value), Some(whole())).await.unwrap();
            assert_eq!(ended.status.code(), tonic::Code::Ok, "{name}: {value}: {ended:?}");
        }
        let ended = wire.call(with("grpc-timeout", "0n"), Some(whole())).await.unwrap();
        assert_eq!(ended.reason(), "deadline_exceeded");
    });
}
