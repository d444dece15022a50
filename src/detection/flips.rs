//! How many copies does the model answer otherwise? The share of copies with another class, or with another set
//! of labels above one half.

use super::vector::{as_f64, class};
use super::{Detector, OutputDetector, Row, Score, Unmeasured, score};
use crate::contract::Meaning;

/// The share of all copies whose label is another, 0 to 1.
#[derive(Debug)]
pub struct Flips {
    /// How many copies there are.
    pub copies: usize,
}

impl OutputDetector for Flips {
    fn name(&self) -> Detector {
        Detector::Flips
    }

    fn examine(&self, row: &Row<'_>) -> Result<Score, Unmeasured> {
        let answer = |meaning| row.answer(meaning).map(|own| (meaning, own));
        let own = answer(Meaning::Logits).or_else(|| answer(Meaning::Probabilities));
        let (meaning, own) = own.or_else(|| answer(Meaning::Labels)).ok_or(Unmeasured)?;
        let copies = (0..self.copies).map(|copy| row.copy(meaning, copy));
        score(if meaning == Meaning::Labels { share(own, copies, labels) } else { share(own, copies, class) })
    }
}

/// The share of copies that are read as something else than the answer; `None` if one cannot be read.
fn share<'a, T: PartialEq>(
    own: &[f32],
    copies: impl Iterator<Item = Option<&'a [f32]>>,
    read: impl Fn(&[f32]) -> Option<T>,
) -> Option<f64> {
    let own = read(own)?;
    let (mut flipped, mut all) = (0_usize, 0_usize);
    for copy in copies {
        flipped = flipped.saturating_add(usize::from(read(copy?)? != own));
        all = all.saturating_add(1);
    }
    (all > 0).then(|| as_f64(flipped) / as_f64(all))
}

/// Which labels are more likely than not.
fn labels(values: &[f32]) -> Option<Vec<bool>> {
    let known = !values.is_empty() && values.iter().all(|p| (0.0..=1.0).contains(p));
    known.then(|| values.iter().map(|p| *p > 0.5).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_is_missing_or_no_number_is_unmeasured() {
        let (own, nan) = ([1.0, 0.0], [f32::NAN, 0.0]);
        assert_eq!(share(&own, [None].into_iter(), class), None);
        assert_eq!(share(&own, [Some(&own[..]), Some(&nan)].into_iter(), class), None);
        assert_eq!(share(&nan, [Some(&own[..])].into_iter(), class), None);
        assert_eq!(share(&own, [].into_iter(), class), None);
        assert_eq!(share(&[], [Some(&own[..])].into_iter(), labels), None);
        assert_eq!(labels(&[2.0]), None);
    }

    #[test]
    fn every_copy_counts_alike() {
        let (own, same, other) = ([1.0, 0.0, 0.5], [0.6, 0.3, 0.1], [0.1, 0.3, 0.6]);
        let copies = [&same[..], &other, &other, &same].map(Some);
        assert_eq!(share(&own, copies.into_iter(), class), Some(0.5));
        // Of labels, the third is one half in the answer, and above it in two copies.
        assert_eq!(share(&own, copies.into_iter(), labels), Some(0.5));
    }
}
