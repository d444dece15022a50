//! What is the state of models, queue and audit log? Gauges, read at each scrape from whoever knows.

use crate::audit::file::FileLedger;
use crate::catalog::Catalog;
use crate::clock;
use crate::guard::Guard;
use crate::judgement::Served;
use crate::telemetry::{Sample, Telemetry};
use std::sync::Arc;
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
    let calls = Arc::downgrade(guard);
    telemetry.gauge("in_flight", "Calls in flight", move || {
        Sample::count(calls.upgrade().map_or(0, |guard| guard.admission.in_flight()))
    });
    let queue = Arc::downgrade(guard);
    telemetry.gauge("queue_length", "Runs that wait for a compute thread", move || {
        Sample::count(queue.upgrade().map_or(0, |guard| guard.pool.waiting()))
    });
    let catalog = Arc::downgrade(guard);
    telemetry.gauge("model_ready", "Whether a version that is to be served is served", move || {
        catalog.upgrade().map(|guard| ready(&guard.catalog)).unwrap_or_default()
    });
    let catalog = Arc::downgrade(guard);
    let served = move || catalog.upgrade().map(|guard| guard.catalog.served()).unwrap_or_default();
    let help = "When the calibration in use was made";
    telemetry.gauge("calibration_timestamp_seconds", help, move || {
        let made = |served: &Arc<Served>| {
            let made = served.calibration.as_ref()?.created();
            Some(Sample::of_version(&served.contract.name, &served.contract.version, as_f64(made)))
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
        Sample::holds(written.upgrade().is_some_and(|ledger| ledger.took_last()))
    });
}

/// 1 for each version that is served, 0 for each that a load failed to serve. One that was unloaded says nothing: it is
/// not meant to be served.
fn ready(catalog: &Catalog) -> Vec<Sample> {
    let served = catalog.served();
    let served = served.iter().map(|served| {
        let contract = &served.contract;
        Sample::of_version(&contract.name, &contract.version, 1.0)
    });
    let missing = catalog.missing();
    let missing = missing.iter().map(|(model, version)| Sample::of_version(model, &version.to_string(), 0.0));
    served.chain(missing).collect()
}

#[expect(clippy::cast_precision_loss, reason = "seconds are exact for 285 million years")]
fn as_f64(seconds: i64) -> f64 {
    seconds as f64
}
