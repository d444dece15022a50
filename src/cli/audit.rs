//! `asepsis audit`: is the log what was written?

use super::Failure;
use crate::audit::pseudonym::Pseudonyms;
use crate::audit::verify::verify;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

/// Commands.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Follow the chain of hashes through the whole log.
    Verify(VerifyArgs),
    /// How StudyInstanceUIDs and request ids stand in the log: one line of standard input after the other.
    Pseudonym(PseudonymArgs),
}

/// Arguments of `verify`.
#[derive(clap::Args)]
pub struct VerifyArgs {
    /// The directory of the log: `audit.directory` of the configuration.
    directory: PathBuf,
}

/// Arguments of `pseudonym`.
#[derive(clap::Args)]
pub struct PseudonymArgs {
    /// The file of the key: `audit.pseudonym_key` of the configuration.
    #[arg(long)]
    key: PathBuf,
}

/// Runs one of the commands.
///
/// # Errors
/// The log is not what was written; the message names the file and line. The key cannot be used.
pub fn run(command: &Command, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        Command::Verify(args) => follow(&args.directory, out),
        Command::Pseudonym(args) => pseudonyms(&args.key, &mut std::io::stdin().lock(), out),
    }
}

/// From standard input, because others can read the arguments of a process.
fn pseudonyms(key: &Path, lines: &mut dyn BufRead, out: &mut dyn Write) -> Result<(), Failure> {
    let pseudonyms = Pseudonyms::read(key).map_err(|error| Failure::Configuration(error.to_string()))?;
    for line in lines.lines() {
        writeln!(out, "{}", pseudonyms.of(line?.trim()))?;
    }
    Ok(())
}

fn follow(directory: &Path, out: &mut dyn Write) -> Result<(), Failure> {
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
    use std::os::unix::fs::PermissionsExt;

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

    #[test]
    fn an_identifier_is_told_as_it_stands_in_the_log() {
        let directory = tempfile::tempdir().unwrap();
        let key = directory.path().join("key");
        std::fs::write(&key, "0f".repeat(32)).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        let mut out = Vec::new();
        pseudonyms(&key, &mut "1.2.840.1\n two \n".as_bytes(), &mut out).unwrap();
        let known = Pseudonyms::new(&[15; 32]);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            format!("{}\n{}\n", known.of("1.2.840.1"), known.of("two"))
        );
        let absent = directory.path().join("absent");
        let refused = pseudonyms(&absent, &mut "x".as_bytes(), &mut Vec::new());
        assert!(matches!(refused, Err(Failure::Configuration(_))));
    }
}
