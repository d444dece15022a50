//! How long the sidecar takes to be ready, beside a process that does no more than it must: hash the library,
//! load it, open sessions of the same graphs, twins included, which were merged before. Whole processes in turn; then
//! what the sidecar holds in memory.
//!
//! `cargo bench --bench start`. Figures that are promised stand in docs/SPECIFICATION.md.
#![expect(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark"
)]

#[path = "../tests/it/house.rs"]
mod house;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const RUNS: usize = 15;
/// Makes this binary the bare process, of the graphs in a directory.
const BARE: &str = "ASEPSIS_BENCH_BARE";

fn main() {
    if let Ok(graphs) = std::env::var(BARE) {
        return bare(Path::new(&graphs));
    }
    let directory = tempfile::TempDir::new().unwrap();
    prepare(directory.path());
    let graphs = directory.path().join("graphs");
    let models = write_graphs(&graphs);
    let (mut bares, mut sidecars, mut resident_kib) = (Vec::new(), Vec::new(), 0);
    for _ in 0..RUNS {
        bares.push(start_bare(&graphs));
        let (took, resident) = start_sidecar(directory.path());
        sidecars.push(took);
        resident_kib = resident_kib.max(resident);
    }
    let (bare, sidecar) = (median(&mut bares), median(&mut sidecars));
    println!("| models | bare sessions and hash, ms | ready, ms | ratio | resident when ready, MiB |");
    println!("|---|---|---|---|---|");
    println!(
        "| {models} | {bare:.1} | {sidecar:.1} | {:.2} | {:.1} |",
        sidecar / bare,
        f64::from(resident_kib) / 1024.0
    );
}

/// Writes every graph that the sidecar runs for the models of the clone, and says how many models there are.
fn write_graphs(directory: &Path) -> usize {
    std::fs::create_dir(directory).unwrap();
    let mut models = 0;
    for entry in std::fs::read_dir(house::models()).unwrap() {
        let path = entry.unwrap().path();
        if path.join("1/contract.toml").exists() {
            let name = path.file_name().unwrap().to_str().unwrap();
            for (n, graph) in house::graphs(name).0.iter().enumerate() {
                std::fs::write(directory.join(format!("{name}-{n}.onnx")), graph).unwrap();
            }
            models += 1;
        }
    }
    models
}

/// No more sessions than the sidecar opens: one a core (it opens two for a model that runs inline).
fn bare(graphs: &Path) {
    asepsis::inference::ort::verify(&house::library()).unwrap();
    let runtime = asepsis::inference::ort::Runtime::load(&house::library()).unwrap();
    let mut open = Vec::new();
    for graph in std::fs::read_dir(graphs).unwrap() {
        let bytes = std::fs::read(graph.unwrap().path()).unwrap();
        for _ in 0..asepsis::app::cores() {
            open.push(runtime.open(&bytes, 1).unwrap());
        }
    }
    println!("ready");
}

fn start_bare(graphs: &Path) -> Duration {
    let started = Instant::now();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(BARE, graphs)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let took = started.elapsed();
    assert_eq!(line.trim(), "ready");
    assert!(child.wait().unwrap().success());
    took
}

fn start_sidecar(directory: &Path) -> (Duration, u32) {
    let started = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_asepsis"))
        .arg("serve")
        .arg("--config")
        .arg(directory.join("asepsis.toml"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let took = started.elapsed();
    assert!(line.contains("\"ready\""), "{line}");
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib = resident.trim().trim_end_matches(" kB").parse().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    (took, kib)
}

fn prepare(directory: &Path) {
    let pki = directory.join("pki");
    asepsis::cli::certs::issue(&pki, true, asepsis::clock::Now::read()).unwrap();
    let quoted = |path: &Path| format!("{:?}", path.display().to_string());
    let text = format!(
        "[listen]\ngrpc = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\
         [tls]\ncertificate = \"pki/server.pem\"\nkey = \"pki/server.key\"\nclient_ca = \"pki/ca.pem\"\n\
         [access]\npolicy = {}\n[models]\nrepository = {}\n[onnxruntime]\nlibrary = {}\n\
         [audit]\ndirectory = \"audit\"\n",
        quoted(&house::root().join("deploy/access.toml")),
        quoted(&house::models()),
        quoted(&house::library()),
    );
    std::fs::write(directory.join("asepsis.toml"), text).unwrap();
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e3
}
