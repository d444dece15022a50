//! `asepsis serve`: the sidecar in the foreground, until a signal.

use super::Failure;
use crate::app::{Addresses, App};
use crate::config::{Config, LogFormat};
use crate::telemetry::log::Lines;
use crate::telemetry::{Logged, requests};
use serde::Serialize;
use std::io::Write;
use std::net::SocketAddr;
use std::panic::PanicHookInfo;
use std::path::{Path, PathBuf};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// The configuration file.
    #[arg(long)]
    config: PathBuf,
}

/// Serves; prints one ready line on `out`.
///
/// # Errors
/// The configuration is wrong, or the sidecar cannot start.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let config = Config::load(&args.config, std::env::vars_os())
        .map_err(|problems| Failure::Configuration(problems.to_string()))?;
    log(&config);
    // A signal during the start waits for its end; SIGHUP would end the process otherwise.
    let early = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _installed = early.block_on(async { Signals::new() })?;
    let app = App::start(&config).map_err(|error| Failure::Configuration(error.to_string()))?;
    let signals = app.admin().block_on(async { Signals::new() })?;
    announce(&app, out)?;
    let mut signals = app.admin().block_on(async {
        let mut signals = signals;
        // The outcome is in the log, the audit log and the metrics.
        while signals.next().await == Told::Reload {
            tokio::task::block_in_place(|| drop(app.reload()));
        }
        signals
    });
    tracing::info!("stopping");
    app.stop(async move { while signals.next().await == Told::Reload {} });
    Ok(())
}

/// The ready line: scripts wait for it and read the addresses from it.
#[derive(Serialize)]
struct Ready<'a> {
    event: &'static str,
    grpc: Option<SocketAddr>,
    admin: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operations: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unix: Option<&'a Path>,
    pid: u32,
}

fn announce(app: &App, out: &mut dyn Write) -> Result<(), Failure> {
    let Addresses { grpc, admin, operations, unix } = app.addresses();
    let ready = Ready {
        event: "ready",
        grpc: *grpc,
        admin: *admin,
        operations: *operations,
        unix: unix.as_deref(),
        pid: std::process::id(),
    };
    let line = serde_json::to_string(&ready).map_err(|error| Failure::Other(error.to_string()))?;
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// SIGTERM, SIGINT and SIGHUP.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

/// What a signal tells.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Stop,
    Reload,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Stop,
            _ = self.interrupt.recv() => Told::Stop,
            _ = self.hang_up.recv() => Told::Reload,
        }
    }
}

/// Logs to standard error; standard output belongs to the ready line.
fn log(config: &Config) {
    // What libraries trace would tell of headers and frames.
    let of_requests = if config.log.requests == Logged::None { "off" } else { "info" };
    let level = config.log.level.as_str();
    let filter = format!("warn,asepsis={level},{}={of_requests}", requests::TARGET);
    let lines = match config.log.format {
        LogFormat::Json => Lines::Json,
        LogFormat::Text => Lines::Text,
    };
    let builder = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(filter)).event_format(lines);
    let set = builder.with_writer(std::io::stderr).try_init();
    if let Err(error) = set {
        tracing::debug!(%error, "a log is set already");
    }
    std::panic::set_hook(Box::new(|info| tracing::error!(place = place(info), "a thread panicked")));
}

/// Where a panic began. Its message is not told: it may quote what a caller sent.
fn place(info: &PanicHookInfo<'_>) -> String {
    info.location().map_or_else(String::new, |at| format!("{}:{}", at.file(), at.line()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_is_the_one_that_scripts_wait_for() {
        let address = |port: u16| Some(SocketAddr::from(([127, 0, 0, 1], port)));
        let ready = Ready {
            event: "ready",
            grpc: address(8001),
            admin: address(8002),
            operations: None,
            unix: None,
            pid: 7,
        };
        let line = r#"{"event":"ready","grpc":"127.0.0.1:8001","admin":"127.0.0.1:8002","pid":7}"#;
        assert_eq!(serde_json::to_string(&ready).unwrap(), line);
    }
}
