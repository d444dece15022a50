//! What looks at many requests at once: how is an alarm put on record and shown, and where are rows kept?

use super::StartError;
use crate::audit::{Auditor, Record};
use crate::guard::Guard;
use crate::incident::Watchers;
use crate::incident::watchers::Raised;
use crate::inference::perturbation::Secret;
use crate::judgement::{Recorder, Served, recorder};
use crate::reason::{Action, Reason};
use crate::telemetry::{Sample, Telemetry};
use crate::trace::RequestId;
use std::sync::{Arc, Weak};

/// What keeps rows for a later calibration, if the configuration says so.
pub(super) fn recorder(settings: &recorder::Settings) -> Result<Option<Arc<Recorder>>, StartError> {
    let made = Recorder::start(settings, Secret::new(&rand::random()));
    let made = made.map_err(|error| StartError::one(format!("models.record.directory: {error}")))?;
    Ok(made.map(Arc::new))
}

/// Has what was promised of flagged rows, and whether it holds, read at each scrape.
pub(super) fn gauges(guard: &Arc<Guard>, watchers: &Arc<Watchers>, telemetry: &Telemetry) {
    let each = of_each(guard, |served| Some(served.promised.as_ref()?.alpha));
    let help = "Share of clean rows that calibration promised to be flagged at the most (alpha_flag)";
    telemetry.gauge("flag_rate_promised", help, each);
    if !watchers.watch_flag_rate() {
        return;
    }
    let test = Arc::clone(watchers);
    let each = of_each(guard, move |served| {
        let contract = &served.contract;
        let calibration = &served.promised.as_ref()?.calibration;
        let status = test.flag_rate(&contract.name, &contract.version, calibration);
        Some(f64::from(u8::from(status.is_some_and(|status| status.alarm.is_some()))))
    });
    let help =
        "Whether more rows are flagged than calibration promised; stands until the next calibration or start";
    telemetry.gauge("flag_rate_alarm", help, each);
    let counts = Arc::clone(watchers);
    let each = of_each(guard, move |served| {
        served.promised.as_ref()?;
        let alarms = counts.alarms(&served.contract.name, &served.contract.version);
        Some(f64::from(u32::try_from(alarms).unwrap_or(u32::MAX)))
    });
    telemetry.counter(
        "flag_rate_alarms",
        "Alarms that more rows are flagged than calibration promised",
        each,
    );
}

/// A sample for each served version that has this value.
fn of_each(
    guard: &Arc<Guard>,
    value: impl Fn(&Served) -> Option<f64> + Send + Sync + 'static,
) -> impl Fn() -> Vec<Sample> + Send + Sync + 'static {
    // What telemetry is read by must not hold what holds telemetry.
    let guard: Weak<Guard> = Arc::downgrade(guard);
    move || {
        let served = guard.upgrade().map(|guard| guard.catalog.served()).unwrap_or_default();
        let sample = |served: &Arc<Served>| {
            let contract = &served.contract;
            Some(Sample::of_version(&contract.name, &contract.version, value(served)?))
        };
        served.iter().filter_map(sample).collect()
    }
}

/// Puts alarms on record; one that the ledger does not keep is tried again the next time.
pub(super) fn record(auditor: &Auditor, watchers: &Watchers) {
    for raised in watchers.take_raised() {
        if auditor.event(&line(&raised)).is_err() {
            watchers.put_back(raised);
        }
    }
}

fn line(raised: &Raised) -> Record {
    let alarm = &raised.alarm;
    Record {
        model: raised.model.clone(),
        version: raised.version.clone(),
        action: Action::Allowed,
        reason: Reason::FlagRate,
        status: Reason::FlagRate.status(),
        detail: format!(
            "rows={} flagged={} recent={:.4} tolerated={:.4}",
            alarm.seen.rows, alarm.seen.flagged, alarm.recent_rate, alarm.tolerated_rate
        ),
        ..Record::blank(RequestId::new(rand::random()), raised.at)
    }
}
