//! What each detector costs a row: a classifier of ten classes with an embedding of 64, asked of an image of 28x28
//! and of one of 224x224 in three colours, and a table of 30 features; and what the fit costs calibration.
//!
//! `cargo bench --bench detection`. Figures that are promised stand in docs/SPECIFICATION.md.
#![expect(clippy::unwrap_used, reason = "a benchmark")]

use asepsis::contract::{Contract, Meaning, OutputSpec};
use asepsis::detection::fit::{Fit, Sample};
use asepsis::detection::{self, Places, Row, Settings};
use asepsis::inference::cascade::{Answers, Cascade, Plan};
use asepsis::inference::interrupt::Interrupt;
use asepsis::inference::perturbation::{self, Secret};
use asepsis::inference::{Backend, Batch, InferenceError, Outputs};
use asepsis::intake::Input;
use asepsis::tensor::{Data, Tensor};
use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;

const CLASSES: usize = 10;
const EMBEDDING: usize = 64;
/// Rows the fit learns from.
const ROWS: usize = 600;

/// Numbers in 0..1 that look random and are always the same.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f32::from((self.0 >> 48) as u16) / 65_536.0
    }

    fn take(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.next()).collect()
    }
}

/// What a model says, whatever it is asked.
struct Says(Vec<Tensor>);

impl Backend for Says {
    fn infer(&self, batch: &Batch, _: &Interrupt) -> Result<Outputs, InferenceError> {
        Outputs::new(batch, self.0.clone())
    }
}

/// A classifier with an embedding and a twin, of this input and perturbation.
fn contract(input: &str, perturbation: &str) -> Contract {
    let output = |name: &str, len: usize| {
        format!(
            "[[outputs]]\nname = '{name}'\ndatatype = 'FP32'\nshape = [-1, {len}]\nmeaning = '{name}'\n\
             publish = {}\n",
            name == "probabilities"
        )
    };
    let outputs = [("probabilities", CLASSES), ("logits", CLASSES), ("embedding", EMBEDDING)];
    let outputs: String = outputs.into_iter().map(|(name, len)| output(name, len)).collect();
    let text = format!(
        "name = 'm'\nversion = '1'\nbatch_max = 8\nperturbations = [{perturbation}, {perturbation}]\n\
         [[inputs]]\nname = 'x'\ndatatype = 'FP32'\n{input}\n{outputs}"
    );
    let mut contract = Contract::parse(&text).unwrap();
    let logits = contract.outputs.get(1).unwrap().clone();
    let twin = OutputSpec { name: "twin".into(), meaning: Some(Meaning::TwinLogits), ..logits };
    contract.outputs.push(twin);
    contract
}

/// One row and its copies.
fn answers(contract: &Contract, numbers: &mut Numbers) -> Answers {
    let rows = contract.perturbations.len() + 1;
    let says = contract.outputs.iter().map(|output| {
        let values = numbers.take(rows * output.row_len());
        let probabilities = output.meaning == Some(Meaning::Probabilities);
        let scale = |value: &f32| if probabilities { value / 5.0 } else { 8.0 * value };
        let values = values.iter().map(scale).collect();
        Tensor::new(vec![rows, output.row_len()], Data::Fp32(values)).unwrap()
    });
    let input = contract.inputs.first().unwrap();
    let shape = input.shape.iter().map(|dim| usize::try_from(*dim).unwrap_or(1)).collect();
    let backend = Box::new(Says(says.collect()));
    let tensor = Tensor::new(shape, Data::Fp32(numbers.take(input.row_len()))).unwrap();
    let cascade = Cascade {
        backend,
        alone: None,
        perturbed: Some(0),
        perturbations: perturbation::of(contract),
        plan: Plan { first: (0..rows - 1).collect(), second: Vec::new() },
    };
    let input = Input::from_tensors(contract, vec![tensor]).unwrap();
    cascade.begin(input, &Secret::new(&[0; 32]), &Interrupt::default()).unwrap()
}

fn detectors(criterion: &mut Criterion) {
    let image = |shape: &str| format!("shape = [-1, {shape}]\nminimum = 0.0\nmaximum = 1.0");
    let column = "{ name = 'c', min = 0.0, max = 1.0, jitter = 0.01 },";
    let table = format!("shape = [-1, 30]\ncolumns = [{}]", column.repeat(30));
    let median = "{ kind = 'median', window = 3 }";
    for (name, contract) in [
        ("28x28", contract(&image("1, 28, 28"), median)),
        ("3x224x224", contract(&image("3, 224, 224"), median)),
        ("30", contract(&table, "{ kind = 'jitter', scale = 1.0 }")),
    ] {
        let mut numbers = Numbers(1);
        let places = Places::of(&contract);
        // The large images differ in nothing that is learnt from more than a few.
        let rows = if contract.inputs.first().unwrap().row_len() > 10_000 { 40 } else { ROWS };
        let samples = (0..rows).map(|row| {
            let answers = answers(&contract, &mut numbers);
            Sample::of(&Row::new(&answers, places, 0), &contract, Some(row % CLASSES))
        });
        let samples: Vec<Sample> = samples.collect();
        let fit = Fit::learn(&samples, &contract);
        let answers = answers(&contract, &mut numbers);
        let row = Row::new(&answers, places, 0);
        let mut group = criterion.benchmark_group(format!("detect {name}"));
        for detector in detection::of(&contract, Settings::all(), Some(&fit)) {
            detector.examine(&row).unwrap();
            let id = String::from(detector.name());
            group.bench_function(id, |bench| bench.iter(|| detector.examine(black_box(&row))));
        }
        group.finish();
        if rows == ROWS {
            criterion.bench_function(&format!("fit {name} from {rows} rows"), |bench| {
                bench.iter(|| Fit::learn(black_box(&samples), &contract));
            });
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(std::time::Duration::from_secs(1)).warm_up_time(std::time::Duration::from_millis(200));
    targets = detectors
}
criterion_main!(benches);
