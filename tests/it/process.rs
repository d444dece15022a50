//! The real binary in a process of its own, because only so can it be killed, and its memory and log be read.

use crate::answers::answered;
use crate::house::{request, samples};
use crate::probes::get;
use crate::sidecar::{PATIENCE, block_on, client_tls, config, entries};
use crate::wire::{MODEL_INFER, MODEL_STREAM_INFER, Wire, frame, head, target};
use asepsis::config::{Config, LogLevel};
use asepsis::proto::InferParameter;
use asepsis::proto::infer_parameter::ParameterChoice;
use asepsis::transport::client::{Client, Outcome};
use bytes::Bytes;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_asepsis");

/// `asepsis serve` as a child.
pub struct Process {
    child: Child,
    pub grpc: SocketAddr,
    pub admin: SocketAddr,
    directory: TempDir,
}

impl Process {
    pub fn start(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_in(TempDir::new().unwrap(), change)
    }

    pub fn start_in(directory: TempDir, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config(directory.path());
        change(&mut config);
        let file = directory.path().join("asepsis.toml");
        std::fs::write(&file, config.to_toml()).unwrap();
        let mut child = Command::new(BINARY)
            .args(["serve", "--config"])
            .arg(&file)
            .stdout(Stdio::piped())
            .stderr(File::create(directory.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|_| {
            panic!("not ready: {}", std::fs::read_to_string(directory.path().join("log")).unwrap())
        });
        let address = |key: &str| ready[key].as_str().unwrap().parse().unwrap();
        Self { child, grpc: address("grpc"), admin: address("admin"), directory }
    }

    pub async fn client(&self) -> Client {
        Client::connect(&target(self.grpc), Some(client_tls(Some("client")))).await.unwrap()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    pub fn entries(&self) -> Vec<Value> {
        entries(self.directory.path())
    }

    /// SIGTERM, and the exit status.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal("-TERM");
        self.child.wait().unwrap()
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// SIGKILL; the directory with all that is left.
    pub fn kill(mut self) -> TempDir {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::mem::replace(&mut self.directory, TempDir::new().unwrap())
    }

    /// The most memory that was ever resident, in KiB.
    pub fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn good() -> asepsis::proto::ModelInferRequest {
    request("wdbc", &samples("wdbc").clean[0])
}

/// Callers that ask without a pause, until their connection is gone; the request ids of their answers.
async fn load(address: SocketAddr, callers: usize, told: mpsc::Sender<()>) -> BTreeSet<String> {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..callers {
        let told = told.clone();
        tasks.spawn(async move {
            let mut client =
                Client::connect(&target(address), Some(client_tls(Some("client")))).await.unwrap();
            let mut ids = Vec::new();
            loop {
                match client.infer(good(), PATIENCE).await {
                    Outcome::Answer(response) => {
                        let id = response.parameters["asepsis_request_id"].parameter_choice.clone();
                        let Some(ParameterChoice::StringParam(id)) = id else { panic!("no id") };
                        ids.push(id);
                        told.send(()).ok();
                    }
                    Outcome::Transport(_) => return ids,
                    Outcome::Refused(refused) => {
                        assert_eq!(refused.status, "UNAVAILABLE", "{refused:?}");
                        return ids;
                    }
                }
            }
        });
    }
    let mut all = BTreeSet::new();
    while let Some(ids) = tasks.join_next().await {
        all.extend(ids.unwrap());
    }
    all
}

/// Starts a load in another thread and returns when this many answers have come.
fn loaded(address: SocketAddr, answers: usize) -> std::thread::JoinHandle<BTreeSet<String>> {
    let (told, heard) = mpsc::channel();
    let load = std::thread::spawn(move || block_on(load(address, 6, told)));
    for _ in 0..answers {
        heard.recv_timeout(PATIENCE).unwrap();
    }
    load
}

fn ids(directory: &Path) -> Vec<String> {
    entries(directory).iter().map(|entry| entry["request_id"].as_str().unwrap().to_owned()).collect()
}

fn verified(directory: &Path) {
    let audit = directory.join("audit");
    let told = Command::new(BINARY).args(["audit", "verify"]).arg(audit).output().unwrap();
    assert!(told.status.success(), "{told:?}");
}

#[test]
fn whatever_was_answered_is_on_record_when_the_process_is_killed() {
    let mut directory = TempDir::new().unwrap();
    let mut answered = BTreeSet::new();
    for _ in 0..3 {
        let process = Process::start_in(directory, |_| {});
        let load = loaded(process.grpc, 100);
        directory = process.kill();
        answered.extend(load.join().unwrap());
        verified(directory.path());
        let recorded: BTreeSet<String> = ids(directory.path()).into_iter().collect();
        let lost: Vec<_> = answered.difference(&recorded).collect();
        assert!(lost.is_empty(), "answered and not on record: {lost:?}");
    }
    assert!(answered.len() >= 300);
}

#[test]
fn a_terminated_process_answers_what_it_has_taken_and_ends_well() {
    let mut process = Process::start(|_| {});
    let load = loaded(process.grpc, 100);
    let status = process.terminate();
    assert_eq!(status.code(), Some(0), "{}", process.log());
    let answered = load.join().unwrap();
    let directory = process.directory.path();
    verified(directory);
    assert_eq!(ids(directory).len(), answered.len());
    assert!(entries(directory).iter().all(|entry| entry["action"] == "allowed"));
}

#[test]
fn the_most_talkative_log_holds_nothing_of_a_patient_and_no_credential() {
    let mut process = Process::start(|config| config.log.level = LogLevel::Trace);
    block_on(async {
        let mut client = process.client().await;
        let mut asked = good();
        asked.id = "Jane Doe born 1961".into();
        // A radius that no other number in the log is likely to be.
        let raw = asked.raw_input_contents[0].to_vec();
        asked.raw_input_contents[0] = [&12.345_678_f32.to_le_bytes()[..], &raw[4..]].concat().into();
        answered_or_refused(&mut client, asked.clone()).await;
        asked.inputs[0].name = "Jane-Doe-as-a-name".into();
        answered_or_refused(&mut client, asked.clone()).await;
        asked.model_name = "Jane-Doe-as-a-model".into();
        answered_or_refused(&mut client, asked).await;
        let mut named = good();
        named.parameters.insert("Jane-Doe-as-a-parameter".into(), InferParameter::default());
        answered_or_refused(&mut client, named).await;
        let mut wire = Wire::connect(process.grpc, "client").await;
        let mut secret = head(MODEL_INFER);
        secret.headers_mut().insert("authorization", "Bearer sesame-open".parse().unwrap());
        secret.headers_mut().insert("x-patient", "Jane Doe".parse().unwrap());
        wire.call(secret, Some(frame(0, b"\x0a\x08Jane Doe\xff"))).await.unwrap();
    });
    assert_eq!(process.terminate().code(), Some(0));
    let log = process.log();
    assert!(log.contains("model loaded") && log.contains("stopping"), "this is not the log: {log}");
    for secret in ["Jane", "Doe", "12.3456", "sesame"] {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret}");
    }
    // What a caller chose to call a parameter is not kept either.
    let kept = entries(process.directory.path());
    assert_eq!(kept.len(), 5);
    assert!(!serde_json::to_string(&kept).unwrap().contains("Jane"), "{kept:#?}");
}

async fn answered_or_refused(client: &mut Client, request: asepsis::proto::ModelInferRequest) {
    match client.infer(request, PATIENCE).await {
        Outcome::Answer(_) | Outcome::Refused(_) => {}
        Outcome::Transport(error) => panic!("{error}"),
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// What this body costs the process at its peak, in MiB, sent eight times at once.
fn cost_mib(path: &str, encoding: &'static str, body: &Bytes) -> u64 {
    let process = Process::start(|config| config.limits.message_bytes_max = 2 << 20);
    let before = process.peak_kib();
    block_on(async {
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let mut wire = Wire::connect(process.grpc, "client").await;
            let mut head = head(path);
            head.headers_mut().insert("grpc-encoding", encoding.parse().unwrap());
            let body = body.clone();
            calls.spawn(async move { wire.call(head, Some(body)).await.unwrap() });
        }
        while let Some(ended) = calls.join_next().await {
            let ended = ended.unwrap();
            assert_ne!(ended.status.code(), tonic::Code::Internal, "{ended:?}");
        }
        answered(&mut process.client().await, good()).await;
        assert_eq!(get(process.admin, "/livez").0, 200);
    });
    (process.peak_kib() - before) >> 10
}

#[test]
fn no_message_costs_many_times_the_limit_of_messages() {
    // The limit is 2 MiB: eight messages at once may cost eight of it, and as much again to decompress them.
    const COST_MIB: u64 = 64;
    let bomb = frame(1, &gzip(&vec![0; 100 << 20]));
    // Empty inputs, outputs and buffers: two bytes on the wire, a whole structure in memory.
    let many = |first: &[u8], element: &[u8]| {
        let message = [first, &element.repeat((2 << 20) / element.len() - 8)].concat();
        frame(1, &gzip(&message))
    };
    let mut wrong = Vec::new();
    for (name, path, body) in [
        ("a bomb", MODEL_INFER, bomb),
        ("inputs", MODEL_INFER, many(b"", b"\x2a\0")),
        ("outputs", MODEL_INFER, many(b"", b"\x32\0")),
        ("buffers", MODEL_INFER, many(b"", b"\x3a\0")),
        ("inputs of a stream", MODEL_STREAM_INFER, many(b"", b"\x2a\0")),
        // A group of a field that nobody knows: the decoder steps over it, and so must whoever counts.
        ("inputs behind a group", MODEL_INFER, many(b"\x7b\x7c", b"\x2a\0")),
    ] {
        let cost = cost_mib(path, "gzip", &body);
        if cost >= COST_MIB {
            wrong.push(format!("{name}: {} bytes cost {cost} MiB", body.len()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn sighup_reads_everything_anew_although_no_file_has_changed_and_ends_nothing() {
    let mut process = Process::start(|_| {});
    let reloaded = |process: &Process| {
        let entries = entries(process.directory.path());
        let of_reloads = entries.iter().filter(|entry| entry["reason"] == "reloaded");
        of_reloads.map(|entry| entry["detail"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    let all = BTreeSet::from(["source=access".to_owned(), "source=tls".to_owned()]);
    block_on(async {
        let mut client = process.client().await;
        for _ in 0..2 {
            answered(&mut client, good()).await;
            assert_eq!(reloaded(&process), BTreeSet::new());
        }
        process.signal("-HUP");
        // Each round asks the process; `block_on` ends it if that never comes.
        while reloaded(&process) != all {
            answered(&mut client, good()).await;
        }
        answered(&mut client, good()).await;
    });
    assert!(process.terminate().success());
}
