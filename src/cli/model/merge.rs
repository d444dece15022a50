//! `asepsis model merge`: the graph that is made of a model and its twin when they are served, as a file.

use super::super::Failure;
use super::{at, read, write};
use crate::proto::onnx::{GraphProto, ValueInfoProto};
use crate::provenance::graph;
use std::io::Write;
use std::path::PathBuf;

/// Arguments of `merge`.
#[derive(clap::Args)]
pub struct Args {
    /// The model.
    #[arg(long, value_name = "FILE.onnx")]
    model: PathBuf,
    /// The model that answers the same input, with the same names and shapes of inputs.
    #[arg(long, value_name = "FILE.onnx")]
    twin: PathBuf,
    /// Which of the twin's outputs; it will be called twin/NAME.
    #[arg(long, value_name = "NAME", default_value = "logits")]
    output_name: String,
    /// The file to write.
    #[arg(long, value_name = "FILE.onnx")]
    out: PathBuf,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let (model, twin) = (read(&args.model)?, read(&args.twin)?);
    let primary = graph::read(&model).map_err(|error| at(&args.model, &error))?.graph.unwrap_or_default();
    let names: Vec<String> =
        graph::real_inputs(&primary).iter().map(|input| input.name().to_owned()).collect();
    let merged = graph::merge(&model, &twin, &names, &args.output_name);
    let merged = merged.map_err(|error| Failure::Other(error.to_string()))?;
    let whole = graph::read(&merged).map_err(|error| Failure::Other(error.to_string()))?;
    let whole = whole.graph.unwrap_or_default();
    write(&args.out, &merged)?;
    writeln!(
        out,
        "{}: {} operations of the model and {} of the twin, {} bytes",
        args.out.display(),
        primary.node.len(),
        whole.node.len().saturating_sub(primary.node.len()),
        merged.len()
    )?;
    writeln!(out, "inputs: {}", names.join(", "))?;
    writeln!(out, "outputs: {}", outputs(&whole).join(", "))?;
    Ok(())
}

fn outputs(graph: &GraphProto) -> Vec<&str> {
    graph.output.iter().map(ValueInfoProto::name).collect()
}
