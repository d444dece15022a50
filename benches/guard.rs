//! What the guard costs without a network: the whole guarded call beside the bare run of the
//! same graph and rows, which is the first run of the cascade: its clean row leaves there or not, as the calibration has it.
//!
//! `cargo bench --bench guard`. Figures that are promised stand in docs/SPECIFICATION.md.
#![expect(unreachable_pub, clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark")]

#[path = "../tests/it/house.rs"]
mod house;

use asepsis::admission::Rpc;
use asepsis::audit::{ClosedEntry, Judged, Observation, Observer, Record, StageTime};
use asepsis::calibration::promise::{Promise, Promised};
use asepsis::clock::Now;
use asepsis::proto::ModelInferRequest;
use asepsis::reason::{Action, Reason, Stage, Status};
use asepsis::telemetry::recent::Recent;
use asepsis::trace::RequestId;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

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

/// What the console's memory costs a request.
fn kept_for_the_console(criterion: &mut Criterion) {
    let now = Now::read();
    let stages = [Stage::Door, Stage::Open, Stage::Decode, Stage::Copies, Stage::Infer, Stage::Judge];
    let promised = Promised {
        calibration: "0".repeat(64),
        site: String::new(),
        alpha: 0.05,
        promises: vec![Promise::new(0.05, 999)],
    };
    let mut closed = ClosedEntry {
        record: Record {
            rpc: Some(Rpc::ModelInfer),
            model: "wdbc".to_owned(),
            version: "1".to_owned(),
            role: "clinician".to_owned(),
            action: Action::Allowed,
            reason: Reason::Clean,
            status: Status::Ok,
            ..Record::blank(RequestId::new(7), now)
        },
        observation: Observation {
            opened: now,
            peer: "192.0.2.7".to_owned(),
            closed: now.monotonic + Duration::from_micros(100),
            stages: stages
                .into_iter()
                .chain([Stage::Respond])
                .map(|stage| StageTime {
                    stage,
                    from: now.monotonic,
                    to: now.monotonic + Duration::from_micros(9),
                })
                .collect(),
            baseline_from: None,
            parent: None,
            rows: 1,
            copies: 3,
            rows_run: 4,
            p_value: Some(0.5),
            row_p_values: Vec::new(),
            judged: Some(Judged { rows: 1, flagged: 0, promised: Arc::new(promised) }),
            shadowed: None,
        },
    };
    let recent = Recent::new(now);
    let mut group = criterion.benchmark_group("console");
    group.bench_function("an answer", |bencher| bencher.iter(|| recent.observe(black_box(&closed))));
    closed.record.action = Action::Flagged;
    group.bench_function("a flagged answer", |bencher| bencher.iter(|| recent.observe(black_box(&closed))));
    group.finish();
}

criterion_group!(benches, guarded, kept_for_the_console);
criterion_main!(benches);
