//! What stands on the page? A view as words, numbers and lines, which `templates/console.html` only sets.
//!
//! Askama escapes whatever the template sets (HTML text and attributes alike); the one thing set as it is is the
//! style sheet, a constant of this build, and the Content-Security-Policy names its digest.
#![expect(clippy::cast_precision_loss, reason = "a person reads two digits")]

mod evidence;
mod lists;

use super::{Model, Serving, View, chart, text};
use crate::reason::{Action, Stage};
use crate::telemetry::recent::{P_VALUES_MAX, Quantiles, SLOT_SECONDS, SLOTS, Series, Window};
use askama::Template;
use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::STANDARD};
use evidence::Evidence;
use http::HeaderValue;
use hyper::body::Bytes;
use jiff::Timestamp;
use lists::{KeptRow, ModelRow, Row};
use std::time::{Duration, SystemTime};

const STYLE: &str = include_str!("style.css");

/// What a browser may do with the page: set its own style sheet and draw its own icon, and nothing else.
pub(super) fn content_security_policy() -> HeaderValue {
    let style = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    // Base64 is always a header's; should it not be, a browser may do nothing at all.
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

/// How a thing stands. Its word stands beside its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Plain,
    Warn,
    Bad,
}

impl Tone {
    fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Plain => "plain",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }

    fn mark(self) -> &'static str {
        match self {
            Self::Good => "✓",
            Self::Plain => "·",
            Self::Warn => "!",
            Self::Bad => "✕",
        }
    }
}

/// One figure that is to be seen first.
pub(super) struct Tile {
    label: &'static str,
    value: String,
    note: String,
    tone: Tone,
}

/// Requests that ended in one way.
pub(super) struct ActionRow {
    name: &'static str,
    bars: String,
    now: String,
    peak: String,
    total: String,
}

/// The time of one stage.
pub(super) struct StageRow {
    name: &'static str,
    median: String,
    slow: String,
    p50: String,
    p99: String,
    count: String,
}

/// Everything that stands on the page.
pub(super) struct Page {
    not_ready: Vec<&'static str>,
    version: &'static str,
    time: String,
    uptime: String,
    started: String,
    minutes: u64,
    tiles: Vec<Tile>,
    models: Vec<ModelRow>,
    evidence: Vec<Evidence>,
    actions: Vec<ActionRow>,
    stages: Vec<StageRow>,
    judged: Vec<KeptRow>,
    refused: Vec<KeptRow>,
    certificates: Vec<Row>,
    sources: Vec<Row>,
}

#[derive(Template)]
#[template(path = "console.html")]
struct Html<'a> {
    page: &'a Page,
    style: &'static str,
    paused: bool,
    refresh_s: u64,
    width: f64,
    height: f64,
    histogram_width: f64,
    histogram_height: f64,
    p_values_max: String,
}

impl Page {
    pub(super) fn of(view: &View) -> Self {
        let now = text::timestamp(view.now);
        let uptime = elapsed(view.started, view.now);
        Self {
            not_ready: view.readiness.iter().filter(|(_, holds)| !holds).map(|(name, _)| why(name)).collect(),
            version: view.version,
            time: now.strftime("%F %T").to_string(),
            uptime: text::age(uptime),
            started: text::minute(text::timestamp(view.started)),
            minutes: SLOT_SECONDS * SLOTS as u64 / 60,
            tiles: tiles(view),
            models: view.models.iter().map(|model| ModelRow::of(model, now)).collect(),
            evidence: view.models.iter().filter_map(Evidence::of).collect(),
            actions: Action::ALL.iter().map(|action| ActionRow::of(*action, &view.window)).collect(),
            stages: stages(&view.window),
            judged: view.judged.iter().map(|kept| KeptRow::of(kept, now)).collect(),
            refused: view.refused.iter().map(|kept| KeptRow::of(kept, now)).collect(),
            certificates: lists::certificates(view, now),
            sources: lists::sources(view, now),
        }
    }

    pub(super) fn render(&self, paused: bool) -> Bytes {
        let html = Html {
            page: self,
            style: STYLE,
            paused,
            refresh_s: SLOT_SECONDS,
            width: chart::WIDTH,
            height: chart::HEIGHT,
            histogram_width: chart::HISTOGRAM_WIDTH,
            histogram_height: chart::HISTOGRAM_HEIGHT,
            p_values_max: text::size(P_VALUES_MAX),
        };
        let text = html.render().unwrap_or_else(|error| {
            tracing::error!(%error, "the console cannot be written");
            String::new()
        });
        Bytes::from(text)
    }
}

/// What is wrong where a condition of readiness does not hold.
fn why(condition: &'static str) -> &'static str {
    match condition {
        "serving" => "it is shutting down",
        "models" => "no model is served",
        "audit" => "the audit log cannot be written, so nothing is answered",
        other => other,
    }
}

/// From one time to a later one; nothing where the clock was set back between them.
fn elapsed(from: SystemTime, to: SystemTime) -> Duration {
    to.duration_since(from).unwrap_or_default()
}

/// The slot that ended last, from the end of a series.
const LAST_WHOLE: usize = 2;

/// The lag from which on the disk is called behind, as the alert has it.
const LAG_MAX: Duration = Duration::from_secs(10);

fn tiles(view: &View) -> Vec<Tile> {
    let window = &view.window;
    let last: u64 = window.actions.iter().rev().nth(LAST_WHOLE - 1).map_or(0, |counts| counts.iter().sum());
    let all: u64 = Action::ALL.iter().map(|action| window.total(*action)).sum();
    let evidence = [Action::Flagged, Action::Abstained, Action::Withheld, Action::FellBack];
    let kept: u64 = evidence.iter().map(|action| window.total(*action)).sum();
    let judged = kept + window.total(Action::Allowed);
    let refused = window.total(Action::Refused);
    let p99 = |all: Option<Quantiles>| all.map_or("–".to_owned(), |all| text::duration(all.p99));
    let p50 = |all: Option<Quantiles>| all.map_or("–".to_owned(), |all| text::duration(all.p50));
    let full = |(used, most): (usize, usize)| if used * 10 >= most * 9 { Tone::Bad } else { Tone::Plain };
    let of = |(_, most): (usize, usize)| format!("of {} at most", text::size(most));
    vec![
        Tile {
            label: "Requests a second",
            value: text::rate(last as f64 / SLOT_SECONDS as f64),
            note: format!("{} in 5 min", text::count(all)),
            tone: Tone::Plain,
        },
        Tile {
            label: "Flagged or kept back",
            value: text::percent(kept, judged),
            note: format!("{} of {} judged", text::count(kept), text::count(judged)),
            tone: Tone::Plain,
        },
        Tile {
            label: "Refused",
            value: text::count(refused),
            note: format!("{} of all", text::percent(refused, all)),
            tone: Tone::Plain,
        },
        Tile {
            label: "Request time, p99",
            value: p99(window.whole.all),
            note: format!("median {}", p50(window.whole.all)),
            tone: Tone::Plain,
        },
        Tile {
            label: "In flight",
            value: text::size(view.in_flight.0),
            note: of(view.in_flight),
            tone: full(view.in_flight),
        },
        Tile {
            label: "Queue",
            value: text::size(view.queue.0),
            note: of(view.queue),
            tone: full(view.queue),
        },
        audit_log(view),
    ]
}

/// Whether records are written, and how far the disk is behind them: one that hangs fails nothing.
fn audit_log(view: &View) -> Tile {
    let writable = view.readiness.iter().all(|(name, holds)| *name != "audit" || *holds);
    let behind = format!("behind by {}", text::age(view.audit_lag));
    let durability = lists::durability(view.durability);
    let (value, tone) = if !writable {
        ("✕ not writable".to_owned(), Tone::Bad)
    } else if view.audit_lag > LAG_MAX {
        (format!("! {behind}"), Tone::Warn)
    } else {
        ("✓ written".to_owned(), Tone::Good)
    };
    let note = if view.audit_lag.as_secs() > 0 && tone != Tone::Warn {
        format!("{durability}, {behind}")
    } else {
        durability.to_owned()
    };
    Tile { label: "Audit log", value, note, tone }
}

impl ActionRow {
    fn of(action: Action, window: &Window) -> Self {
        let rate = |count: u64| text::rate(count as f64 / SLOT_SECONDS as f64);
        let counts: Vec<u64> = window.of(action).collect();
        Self {
            name: action.as_str(),
            bars: chart::bars(counts.iter().copied()),
            now: rate(counts.iter().rev().nth(LAST_WHOLE - 1).copied().unwrap_or(0)),
            peak: rate(counts.iter().copied().max().unwrap_or(0)),
            total: text::count(counts.iter().sum()),
        }
    }
}

/// The whole request, then its stages in order.
fn stages(window: &Window) -> Vec<StageRow> {
    let stages = Stage::ALL.iter().map(|stage| stage.as_str()).zip(&window.stages);
    std::iter::once(("whole request", &window.whole)).chain(stages).map(StageRow::of).collect()
}

impl StageRow {
    fn of((name, series): (&'static str, &Series)) -> Self {
        let measured = || series.slots.iter().flatten();
        let least = measured().map(|slot| slot.p50.as_secs_f64()).fold(f64::INFINITY, f64::min);
        let most = measured().map(|slot| slot.p99.as_secs_f64()).fold(0.0, f64::max);
        let line = |of: fn(&Quantiles) -> Duration| {
            let seconds = series.slots.iter().map(|slot| slot.as_ref().map(|slot| of(slot).as_secs_f64()));
            chart::steps(seconds, (least, most))
        };
        let told = |of: fn(&Quantiles) -> Duration| {
            series.all.as_ref().map_or("–".to_owned(), |all| text::duration(of(all)))
        };
        Self {
            name,
            median: line(|slot| slot.p50),
            slow: line(|slot| slot.p99),
            p50: told(|all| all.p50),
            p99: told(|all| all.p99),
            count: series.all.map_or("0".to_owned(), |all| text::count(all.count)),
        }
    }
}
