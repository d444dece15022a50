//! May the build pass, and what should a reader know before believing the figures? Pure: a measured report in, a
//! judged one out.

use super::result::{Comparison, Report, Side, Verdict};
use super::tally::Latencies;
use super::verdict::{self, Anchored, Rule};

/// A client that computes more than this share of a core measures itself.
const CLIENT_BUSY: f64 = 0.9;
/// A p99 of lateness above this share of the median latency is told.
const LATE: f64 = 0.5;
/// A hypervisor that takes more than this is told.
const STOLEN: f64 = 0.02;

/// Fills in comparisons, warnings and whether it passed.
pub(super) fn report(mut report: Report, stored: Option<&Report>, rule: &Rule) -> Report {
    let target = report.target.blocks.as_slice();
    let mut found = Vec::new();
    if let Some(against) = &report.against {
        found.extend(verdict::against(target, &against.blocks, rule));
    }
    let bare = report.bare.as_ref().map(|bare| Anchored { side: target, bare: &bare.blocks });
    let then = stored.and_then(|stored| Some((stored, stored.bare.as_ref()?)));
    if let (Some(now), Some((stored, bare))) = (bare, then) {
        let then = Anchored { side: &stored.target.blocks, bare: &bare.blocks };
        found.extend(verdict::over_baseline(now, then, rule));
    }
    if let Some(now) = bare {
        found.extend(verdict::over_bare(now, rule));
    }
    report.comparisons = found;
    report.warnings = warnings(&report, stored);
    report.passed = problems(&report).is_empty();
    report
}

/// Why the build may not pass; nothing if it may.
pub(super) fn problems(report: &Report) -> Vec<String> {
    let sides = std::iter::once(&report.target).chain(&report.against);
    let unanswered = sides.filter_map(|side| Some(format!("{}: {}", side.url, unanswered(report, side)?)));
    unanswered.chain(report.comparisons.iter().filter_map(slower)).collect()
}

/// Why a side may not pass: more of its calls than are borne ended without an answer, or there was none.
pub(super) fn unanswered(report: &Report, side: &Side) -> Option<String> {
    let borne = report.settings.max_errors;
    (side.calls == 0 || side.error_share() > borne).then(|| {
        format!(
            "{} of {} calls ended without an answer ({}), and {borne:.4} of them is borne: {}",
            side.failures(),
            side.calls.saturating_add(side.failures()),
            errors(side),
            side.first_error.as_deref().unwrap_or("no answer came in time"),
        )
    })
}

/// Why a gated figure may not pass.
pub(super) fn slower(comparison: &Comparison) -> Option<String> {
    let Comparison { figure, with, ratio, gate, why, .. } = comparison;
    let figure = figure.as_str();
    (comparison.verdict == Verdict::Failed).then(|| match ratio {
        Some(ratio) => format!(
            "{figure} is {:.2} times that of {} (between {:.2} and {:.2}), and {:.2} is borne",
            ratio.estimate,
            with.as_str(),
            ratio.low,
            ratio.high,
            gate.unwrap_or(1.0),
        ),
        None => format!("{figure} cannot be judged: {}", why.as_deref().unwrap_or("it was not measured")),
    })
}

/// Errors by code, as in `12 UNAVAILABLE, 1 TIMEOUT`.
pub(super) fn errors(side: &Side) -> String {
    let told: Vec<String> = side.errors.iter().map(|(code, calls)| format!("{calls} {code}")).collect();
    if told.is_empty() { "none".to_owned() } else { told.join(", ") }
}

fn warnings(report: &Report, stored: Option<&Report>) -> Vec<String> {
    let mut warnings = Vec::new();
    for side in std::iter::once(&report.target).chain(&report.against) {
        let url = &side.url;
        if side.client_cpu_share > CLIENT_BUSY {
            warnings.push(format!(
                "{url}: this client computed {:.0}% of a core, so that the figures are rather its own than the server's",
                side.client_cpu_share * 100.0
            ));
        }
        let median = side.latency_us.map_or(0.0, |latencies| latencies.p50);
        let late = side.lateness_us.map_or(0.0, |lateness: Latencies| lateness.p99);
        if late > LATE * median {
            warnings.push(format!(
                "{url}: one call in a hundred was sent {late:.0} us late or later, which counts as latency: the machine is \
                 too busy for this client, or all callers were waiting (--concurrency)"
            ));
        }
        if let Some(open) = &report.settings.load.open
            && side.throughput_per_s < 0.95 * open.rate
        {
            warnings.push(format!(
                "{url}: {:.0} of {:.0} calls a second were answered: the server does not keep up",
                side.throughput_per_s, open.rate
            ));
        }
    }
    if let Some(steal) = report.machine.steal_share.filter(|share| *share > STOLEN) {
        warnings.push(format!("the hypervisor took {:.0}% of the time for other machines", steal * 100.0));
    }
    if report.comparisons.iter().any(|c| c.verdict == Verdict::Unsure) {
        warnings.push("an interval holds the gate: more --repetitions make it narrower".to_owned());
    }
    if let Some(stored) = stored
        && stored.machine.cpu != report.machine.cpu
    {
        warnings.push(format!(
            "the baseline is from another processor ({}): the bare model makes up for its speed, not for its network stack",
            stored.machine.cpu
        ));
    }
    warnings
}

#[cfg(test)]
pub(super) mod tests;
