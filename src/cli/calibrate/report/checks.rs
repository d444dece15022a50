//! The page's checks of the data: does the promise hold when they are split anew, and are they the same all along?

use super::page::{Page, Tone, alpha, count, p_value, percent, rows};
use super::text::SUSPICIOUS;
use super::{Report, charts};

pub(super) fn splits(page: &mut Page, report: &Report) {
    page.heading("Does the promise hold on these data, split anew?");
    let Some(found) = &report.resampled else {
        page.paragraph(Tone::Missing, "Not checked.");
        return;
    };
    page.paragraph(
        if found.p_value <= SUSPICIOUS { Tone::Warning } else { Tone::Plain },
        &format!(
            "In {} random splits, {} calibrate and {} new ones are tested at alpha {}: the mean false-alarm rate is \
             {} ({} expected), and {} of the splits are within the 95% bound of {} (p = {}).{}",
            count(found.rates.len()),
            rows(found.promise.rows()),
            count(found.tested),
            alpha(&found.promise),
            percent(found.mean),
            percent(found.promise.expected()),
            percent(found.within),
            percent(found.bound),
            p_value(found.p_value),
            if found.p_value <= SUSPICIOUS { " Fewer than can be by chance: the calibration is wrong." } else { "" }
        ),
    );
    let caption = "False-alarm rates of the splits. This checks the computation: rows that are shuffled are \
                   exchangeable whatever they are, so that it cannot see a drift in them.";
    page.figures(&[(charts::rates(&found.rates, found.bound), caption.to_owned())]);
}

pub(super) fn order(page: &mut Page, report: &Report) {
    page.heading("Are the data the same all along the file?");
    let Some(found) = &report.order else {
        page.paragraph(Tone::Missing, "Not checked.");
        return;
    };
    let suspicious = found.p_value <= SUSPICIOUS;
    let worst = found.rates.iter().copied().fold(0.0, f64::max);
    page.paragraph(
        if suspicious { Tone::Warning } else { Tone::Plain },
        &format!(
            "Each of {} blocks was ranked by the rows outside of it. The worst has {} false alarms; where the order \
             of the rows means nothing, a block so bad comes about with p = {}.{}",
            found.rates.len(),
            percent(worst),
            p_value(found.p_value),
            if suspicious {
                " The rows differ along the file: they drifted while they were recorded, or the file is sorted by \
                  class or site. If it is not sorted, the promise does not hold for what comes next."
            } else {
                ""
            }
        ),
    );
    let caption = "False-alarm rate of each block, in the order of the file.";
    page.figures(&[(charts::blocks(&found.rates, found.promise.alpha()), caption.to_owned())]);
}
