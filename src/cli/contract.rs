//! `asepsis contract`: a first contract for a model, and whether a contract can be served.

mod draft;

use super::Failure;
use crate::contract::{Contract, ContractError};
use crate::inference::ort::{Port, Runtime, ports};
use crate::provenance::scan::scan;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

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
    /// ONNX Runtime.
    #[arg(long, default_value = ".onnxruntime/libonnxruntime.so.1.31.1")]
    library: PathBuf,
}

/// Arguments of `check`.
#[derive(clap::Args)]
pub struct CheckArgs {
    /// The contract: models/NAME/VERSION/contract.toml.
    contract: PathBuf,
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
    let text = draft::draft(&name, &version, &inputs, &outputs).map_err(|problem| at(&problem))?;
    Contract::parse(&text).map_err(|error| at(&error))?;
    let Some(path) = &args.out else { return Ok(out.write_all(text.as_bytes())?) };
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| Failure::Other(format!("{}: {error}", path.display())))?;
    writeln!(out, "{}: complete it where it says TODO, then calibrate the model", path.display())?;
    Ok(())
}

fn check(args: &CheckArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let path = args.contract.display();
    let text = std::fs::read_to_string(&args.contract)
        .map_err(|error| Failure::Other(format!("{path}: {error}")))?;
    let contract = Contract::parse(&text).map_err(|error| match &error {
        ContractError::Syntax(syntax) => {
            let before = syntax.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            Failure::Configuration(format!(
                "{path}:{}: {}",
                before.matches('\n').count() + 1,
                syntax.message()
            ))
        }
        ContractError::Invalid { .. } => Failure::Configuration(format!("{path}: {error}")),
    })?;
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
    Ok(())
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
mod tests {
    use super::*;

    fn run(command: &Command) -> Result<String, Failure> {
        let mut out = Vec::new();
        super::run(command, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    fn init(model: &str, out: Option<PathBuf>) -> Result<String, Failure> {
        let library = PathBuf::from(".onnxruntime/libonnxruntime.so.1.31.1");
        run(&Command::Init(InitArgs { model: model.into(), out, library }))
    }

    #[test]
    fn a_file_that_is_no_model_and_a_contract_that_exists_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("contract.toml");
        assert!(matches!(init("Cargo.toml", None), Err(Failure::Other(_))));
        assert!(matches!(init("absent.onnx", None), Err(Failure::Other(_))));
        std::fs::write(&path, "mine").unwrap();
        assert!(matches!(init("models/wdbc/1/model.onnx", Some(path.clone())), Err(Failure::Other(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn a_contract_that_cannot_be_served_is_refused_by_line_or_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("contract.toml");
        let good = std::fs::read_to_string("models/pneumonia/1/contract.toml").unwrap();
        let check = || run(&Command::Check(CheckArgs { contract: path.clone() }));
        for (from, to, expected) in [
            ("name = \"pneumonia\"", "nome = \"pneumonia\"", "contract.toml:2: unknown field `nome`"),
            ("batch_max = 256", "batch_max = 0", "contract.toml: `batch_max`: at least 1"),
        ] {
            std::fs::write(&path, good.replace(from, to)).unwrap();
            let Err(Failure::Configuration(problem)) = check() else { panic!("should have been refused") };
            assert!(problem.contains(expected), "{problem}");
        }
        std::fs::write(&path, good).unwrap();
        assert!(
            check().unwrap().starts_with("good: pneumonia/1: 1 inputs, 3 outputs (1 published), 3 copies")
        );
    }

    #[test]
    fn the_demo_models_get_a_contract_with_their_own_ports() {
        for name in ["wdbc", "pneumonia", "digits"] {
            let text = init(&format!("models/{name}/1/model.onnx"), None).unwrap();
            let drafted = Contract::parse(&text).unwrap();
            let shipped = std::fs::read_to_string(format!("models/{name}/1/contract.toml")).unwrap();
            let shipped = Contract::parse(&shipped).unwrap();
            assert_eq!((&drafted.name, &drafted.version), (&shipped.name, &shipped.version));
            assert_eq!(drafted.outputs, shipped.outputs);
            for (ours, theirs) in drafted.inputs.iter().zip(&shipped.inputs) {
                assert_eq!(
                    (&ours.name, ours.datatype, &ours.shape),
                    (&theirs.name, theirs.datatype, &theirs.shape)
                );
            }
        }
    }

    #[test]
    fn a_model_outside_a_repository_is_named_after_its_file() {
        assert_eq!(identity(Path::new("/x/my model.v2.onnx")), ("my_model.v2".into(), "1".into()));
        assert_eq!(identity(Path::new("/x/chest/3/model.onnx")), ("chest".into(), "3".into()));
        assert_eq!(identity(Path::new("/x/chest/03/model.onnx")), ("model".into(), "1".into()));
    }
}
