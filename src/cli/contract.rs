//! `asepsis contract`: a first contract for a model, and whether a contract can be served.

pub(super) mod arrays;
mod draft;
mod propose;
mod sample;

use super::Failure;
use crate::contract::{Contract, ContractError};
use crate::file;
use crate::inference::ort::{Port, Runtime, ports};
use crate::provenance::scan::scan;
use crate::tensor::Tensor;
use arrays::Arrays;
use propose::Ranges;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Larger contracts are not served either.
pub(super) const BYTES_MAX: u64 = 64 << 20;

/// Commands.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Write a contract from a model's inputs and outputs, for its owner to complete.
    Init(InitArgs),
    /// Say whether a contract can be served, or which of its keys to mend.
    Check(CheckArgs),
}

/// Arguments of `init`.
#[derive(clap::Args)]
pub struct InitArgs {
    /// The model: models/NAME/VERSION/model.onnx, whose path gives name and version.
    model: PathBuf,
    /// The file to write, which must not exist; else the contract is printed.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Clean data, to propose ranges from: an npz with an array of each input's name (`clean` or `input` where
    /// there is one input), and the names of the columns as `names`.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Shares of the values below and above which data are taken for outliers.
    #[arg(long, value_parser = quantiles, default_value = "0.001,0.999", requires = "data")]
    quantiles: (f64, f64),
    /// What ranges have more at both ends, in units of the range of the data.
    #[arg(long, value_parser = margin, default_value_t = 0.25, requires = "data")]
    margin: f64,
    /// ONNX Runtime.
    #[arg(long, default_value = ".onnxruntime/libonnxruntime.so.1.31.1")]
    library: PathBuf,
}

/// Arguments of `check`.
#[derive(clap::Args)]
pub struct CheckArgs {
    /// The contract: models/NAME/VERSION/contract.toml.
    contract: PathBuf,
    /// Say everything in which this sample breaks the contract: an npz with an array of each input's name, or
    /// the JSON body of an inference request (Open Inference Protocol over REST).
    #[arg(long)]
    sample: Option<PathBuf>,
    /// Show the values that break it. They are a patient's.
    #[arg(long, requires = "sample")]
    show_values: bool,
}

fn quantiles(text: &str) -> Result<(f64, f64), String> {
    let parts = text.split_once(',').and_then(|(low, high)| Some((low.parse().ok()?, high.parse().ok()?)));
    let ordered = |(low, high): &(f64, f64)| 0.0 <= *low && low < high && *high <= 1.0;
    parts.filter(ordered).ok_or_else(|| "two shares in order, as 0.001,0.999".to_owned())
}

fn margin(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|margin: &f64| margin.is_finite() && *margin >= 0.0);
    number.ok_or_else(|| "0 or more".to_owned())
}

/// Runs one of the commands.
///
/// # Errors
/// The model cannot be served by any contract, the contract cannot be served, or a file cannot be used.
pub fn run(command: &Command, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        Command::Init(args) => init(args, out),
        Command::Check(args) => check(args, out),
    }
}

fn init(args: &InitArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let at = |problem: &dyn std::fmt::Display| Failure::Other(format!("{}: {problem}", args.model.display()));
    let model = std::fs::read(&args.model).map_err(|error| at(&error))?;
    scan(&model).map_err(|error| at(&error))?;
    let runtime = Runtime::load(&args.library).map_err(|error| Failure::Other(error.to_string()))?;
    let session = runtime.open(&model, 1).map_err(|error| at(&error))?;
    let (inputs, outputs) = ports(&session);
    let (name, version) = identity(&args.model);
    let proposals = match &args.data {
        Some(path) => proposals(args, path, &inputs)?,
        None => Vec::new(),
    };
    let text = draft::draft(&name, &version, (&inputs, &proposals), &outputs).map_err(|e| at(&e))?;
    Contract::parse(&text).map_err(|error| at(&error))?;
    let Some(path) = &args.out else { return Ok(out.write_all(text.as_bytes())?) };
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| Failure::Other(format!("{}: {error}", path.display())))?;
    writeln!(out, "{}: complete it where it says TODO, then calibrate the model", path.display())?;
    Ok(())
}

/// What the data say of each input, in order; empty where there is no array of it.
fn proposals(args: &InitArgs, path: &Path, inputs: &[Port]) -> Result<Vec<String>, Failure> {
    let at = |problem: String| Failure::Other(format!("{}: {problem}", path.display()));
    let mut arrays = Arrays::open(path).map_err(at)?;
    let names = arrays.columns().map_err(at)?;
    let ranges = Ranges { quantiles: args.quantiles, margin: args.margin };
    let mut proposals = Vec::with_capacity(inputs.len());
    for port in inputs {
        let array = arrays.of_input(&port.name, inputs.len() == 1).map_err(at)?;
        let (Some(array), Some(datatype)) = (array, port.datatype) else {
            proposals.push(String::new());
            continue;
        };
        let found = array.data().datatype();
        let (shape, data) = array.into_parts();
        let data = arrays::cast(data, datatype);
        let tensor = data.and_then(|data| Tensor::new(shape, data));
        let tensor = tensor.filter(|tensor| is_of(port, tensor)).ok_or_else(|| {
            at(format!("an array of {found} that is no {datatype}{:?} for input `{}`", port.shape, port.name))
        })?;
        proposals.push(propose::propose(port, &tensor, &names, ranges).map_err(at)?);
    }
    if proposals.iter().all(String::is_empty) {
        return Err(at("no array of an input's name, nor `clean` or `input`".into()));
    }
    Ok(proposals)
}

/// Whether rows are of the size that the model takes.
fn is_of(port: &Port, tensor: &Tensor) -> bool {
    let wanted = port
        .shape
        .iter()
        .skip(1)
        .try_fold(1_usize, |product, dim| product.checked_mul(usize::try_from(*dim).ok()?));
    wanted == Some(tensor.row_len()) && tensor.rows() > 0
}

fn check(args: &CheckArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let contract = read(&args.contract)?;
    let Contract { name, version, inputs, outputs, perturbations, .. } = &contract;
    let published = outputs.iter().filter(|output| output.publish).count();
    writeln!(
        out,
        "good: {name}/{version}: {} inputs, {} outputs ({published} published), {} copies beside each row, \
         up to {} rows a request",
        inputs.len(),
        outputs.len(),
        perturbations.len(),
        contract.client_rows_max(),
    )?;
    match &args.sample {
        Some(path) => sample::check(&contract, path, args.show_values, out),
        None => Ok(()),
    }
}

/// The contract in a file.
///
/// # Errors
/// The file cannot be read, or the contract cannot be served: with the line, or the key, to mend.
pub(super) fn read(path: &Path) -> Result<Contract, Failure> {
    let at = path.display();
    let text = file::read_text(path, BYTES_MAX).map_err(|error| Failure::Other(format!("{at}: {error}")))?;
    Contract::parse(&text).map_err(|error| {
        Failure::Configuration(match &error {
            ContractError::Syntax(syntax) => {
                let before = syntax.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
                format!("{at}:{}: {}", before.matches('\n').count() + 1, syntax.message())
            }
            ContractError::Invalid { .. } => format!("{at}: {error}"),
        })
    })
}

/// Name and version of a model by where it lies; else by its file name, as version 1.
fn identity(model: &Path) -> (String, String) {
    let model = model.canonicalize().unwrap_or_else(|_| model.to_owned());
    let name_of = |path: Option<&Path>| Some(path?.file_name()?.to_str()?.to_owned());
    let directory = model.parent();
    let number = |text: &String| text.parse::<u32>().is_ok_and(|n| n > 0 && n.to_string() == *text);
    if let Some(version) = name_of(directory).filter(number)
        && let Some(name) = name_of(directory.and_then(Path::parent))
    {
        return (plain(&name), version);
    }
    let stem = model.file_stem().unwrap_or_default().to_string_lossy();
    (plain(&stem), "1".to_owned())
}

/// What a contract takes as a name.
fn plain(name: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || "_-.".contains(c) { c } else { '_' };
    let name: String = name.trim_start_matches('.').chars().map(allowed).take(128).collect();
    if name.is_empty() { "model".to_owned() } else { name }
}

#[cfg(test)]
mod tests;
