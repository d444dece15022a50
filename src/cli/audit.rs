//! `asepsis audit`: is the log what was written?

use super::Failure;
use crate::audit::verify::verify;
use std::io::Write;
use std::path::PathBuf;

/// Commands.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Follow the chain of hashes through the whole log.
    Verify(VerifyArgs),
}

/// Arguments of `verify`.
#[derive(clap::Args)]
pub struct VerifyArgs {
    /// The directory of the log: `audit.directory` of the configuration.
    directory: PathBuf,
}

/// Runs one of the commands.
///
/// # Errors
/// The log is not what was written; the message names the file and line.
pub fn run(command: &Command, out: &mut dyn Write) -> Result<(), Failure> {
    let Command::Verify(VerifyArgs { directory }) = command;
    let report = verify(directory).map_err(|error| Failure::Other(error.to_string()))?;
    for place in &report.torn {
        writeln!(out, "{place}: torn by an interrupted write; the chain goes on after it")?;
    }
    let head = report.head;
    writeln!(out, "good: {} records in {} files; the last hash is {}", head.seq, report.files, head.hash)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::file::{FileLedger, Settings};
    use crate::audit::{Ledger, Record};
    use std::path::Path;

    fn log(directory: &Path) {
        let settings = Settings { directory: directory.to_owned(), ..Settings::default() };
        let ledger = FileLedger::open(&settings).unwrap();
        for number in 0..3_u32 {
            ledger.append(&Record::trial(number)).unwrap();
        }
    }

    fn run(directory: &Path) -> Result<String, Failure> {
        let mut out = Vec::new();
        let command = Command::Verify(VerifyArgs { directory: directory.to_owned() });
        super::run(&command, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_changed_line_is_named_and_fails() {
        let directory = tempfile::tempdir().unwrap();
        log(directory.path());
        let file = directory.path().join("00000001.jsonl");
        let changed = std::fs::read_to_string(&file).unwrap().replacen("dns:ward", "dns:wood", 1);
        std::fs::write(&file, changed).unwrap();
        let Err(Failure::Other(problem)) = run(directory.path()) else { panic!("should have failed") };
        assert!(problem.contains("00000001.jsonl:1: "), "{problem}");
    }

    #[test]
    fn a_directory_without_a_log_fails() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(run(directory.path()), Err(Failure::Other(_))));
        assert!(matches!(run(&directory.path().join("absent")), Err(Failure::Other(_))));
    }

    #[test]
    fn a_good_log_is_counted() {
        let directory = tempfile::tempdir().unwrap();
        log(directory.path());
        let said = run(directory.path()).unwrap();
        assert!(said.starts_with("good: 3 records in 1 files; the last hash is "), "{said}");
    }
}
