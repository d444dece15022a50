//! What each perturbed copy costs, beside nothing else: one row of 28 x 28 grey pixels, of 3 x 224 x 224, or of a table.
//!
//! `cargo bench --bench perturbation`. Figures that are promised stand in docs/SPECIFICATION.md.
#![expect(clippy::unwrap_used, reason = "a benchmark")]

use asepsis::contract::Contract;
use asepsis::inference::perturbation;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use std::hint::black_box;

const IMAGE: [&str; 10] = [
    "kind = 'bit_depth', bits = 1",
    "kind = 'bit_depth', bits = 4",
    "kind = 'median', window = 2",
    "kind = 'median', window = 3",
    "kind = 'jpeg', quality = 75",
    "kind = 'blur', sigma = 1.0",
    "kind = 'blur', sigma = 3.0",
    "kind = 'noise', sigma = 0.05",
    "kind = 'shift', x = 1, y = 1",
    "kind = 'rotate', degrees = 3.0",
];

const TABLE: [&str; 3] =
    ["kind = 'jitter', scale = 1.0", "kind = 'log_noise', sigma = 0.02", "kind = 'round'"];

fn contract(kind: &str, input: &str) -> Contract {
    let text = format!(
        "name = 'm'\nversion = '1'\nbatch_max = 8\nperturbations = [{{ {kind} }}]\n\
         [[inputs]]\nname = 'x'\ndatatype = 'FP32'\n{input}\n\
         [[outputs]]\nname = 'y'\ndatatype = 'FP32'\nshape = [-1, 2]\npublish = true\n"
    );
    Contract::parse(&text).unwrap()
}

/// Waves with a fine pattern, in 0..1; the same on every machine.
fn row(length: usize) -> Vec<f32> {
    (0..length).map(|at| f32::from(u8::try_from((at * at / 97 + at * 13) % 256).unwrap()) / 255.0).collect()
}

fn perturbations(criterion: &mut Criterion) {
    let columns: Vec<_> = (0..30)
        .map(|n| format!("{{ name = '{n}', min = 0.0, max = 1.0, jitter = 0.01, step = 0.001 }}"))
        .collect();
    let image =
        |planes, side| format!("shape = [-1, {planes}, {side}, {side}]\nminimum = 0.0\nmaximum = 1.0");
    let table = format!("shape = [-1, 30]\ncolumns = [{}]", columns.join(", "));
    for (name, input, kinds) in [
        ("28x28", image(1, 28), &IMAGE[..]),
        ("3x224x224", image(3, 224), &IMAGE[..]),
        ("table of 30", table, &TABLE[..]),
    ] {
        let mut group = criterion.benchmark_group(format!("perturb {name}"));
        for kind in kinds {
            let contract = contract(kind, &input);
            let built = perturbation::of(&contract);
            let row = row(contract.inputs.first().unwrap().row_len());
            let mut out = vec![0.0; row.len()];
            let id = BenchmarkId::from_parameter(kind.replace("kind = ", "").replace('\'', ""));
            group.bench_function(id, |bencher| {
                bencher.iter(|| {
                    built.first().unwrap().perturb(black_box(&row), black_box(7), &mut out);
                    black_box(&out);
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, perturbations);
criterion_main!(benches);
