//! What is the state of models, queue and audit log? Gauges, read at each scrape from whoever knows.

use crate::audit::file::FileLedger;
use crate::clock;
use crate::guard::Guard;
use crate::judgement::Served;
use crate::telemetry::{Sample, Telemetry};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Has them read. The guard holds telemetry, which must not hold it in turn.
pub(super) fn register(
    telemetry: &Telemetry,
    guard: &Arc<Guard>,
    ledger: &Arc<FileLedger>,
    started: SystemTime,
) {
    let started = started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    telemetry.gauge("start_time_seconds", "When the process started", move || Sample::alone(started));
    let queue = Arc::downgrade(guard);
    telemetry.gauge("queue_length", "Runs that wait for a compute thread", move || {
        let waiting = queue.upgrade().map_or(0, |guard| guard.pool.waiting());
        Sample::alone(f64::from(u32::try_from(waiting).unwrap_or(u32::MAX)))
    });
    let catalog = Arc::downgrade(guard);
    let served = move || catalog.upgrade().map(|guard| guard.catalog.served()).unwrap_or_default();
    let (known, serving) = (Mutex::default(), served.clone());
    telemetry.gauge("model_ready", "Whether a version that was served is served", move || {
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        ready(&mut known, &serving())
    });
    let help = "When the calibration in use was made";
    telemetry.gauge("calibration_timestamp_seconds", help, move || {
        let made = |served: &Arc<Served>| {
            let made = served.calibration.as_ref()?.created();
            Some(Sample {
                labels: labels(&served.contract.name, &served.contract.version),
                value: as_f64(made),
            })
        };
        served().iter().filter_map(made).collect()
    });
    let lagging = Arc::downgrade(ledger);
    let help = "Age of the oldest record that is not yet on the disk; 0 when all are";
    telemetry.gauge("audit_lag_seconds", help, move || {
        let lag = lagging.upgrade().map(|ledger| ledger.lag(clock::instant()));
        Sample::alone(lag.unwrap_or_default().as_secs_f64())
    });
    let written = Arc::downgrade(ledger);
    telemetry.gauge("audit_writable", "Whether the audit log took the last record or probe", move || {
        let writable = written.upgrade().is_some_and(|ledger| ledger.took_last());
        Sample::alone(f64::from(u8::from(writable)))
    });
}

/// Versions that were served at a scrape, and whether they still are: one that is gone says 0, not nothing. Bounded by
/// what the repository ever held.
fn ready(known: &mut BTreeMap<(String, String), bool>, served: &[Arc<Served>]) -> Vec<Sample> {
    for ready in known.values_mut() {
        *ready = false;
    }
    for served in served {
        known.insert((served.contract.name.clone(), served.contract.version.clone()), true);
    }
    let sample = |((model, version), ready): (&(String, String), &bool)| Sample {
        labels: labels(model, version),
        value: f64::from(u8::from(*ready)),
    };
    known.iter().map(sample).collect()
}

fn labels(model: &str, version: &str) -> Vec<(&'static str, String)> {
    vec![("model", model.to_owned()), ("version", version.to_owned())]
}

#[expect(clippy::cast_precision_loss, reason = "seconds are exact for 285 million years")]
fn as_f64(seconds: i64) -> f64 {
    seconds as f64
}
