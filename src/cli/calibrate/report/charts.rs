//! The charts of the page, each from its data.

use super::statistics::{self, Histogram, Reliability, as_f64};
use super::svg::{Axis, Plot, Scale};
use super::{Gate, Report};

/// Bars of a histogram of scores, and of one of rates.
const BINS: usize = 36;
const RATE_BINS: usize = 24;

/// Where a detection rate is read off.
pub(super) struct Mark {
    pub(super) at: f64,
    pub(super) name: String,
}

/// Scores of clean rows against those of attacked ones; marks are thresholds.
pub(super) fn histogram(title: &str, clean: &[f64], attacked: &[f64], marks: &[Mark]) -> String {
    let histogram = Histogram::new(clean, attacked, BINS);
    let shares = histogram.clean.iter().chain(&histogram.attacked);
    let most = shares.copied().fold(0.0, f64::max);
    let x = axis("score", histogram.low, histogram.high, false);
    let mut plot = Plot::new(title, x, Axis::shares("share of rows", most));
    plot.steps("cleanarea", &histogram.clean);
    plot.steps("attackedarea", &histogram.attacked);
    for mark in marks {
        plot.mark(mark.at, &mark.name);
    }
    plot.finish()
}

/// Detection rate against false-alarm rate; the latter on a logarithmic axis, because it is small where it counts.
/// `None` without attacked rows. The second value is the area under the curve.
pub(super) fn roc(report: &Report) -> Option<(String, f64)> {
    let attacked = report.attacked();
    let curve = statistics::roc(&report.fused, &attacked)?;
    let least =
        10.0_f64.powf((0.999 / as_f64(report.fused.len().saturating_add(1))).log10().floor()).max(1e-5);
    let x = Axis { scale: Scale::Logarithmic, ..axis("false-alarm rate", least, 1.0, true) };
    let mut plot = Plot::new("ROC curve of the fused score", x, axis("detection rate", 0.0, 1.0, true));
    let even: Vec<(f64, f64)> =
        (0..=60).map(|nth| least.powf(1.0 - f64::from(nth) / 60.0)).map(|x| (x, x)).collect();
    plot.line("even", &even);
    plot.line("attacked", &statistics::thinned(&curve));
    for threshold in &report.thresholds {
        let place = report.threshold(threshold.promise.alpha());
        let (Some(x), Some(y)) =
            (statistics::above(&report.fused, place), statistics::above(&attacked, place))
        else {
            continue;
        };
        plot.dot("attacked", x, y);
        plot.word(x, y, &threshold.action);
    }
    Some((plot.finish(), statistics::area(&curve)))
}

/// Detection rate against what a clean row costs when the gate moves.
pub(super) fn cost(gates: &[Gate]) -> String {
    let passes = gates.iter().map(|gate| gate.passes);
    let (low, high) =
        (passes.clone().fold(f64::INFINITY, f64::min), passes.fold(f64::NEG_INFINITY, f64::max));
    let room = ((high - low) * 0.06).max(0.05);
    let worst = gates.iter().map(|gate| gate.detected).fold(1.0, f64::min);
    let from = (worst * 10.0 - 0.5).floor().max(0.0) / 10.0;
    let x = axis("rows of the model run for a row", (low - room).max(0.0), high + room, false);
    let mut plot = Plot::new("Detection rate against cost", x, axis("detection rate", from, 1.0, true));
    let points: Vec<(f64, f64)> = gates.iter().map(|gate| (gate.passes, gate.detected)).collect();
    plot.line("attacked", &points);
    for gate in gates {
        if gate.chosen {
            plot.dot("attacked", gate.passes, gate.detected);
            plot.word(gate.passes, gate.detected, &format!("this gate, {:.0}%", 100.0 * gate.quantile));
        }
    }
    plot.finish()
}

/// Confidence against accuracy, before and after the temperature.
pub(super) fn reliability(before: &Reliability, after: &Reliability) -> String {
    let x = axis("confidence of the answer", 0.0, 1.0, true);
    let mut plot = Plot::new("Reliability diagram", x, axis("share of right answers", 0.0, 1.0, true));
    plot.line("even", &[(0.0, 0.0), (1.0, 1.0)]);
    for (class, reliability) in [("before", before), ("clean", after)] {
        let points: Vec<_> = reliability.bins.iter().map(|bin| (bin.confidence, bin.accuracy)).collect();
        plot.line(class, &points);
        for (x, y) in points {
            plot.dot(class, x, y);
        }
    }
    plot.finish()
}

/// How often random splits had which false-alarm rate.
pub(super) fn rates(rates: &[f64], bound: f64) -> String {
    let most = rates.iter().copied().fold(bound, f64::max) * 1.1;
    let mut bins = vec![0.0; RATE_BINS];
    for rate in rates {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to 0 to RATE_BINS"
        )]
        let at = (rate / most * as_f64(RATE_BINS)).clamp(0.0, as_f64(RATE_BINS.saturating_sub(1))) as usize;
        if let Some(share) = bins.get_mut(at) {
            *share += 1.0 / as_f64(rates.len());
        }
    }
    let highest = bins.iter().copied().fold(0.0, f64::max);
    let x = axis("false-alarm rate of a split", 0.0, if most > 0.0 { most } else { 1.0 }, true);
    let mut plot =
        Plot::new("False-alarm rates of random splits", x, Axis::shares("share of splits", highest));
    plot.steps("cleanarea", &bins);
    plot.mark(bound, "95% bound");
    plot.finish()
}

/// False-alarm rates of the blocks of the file, in its order.
pub(super) fn blocks(rates: &[f64], alpha: f64) -> String {
    let most = rates.iter().copied().fold(alpha, f64::max);
    let x = axis("block of the file", 0.5, as_f64(rates.len()) + 0.5, false);
    let mut plot = Plot::new("False-alarm rates along the file", x, Axis::shares("false-alarm rate", most));
    plot.steps("cleanarea", rates);
    plot.level(alpha, "promised");
    plot.finish()
}

fn axis(label: &'static str, from: f64, to: f64, percent: bool) -> Axis {
    Axis { label, from, to, scale: Scale::Linear, percent }
}
