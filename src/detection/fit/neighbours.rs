//! Which clean embeddings are kept, to find the nearest of a new one among?

use serde::{Deserialize, Serialize};
use std::fmt;

/// Embeddings kept: all are compared with every answer.
const ROWS_MAX: usize = 512;
/// Elements of all together.
const ELEMENTS_MAX: usize = 1 << 19;
/// Which of the nearest counts, from 1: k of the paper.
const NEAREST: usize = 10;

/// Clean embeddings of length 1.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Neighbours {
    rows: Vec<Vec<f32>>,
}

impl fmt::Debug for Neighbours {
    /// Dimensions alone: the rest is patients' data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Neighbours({} x {})", self.rows.len(), self.rows.first().map_or(0, Vec::len))
    }
}

impl Neighbours {
    /// Fewer have no tenth.
    pub const ROWS_MIN: usize = NEAREST;

    /// At most 512 embeddings, evenly chosen among more; `None` if there are fewer than 10, or they are too long
    /// to keep as many.
    #[must_use]
    pub fn learn(embeddings: &[&[f32]]) -> Option<Self> {
        let len = embeddings.first()?.len();
        let most = ROWS_MAX.min(ELEMENTS_MAX.checked_div(len)?);
        let step = embeddings.len().div_ceil(most.max(1)).max(1);
        let rows: Vec<Vec<f32>> =
            embeddings.iter().step_by(step).filter_map(|embedding| Some(narrow(&unit(embedding)?))).collect();
        let learnt = Self { rows };
        learnt.is_sound(len).then_some(learnt)
    }

    /// Minus the cosine to the tenth nearest; `None` for an embedding of another length or that is not finite.
    #[must_use]
    pub fn distance(&self, embedding: &[f32]) -> Option<f64> {
        let unit = unit(embedding)?;
        if self.rows.iter().any(|row| row.len() != unit.len()) {
            return None;
        }
        let mut cosines: Vec<f64> = self.rows.iter().map(|row| cosine(row, &unit)).collect();
        let at = NEAREST.checked_sub(1).filter(|at| *at < cosines.len())?;
        let (_, tenth, _) = cosines.select_nth_unstable_by(at, |a, b| b.total_cmp(a));
        tenth.is_finite().then_some(-*tenth)
    }

    /// Whether it measures embeddings of that length, and every number is finite.
    #[must_use]
    pub fn is_sound(&self, len: usize) -> bool {
        let row = |row: &Vec<f32>| row.len() == len && row.iter().all(|value| value.is_finite());
        (NEAREST..=ROWS_MAX).contains(&self.rows.len()) && len > 0 && self.rows.iter().all(row)
    }
}

/// The embedding at length 1; one that is nothing stays nothing.
fn unit(embedding: &[f32]) -> Option<Vec<f64>> {
    let squares: f64 = embedding.iter().map(|value| f64::from(*value).powi(2)).sum();
    let length = squares.sqrt().max(f64::MIN_POSITIVE);
    let finite = !embedding.is_empty() && length.is_finite();
    finite.then(|| embedding.iter().map(|value| f64::from(*value) / length).collect())
}

/// As it is kept.
#[expect(clippy::cast_possible_truncation, reason = "at most 1, and seven digits are enough")]
fn narrow(unit: &[f64]) -> Vec<f32> {
    unit.iter().map(|value| *value as f32).collect()
}

fn cosine(kept: &[f32], unit: &[f64]) -> f64 {
    let (kept_lanes, kept_rest) = kept.as_chunks::<8>();
    let (lanes, rest) = unit.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (kept, lane) in kept_lanes.iter().zip(lanes) {
        for ((sum, a), b) in sums.iter_mut().zip(kept).zip(lane) {
            *sum += f64::from(*a) * b;
        }
    }
    let rest: f64 = kept_rest.iter().zip(rest).map(|(a, b)| f64::from(*a) * b).sum();
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Embeddings that turn through a quarter circle.
    fn turning(n: u16) -> Vec<Vec<f32>> {
        (0..n)
            .map(|i| 1.5 * f32::from(i) / f32::from(n))
            .map(|angle| vec![3.0 * angle.cos(), 3.0 * angle.sin()])
            .collect()
    }

    fn learn(rows: &[Vec<f32>]) -> Option<Neighbours> {
        Neighbours::learn(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    #[test]
    fn too_few_or_uneven_embeddings_are_not_kept() {
        assert_eq!(learn(&[]), None);
        assert_eq!(learn(&turning(9)), None);
        assert_eq!(learn(&vec![Vec::new(); 20]), None);
        assert_eq!(learn(&vec![vec![1.0; ELEMENTS_MAX]; 20]), None);
        let mut uneven = turning(20);
        uneven[3].push(1.0);
        assert_eq!(learn(&uneven), None);
    }

    #[test]
    fn an_embedding_of_another_length_or_not_finite_is_not_measured() {
        let kept = learn(&turning(20)).unwrap();
        for embedding in [&[][..], &[1.0], &[1.0; 3], &[f32::NAN, 1.0], &[f32::INFINITY, 1.0]] {
            assert_eq!(kept.distance(embedding), None);
        }
        assert!(!kept.is_sound(3));
        let mut few = kept.clone();
        few.rows.truncate(NEAREST - 1);
        assert!(!few.is_sound(2) && few.distance(&[1.0, 0.0]).is_none());
    }

    #[test]
    fn at_most_512_are_kept_and_evenly() {
        let kept = learn(&turning(1300)).unwrap();
        assert_eq!(kept.rows.len(), 434);
        assert!(kept.rows[433][1] > 0.99, "the last ones are there too");
    }

    #[test]
    fn the_tenth_nearest_counts_by_its_direction_alone() {
        let mut rows = vec![vec![0.0, 5.0]; 9];
        rows.push(vec![5.0, 0.0]);
        rows.extend(vec![vec![-1.0, 0.0]; 10]);
        let kept = learn(&rows).unwrap();
        assert_eq!(kept.distance(&[0.0, 0.1]), Some(0.0));
        assert_eq!(kept.distance(&[0.0, 0.0]), Some(0.0));
        assert_eq!(kept.distance(&[-9.0, 0.0]), Some(-1.0));
        assert_eq!(format!("{kept:?}"), "Neighbours(20 x 2)");
    }

    proptest::proptest! {
        #[test]
        fn it_is_a_cosine_and_length_does_not_matter(
            x in -9.0_f32..9.0, y in 0.1_f32..9.0, by in 0.01_f32..100.0,
        ) {
            let kept = learn(&turning(40)).unwrap();
            let found = kept.distance(&[x, y]).unwrap();
            proptest::prop_assert!((-1.0 - 1e-6..=1.0).contains(&found));
            proptest::prop_assert!((found - kept.distance(&[x * by, y * by]).unwrap()).abs() < 1e-6);
        }
    }
}
