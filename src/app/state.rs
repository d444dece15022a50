//! What are probes, scrapes and the console told? Every part of the running sidecar, at the moment somebody looks.

use super::upkeep::Upkeep;
use crate::admin::AdminState;
use crate::admin::console::{Calibrated, Console, Model, Serving, View};
use crate::audit::file::FileLedger;
use crate::catalog::Listed;
use crate::clock::Now;
use crate::config::Config;
use crate::guard::{Guard, Phase};
use crate::judgement::Served;
use crate::telemetry::recent::Recent;
use crate::telemetry::{Exposition, Telemetry};
use crate::transport::workload::Workload;
use std::sync::Arc;

/// What the admin port answers from.
pub(super) struct State {
    conditions: Conditions,
    telemetry: Arc<Telemetry>,
    console: Option<Console>,
}

/// What readiness rests on.
#[derive(Clone)]
pub(super) struct Conditions {
    pub(super) guard: Arc<Guard>,
    pub(super) ledger: Arc<FileLedger>,
}

impl Conditions {
    fn readiness(&self) -> Vec<(&'static str, bool)> {
        vec![
            ("serving", *self.guard.phase.borrow() == Phase::Serving),
            ("models", self.guard.catalog.ready()),
            ("audit", self.ledger.writable()),
        ]
    }
}

impl State {
    /// With a console of the last minutes, if they are kept.
    pub(super) fn new(
        config: &Config,
        conditions: Conditions,
        telemetry: Arc<Telemetry>,
        recent: Option<(Arc<Recent>, Arc<Upkeep>)>,
    ) -> Self {
        let seen = conditions.clone();
        let console = recent.map(|(recent, upkeep)| {
            let (in_flight_max, queue_max) = (config.limits.in_flight_max, config.limits.queue_max);
            let durability = config.audit.durability;
            Console::new(&config.console, move |now: Now| View {
                now: now.wall,
                started: upkeep.started,
                version: env!("CARGO_PKG_VERSION"),
                readiness: seen.readiness(),
                models: models(&seen.guard.catalog.list(), &seen.guard.catalog.served(), &recent),
                window: recent.window(now),
                judged: recent.judged(),
                refused: recent.refused(),
                in_flight: (seen.guard.admission.in_flight(), in_flight_max),
                queue: (seen.guard.pool.waiting(), queue_max),
                durability,
                audit_lag: seen.ledger.lag(now.monotonic),
                certificates: upkeep.tls.iter().flat_map(|tls| tls.status()).collect(),
                sources: upkeep.reloader.status(),
                jwks: upkeep.jwt.as_ref().map(|jwt| jwt.status()),
                workload: upkeep.workload.as_ref().map(Workload::status),
            })
        });
        Self { conditions, telemetry, console }
    }
}

impl AdminState for State {
    fn readiness(&self) -> Vec<(&'static str, bool)> {
        self.conditions.readiness()
    }

    fn metrics(&self, exposition: Exposition, out: &mut String) {
        self.telemetry.metrics(exposition, out);
    }

    fn console(&self) -> Option<&Console> {
        self.console.as_ref()
    }
}

/// Every version that is served, and those on disk that are not.
fn models(listed: &[Listed], served: &[Arc<Served>], recent: &Recent) -> Vec<Model> {
    let is_served = |listed: &Listed| {
        let version = listed.version.to_string();
        served.iter().any(|served| served.contract.name == listed.name && served.contract.version == version)
    };
    let idle = listed.iter().filter(|listed| !is_served(listed)).map(|listed| Model {
        name: listed.name.clone(),
        version: listed.version.to_string(),
        serving: None,
    });
    let mut models: Vec<Model> = served.iter().map(|served| serving(served, recent)).chain(idle).collect();
    // Versions are numbers: 10 comes after 9.
    models.sort_by_key(|model| (model.name.clone(), model.version.parse::<u32>().unwrap_or(u32::MAX)));
    models
}

fn serving(served: &Served, recent: &Recent) -> Model {
    let (contract, policy) = (&served.contract, &served.policy);
    let calibration = served.calibration.as_ref().map(|calibration| Calibrated {
        created: calibration.created(),
        site: calibration.site().to_owned(),
        p_values: calibration.clean_p_values(),
    });
    let p_values = served
        .promised
        .as_ref()
        .map(|promised| recent.p_values(&contract.name, &contract.version, &promised.calibration));
    Model {
        name: contract.name.clone(),
        version: contract.version.clone(),
        serving: Some(Serving {
            since: served.loaded,
            is_stale: served.is_stale,
            shadow_share: policy.shadow.then_some(policy.shadow_share),
            alpha: policy.alpha,
            alpha_flag: policy.alpha_flag,
            calibration,
            has_twin: contract.twin.is_some(),
            baseline: contract.baseline.clone(),
            p_values: p_values.unwrap_or_default(),
        }),
    }
}
