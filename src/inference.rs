//! What does the model say, of the input and of its perturbed copies? One run answers both.
//!
//! The first rows of every run are the client's own; the copies stand behind them. The answer is always read
//! from the client's rows: the copies are evidence and nothing else.

pub mod interrupt;
pub mod ort;
pub mod perturbation;
pub mod pool;

use crate::intake::Input;
use crate::tensor::{Data, Tensor};
use interrupt::Interrupt;
use perturbation::{Perturbation, Secret, seed_of_copy};

/// The client's rows and their copies, ready for one run.
#[derive(Debug)]
pub struct Batch {
    tensors: Vec<Tensor>,
    rows: usize,
    copies: usize,
}

/// What the model said of a batch.
#[derive(Debug)]
pub struct Outputs {
    tensors: Vec<Tensor>,
    rows: usize,
    copies: usize,
}

/// Why the model said nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InferenceError {
    /// The run was stopped because nobody waits for it any more.
    #[error("the run was stopped")]
    Interrupted,
    /// Every place in the queue is taken.
    #[error("the compute queue is full")]
    QueueFull,
    /// The runtime failed, or answered something else than the contract says.
    #[error("{0}")]
    Failed(String),
}

/// A model that can be run.
pub trait Backend: Send + Sync {
    /// Runs one batch; the outputs stand in the contract's order.
    ///
    /// # Errors
    /// The run failed, was interrupted, or broke the contract.
    fn infer(&self, batch: &Batch, interrupt: &Interrupt) -> Result<Outputs, InferenceError>;
}

impl Batch {
    /// The input followed by one copy for each perturbation, each copy of all rows, in the input's buffer.
    ///
    /// The same input and secret give the same batch, bit by bit.
    ///
    /// # Errors
    /// The shape no longer fits, which an `Input` does not allow.
    pub fn with_copies(
        input: Input,
        perturbations: &[Box<dyn Perturbation>],
        secret: &Secret,
    ) -> Result<Self, InferenceError> {
        let copies = perturbations.len();
        let (inputs, rows) = input.into_parts();
        let mut tensors = Vec::with_capacity(inputs.len());
        for (index, tensor) in inputs.into_iter().enumerate() {
            let row_len = tensor.row_len();
            let (mut shape, mut data) = tensor.into_parts();
            if let Data::Fp32(values) = &mut data {
                append_copies(values, row_len, perturbations, index, secret);
            } else {
                data.repeat(copies);
            }
            if let Some(batch) = shape.first_mut() {
                *batch = rows.saturating_mul(copies.saturating_add(1));
            }
            let tensor = Tensor::new(shape, data);
            tensors.push(tensor.ok_or_else(|| InferenceError::Failed("the copies do not fit".into()))?);
        }
        Ok(Self { tensors, rows, copies })
    }

    /// Tensors in the contract's order.
    #[must_use]
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// Rows the model runs, copies included.
    #[must_use]
    pub fn rows_run(&self) -> usize {
        self.rows.saturating_mul(self.copies.saturating_add(1))
    }
}

impl Outputs {
    /// What a backend answered to `batch`.
    ///
    /// # Errors
    /// An output has another number of rows than the batch.
    pub fn new(batch: &Batch, tensors: Vec<Tensor>) -> Result<Self, InferenceError> {
        if tensors.iter().any(|tensor| tensor.rows() != batch.rows_run()) {
            return Err(InferenceError::Failed("an output has another number of rows than the input".into()));
        }
        Ok(Self { tensors, rows: batch.rows, copies: batch.copies })
    }

    /// The client's rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Copies of each row.
    #[must_use]
    pub fn copies(&self) -> usize {
        self.copies
    }

    /// Rows the model ran, copies included.
    #[must_use]
    pub fn rows_run(&self) -> usize {
        self.rows.saturating_mul(self.copies.saturating_add(1))
    }

    /// FP32 output `output` for the client's `row` itself.
    #[must_use]
    pub fn clean(&self, output: usize, row: usize) -> Option<&[f32]> {
        (row < self.rows).then(|| self.tensors.get(output)?.row_f32(row)).flatten()
    }

    /// FP32 output `output` for copy `copy` of the client's `row`.
    #[must_use]
    pub fn copy(&self, output: usize, row: usize, copy: usize) -> Option<&[f32]> {
        if row >= self.rows || copy >= self.copies {
            return None;
        }
        let at = self.rows.checked_mul(copy.checked_add(1)?)?.checked_add(row)?;
        self.tensors.get(output)?.row_f32(at)
    }

    /// The client's rows of output `output`, little-endian.
    #[must_use]
    pub fn clean_bytes(&self, output: usize) -> Option<Vec<u8>> {
        let tensor = self.tensors.get(output)?;
        Some(tensor.data().to_le_bytes(0, self.rows.checked_mul(tensor.row_len())?))
    }

    /// Dimensions of the client's rows of output `output`.
    #[must_use]
    pub fn clean_shape(&self, output: usize) -> Option<Vec<usize>> {
        let mut shape = self.tensors.get(output)?.shape().to_vec();
        *shape.first_mut()? = self.rows;
        Some(shape)
    }
}

/// Appends one copy of all present rows for each perturbation; rows that a perturbation does not concern are
/// repeated as they are.
fn append_copies(
    values: &mut Vec<f32>,
    row_len: usize,
    perturbations: &[Box<dyn Perturbation>],
    input: usize,
    secret: &Secret,
) {
    let clean = values.len();
    let total = clean.saturating_mul(perturbations.len().saturating_add(1));
    values.resize(total, 0.0);
    let Some((originals, copies)) = values.split_at_mut_checked(clean) else { return };
    if row_len == 0 || clean == 0 {
        return;
    }
    let random = perturbations.iter().any(|p| p.is_random() && p.input() == input);
    let seed = |row: &[f32]| if random { secret.seed(row) } else { 0 };
    let seeds: Vec<u64> = originals.chunks_exact(row_len).map(seed).collect();
    for (nth, (perturbation, copy)) in perturbations.iter().zip(copies.chunks_exact_mut(clean)).enumerate() {
        if perturbation.input() != input {
            copy.copy_from_slice(originals);
            continue;
        }
        let rows = originals.chunks_exact(row_len).zip(copy.chunks_exact_mut(row_len));
        for ((original, out), seed) in rows.zip(&seeds) {
            perturbation.perturb(original, seed_of_copy(*seed, nth), out);
        }
    }
}
