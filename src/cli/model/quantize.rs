//! `asepsis model quantize`: a model of int8 weights and activations, for a twin that costs less than its original.

use super::super::{Failure, contract};
use super::measure::{Agreement, Runner, agreement, class_output, race};
use super::qdq::{self, Int8, Sketch};
use super::ranges::{Range, observe};
use super::{at, read, write};
use crate::contract::Contract;
use crate::inference::Batch;
use crate::inference::ort::Runtime;
use crate::inference::perturbation::Secret;
use crate::intake::{Input, IntakeError, samples};
use crate::provenance::graph;
use prost::Message;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

/// With fewer clean rows a range is chance.
const ROWS_MIN: usize = 20;

/// Arguments of `quantize`.
#[derive(clap::Args)]
pub struct Args {
    /// The model; without it, model.onnx of the directory.
    #[arg(long, value_name = "FILE.onnx", required_unless_present = "directory")]
    model: Option<PathBuf>,
    /// The version whose contract says what the inputs and outputs are: models/NAME/VERSION.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// That contract alone.
    #[arg(
        long,
        value_name = "FILE.toml",
        required_unless_present = "directory",
        conflicts_with = "directory"
    )]
    contract: Option<PathBuf>,
    /// Clean data: an npz with the array `clean` or `input`. Every other row gives ranges, the others are compared.
    #[arg(long, value_name = "FILE.npz")]
    clean: PathBuf,
    /// The share of a tensor's values within its range, in percent; 100 takes the least and the largest.
    #[arg(long, value_parser = percentile, default_value_t = 99.99)]
    percentile: f64,
    /// Weights of -127 to 127, which is finer. Without it they are of -63 to 63: x86 processors without VNNI add two
    /// products in 16 bits, so that larger ones are cut off there, and answers differ between machines.
    #[arg(long)]
    full_range: bool,
    /// The file to write.
    #[arg(long, value_name = "FILE.onnx")]
    out: PathBuf,
    /// ONNX Runtime.
    #[arg(long, default_value = ".onnxruntime/libonnxruntime.so.1.31.1")]
    library: PathBuf,
}

fn percentile(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| (90.0..=100.0).contains(number));
    number.ok_or_else(|| "90 to 100".to_owned())
}

impl Args {
    fn model(&self) -> PathBuf {
        let of_directory = || self.directory.clone().unwrap_or_default().join("model.onnx");
        self.model.clone().unwrap_or_else(of_directory)
    }

    fn contract(&self) -> PathBuf {
        let of_directory = || self.directory.clone().unwrap_or_default().join("contract.toml");
        self.contract.clone().unwrap_or_else(of_directory)
    }
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let path = args.model();
    let of_model = |problem: String| at(&path, &problem);
    let contract = contract::read(&args.contract())?;
    let bytes = read(&path)?;
    let model = graph::read(&bytes).map_err(|error| at(&path, &error))?;
    let original = model.graph.clone().unwrap_or_default();
    let sketch = Sketch::new(&model, &original).map_err(of_model)?;
    let (class, meaning) = class_output(&contract).ok_or_else(|| {
        at(&args.contract(), &"no output has the meaning `logits` or `probabilities`: nothing to compare")
    })?;
    let runtime = Runtime::load(&args.library).map_err(|error| Failure::Other(error.to_string()))?;
    let fp32 = Runner::open(&runtime, &bytes, &contract, |name| name == class).map_err(of_model)?;
    if fp32.outputs().is_empty() {
        return Err(of_model(format!("it has no FP32 output `{class}` of rows of one size")));
    }
    let rows = clean_rows(args, &contract)?;
    let (for_ranges, for_comparison) = halves(&rows);

    let tensors = sketch.tensors();
    let observed = qdq::observed(&model, &original, &tensors).encode_to_vec();
    let names: Vec<_> = tensors.iter().map(|name| (qdq::observed_input(name), *name)).collect();
    let wanted = |name: &str| tensors.contains(name) || names.iter().any(|(input, _)| input == name);
    let runner = Runner::open(&runtime, &observed, &contract, wanted).map_err(of_model)?;
    let mut ranges = observe(&runner, &for_ranges, args.percentile).map_err(of_model)?;
    for (observed, name) in &names {
        if let Some(range) = ranges.remove(observed) {
            ranges.insert((*name).to_owned(), range);
        }
    }
    let_inputs_be_what_the_contract_says(&mut ranges, &contract);

    let levels = if args.full_range { 127 } else { 63 };
    let Int8 { model: int8, weighted } = qdq::write(&model, &sketch, &ranges, levels).map_err(of_model)?;
    let quantised = int8.encode_to_vec();
    let runner = Runner::open(&runtime, &quantised, &contract, |name| name == class).map_err(of_model)?;
    let agreement = agreement((&fp32, &runner), &for_comparison, meaning).map_err(of_model)?;
    let times = race((&fp32, &runner), &for_comparison).map_err(of_model)?;
    write(&args.out, &quantised)?;
    writeln!(
        out,
        "{}: {} of {} operations with weights in int8, ranges from {} clean rows",
        args.out.display(),
        weighted.0,
        weighted.1,
        for_ranges.len()
    )?;
    report(out, (bytes.len(), quantised.len()), &agreement, times)
}

/// One run each, of every clean row.
fn clean_rows(args: &Args, contract: &Contract) -> Result<Vec<Batch>, Failure> {
    let other = |error: &dyn std::fmt::Display| Failure::Other(error.to_string());
    let inputs = samples::read(&args.clean, &["clean", "input"], contract).map_err(|e| other(&e))?;
    if inputs.len() < ROWS_MIN {
        return Err(at(&args.clean, &format!("{} clean rows; at least {ROWS_MIN}", inputs.len())));
    }
    let secret = Secret::new(&[0; 32]);
    let batch = |input: Result<Input, IntakeError>| {
        let input = input.map_err(|e| at(&args.clean, &format!("a clean row breaks the contract: {e}")))?;
        Batch::with_copies(input, &[], &secret).map_err(|e| other(&e))
    };
    inputs.into_iter().map(batch).collect()
}

/// Rows by turns, so that both parts are of the same kind.
fn halves(rows: &[Batch]) -> (Vec<&Batch>, Vec<&Batch>) {
    (rows.iter().step_by(2).collect(), rows.iter().skip(1).step_by(2).collect())
}

/// What the contract lets in is in range: nothing that is sent is cut off.
fn let_inputs_be_what_the_contract_says(ranges: &mut BTreeMap<String, Range>, contract: &Contract) {
    for input in &contract.inputs {
        if let (Some(range), Some(least), Some(most)) =
            (ranges.get_mut(&input.name), input.minimum, input.maximum)
            && let Some(whole) = Range::between(least, most)
        {
            *range = whole;
        }
    }
}

pub(super) fn report(
    out: &mut dyn Write,
    (before, after): (usize, usize),
    agreement: &Agreement,
    (fp32, int8): (Duration, Duration),
) -> Result<(), Failure> {
    let share = |part: usize, whole: usize| as_f64(part) / as_f64(whole.max(1));
    writeln!(out, "size: {before} -> {after} bytes ({:.2}x)", share(after, before))?;
    let Agreement { same, rows, distance } = agreement;
    writeln!(
        out,
        "on {rows} other clean rows: the same class in {same} ({:.1}%), mean L1 of the probabilities {distance:.5}",
        100.0 * share(*same, *rows)
    )?;
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let ratio = micros(int8) / micros(fp32).max(f64::MIN_POSITIVE);
    writeln!(
        out,
        "one row on one thread, in turn: p50 {:.1} us in FP32, {:.1} us in int8 ({ratio:.2}x)",
        micros(fp32),
        micros(int8)
    )?;
    if ratio >= 1.0 {
        writeln!(out, "int8 is SLOWER for this model on this machine: serve the FP32 model")?;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "bytes of a file and rows of data are far below 2^53")]
fn as_f64(count: usize) -> f64 {
    count as f64
}
