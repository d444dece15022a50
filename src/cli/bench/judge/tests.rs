use super::super::machine::Machine;
use super::super::result::{Bare, Block, Figure, Load, Open, Other, SCHEMA, Settings, Source};
use super::super::statistics::Chance;
use super::*;
use std::collections::BTreeMap;

fn blocks(p50_us: f64) -> Vec<Block> {
    let block = |n: usize| {
        let p50_us = p50_us * if n.is_multiple_of(2) { 1.0 } else { 1.01 };
        Block { calls: 1000, p50_us, p99_us: 3.0 * p50_us, throughput_per_s: 1e6 / p50_us }
    };
    (0..10).map(block).collect()
}

fn side(url: &str, p50_us: f64) -> Side {
    let latencies = Latencies {
        mean: p50_us,
        min: p50_us / 2.0,
        p50: p50_us,
        p90: 2.0 * p50_us,
        p99: 3.0 * p50_us,
        p999: Some(4.0 * p50_us),
        max: 9.0 * p50_us,
    };
    Side {
        url: url.into(),
        server: Some("asepsis 0.1.0".into()),
        version: Some("1".into()),
        calls: 10_000,
        errors: BTreeMap::new(),
        first_error: None,
        throughput_per_s: 1e6 / p50_us,
        latency_us: Some(latencies),
        lateness_us: None,
        client_cpu_us_per_call: 10.0,
        client_cpu_share: 0.1,
        blocks: blocks(p50_us),
    }
}

fn rule(gate: f64) -> Rule {
    let figures = vec![Figure::P50, Figure::P99, Figure::Throughput];
    Rule { figures, gate: Some(gate), chance: Chance { confidence: 0.95, seed: 1 } }
}

fn measured(ratio: f64) -> Report {
    let load = Load { connections: 1, concurrency: 1, open: None };
    let data = Source { kind: "file".into(), requests: 3, sha256: "d".repeat(64) };
    Report {
        schema: SCHEMA.into(),
        made: "2026-11-22T20:00:00Z".into(),
        asepsis: "0.1.0".into(),
        machine: Machine { cpu: "CPU".into(), cores: 2, ..Machine::default() },
        settings: Settings {
            model: "m".into(),
            inputs: Vec::new(),
            data,
            load,
            tls: true,
            repetitions: 10,
            block_ms: 100,
            warmup_ms: 100,
            timeout_ms: 1000,
            max_errors: 0.0,
            confidence: 0.95,
            seed: 1,
        },
        target: side("https://new:8001", 100.0 * ratio),
        against: Some(side("https://old:8001", 100.0)),
        bare: None,
        baseline: None,
        comparisons: Vec::new(),
        warnings: Vec::new(),
        passed: false,
    }
}

/// A judged report of a target that is so much slower than what it is held against.
pub(in super::super) fn report(ratio: f64) -> Report {
    super::report(measured(ratio), None, &rule(1.1))
}

/// One that did not pass.
pub(in super::super) fn slower(ratio: f64) -> Report {
    let report = report(ratio);
    assert!(!report.passed, "it passed");
    report
}

/// One of too few blocks, of which nothing can be judged.
pub(in super::super) fn short() -> Report {
    let mut few = measured(1.0);
    few.target.blocks.truncate(3);
    super::report(few, None, &rule(1.1))
}

/// One with a bare model beside it, alone.
pub(in super::super) fn anchored(p50_us: f64, bare_us: f64) -> Report {
    let mut alone = measured(p50_us / 100.0);
    alone.against = None;
    alone.bare = Some(Bare {
        model_sha256: "m".repeat(64),
        onnxruntime: "1".into(),
        threads: 1,
        latency_us: None,
        blocks: blocks(bare_us),
    });
    super::report(alone, None, &rule(1.3))
}

#[test]
fn a_slower_target_fails_and_says_by_how_much() {
    let problems = problems(&slower(1.25));
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(problems[0].starts_with("p50 is 1.25 times that of against"), "{problems:?}");
    assert!(report(1.0).passed && report(1.08).passed && report(0.5).passed);
}

#[test]
fn refused_calls_never_pass() {
    let mut refused = measured(1.0);
    refused.target.errors.insert("INVALID_ARGUMENT".into(), 1);
    refused.target.first_error = Some("INVALID_ARGUMENT: inputs[0]: out of range".into());
    let judged = super::report(refused.clone(), None, &rule(1.1));
    assert!(!judged.passed && problems(&judged)[0].contains("out of range"));
    refused.settings.max_errors = 0.01;
    assert!(super::report(refused.clone(), None, &rule(1.1)).passed);
    refused.target.calls = 0;
    refused.settings.max_errors = 1.0;
    assert!(!super::report(refused, None, &rule(1.1)).passed, "no call was answered");
}

#[test]
fn what_cannot_be_judged_at_all_does_not_pass() {
    let judged = short();
    assert!(!judged.passed && problems(&judged)[0].contains("--repetitions"), "{:?}", problems(&judged));
}

#[test]
fn a_p99_of_few_calls_fails_only_who_gates_it() {
    let mut few = measured(1.0);
    for block in &mut few.target.blocks {
        block.calls = 20;
    }
    let gated = |figures: &[Figure]| Rule { figures: figures.to_vec(), ..rule(1.1) };
    let judged = super::report(few.clone(), None, &gated(&[Figure::P50]));
    assert!(judged.passed, "{:?}", problems(&judged));
    let judged = super::report(few, None, &gated(&[Figure::P50, Figure::P99]));
    assert!(!judged.passed && problems(&judged)[0].contains("p99 cannot be judged"));
    assert!(problems(&judged)[0].contains("--block"), "{:?}", problems(&judged));
}

#[test]
fn a_baseline_is_compared_by_what_is_over_the_bare_model() {
    let stored = anchored(100.0, 10.0);
    let judged = |p50, bare| super::report(anchored(p50, bare), Some(&stored), &rule(1.3));
    assert!(judged(100.0, 10.0).passed);
    assert!(judged(300.0, 30.0).passed, "a machine that is three times slower");
    assert!(!judged(100.0, 5.0).passed, "a faster machine and no faster server");
    assert!(!judged(150.0, 10.0).passed);
    let over = judged(150.0, 10.0);
    let found = over.comparisons.iter().find(|c| c.with == Other::Baseline && c.figure == Figure::Throughput);
    assert!((found.unwrap().ratio.unwrap().estimate - 1.5).abs() < 0.02);
}

#[test]
fn the_bare_model_alone_is_told_and_not_judged() {
    let told = anchored(100.0, 10.0);
    assert!(told.passed && told.comparisons.iter().all(|c| c.gate.is_none()));
    assert!((told.comparisons[0].ratio.unwrap().estimate - 10.0).abs() < 0.1);
}

#[test]
fn a_busy_client_late_calls_and_a_server_that_lags_are_told() {
    let mut busy = measured(1.0);
    busy.target.client_cpu_share = 0.97;
    busy.target.lateness_us = Some(Latencies { p99: 400.0, ..Latencies::default() });
    busy.settings.load.open = Some(Open { rate: 1e6, arrivals: super::super::arrivals::Arrivals::Poisson });
    busy.machine.steal_share = Some(0.2);
    let warnings = super::report(busy, None, &rule(1.1)).warnings;
    for word in ["97% of a core", "400 us late", "keep up", "hypervisor took 20%"] {
        assert!(warnings.iter().any(|warning| warning.contains(word)), "{word}: {warnings:?}");
    }
    assert_eq!(report(1.0).warnings, [""; 0]);
}
