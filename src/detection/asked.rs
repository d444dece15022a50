//! Which detector is asked after which run?

use super::{Detector, OutputDetector};
use crate::contract::Contract;
use crate::inference::cascade::Plan;

/// The detectors that run, by when they are asked.
#[derive(Default)]
pub struct Detectors {
    /// After the first run, of every row.
    pub early: Vec<Box<dyn OutputDetector>>,
    /// After the second, of rows in doubt.
    pub late: Vec<Box<dyn OutputDetector>>,
}

impl Detectors {
    /// Divides detectors, and says which copies they need when.
    ///
    /// With a twin the first run holds no copy: the twin tells more for less. Without one it holds the first copy that
    /// is needed: the contract's owner puts the most telling first.
    #[must_use]
    pub fn plan(contract: &Contract, detectors: Vec<Box<dyn OutputDetector>>) -> (Plan, Self) {
        let copies = 0..contract.perturbations.len();
        let needs = |copy: &usize| {
            detectors.iter().any(|detector| {
                let name = detector.name();
                name.copy() == Some(*copy) || name.reads_every_copy()
            })
        };
        let needed: Vec<usize> = copies.filter(needs).collect();
        let in_first = if contract.twin.is_some() { 0 } else { needed.len().min(1) };
        let (first, second) = needed.split_at_checked(in_first).unwrap_or((&needed, &[]));
        let plan = Plan { first: first.to_vec(), second: second.to_vec() };
        let is_early = |name: Detector| {
            let copy_is_there = name.copy().is_none_or(|copy| plan.depth(copy) == Some(1));
            copy_is_there && (plan.second.is_empty() || !name.is_late())
        };
        let (early, late) = detectors.into_iter().partition(|detector| is_early(detector.name()));
        (plan, Self { early, late })
    }

    /// Their names: the early ones and the late ones.
    #[must_use]
    pub fn names(&self) -> (Vec<Detector>, Vec<Detector>) {
        let names = |detectors: &[Box<dyn OutputDetector>]| detectors.iter().map(|d| d.name()).collect();
        (names(&self.early), names(&self.late))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.early.is_empty() && self.late.is_empty()
    }
}
