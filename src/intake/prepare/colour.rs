//! Which channels does the model see? Rows of the image as planes of levels.

use super::canvas::zeros;
use super::tone::{Levels, Scale};
use crate::intake::image::{Budget, Channels, ImageError, Raster, Samples};
use std::ops::Range;

/// Weights of red, green and blue in luma (ITU-R BT.601), in parts of 65,536: those of Pillow's mode `L`.
const LUMA: [u16; 3] = [19_595, 38_470, 7_471];

/// One row of the image at a time, plane by plane.
pub(super) struct Planes<'a> {
    raster: &'a Raster,
    levels: &'a Levels<'a>,
    way: Way,
    /// The pixels of a row that are needed.
    columns: Range<usize>,
    /// Red, green and blue of each pixel; empty for grey.
    pixels: Vec<f32>,
    rows: Vec<f32>,
    /// Of a plane: the columns, and behind them what the kernel reads over.
    stride: usize,
}

/// From samples to planes.
#[derive(Clone, Copy)]
enum Way {
    Grey,
    Colour,
    /// In bytes, as Pillow does.
    LumaOfBytes,
    Luma,
}

impl<'a> Planes<'a> {
    /// `channels`: what the tensor takes. Grey has one plane even there where the tensor takes three.
    pub(super) fn new(
        raster: &'a Raster,
        levels: &'a Levels<'a>,
        channels: usize,
        columns: Range<usize>,
        pad: usize,
        budget: &mut Budget,
    ) -> Result<Self, ImageError> {
        let way = match (raster.channels, channels) {
            (Channels::Grey, _) => Way::Grey,
            (Channels::Rgb, 3) => Way::Colour,
            (Channels::Rgb, _) if levels.scale() == Scale::Bytes => Way::LumaOfBytes,
            (Channels::Rgb, _) => Way::Luma,
        };
        let (planes, pixels) = match way {
            Way::Grey | Way::LumaOfBytes => (1, 0),
            Way::Colour => (3, 3),
            Way::Luma => (1, 3),
        };
        let stride = columns.len() + pad;
        let pixels = zeros(columns.len() * pixels, budget)?;
        let rows = zeros(stride * planes, budget)?;
        Ok(Self { raster, levels, way, columns, pixels, rows, stride })
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.rows.len() / self.stride
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[f32]> {
        self.rows.chunks_exact(self.stride)
    }

    /// Fills the planes with this row.
    pub(super) fn read(&mut self, row: usize) {
        let Self { raster, levels, .. } = self;
        let (from, width) = (row * raster.width + self.columns.start, self.columns.len());
        let channels = raster.channels.count();
        let at = from * channels..(from + width) * channels;
        match (self.way, &raster.samples) {
            (Way::Grey, samples) => levels.read(samples, at, &mut self.rows),
            (Way::LumaOfBytes, Samples::U8(bytes)) => {
                let (pixels, _) = bytes.get(at).unwrap_or_default().as_chunks();
                self.rows.iter_mut().zip(pixels).for_each(|(level, pixel)| *level = luma_of_bytes(*pixel));
            }
            (Way::Luma | Way::LumaOfBytes, samples) => {
                levels.read(samples, at, &mut self.pixels);
                let (pixels, _) = self.pixels.as_chunks();
                self.rows.iter_mut().zip(pixels).for_each(|(level, pixel)| *level = luma(*pixel));
            }
            (Way::Colour, samples) => {
                levels.read(samples, at, &mut self.pixels);
                let (pixels, _) = self.pixels.as_chunks();
                let (red, rest) = self.rows.split_at_mut(self.stride);
                let (green, blue) = rest.split_at_mut(self.stride);
                for (((red, green), blue), pixel) in red.iter_mut().zip(green).zip(blue).zip(pixels) {
                    [*red, *green, *blue] = *pixel;
                }
            }
        }
    }
}

fn luma_of_bytes(pixel: [u8; 3]) -> f32 {
    let [r, g, b] = pixel.map(u32::from);
    let [of_r, of_g, of_b] = LUMA.map(u32::from);
    let [_, byte, _, _] = (of_r * r + of_g * g + of_b * b + 0x8000).to_be_bytes();
    f32::from(byte)
}

fn luma([r, g, b]: [f32; 3]) -> f32 {
    let [of_r, of_g, of_b] = LUMA.map(|weight| f32::from(weight) / 65_536.0);
    of_r * r + of_g * g + of_b * b
}
