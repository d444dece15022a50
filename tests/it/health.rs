//! What probes of the protocol are told: health of the server and of models, and reflection.

use crate::house::models;
use crate::lifecycle::copy;
use crate::sidecar::{Sidecar, block_on, entries};
use crate::wire::{Wire, channel, frame, head, messages};
use asepsis::proto::{RepositoryModelLoadRequest, RepositoryModelUnloadRequest};
use bytes::Bytes;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

const SERVICE: &str = "inference.GRPCInferenceService";

fn about(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.into() }
}

async fn check(client: &mut HealthClient<Channel>, service: &str) -> Result<ServingStatus, Status> {
    client.check(about(service)).await.map(|response| response.into_inner().status())
}

async fn next(watch: &mut Streaming<HealthCheckResponse>) -> Option<ServingStatus> {
    watch.message().await.unwrap().map(|response| response.status())
}

fn load() -> RepositoryModelLoadRequest {
    RepositoryModelLoadRequest { model_name: "wdbc".into(), ..Default::default() }
}

fn unload() -> RepositoryModelUnloadRequest {
    RepositoryModelUnloadRequest { model_name: "wdbc".into(), ..Default::default() }
}

#[test]
fn a_check_tells_what_this_caller_may_know_and_is_recorded_as_it_was_told() {
    let sidecar = Sidecar::start();
    block_on(async {
        let mut client = HealthClient::new(channel(&sidecar, "client-Radiologists_AI_Read").await);
        // The role may ask the imaging model and knows no other; health it may ask of the server alone.
        let mut unknown = Vec::new();
        for service in ["nope", "wdbc", "../wdbc", "inference", "grpc.health.v1.Health"] {
            let status = check(&mut client, service).await.unwrap_err();
            assert_eq!(status.code(), Code::NotFound, "{service}");
            unknown.push(status.message().to_owned());
        }
        assert!(unknown.iter().all(|message| *message == unknown[0]), "{unknown:?}");
        assert_eq!(check(&mut client, "").await.unwrap(), ServingStatus::Serving);
        assert_eq!(check(&mut client, SERVICE).await.unwrap(), ServingStatus::Serving);
        let mut developer = HealthClient::new(channel(&sidecar, "client").await);
        assert_eq!(check(&mut developer, "wdbc").await.unwrap(), ServingStatus::Serving);
    });
    let left = sidecar.stop();
    let told: Vec<_> = entries(left.path())
        .iter()
        .map(|e| ["action", "reason", "status"].map(|key| e[key].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(told.len(), 8);
    assert!(told[..5].iter().all(|told| *told == ["refused", "unknown_service", "NOT_FOUND"]), "{told:?}");
    assert!(told[5..].iter().all(|told| *told == ["allowed", "clean", "OK"]), "{told:?}");
}

#[test]
fn a_watch_of_a_model_follows_its_unloading_and_loading() {
    let sidecar = Sidecar::start();
    block_on(async {
        let mut client = HealthClient::new(channel(&sidecar, "client").await);
        let mut operator = sidecar.client("client").await;
        let mut watch = client.watch(about("wdbc")).await.unwrap().into_inner();
        let mut other = client.watch(about("digits")).await.unwrap().into_inner();
        assert_eq!(next(&mut watch).await, Some(ServingStatus::Serving));
        assert_eq!(next(&mut other).await, Some(ServingStatus::Serving));
        operator.inner().repository_model_unload(unload()).await.unwrap();
        assert_eq!(next(&mut watch).await, Some(ServingStatus::NotServing));
        assert_eq!(check(&mut client, "wdbc").await.unwrap(), ServingStatus::NotServing);
        operator.inner().repository_model_load(load()).await.unwrap();
        assert_eq!(next(&mut watch).await, Some(ServingStatus::Serving));
        // The watch of another model has nothing to tell meanwhile.
        let mut silent = std::pin::pin!(other.message());
        assert!(futures_util::poll!(&mut silent).is_pending());
    });
}

#[test]
fn a_watch_of_what_is_not_known_says_so_and_stays_open() {
    let sidecar = Sidecar::start();
    block_on(async {
        let mut client = HealthClient::new(channel(&sidecar, "client").await);
        let mut watch = client.watch(about("nope")).await.unwrap().into_inner();
        assert_eq!(next(&mut watch).await, Some(ServingStatus::ServiceUnknown));
        let mut silent = std::pin::pin!(watch.message());
        assert!(futures_util::poll!(&mut silent).is_pending());
    });
}

#[test]
fn a_watch_that_came_before_its_model_is_told_when_it_is_there() {
    let repository = tempfile::TempDir::new().unwrap();
    let add = |model: &str| copy(&models().join(model).join("1"), &repository.path().join(model).join("1"));
    // The access policy names these two, and one of them its baseline.
    add("wdbc");
    add("pneumonia");
    add("pneumonia-baseline");
    let sidecar = Sidecar::start_with(|config| repository.path().clone_into(&mut config.models.repository));
    block_on(async {
        let mut client = HealthClient::new(channel(&sidecar, "client").await);
        let mut watch = client.watch(about("digits")).await.unwrap().into_inner();
        assert_eq!(next(&mut watch).await, Some(ServingStatus::ServiceUnknown));
        add("digits");
        let mut operator = sidecar.client("client").await;
        let load = RepositoryModelLoadRequest { model_name: "digits".into(), ..Default::default() };
        operator.inner().repository_model_load(load).await.unwrap();
        assert_eq!(next(&mut watch).await, Some(ServingStatus::Serving));
    });
}

#[test]
fn every_watch_is_told_of_the_shutdown_and_ends() {
    let sidecar = Sidecar::start();
    let address = sidecar.grpc();
    let (watching, ready) = std::sync::mpsc::channel();
    let watcher = std::thread::spawn(move || {
        block_on(async {
            let mut wire = Wire::connect(address, "client").await;
            let path = "/grpc.health.v1.Health/Watch";
            // Protobuf of `service`: field 1, a string.
            let calls = ["", SERVICE, "wdbc"].map(|service| {
                let mut message = vec![0x0a, u8::try_from(service.len()).unwrap()];
                message.extend_from_slice(service.as_bytes());
                let (response, mut body) = wire.send.send_request(head(path), false).unwrap();
                body.send_data(frame(0, &message), true).unwrap();
                response
            });
            let mut open = Vec::new();
            for call in calls {
                let mut body = call.await.unwrap().into_body();
                assert_eq!(body.data().await.unwrap().unwrap(), frame(0, &[8, 1]), "serving");
                open.push(body);
            }
            watching.send(()).unwrap();
            for mut body in open {
                let mut rest = Vec::new();
                while let Some(data) = body.data().await {
                    rest.extend_from_slice(&data.unwrap());
                }
                assert_eq!(messages(&rest), [[8, 2]], "not serving, once");
                let trailers = body.trailers().await.unwrap().unwrap();
                assert_eq!(Status::from_header_map(&trailers).unwrap().code(), Code::Ok);
            }
        });
    });
    ready.recv_timeout(crate::sidecar::PATIENCE).unwrap();
    let left = sidecar.stop();
    watcher.join().unwrap();
    assert_eq!(entries(left.path()).len(), 3);
}

/// `ServerReflectionRequest { list_services: "*" }`: field 7, a string.
const LIST_SERVICES: &[u8] = &[0x3a, 1, b'*'];

const REFLECTION: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

#[test]
fn reflection_is_off_until_it_is_configured() {
    let sidecar = Sidecar::start();
    block_on(async {
        let mut wire = Wire::connect(sidecar.grpc(), "client").await;
        for path in REFLECTION {
            let ended = wire.call(head(path), Some(frame(0, LIST_SERVICES))).await.unwrap();
            assert_eq!((ended.status.code(), ended.reason().as_str()), (Code::Unimplemented, "unsupported"));
        }
    });
    let left = sidecar.stop();
    let entries = entries(left.path());
    assert_eq!(entries.len(), 2);
    assert!(entries.iter().all(|entry| entry["reason"] == "unsupported" && entry["action"] == "refused"));
}

#[test]
fn reflection_that_is_configured_tells_a_role_that_may_ask_it_and_no_other() {
    let sidecar = Sidecar::start_with(|config| config.listen.reflection = true);
    block_on(async {
        let mut wire = Wire::connect(sidecar.grpc(), "client").await;
        for path in REFLECTION {
            let ended = wire.call(head(path), Some(frame(0, LIST_SERVICES))).await.unwrap();
            assert_eq!(ended.status.code(), Code::Ok, "{ended:?}");
            let told = String::from_utf8_lossy(&ended.body).into_owned();
            assert!(told.contains(SERVICE) && told.contains("grpc.health.v1.Health"), "{told}");
            // What it cannot read ends its stream and nothing else.
            wire.call(head(path), Some(Bytes::from_static(b"\0\0\0\0\x02\xff\xff"))).await.unwrap();
        }
        let mut reader = Wire::connect(sidecar.grpc(), "client-Radiologists_AI_Read").await;
        let ended = reader.call(head(REFLECTION[0]), Some(frame(0, LIST_SERVICES))).await.unwrap();
        assert_eq!(ended.reason(), "method_forbidden");
    });
    let left = sidecar.stop();
    let entries = entries(left.path());
    assert_eq!(entries.len(), 5);
    assert_eq!(entries.iter().filter(|entry| entry["action"] == "allowed").count(), 4);
}
