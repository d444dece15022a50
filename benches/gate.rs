//! How often does `asepsis bench` pass the same build, and how often does it fail one that is a quarter slower?
//!
//! Same build: two sidecars, each a new process for every run, asked for `digits`. A quarter slower: two servers over
//! the sidecar's own transport, mutual TLS and HTTP/2, of which one computes for a quarter of the other's median latency
//! longer before it answers. `cargo bench --bench gate`; GATE_SAME and GATE_SLOWER are how many runs (20 and 10),
//! GATE_OPTIONS the options of each, GATE_RECORD a file to which the blocks of every run go, a line each.
#![expect(
    unreachable_pub,
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a benchmark"
)]

#[path = "../tests/it/house.rs"]
mod house;
#[path = "../tests/it/sidecar.rs"]
mod sidecar;
#[path = "../tests/it/unary.rs"]
mod unary;

use serde_json::Value;
use sidecar::pki;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The build that is measured and that measures; GATE_BINARY names another.
fn binary() -> String {
    std::env::var("GATE_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_asepsis").to_owned())
}

/// Short blocks: harder than the defaults.
const OPTIONS: &str = "--repetitions 20 --block 100ms --warmup 300ms";

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// `asepsis bench`, its exit status and its result.
fn bench(target: &str, against: Option<&str>, asked: &[&str]) -> (Option<i32>, Value, String) {
    let directory = TempDir::new().unwrap();
    let out = directory.path().join("r.json");
    let options = std::env::var("GATE_OPTIONS").unwrap_or_else(|_| OPTIONS.to_owned());
    let mut command = Command::new(binary());
    command.args(["bench", "--target", target, "--out"]).arg(&out).args(asked);
    command.args(options.split_whitespace());
    command.arg("--ca").arg(pki().join("ca.pem"));
    command.arg("--cert").arg(pki().join("client.pem")).arg("--key").arg(pki().join("client.key"));
    if let Some(against) = against {
        command.args(["--against", against]);
    }
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let result = std::fs::read_to_string(&out).unwrap_or_else(|_| panic!("no result: {told}"));
    (output.status.code(), serde_json::from_str(&result).unwrap(), told)
}

/// A sidecar in a process of its own.
struct Process {
    child: Child,
    url: String,
    _directory: TempDir,
}

impl Process {
    fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("asepsis.toml");
        std::fs::write(&file, sidecar::config(directory.path()).to_toml()).unwrap();
        let mut command = Command::new(binary());
        command.args(["serve", "--config"]).arg(&file).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        let url = format!("https://{}", ready["grpc"].as_str().unwrap());
        Self { child, url, _directory: directory }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A server that computes for a while, then answers what the guard would answer.
fn start_echo(runtime: &tokio::runtime::Runtime, computes: Duration) -> String {
    unary::serve(runtime, pki(), move |_| {
        let begun = Instant::now();
        while begun.elapsed() < computes {
            std::hint::spin_loop();
        }
        unary::probabilities("echo".into(), vec![1, 2], vec![0; 8])
    })
}

/// Verdicts and ratios of one part.
struct Counted {
    part: &'static str,
    failed: usize,
    unsure: usize,
    ratios: Vec<f64>,
}

impl Counted {
    fn new(part: &'static str) -> Self {
        Self { part, failed: 0, unsure: 0, ratios: Vec::new() }
    }

    fn note(&mut self, (code, result, told): (Option<i32>, Value, String)) {
        let all = result["comparisons"].as_array().unwrap();
        let against: Vec<&Value> = all.iter().filter(|c| c["with"] == "against").collect();
        assert!(code == Some(0) || told.contains("times that of against"), "not a verdict: {told}");
        self.failed += usize::from(code != Some(0));
        self.unsure += usize::from(code == Some(0) && against.iter().any(|c| c["verdict"] == "unsure"));
        self.ratios.push(against[0]["ratio"]["estimate"].as_f64().unwrap());
        if let Ok(path) = std::env::var("GATE_RECORD") {
            let blocks = [&result["target"]["blocks"], &result["against"]["blocks"]];
            let line = serde_json::json!({"part": self.part, "code": code, "blocks": blocks});
            let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
            writeln!(file.unwrap(), "{line}").unwrap();
        }
    }

    fn tell(&mut self) {
        self.ratios.sort_by(f64::total_cmp);
        let Some(last) = self.ratios.len().checked_sub(1) else { return };
        let at = |share: usize| self.ratios[last * share / 100];
        println!(
            "{}: {} runs, {} failed, {} unsure; ratio of p50: median {:.3}, 1% {:.3}, 99% {:.3}",
            self.part,
            self.ratios.len(),
            self.failed,
            self.unsure,
            at(50),
            at(1),
            at(99)
        );
    }
}

fn main() {
    let digits = house::root().join("examples/demo/digits.npz").display().to_string();
    let mut same = Counted::new("the same build twice");
    for _ in 0..setting("GATE_SAME", 20) {
        let (new, old) = (Process::start(), Process::start());
        same.note(bench(&new.url, Some(&old.url), &["--model", "digits", "--data", &digits]));
    }
    same.tell();

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let asked = ["--model", "echo", "--input", "image:FP32:-1,1,28,28"];
    let computes = Duration::from_micros(40);
    let plain = start_echo(&runtime, computes);
    let mut slower = Counted::new("a quarter slower");
    let mut twice = Counted::new("the same server twice");
    for run in 0..setting("GATE_SLOWER", 10) {
        // A quarter of what it takes now: other work on the machine comes and goes.
        let (_, alone, _) = bench(&plain, None, &asked);
        let median = alone["target"]["latency_us"]["p50"].as_f64().unwrap();
        let slow = start_echo(&runtime, computes + Duration::from_secs_f64(0.25 * median / 1e6));
        slower.note(bench(&slow, Some(&plain), &asked));
        if run % 2 == 0 {
            let other = start_echo(&runtime, computes);
            twice.note(bench(&other, Some(&plain), &asked));
        }
    }
    slower.tell();
    twice.tell();
}
