//! Which requests leave a line in the log? Off, the noteworthy, or all: one line a closed entry, from a thread of its
//! own, so that no request waits for whoever reads the log.
//!
//! The record is the audit log; these lines are for those who follow a trace through the logs of many services. Who
//! asked, and what the caller named its request, stands in the audit log alone, under the same request id.

use super::spans;
use crate::audit::ClosedEntry;
use crate::trace::Ids;
use arc_swap::ArcSwapOption;
use prometheus_client::metrics::counter::Counter;
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What these lines are known by to filters.
pub const TARGET: &str = "asepsis::request";

/// Lines that may wait; more are left out and counted.
const QUEUE_MAX: usize = 1024;
/// How long a shutdown waits for the last lines.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Which requests are logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Logged {
    /// None.
    #[default]
    None,
    /// Those whose traces are always kept: whatever was not simply answered, or was slow.
    Noteworthy,
    /// All.
    All,
}

/// The near end of the queue.
pub(super) struct RequestLog {
    logged: Logged,
    /// `None` after a shutdown.
    queue: ArcSwapOption<SyncSender<ClosedEntry>>,
    /// Disconnected when the last line is written.
    done: Mutex<Receiver<()>>,
    dropped: Counter,
}

impl RequestLog {
    /// Starts the thread; `None` where nothing is to be logged.
    pub(super) fn start(logged: Logged, dropped: Counter) -> io::Result<Option<Self>> {
        if logged == Logged::None {
            return Ok(None);
        }
        let (queue, entries) = mpsc::sync_channel(QUEUE_MAX);
        let (working, done) = mpsc::channel::<()>();
        let write = move || {
            let _working = working;
            for closed in entries {
                line(&closed);
            }
        };
        std::thread::Builder::new().name("request-log".to_owned()).spawn(write)?;
        let queue = ArcSwapOption::from_pointee(queue);
        Ok(Some(Self { logged, queue, done: Mutex::new(done), dropped }))
    }

    /// Queues the line of an entry, if it is to have one. Never waits.
    pub(super) fn offer(&self, closed: &ClosedEntry, noteworthy: bool) {
        let wanted = match self.logged {
            Logged::None => false,
            Logged::Noteworthy => noteworthy,
            Logged::All => true,
        };
        if !wanted {
            return;
        }
        let queue = self.queue.load();
        let sent = queue.as_ref().is_some_and(|queue| queue.try_send(closed.clone()).is_ok());
        if !sent {
            self.dropped.inc();
        }
    }

    /// Closes the queue and waits a bounded time for the last lines.
    pub(super) fn shutdown(&self) {
        self.queue.store(None);
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(RecvTimeoutError::Timeout) = done.recv_timeout(FLUSH_TIMEOUT) {
            tracing::warn!("the last lines of requests were not written in time");
        }
    }
}

/// Writes the line of an entry.
fn line(closed: &ClosedEntry) {
    let (record, observation) = (&closed.record, &closed.observation);
    let parent = observation.parent.as_ref();
    let trace_id = format!("{:032x}", Ids::of(record.request_id, parent).trace_id);
    tracing::info!(
        target: TARGET,
        trace_id,
        span_id = spans::id(closed),
        request_id = %record.request_id,
        role = record.role,
        rpc = record.rpc.map_or("", |rpc| rpc.as_str()),
        model = record.model,
        version = record.version,
        action = record.action.as_str(),
        reason = record.reason.as_str(),
        status = record.status.as_str(),
        detail = record.detail,
        emergency = record.emergency,
        shadowed = observation.shadowed.map_or("", |action| action.as_str()),
        rows = observation.rows,
        rows_run = observation.rows_run,
        duration_us = u64::try_from(observation.took().as_micros()).unwrap_or(u64::MAX),
        "request"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::{Action, Reason};
    use crate::telemetry::log::Lines;
    use crate::telemetry::tests::{Kept, closed};
    use serde_json::Value;

    fn logged(entry: &ClosedEntry) -> Value {
        let kept = Kept::default();
        tracing::subscriber::with_default(kept.subscriber(Lines::Json), || line(entry));
        let text = kept.text();
        assert_eq!(text.lines().count(), 1, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_line_says_what_the_closed_entry_says() {
        let mut entry = closed(Action::Refused, Reason::NonFinite);
        entry.record.workload = "spiffe://hospital/secret".to_owned();
        let line = logged(&entry);
        for (key, value) in [
            ("message", "request"),
            ("target", TARGET),
            ("trace_id", "0123456789abcdef0123456789abcdee"),
            ("request_id", "0123456789abcdef0123456789abcdee"),
            ("role", "clinician"),
            ("rpc", "ModelInfer"),
            ("model", "wdbc"),
            ("action", "refused"),
            ("reason", "non_finite"),
            ("status", "INVALID_ARGUMENT"),
            ("shadowed", ""),
        ] {
            assert_eq!(line[key], value, "{key}");
        }
        // Whoever reads logs is not told who called, and what the caller named its request: that may name a patient.
        let text = line.to_string();
        for word in ["client_id", "case-7", "principal", "dns:ward", "workload", "spiffe://hospital/secret"] {
            assert!(!text.contains(word), "{word} in {text}");
        }
        assert_eq!((&line["duration_us"], &line["rows_run"]), (&10_000.into(), &8.into()));
    }

    /// CWE-117: a name of a caller's choice begins no line of its own and ends no field.
    #[test]
    fn whoever_chooses_its_name_writes_no_line_and_no_field() {
        let mut entry = closed(Action::Refused, Reason::BadCredential);
        entry.record.emergency =
            "mallory\"}\n{\"action\":\"allowed\",\u{1b}[2K\u{85}\u{2028}\u{202e}x".to_owned();
        entry.record.detail = "a".repeat(100_000);
        let line = logged(&entry);
        assert_eq!(line["emergency"], entry.record.emergency);
        assert_eq!(line["action"], "refused");
        let detail = line["detail"].as_str().unwrap();
        assert!(detail.len() < 1_100 && detail.ends_with("[98976 bytes more]"), "{detail}");
    }

    #[test]
    fn lines_that_find_no_place_are_counted_and_nobody_waits() {
        let dropped = Counter::default();
        assert!(RequestLog::start(Logged::None, dropped.clone()).unwrap().is_none());
        let log = RequestLog::start(Logged::Noteworthy, dropped.clone()).unwrap().unwrap();
        log.shutdown();
        let entry = closed(Action::Refused, Reason::NonFinite);
        log.offer(&entry, false);
        assert_eq!(dropped.get(), 0);
        log.offer(&entry, true);
        assert_eq!(dropped.get(), 1);
    }
}
