//! What a guarded call costs beside the floor: the sidecar as it is shipped, with everything on, and an unchecked
//! server of the same model by the same transport. Processes of their own, block by block in turn, so that a noisy
//! machine disturbs both alike; one caller process, whose own time is in the latencies of both.
//!
//! `cargo bench --bench request`. Figures that are promised stand in docs/SPECIFICATION.md.
//! `ASEPSIS_BENCH_SIDECARS=A,B` compares binaries of the sidecar in place of the one just built;
//! `ASEPSIS_BENCH_TURNS` (40) is the number of blocks of each.
#![expect(
    unreachable_pub,
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a benchmark"
)]

#[path = "request/floor.rs"]
mod floor;
#[path = "../tests/it/house.rs"]
mod house;
#[path = "request/load.rs"]
mod load;
#[path = "request/process.rs"]
mod process;
#[path = "../tests/it/unary.rs"]
mod unary;

use asepsis::transport::tls::ClientTls;
use load::Connection;
use prost::Message;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// How long one side has its turn.
const BLOCK: Duration = Duration::from_millis(100);
/// Model, and connections at once.
const CASES: [(&str, usize); 4] = [("wdbc", 1), ("wdbc", 16), ("digits", 1), ("digits", 16)];

/// A server in a process of its own.
struct Server {
    name: String,
    child: Child,
    grpc: SocketAddr,
    /// Of a sidecar, its metrics; of the floor, its pipes.
    told: Told,
}

enum Told {
    Metrics(SocketAddr),
    Pipes(ChildStdin, BufReader<ChildStdout>),
}

/// What one side did in one case.
#[derive(Default)]
struct Measured {
    times: Vec<Duration>,
    /// Requests a second, of each block.
    rates: Vec<f64>,
    /// Processor time a request, of each block.
    cpu_us: Vec<f64>,
    /// Of all blocks.
    stages: BTreeMap<String, f64>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, floor, model, pki] = arguments.as_slice()
        && floor == "floor"
    {
        return floor::main(model, Path::new(pki));
    }
    let directory = tempfile::TempDir::new().unwrap();
    process::prepare(directory.path(), "");
    let tls = process::client_tls(directory.path());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let turns: usize = std::env::var("ASEPSIS_BENCH_TURNS").map_or(40, |turns| turns.parse().unwrap());
    let chosen = std::env::var("ASEPSIS_BENCH_SIDECARS").ok();
    let binaries: Vec<PathBuf> = match &chosen {
        Some(paths) => paths.split(',').map(PathBuf::from).collect(),
        None => vec![env!("CARGO_BIN_EXE_asepsis").into()],
    };
    let sidecars = binaries.iter().enumerate().map(|(n, path)| Server::sidecar(path, directory.path(), n));
    let mut servers: Vec<Server> = sidecars.collect();
    println!(
        "| model, connections | server | p50 us | p99 us | requests/s | CPU us a request | of which model |"
    );
    println!("|---|---|---|---|---|---|---|");
    let mut details = Vec::new();
    for (model, connections) in CASES {
        servers.insert(0, Server::floor(model, directory.path()));
        let message = house::request(model, &house::samples(model).clean[0]).encode_to_vec();
        let measured = runtime.block_on(measure(&mut servers, &tls, &message, connections, turns));
        report(&format!("{model}, {connections}"), &servers, measured, &mut details);
        if connections > 1 {
            runtime.block_on(under_load(&mut servers, &tls, &message, model, connections));
        }
        servers.remove(0);
    }
    println!("\nStages, us a request:\n{}", details.join("\n"));
}

/// Every server in its turn, each with its own connections.
async fn measure(
    servers: &mut [Server],
    tls: &ClientTls,
    message: &[u8],
    connections: usize,
    turns: usize,
) -> Vec<Measured> {
    let mut open = Vec::new();
    for server in servers.iter() {
        let connect = |_| Connection::open(server.grpc, tls.clone(), message);
        let mut connections = futures_util::future::join_all((0..connections).map(connect)).await;
        load::closed(&mut connections, BLOCK).await;
        open.push(connections);
    }
    let mut measured: Vec<Measured> = servers.iter().map(|_| Measured::default()).collect();
    for _ in 0..turns {
        for ((server, connections), measured) in servers.iter_mut().zip(&mut open).zip(&mut measured) {
            let (stages_before, cpu_before) = (server.stages(), server.cpu_us());
            let started = std::time::Instant::now();
            let times = load::closed(connections, BLOCK).await;
            let took = started.elapsed().as_secs_f64();
            let (cpu_after, stages_after) = (server.cpu_us(), server.stages());
            let count = times.len() as f64;
            measured.rates.push(count / took);
            measured.cpu_us.push((cpu_after - cpu_before) / count);
            for (stage, spent) in &stages_after {
                let before = stages_before.get(stage).copied().unwrap_or(0.0);
                *measured.stages.entry(stage.clone()).or_default() += spent - before;
            }
            measured.times.extend(times);
        }
    }
    measured
}

/// The p99 of each at 70% of the sidecar's capacity, which the floor gets as well.
async fn under_load(
    servers: &mut [Server],
    tls: &ClientTls,
    message: &[u8],
    model: &str,
    connections: usize,
) {
    let mut rate = f64::MAX;
    for server in servers.iter() {
        let connect = |_| Connection::open(server.grpc, tls.clone(), message);
        let mut open = futures_util::future::join_all((0..connections).map(connect)).await;
        let lasts = Duration::from_secs(1);
        rate = rate.min(0.7 * load::closed(&mut open, lasts).await.len() as f64);
    }
    let mut p99: Vec<Vec<f64>> = servers.iter().map(|_| Vec::new()).collect();
    for _ in 0..5 {
        for (server, p99) in servers.iter().zip(&mut p99) {
            let connect = |_| Connection::open(server.grpc, tls.clone(), message);
            let open = futures_util::future::join_all((0..connections).map(connect)).await;
            p99.push(quantile(&mut load::open(open, rate, Duration::from_secs(1)).await, 0.99));
        }
    }
    let told: Vec<String> =
        servers.iter().zip(&mut p99).map(|(s, p99)| format!("{} {:.0} us", s.name, median(p99))).collect();
    println!("| {model}, p99 at {rate:.0} requests/s | {} | | | | | |", told.join("; "));
}

fn report(case: &str, servers: &[Server], measured: Vec<Measured>, details: &mut Vec<String>) {
    for (server, mut measured) in servers.iter().zip(measured) {
        let count = measured.times.len() as f64;
        let (p50, p99) = (quantile(&mut measured.times, 0.5), quantile(&mut measured.times, 0.99));
        let (rate, cpu) = (median(&mut measured.rates), median(&mut measured.cpu_us));
        let infer = measured.stages.get("infer").map_or(0.0, |spent| spent / count);
        println!("| {case} | {} | {p50:.1} | {p99:.1} | {rate:.0} | {cpu:.1} | {infer:.1} |", server.name);
        let stages = measured.stages.iter().map(|(stage, spent)| format!("{stage} {:.2}", spent / count));
        details.push(format!("{case}, {}: {}", server.name, stages.collect::<Vec<_>>().join(", ")));
    }
}

impl Server {
    fn floor(model: &str, directory: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["floor", model])
            .arg(directory.join("pki"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let told = Told::Pipes(child.stdin.take().unwrap(), out);
        Self { name: "floor".to_owned(), child, grpc: line.trim().parse().unwrap(), told }
    }

    fn sidecar(binary: &Path, directory: &Path, n: usize) -> Self {
        let (child, ready) = process::start(binary, directory, n);
        let address = |key: &str| ready[key].as_str().unwrap().parse().unwrap();
        let name = format!("sidecar {n}");
        Self { name, child, grpc: address("grpc"), told: Told::Metrics(address("admin")) }
    }

    /// How long each stage took so far, in microseconds over all requests.
    fn stages(&mut self) -> BTreeMap<String, f64> {
        match &mut self.told {
            Told::Metrics(admin) => stages(*admin),
            Told::Pipes(pipe, out) => {
                writeln!(pipe).unwrap();
                let mut line = String::new();
                out.read_line(&mut line).unwrap();
                let (_, spent_ns) = line.trim().split_once(' ').unwrap();
                BTreeMap::from([("infer".to_owned(), spent_ns.parse::<f64>().unwrap() / 1e3)])
            }
        }
    }

    /// Processor time of all its threads so far, in microseconds.
    fn cpu_us(&self) -> f64 {
        cpu_us(self.child.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Processor time of all threads of a process that live, in microseconds.
fn cpu_us(pid: u32) -> f64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let spent_ns = tasks.map(|task| {
        let text = std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0.0)
    });
    spent_ns.sum::<f64>() / 1e3
}

/// How long each stage took, over all requests, in microseconds.
fn stages(admin: SocketAddr) -> BTreeMap<String, f64> {
    let mut stream = TcpStream::connect(admin).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let stage = |line: &str| {
        let rest = line.strip_prefix("asepsis_stage_duration_seconds_sum{stage=\"")?;
        let (stage, seconds) = rest.split_once("\"} ")?;
        Some((stage.to_owned(), seconds.parse::<f64>().ok()? * 1e6))
    };
    text.lines().filter_map(stage).collect()
}

fn quantile(times: &mut [Duration], q: f64) -> f64 {
    times.sort_unstable();
    times[((times.len() - 1) as f64 * q) as usize].as_secs_f64() * 1e6
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
