//! How do pixels become fewer or more? Pillow's resampling: a filter as wide as the scale when shrinking, its
//! weights in f64 and normalised, along the rows first, levels clamped after each direction.
//!
//! Source: Pillow 12, `src/libImaging/Resample.c`, `precompute_coeffs`. Sums are in f32 and in an order of our own,
//! which differs from Pillow's mode `F` by less than 1e-6 of white. (Pillow 13 shrinks columns first where they shrink
//! much more than rows; that differs where Lanczos overshoots at hard edges.)

use super::fit::Axis;
use super::number::{self, sin_pi};
use super::tone::Scale;
use crate::contract::image::Filter;
use crate::intake::image::{Budget, ImageError};
use std::ops::Range;

/// Sums that run beside each other, so that compilers make vectors of them: they may not reorder a sum of floats.
const LANES: usize = 8;

/// The weights of one direction.
pub(super) struct Kernel {
    /// For each pixel of the target, the pixels of the source that it is made of; both ends never decrease.
    spans: Vec<Range<usize>>,
    /// For each pixel of the target, `taps` weights; 0 behind its span.
    weights: Vec<f32>,
    taps: usize,
    /// Each pixel is one pixel of the source.
    same: bool,
}

impl Kernel {
    pub(super) fn new(axis: &Axis, filter: Filter, budget: &mut Budget) -> Result<Self, ImageError> {
        let same = axis.source == axis.scaled;
        let scale = f64::from(axis.source) / f64::from(axis.scaled);
        let shrink = scale.max(1.0);
        let support = if same { 0.0 } else { support(filter) * shrink };
        let taps = if same { 1 } else { (2 * whole(support.ceil()) + 1).next_multiple_of(LANES) };
        let source = whole(f64::from(axis.source));
        let mut spans = budget.room(axis.count)?;
        let mut weights = budget.room(axis.count.saturating_mul(taps))?;
        let mut exact: Vec<f64> = budget.room(taps)?;
        for at in (axis.skip..).take(axis.count) {
            budget.on_time()?;
            let center = (f64::from(at) + 0.5) * scale;
            let start = whole(center - support + 0.5);
            let span = if same {
                whole(center)..whole(center) + 1
            } else {
                start..whole(center + support + 0.5).min(source)
            };
            exact.clear();
            if same {
                exact.push(1.0);
            } else {
                let first = f64::from(u32::try_from(span.start).unwrap_or(u32::MAX));
                let pixels = (0_u32..).take(span.len()).map(f64::from);
                exact.extend(pixels.map(|x| weight(filter, (x + first - center + 0.5) * (1.0 / shrink))));
            }
            let sum: f64 = exact.iter().sum();
            let sum = if sum == 0.0 { 1.0 } else { sum };
            weights.extend(exact.iter().map(|weight| number::single(weight / sum)));
            weights.resize(weights.len() + (taps - span.len()), 0.0);
            spans.push(span);
        }
        Ok(Self { spans, weights, taps, same })
    }

    /// The pixels of the source that are needed.
    pub(super) fn reach(&self) -> Range<usize> {
        let start = self.spans.first().map_or(0, |span| span.start);
        start..self.spans.last().map_or(start, |span| span.end)
    }

    /// Elements that a row must have behind its reach; any finite number.
    pub(super) fn pad(&self) -> usize {
        self.taps
    }

    /// A row of the target from a row of the source, which begins at the reach.
    pub(super) fn resample(&self, row: &[f32], scale: Scale, out: &mut [f32]) {
        if self.same {
            out.iter_mut().zip(row).for_each(|(out, level)| *out = *level);
            return;
        }
        let start = self.reach().start;
        let weights = self.weights.chunks_exact(self.taps);
        for ((span, weights), out) in self.spans.iter().zip(weights).zip(out.iter_mut()) {
            let Some(levels) = row.get(span.start - start..) else { continue };
            *out = dot(levels, weights);
        }
        scale.settle(out);
    }

    /// The first row of the target that `row` of the source, or one behind it, has a part in; `from` is the answer for
    /// a row before.
    pub(super) fn reached(&self, row: usize, from: usize) -> usize {
        let passed = self.spans.iter().skip(from).take_while(|span| span.end <= row).count();
        from + passed
    }

    /// The rows of the target from `reached` on that `row` of the source has a part in, with its weight.
    pub(super) fn over(&self, row: usize, reached: usize) -> impl Iterator<Item = (usize, f32)> {
        let spans = self.spans.iter().zip(self.weights.chunks_exact(self.taps)).enumerate().skip(reached);
        let touched = spans.take_while(move |(_, (span, _))| span.start <= row);
        touched.filter_map(move |(at, (span, weights))| Some((at, *weights.get(row - span.start)?)))
    }
}

/// The sum of products, in a fixed order.
fn dot(levels: &[f32], weights: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let (levels, _) = levels.as_chunks::<LANES>();
    let (weights, _) = weights.as_chunks::<LANES>();
    for (levels, weights) in levels.iter().zip(weights) {
        for ((sum, level), weight) in sums.iter_mut().zip(levels).zip(weights) {
            *sum += level * weight;
        }
    }
    let [s0, s1, s2, s3, s4, s5, s6, s7] = sums;
    ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7))
}

/// C's cast to int, but for what is below 0.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "places in a row are below 2^33")]
fn whole(place: f64) -> usize {
    place as usize
}

/// In pixels of the target.
fn support(filter: Filter) -> f64 {
    match filter {
        Filter::Area => 0.5,
        Filter::Bilinear => 1.0,
        Filter::Lanczos => 3.0,
    }
}

fn weight(filter: Filter, x: f64) -> f64 {
    match filter {
        Filter::Area => f64::from(x > -0.5 && x <= 0.5),
        Filter::Bilinear => (1.0 - x.abs()).max(0.0),
        Filter::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
        Filter::Lanczos => 0.0,
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { sin_pi(x) / (x * std::f64::consts::PI) }
}
