//! The report in a few lines, for whoever waits at the terminal.

use super::Report;
use super::page::{alpha, count, one_line, p_value, percent, rows};
use super::statistics::{self, Reliability};
use crate::calibration::promise::interval;
use std::fmt::Write;

/// Bins of the reliability diagram.
pub(super) const CONFIDENCE_BINS: usize = 10;

/// Below this p-value a check says that something is wrong.
pub(super) const SUSPICIOUS: f64 = 0.01;

/// One line for each thing worth knowing.
pub(super) fn lines(report: &Report) -> String {
    let mut text = String::new();
    let unscreened = if report.recorded.is_some() { " (recorded, not screened)" } else { "" };
    let _ = writeln!(
        text,
        "{}/{}: {}{unscreened} gave references, {} rank the fused score",
        one_line(&report.model),
        one_line(&report.version),
        rows(report.rows.references),
        count(report.rows.ranked)
    );
    for threshold in &report.thresholds {
        let promise = threshold.promise;
        let _ = writeln!(
            text,
            "{} at {}: {} false alarms expected, at most {} with 95% confidence",
            one_line(&threshold.action),
            alpha(&promise),
            percent(promise.expected()),
            percent(promise.bound(0.95))
        );
    }
    attacks(report, &mut text);
    checks(report, &mut text);
    text
}

fn attacks(report: &Report, text: &mut String) {
    for attack in &report.attacks {
        let _ = write!(text, "attack {}: of {}", one_line(&attack.name), rows(attack.rows()));
        for threshold in &report.thresholds {
            let found = attack.found(statistics::threshold(&report.fused, threshold.promise.alpha()));
            let share = statistics::as_f64(found) / statistics::as_f64(attack.rows().max(1));
            let _ = write!(text, " {} found at {},", percent(share), alpha(&threshold.promise));
        }
        let _ = writeln!(text, " {} refused by the contract", count(attack.refused));
    }
}

fn checks(report: &Report, text: &mut String) {
    let suspicion = |p: f64| if p <= SUSPICIOUS { "; LOOK INTO IT" } else { "" };
    if let Some(splits) = &report.resampled {
        let _ = writeln!(
            text,
            "{} random splits: mean false-alarm rate {}, {} of them within {} (p {}{})",
            splits.rates.len(),
            percent(splits.mean),
            percent(splits.within),
            percent(splits.bound),
            p_value(splits.p_value),
            suspicion(splits.p_value)
        );
    }
    if let Some(order) = &report.order {
        let worst = order.rates.iter().copied().fold(0.0, f64::max);
        let _ = writeln!(
            text,
            "order of the file: the worst of {} blocks has {} false alarms (p {}{})",
            order.rates.len(),
            percent(worst),
            p_value(order.p_value),
            suspicion(order.p_value)
        );
    }
    if let Some(threshold) = report.widest() {
        for stratum in &report.strata {
            let (low, high) = interval(stratum.alarms, stratum.rows, 0.95);
            if low > threshold.promise.alpha() {
                let _ = writeln!(
                    text,
                    "{} {}: {} to {} false alarms, more than {}",
                    one_line(&stratum.by),
                    one_line(&stratum.name),
                    percent(low),
                    percent(high),
                    alpha(&threshold.promise)
                );
            }
        }
    }
    if let Some(labelled) = &report.labelled {
        let error = |answers| Reliability::new(answers, CONFIDENCE_BINS).map(|reliability| reliability.error);
        if let (Some(before), Some(after)) = (error(&labelled.before), error(&labelled.after)) {
            let _ = writeln!(
                text,
                "expected calibration error {before:.3}, {after:.3} at temperature {:.2}",
                labelled.temperature
            );
        }
    }
}
