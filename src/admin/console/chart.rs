//! How do numbers become lines? Paths of small SVG charts, each in a box of its own that the page stretches.
//!
//! Only numbers go in and only path data come out: `M L H V Z`, digits and signs.
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts become lengths, and lengths places"
)]

use crate::telemetry::recent::SLOTS;
use std::fmt::Write;

/// Width of a slot in a series; the box is `SLOTS` times as wide.
const PITCH: f64 = 4.0;
const BAR: f64 = 3.2;
/// Height of every box.
pub(super) const HEIGHT: f64 = 40.0;
/// Width of the box of a series.
pub(super) const WIDTH: f64 = PITCH * SLOTS as f64;
/// Bins of p-values: a tenth each.
pub(super) const BINS: usize = 10;
/// Width of a bin; a histogram's box is `BINS` times as wide.
const BIN: f64 = 24.0;
const BIN_BAR: f64 = 20.0;
/// Width of the box of a histogram.
pub(super) const HISTOGRAM_WIDTH: f64 = BIN * BINS as f64;
/// Height of it.
pub(super) const HISTOGRAM_HEIGHT: f64 = 96.0;

/// Bars of a series, the tallest as high as the box.
pub(super) fn bars(counts: impl Iterator<Item = u64>) -> String {
    let counts: Vec<f64> = counts.map(|count| count as f64).collect();
    let most = counts.iter().copied().fold(0.0, f64::max);
    let mut path = String::new();
    for (x, count) in places(PITCH).zip(counts).filter(|(_, count)| *count > 0.0) {
        // A single request beside thousands is still to be seen.
        let height = (count / most * HEIGHT).max(1.5);
        rectangle(&mut path, x, HEIGHT - height, BAR, HEIGHT);
    }
    path
}

/// A line of steps through a series, broken where there is no value; `least` stands near the bottom of the box and
/// `most` near its top, and equal ratios are equally high: a median shows beside a tail that is a hundred times it.
pub(super) fn steps(values: impl Iterator<Item = Option<f64>>, (least, most): (f64, f64)) -> String {
    let spread = (most / least).ln();
    let share = |value: f64| if spread > 0.0 { (value / least).ln() / spread } else { 0.5 };
    let mut path = String::new();
    let mut connected = false;
    for (x, value) in places(PITCH).zip(values) {
        let Some(value) = value else {
            connected = false;
            continue;
        };
        let y = level(0.06 + 0.88 * share(value), 1.0, HEIGHT);
        let _ = if connected { write!(path, "V{y:.1}") } else { write!(path, "M{x:.1} {y:.1}") };
        let _ = write!(path, "H{:.1}", x + PITCH);
        connected = true;
    }
    path
}

/// p-values of judged rows beside those that calibration leads to expect.
#[derive(Debug, PartialEq)]
pub(super) struct Histogram {
    /// Bars: the share of rows in each bin.
    pub(super) bars: String,
    /// Steps: the share expected.
    pub(super) expected: String,
    /// The area in which shares are that chance explains, of so many rows and so small a calibration.
    pub(super) chance: String,
}

/// Of p-values, of which there is at least one each.
pub(super) fn histogram(live: &[f64], clean: &[f64]) -> Histogram {
    let (shares, expected) = (shares(live), shares(clean));
    let spread = |share: f64| {
        // Twice the standard deviation of the difference of two shares, of a row more so that a bin that is empty in a
        // small calibration may be met.
        let at_least = share.max(1.0 / (clean.len() as f64 + 1.0));
        2.0 * (at_least * (1.0 - at_least) * (1.0 / live.len() as f64 + 1.0 / clean.len() as f64)).sqrt()
    };
    let low: Vec<f64> = expected.iter().map(|share| (share - spread(*share)).max(0.0)).collect();
    let high: Vec<f64> = expected.iter().map(|share| (share + spread(*share)).min(1.0)).collect();
    let most = shares.iter().chain(&high).copied().fold(0.0, f64::max) * 1.05;
    let y = |share: f64| level(share, most, HISTOGRAM_HEIGHT);
    let (mut bars, mut line, mut chance) = (String::new(), String::new(), String::new());
    for (x, share) in places(BIN).zip(shares).filter(|(_, share)| *share > 0.0) {
        rectangle(&mut bars, x + (BIN - BIN_BAR) / 2.0, y(share), BIN_BAR, HISTOGRAM_HEIGHT);
    }
    for (x, share) in places(BIN).zip(expected) {
        let start = if line.is_empty() { 'M' } else { 'L' };
        let _ = write!(line, "{start}{x:.1} {:.1}H{:.1}", y(share), x + BIN);
    }
    for ((x, low), high) in places(BIN).zip(low).zip(high) {
        rectangle(&mut chance, x, y(high), BIN, y(low));
    }
    Histogram { bars, expected: line, chance }
}

/// The share of p-values in each bin; a bin holds its upper end, as `p <= alpha` does.
pub(super) fn shares(p_values: &[f64]) -> [f64; BINS] {
    let mut counts = [0_u32; BINS];
    for p_value in p_values {
        let bin = ((p_value * BINS as f64).ceil() as usize).clamp(1, BINS) - 1;
        if let Some(count) = counts.get_mut(bin) {
            *count = count.saturating_add(1);
        }
    }
    counts.map(|count| f64::from(count) / p_values.len().max(1) as f64)
}

/// Where the slots or bins begin.
fn places(pitch: f64) -> impl Iterator<Item = f64> {
    (0_u16..).map(move |place| f64::from(place) * pitch)
}

/// Where a value stands: 0 at the bottom of a box, and `most` at its top.
fn level(value: f64, most: f64, height: f64) -> f64 {
    let share = value / most;
    // What is no number stands at the bottom.
    if share > 0.0 { height - share.min(1.0) * height } else { height }
}

fn rectangle(path: &mut String, x: f64, top: f64, width: f64, bottom: f64) {
    let _ = write!(path, "M{x:.1} {top:.1}H{:.1}V{bottom:.1}H{x:.1}Z", x + width);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_is_drawn_of_nothing() {
        assert_eq!(bars([0; SLOTS].into_iter()), "");
        assert_eq!(steps([None; SLOTS].into_iter(), (1.0, 2.0)), "");
    }

    #[test]
    fn the_tallest_bar_fills_its_box_and_the_smallest_is_seen() {
        assert_eq!(bars([100_000, 1].into_iter()), "M0.0 0.0H3.2V40.0H0.0ZM4.0 38.5H7.2V40.0H4.0Z");
    }

    #[test]
    fn a_line_breaks_where_nothing_was_measured() {
        let values = [Some(1.0), Some(2.0), None, Some(0.5)];
        assert_eq!(steps(values.into_iter(), (0.5, 2.0)), "M0.0 20.0H4.0V2.4H8.0M12.0 37.6H16.0");
        assert_eq!(steps([Some(3.0)].into_iter(), (3.0, 3.0)), "M0.0 20.0H4.0");
    }

    #[test]
    fn a_bin_holds_its_upper_end() {
        let shares = shares(&[0.0, 0.1, 0.100_1, 1.0]);
        assert_eq!(shares, [0.5, 0.25, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.25]);
    }

    #[test]
    fn what_calibration_leads_to_expect_lies_in_the_area_of_chance() {
        let even: Vec<f64> = (1..=100).map(|k| f64::from(k) / 100.0).collect();
        let drawn = histogram(&even, &even);
        // A share of 0.1 in each bin, and 0.1 +- 2 sqrt(0.1 * 0.9 * 0.02) around it: from 0.0151 to 0.1849.
        let y = |share: f64| format!("{:.1}", HISTOGRAM_HEIGHT * (1.0 - share / (0.184_853 * 1.05)));
        assert!(drawn.bars.starts_with(&format!("M2.0 {}H22.0V96.0H2.0Z", y(0.1))), "{}", drawn.bars);
        assert_eq!(drawn.bars.matches('M').count(), BINS);
        assert!(drawn.expected.starts_with(&format!("M0.0 {}H24.0L24.0", y(0.1))), "{}", drawn.expected);
        let area = format!("M0.0 {}H24.0V{}H0.0Z", y(0.184_853), y(0.015_147));
        assert!(drawn.chance.starts_with(&area), "{} {area}", drawn.chance);
    }

    proptest! {
        #[test]
        fn whatever_comes_in_only_path_data_come_out(
            values in prop::collection::vec(prop::num::f64::ANY, 1..80),
            counts in prop::collection::vec(any::<u64>(), 1..80),
            ends in any::<(f64, f64)>(),
        ) {
            let drawn = histogram(&values, &values);
            let paths = [
                bars(counts.into_iter()),
                steps(values.into_iter().map(Some), ends),
                drawn.bars, drawn.expected, drawn.chance,
            ];
            let plain = |c: char| c.is_ascii_digit() || matches!(c, 'M' | 'L' | 'H' | 'V' | 'Z' | ' ' | '.' | '-');
            for path in paths {
                prop_assert!(path.chars().all(plain), "{path}");
            }
        }
    }
}
