//! How much does a model differ from another on the same rows, and which is faster?

use crate::clock;
use crate::contract::{Contract, Meaning, OutputSpec};
use crate::detection::vector;
use crate::inference::interrupt::Interrupt;
use crate::inference::ort::{OrtBackend, Port, Runtime, ports};
use crate::inference::{Backend, Batch, Outputs};
use crate::tensor::Datatype;
use std::time::Duration;

/// Rounds of the two models, one run of each, and after which time no more are begun.
const ROUNDS: (usize, usize) = (20, 500);
const TIME: Duration = Duration::from_secs(10);

/// A model whose FP32 outputs of a batch are read, on one thread.
pub(super) struct Runner {
    backend: OrtBackend,
    outputs: Vec<String>,
}

impl Runner {
    /// Takes those outputs of the model that are FP32, have rows, and of which `wanted` says yes.
    ///
    /// # Errors
    /// The model cannot be opened, or takes other inputs than the contract says.
    pub(super) fn open(
        runtime: &Runtime,
        model: &[u8],
        contract: &Contract,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Self, String> {
        let session = runtime.open(model, 1).map_err(|error| error.to_string())?;
        let (_, outputs) = ports(&session);
        drop(session);
        let outputs = outputs.into_iter().filter(|port| wanted(&port.name) && has_rows(port));
        let spec = |port: Port| OutputSpec {
            name: port.name,
            datatype: Datatype::Fp32,
            shape: port.shape,
            meaning: None,
            publish: false,
        };
        let contract = Contract { outputs: outputs.map(spec).collect(), ..contract.clone() };
        let backend = OrtBackend::open(runtime, model, &contract, 1).map_err(|error| error.to_string())?;
        Ok(Self { backend, outputs: contract.outputs.into_iter().map(|output| output.name).collect() })
    }

    pub(super) fn outputs(&self) -> &[String] {
        &self.outputs
    }

    pub(super) fn run(&self, batch: &Batch) -> Result<Outputs, String> {
        self.backend.infer(batch, &Interrupt::default()).map_err(|error| error.to_string())
    }
}

/// FP32, and a batch of rows of one size.
fn has_rows(port: &Port) -> bool {
    let [batch, row @ ..] = port.shape.as_slice() else { return false };
    port.datatype == Some(Datatype::Fp32) && *batch < 0 && row.iter().all(|dim| *dim > 0)
}

/// The output that says which class it is, as the contract names it.
pub(super) fn class_output(contract: &Contract) -> Option<(&str, Meaning)> {
    [Meaning::Logits, Meaning::Probabilities].into_iter().find_map(|meaning| {
        let output = contract.outputs.get(contract.output_of(meaning)?)?;
        Some((output.name.as_str(), meaning))
    })
}

/// How near the second model is to the first.
#[derive(Debug, PartialEq)]
pub(super) struct Agreement {
    /// Rows of the same class.
    pub same: usize,
    pub rows: usize,
    /// Mean over the rows of the summed absolute differences of the probabilities, 0 to 2.
    pub distance: f64,
}

/// Compares the only output of two models.
///
/// # Errors
/// A run fails.
pub(super) fn agreement(
    (one, other): (&Runner, &Runner),
    rows: &[&Batch],
    meaning: Meaning,
) -> Result<Agreement, String> {
    let mut found = Agreement { same: 0, rows: rows.len(), distance: 0.0 };
    for row in rows {
        let (one, other) = (one.run(row)?, other.run(row)?);
        let of = |outputs: &Outputs| {
            let values = outputs.clean(0, 0)?;
            Some((vector::class(values)?, shares(values, meaning)?))
        };
        let (Some((class, shares)), Some((other_class, other_shares))) = (of(&one), of(&other)) else {
            return Err("an output has no classes, or values that are none of them".to_owned());
        };
        found.same = found.same.saturating_add(usize::from(class == other_class));
        found.distance += vector::l1(&shares, &other_shares).ok_or("the models have other classes")?;
    }
    found.distance /= as_f64(rows.len().max(1));
    Ok(found)
}

fn shares(values: &[f32], meaning: Meaning) -> Option<Vec<f64>> {
    match meaning {
        Meaning::Logits => vector::softmax(values, 1.0),
        Meaning::Probabilities
        | Meaning::Embedding
        | Meaning::Labels
        | Meaning::Values
        | Meaning::TwinProbabilities
        | Meaning::TwinLogits
        | Meaning::TwinLabels
        | Meaning::TwinValues => vector::probabilities(values),
    }
}

/// Medians of single runs of a row, one model after the other in turn, so that both meet the same machine.
///
/// # Errors
/// A run fails.
pub(super) fn race(
    (one, other): (&Runner, &Runner),
    rows: &[&Batch],
) -> Result<(Duration, Duration), String> {
    let began = clock::instant();
    let mut times = (Vec::new(), Vec::new());
    for (round, row) in rows.iter().cycle().take(ROUNDS.1).enumerate() {
        let timed = |runner: &Runner| -> Result<Duration, String> {
            let before = clock::instant();
            runner.run(row)?;
            Ok(clock::instant().saturating_duration_since(before))
        };
        // Whoever is second finds the row in the cache: in turn.
        let (a, b) = if round.is_multiple_of(2) {
            let a = timed(one)?;
            (a, timed(other)?)
        } else {
            let b = timed(other)?;
            (timed(one)?, b)
        };
        times.0.push(a);
        times.1.push(b);
        if round >= ROUNDS.0 && clock::instant().saturating_duration_since(began) > TIME {
            break;
        }
    }
    let median = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or_default()
    };
    Ok((median(times.0), median(times.1)))
}

#[expect(clippy::cast_precision_loss, reason = "a count of rows")]
fn as_f64(count: usize) -> f64 {
    count as f64
}
