//! What does it look like? In characters, which every terminal, log and Markdown view shows alike.

use super::result::{Comparison, Side};
use std::fmt::Write;

/// Characters between the ends of an axis.
const WIDTH: usize = 48;
/// Characters of the longest bar.
const BAR: f64 = 40.0;

/// The judged ratios on one axis: `├` `┤` the interval, `●` the estimate, `│` no difference, `┃` the gate. Empty where
/// nothing was judged.
pub(super) fn ratios(comparisons: &[Comparison]) -> String {
    let judged: Vec<_> = comparisons.iter().filter_map(|c| Some((c, c.ratio?, c.gate?))).collect();
    let Some(gate) = judged.iter().map(|(_, _, gate)| *gate).reduce(f64::max) else { return String::new() };
    // What is farther away than the gate is three times is at the end of the axis.
    let farthest = 1.0 + 3.0 * (gate - 1.0).abs().max(0.05);
    let high =
        judged.iter().map(|(_, ratio, _)| ratio.high).fold(gate, f64::max).min(farthest).max(1.0) + 0.02;
    let low = judged.iter().map(|(_, ratio, _)| ratio.low).fold(1.0, f64::min).max(2.0 - farthest) - 0.02;
    let place = |value: f64| -> usize {
        let share = ((value - low) / (high - low)).clamp(0.0, 1.0);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "within the axis"
        )]
        let at = (share * (WIDTH - 1) as f64).round() as usize;
        at
    };
    let mut chart = String::new();
    for (comparison, ratio, gate) in judged {
        let mut line = vec![' '; WIDTH];
        let mut draw = |at: usize, what: char| {
            if let Some(cell) = line.get_mut(at) {
                *cell = what;
            }
        };
        draw(place(1.0), '│');
        for at in place(ratio.low)..=place(ratio.high) {
            draw(at, '─');
        }
        draw(place(gate), '┃');
        draw(place(ratio.low), '├');
        draw(place(ratio.high), '┤');
        draw(place(ratio.estimate), '●');
        let line: String = line.into_iter().collect();
        let _ = writeln!(
            chart,
            "{:<10} {:>5.2} {line} {}",
            comparison.figure.as_str(),
            ratio.estimate,
            comparison.verdict.as_str()
        );
    }
    let _ = writeln!(chart, "{:<16} │ 1.00: no difference   ┃ {gate:.2}: the gate", "");
    chart
}

/// The latencies of a side as bars.
pub(super) fn latencies(side: &Side) -> String {
    let Some(found) = side.latency_us else { return String::new() };
    let rows =
        [("p50", Some(found.p50)), ("p90", Some(found.p90)), ("p99", Some(found.p99)), ("p99.9", found.p999)];
    let longest = rows.iter().filter_map(|(_, value)| *value).fold(0.0, f64::max);
    let mut chart = String::new();
    for (name, value) in rows.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most the longest bar"
        )]
        let cells = if longest > 0.0 { (value / longest * BAR).round().max(1.0) as usize } else { 0 };
        let _ = writeln!(chart, "{name:<6} {:>11} {}", time(value), "█".repeat(cells));
    }
    chart
}

/// Microseconds as a person reads them.
pub(super) fn time(microseconds: f64) -> String {
    match microseconds {
        us if us < 1_000.0 => format!("{us:.1} us"),
        us if us < 1_000_000.0 => format!("{:.2} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::super::result::{Figure, Other, Verdict};
    use super::super::statistics::Interval;
    use super::*;

    fn compared(low: f64, estimate: f64, high: f64, verdict: Verdict) -> Comparison {
        Comparison {
            figure: Figure::P50,
            with: Other::Against,
            ratio: Some(Interval { estimate, low, high }),
            gate: Some(1.1),
            verdict,
            why: None,
        }
    }

    #[test]
    fn what_was_not_judged_is_not_drawn() {
        let mut told = compared(1.0, 1.0, 1.0, Verdict::Unjudged);
        told.gate = None;
        assert_eq!(ratios(&[told]), "");
        assert_eq!(ratios(&[]), "");
    }

    #[test]
    fn an_interval_stands_on_its_side_of_the_gate() {
        let passed = ratios(&[compared(0.99, 1.0, 1.02, Verdict::Passed)]);
        let line = passed.lines().next().unwrap();
        assert!(line.find('●') < line.find('┃') && line.contains('┤'), "{passed}");
        let failed = ratios(&[compared(1.18, 1.25, 1.31, Verdict::Failed)]);
        let line = failed.lines().next().unwrap();
        assert!(line.find('│') < line.find('┃') && line.find('┃') < line.find('├'), "{failed}");
    }

    #[test]
    fn an_absurd_ratio_does_not_widen_the_axis() {
        let far = ratios(&[
            compared(30.0, 1e6, 1e300, Verdict::Failed),
            compared(1e-300, 1e-9, 0.1, Verdict::Passed),
        ]);
        assert!(far.lines().all(|line| line.chars().count() < 90), "{far}");
    }

    #[test]
    fn times_have_the_unit_that_fits() {
        let shown = [0.94, 118.24, 18_000.0, 2_500_000.0].map(time);
        assert_eq!(shown, ["0.9 us", "118.2 us", "18.00 ms", "2.50 s"]);
    }
}
