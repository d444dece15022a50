//! Where does a line of levels stand in the tensor, and what becomes of a level at last?

use super::fit::Axis;
use super::{internal, number};
use crate::contract::image::{ImageSpec, Layout, Target};
use crate::intake::image::{Budget, ImageError};

/// The tensor's row, black at first, to which lines are added; a line is a resampled row of the image.
pub(super) struct Canvas<'a> {
    out: &'a mut [f32],
    /// Elements of a plane: of one channel (NCHW), or of all of them (NHWC).
    plane: usize,
    /// Elements from a line of a plane to the next.
    stride: usize,
    /// Where in a plane the image begins; there is black around it where it is padded.
    place: usize,
    /// The line, channel by channel.
    line: Vec<f32>,
    /// Pixels of a line.
    width: usize,
    /// The line pixel by pixel; empty where the tensor takes it channel by channel.
    pixels: Vec<f32>,
}

/// (level - mean) / std of each channel.
pub(super) struct Norm {
    /// Mean and std; empty where the contract has neither.
    channels: Vec<(f32, f32)>,
}

impl<'a> Canvas<'a> {
    /// `channels`: of a line, 1 or 3. One fills all channels of the tensor.
    pub(super) fn new(
        layout: Layout,
        target: Target,
        (x, y): (&Axis, &Axis),
        channels: usize,
        budget: &mut Budget,
        out: &'a mut [f32],
    ) -> Result<Self, ImageError> {
        out.fill(0.0);
        let (planes, step) = match layout {
            Layout::Nchw => (target.channels, 1),
            Layout::Nhwc => (1, target.channels),
        };
        let (stride, width) = (target.width * step, x.count);
        let line = zeros(width * channels, budget)?;
        let pixels = zeros(if step > 1 { width * step } else { 0 }, budget)?;
        let place = y.place * stride + x.place * step;
        Ok(Self { plane: out.len() / planes, out, stride, place, line, width, pixels })
    }

    /// Makes each channel of the line from a plane of the image's row.
    pub(super) fn set_line<'b>(
        &mut self,
        planes: impl Iterator<Item = &'b [f32]>,
        resample: impl Fn(&[f32], &mut [f32]),
    ) {
        for (plane, channel) in planes.zip(self.line.chunks_exact_mut(self.width)) {
            resample(plane, channel);
        }
        if self.pixels.is_empty() {
            return;
        }
        let step = self.pixels.len() / self.width;
        let channels = self.line.chunks_exact(self.width).cycle();
        for (nth, channel) in (0..step).zip(channels) {
            for (pixel, level) in self.pixels.chunks_exact_mut(step).zip(channel) {
                pixel.iter_mut().skip(nth).take(1).for_each(|element| *element = *level);
            }
        }
    }

    /// Adds `weight` times the line to line `at` of the image in the tensor.
    pub(super) fn add_line(&mut self, at: usize, weight: f32) {
        let (line, width) =
            if self.pixels.is_empty() { (&self.line, self.width) } else { (&self.pixels, self.pixels.len()) };
        let from = self.place + at * self.stride;
        let planes = self.out.chunks_exact_mut(self.plane);
        for (plane, line) in planes.zip(line.chunks_exact(width).cycle()) {
            let Some(elements) = plane.get_mut(from..from + width) else { continue };
            for (element, level) in elements.iter_mut().zip(line) {
                *element += weight * level;
            }
        }
    }
}

impl Norm {
    pub(super) fn new(spec: &ImageSpec, channels: usize) -> Result<Self, ImageError> {
        let fits = |values: &[f64]| values.is_empty() || values.len() == channels;
        if !fits(&spec.mean) || !fits(&spec.std) {
            return Err(internal("one mean and one std for each channel"));
        }
        if spec.mean.is_empty() && spec.std.is_empty() {
            return Ok(Self { channels: Vec::new() });
        }
        let means = spec.mean.iter().copied().chain(std::iter::repeat(0.0));
        let stds = spec.std.iter().copied().chain(std::iter::repeat(1.0));
        let norm: Vec<_> =
            means.zip(stds).take(channels).map(|(m, s)| (number::single(m), number::single(s))).collect();
        let sound = |(mean, std): &(f32, f32)| {
            *std > 0.0 && [0.0, 1.0].iter().all(|level: &f32| ((level - mean) / std).is_finite())
        };
        if !norm.iter().all(sound) {
            return Err(internal("a mean or std that leaves the range of FP32"));
        }
        Ok(Self { channels: norm })
    }

    pub(super) fn apply(&self, layout: Layout, out: &mut [f32]) {
        let normal = |level: f32, (mean, std): (f32, f32)| (level - mean) / std;
        match (self.channels.len(), layout) {
            (0, _) => {}
            (channels, Layout::Nchw) => {
                for (plane, norm) in out.chunks_exact_mut(out.len() / channels).zip(&self.channels) {
                    for level in plane {
                        *level = normal(*level, *norm);
                    }
                }
            }
            (channels, Layout::Nhwc) => {
                for pixel in out.chunks_exact_mut(channels) {
                    for (level, norm) in pixel.iter_mut().zip(&self.channels) {
                        *level = normal(*level, *norm);
                    }
                }
            }
        }
    }
}

/// Room for a row, filled.
pub(super) fn zeros(elements: usize, budget: &mut Budget) -> Result<Vec<f32>, ImageError> {
    let mut room = budget.room(elements)?;
    room.resize(elements, 0.0);
    Ok(room)
}
