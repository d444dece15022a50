//! May the build pass, and what should a reader know before believing the figures? Pure: a measured report in, a
//! judged one out.

use super::result::{Block, Comparison, Figure, Report, Side, Verdict};
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
    if rule.is_strict {
        let named = |c: &&mut Comparison| c.gate.is_some() && c.verdict == Verdict::Unjudged;
        for comparison in report.comparisons.iter_mut().filter(named) {
            comparison.verdict = Verdict::Failed;
        }
    }
    report.warnings = warnings(&report, stored);
    report.passed = problems(&report).is_empty();
    report
}

/// Why the build may not pass; nothing if it may.
pub(super) fn problems(report: &Report) -> Vec<String> {
    let borne = report.settings.max_errors;
    let mut problems = Vec::new();
    for side in std::iter::once(&report.target).chain(&report.against) {
        let share = side.error_share();
        if side.calls == 0 || share > borne {
            let first = side.first_error.as_deref().unwrap_or("no answer came in time");
            problems.push(format!(
                "{}: {} of {} calls ended without an answer ({}), and {:.4} of them is borne: {first}",
                side.url,
                side.failures(),
                side.calls.saturating_add(side.failures()),
                errors(side),
                borne,
            ));
        }
    }
    for comparison in report.comparisons.iter().filter(|c| c.verdict == Verdict::Failed) {
        problems.push(match (&comparison.ratio, &comparison.why) {
            (Some(ratio), _) => format!(
                "{} is {:.2} times that of {} (between {:.2} and {:.2}), and {:.2} is borne",
                comparison.figure.as_str(),
                ratio.estimate,
                comparison.with.as_str(),
                ratio.low,
                ratio.high,
                comparison.gate.unwrap_or(1.0),
            ),
            (None, why) => {
                let why = why.as_deref().unwrap_or("it was not measured");
                format!("{} cannot be judged: {why}", comparison.figure.as_str())
            }
        });
    }
    let gated: Vec<&Comparison> = report.comparisons.iter().filter(|c| c.gate.is_some()).collect();
    if !gated.is_empty() && gated.iter().all(|c| c.verdict == Verdict::Unjudged) {
        let why = gated.iter().find_map(|c| c.why.as_deref()).unwrap_or("nothing was measured");
        problems.push(format!("nothing can be judged: {why}"));
    }
    problems
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
                 too busy for this client"
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
    let least = |blocks: &[Block]| blocks.iter().map(|block| block.calls).min().unwrap_or(0);
    if report.comparisons.iter().any(|c| c.gate.is_some() && c.figure == Figure::P99 && c.ratio.is_none()) {
        let calls = least(&report.target.blocks);
        warnings.push(format!("p99 was not judged: a block had {calls} calls; raise --block"));
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
