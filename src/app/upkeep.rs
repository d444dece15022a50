//! What happens without a request: files are read anew, emergencies end, unknown callers are counted into the
//! audit log. On the admin runtime, so that an overload does not hold it up.

use super::watching;
use crate::audit::{Auditor, Record};
use crate::clock::{self, Now};
use crate::guard::{Guard, Phase};
use crate::identity::jwt::Jwt;
use crate::incident::Watchers;
use crate::proto::operations as wire;
use crate::reason::{Action, Reason};
use crate::reload::{ReloadStatus, Reloader};
use crate::telemetry::{Sample, Telemetry};
use crate::trace::RequestId;
use crate::transport::operations::Control;
use crate::transport::tls::{CertificateStatus, Tls};
use crate::transport::workload::Workload;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

/// How often files are looked at: a change is in force three times that later at the most.
pub(super) const POLL: Duration = Duration::from_secs(1);
/// How often unknown callers are recorded, and how long a standing is good that nothing else has ended: the
/// keys of a provider that does not answer may have become too old meanwhile.
const MINUTE: Duration = Duration::from_mins(1);
/// No emergency lasts longer.
const EMERGENCY_MAX: Duration = Duration::from_hours(25);

/// What is kept up, and what an operator may ask of it.
pub(super) struct Upkeep {
    /// The guard.
    pub guard: Arc<Guard>,
    /// What is read anew.
    pub reloader: Arc<Reloader>,
    /// Certificates in service.
    pub tls: Option<Arc<Tls>>,
    /// The provider's keys in service.
    pub jwt: Option<Arc<Jwt>>,
    /// The SPIFFE agent.
    pub workload: Option<Workload>,
    /// What looks at many requests at once.
    pub watchers: Arc<Watchers>,
    /// Tells open connections that what they rest on was read anew.
    pub changes: watch::Sender<u64>,
    /// When all this began.
    pub started: SystemTime,
}

impl Upkeep {
    /// Has the ends of certificates, the state of reloads and the open emergencies read at each scrape.
    pub(super) fn gauges(&self, telemetry: &Telemetry) {
        watching::gauges(&self.guard, &self.watchers, telemetry);
        if let Some(tls) = self.tls.clone() {
            let help = "When a certificate, or a revocation list, ends";
            telemetry.gauge("certificate_expiry_timestamp_seconds", help, move || {
                let ends = |at: SystemTime| at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
                let sample = |status: CertificateStatus| Sample {
                    labels: vec![("certificate", status.name)],
                    value: ends(status.expires),
                };
                tls.status().into_iter().map(sample).collect()
            });
        }
        if let Some(jwt) = self.jwt.clone() {
            telemetry.gauge("jwks_keys", "Keys of the provider of tokens in use", move || {
                Sample::count(jwt.status().keys)
            });
        }
        if let Some(workload) = &self.workload {
            let status = workload.watch();
            telemetry.gauge("workload_api_connected", "Whether the SPIFFE agent answers", move || {
                Sample::holds(status.borrow().connected)
            });
        }
        // What reloads tells telemetry, which must not hold it in turn.
        let reloader = Arc::downgrade(&self.reloader);
        let help = "Whether what is in service is what was last found on disk";
        telemetry.gauge("reload_current", help, move || {
            let status = reloader.upgrade().map(|reloader| reloader.status()).unwrap_or_default();
            let sample = |status: ReloadStatus| Sample {
                labels: vec![("source", status.name.to_owned())],
                value: f64::from(u8::from(status.current)),
            };
            status.into_iter().map(sample).collect()
        });
        let guard = Arc::downgrade(&self.guard);
        telemetry.gauge("emergencies_open", "Roles that are assumed for an emergency", move || {
            Sample::count(guard.upgrade().map_or(0, |guard| guard.admission.emergencies_open(Now::read())))
        });
    }

    /// Goes on until dropped.
    pub(super) async fn run(self: Arc<Self>) {
        let mut second = tokio::time::interval(POLL);
        let mut minute = tokio::time::interval_at((clock::instant() + MINUTE).into(), MINUTE);
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        minute.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let whole = tokio::select! {
                _ = second.tick() => false,
                _ = minute.tick() => true,
            };
            let upkeep = Arc::clone(&self);
            // Files, and the ledger's disk, may make their users wait.
            let kept = tokio::task::spawn_blocking(move || {
                let now = Now::read();
                upkeep.reloader.poll(now);
                upkeep.tell_connections();
                upkeep.end_emergencies(now, now);
                watching::record(&upkeep.guard.auditor, &upkeep.watchers);
                if whole {
                    upkeep.close_minute(now);
                }
            });
            if let Err(error) = kept.await {
                tracing::error!(%error, "upkeep ended unexpectedly");
            }
        }
    }

    /// Records those who were turned away unknown, and has every standing worked out anew.
    pub(super) fn close_minute(&self, now: Now) {
        // The error is logged where it happens; the next minute tries again.
        self.guard.auditor.close_tally(now, || RequestId::new(rand::random())).ok();
        self.guard.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// What is left to record when nothing comes any more.
    pub(super) fn close_for_good(&self, now: Now) {
        watching::record(&self.guard.auditor, &self.watchers);
        self.close_minute(now);
        // What lasts ends here: after a start nobody has assumed anything.
        let after_all = Now { monotonic: now.monotonic + EMERGENCY_MAX, ..now };
        self.end_emergencies(after_all, now);
    }

    fn tell_connections(&self) {
        let Some(tls) = &self.tls else { return };
        let generation = tls.generation();
        self.changes.send_if_modified(|told| std::mem::replace(told, generation) != generation);
    }

    /// Records emergencies that are over (DICOM PS3.15 A.5.3, event 110138 Emergency Override Stopped).
    fn end_emergencies(&self, by: Now, now: Now) {
        for ended in self.guard.admission.emergencies_ended(by) {
            let record = Record {
                principal: ended.principal.to_string(),
                role: ended.role.to_string(),
                emergency: ended.reason.to_string(),
                action: Action::Allowed,
                reason: Reason::EmergencyEnded,
                status: Reason::EmergencyEnded.status(),
                detail: "dicom=110138".to_owned(),
                ..Record::blank(RequestId::new(rand::random()), now)
            };
            tracing::warn!(principal = record.principal, role = record.role, "emergency access is over");
            self.guard.auditor.event(&record).ok();
        }
    }
}

/// Records and logs what came of a reload.
pub(super) fn reloaded(
    auditor: &Auditor,
    telemetry: &Telemetry,
    source: &str,
    outcome: &Result<(), String>,
    now: Now,
) {
    let (action, reason) = match outcome {
        Ok(()) => (Action::Allowed, Reason::Reloaded),
        Err(_) => (Action::Refused, Reason::ReloadFailed),
    };
    telemetry.reloaded(source, reason);
    match outcome {
        Ok(()) => tracing::info!(source, "read anew"),
        Err(problem) => tracing::error!(source, problem, "cannot be used; the last good one stays"),
    }
    let record = Record {
        action,
        reason,
        status: reason.status(),
        detail: format!("source={source}"),
        ..Record::blank(RequestId::new(rand::random()), now)
    };
    // The error is logged where it happens; what was read anew is in force all the same.
    auditor.event(&record).ok();
}

impl Control for Upkeep {
    fn reload(&self) -> Vec<wire::Reloaded> {
        let outcomes = self.reloader.reload_all(Now::read()).into_iter();
        let told = outcomes.map(|(name, outcome)| wire::Reloaded {
            name: name.to_owned(),
            error: outcome.err().unwrap_or_default(),
        });
        told.collect()
    }

    fn status(&self) -> wire::StatusResponse {
        let now = Now::read();
        let phase = match *self.guard.phase.borrow() {
            Phase::Serving => wire::Phase::Serving,
            Phase::Leaving => wire::Phase::Leaving,
            Phase::Draining => wire::Phase::Draining,
        };
        let sources = self.reloader.status().into_iter().map(|status| wire::Source {
            name: status.name.to_owned(),
            last_good: Some(status.last_good.into()),
            good: status.good,
            failed: status.failed,
            current: status.current,
        });
        let certificates = self
            .tls
            .iter()
            .flat_map(|tls| tls.status())
            .map(|status| wire::Certificate { name: status.name, expires: Some(status.expires.into()) });
        let jwks = self.jwt.as_ref().map(|jwt| jwt.status()).map(|status| wire::Jwks {
            keys: u32::try_from(status.keys).unwrap_or(u32::MAX),
            fetched: status.fetched_at.map(Into::into),
            failures: status.failures,
        });
        let workload_api = self.workload.as_ref().map(Workload::status).map(|status| wire::WorkloadApi {
            connected: status.connected,
            denied: status.denied,
            last_update: status.last_update.map(Into::into),
            updates: status.updates,
            failures: status.failures,
            error: status.problem.map(|problem| problem.to_string()).unwrap_or_default(),
        });
        wire::StatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            phase: phase.into(),
            started: Some(self.started.into()),
            sources: sources.collect(),
            certificates: certificates.collect(),
            jwks,
            emergencies_open: u32::try_from(self.guard.admission.emergencies_open(now)).unwrap_or(u32::MAX),
            workload_api,
        }
    }
}
