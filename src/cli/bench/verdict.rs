//! Is the target slower than what it is compared with? Pure: measured blocks in, verdicts out.
//!
//! A build fails only if all of the interval of a ratio lies above the gate: a noisy machine widens the interval, and a
//! wide one fails nobody.

use super::result::{Block, Comparison, Figure, Other, Verdict};
use super::statistics::{BLOCKS_MIN, Chance, Interval, Weighed, independent, paired};

/// Calls of a block below which its p99 is that of two or three calls.
const CALLS_FOR_P99: u64 = 200;

/// What is judged unless somebody names figures. How often the same build passes is measured of the p50; few runs had
/// calls enough for a p99, and a throughput is a mean: one long pause of a busy machine moves it, and up to 3 of 100
/// equal builds failed by it (docs/SPECIFICATION.md).
pub(super) const USUAL: [Figure; 1] = [Figure::P50];

/// What is judged.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub figures: Vec<Figure>,
    /// The ratio that is borne; `None` to tell ratios alone.
    pub gate: Option<f64>,
    pub chance: Chance,
}

/// Blocks of one run, those of a side and those of the bare model beside them, in the same turns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Anchored<'a> {
    pub side: &'a [Block],
    pub bare: &'a [Block],
}

const ALL: [Figure; 3] = [Figure::P50, Figure::P99, Figure::Throughput];

/// The target over a server that was measured in turn with it.
pub(super) fn against(target: &[Block], other: &[Block], rule: &Rule) -> Vec<Comparison> {
    let compare = |figure| {
        let pairs: Vec<(Weighed, Weighed)> =
            target.iter().zip(other).map(|(a, b)| (cost(a, figure), cost(b, figure))).collect();
        let measured = enough(figure, target.iter().chain(other), pairs.len());
        judged(figure, Other::Against, measured.and_then(|()| ratio(paired(&pairs, rule.chance))), rule)
    };
    ALL.into_iter().map(compare).collect()
}

/// The target over the bare model that was run in turn with it: told, and never judged.
pub(super) fn over_bare(run: Anchored<'_>, rule: &Rule) -> Vec<Comparison> {
    let compare = |figure| {
        let pairs: Vec<(Weighed, Weighed)> =
            run.side.iter().zip(run.bare).map(|(a, b)| (cost(a, figure), cost(b, Figure::P50))).collect();
        let measured = enough(figure, run.side, pairs.len());
        let found = measured.and_then(|()| ratio(paired(&pairs, rule.chance)));
        judged(figure, Other::Bare, found, &Rule { gate: None, ..rule.clone() })
    };
    [Figure::P50, Figure::P99].into_iter().map(compare).collect()
}

/// The target over a stored result, each over the p50 of the bare model beside it: what a faster machine does to both
/// is gone.
pub(super) fn over_baseline(now: Anchored<'_>, then: Anchored<'_>, rule: &Rule) -> Vec<Comparison> {
    let compare = |figure| {
        let anchored = |run: Anchored<'_>| -> Vec<Weighed> {
            let unit = if figure == Figure::Throughput { 1e-6 } else { 1.0 };
            let over = |(a, b): (&Block, &Block)| {
                let (cost, weight) = cost(a, figure);
                (cost / (b.p50_us * unit), weight)
            };
            run.side.iter().zip(run.bare).map(over).collect()
        };
        let (ours, theirs) = (anchored(now), anchored(then));
        let measured = enough(figure, now.side.iter().chain(then.side), ours.len().min(theirs.len()));
        let found = measured.and_then(|()| ratio(independent(&ours, &theirs, rule.chance)));
        judged(figure, Other::Baseline, found, rule)
    };
    ALL.into_iter().map(compare).collect()
}

/// What is the larger the worse, a latency or the seconds of a call, and its weight. Throughput is counted over the same
/// time in every block, and few calls are all that it says.
fn cost(block: &Block, figure: Figure) -> Weighed {
    #[expect(clippy::cast_precision_loss, reason = "counts of calls")]
    let calls = block.calls as f64;
    match figure {
        Figure::P50 => (block.p50_us, calls),
        Figure::P99 => (block.p99_us, calls),
        Figure::Throughput => (1.0 / block.throughput_per_s, 1.0),
    }
}

fn enough<'a>(
    figure: Figure,
    blocks: impl IntoIterator<Item = &'a Block>,
    count: usize,
) -> Result<(), String> {
    if count < BLOCKS_MIN {
        return Err(format!("{count} blocks with answers are too few: raise --repetitions"));
    }
    let fewest = blocks.into_iter().map(|block| block.calls).min().unwrap_or(0);
    if figure == Figure::P99 && fewest < CALLS_FOR_P99 {
        return Err(format!("a block had {fewest} calls, and a p99 needs {CALLS_FOR_P99}: raise --block"));
    }
    Ok(())
}

fn ratio(found: Option<Interval>) -> Result<Interval, String> {
    found.ok_or_else(|| "a block has no answered call: raise --block".to_owned())
}

fn judged(figure: Figure, with: Other, found: Result<Interval, String>, rule: &Rule) -> Comparison {
    let gate = rule.gate.filter(|_| rule.figures.contains(&figure));
    let (ratio, why) = match found {
        Ok(ratio) => (Some(ratio), None),
        Err(why) => (None, Some(why)),
    };
    let verdict = match (ratio, gate) {
        (_, None) => Verdict::Unjudged,
        // What is gated and was not measured may be anything.
        (None, Some(_)) => Verdict::Failed,
        (Some(ratio), Some(gate)) if ratio.low > gate => Verdict::Failed,
        (Some(ratio), Some(gate)) if ratio.high > gate => Verdict::Unsure,
        (Some(_), Some(_)) => Verdict::Passed,
    };
    Comparison { figure, with, ratio, gate, verdict, why }
}

#[cfg(test)]
mod tests;
