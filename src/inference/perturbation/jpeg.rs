//! What a JPEG file would leave of the image: adversarial noise is mostly what its quantisation drops (Das et al.,
//! SHIELD, KDD 2018).
//!
//! Entropy coding loses nothing, so that no file is written: levels of 8 bits, colour in 4:4:4, forward transform,
//! quantisation with the tables of T.81 annex K, and back, in libjpeg's integers. The grid of blocks is moved by
//! `shift` pixels, because many images were already coded as JPEG: on the same grid at the same quality a second
//! coding changes nothing in them, and would tell a file's history, not an attack.

use super::Perturbation;
use crate::intake::image::jpeg::colour::{clamped, to_rgb, to_ycc};
use crate::intake::image::jpeg::dct::{Strip, to_coefficients, to_levels};

/// Codes each plane of values in 0..1; three planes as red, green and blue.
#[derive(Debug)]
pub struct Jpeg {
    input: usize,
    height: usize,
    width: usize,
    shift: usize,
    in_colour: bool,
    luma: Table,
    chroma: Table,
}

/// Columns that are coded together, four blocks: enough for a compiler to use wide registers throughout.
const WIDTH: usize = 32;

/// For each coefficient of a strip, 1 / its divisor (coefficients are x 8) and what quantised ones are multiplied by.
#[derive(Debug)]
struct Table {
    reciprocals: Strip<f32, WIDTH>,
    factors: Strip<f32, WIDTH>,
}

/// T.81, table K.1.
const LUMA: Strip<u16, 8> = [
    [16, 11, 10, 16, 24, 40, 51, 61],
    [12, 12, 14, 19, 26, 58, 60, 55],
    [14, 13, 16, 24, 40, 57, 69, 56],
    [14, 17, 22, 29, 51, 87, 80, 62],
    [18, 22, 37, 56, 68, 109, 103, 77],
    [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101],
    [72, 92, 95, 98, 112, 100, 103, 99],
];

/// T.81, table K.2.
const CHROMA: Strip<u16, 8> = [
    [17, 18, 24, 47, 99, 99, 99, 99],
    [18, 21, 26, 66, 99, 99, 99, 99],
    [24, 26, 56, 99, 99, 99, 99, 99],
    [47, 66, 99, 99, 99, 99, 99, 99],
    [99, 99, 99, 99, 99, 99, 99, 99],
    [99, 99, 99, 99, 99, 99, 99, 99],
    [99, 99, 99, 99, 99, 99, 99, 99],
    [99, 99, 99, 99, 99, 99, 99, 99],
];

impl Table {
    /// Scaled as `jpeg_set_quality` does, within 8 bits.
    fn scaled(base: &Strip<u16, 8>, quality: u32) -> Self {
        let quality = quality.clamp(1, 100);
        let percent = if quality < 50 { 5000 / quality } else { 200 - 2 * quality };
        let factor = |base: u16| ((u32::from(base) * percent + 50) / 100).clamp(1, 255);
        #[expect(clippy::cast_precision_loss, reason = "at most 255")]
        let factors = base.map(|row| row.map(|base| factor(base) as f32));
        let mut table = Self { reciprocals: [[0.0; WIDTH]; 8], factors: [[0.0; WIDTH]; 8] };
        for ((reciprocals, to), factors) in table.reciprocals.iter_mut().zip(&mut table.factors).zip(factors)
        {
            for ((reciprocal, to), factor) in reciprocals.iter_mut().zip(to).zip(factors.iter().cycle()) {
                (*reciprocal, *to) = (1.0 / (8.0 * factor), *factor);
            }
        }
        table
    }
}

impl Jpeg {
    /// `shape` is that of the input, `quality` 1 to 100 and `shift` 0 to 7, as the contract has checked.
    #[must_use]
    pub fn new(input: usize, shape: &[i64], quality: u32, shift: usize) -> Self {
        let size = |dim: &i64| usize::try_from(*dim).unwrap_or(0);
        let (height, width) = match shape {
            [_, .., height, width] => (size(height), size(width)),
            _ => (0, 0),
        };
        Self {
            input,
            height,
            width,
            shift: shift % 8,
            in_colour: matches!(shape, [_, 3, _, _]),
            luma: Table::scaled(&LUMA, quality),
            chroma: Table::scaled(&CHROMA, quality),
        }
    }

    /// Where strips stand: their first row and column, `shift` below and right of the pixel that they begin with.
    fn places(&self) -> impl Iterator<Item = (usize, usize)> {
        let columns = self.width.saturating_add(self.shift);
        let rows = self.height.saturating_add(self.shift);
        (0..rows).step_by(8).flat_map(move |y| (0..columns).step_by(WIDTH).map(move |x| (y, x)))
    }

    fn colour(&self, row: &[f32], out: &mut [f32]) {
        let area = self.height * self.width;
        let mut planes = row.chunks_exact(area);
        let (Some(red), Some(green), Some(blue)) = (planes.next(), planes.next(), planes.next()) else {
            return;
        };
        let mut outs = out.chunks_exact_mut(area);
        let (Some(red_out), Some(green_out), Some(blue_out)) = (outs.next(), outs.next(), outs.next()) else {
            return;
        };
        for place in self.places() {
            let mut pixels = [red, green, blue].map(|plane| self.read(plane, place));
            each_pixel(&mut pixels, to_ycc);
            let [one, two, three] = &mut pixels;
            self.luma.code(one);
            self.chroma.code(two);
            self.chroma.code(three);
            each_pixel(&mut pixels, to_rgb);
            let [one, two, three] = &pixels;
            self.write(one, place, red_out);
            self.write(two, place, green_out);
            self.write(three, place, blue_out);
        }
    }

    fn grey(&self, plane: &[f32], out: &mut [f32]) {
        for place in self.places() {
            let mut levels = self.read(plane, place);
            self.luma.code(&mut levels);
            self.write(&levels, place, out);
        }
    }

    /// The levels of a strip; beyond the image its edge goes on.
    #[inline]
    fn read(&self, plane: &[f32], (y, x): (usize, usize)) -> Strip<u8, WIDTH> {
        let mut strip = [[0; WIDTH]; 8];
        for (down, levels) in strip.iter_mut().enumerate() {
            let y = (y + down).saturating_sub(self.shift).min(self.height.saturating_sub(1));
            let row = plane.get(y * self.width..(y + 1) * self.width).unwrap_or_default();
            let whole = x.checked_sub(self.shift).and_then(|x| row.get(x..)?.first_chunk::<WIDTH>());
            if let Some(values) = whole {
                for (to, value) in levels.iter_mut().zip(values) {
                    *to = level(*value);
                }
            } else {
                let last = self.width.saturating_sub(1);
                for (across, to) in levels.iter_mut().enumerate() {
                    let x = (x + across).saturating_sub(self.shift).min(last);
                    *to = level(row.get(x).copied().unwrap_or(0.0));
                }
            }
        }
        strip
    }

    /// Writes what of a strip is of the image.
    #[inline]
    fn write(&self, strip: &Strip<u8, WIDTH>, (y, x): (usize, usize), plane: &mut [f32]) {
        let skipped = self.shift.saturating_sub(x);
        let x = x.saturating_sub(self.shift);
        for (down, levels) in strip.iter().enumerate() {
            let Some(y) = (y + down).checked_sub(self.shift).filter(|y| *y < self.height) else { continue };
            let row = plane.get_mut(y * self.width..(y + 1) * self.width).unwrap_or_default();
            let row = row.get_mut(x..).unwrap_or_default();
            for (out, level) in row.iter_mut().zip(levels.get(skipped..).unwrap_or_default()) {
                *out = f32::from(*level) / 255.0;
            }
        }
    }
}

impl Perturbation for Jpeg {
    fn input(&self) -> usize {
        self.input
    }

    fn perturb(&self, row: &[f32], _seed: u64, out: &mut [f32]) {
        let area = self.height.saturating_mul(self.width);
        if area == 0 {
            out.copy_from_slice(row);
        } else if self.in_colour {
            self.colour(row, out);
        } else {
            for (plane, out) in row.chunks_exact(area).zip(out.chunks_exact_mut(area)) {
                self.grey(plane, out);
            }
        }
    }
}

impl Table {
    /// The levels as they are decoded.
    fn code(&self, levels: &mut Strip<u8, WIDTH>) {
        let mut strip = [[0; WIDTH]; 8];
        for (to, level) in strip.as_flattened_mut().iter_mut().zip(levels.as_flattened()) {
            *to = i32::from(*level) - 128;
        }
        to_coefficients(&mut strip);
        let tables = self.reciprocals.as_flattened().iter().zip(self.factors.as_flattened());
        for (one, (reciprocal, factor)) in strip.as_flattened_mut().iter_mut().zip(tables) {
            *one = quantised(*one, *reciprocal, *factor);
        }
        to_levels(&mut strip, 2);
        for (to, level) in levels.as_flattened_mut().iter_mut().zip(strip.as_flattened()) {
            *to = clamped(level.wrapping_add(128));
        }
    }
}

/// The nearest multiple of the factor, ties away from 0 as in `jcdctmgr.c`.
///
/// In f32, because processors without SSE4 have no product of eight 32-bit numbers; exact, because a coefficient has
/// 15 bits and is, a quarter more, at least 1/8160 of a step away from a tie. Added to 1.5 x 2^23, a number is
/// rounded to a whole one, which stands in the low bits.
#[inline]
fn quantised(coefficient: i32, reciprocal: f32, factor: f32) -> i32 {
    const WHOLE: f32 = 12_582_912.0;
    #[expect(clippy::cast_precision_loss, reason = "15 bits")]
    let coefficient = coefficient as f32;
    let steps = (coefficient + 0.25_f32.copysign(coefficient)) * reciprocal + WHOLE;
    let multiple = (steps - WHOLE) * factor + WHOLE;
    multiple.to_bits().cast_signed().wrapping_sub(WHOLE.to_bits().cast_signed())
}

/// Half up, and cut to 0..=255. NaN is black.
#[inline]
#[expect(clippy::manual_clamp, reason = "which would keep NaN")]
fn level(value: f32) -> u8 {
    /// Added to it, a number below is rounded to a whole one, which stands in the low bits.
    const WHOLE: f32 = 8_388_608.0;
    let value = (value * 255.0 + 0.5).max(0.0).min(255.0);
    let whole = value + WHOLE;
    let over = u32::from(whole - WHOLE > value);
    whole.to_bits().wrapping_sub(over).to_le_bytes()[0]
}

#[inline]
fn each_pixel([one, two, three]: &mut [Strip<u8, WIDTH>; 3], convert: impl Fn([u8; 3]) -> [u8; 3]) {
    let others = two.as_flattened_mut().iter_mut().zip(three.as_flattened_mut());
    for (one, (two, three)) in one.as_flattened_mut().iter_mut().zip(others) {
        [*one, *two, *three] = convert([*one, *two, *three]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEVELS: &[u8] = include_bytes!("../../../tests/fixtures/perturbation/levels.raw");

    macro_rules! coded {
        ($quality:literal, $shift:literal) => {{
            const GREY: &[u8] = include_bytes!(concat!(
                "../../../tests/fixtures/perturbation/grey_q",
                $quality,
                "_shift",
                $shift,
                ".raw"
            ));
            const RGB: &[u8] = include_bytes!(concat!(
                "../../../tests/fixtures/perturbation/rgb_q",
                $quality,
                "_shift",
                $shift,
                ".raw"
            ));
            ($quality, $shift, GREY, RGB)
        }};
    }

    fn values(levels: &[u8]) -> Vec<f32> {
        levels.iter().map(|level| f32::from(*level) / 255.0).collect()
    }

    fn copy(shape: &[i64], quality: u32, shift: usize, row: &[f32]) -> Vec<f32> {
        let mut out = vec![f32::NAN; row.len()];
        Jpeg::new(0, shape, quality, shift).perturb(row, 0, &mut out);
        out
    }

    /// See tests/fixtures/perturbation/README.md.
    #[test]
    fn every_level_is_that_of_libjpeg() {
        for (quality, shift, grey, rgb) in [coded!(10, 0), coded!(50, 3), coded!(75, 4), coded!(100, 7)] {
            let (row, wanted) = (values(LEVELS), values(rgb));
            assert!(copy(&[-1, 3, 13, 43], quality, shift, &row) == wanted, "rgb, quality {quality}");
            let (row, wanted) = (&row[..13 * 43], values(grey));
            assert!(copy(&[-1, 1, 13, 43], quality, shift, row) == wanted, "grey, quality {quality}");
            assert!(copy(&[-1, 13, 43], quality, shift, row) == wanted, "one plane, quality {quality}");
        }
    }

    #[test]
    fn planes_that_are_not_three_are_grey_each() {
        let row = values(LEVELS);
        let (two, one) = (&row[..2 * 559], &row[559..2 * 559]);
        assert_eq!(copy(&[-1, 2, 13, 43], 50, 4, two)[559..], copy(&[-1, 1, 13, 43], 50, 4, one));
        // Three planes of a volume are no colours.
        let volume = copy(&[-1, 1, 3, 13, 43], 50, 4, &row);
        assert_eq!(volume[559..2 * 559], copy(&[-1, 1, 13, 43], 50, 4, one));
        assert_ne!(volume, copy(&[-1, 3, 13, 43], 50, 4, &row));
    }

    #[test]
    fn values_are_rounded_half_up_and_cut_to_levels() {
        for (value, wanted) in [
            (f32::NAN, 0),
            (f32::NEG_INFINITY, 0),
            (-1e-9, 0),
            (0.499 / 255.0, 0),
            (0.5 / 255.0, 1),
            (127.49 / 255.0, 127),
            (127.51 / 255.0, 128),
            (254.6 / 255.0, 255),
            (1.0, 255),
            (1e30, 255),
            (f32::INFINITY, 255),
        ] {
            assert_eq!(level(value), wanted, "{value}");
        }
        assert!((0..=u8::MAX).all(|wanted| level(f32::from(wanted) / 255.0) == wanted));
    }

    #[test]
    fn a_second_coding_on_the_same_grid_changes_little_and_on_a_moved_grid_more() {
        let row = &values(LEVELS)[..559];
        let moved = |row: &[f32], shift| {
            let again = copy(&[-1, 1, 13, 43], 75, shift, row);
            again.iter().zip(row).map(|(one, other)| f64::from((one - other).abs())).sum::<f64>()
        };
        let once = copy(&[-1, 1, 13, 43], 75, 0, row);
        assert!(moved(&once, 0) * 4.0 < moved(&once, 4), "{} {}", moved(&once, 0), moved(&once, 4));
    }

    #[test]
    fn quantising_in_f32_is_that_of_whole_numbers() {
        let mut pairs = std::collections::BTreeMap::new();
        for (quality, base) in [1, 10, 50, 75, 90, 100].into_iter().flat_map(|q| [(q, &LUMA), (q, &CHROMA)]) {
            let table = Table::scaled(base, quality);
            let factors = table.factors.as_flattened().iter();
            pairs.extend(
                factors.map(|factor| factor.to_bits()).zip(table.reciprocals.as_flattened().iter().copied()),
            );
        }
        assert!(pairs.len() > 80, "{}", pairs.len());
        for (factor, reciprocal) in pairs {
            let factor = f32::from_bits(factor);
            #[expect(clippy::cast_possible_truncation, reason = "at most 255")]
            let whole = factor as i32;
            // As in `jcdctmgr.c`, of every coefficient there can be.
            for magnitude in 0..1 << 14 {
                let multiple = (magnitude + 4 * whole) / (8 * whole) * whole;
                assert_eq!(quantised(magnitude, reciprocal, factor), multiple);
                assert_eq!(quantised(-magnitude, reciprocal, factor), -multiple);
            }
        }
    }
}
