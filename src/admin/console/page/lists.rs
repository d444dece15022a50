//! What stands in the rows of the page's tables: models, requests, certificates and what is read anew?

use super::{Model, Serving, Timestamp, Tone, View, elapsed, text};
use crate::admission::Rpc;
use crate::audit::file::Durability;
use crate::reason::{Action, Stage};
use crate::telemetry::recent::Kept;
use std::time::Duration;

/// A certificate that ends sooner is pointed at.
const SOON: Duration = Duration::from_hours(7 * 24);
const NONE: &str = "–";

/// One version of a model.
pub(super) struct ModelRow {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) state: &'static str,
    pub(super) tone: Tone,
    pub(super) since: String,
    pub(super) calibrated: String,
    pub(super) calibrated_age: String,
    pub(super) site: String,
    pub(super) rows: String,
    pub(super) promise: String,
    pub(super) twin: &'static str,
    pub(super) baseline: String,
}

/// One request.
pub(super) struct KeptRow {
    pub(super) time: String,
    pub(super) action: &'static str,
    pub(super) shadowed: &'static str,
    pub(super) tone: Tone,
    pub(super) reason: &'static str,
    pub(super) call: &'static str,
    pub(super) model: String,
    pub(super) role: String,
    pub(super) took: String,
    pub(super) stages: Vec<(&'static str, String)>,
    pub(super) request_id: String,
}

/// One thing in service.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) state: String,
    pub(super) tone: Tone,
    pub(super) detail: String,
}

impl ModelRow {
    pub(super) fn of(model: &Model, now: Timestamp) -> Self {
        let serving = model.serving.as_ref();
        let (state, tone) = match serving {
            None => ("not served", Tone::Bad),
            Some(serving) if serving.is_stale => ("uncalibrated: all flagged", Tone::Warn),
            Some(serving) if serving.calibration.is_none() => ("serving, not judged", Tone::Warn),
            Some(Serving { shadow_share: Some(share), .. }) if *share < 1.0 => {
                ("serving, shadow mode, a share judged", Tone::Warn)
            }
            Some(Serving { shadow_share: Some(_), .. }) => ("serving, shadow mode", Tone::Warn),
            Some(_) => ("serving", Tone::Good),
        };
        let calibration = serving.and_then(|serving| serving.calibration.as_ref());
        let created = calibration.map(|made| Timestamp::from_second(made.created).unwrap_or_default());
        let judged = serving.filter(|serving| serving.calibration.is_some());
        let none = || NONE.to_owned();
        Self {
            name: model.name.clone(),
            version: model.version.clone(),
            state,
            tone,
            since: serving.map_or_else(none, |serving| text::minute(text::timestamp(serving.since))),
            calibrated: created.map_or_else(none, text::day),
            calibrated_age: created
                .map_or_else(String::new, |at| format!("{} ago", text::age(between(at, now)))),
            site: match calibration {
                Some(made) if made.site.is_empty() => "the model's own".to_owned(),
                Some(made) => made.site.clone(),
                None => none(),
            },
            rows: calibration.map_or_else(none, |made| text::size(made.p_values.len())),
            promise: judged.map_or_else(none, |serving| {
                let (alpha, alpha_flag) = (text::promise(serving.alpha), text::promise(serving.alpha_flag));
                format!("≤ {alpha} kept back, ≤ {alpha_flag} with flags")
            }),
            twin: match serving {
                Some(serving) if serving.has_twin => "yes",
                Some(_) => "no",
                None => NONE,
            },
            baseline: serving.and_then(|serving| serving.baseline.clone()).unwrap_or_else(none),
        }
    }
}

impl KeptRow {
    pub(super) fn of(kept: &Kept, now: Timestamp) -> Self {
        let arrived = Timestamp::from_microsecond(kept.time_us).unwrap_or_default();
        let model = match (kept.model.as_str(), kept.version.as_str()) {
            ("", _) => NONE.to_owned(),
            (name, "") => name.to_owned(),
            (name, version) => format!("{name} {version}"),
        };
        // A stage of less than a hundredth tells nothing of where the time went; the trace has all.
        let matters = |(_, took): &&(Stage, Duration)| took.saturating_mul(100) >= kept.took;
        let stages = kept.stages.iter().filter(matters);
        let stages = stages.map(|(stage, took)| (stage.as_str(), text::duration(*took)));
        Self {
            time: text::moment(arrived, now),
            action: kept.action.as_str(),
            shadowed: kept.shadowed.map_or("", Action::as_str),
            tone: match kept.shadowed.unwrap_or(kept.action) {
                Action::Allowed | Action::Refused | Action::Abandoned => Tone::Plain,
                Action::Flagged | Action::FellBack => Tone::Warn,
                Action::Abstained | Action::Withheld => Tone::Bad,
            },
            reason: kept.reason.as_str(),
            call: match kept.rpc {
                // What nearly every row is about goes without saying.
                Some(Rpc::ModelInfer) => "",
                Some(rpc) => rpc.as_str(),
                None => "no such method",
            },
            model,
            role: if kept.role.is_empty() { NONE.to_owned() } else { kept.role.clone() },
            took: text::duration(kept.took),
            stages: stages.collect(),
            request_id: kept.request_id.to_string(),
        }
    }
}

/// When a record survives the machine.
pub(super) fn durability(durability: Durability) -> &'static str {
    match durability {
        Durability::Interval => "flushed at intervals",
        Durability::Always => "flushed before each answer",
    }
}

/// Certificates and lists: when each ends.
pub(super) fn certificates(view: &View, now: Timestamp) -> Vec<Row> {
    let row = |status: &crate::transport::tls::CertificateStatus| {
        let left = elapsed(view.now, status.expires);
        let (state, tone) = match left {
            Duration::ZERO => ("expired".to_owned(), Tone::Bad),
            left if left < SOON => (format!("ends in {}", text::age(left)), Tone::Warn),
            left => (format!("ends in {}", text::age(left)), Tone::Good),
        };
        let expires = text::timestamp(status.expires);
        let detail = if expires < now { "since " } else { "on " };
        Row { name: status.name.clone(), state, tone, detail: format!("{detail}{}", text::minute(expires)) }
    };
    view.certificates.iter().map(row).collect()
}

/// What is read anew: whether what is in service is what was last found.
pub(super) fn sources(view: &View, now: Timestamp) -> Vec<Row> {
    let ago = |at| format!("{} ago", text::age(between(text::timestamp(at), now)));
    let failures = |count: u64| match count {
        0 => String::new(),
        count => format!(", failed {} times since the start", text::count(count)),
    };
    let mut rows: Vec<Row> = Vec::with_capacity(view.sources.len() + 2);
    for source in &view.sources {
        let (state, tone) = if source.current {
            ("in service", Tone::Good)
        } else {
            ("not taken: the last good one serves", Tone::Bad)
        };
        let detail = format!("read {}{}", ago(source.last_good), failures(source.failed));
        rows.push(Row { name: source.name.to_owned(), state: state.to_owned(), tone, detail });
    }
    if let Some(jwks) = &view.jwks {
        let (state, tone) = match jwks.keys {
            0 => ("no key: no token is taken".to_owned(), Tone::Bad),
            keys => (format!("{} in service", text::size(keys)), Tone::Good),
        };
        let fetched =
            jwks.fetched_at.map_or_else(|| "never fetched".to_owned(), |at| format!("fetched {}", ago(at)));
        let detail = format!("{fetched}{}", failures(jwks.failures));
        rows.push(Row { name: "provider's keys".to_owned(), state, tone, detail });
    }
    if let Some(agent) = &view.workload {
        let (state, tone) = match (agent.connected, agent.denied) {
            (true, _) => ("connected", Tone::Good),
            (false, true) => ("no identity for this sidecar", Tone::Bad),
            (false, false) => ("away", Tone::Warn),
        };
        let detail =
            agent.last_update.map_or_else(|| "no update yet".to_owned(), |at| format!("update {}", ago(at)));
        rows.push(Row { name: "SPIFFE agent".to_owned(), state: state.to_owned(), tone, detail });
    }
    rows
}

/// From one time to a later one.
fn between(from: Timestamp, to: Timestamp) -> Duration {
    to.duration_since(from).try_into().unwrap_or_default()
}
