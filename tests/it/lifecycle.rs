//! Models and the ledger over the life of a process.

use crate::answers::answered;
use crate::house::{models, request, samples};
use crate::sidecar::{Sidecar, block_on, config, entries, refused};
use asepsis::app::App;
use asepsis::decision::Override;
use asepsis::proto::{RepositoryModelLoadRequest, RepositoryModelUnloadRequest};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// A copy of the clone's repository, which a test may break.
pub fn repository() -> TempDir {
    let directory = TempDir::new().unwrap();
    for model in ["wdbc", "digits", "pneumonia", "pneumonia-baseline"] {
        copy(&models().join(model).join("1"), &directory.path().join(model).join("1"));
    }
    directory
}

fn start_error(change: impl FnOnce(&Path)) -> String {
    let (repository, directory) = (repository(), TempDir::new().unwrap());
    change(&repository.path().join("wdbc/1"));
    let mut config = config(directory.path());
    repository.path().clone_into(&mut config.models.repository);
    match App::start(&config) {
        Ok(_) => panic!("it started"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_model_that_changed_since_its_calibration_is_not_served() {
    let error = start_error(|wdbc| {
        let contract = fs::read_to_string(wdbc.join("contract.toml")).unwrap();
        fs::write(wdbc.join("contract.toml"), contract.replace("batch_max = 256", "batch_max = 128"))
            .unwrap();
    });
    assert!(error.contains("another contract") && error.contains("calibrate again"), "{error}");
    let error = start_error(|wdbc| fs::remove_file(wdbc.join("calibration.json")).unwrap());
    assert!(error.contains("calibration.json"), "{error}");
}

#[test]
fn a_model_that_is_no_model_is_not_served() {
    let error = start_error(|wdbc| {
        fs::write(wdbc.join("model.onnx"), b"\xff\xff").unwrap();
    });
    assert!(error.contains("wdbc/1"), "{error}");
    let error = start_error(|wdbc| fs::rename(wdbc, wdbc.with_file_name("2")).unwrap());
    assert!(error.contains("another model or version"), "{error}");
}

#[test]
fn a_policy_of_a_model_that_is_not_there_keeps_it_from_starting() {
    let directory = TempDir::new().unwrap();
    let mut config = config(directory.path());
    let strict = Override { alpha: Some(0.05), ..Override::default() };
    config.models.policy.insert("wdcb".into(), strict);
    config.models.policy.insert("wdbc".into(), strict);
    let Err(error) = App::start(&config) else { panic!("it started") };
    let error = error.to_string();
    assert!(
        error.contains("model wdcb: [models.policy] names it, and it is not in the repository"),
        "{error}"
    );
    assert!(!error.contains("wdbc:"), "{error}");
}

#[test]
fn another_library_than_the_pinned_one_is_not_opened() {
    let directory = TempDir::new().unwrap();
    let fake = directory.path().join("libonnxruntime.so");
    fs::write(&fake, b"not the library").unwrap();
    let error = asepsis::inference::ort::verify(&fake).unwrap_err().to_string();
    assert!(error.contains("SHA-256") && error.contains("fetch-onnxruntime"), "{error}");
    let error = asepsis::inference::ort::verify(&directory.path().join("absent")).unwrap_err().to_string();
    assert!(error.contains("fetch-onnxruntime"), "{error}");
}

#[test]
fn an_unloaded_model_is_not_there_until_it_is_loaded_again() {
    let sidecar = Sidecar::start();
    block_on(async {
        let mut client = sidecar.client("client").await;
        let good = request("wdbc", &samples("wdbc").clean[0]);
        let unload = RepositoryModelUnloadRequest { model_name: "wdbc".into(), ..Default::default() };
        client.inner().repository_model_unload(unload).await.unwrap();
        let refused = refused(&mut client, good.clone()).await;
        assert_eq!(refused.reason.as_deref(), Some("model_forbidden"));
        let ready = asepsis::proto::ModelReadyRequest { name: "wdbc".into(), ..Default::default() };
        assert!(!client.inner().model_ready(ready).await.unwrap().into_inner().ready);
        // KServe's clients put the name into the first field.
        let load = RepositoryModelLoadRequest { repository_name: "wdbc".into(), ..Default::default() };
        client.inner().repository_model_load(load).await.unwrap();
        answered(&mut client, good).await;
    });
}

#[test]
fn a_baseline_that_is_unloaded_keeps_no_other_model_from_being_loaded() {
    let sidecar = Sidecar::start();
    block_on(async {
        let mut client = sidecar.client("client").await;
        let load = |name: &str| RepositoryModelLoadRequest { model_name: name.into(), ..Default::default() };
        let model_name = "pneumonia-baseline".to_owned();
        let unload = RepositoryModelUnloadRequest { model_name, ..Default::default() };
        client.inner().repository_model_unload(unload).await.unwrap();
        client.inner().repository_model_load(load("wdbc")).await.unwrap();
        let refused = client.inner().repository_model_load(load("pneumonia")).await.unwrap_err();
        assert_eq!(
            refused.code(),
            tonic::Code::Internal,
            "it names a baseline that is not served: {refused}"
        );
        client.inner().repository_model_load(load("pneumonia-baseline")).await.unwrap();
        client.inner().repository_model_load(load("pneumonia")).await.unwrap();
    });
}

#[test]
fn a_model_sent_inline_is_refused() {
    let sidecar = Sidecar::start();
    block_on(async {
        let mut client = sidecar.client("client").await;
        let mut load = RepositoryModelLoadRequest { model_name: "wdbc".into(), ..Default::default() };
        load.parameters.insert("config".into(), asepsis::proto::ModelRepositoryParameter::default());
        let status = client.inner().repository_model_load(load).await.unwrap_err();
        assert!(status.message().contains("from disk alone"), "{status}");
    });
}

#[test]
fn a_restart_continues_the_chain_of_the_ledger() {
    let directory = TempDir::new().unwrap();
    for _ in 0..2 {
        let app = App::start(&config(directory.path())).unwrap();
        let address = app.addresses().grpc.unwrap();
        block_on(async {
            let target =
                asepsis::transport::client::Target::Tcp { host: "127.0.0.1".into(), port: address.port() };
            let tls = crate::sidecar::client_tls(Some("client"));
            let mut client = asepsis::transport::client::Client::connect(&target, Some(tls)).await.unwrap();
            answered(&mut client, request("wdbc", &samples("wdbc").clean[0])).await;
        });
        app.stop(std::future::pending());
    }
    let entries = entries(directory.path());
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[1]["prev"], entries[0]["hash"]);
    assert_eq!(asepsis::audit::verify::verify(&directory.path().join("audit")).unwrap().records, 2);
}
