//! What an idle connection costs: resident memory of the sidecar before and after so many mutual TLS connections,
//! each of which has made one call, is held open past its keepalive, and makes another one at the end.
//!
//! `cargo bench --bench idle`; needs `ulimit -n` of 200 more files than connections. `ASEPSIS_BENCH_CONNECTIONS`
//! (10,000); `ASEPSIS_BENCH_SIDECARS` names another binary. Figures stand in docs/SPECIFICATION.md.
#![expect(
    unreachable_pub,
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    reason = "a benchmark"
)]

#[path = "../tests/it/house.rs"]
mod house;
#[path = "request/load.rs"]
mod load;
#[path = "request/process.rs"]
mod process;

use load::Connection;
use prost::Message;
use rustix::process::{Resource, getrlimit};
use std::path::PathBuf;
use std::process::Child;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// Handshakes at once: the sidecar ends those that take too long.
const HANDSHAKES: usize = 32;
/// Longer than the sidecar's keepalive and its patience with it.
const HELD: Duration = Duration::from_secs(45);

fn main() {
    let count: usize =
        std::env::var("ASEPSIS_BENCH_CONNECTIONS").map_or(10_000, |count| count.parse().unwrap());
    let binary =
        std::env::var("ASEPSIS_BENCH_SIDECARS").map_or(env!("CARGO_BIN_EXE_asepsis").into(), PathBuf::from);
    // Each of both processes holds one of a connection.
    let files = u64::try_from(count + 200).unwrap();
    if let Some(open) = getrlimit(Resource::Nofile).current.filter(|open| *open < files) {
        eprintln!(
            "{count} connections need {files} open files, and {open} are allowed: `ulimit -n {files}` first"
        );
        std::process::exit(1);
    }
    let directory = tempfile::TempDir::new().unwrap();
    // One certificate may hold half of the connections.
    process::prepare(directory.path(), &format!("[limits]\nconnections_max = {}\n", 2 * count + 2));
    let tls = process::client_tls(directory.path());
    let (child, ready) = process::start(&binary, directory.path(), 0);
    let child = Ended(child);
    let grpc = ready["grpc"].as_str().unwrap().parse().unwrap();
    let message = house::request("wdbc", &house::samples("wdbc").clean[0]).encode_to_vec();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (before, after) = runtime.block_on(async {
        let mut first = Connection::open(grpc, tls.clone(), &message).await;
        for _ in 0..1_000 {
            first.ask().await;
        }
        let before = resident_kib(child.0.id());
        let (again, asked) = watch::channel(false);
        let (turns, mut held) = (Arc::new(Semaphore::new(HANDSHAKES)), tokio::task::JoinSet::new());
        for _ in 0..count {
            let turn = Arc::clone(&turns).acquire_owned().await.unwrap();
            let (tls, message, asked) = (tls.clone(), message.clone(), asked.clone());
            held.spawn(async move {
                let mut connection = Connection::open(grpc, tls, &message).await;
                connection.ask().await;
                drop(turn);
                connection.hold(asked).await;
                connection.ask().await;
            });
        }
        drop(turns.acquire_many(u32::try_from(HANDSHAKES).unwrap()).await.unwrap());
        tokio::time::sleep(HELD).await;
        let after = resident_kib(child.0.id());
        again.send_replace(true);
        while let Some(ended) = held.join_next().await {
            ended.expect("a connection was lost");
        }
        (before, after)
    });
    drop(child);
    println!("| idle connections | resident before, MiB | after, MiB | a connection, KiB |");
    println!("|---|---|---|---|");
    let each = (after - before) / count as f64;
    println!("| {count} | {:.1} | {:.1} | {each:.1} |", before / 1024.0, after / 1024.0);
}

/// A process that ends with its owner, whatever that comes from.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn resident_kib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    resident.trim().trim_end_matches(" kB").parse().unwrap()
}
