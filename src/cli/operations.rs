//! `asepsis operations`: what an operator asks of a running sidecar, over mutual TLS on its own port.

use super::Failure;
use crate::config::Config;
use crate::proto::operations::{Phase, ReloadResponse, StatusResponse};
use crate::transport::client::{Operator, Outcome, Target};
use crate::transport::tls;
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;

/// Commands.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Have certificates, revocation, access policy and keys read anew; fails if one cannot be used.
    Reload(Args),
    /// Print how the sidecar stands, as JSON.
    Status(Args),
}

/// Where the sidecar is, and who asks.
#[derive(clap::Args)]
pub struct Args {
    /// The sidecar's configuration file: where it listens to operators.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Where it listens to operators, if elsewhere: HOST:PORT.
    #[arg(long)]
    target: Option<Target>,
    /// The CA that signed the sidecar's certificate, PEM.
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// The operator's certificate, PEM; its role must grant `operations/Reload` or `operations/Status`.
    #[arg(long, value_name = "FILE")]
    certificate: PathBuf,
    /// Its private key, PEM; readable by its owner alone.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

/// Asks.
///
/// # Errors
/// No sidecar answers, it refuses, or something could not be read anew.
pub fn run(command: &Command, out: &mut dyn Write) -> Result<(), Failure> {
    let (Command::Reload(args) | Command::Status(args)) = command;
    let config = Config::load(&args.config, std::env::vars_os())
        .map_err(|problems| Failure::Configuration(problems.to_string()))?;
    let configured = config.listen.operations.as_ref().and_then(|address| address.parse().ok());
    let target = args.target.clone().or(configured);
    let target = target.ok_or_else(|| {
        Failure::Usage("the configuration has no listen.operations; give --target".to_owned())
    })?;
    let tls = tls::client(&args.ca, Some((&args.certificate, &args.key)))
        .map_err(|error| Failure::Configuration(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut operator = Operator::connect(&target, tls)
            .await
            .map_err(|error| Failure::Other(format!("no sidecar answers at {target}: {error}")))?;
        match command {
            Command::Reload(_) => reloaded(&operator.reload().await.map_err(|ended| refused(&ended))?, out),
            Command::Status(_) => {
                let status = operator.status().await.map_err(|ended| refused(&ended))?;
                Ok(writeln!(out, "{:#}", described(&status))?)
            }
        }
    })
}

fn refused(ended: &Outcome) -> Failure {
    Failure::Other(match ended {
        Outcome::Refused(refused) => format!("{}: {}", refused.status, refused.message),
        Outcome::Transport(error) => error.to_string(),
        Outcome::Answer(_) => "an answer to something else".to_owned(),
    })
}

fn reloaded(response: &ReloadResponse, out: &mut dyn Write) -> Result<(), Failure> {
    let mut failed = 0;
    for source in &response.sources {
        if source.error.is_empty() {
            writeln!(out, "{}: read anew", source.name)?;
        } else {
            failed += 1;
            writeln!(out, "{}: the last good one stays: {}", source.name, source.error)?;
        }
    }
    match failed {
        0 => Ok(()),
        failed => Err(Failure::Other(format!("{failed} of {} could not be used", response.sources.len()))),
    }
}

fn described(status: &StatusResponse) -> Value {
    let time = |at: &Option<prost_types::Timestamp>| at.as_ref().map(ToString::to_string);
    let phase = match status.phase() {
        Phase::Unspecified => "unknown",
        Phase::Serving => "serving",
        Phase::Leaving => "leaving",
        Phase::Draining => "draining",
    };
    let sources = status.sources.iter().map(|source| {
        json!({
            "name": source.name, "current": source.current, "last_good": time(&source.last_good),
            "good": source.good, "failed": source.failed,
        })
    });
    let certificates = status.certificates.iter();
    let certificates = certificates.map(|it| json!({ "name": it.name, "expires": time(&it.expires) }));
    let jwks = status.jwks.as_ref();
    let workload_api = status.workload_api.as_ref();
    json!({
        "version": status.version,
        "phase": phase,
        "started": time(&status.started),
        "sources": sources.collect::<Vec<_>>(),
        "certificates": certificates.collect::<Vec<_>>(),
        "jwks": jwks.map(|it| json!({
            "keys": it.keys, "fetched": time(&it.fetched), "failures": it.failures,
        })),
        "emergencies_open": status.emergencies_open,
        "workload_api": workload_api.map(|it| json!({
            "connected": it.connected, "denied": it.denied, "last_update": time(&it.last_update),
            "updates": it.updates, "failures": it.failures, "error": it.error,
        })),
    })
}
