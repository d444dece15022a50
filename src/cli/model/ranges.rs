//! Between which values do the tensors of a graph lie when clean data run through it?

use super::measure::Runner;
use crate::inference::Batch;
use std::collections::BTreeMap;

/// How finely values are counted before the outermost are left out.
const BINS: usize = 8192;

/// Least and largest value of a tensor, 0 among them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Range {
    pub least: f32,
    pub most: f32,
}

impl Range {
    /// `None` for what is not finite.
    pub(super) fn new(least: f32, most: f32) -> Option<Self> {
        let range = Self { least: least.min(0.0), most: most.max(0.0) };
        (least.is_finite() && most.is_finite() && (range.most - range.least).is_finite()).then_some(range)
    }

    /// As [`Range::new`], of wider numbers.
    #[expect(clippy::cast_possible_truncation, reason = "bounds of an FP32 input are FP32 numbers")]
    pub(super) fn between(least: f64, most: f64) -> Option<Self> {
        Self::new(least as f32, most as f32)
    }

    /// Scale and zero point of uint8: 0 is exact, because it pads images.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole, and clamped to a byte"
    )]
    pub(super) fn affine(self) -> (f32, u8) {
        let scale = ((self.most - self.least) / 255.0).max(f32::MIN_POSITIVE);
        (scale, (-self.least / scale).round_ties_even().clamp(0.0, 255.0) as u8)
    }
}

/// The range of each output of `runner` over all rows, without the outermost values on either side: half of what
/// `percentile` leaves of 100. At 100 it is the least and the largest.
///
/// # Errors
/// A run fails, or a value is not finite.
pub(super) fn observe(
    runner: &Runner,
    rows: &[&Batch],
    percentile: f64,
) -> Result<BTreeMap<String, Range>, String> {
    let mut spans: Vec<Option<(f32, f32)>> = vec![None; runner.outputs().len()];
    each(runner, rows, |output, values| {
        if let Some(span) = spans.get_mut(output) {
            for value in values {
                let (least, most) = span.unwrap_or((*value, *value));
                *span = Some((least.min(*value), most.max(*value)));
            }
        }
    })?;
    let mut counts: Vec<Vec<u64>> = vec![vec![0; BINS]; spans.len()];
    if percentile < 100.0 {
        each(runner, rows, |output, values| {
            let (Some(Some(span)), Some(counts)) = (spans.get(output), counts.get_mut(output)) else {
                return;
            };
            for value in values {
                if let Some(count) = counts.get_mut(bin(*span, *value)) {
                    *count = count.saturating_add(1);
                }
            }
        })?;
    }
    let mut ranges = BTreeMap::new();
    for ((name, span), counts) in runner.outputs().iter().zip(&spans).zip(&counts) {
        let (least, most) = span.ok_or("no rows")?;
        let (least, most) =
            if percentile < 100.0 { within((least, most), counts, percentile) } else { (least, most) };
        ranges.insert(name.clone(), Range::new(least, most).ok_or_else(|| overflow(name))?);
    }
    Ok(ranges)
}

fn overflow(name: &str) -> String {
    format!("tensor `{name}` is not finite on the clean data")
}

/// Shows every output of every row.
fn each(runner: &Runner, rows: &[&Batch], mut see: impl FnMut(usize, &[f32])) -> Result<(), String> {
    for row in rows {
        let outputs = runner.run(row)?;
        for (at, name) in runner.outputs().iter().enumerate() {
            let values = outputs.clean(at, 0).ok_or_else(|| format!("tensor `{name}` has no row"))?;
            if !values.iter().all(|value| value.is_finite()) {
                return Err(overflow(name));
            }
            see(at, values);
        }
    }
    Ok(())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of the bins"
)]
fn bin((least, most): (f32, f32), value: f32) -> usize {
    let (least, most, value) = (f64::from(least), f64::from(most), f64::from(value));
    let share = if most > least { (value - least) / (most - least) } else { 0.0 };
    ((share * BINS as f64) as usize).min(BINS.saturating_sub(1))
}

/// The edges of the bins behind which at most the allowed share of values lies.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of a count, and an edge between two FP32 numbers"
)]
fn within((least, most): (f32, f32), counts: &[u64], percentile: f64) -> (f32, f32) {
    let total: u64 = counts.iter().sum();
    let beyond = (total as f64 * (100.0 - percentile) / 200.0) as u64;
    let skipped = |counts: &mut dyn Iterator<Item = &u64>| {
        let mut seen = 0_u64;
        counts
            .take_while(|count| {
                seen = seen.saturating_add(**count);
                seen <= beyond
            })
            .count()
    };
    let (below, above) = (skipped(&mut counts.iter()), skipped(&mut counts.iter().rev()));
    let width = (f64::from(most) - f64::from(least)) / BINS as f64;
    let low = f64::from(least) + below as f64 * width;
    let high = f64::from(most) - above as f64 * width;
    (low as f32, high as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_finite_has_no_range_and_zero_is_always_exact() {
        assert_eq!(Range::new(f32::NAN, 1.0), None);
        assert_eq!(Range::new(0.0, f32::INFINITY), None);
        assert_eq!(Range::new(f32::MIN, f32::MAX), None);
        for (least, most, scale, zero) in
            [(0.0, 255.0, 1.0, 0), (3.0, 510.0, 2.0, 0), (-255.0, -1.0, 1.0, 255), (-51.0, 204.0, 1.0, 51)]
        {
            assert_eq!(Range::new(least, most).unwrap().affine(), (scale, zero));
        }
        assert_eq!(Range::new(0.0, 0.0).unwrap().affine(), (f32::MIN_POSITIVE, 0));
    }

    #[test]
    fn the_outermost_values_are_left_out_and_no_more() {
        let count = |values: &[f32]| {
            let mut counts = vec![0; BINS];
            for value in values {
                counts[bin((-100.0, 1000.0), *value)] += 1;
            }
            counts
        };
        // 9,998 values of 0 to 1 and one far off on either side.
        let mut values: Vec<f32> = (0..9_998_u16).map(|i| f32::from(i) / 9_997.0).collect();
        values.extend([-100.0, 1000.0]);
        let (low, high) = within((-100.0, 1000.0), &count(&values), 99.97);
        let width = 1100.0 / 8192.0;
        assert!(low <= 0.0 && low > -width && (1.0..=1.0 + width).contains(&high), "{low} {high}");
        // A hundredth of a percent of 10,000 is half a value on either side, and so none.
        assert_eq!(within((-100.0, 1000.0), &count(&values), 99.99), (-100.0, 1000.0));
    }
}
