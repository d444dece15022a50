//! What does this model do when it is run? Two questions that only a run answers, asked before it is served.

use super::load::INLINE_MAX;
use crate::clock;
use crate::contract::number::Number;
use crate::contract::{Contract, InputSpec};
use crate::inference::cascade::Cascade;
use crate::inference::interrupt::Interrupt;
use crate::inference::ort::OrtBackend;
use crate::inference::perturbation::Secret;
use crate::inference::{Backend, Batch, InferenceError, Outputs};
use crate::intake::Input;
use crate::tensor::{Data, Datatype, Tensor};
use std::time::Duration;

/// How far a row's answer may move when other rows are run beside it: vector units may sum in another order.
const TOLERANCE: f32 = 1e-4;

/// How long one row takes, with its copies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Durations {
    /// In the first run.
    first: Duration,
    /// In the second, which only rows in doubt need.
    second: Duration,
}

impl Durations {
    /// The longer of the two runs: what a thread is held up for at a time.
    pub(super) fn longest_run(self) -> Duration {
        self.first.max(self.second)
    }

    /// Both runs.
    pub(super) fn both(self) -> Duration {
        self.first.saturating_add(self.second)
    }
}

/// How long one row takes: the lower quartile of each run, because a busy machine only ever adds to it.
pub(super) fn durations(cascade: &Cascade<OrtBackend>, contract: &Contract) -> Result<Durations, String> {
    const RUNS: usize = 15;
    let (secret, interrupt) = (Secret::new(&[0; 32]), Interrupt::default());
    let (mut first, mut second) = (Vec::with_capacity(RUNS), Vec::with_capacity(RUNS));
    for _ in 0..RUNS {
        let input = input(contract, 1)?;
        let started = clock::instant();
        let mut answers = cascade.begin(input, &secret, &interrupt).map_err(|error| failed(&error))?;
        let begun = clock::instant();
        cascade.go_on(&mut answers, vec![0], &secret, &interrupt).map_err(|error| failed(&error))?;
        let ended = clock::instant();
        first.push(begun - started);
        second.push(ended - begun);
        // A model of many milliseconds needs no statistics to be told from one of 100 microseconds.
        if ended - started > INLINE_MAX * 100 {
            break;
        }
    }
    Ok(Durations { first: lower_quartile(first), second: lower_quartile(second) })
}

fn lower_quartile(mut durations: Vec<Duration>) -> Duration {
    durations.sort();
    durations.get(durations.len() / 4).copied().unwrap_or(Duration::MAX)
}

/// Refuses a model whose answer to one row depends on the rows beside it (a softmax over the batch, dynamic
/// quantisation, batch normalisation left in training): there, a patient's answer would depend on the copies
/// and on other patients.
pub(super) fn rows_are_independent(backend: &dyn Backend, contract: &Contract) -> Result<(), String> {
    // Without perturbations a batch may hold as many rows as with them.
    let contract = Contract { perturbations: Vec::new(), ..contract.clone() };
    let alone = run(backend, input(&contract, 1)?)?;
    let rows = contract.client_rows_max().min(3);
    let beside = run(backend, input(&contract, rows)?)?;
    for (index, output) in contract.outputs.iter().enumerate() {
        let (Some(alone), Some(beside)) = (alone.clean(index, 0), beside.clean(index, 0)) else { continue };
        let near = |(a, b): (&f32, &f32)| (a - b).abs() <= TOLERANCE * a.abs().max(1.0) || a == b;
        if !alone.iter().zip(beside).all(near) {
            return Err(format!(
                "output `{}` of one row depends on the other rows of its batch; \
                 no patient's answer may depend on another's",
                output.name
            ));
        }
    }
    Ok(())
}

fn run(backend: &dyn Backend, input: Input) -> Result<Outputs, String> {
    let batch = Batch::with_copies(input, &[], &Secret::new(&[0; 32])).map_err(|error| failed(&error))?;
    backend.infer(&batch, &Interrupt::default()).map_err(|error| failed(&error))
}

fn failed(error: &InferenceError) -> String {
    format!("a trial run failed: {error}")
}

fn input(contract: &Contract, rows: usize) -> Result<Input, String> {
    let mut contract = contract.clone();
    let mut tensors = Vec::with_capacity(contract.inputs.len());
    for spec in &mut contract.inputs {
        // A trial is of no patient: what its columns have to do with each other does not matter to a run.
        spec.relations.clear();
        let mut shape = vec![rows];
        shape.extend(spec.shape.iter().skip(1).filter_map(|dim| usize::try_from(*dim).ok()));
        let tensor = Tensor::new(shape, rows_within(spec, rows));
        tensors.push(tensor.ok_or("no trial input fits the contract")?);
    }
    Input::from_tensors(&contract, tensors)
        .map_err(|error| format!("no trial input fits the contract: {error}"))
}

/// `rows` rows, the first from the middle of every range and the others from its quarters.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a trial value; the cast saturates"
)]
fn rows_within(spec: &InputSpec, rows: usize) -> Data {
    let row_len = spec.row_len();
    let places = (0..rows).flat_map(|row| (0..row_len).map(move |i| (row, i)));
    if spec.datatype == Datatype::Bytes {
        let text = spec.values.first().cloned().unwrap_or_default();
        return Data::Bytes(vec![text; rows.saturating_mul(row_len)]);
    }
    let values = places.map(|(row, i)| value(spec, row, i));
    macro_rules! fill {
        ($variant:ident, $element:ty) => {
            Data::$variant(values.map(|value| value.value() as $element).collect())
        };
    }
    // A code of many digits is not what f64 makes of it.
    macro_rules! fill_whole {
        ($variant:ident, $element:ty) => {
            Data::$variant(
                values
                    .map(|value| match value {
                        Number::Whole(whole) => <$element>::try_from(whole).unwrap_or_default(),
                        Number::Real(real) => real as $element,
                    })
                    .collect(),
            )
        };
    }
    match spec.datatype {
        Datatype::Bool => Data::Bool(values.map(|value| value.value() > 0.0).collect()),
        Datatype::Uint8 => fill_whole!(Uint8, u8),
        Datatype::Uint16 => fill_whole!(Uint16, u16),
        Datatype::Uint32 => fill_whole!(Uint32, u32),
        Datatype::Uint64 => fill_whole!(Uint64, u64),
        Datatype::Int8 => fill_whole!(Int8, i8),
        Datatype::Int16 => fill_whole!(Int16, i16),
        Datatype::Int32 => fill_whole!(Int32, i32),
        Datatype::Int64 => fill_whole!(Int64, i64),
        Datatype::Fp16 => Data::Fp16(values.map(|value| half::f16::from_f64(value.value())).collect()),
        Datatype::Bf16 => Data::Bf16(values.map(|value| half::bf16::from_f64(value.value())).collect()),
        Datatype::Fp32 => fill!(Fp32, f32),
        Datatype::Fp64 => fill!(Fp64, f64),
        Datatype::Bytes => Data::Bytes(Vec::new()),
    }
}

/// The value in column `i` of a row: the nearest that its range, grid and categories allow.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a place in a list of at most 256"
)]
fn value(spec: &InputSpec, row: usize, i: usize) -> Number {
    let share = match (row, (row + i).is_multiple_of(2)) {
        (0, _) => 0.5,
        (_, true) => 0.25,
        (_, false) => 0.75,
    };
    let Some(column) = spec.columns.get(i) else {
        let (min, max) = match (spec.minimum, spec.maximum) {
            (Some(min), Some(max)) => (min, max),
            (Some(min), None) => (min, min + 1.0),
            (None, Some(max)) => (max - 1.0, max),
            (None, None) => (-1.0, 1.0),
        };
        return Number::Real(between(spec, min, max, share));
    };
    if let Some(value) = column.values.get((share * column.values.len() as f64) as usize) {
        return *value;
    }
    if let (Some(grid), Some((first, last))) = (column.grid, column.multiples()) {
        return Number::Real((first + share * (last - first)).round() * grid);
    }
    Number::Real(between(spec, column.min, column.max, share))
}

/// A number of the datatype between two bounds.
fn between(spec: &InputSpec, min: f64, max: f64, share: f64) -> f64 {
    let value = min * (1.0 - share) + max * share;
    if spec.datatype.is_real() { value } else { value.round().min(max.floor()).max(min.ceil()) }
}
