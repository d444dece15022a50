//! Does the input say nothing? How many times its standard deviation within planes goes into that of a nearly
//! empty image, as a logarithm: most models answer a constant image with confidence.
//!
//! By deviation and not by the share of the commonest level, of which a drawing on an empty ground has most. Every
//! image that is not nearly empty has the same score, 0: differences between full images would say nothing, and
//! would hide what other detectors say.

use super::planes::Planes;
use super::vector::{as_f64, sum_of};
use super::{Detector, OutputDetector, Row, Score, Unmeasured, score};

/// Of the range of values: less deviation than this is none.
const LEAST: f64 = 1e-6;
/// Of the range of values: more deviation than this, 8 of 256 levels, is that of a full image.
const FULL: f64 = 1.0 / 32.0;

/// Logarithm of how often the standard deviation goes into `FULL`, 0 to 10.35.
#[derive(Clone, Copy, Debug)]
pub struct Flat {
    /// Where the planes are.
    pub planes: Planes,
}

impl OutputDetector for Flat {
    fn name(&self) -> Detector {
        Detector::Flat
    }

    fn examine(&self, row: &Row<'_>) -> Result<Score, Unmeasured> {
        score(row.input().and_then(|image| flatness(self.planes, image)))
    }
}

/// By the root of the planes' mean variance: planes of one colour have none, whichever colours they are.
#[must_use]
pub fn flatness(planes: Planes, row: &[f32]) -> Option<f64> {
    let mut squares = 0.0;
    for plane in planes.each(row)? {
        // From the first pixel, so that a constant plane has exactly no variance.
        let origin = f64::from(*plane.first()?);
        let sum = sum_of(plane, |value| f64::from(value) - origin);
        let square = sum_of(plane, |value| (f64::from(value) - origin).powi(2));
        squares += square - sum * sum / as_f64(plane.len());
    }
    let variance = squares / as_f64(row.len());
    // Rounding may leave a little less than 0.
    let deviation = variance.max(0.0).sqrt() / planes.range;
    variance.is_finite().then(|| (FULL / deviation.max(LEAST)).ln().max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLANES: Planes = Planes { height: 28, width: 28, range: 1.0 };

    #[test]
    fn what_is_no_image_or_no_number_is_unmeasured() {
        assert_eq!(flatness(PLANES, &[]), None);
        assert_eq!(flatness(PLANES, &[0.5; 785]), None);
        for odd in [f32::NAN, f32::INFINITY] {
            let mut image = [0.5; 784];
            image[99] = odd;
            assert_eq!(flatness(PLANES, &image), None);
        }
    }

    #[test]
    fn constant_planes_are_the_emptiest_whatever_their_colours() {
        let colours: Vec<f32> = [0.1, 0.9, 0.3].iter().flat_map(|level| [*level; 784]).collect();
        let wanted = Some((FULL / LEAST).ln());
        assert_eq!(flatness(PLANES, &[0.0; 784]), wanted);
        assert_eq!(flatness(PLANES, &[1.0; 784]), wanted);
        assert_eq!(flatness(PLANES, &colours), wanted);
    }

    #[test]
    fn a_stroke_on_an_empty_ground_is_full_and_a_faint_speck_is_not() {
        let lit = |pixels: usize, level: f32| {
            let mut image = [0.0; 784];
            image[300..300 + pixels].fill(level);
            flatness(PLANES, &image).unwrap()
        };
        // The thinnest digit lights about 40 pixels of 784.
        assert_eq!(lit(40, 1.0), 0.0);
        assert!(lit(1, 0.5) > 0.5 && lit(1, 0.1) > lit(1, 0.5));
    }

    proptest::proptest! {
        #[test]
        fn less_contrast_is_emptier_and_brightness_does_not_matter(
            image in proptest::collection::vec(0.0_f32..0.05, 784), by in 0.0_f32..1.0, add in -2.0_f32..2.0,
        ) {
            let of = |change: &dyn Fn(f32) -> f32| {
                let changed: Vec<f32> = image.iter().map(|value| change(*value)).collect();
                flatness(PLANES, &changed).unwrap()
            };
            let plain = of(&|value| value);
            proptest::prop_assert!(plain > 0.0 && of(&|value| value * by) >= plain - 1e-9);
            proptest::prop_assert!((of(&|value| value + add) - plain).abs() < 1e-3);
        }
    }
}
