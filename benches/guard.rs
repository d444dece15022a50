//! What the guard costs without a network: the whole guarded call beside the bare run of the
//! same graph and rows, which is the first run of the cascade: its clean row leaves there or not, as the calibration has it.
//!
//! `cargo bench --bench guard`. Figures that are promised stand in docs/SPECIFICATION.md.
#![expect(unreachable_pub, clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark")]

#[path = "../tests/it/house.rs"]
mod house;

use asepsis::admission::Rpc;
use asepsis::proto::ModelInferRequest;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use std::hint::black_box;

fn guarded(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for model in ["wdbc", "digits", "pneumonia"] {
        let guard = house::guard();
        let visitor = house::visitor();
        let request = house::request(model, &house::samples(model).clean[0]);
        let mut group = criterion.benchmark_group(model);
        group.bench_function("bare run, same batch", |bencher| {
            let mut bare = house::Bare::first_run(model);
            bencher.iter(|| black_box(bare.run()));
        });
        group.bench_function("bare run, batch 1", |bencher| {
            let mut bare = house::Bare::open(model, 1);
            bencher.iter(|| black_box(bare.run()));
        });
        let mut n = 0;
        group.bench_function("guarded", |bencher| {
            bencher.iter_batched(
                || request.clone(),
                |request: ModelInferRequest| {
                    n += 1;
                    let head = house::head(n, Rpc::ModelInfer);
                    let call = guard.admit(&visitor, &head, &guard.identify(&visitor, &head)).unwrap();
                    black_box(runtime.block_on(guard.serve(call, request)))
                },
                BatchSize::SmallInput,
            );
        });
        group.finish();
    }
}

criterion_group!(benches, guarded);
criterion_main!(benches);
