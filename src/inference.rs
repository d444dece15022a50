//! What does the model say, of the input and of its perturbed copies? One run answers both.
//!
//! The first rows of the first run are the client's own; copies stand behind them, or in a second run. The answer
//! is always read from the client's rows: the copies are evidence and nothing else.

pub mod cascade;
pub mod interrupt;
pub mod ort;
pub mod perturbation;
pub mod pool;

use crate::intake::Input;
use crate::tensor::{Data, Tensor};
use interrupt::Interrupt;
use perturbation::{Perturbation, Secret, seed_of_copy};

/// Rows, or copies of them, or both, ready for one run.
#[derive(Debug)]
pub struct Batch {
    tensors: Vec<Tensor>,
    layout: Layout,
}

/// What the model said of a batch.
#[derive(Debug)]
pub struct Outputs {
    tensors: Vec<Tensor>,
    layout: Layout,
}

/// A perturbation and its index in the contract, from which its chance is drawn.
pub type Copy<'a> = (usize, &'a dyn Perturbation);

/// How the rows of a run stand: the client's own first, if they are in it, then each copy of all of them.
#[derive(Clone, Copy, Debug)]
struct Layout {
    /// Rows of the client.
    rows: usize,
    /// Whether they are in this run themselves.
    clean: bool,
    /// Copies of each.
    copies: usize,
}

impl Layout {
    fn rows_run(self) -> usize {
        self.rows.saturating_mul(self.copies.saturating_add(usize::from(self.clean)))
    }
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
    pub fn with_copies(input: Input, copies: &[Copy<'_>], secret: &Secret) -> Result<Self, InferenceError> {
        let (inputs, rows) = input.into_parts();
        let layout = Layout { rows, clean: true, copies: copies.len() };
        let tensors = inputs.into_iter().enumerate().map(|(index, tensor)| {
            let row_len = tensor.row_len();
            let (shape, mut data) = tensor.into_parts();
            if let Data::Fp32(values) = &mut data {
                append_copies(values, row_len, copies, index, secret);
            } else {
                data.repeat(layout.copies);
            }
            with_rows(shape, layout.rows_run(), data)
        });
        Ok(Self { tensors: tensors.collect::<Result<_, _>>()?, layout })
    }

    /// Copies alone, of some of the client's rows of this batch.
    ///
    /// # Errors
    /// There is no such row.
    pub fn copies_of(
        &self,
        rows: &[usize],
        copies: &[Copy<'_>],
        secret: &Secret,
    ) -> Result<Self, InferenceError> {
        let layout = Layout { rows: rows.len(), clean: false, copies: copies.len() };
        let tensors = self.tensors.iter().enumerate().map(|(index, tensor)| {
            let row_len = tensor.row_len();
            let data = if let Data::Fp32(values) = tensor.data() {
                let mut out = vec![0.0; row_len.saturating_mul(layout.rows_run())];
                write_copies((values, row_len), rows, copies, (index, secret), &mut out);
                Data::Fp32(out)
            } else {
                tensor.data().rows_repeated(rows, row_len, layout.copies)
            };
            with_rows(tensor.shape().to_vec(), layout.rows_run(), data)
        });
        Ok(Self { tensors: tensors.collect::<Result<_, _>>()?, layout })
    }

    /// Tensors in the contract's order.
    #[must_use]
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// Rows the model runs, copies included.
    #[must_use]
    pub fn rows_run(&self) -> usize {
        self.layout.rows_run()
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
        Ok(Self { tensors, layout: batch.layout })
    }

    /// The client's rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.layout.rows
    }

    /// Rows the model ran, copies included.
    #[must_use]
    pub fn rows_run(&self) -> usize {
        self.layout.rows_run()
    }

    /// FP32 output `output` for the client's `row` itself.
    #[must_use]
    pub fn clean(&self, output: usize, row: usize) -> Option<&[f32]> {
        (self.layout.clean && row < self.layout.rows)
            .then(|| self.tensors.get(output)?.row_f32(row))
            .flatten()
    }

    /// FP32 output `output` for copy `copy` of this run of the client's `row`.
    #[must_use]
    pub fn copy(&self, output: usize, row: usize, copy: usize) -> Option<&[f32]> {
        let Layout { rows, clean, copies } = self.layout;
        if row >= rows || copy >= copies {
            return None;
        }
        let at = rows.checked_mul(copy.checked_add(usize::from(clean))?)?.checked_add(row)?;
        self.tensors.get(output)?.row_f32(at)
    }

    /// The client's rows of output `output`, little-endian.
    #[must_use]
    pub fn clean_bytes(&self, output: usize) -> Option<Vec<u8>> {
        let tensor = self.tensors.get(output)?;
        Some(tensor.data().to_le_bytes(0, self.layout.rows.checked_mul(tensor.row_len())?))
    }

    /// Dimensions of the client's rows of output `output`.
    #[must_use]
    pub fn clean_shape(&self, output: usize) -> Option<Vec<usize>> {
        let mut shape = self.tensors.get(output)?.shape().to_vec();
        *shape.first_mut()? = self.layout.rows;
        Some(shape)
    }
}

fn with_rows(mut shape: Vec<usize>, rows: usize, data: Data) -> Result<Tensor, InferenceError> {
    if let Some(batch) = shape.first_mut() {
        *batch = rows;
    }
    Tensor::new(shape, data).ok_or_else(|| InferenceError::Failed("the copies do not fit".into()))
}

/// Appends one copy of all present rows for each perturbation; rows that a perturbation does not concern are
/// repeated as they are.
fn append_copies(values: &mut Vec<f32>, row_len: usize, copies: &[Copy<'_>], input: usize, secret: &Secret) {
    let clean = values.len();
    values.resize(clean.saturating_mul(copies.len().saturating_add(1)), 0.0);
    let Some((originals, out)) = values.split_at_mut_checked(clean) else { return };
    let rows: Vec<usize> = (0..clean.checked_div(row_len).unwrap_or(0)).collect();
    write_copies((originals, row_len), &rows, copies, (input, secret), out);
}

/// Writes one copy of each of `rows` for each perturbation, in this order, to `out`, which has just room for them.
fn write_copies(
    (originals, row_len): (&[f32], usize),
    rows: &[usize],
    copies: &[Copy<'_>],
    (input, secret): (usize, &Secret),
    out: &mut [f32],
) {
    let copy_len = rows.len().saturating_mul(row_len);
    if copy_len == 0 {
        return;
    }
    let original = |row: usize| originals.chunks_exact(row_len).nth(row).unwrap_or_default();
    let random = copies.iter().any(|(_, p)| p.is_random() && p.input() == input);
    let seed = |row: &usize| if random { secret.seed(original(*row)) } else { 0 };
    let seeds: Vec<u64> = rows.iter().map(seed).collect();
    for ((nth, perturbation), copy) in copies.iter().zip(out.chunks_exact_mut(copy_len)) {
        for ((row, out), seed) in rows.iter().zip(copy.chunks_exact_mut(row_len)).zip(&seeds) {
            let original = original(*row);
            if original.len() != out.len() {
                continue;
            }
            if perturbation.input() == input {
                perturbation.perturb(original, seed_of_copy(*seed, *nth), out);
            } else {
                out.copy_from_slice(original);
            }
        }
    }
}
