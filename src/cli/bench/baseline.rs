//! May a stored result be compared with this run? Only one of the same model, asked the same, in the same way.

use super::result::{Bare, Report, SCHEMA, Settings};
use crate::file;
use std::path::Path;

/// The largest result that is read.
const BYTES_MAX: u64 = 16 << 20;
/// Blocks that one may hold.
const BLOCKS_MAX: usize = 10_000;

/// Reads and checks a stored result.
///
/// # Errors
/// It cannot be read, or is none, in words that say what to mend.
pub(super) fn read(path: &Path) -> Result<Report, String> {
    let failed = |problem: String| format!("{}: {problem}", path.display());
    let text = file::read_text(path, BYTES_MAX).map_err(|error| failed(error.to_string()))?;
    parse(&text).map_err(failed)
}

/// A result whose figures can be computed with.
///
/// # Errors
/// What is wrong with it.
pub(super) fn parse(text: &str) -> Result<Report, String> {
    #[derive(serde::Deserialize)]
    struct Version {
        schema: String,
    }
    let anew = "record it anew with this version: asepsis bench --out FILE --against-bare MODEL_DIR";
    let version: Version =
        serde_json::from_str(text).map_err(|error| format!("no result of asepsis bench: {error}"))?;
    if version.schema != SCHEMA {
        let shown: String = version.schema.chars().filter(|c| !c.is_control()).take(40).collect();
        return Err(format!("it has the schema `{shown}` and not `{SCHEMA}`; {anew}"));
    }
    let report: Report = serde_json::from_str(text).map_err(|error| format!("{error}; {anew}"))?;
    let bare = report.bare.as_ref().map(|bare| bare.blocks.as_slice()).unwrap_or_default();
    let sides = [report.target.blocks.as_slice(), bare];
    if sides.iter().any(|blocks| blocks.len() > BLOCKS_MAX) {
        return Err(format!("it has more than {BLOCKS_MAX} blocks"));
    }
    let figures = sides.iter().flat_map(|blocks| blocks.iter());
    let is_time = |value: f64| value.is_finite() && value > 0.0;
    if figures.into_iter().any(|b| ![b.p50_us, b.p99_us, b.throughput_per_s].into_iter().all(is_time)) {
        return Err(format!("a block of it has a figure that is not positive; {anew}"));
    }
    Ok(report)
}

/// Whether `stored` was measured as this run is. Version, repetitions, block length and address may differ.
///
/// # Errors
/// The first difference, and what to mend.
pub(super) fn compare(stored: &Report, settings: &Settings, bare: &Bare) -> Result<(), String> {
    let Some(anchor) = &stored.bare else {
        return Err(
            "the baseline has no bare model beside it: record it with --against-bare MODEL_DIR".into()
        );
    };
    if !stored.passed {
        return Err("the baseline did not pass itself: record one that does".into());
    }
    let differs = |what: &str, theirs: &dyn std::fmt::Debug, ours: &dyn std::fmt::Debug, mend: &str| {
        Err(format!("the baseline was recorded with {what} {theirs:?}, this run has {ours:?}: {mend}"))
    };
    let anew = "record the baseline anew";
    if anchor.model_sha256 != bare.model_sha256 {
        let mend = "a result of another model says nothing; record one of this model";
        return differs("the model", &anchor.model_sha256, &bare.model_sha256, mend);
    }
    if anchor.onnxruntime != bare.onnxruntime {
        return differs("ONNX Runtime", &anchor.onnxruntime, &bare.onnxruntime, anew);
    }
    if anchor.threads != bare.threads {
        return differs("--bare-threads", &anchor.threads, &bare.threads, "give the same");
    }
    let theirs = &stored.settings;
    if theirs.model != settings.model {
        return differs("--model", &theirs.model, &settings.model, "name the same");
    }
    if theirs.inputs != settings.inputs {
        return differs("the inputs", &theirs.inputs, &settings.inputs, "ask for the same rows");
    }
    if theirs.data != settings.data {
        return differs(
            "the data",
            &theirs.data,
            &settings.data,
            "give the same --data or --synthetic and --seed",
        );
    }
    if theirs.load != settings.load {
        let mend = "give the same --connections, --concurrency, --rate and --arrivals";
        return differs("the load", &theirs.load, &settings.load, mend);
    }
    if theirs.tls != settings.tls {
        return differs("TLS", &theirs.tls, &settings.tls, "use the same scheme");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
