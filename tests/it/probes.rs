//! The admin port as a probe sees it: readiness, and metrics that say what was sent and nothing of who sent it.

use crate::answers::answered;
use crate::house::{request, samples};
use crate::sidecar::{PATIENCE, Sidecar, block_on, entries, refused};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

/// Status and body of a GET.
pub fn get(admin: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(admin).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Asks until it holds. Every round is a question to the server, so this waits for it and not for a clock.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "it never came to this: {what}");
        std::thread::yield_now();
    }
}

/// The value of a sample without labels.
pub fn gauge(admin: SocketAddr, name: &str) -> f64 {
    let (_, body) = get(admin, "/metrics");
    let value = body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

/// `asepsis_requests_total` by model, version, action and reason, without what is zero.
pub fn requests(metrics: &str) -> BTreeMap<[String; 4], u64> {
    let samples = metrics.lines().filter_map(|line| line.strip_prefix("asepsis_requests_total{"));
    let mut counted = BTreeMap::new();
    for sample in samples {
        let (labels, value) = sample.split_once("} ").unwrap();
        let label = |name: &str| {
            let at = labels.find(&format!("{name}=\"")).unwrap() + name.len() + 2;
            labels[at..].split('"').next().unwrap().to_owned()
        };
        counted.insert(["model", "version", "action", "reason"].map(label), value.parse().unwrap());
    }
    counted
}

/// The same from the audit log.
pub fn recorded(entries: &[serde_json::Value]) -> BTreeMap<[String; 4], u64> {
    let mut counted = BTreeMap::new();
    for entry in entries {
        let key = ["model", "version", "action", "reason"].map(|key| entry[key].as_str().unwrap().to_owned());
        *counted.entry(key).or_default() += 1;
    }
    counted
}

#[test]
fn metrics_count_what_the_audit_log_holds_and_name_no_caller() {
    let sidecar = Sidecar::start();
    let mut request_ids = Vec::new();
    block_on(async {
        let mut client = sidecar.client("client").await;
        let (wdbc, digits) = (samples("wdbc"), samples("digits"));
        for _ in 0..3 {
            let mut good = request("wdbc", &wdbc.clean[0]);
            good.id = "Jane Doe, born 1961".into();
            answered(&mut client, good).await;
        }
        request_ids.extend(refused(&mut client, request("digits", &digits.attacked[0])).await.request_id);
        request_ids
            .extend(refused(&mut client, request("nope-caller-word", &wdbc.clean[0])).await.request_id);
        let mut bad = request("wdbc", &wdbc.clean[0]);
        bad.inputs[0].name = "caller-word".into();
        request_ids.extend(refused(&mut client, bad).await.request_id);
        let mut incident = sidecar.client("client-Security_Incident_Response").await;
        request_ids.extend(refused(&mut incident, request("wdbc", &wdbc.clean[0])).await.request_id);
    });
    let admin = sidecar.admin();
    assert_eq!(get(admin, "/livez").0, 200);
    assert_eq!(get(admin, "/readyz").0, 200);
    let (status, metrics) = get(admin, "/metrics");
    assert_eq!(status, 200);
    assert_eq!(request_ids.len(), 4);
    let told = ["Jane", "spiffe", "asepsis.dev", "hmac", "caller-word", "Developers_Demo", "127.0.0.1"];
    for word in told.iter().copied().chain(request_ids.iter().map(String::as_str)) {
        assert!(!metrics.contains(word), "{word}");
    }
    let left = sidecar.stop();
    let counted = requests(&metrics);
    assert_eq!(counted, recorded(&entries(left.path())));
    let key = |words: [&str; 4]| words.map(str::to_owned);
    assert_eq!(counted[&key(["wdbc", "1", "allowed", "clean"])], 3);
    assert_eq!(counted[&key(["digits", "1", "withheld", "anomalous"])], 1);
    assert_eq!(counted[&key(["", "", "refused", "method_forbidden"])], 1);
    assert_eq!(counted.len(), 5);
}

#[test]
fn readiness_is_lost_with_the_last_model_and_comes_back_with_the_first() {
    use asepsis::proto::{RepositoryModelLoadRequest, RepositoryModelUnloadRequest};
    let sidecar = Sidecar::start();
    let admin = sidecar.admin();
    block_on(async {
        let mut client = sidecar.client("client").await;
        for model in ["wdbc", "digits", "pneumonia", "pneumonia-baseline"] {
            assert_eq!(get(admin, "/readyz").0, 200);
            let unload = RepositoryModelUnloadRequest { model_name: model.into(), ..Default::default() };
            client.inner().repository_model_unload(unload).await.unwrap();
        }
        let (status, body) = get(admin, "/readyz");
        assert!(status == 503 && body.contains("models: not ready"), "{body}");
        assert_eq!(get(admin, "/livez").0, 200);
        let load = RepositoryModelLoadRequest { model_name: "wdbc".into(), ..Default::default() };
        client.inner().repository_model_load(load).await.unwrap();
        assert_eq!(get(admin, "/readyz").0, 200);
    });
    let left = sidecar.stop();
    let entries = entries(left.path());
    // Whoever takes a model out of service is on record with the name of the model.
    let models: Vec<_> = entries.iter().map(|entry| entry["model"].as_str().unwrap()).collect();
    assert_eq!(models, ["wdbc", "digits", "pneumonia", "pneumonia-baseline", "wdbc"]);
}

#[test]
fn loading_what_is_not_there_is_refused_as_an_unknown_model_is() {
    use asepsis::proto::{RepositoryModelLoadRequest, RepositoryModelUnloadRequest};
    let sidecar = Sidecar::start();
    block_on(async {
        let mut client = sidecar.client("client").await;
        for name in ["nope", "", "../models/wdbc", "wdbc/1", "*"] {
            let load = RepositoryModelLoadRequest { model_name: name.into(), ..Default::default() };
            let status = client.inner().repository_model_load(load).await.unwrap_err();
            assert_eq!(status.code(), tonic::Code::PermissionDenied, "{name}");
            let unload = RepositoryModelUnloadRequest { model_name: name.into(), ..Default::default() };
            let status = client.inner().repository_model_unload(unload).await.unwrap_err();
            assert_eq!(status.code(), tonic::Code::PermissionDenied, "{name}");
        }
    });
    let left = sidecar.stop();
    let entries = entries(left.path());
    assert!(entries.len() == 10 && entries.iter().all(|entry| entry["reason"] == "model_forbidden"));
}
