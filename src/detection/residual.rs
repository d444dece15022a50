//! How rough or smooth is the input, and where? The mean squared difference from its 3x3 median, which adversarial
//! noise raises (Liang et al., IEEE TDSC 2018, and Xu et al., NDSS 2018, by their median) and blank or synthetic images
//! lower: how many deviations its logarithm is from that of clean images, either way; and of each of 4 x 4 parts of
//! the image, how many above, because a patch or the few squares of Square (Andriushchenko et al., ECCV 2020) are
//! lost in the mean of the whole.

use super::fit::Normal;
use super::planes::Planes;
use super::vector::as_f64;
use super::{Detector, OutputDetector, Row, Score, Unmeasured, score};
use crate::inference::perturbation::Perturbation;
use crate::inference::perturbation::median::Median;

/// Parts along each side.
const SIDE: usize = 4;
const PARTS: usize = SIDE * SIDE;
/// Of the range of values, a step of 8 bits: differences well below it hardly count.
const LEAST: f64 = 1.0 / 255.0;
/// Least deviations. Below the first, whole images are all alike, which says nothing of others. Parts often are, a blank
/// corner for instance, and few references may know no other; one pixel there would then be beyond all measure.
const DEVIATION_MIN: f64 = 1e-3;
const PART_DEVIATION_MIN: f64 = 0.25;

/// How much of something there is in an image as a whole, and in each of its parts, row by row.
pub type Regions<T> = [T; 1 + PARTS];

/// Deviations of the logarithms from their clean means.
#[derive(Clone, Copy, Debug)]
pub struct Residual {
    /// Where the planes are.
    pub planes: Planes,
    /// Of the logarithms, over clean rows.
    pub clean: Regions<Normal>,
}

impl OutputDetector for Residual {
    fn name(&self) -> Detector {
        Detector::Residual
    }

    fn examine(&self, row: &Row<'_>) -> Result<Score, Unmeasured> {
        let rough = row.input().and_then(|image| roughness(self.planes, image));
        score(rough.map(|rough| self.deviations(&rough)))
    }
}

impl Residual {
    fn deviations(&self, rough: &Regions<f64>) -> f64 {
        let ([whole, parts @ ..], [clean, clean_parts @ ..]) = (rough, &self.clean);
        let whole = (whole - clean.mean).abs() / clean.deviation.max(DEVIATION_MIN);
        let parts = parts
            .iter()
            .zip(clean_parts)
            .map(|(rough, clean)| (rough - clean.mean) / clean.deviation.max(PART_DEVIATION_MIN));
        parts.fold(whole, f64::max)
    }
}

/// Logarithms of the mean squared difference of a row, all planes together, from its 3x3 median.
#[must_use]
pub fn roughness(planes: Planes, row: &[f32]) -> Option<Regions<f64>> {
    let median = Median::new(0, Some((planes.height, planes.width)), 3);
    let (each, mut squares) = (planes.each(row)?, [[0.0; SIDE]; SIDE]);
    let (mut smooth, mut columns) = (Vec::new(), vec![0.0; planes.width]);
    for plane in each {
        smooth.resize(plane.len(), 0.0);
        median.perturb(plane, 0, &mut smooth);
        let mut lines = plane.chunks_exact(planes.width).zip(smooth.chunks_exact(planes.width));
        for (band, squares) in squares.iter_mut().enumerate() {
            columns.fill(0.0);
            lines
                .by_ref()
                .take(length(planes.height, band))
                .for_each(|(a, b)| add_squares(&mut columns, a, b));
            let mut rest = columns.as_slice();
            for (part, sum) in squares.iter_mut().enumerate() {
                let (columns, after) = rest.split_at_checked(length(planes.width, part))?;
                *sum += columns.iter().sum::<f64>();
                rest = after;
            }
        }
    }
    logarithms(planes, &squares, row.len())
}

/// How many of so many lines are in this of the parts.
fn length(lines: usize, part: usize) -> usize {
    (part + 1) * lines / SIDE - part * lines / SIDE
}

/// Squared differences of two lines, added column by column, which processors do several at once and always in the
/// same order.
fn add_squares(columns: &mut [f64], a: &[f32], b: &[f32]) {
    for (sum, (a, b)) in columns.iter_mut().zip(a.iter().zip(b)) {
        let difference = f64::from(a - b);
        *sum += difference * difference;
    }
}

/// A part without a pixel, of an image of three lines, is as the whole.
fn logarithms(planes: Planes, squares: &[[f64; SIDE]; SIDE], values: usize) -> Option<Regions<f64>> {
    let least = (LEAST * planes.range).powi(2);
    let logarithm = |sum: f64, values: usize| {
        let mean = sum / as_f64(values);
        mean.is_finite().then(|| (mean + least).ln())
    };
    let whole = logarithm(squares.iter().flatten().sum(), values)?;
    let depth = values / (planes.height * planes.width);
    let mut regions = [whole; 1 + PARTS];
    let (_, parts) = regions.split_first_mut()?;
    for (place, (part, sum)) in parts.iter_mut().zip(squares.iter().flatten()).enumerate() {
        let area = length(planes.height, place / SIDE) * length(planes.width, place % SIDE);
        if area > 0 {
            *part = logarithm(*sum, area * depth)?;
        }
    }
    Some(regions)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLANES: Planes = Planes { height: 4, width: 5, range: 1.0 };
    const WHOLE: usize = 0;

    fn residual(mean: f64) -> Residual {
        Residual { planes: PLANES, clean: [Normal { mean, deviation: 1.0 }; 1 + PARTS] }
    }

    #[test]
    fn what_is_no_image_or_no_number_is_unmeasured() {
        assert_eq!(roughness(PLANES, &[]), None);
        assert_eq!(roughness(PLANES, &[0.5; 21]), None);
        assert_eq!(roughness(Planes { height: 0, ..PLANES }, &[0.5; 20]), None);
        for odd in [f32::NAN, f32::INFINITY] {
            let mut image = [0.5; 40];
            image[27] = odd;
            assert_eq!(roughness(PLANES, &image), None);
        }
    }

    #[test]
    fn a_blank_image_is_as_smooth_as_can_be_everywhere() {
        assert_eq!(roughness(PLANES, &[0.7; 40]), Some([LEAST.powi(2).ln(); 1 + PARTS]));
    }

    #[test]
    fn one_odd_pixel_of_forty_counts_by_its_height_and_where_it_is() {
        // In the second plane: line 1, column 2, which shares its part with no other column of the five.
        let mut image = [0.5; 40];
        image[27] = 0.9;
        let found = roughness(PLANES, &image).unwrap();
        let squared = f64::from(0.9_f32 - 0.5).powi(2);
        for (place, found) in found.iter().enumerate() {
            let mean = match place {
                WHOLE => squared / 40.0,
                // Of the second of four bands, the third part, whose one pixel has two planes.
                7 => squared / 2.0,
                _ => 0.0,
            };
            assert!((found - (mean + LEAST.powi(2)).ln()).abs() < 1e-6, "{place}: {found}");
        }
    }

    #[test]
    fn every_pixel_is_in_one_part_whatever_the_size() {
        for lines in 3..300 {
            assert_eq!((0..SIDE).map(|part| length(lines, part)).sum::<usize>(), lines);
        }
        let thin = Planes { height: 3, width: 3, range: 1.0 };
        let mut image = [0.0; 9];
        image[4] = 1.0;
        let found = roughness(thin, &image).unwrap();
        // The first quarter of three lines has none; the pixel in the middle is the third of both.
        assert_eq!(found[1], found[WHOLE]);
        assert_eq!(found[11], (1.0 + LEAST.powi(2)).ln());
        assert_eq!((found[6], found[16]), (LEAST.powi(2).ln(), LEAST.powi(2).ln()));
    }

    #[test]
    fn the_whole_counts_either_way_and_a_part_only_when_it_is_rough() {
        let mut residual = residual(0.0);
        residual.clean[9].mean = 1.0;
        let (mut rough, mut smooth) = ([0.0; 1 + PARTS], [0.0; 1 + PARTS]);
        rough[9] = 5.0;
        smooth[9] = -5.0;
        assert_eq!(residual.deviations(&rough), 4.0);
        assert_eq!(residual.deviations(&smooth), 0.0);
        smooth[WHOLE] = -3.0;
        assert_eq!(residual.deviations(&smooth), 3.0);
    }

    #[test]
    fn where_clean_images_are_all_alike_a_little_is_not_beyond_all_measure() {
        let mut residual = residual(0.0);
        residual.clean.iter_mut().for_each(|clean| clean.deviation = 0.0);
        let mut rough = [0.0; 1 + PARTS];
        rough[16] = 1.0;
        assert_eq!(residual.deviations(&rough), 4.0);
        rough[WHOLE] = -1.0;
        assert_eq!(residual.deviations(&rough), 1000.0);
    }

    proptest::proptest! {
        #[test]
        fn more_contrast_is_rougher(image in proptest::collection::vec(0.0_f32..1.0, 40), by in 1.0_f32..5.0) {
            let stronger: Vec<f32> = image.iter().map(|value| value * by).collect();
            let (before, after) = (roughness(PLANES, &image).unwrap(), roughness(PLANES, &stronger).unwrap());
            for (before, after) in before.iter().zip(after) {
                proptest::prop_assert!(before.is_finite() && *before <= after + 1e-6);
            }
        }
    }
}
