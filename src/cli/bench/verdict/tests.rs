use super::*;

fn rule() -> Rule {
    let figures = vec![Figure::P50, Figure::P99, Figure::Throughput];
    Rule { figures, gate: Some(1.1), chance: Chance { confidence: 0.95, seed: 1 } }
}

fn block(p50_us: f64) -> Block {
    Block { calls: 1000, p50_us, p99_us: 2.0 * p50_us, throughput_per_s: 1e6 / p50_us }
}

#[test]
fn what_is_gated_and_has_too_few_blocks_or_calls_fails() {
    let few = against(&[block(1.0); 3], &[block(1.0); 3], &rule());
    assert!(few.iter().all(|c| c.verdict == Verdict::Failed && c.ratio.is_none() && c.why.is_some()));
    let silent = Block { calls: 0, p50_us: 0.0, p99_us: 0.0, throughput_per_s: 0.0 };
    let mut blocks = vec![block(1.0); 9];
    blocks.push(silent);
    let found = against(&blocks, &[block(1.0); 10], &rule());
    assert!(found.iter().all(|c| c.verdict == Verdict::Failed), "{found:?}");
    let thin = Block { calls: 199, ..block(1.0) };
    let found = against(&[thin; 10], &[thin; 10], &rule());
    let verdicts: Vec<Verdict> = found.iter().map(|c| c.verdict).collect();
    assert_eq!(verdicts, [Verdict::Passed, Verdict::Failed, Verdict::Passed]);
}

#[test]
fn the_whole_interval_decides() {
    let steady = |ratio: f64| against(&[block(ratio); 10], &[block(1.0); 10], &rule())[0].verdict;
    assert_eq!(
        [1.0, 1.09, 1.11, 0.5].map(steady),
        [Verdict::Passed, Verdict::Passed, Verdict::Failed, Verdict::Passed]
    );
    let noisy: Vec<Block> = [1.0, 1.3, 1.0, 1.3, 1.0, 1.3, 1.0, 1.3].map(block).to_vec();
    assert_eq!(against(&noisy, &[block(1.0); 8], &rule())[0].verdict, Verdict::Unsure);
}

#[test]
fn only_figures_of_the_gate_are_judged() {
    let only = Rule { figures: vec![Figure::Throughput], ..rule() };
    let found = against(&[block(2.0); 10], &[block(1.0); 10], &only);
    let verdicts: Vec<Verdict> = found.iter().map(|c| c.verdict).collect();
    assert_eq!(verdicts, [Verdict::Unjudged, Verdict::Unjudged, Verdict::Failed]);
    assert!(found[0].ratio.is_some() && found[0].gate.is_none(), "told all the same");
}

/// Blocks of real runs, two sidecars of the same build each (tests/fixtures/bench/README.md).
fn recorded() -> Vec<[Vec<Block>; 2]> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bench/same_build.json");
    let runs: Vec<[Vec<(u64, f64, f64)>; 2]> =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let block = |(calls, p50_us, p99_us)| Block { calls, p50_us, p99_us, throughput_per_s: 1.0 };
    let blocks = |side: Vec<(u64, f64, f64)>| side.into_iter().map(block).collect();
    runs.into_iter().map(|run| run.map(blocks)).collect()
}

/// Of `runs`, those that fail if the first of both had taken so many times as long.
fn failing(runs: &[[Vec<Block>; 2]], times: f64) -> usize {
    let usual = Rule { figures: USUAL.to_vec(), ..rule() };
    let fails = |[target, other]: &&[Vec<Block>; 2]| {
        let slow = |b: &Block| Block { p50_us: b.p50_us * times, p99_us: b.p99_us * times, ..*b };
        let target: Vec<Block> = target.iter().map(slow).collect();
        against(&target, other, &usual).iter().any(|c| c.verdict == Verdict::Failed)
    };
    runs.iter().filter(fails).count()
}

#[test]
fn of_recorded_runs_the_same_build_passes_and_one_a_quarter_slower_fails() {
    let runs = recorded();
    assert!(runs.len() >= 100, "{}", runs.len());
    let (same, slower) = (failing(&runs, 1.0), failing(&runs, 1.25));
    assert!(same * 100 <= runs.len(), "{same} of {} runs of the same build fail", runs.len());
    assert!(slower * 100 >= runs.len() * 95, "{slower} of {} runs that were slower fail", runs.len());
}
