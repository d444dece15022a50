//! `asepsis evaluate`: how often are clean rows let through, and attacked ones noticed?
//!
//! Over gRPC it asks a running sidecar as any caller would, and needs a role that sees the evidence. In process
//! (`--directory`) it measures every row with every detector and every copy, for studying which are worth their cost.

pub(super) mod in_process;
mod over_grpc;

use super::Failure;
use super::caller::Caller;
use super::sets::Set;
use std::io::Write;
use std::path::PathBuf;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// The sidecar: HOST:PORT or unix:PATH.
    #[arg(long, requires = "model", required_unless_present = "directory", conflicts_with = "directory")]
    target: Option<crate::transport::client::Target>,
    /// The model's name.
    #[arg(long)]
    model: Option<String>,
    /// Its version; empty for the newest.
    #[arg(long, default_value = "")]
    version: String,
    /// In place of a sidecar, a version's directory: models/NAME/VERSION.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// An npz file: each of its FP32 or uint8 arrays with rows of the model's size is a set.
    #[arg(long)]
    data: PathBuf,
    /// Which sets; all of them if none is named.
    #[arg(long = "set", value_name = "NAME")]
    sets: Vec<String>,
    /// Where the results go, as JSON.
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    caller: Caller,
    /// ONNX Runtime, for `--directory`.
    #[arg(long, default_value = ".onnxruntime/libonnxruntime.so.1.31.1")]
    library: PathBuf,
}

/// Sends or measures every row, and writes what came of it.
///
/// # Errors
/// The sidecar, the model or the data cannot be used.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let json = if let Some(directory) = &args.directory {
        in_process::measure_all(args, directory)?
    } else {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(over_grpc::send(args, out))?
    };
    let text = serde_json::to_string(&json).map_err(|error| Failure::Other(error.to_string()))?;
    crate::file::replace(&args.out, &text, 0o644)?;
    writeln!(out, "{}", args.out.display())?;
    Ok(())
}

impl Args {
    /// The sets that were asked for, of rows of `row_len` elements.
    fn read(&self, row_len: usize) -> Result<Vec<Set>, Failure> {
        let sets = super::sets::read(&self.data, row_len)?;
        let is_asked = |set: &Set| self.sets.is_empty() || self.sets.contains(&set.name);
        let sets: Vec<Set> = sets.into_iter().filter(is_asked).collect();
        if let Some(missing) = self.sets.iter().find(|name| !sets.iter().any(|set| set.name == **name)) {
            return Err(Failure::Usage(format!("{}: no set `{missing}`", self.data.display())));
        }
        if sets.is_empty() {
            let path = self.data.display();
            return Err(Failure::Other(format!("{path}: no array has rows of {row_len} elements")));
        }
        Ok(sets)
    }
}
