//! What becomes of callers when there are ten times as many requests as the machine can answer: a model of about
//! 18 ms, clinical callers who ask for half of what there is, and batch jobs that ask for all the rest.
//!
//! `cargo bench --bench overload`. Figures that are promised stand in docs/SPECIFICATION.md.
#![expect(
    unreachable_pub,
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    clippy::cast_precision_loss,
    reason = "a benchmark"
)]

#[path = "../tests/it/house.rs"]
mod house;
#[path = "../tests/it/onnx.rs"]
mod onnx;
#[path = "../tests/it/sidecar.rs"]
mod sidecar;
#[path = "../tests/it/slow.rs"]
mod slow;

use asepsis::transport::client::{Client, Outcome};
use sidecar::{PATIENCE, Sidecar};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Products of matrices, some 15 us each where nothing else runs.
const PRODUCTS: usize = 1150;
/// Connections of the batch jobs: one has 128 calls at once at the most (limits.streams_per_connection_max), and
/// calls that wait for their run would keep the others from being refused.
const CONNECTIONS: usize = 16;
const MEASURED: Duration = Duration::from_secs(10);
/// How long a caller waits for an answer.
const DEADLINE: Duration = Duration::from_secs(1);

const ACCESS: &str = r#"
[roles.Ward]
members = ["spiffe://asepsis.dev/role/Clinicians_AI_Query"]
permissions = [{ rpcs = ["ModelInfer"], models = ["slow"] }]
priority = "clinical"
[roles.Night]
members = ["spiffe://asepsis.dev/client"]
permissions = [{ rpcs = ["ModelInfer"], models = ["slow"] }]
priority = "batch"
"#;

#[derive(Default)]
struct Seen {
    sent: usize,
    answered: usize,
    refused: Vec<Duration>,
    late: usize,
}

/// Requests a second that closed loops of callers get answered.
async fn capacity(client: &Client) -> f64 {
    let started = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..4 {
        let mut client = client.clone();
        callers.spawn(async move {
            let mut count = 0_usize;
            while started.elapsed() < MEASURED / 2 {
                assert!(matches!(client.infer(slow::short(), PATIENCE).await, Outcome::Answer(_)));
                count += 1;
            }
            count
        });
    }
    let count: usize = callers.join_all().await.into_iter().sum();
    count as f64 / started.elapsed().as_secs_f64()
}

/// Sends `rate` requests a second, whatever becomes of them.
async fn send(clients: Vec<Client>, rate: f64) -> Seen {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let (started, mut calls) = (Instant::now(), JoinSet::new());
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    let mut sent = 0_usize;
    while started.elapsed() < MEASURED {
        tick.tick().await;
        while (sent as f64) < started.elapsed().as_secs_f64() * rate {
            sent += 1;
            let (mut client, seen) = (clients[sent % clients.len()].clone(), Arc::clone(&seen));
            calls.spawn(async move {
                let asked = Instant::now();
                let outcome = client.infer(slow::short(), DEADLINE).await;
                let mut seen = seen.lock().unwrap();
                match outcome {
                    Outcome::Answer(_) => seen.answered += 1,
                    Outcome::Refused(refused) if refused.reason.as_deref() == Some("overloaded") => {
                        seen.refused.push(asked.elapsed());
                    }
                    _ => seen.late += 1,
                }
            });
        }
    }
    while calls.join_next().await.is_some() {}
    let mut seen = std::mem::take(&mut *seen.lock().unwrap());
    seen.sent = sent;
    seen
}

fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

fn main() {
    let sidecar = Sidecar::start_with(|config| {
        slow::serve_products(config, PRODUCTS);
        std::fs::write(&config.access.policy, ACCESS).unwrap();
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut night = Vec::new();
        for _ in 0..CONNECTIONS {
            night.push(sidecar.client("client").await);
        }
        let ward = sidecar.client("client-Clinicians_AI_Query").await;
        let capacity = capacity(&ward).await;
        let before = resident_mib();
        let batch = tokio::spawn(send(night, capacity * 9.5));
        let clinical = tokio::spawn(send(vec![ward], capacity * 0.5));
        let (mut batch, clinical) = (batch.await.unwrap(), clinical.await.unwrap());
        let goodput = (batch.answered + clinical.answered) as f64 / MEASURED.as_secs_f64();
        batch.refused.sort();
        let p99 = batch.refused.get(batch.refused.len() * 99 / 100).copied().unwrap_or_default();
        println!("capacity {capacity:.0}/s; asked 10x of it; goodput {:.2} of capacity", goodput / capacity);
        println!(
            "clinical: {} of {} answered ({:.2}%), {} refused",
            clinical.answered,
            clinical.sent,
            100.0 * clinical.answered as f64 / clinical.sent as f64,
            clinical.refused.len()
        );
        println!(
            "batch: {} of {} answered, {} refused (p99 {:.1} ms), {} late",
            batch.answered,
            batch.sent,
            batch.refused.len(),
            p99.as_secs_f64() * 1e3,
            batch.late
        );
        println!("resident {before:.0} -> {:.0} MiB (clients included)", resident_mib());
    });
}
