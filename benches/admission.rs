//! What limits cost: at the door, and before a run.
//!
//! `cargo bench --bench admission`. Figures that are promised stand in docs/SPECIFICATION.md.
#![expect(clippy::unwrap_used, reason = "a benchmark")]

use asepsis::admission::Priority;
use asepsis::admission::in_flight::InFlight;
use asepsis::admission::rate_limit::{Budgets, Spec, Work};
use asepsis::clock::Now;
use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;

/// Every limit of every scope is set, and none is reached.
fn budgets(now: Now) -> Budgets {
    let scope = "requests = { per_second = 1000000, burst = 3600000000, per_day = 281474976710655 }
        bytes = { per_second = 1073741824, burst = 3865470566400, per_day = 281474976710655 }
        compute_ms = { per_second = 1000000, burst = 3600000000, per_day = 281474976710 }
        in_flight = 64";
    let text = format!("[each_principal]\n{scope}\n[roles.Readers]\n{scope}\n[models.wdbc]\n{scope}");
    Budgets::new(toml::from_str::<Spec>(&text).unwrap().check().unwrap(), now)
}

fn limits(criterion: &mut Criterion) {
    let now = Now::read();
    let (budgets, in_flight) = (budgets(now), InFlight::new(1024));
    let name = "spiffe://hospital.example/radiology/pacs-gateway";
    let account = budgets.account(name);
    let mut group = criterion.benchmark_group("limits");
    group.bench_function("find the account among 65,536", |bencher| {
        for n in 0..65_536 {
            drop(budgets.account(&format!("spiffe://hospital.example/caller/{n}")));
        }
        bencher.iter(|| black_box(budgets.account(black_box(name))));
    });
    group.bench_function("at the door", |bencher| {
        bencher.iter(|| {
            let slot = in_flight.enter(&budgets, &account, "Readers", Priority::Standard).unwrap();
            budgets
                .request(&account, "Readers", Now { monotonic: asepsis::clock::instant(), ..now })
                .unwrap();
            slot
        });
    });
    group.bench_function("before a run", |bencher| {
        let work = Work { bytes: 3136, compute: Duration::from_micros(50) };
        bencher.iter(|| {
            let now = Now { monotonic: asepsis::clock::instant(), ..now };
            budgets.work(&account, "Readers", "wdbc", work, now).unwrap()
        });
    });
    group.bench_function("a refusal at the door", |bencher| {
        let spec: Spec = toml::from_str("each_principal.requests = { per_second = 1, burst = 1 }").unwrap();
        let budgets = Budgets::new(spec.check().unwrap(), now);
        let account = budgets.account(name);
        drop(budgets.request(&account, "Readers", now));
        bencher.iter(|| budgets.request(&account, "Readers", now).unwrap_err());
    });
    group.finish();
}

criterion_group!(benches, limits);
criterion_main!(benches);
