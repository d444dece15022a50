//! `asepsis serve`: the sidecar in the foreground, until a signal.

use super::Failure;
use crate::app::App;
use crate::config::Config;
use std::io::Write;
use std::path::PathBuf;
use tokio::signal::unix::{Signal, SignalKind, signal};

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
    let app = App::start(&config).map_err(|error| Failure::Configuration(error.to_string()))?;
    let signals = app.admin().block_on(async { Signals::new() })?;
    announce(&app, out)?;
    let mut signals = app.admin().block_on(async move {
        let mut signals = signals;
        signals.next().await;
        signals
    });
    tracing::info!("stopping");
    app.stop(async move { signals.next().await });
    Ok(())
}

/// The ready line: scripts wait for it and read the addresses from it.
fn announce(app: &App, out: &mut dyn Write) -> Result<(), Failure> {
    let addresses = app.addresses();
    let text = |address: Option<std::net::SocketAddr>| address.map(|address| address.to_string());
    let mut line = serde_json::Map::new();
    line.insert("event".into(), "ready".into());
    line.insert("grpc".into(), text(addresses.grpc).into());
    line.insert("admin".into(), text(addresses.admin).into());
    if let Some(path) = &addresses.unix {
        line.insert("unix".into(), path.display().to_string().into());
    }
    line.insert("pid".into(), std::process::id().into());
    writeln!(out, "{}", serde_json::Value::Object(line))?;
    Ok(out.flush()?)
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Logs to standard error; standard output belongs to the ready line.
fn log(config: &Config) {
    use crate::config::LogFormat;
    // What libraries trace would tell of headers and frames.
    let filter = tracing_subscriber::EnvFilter::new(format!("warn,asepsis={}", config.log.level.as_str()));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let set = match config.log.format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.try_init(),
    };
    if let Err(error) = set {
        tracing::debug!(%error, "a log is set already");
    }
}
