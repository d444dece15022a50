//! What is said after the table: how long calls take, where the audit log is, where the metrics are.

use super::callers::Callers;
use super::cases::Caller;
use super::ledger::Entries;
use super::{command, metrics};
use crate::cli::Failure;
use crate::cli::client::TIMEOUT;
use crate::clock;
use crate::config::Config;
use crate::proto::ModelInferRequest;
use crate::transport::client::{Outcome, TransportError};
use std::io::Write;
use std::net::SocketAddr;

const WARM_UP_CALLS: usize = 20;
const MEASURED_CALLS: usize = 200;
/// Lines of the counters that are shown.
const COUNTERS_SHOWN: usize = 6;

/// The median of sequential calls, and the slowest of a hundred.
///
/// # Errors
/// The connection broke.
pub async fn latency(callers: &mut Callers, request: ModelInferRequest) -> Result<String, Failure> {
    let broken = |error: TransportError| Failure::Other(error.to_string());
    let mut client = callers.client(Caller::Client).await?.map_err(broken)?;
    let mut times = Vec::with_capacity(MEASURED_CALLS);
    for call in 0..WARM_UP_CALLS + MEASURED_CALLS {
        let request = request.clone();
        let started = clock::instant();
        if let Outcome::Transport(error) = client.infer(request, TIMEOUT).await {
            return Err(broken(error));
        }
        if call >= WARM_UP_CALLS {
            times.push(clock::instant().duration_since(started));
        }
    }
    times.sort();
    let at = |share: usize| times.get(times.len() * share / 100).map_or(0.0, |t| t.as_secs_f64() * 1e3);
    Ok(format!(
        "{MEASURED_CALLS} sequential wdbc calls over mutual TLS: p50 {:.2} ms, p99 {:.2} ms",
        at(50),
        at(99)
    ))
}

/// Where the audit log is, and what this run wrote to it.
///
/// # Errors
/// `out` cannot be written.
pub fn tell_audit(config: &Config, entries: Option<&Entries>, out: &mut dyn Write) -> Result<(), Failure> {
    let directory = config.audit.directory.display();
    match entries {
        Some(entries) => writeln!(
            out,
            "Audit     {directory}: {} entries of this run; every answer and refusal above was held against its own.\n          \
             Verify its chain: {} audit verify {directory}",
            entries.count,
            command()
        )?,
        None => writeln!(out, "Audit     {directory}, which cannot be read from here")?,
    }
    Ok(())
}

/// Where the metrics are, and the counters that moved most.
///
/// # Errors
/// `out` cannot be written.
pub fn tell_metrics(admin: Option<SocketAddr>, out: &mut dyn Write) -> Result<(), Failure> {
    let Some(admin) = admin else { return Ok(()) };
    match metrics::counter(admin, "asepsis_requests_total") {
        Err(why) => writeln!(out, "Metrics   {why}")?,
        Ok(mut lines) => {
            lines.sort_by_key(|line| std::cmp::Reverse(metrics::value(line)));
            writeln!(out, "Metrics   http://{admin}/metrics while it serves; from there now:")?;
            for line in lines.iter().take(COUNTERS_SHOWN) {
                writeln!(out, "          {line}")?;
            }
            if let Some(more @ 1..) = lines.len().checked_sub(COUNTERS_SHOWN) {
                writeln!(out, "          and {more} more of this counter")?;
            }
        }
    }
    Ok(())
}
