//! A sidecar as a process of its own, started and stopped as an operator does it.

use serde::Deserialize;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const START_TIMEOUT: Duration = Duration::from_mins(1);
const STOP_TIMEOUT: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(10);
/// Lines of the log that are shown when it does not start, and characters of each.
const TAIL_LINES: usize = 8;
const TAIL_CHARS: usize = 400;

/// A sidecar that is ready. Dropping it ends the process at once.
#[derive(Debug)]
pub struct Sidecar {
    child: Child,
    /// Where it serves gRPC.
    pub grpc: SocketAddr,
    /// Where it serves `/metrics`.
    pub admin: SocketAddr,
}

/// What `asepsis serve` prints once it serves.
#[derive(Deserialize)]
struct Ready {
    event: String,
    grpc: SocketAddr,
    admin: SocketAddr,
}

impl Sidecar {
    /// Starts `executable serve --config config` on free ports, its log in `log`, and waits until it is ready.
    ///
    /// # Errors
    /// Why it did not start, with the end of its log.
    pub fn start(executable: &Path, config: &Path, log: &Path) -> Result<Self, String> {
        let problem = |error: std::io::Error| format!("the sidecar cannot be started: {error}");
        let stderr = File::create(log).map_err(problem)?;
        let mut child = Command::new(executable)
            .arg("serve")
            .arg("--config")
            .arg(config)
            .env("ASEPSIS__LISTEN__GRPC", "127.0.0.1:0")
            .env("ASEPSIS__LISTEN__ADMIN", "127.0.0.1:0")
            .env("ASEPSIS__LISTEN__OPERATIONS", "127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .map_err(problem)?;
        let stdout = child.stdout.take();
        match stdout.and_then(ready) {
            Some(ready) => Ok(Self { child, grpc: ready.grpc, admin: ready.admin }),
            None => Err(did_not_start(child, log)),
        }
    }

    /// Asks it to stop (SIGTERM) and waits until it has answered everybody and gone.
    ///
    /// # Errors
    /// It did not stop, or not well.
    pub fn stop(mut self) -> Result<(), String> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            .map_err(|error| format!("the sidecar cannot be stopped: {error}"))?;
        match wait(&mut self.child, STOP_TIMEOUT) {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(format!("the sidecar did not stop well: {status}")),
            None => Err(format!("the sidecar did not stop within {} s", STOP_TIMEOUT.as_secs())),
        }
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Ends a process that may have ended already; there is nothing to be done about an error.
fn end(child: &mut Child) {
    drop(child.kill());
    drop(child.wait());
}

/// The ready line; `None` if the process ends or is silent for too long. Reads on to the end, so that the
/// process never waits for a reader.
fn ready(stdout: ChildStdout) -> Option<Ready> {
    let (found, wait) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            match serde_json::from_str::<Ready>(&line) {
                Ok(ready) if ready.event == "ready" => drop(found.send(ready)),
                Ok(_) | Err(_) => {}
            }
        }
    });
    wait.recv_timeout(START_TIMEOUT).ok()
}

fn wait(child: &mut Child, timeout: Duration) -> Option<ExitStatus> {
    let deadline: Instant = crate::clock::instant() + timeout;
    while crate::clock::instant() < deadline {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        std::thread::sleep(POLL);
    }
    None
}

fn did_not_start(mut child: Child, log: &Path) -> String {
    let ended = match wait(&mut child, Duration::from_secs(1)) {
        Some(status) => format!("the sidecar did not start: {status}"),
        None => format!("the sidecar was not ready within {} s", START_TIMEOUT.as_secs()),
    };
    end(&mut child);
    format!("{ended}; the end of its log, {}:\n{}", log.display(), tail(log))
}

/// The last lines of a log, indented.
fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(TAIL_LINES);
    let mut tail = String::new();
    for line in lines.iter().skip(from) {
        tail.push_str("  ");
        tail.extend(line.chars().take(TAIL_CHARS));
        tail.push('\n');
    }
    if tail.is_empty() { "  (empty)\n".to_owned() } else { tail }
}

/// The log beside a configuration.
#[must_use]
pub fn log_of(directory: &Path) -> PathBuf {
    directory.join("sidecar.log")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A program that behaves as `script` says.
    fn program(directory: &Path, script: &str) -> PathBuf {
        let path = directory.join("program");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        path
    }

    fn start(script: &str) -> (tempfile::TempDir, Result<Sidecar, String>) {
        let directory = tempfile::tempdir().unwrap();
        let program = program(directory.path(), script);
        let log = log_of(directory.path());
        let started = Sidecar::start(&program, Path::new("asepsis.toml"), &log);
        (directory, started)
    }

    const READY: &str = r#"echo '{"event":"ready","grpc":"127.0.0.1:1","admin":"127.0.0.1:2","pid":3}'"#;

    #[test]
    fn one_that_does_not_start_shows_the_end_of_its_log() {
        let (_directory, started) = start("echo no library >&2; exit 78");
        let why = started.unwrap_err();
        assert!(why.contains("78") && why.contains("  no library\n"), "{why}");
    }

    #[test]
    fn one_that_stops_badly_is_an_error() {
        let (_directory, started) =
            start(&format!("trap 'exit 3' TERM; {READY}; while :; do sleep 0.01; done"));
        let sidecar = started.unwrap();
        assert_eq!((sidecar.grpc.port(), sidecar.admin.port()), (1, 2));
        assert!(sidecar.stop().is_err_and(|why| why.contains('3')));
    }

    #[test]
    fn one_that_stops_well_was_asked_by_sigterm() {
        let (_directory, started) =
            start(&format!("trap 'exit 0' TERM; {READY}; [ $1 = serve ] && while :; do sleep 0.01; done"));
        assert_eq!(started.unwrap().stop(), Ok(()));
    }
}
