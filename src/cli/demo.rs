//! `asepsis demo`: a sidecar in one process, its callers in another, and what is answered, withheld and refused.

pub mod callers;
pub mod cases;
pub mod closing;
pub mod files;
pub mod ledger;
pub mod metrics;
pub mod prepare;
pub mod report;
pub mod request;
pub mod samples;
pub mod sidecar;

use super::Failure;
use crate::clock::Now;
use prepare::Prepared;
use sidecar::Sidecar;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// Print a JSON list of what was sent and how it ended, and nothing else.
    #[arg(long)]
    json: bool,
    /// Only write what `asepsis serve` needs: asepsis.toml, access.toml and pki/.
    #[arg(long, conflicts_with = "json")]
    prepare: bool,
    /// Where to write it, and the audit log.
    #[arg(long, default_value = "demo", value_name = "DIR")]
    dir: PathBuf,
    /// The model repository.
    #[arg(long, default_value = "models", value_name = "DIR")]
    models: PathBuf,
    /// The samples to send.
    #[arg(long, default_value = "examples/demo", value_name = "DIR")]
    samples: PathBuf,
}

/// Prepares, starts a sidecar, runs the client against it, and stops it.
///
/// # Errors
/// The sidecar does not start or stop well, or a case does not end as it must.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    if !args.models.is_dir() {
        let missing = args.models.display();
        return Err(Failure::Usage(format!(
            "{missing} is no directory; run this in the clone, or give --models"
        )));
    }
    let prepared = prepare::prepare(&args.dir, &args.models, Now::read())?;
    if args.prepare {
        writeln!(
            out,
            "{} is ready: asepsis serve --config {}",
            args.dir.display(),
            prepared.config.display()
        )?;
        return tell_kept(&prepared, out);
    }
    let executable = std::env::current_exe()?;
    let log = sidecar::log_of(&args.dir);
    let sidecar = Sidecar::start(&executable, &prepared.config, &log)
        .map_err(|why| Failure::Other(format!("{why}{}", mend(&why, args, &prepared))))?;
    if !args.json {
        writeln!(
            out,
            "A sidecar serves on {}, its log in {}; another process calls it over mutual TLS.\n",
            sidecar.grpc,
            log.display()
        )?;
    }
    // The client writes to the same standard output.
    out.flush()?;
    let called = call(&executable, args, &prepared, &sidecar);
    let stopped = sidecar.stop().map_err(Failure::Other);
    called?;
    stopped?;
    if args.json {
        return Ok(());
    }
    tell_kept(&prepared, out)?;
    tell_next(args, out)
}

/// Runs the client as a process of its own, which says by itself what is wrong.
fn call(executable: &Path, args: &Args, prepared: &Prepared, sidecar: &Sidecar) -> Result<(), Failure> {
    let mut client = Command::new(executable);
    client.arg("client").arg("--config").arg(&prepared.config).arg("--samples").arg(&args.samples);
    client.arg("--target").arg(sidecar.grpc.to_string()).arg("--admin").arg(sidecar.admin.to_string());
    if args.json {
        client.arg("--json");
    }
    let status = client.status()?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::Other(format!("the demo failed: the client ended with {status}")))
}

/// The one command that mends why the sidecar did not start.
fn mend(why: &str, args: &Args, prepared: &Prepared) -> String {
    let config = prepared.config.display();
    if why.contains("scripts/fetch-onnxruntime") {
        return "Run: scripts/fetch-onnxruntime".to_owned();
    }
    if why.contains("in use by another process") {
        let directory = args.dir.display();
        return format!(
            "A sidecar serves {directory} already. Stop it, or run: asepsis demo --dir {directory}-2"
        );
    }
    format!("Run: {} check --config {config}", command())
}

fn tell_kept(prepared: &Prepared, out: &mut dyn Write) -> Result<(), Failure> {
    for path in &prepared.kept {
        writeln!(
            out,
            "Note: {} is not what this version writes; it is kept. Delete it to have it written anew.",
            path.display()
        )?;
    }
    Ok(())
}

fn tell_next(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let directory = args.dir.display();
    let lines = if args.dir == Path::new("demo") {
        "make serve                 the same sidecar in the foreground: gRPC on 8001, metrics on 8002\n          \
         make client                one request of each kind to it, from another terminal"
            .to_owned()
    } else {
        format!(
            "{0} serve --config {directory}/asepsis.toml\n          {0} client --config {directory}/asepsis.toml",
            command()
        )
    };
    writeln!(
        out,
        "Next      {lines}\n          edit {directory}/access.toml and {directory}/asepsis.toml, \
         or put your own model into {}/NAME/1/",
        args.models.display()
    )?;
    Ok(())
}

/// How a person calls this executable from here.
#[must_use]
pub fn command() -> String {
    let Ok(executable) = std::env::current_exe() else { return "asepsis".to_owned() };
    let here = std::env::current_dir().unwrap_or_default();
    executable.strip_prefix(here).unwrap_or(&executable).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> Args {
        Args {
            json: false,
            prepare: false,
            dir: "demo".into(),
            models: "models".into(),
            samples: "examples/demo".into(),
        }
    }

    #[test]
    fn a_directory_without_models_is_a_usage_error() {
        let args = Args { models: "/nonexistent".into(), ..args() };
        assert!(matches!(run(&args, &mut Vec::new()), Err(Failure::Usage(_))));
    }

    #[test]
    fn the_command_that_mends_fits_the_cause() {
        let prepared = Prepared { config: "demo/asepsis.toml".into(), kept: Vec::new() };
        let mended = |why| mend(why, &args(), &prepared);
        assert_eq!(
            mended("ONNX Runtime is not at x; run `scripts/fetch-onnxruntime`"),
            "Run: scripts/fetch-onnxruntime"
        );
        assert!(mended("the audit directory x is in use by another process").contains("--dir demo-2"));
        assert!(mended("else").ends_with("check --config demo/asepsis.toml"));
    }
}
