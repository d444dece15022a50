//! `asepsis bench`: how fast does a server answer, is it slower than another, or than it was, and may the build pass?
//!
//! It speaks the Open Inference Protocol and so measures any server of it. docs/BENCHMARKS.md says how to read it.

mod arrivals;
mod bare;
mod baseline;
mod chart;
mod inputs;
mod judge;
mod junit;
mod load;
mod machine;
mod markdown;
mod result;
mod rounds;
mod server;
mod settings;
mod statistics;
mod synthetic;
mod tally;
mod timer;
mod verdict;

use super::Failure;
use super::caller::Caller;
use crate::clock::Now;
use arrivals::Arrivals;
use bare::Anchor;
use inputs::{Ask, Requests, Wanted};
use load::Callers;
use machine::{Machine, Ticks};
use result::{Figure, Report};
use server::{Server, Url};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use synthetic::Distribution;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// The server to measure: https://HOST:PORT, HOST:PORT or unix:PATH (mutual TLS), http://HOST:PORT or
    /// http+unix:PATH (plaintext).
    #[arg(long, value_name = "URL")]
    target: Url,
    /// A server to compare it with, measured in turn with it: an older build, or another product.
    #[arg(long, value_name = "URL", conflicts_with = "baseline")]
    against: Option<Url>,
    /// A stored result to compare with; needs --against-bare, here and there.
    #[arg(long, value_name = "FILE", requires = "against_bare")]
    baseline: Option<PathBuf>,
    /// The model itself, run in this process in turn with the server: models/NAME/VERSION, or an ONNX file.
    #[arg(long, value_name = "DIR")]
    against_bare: Option<PathBuf>,
    /// Threads of a run of it.
    #[arg(long, default_value_t = 1, value_parser = settings::count, value_name = "N")]
    bare_threads: usize,
    /// ONNX Runtime, for --against-bare.
    #[arg(long, default_value = ".onnxruntime/libonnxruntime.so.1.31.1", value_name = "FILE")]
    library: PathBuf,

    /// The model's name.
    #[arg(long)]
    model: String,
    /// Its version; empty for the one in service.
    #[arg(long, default_value = "")]
    version: String,
    /// Rows of a request [default: as many as the model always has, or 1].
    #[arg(long, value_parser = settings::count, value_name = "N")]
    rows: Option<usize>,
    /// An input, in place of what the server says: NAME:DATATYPE:D1,D2,… with -1 for the rows. Once for each.
    #[arg(long = "input", value_name = "SPEC")]
    inputs: Vec<Wanted>,
    /// An npz file whose rows are sent in turn.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Its array, of a model with one input [default: of the input's name, else `clean` or `input`].
    #[arg(long, requires = "data", value_name = "NAME")]
    set: Option<String>,
    /// Without a file: uniform:LOW:HIGH or normal:MEAN:DEVIATION. Nobody knows what the model accepts: if the server
    /// refuses them, give --data.
    #[arg(long, default_value = "uniform:0:1", conflicts_with = "data", value_name = "DISTRIBUTION")]
    synthetic: Distribution,
    /// Of synthetic values, arrivals and the bootstrap.
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Connections.
    #[arg(long, default_value_t = 1, value_parser = settings::count, value_name = "N")]
    connections: usize,
    /// Calls under way at once, over all connections [default: one a connection; with --rate at most 100 on each].
    #[arg(long, value_parser = settings::count, value_name = "N")]
    concurrency: Option<usize>,
    /// Calls a second, whatever the server does: an open loop, in which latency counts from when a call was due.
    #[arg(long, value_parser = settings::positive, value_name = "PER_SECOND")]
    rate: Option<f64>,
    /// How calls of an open loop follow one another.
    #[arg(long, default_value = "poisson", requires = "rate")]
    arrivals: Arrivals,
    /// Before anything counts, on each server.
    #[arg(long, default_value = "2s", value_parser = settings::duration)]
    warmup: Duration,
    /// Calls of the warm-up at least.
    #[arg(long, default_value_t = 200, value_name = "N")]
    warmup_calls: u64,
    /// Blocks of each server; they are measured in turn.
    #[arg(long, default_value_t = 40, value_parser = settings::count, value_name = "N")]
    repetitions: usize,
    /// Length of a block.
    #[arg(long, default_value = "250ms", value_parser = settings::duration)]
    block: Duration,
    /// How long an answer may take.
    #[arg(long, default_value = "30s", value_parser = settings::duration)]
    timeout: Duration,
    /// The share of calls that may end without an answer.
    #[arg(long, default_value_t = 0.0, value_parser = settings::share, value_name = "SHARE")]
    max_errors: f64,

    /// The ratio to --against or --baseline that is borne [default: 1.10, or 1.30 for a baseline].
    #[arg(long, value_parser = settings::positive, value_name = "RATIO")]
    max_regression: Option<f64>,
    /// What it is held against: p50, p99, throughput [default: p50].
    #[arg(long, value_delimiter = ',', value_name = "FIGURES")]
    gate: Vec<Figure>,
    /// Of the intervals, two-sided.
    #[arg(long, default_value_t = 0.95, value_parser = settings::confidence)]
    confidence: f64,

    /// Where the result goes, as JSON.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Where the verdicts go, as JUnit XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// A summary in Markdown; what the file holds already is kept, as $GITHUB_STEP_SUMMARY wants it.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,

    #[command(flatten)]
    caller: Caller,
    /// A header of every call, `NAME: VALUE`; a value `@FILE` stands in that file, where no process list shows it.
    #[arg(long = "header", value_parser = settings::header, value_name = "HEADER")]
    headers: Vec<(String, String)>,
}

/// Measures, judges and tells.
///
/// # Errors
/// A server, the data or the baseline cannot be used, calls ended without an answer, or the target is slower.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let load = settings::load(args).map_err(Failure::Usage)?;
    let stored = args.baseline.as_deref().map(baseline::read).transpose().map_err(Failure::Configuration)?;
    // The event loop looks for answers more often than by default: an answer that lies there counts as latency.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().event_interval(7).build()?;
    let report = runtime.block_on(measure(args, load, stored.as_ref()))?;
    let text = serde_json::to_string_pretty(&report).map_err(|error| Failure::Other(error.to_string()))?;
    if let Some(path) = &args.out {
        crate::file::replace(path, &(text + "\n"), 0o644).map_err(|error| at(path, &error))?;
    }
    if let Some(path) = &args.junit {
        crate::file::replace(path, &junit::xml(&report), 0o644).map_err(|error| at(path, &error))?;
    }
    if let Some(path) = &args.markdown {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
        file.and_then(|mut file| file.write_all(markdown::summary(&report).as_bytes()))
            .map_err(|error| at(path, &error))?;
    }
    write!(out, "{}", markdown::told(&report))?;
    match judge::problems(&report).as_slice() {
        [] => Ok(()),
        problems => Err(Failure::Other(problems.join("\n"))),
    }
}

fn at(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Other(format!("{}: {error}", path.display()))
}

async fn measure(args: &Args, load: result::Load, stored: Option<&Report>) -> Result<Report, Failure> {
    let urls: Vec<&Url> = std::iter::once(&args.target).chain(&args.against).collect();
    let tls = if urls.iter().any(|url| url.is_tls) { Some(args.caller.tls()?) } else { None };
    let mut servers = Vec::with_capacity(urls.len());
    for url in urls {
        let tls = tls.clone().filter(|_| url.is_tls);
        let way = server::Way { tls, headers: &args.headers, timeout: args.timeout };
        servers.push(Server::open(url, &way, load.connections, (&args.model, &args.version)).await?);
    }
    let requests = requests(args, &servers)?;
    let framed: Arc<[_]> = requests.framed.into();
    for server in &mut servers {
        server.probe(&framed, args.max_errors).await?;
    }
    let mut anchor = match &args.against_bare {
        Some(path) => Some(Anchor::open(path, &args.library, args.bare_threads, requests.tensors)?),
        None => None,
    };
    let described = settings::described(args, load, requests.inputs, requests.source);
    if let (Some(stored), Some(anchor)) = (stored, &anchor) {
        let none = anchor.described(&tally::Tally::new().ok_or_else(no_histogram)?, Vec::new());
        baseline::compare(stored, &described, &none).map_err(Failure::Configuration)?;
    }
    let mut callers = Vec::with_capacity(servers.len());
    for server in &servers {
        callers.push(Callers::new(server.callers(described.load.concurrency)?, Arc::clone(&framed)));
    }
    let plan = settings::plan(args, &described);
    let (mut machine, ticks) = (Machine::read(), Ticks::read());
    let (sides, bare) =
        rounds::measure(&plan, &mut callers, anchor.as_mut(), |round| progress(round, plan.repetitions))
            .await?;
    progress(plan.repetitions, plan.repetitions);
    machine.steal_share = ticks.and_then(|before| Ticks::read()?.stolen_since(before));
    let bare = anchor.zip(bare).map(|(anchor, run)| anchor.described(&run.all, run.blocks));
    let mut sides = servers.iter().zip(&sides).map(|(server, measured)| server.described(measured));
    let target = sides.next().ok_or_else(|| Failure::Other("nothing was measured".into()))?;
    let against = sides.next();
    drop(sides);
    let made = jiff::Timestamp::try_from(Now::read().wall)
        .map_or_else(|_| String::new(), |made| made.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    Ok(judge::report(
        Report {
            schema: result::SCHEMA.to_owned(),
            made,
            asepsis: env!("CARGO_PKG_VERSION").to_owned(),
            machine,
            settings: described,
            target,
            against,
            bare,
            baseline: stored.map(|s| result::Baseline { made: s.made.clone(), cpu: s.machine.cpu.clone() }),
            comparisons: Vec::new(),
            warnings: Vec::new(),
            passed: false,
        },
        stored,
        &settings::rule(args),
    ))
}

fn no_histogram() -> Failure {
    Failure::Other("no histogram".into())
}

/// What is sent to all of them: as the first says what its model takes.
fn requests(args: &Args, servers: &[Server]) -> Result<Requests, Failure> {
    let ask = Ask { model: &args.model, version: &args.version, rows: args.rows };
    let wanted = match servers.first() {
        Some(target) if args.inputs.is_empty() => target.inputs().map_err(Failure::Other)?,
        Some(_) | None => args.inputs.clone(),
    };
    let made = match &args.data {
        Some(path) => Requests::of_file(&wanted, ask, path, args.set.as_deref()),
        None => Requests::synthetic(&wanted, ask, args.synthetic, args.seed),
    };
    made.map_err(Failure::Other)
}

/// A line that a person sees and no log keeps.
fn progress(round: usize, of: usize) {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        let end = if round == of { "\r\x1b[K".to_owned() } else { format!("\rround {} of {of} ", round + 1) };
        drop(stderr.write_all(end.as_bytes()).and_then(|()| stderr.flush()));
    }
}
