//! What it costs to decode a tensor and to hold it against its contract, beside a plain copy of its bytes.
//!
//! `cargo bench --bench validation`. Figures that are promised stand in docs/SPECIFICATION.md.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use asepsis::clock;
use asepsis::contract::Contract;
use asepsis::intake;
use asepsis::intake::values::{Source, check, read};
use asepsis::proto::ModelInferRequest;
use asepsis::proto::model_infer_request::InferInputTensor;
use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;

/// A model's input and raw contents that keep its contract.
struct Case {
    name: &'static str,
    contract: Contract,
    bytes: Bytes,
}

fn cases() -> [Case; 2] {
    let table = Contract::parse(&std::fs::read_to_string("models/wdbc/1/contract.toml").unwrap()).unwrap();
    let middle =
        table.inputs.first().unwrap().columns.iter().map(|column| f64::midpoint(column.min, column.max));
    let row: Vec<u8> = middle.flat_map(|value| fp32(value).to_le_bytes()).collect();
    let image = "
        name = 'image'\nversion = '1'\nbatch_max = 1
        [[inputs]]
        name = 'image'\ndatatype = 'FP32'\nshape = [-1, 3, 224, 224]\nminimum = 0.0\nmaximum = 1.0
        [[outputs]]
        name = 'y'\ndatatype = 'FP32'\nshape = [-1, 2]\npublish = true";
    let levels = (0..3 * 224 * 224_u32).map(|i| fp32(f64::from(i % 256) / 255.0));
    [
        Case { name: "1x30", contract: table, bytes: row.into() },
        Case {
            name: "3x224x224",
            contract: Contract::parse(image).unwrap(),
            bytes: levels.flat_map(f32::to_le_bytes).collect(),
        },
    ]
}

#[expect(clippy::cast_possible_truncation, reason = "a sample")]
fn fp32(value: f64) -> f32 {
    value as f32
}

fn validate(case: &Case) {
    let spec = case.contract.inputs.first().unwrap();
    let data = read(spec, 0, Source::Raw(black_box(&case.bytes)), 1, 1).unwrap();
    check(spec, 0, &data).unwrap();
    drop(black_box(data));
}

fn copy(case: &Case) {
    drop(black_box(black_box(&*case.bytes).to_vec()));
}

fn request(case: &Case) -> ModelInferRequest {
    let spec = case.contract.inputs.first().unwrap();
    let mut shape = spec.shape.clone();
    *shape.first_mut().unwrap() = 1;
    ModelInferRequest {
        inputs: vec![InferInputTensor {
            name: spec.name.clone(),
            datatype: spec.datatype.to_string(),
            shape,
            ..InferInputTensor::default()
        }],
        raw_input_contents: vec![case.bytes.clone()],
        ..ModelInferRequest::default()
    }
}

fn validation(criterion: &mut Criterion) {
    for case in cases() {
        let mut group = criterion.benchmark_group(format!("validate {}", case.name));
        group.bench_function("a plain copy of the bytes", |bencher| bencher.iter(|| copy(&case)));
        group.bench_function("decode and check", |bencher| bencher.iter(|| validate(&case)));
        let request = request(&case);
        group.bench_function("the whole request", |bencher| {
            bencher.iter(|| intake::read(&case.contract, black_box(&request)).unwrap());
        });
        group.finish();
        let (copied, validated) = (median(|| copy(&case)), median(|| validate(&case)));
        let ratio = validated.as_secs_f64() / copied.as_secs_f64();
        println!("validate {}: {validated:.2?}, {ratio:.1} times a plain copy ({copied:.2?})", case.name);
    }
}

/// Of 101 samples of 100 rounds.
fn median(round: impl Fn()) -> Duration {
    const ROUNDS: u32 = 100;
    let mut samples: Vec<Duration> = (0..101)
        .map(|_| {
            let started = clock::instant();
            for _ in 0..ROUNDS {
                round();
            }
            (clock::instant() - started) / ROUNDS
        })
        .collect();
    samples.sort();
    samples.get(samples.len() / 2).copied().unwrap()
}

criterion_group!(benches, validation);
criterion_main!(benches);
