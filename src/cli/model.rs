//! `asepsis model`: what can be made of model files before they are served.

mod measure;
mod merge;
mod qdq;
mod quantize;
mod ranges;
mod weights;

use super::Failure;
use crate::file;
use std::io::Write;
use std::path::Path;

/// As the catalog has it.
const MODEL_BYTES_MAX: u64 = 2 << 30;

/// Commands.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Write one model of two: a run of it gives the model's answers and the twin's.
    Merge(merge::Args),
    /// Write a model with int8 weights, and say what that costs in accuracy and gains in time.
    Quantize(quantize::Args),
}

/// Runs one of the commands.
///
/// # Errors
/// A model cannot be used, or a file cannot be written.
pub fn run(command: &Command, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        Command::Merge(args) => merge::run(args, out),
        Command::Quantize(args) => quantize::run(args, out),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    file::read(path, MODEL_BYTES_MAX).map_err(|error| at(path, &error))
}

fn write(path: &Path, model: &[u8]) -> Result<(), Failure> {
    file::replace_bytes(path, model, 0o644).map_err(|error| at(path, &error))
}

fn at(path: &Path, problem: &dyn std::fmt::Display) -> Failure {
    Failure::Other(format!("{}: {problem}", path.display()))
}

#[cfg(test)]
mod tests;
