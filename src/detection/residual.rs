//! How rough or smooth is the input? The mean absolute difference from its 3x3 median, which adversarial noise
//! raises (Liang et al., IEEE TDSC 2018, and Xu et al., NDSS 2018, by their median) and blank or synthetic images
//! lower: how many deviations its logarithm is from that of clean images, either way.

use super::fit::Normal;
use super::planes::Planes;
use super::vector::as_f64;
use super::{Detector, OutputDetector, Row, Score, Unmeasured, score};
use crate::inference::perturbation::Perturbation;
use crate::inference::perturbation::median::Median;

/// Of the range of values: less difference than this is none.
const LEAST: f64 = 1e-4;
/// A deviation below this is that of images that are all alike, which says nothing of others.
const DEVIATION_MIN: f64 = 1e-3;

/// Deviations of the logarithm from its clean mean, either way.
#[derive(Clone, Copy, Debug)]
pub struct Residual {
    /// Where the planes are.
    pub planes: Planes,
    /// Of the logarithm, over clean rows.
    pub clean: Normal,
}

impl OutputDetector for Residual {
    fn name(&self) -> Detector {
        Detector::Residual
    }

    fn examine(&self, row: &Row<'_>) -> Result<Score, Unmeasured> {
        let rough = row.input().and_then(|image| roughness(self.planes, image));
        score(rough.map(|rough| (rough - self.clean.mean).abs() / self.clean.deviation.max(DEVIATION_MIN)))
    }
}

/// Logarithm of the mean absolute difference of a row, all planes together, from its 3x3 median.
#[must_use]
pub fn roughness(planes: Planes, row: &[f32]) -> Option<f64> {
    let median = Median::new(0, Some((planes.height, planes.width)), 3);
    let mut smooth = Vec::new();
    let mut sum = 0.0;
    for plane in planes.each(row)? {
        smooth.resize(plane.len(), 0.0);
        median.perturb(plane, 0, &mut smooth);
        sum += difference(plane, &smooth);
    }
    let mean = sum / as_f64(row.len());
    mean.is_finite().then(|| (mean + LEAST * planes.range).ln())
}

/// Sum of absolute differences, in eight lanes that processors add at once and always in the same order.
fn difference(a: &[f32], b: &[f32]) -> f64 {
    let (a_lanes, a_rest) = a.as_chunks::<8>();
    let (b_lanes, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += f64::from((a - b).abs());
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| f64::from((a - b).abs())).sum();
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLANES: Planes = Planes { height: 4, width: 5, range: 1.0 };

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
    fn a_blank_image_is_as_smooth_as_can_be() {
        assert_eq!(roughness(PLANES, &[0.7; 40]), Some(LEAST.ln()));
    }

    #[test]
    fn one_odd_pixel_of_forty_counts_by_its_height() {
        let mut image = [0.0; 40];
        image[27] = 0.8;
        let wanted = (0.8 / 40.0 + LEAST).ln();
        assert!((roughness(PLANES, &image).unwrap() - wanted).abs() < 1e-6);
    }

    proptest::proptest! {
        #[test]
        fn more_contrast_is_rougher(image in proptest::collection::vec(0.0_f32..1.0, 40), by in 1.0_f32..5.0) {
            let stronger: Vec<f32> = image.iter().map(|value| value * by).collect();
            let (before, after) = (roughness(PLANES, &image).unwrap(), roughness(PLANES, &stronger).unwrap());
            proptest::prop_assert!(before.is_finite() && before <= after + 1e-6);
        }
    }
}
