//! What does a result file hold? The schema is part of the interface: docs/bench.schema.json, and its version here.

use super::arrivals::Arrivals;
use super::machine::Machine;
use super::statistics::Interval;
use super::tally::Latencies;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Changes with the meaning of a field; a file of another is not read.
pub(super) const SCHEMA: &str = "asepsis.bench/1";

/// A run of `asepsis bench`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Report {
    /// `asepsis.bench/1`.
    pub schema: String,
    /// When it ended, RFC 3339.
    pub made: String,
    /// The version of the tool.
    pub asepsis: String,
    pub machine: Machine,
    pub settings: Settings,
    /// What is judged.
    pub target: Side,
    /// What it is compared with, block by block in turn.
    pub against: Option<Side>,
    /// The model in this process, in the same turns.
    pub bare: Option<Bare>,
    /// The stored result that it was compared with.
    pub baseline: Option<Baseline>,
    pub comparisons: Vec<Comparison>,
    /// What a reader should know before believing the figures.
    pub warnings: Vec<String>,
    /// Whether the exit status is 0.
    pub passed: bool,
}

/// What was measured, as far as it decides whether two runs can be compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub model: String,
    pub inputs: Vec<Input>,
    pub data: Source,
    pub load: Load,
    /// Whether calls went through TLS.
    pub tls: bool,
    /// Blocks of each side.
    pub repetitions: usize,
    pub block_ms: u64,
    pub warmup_ms: u64,
    pub timeout_ms: u64,
    /// Errors that are borne, as a share of all calls.
    pub max_errors: f64,
    /// Of the intervals.
    pub confidence: f64,
    /// Of arrivals, synthetic values and the bootstrap.
    pub seed: u64,
}

/// One tensor of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    pub name: String,
    /// As in `FP32`.
    pub datatype: String,
    /// With the rows of a request.
    pub shape: Vec<usize>,
}

/// Where the values of the requests are from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Source {
    /// `file`, or the distribution, as in `uniform:0:1`.
    pub kind: String,
    /// Different requests, sent in turn.
    pub requests: usize,
    /// SHA-256 over the raw contents of all of them.
    pub sha256: String,
}

/// How calls follow one another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Load {
    pub connections: usize,
    /// Calls under way at once, at most, over all connections.
    pub concurrency: usize,
    /// Of an open loop; `null` of a closed one.
    pub open: Option<Open>,
}

/// An open loop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Open {
    /// Calls a second.
    pub rate: f64,
    pub arrivals: Arrivals,
}

/// What came of the calls of one server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Side {
    pub url: String,
    /// As in `asepsis 0.1.0`, if the server says so.
    pub server: Option<String>,
    /// The model's version that answers, if the server says so.
    pub version: Option<String>,
    /// Answered calls, without those of the warm-up.
    pub calls: u64,
    /// Others, by code: those of gRPC, `TIMEOUT`, `BROKEN`, and `UNSENT` of an open loop.
    pub errors: BTreeMap<String, u64>,
    /// The server's word about the first of them.
    pub first_error: Option<String>,
    /// Answered calls a second.
    pub throughput_per_s: f64,
    /// Microseconds; in an open loop from the moment that a call was due.
    pub latency_us: Option<Latencies>,
    /// Microseconds by which calls of an open loop were sent late, for which this client is to blame.
    pub lateness_us: Option<Latencies>,
    /// What a call cost this client.
    pub client_cpu_us_per_call: f64,
    /// The share of one core that this client computed.
    pub client_cpu_share: f64,
    /// In the order in which they were measured.
    pub blocks: Vec<Block>,
}

/// What came of one block.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Block {
    pub calls: u64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub throughput_per_s: f64,
}

/// The model in this process: `session.run` and nothing around it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bare {
    /// SHA-256 of the model file.
    pub model_sha256: String,
    /// The version of ONNX Runtime.
    pub onnxruntime: String,
    /// Threads of a run.
    pub threads: usize,
    pub latency_us: Option<Latencies>,
    pub blocks: Vec<Block>,
}

/// A stored result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Baseline {
    pub made: String,
    /// The processor of its machine.
    pub cpu: String,
}

/// What is compared.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub(super) enum Figure {
    /// The median latency.
    P50,
    /// The latency of which one call in a hundred is slower.
    P99,
    /// Answered calls a second; its ratio is turned over, so that above 1 is worse here too.
    Throughput,
}

impl Figure {
    /// As in files and options.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::Throughput => "throughput",
        }
    }
}

/// What a side is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Other {
    /// The server of `--against`.
    Against,
    /// The stored result of `--baseline`, both over the bare model of their machine.
    Baseline,
    /// The model in this process.
    Bare,
}

impl Other {
    /// As in files.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Against => "against",
            Self::Baseline => "baseline",
            Self::Bare => "bare",
        }
    }
}

/// A ratio and what is thought of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Comparison {
    pub figure: Figure,
    pub with: Other,
    /// Above 1 the target is slower.
    pub ratio: Option<Interval>,
    /// The ratio that is borne.
    pub gate: Option<f64>,
    pub verdict: Verdict,
    /// Why there is no ratio, or no verdict.
    pub why: Option<String>,
}

/// What is thought of a ratio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// All of the interval is at or below the gate.
    Passed,
    /// The gate is within the interval: it may be a regression or chance. The build does not fail.
    Unsure,
    /// All of the interval is above the gate, or there is a gate and no ratio.
    Failed,
    /// There is no gate.
    Unjudged,
}

impl Verdict {
    /// As in files.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Unsure => "unsure",
            Self::Failed => "failed",
            Self::Unjudged => "unjudged",
        }
    }
}

impl Side {
    /// Calls without an answer.
    pub(super) fn failures(&self) -> u64 {
        self.errors.values().fold(0, |sum, calls| sum.saturating_add(*calls))
    }

    /// Their share of all calls; 1 where there was none.
    #[expect(clippy::cast_precision_loss, reason = "counts of calls")]
    pub(super) fn error_share(&self) -> f64 {
        let (answered, failed) = (self.calls as f64, self.failures() as f64);
        if answered + failed > 0.0 { failed / (answered + failed) } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_in_docs_is_that_of_the_code() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/bench.schema.json");
        let made = serde_json::to_string_pretty(&schemars::schema_for!(Report)).unwrap() + "\n";
        if std::env::var_os("ASEPSIS_WRITE_SCHEMA").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(found, made, "write it anew: ASEPSIS_WRITE_SCHEMA=1 cargo test --lib the_schema_in_docs");
    }
}
