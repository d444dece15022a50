//! The wire before the guard: certificates, paths, sizes, deadlines, sockets.

use crate::answers::{answered, floats};
use crate::house::{self, request, samples};
use crate::provider::Provider;
use crate::sidecar::{PATIENCE, Sidecar, block_on, client_tls, entries, pki, refused};
use asepsis::clock::Now;
use asepsis::identity::{Authenticator, Identity, IdentityError, Presented, jwt};
use asepsis::telemetry::Statistics;
use asepsis::transport::Limits;
use asepsis::transport::client::{Client, Outcome, Target};
use asepsis::transport::door::{Door, Services};
use asepsis::transport::inference::Inference;
use bytes::Bytes;
use http_body_util::Full;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tower::Service;

fn good() -> asepsis::proto::ModelInferRequest {
    request("wdbc", &samples("wdbc").clean[0])
}

#[test]
fn a_caller_without_a_certificate_meets_a_tls_alert_and_is_only_counted() {
    let sidecar = Sidecar::start();
    block_on(async {
        let outcome = match Client::connect(&sidecar.target(), Some(client_tls(None))).await {
            Err(error) => error.to_string(),
            Ok(mut client) => match client.infer(good(), PATIENCE).await {
                Outcome::Transport(error) => error.to_string(),
                other => panic!("{other:?}"),
            },
        };
        assert!(outcome.contains("certificate"), "{outcome}");
    });
    let left = sidecar.stop();
    let entries = entries(left.path());
    assert!(entries.iter().all(|entry| entry["reason"] == "handshake_failed"), "{entries:?}");
}

#[test]
fn a_certificate_of_another_ca_is_refused_in_the_handshake() {
    let foreign = tempfile::TempDir::new().unwrap();
    asepsis::cli::certs::issue(foreign.path(), true, asepsis::clock::Now::read()).unwrap();
    let sidecar = Sidecar::start();
    let (certificate, key) = (foreign.path().join("client.pem"), foreign.path().join("client.key"));
    let tls = asepsis::transport::tls::client(&pki().join("ca.pem"), Some((&certificate, &key))).unwrap();
    block_on(async {
        let refused = match Client::connect(&sidecar.target(), Some(tls)).await {
            Err(_) => true,
            Ok(mut client) => matches!(client.infer(good(), PATIENCE).await, Outcome::Transport(_)),
        };
        assert!(refused);
    });
}

#[test]
fn what_is_not_tls_is_dropped() {
    let sidecar = Sidecar::start();
    let mut stream = TcpStream::connect(sidecar.grpc()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    // A TLS alert or a reset; never an HTTP/2 frame.
    drop(stream.read_to_end(&mut answer));
    assert!(answer.first().is_none_or(|byte| *byte == 0x15), "{answer:?}");
}

#[test]
fn a_message_beyond_the_limit_is_refused_by_name_of_the_limit_and_recorded() {
    let sidecar = Sidecar::start_with(|config| config.limits.message_bytes_max = 4096);
    block_on(async {
        let mut client = sidecar.client("client").await;
        let mut large = good();
        large.raw_input_contents[0] = vec![0; 8192].into();
        let refused = refused(&mut client, large).await;
        assert_eq!(
            (refused.status.as_str(), refused.reason.as_deref()),
            ("RESOURCE_EXHAUSTED", Some("too_large"))
        );
        assert!(refused.message.contains("limits.message_bytes_max"), "{}", refused.message);
        answered(&mut client, good()).await;
    });
    let left = sidecar.stop();
    let entries = entries(left.path());
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[0]["reason"], "too_large");
}

#[test]
fn a_deadline_that_has_passed_is_told_and_recorded() {
    let sidecar = Sidecar::start();
    block_on(async {
        let mut client = sidecar.client("client").await;
        let mut hurried = good();
        let choice = asepsis::proto::infer_parameter::ParameterChoice::Int64Param(1);
        let parameter = asepsis::proto::InferParameter { parameter_choice: Some(choice) };
        hurried.parameters.insert("timeout".into(), parameter);
        let refused = refused(&mut client, hurried).await;
        assert_eq!(refused.status, "DEADLINE_EXCEEDED");
    });
    let left = sidecar.stop();
    assert_eq!(entries(left.path())[0]["reason"], "deadline_exceeded");
}

#[test]
fn calls_beyond_the_limit_in_flight_are_refused_at_once() {
    let sidecar = Sidecar::start_with(|config| config.limits.in_flight_max = 0);
    block_on(async {
        let mut client = sidecar.client("client").await;
        let refused = refused(&mut client, good()).await;
        assert_eq!(
            (refused.status.as_str(), refused.reason.as_deref()),
            ("RESOURCE_EXHAUSTED", Some("overloaded"))
        );
    });
}

#[test]
fn a_unix_socket_serves_the_same_with_the_same_certificates() {
    let mut path = std::path::PathBuf::new();
    let _sidecar = Sidecar::start_with(|config| {
        path = config.audit.directory.with_file_name("grpc.sock");
        config.listen.unix = Some(path.clone());
    });
    block_on(async {
        let tls = client_tls(Some("client"));
        let mut client = Client::connect(&Target::Unix(path), Some(tls)).await.unwrap();
        assert_eq!(floats(&answered(&mut client, good()).await).len(), 2);
    });
}

#[test]
fn plaintext_callers_are_nobody_until_a_role_names_them() {
    let sidecar = Sidecar::start_with(|config| config.tls.plaintext = true);
    block_on(async {
        let mut client = Client::connect(&sidecar.target(), None).await.unwrap();
        let refused = refused(&mut client, good()).await;
        assert_eq!(refused.reason.as_deref(), Some("method_forbidden"));
    });
}

#[test]
fn a_handshake_that_never_ends_is_cut_off() {
    let sidecar = Sidecar::start_with(|config| config.limits.handshake_timeout_ms = 50);
    let mut stream = TcpStream::connect(sidecar.grpc()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut answer = [0; 1];
    assert_eq!(stream.read(&mut answer).unwrap_or(0), 0, "the server hangs up");
}

/// Refuses everybody, and counts how often it was asked.
struct Refuses(Arc<AtomicUsize>, IdentityError);

impl Authenticator for Refuses {
    fn authenticate(&self, _: &Presented<'_>) -> Result<Option<Identity>, IdentityError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Err(self.1.clone())
    }
}

#[test]
fn a_bad_credential_is_looked_at_once_a_call_whatever_is_called() {
    let infer = "/inference.GRPCInferenceService/ModelInfer";
    let stream = "/inference.GRPCInferenceService/ModelStreamInfer";
    let jwks = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(jwks.path(), Provider::new("k").jwks()).unwrap();
    let settings = jwt::Settings { jwks: jwks.path().display().to_string(), ..jwt::Settings::default() };
    let jwt = Arc::new(jwt::Jwt::new(settings, Now::read()).unwrap());
    for (path, content_type, error) in [
        (infer, "application/grpc", IdentityError::Invalid("the signature is not valid")),
        (infer, "application/grpc", IdentityError::UnknownKey),
        (stream, "application/grpc", IdentityError::Invalid("the signature is not valid")),
        (infer, "text/html", IdentityError::Invalid("the signature is not valid")),
        ("/no/method", "application/grpc", IdentityError::Invalid("the signature is not valid")),
    ] {
        let asked = Arc::new(AtomicUsize::new(0));
        let Ok(mut guard) = Arc::try_unwrap(house::guard()) else { panic!("somebody else has it") };
        guard.of_call = vec![Box::new(Refuses(Arc::clone(&asked), error))];
        guard.jwt = Some(Arc::clone(&jwt));
        let limits = Limits::default();
        let inference = Inference::new(Arc::new(guard), Arc::new(Statistics::default()), &limits);
        let services = Services::new(inference, &limits, false).unwrap();
        let mut door = Door::new(services, Arc::new(house::visitor()));
        let request = http::Request::post(path).header("content-type", content_type);
        let request = request.header("authorization", "Bearer token");
        let answer = block_on(door.call(request.body(Full::new(Bytes::new())).unwrap())).unwrap();
        assert_eq!(answer.headers()["grpc-status"], "16", "{path}: UNAUTHENTICATED");
        assert_eq!(asked.load(Ordering::Relaxed), 1, "{path}");
    }
}
