//! Is the input an image? What its detectors need to know of the contract.

use crate::contract::Contract;

/// The smallest side of an image: that of a median's window.
const SIDE_MIN: usize = 3;

/// The planes (channels, slices) of an image's row: each `height` x `width` values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Planes {
    /// Pixels.
    pub height: usize,
    /// Pixels.
    pub width: usize,
    /// Largest minus smallest value that the contract allows; 1 if it does not say.
    pub range: f64,
}

impl Planes {
    /// `None` if the first FP32 input is no image: two dimensions beside the batch, each 3 or more.
    #[must_use]
    pub fn of(contract: &Contract) -> Option<Self> {
        let input = contract.inputs.get(contract.perturbed_input()?)?;
        let (height, width) = input.plane().filter(|_| input.columns.is_empty())?;
        let range = match (input.minimum, input.maximum) {
            (Some(least), Some(most)) => most - least,
            _ => 1.0,
        };
        (height >= SIDE_MIN && width >= SIDE_MIN).then_some(Self { height, width, range })
    }

    /// Each plane of a row; `None` if it is not made of whole planes.
    #[must_use]
    pub fn each<'a>(&self, row: &'a [f32]) -> Option<std::slice::ChunksExact<'a, f32>> {
        let area = self.height.checked_mul(self.width).filter(|area| *area > 0)?;
        (!row.is_empty() && row.len().is_multiple_of(area)).then(|| row.chunks_exact(area))
    }
}
