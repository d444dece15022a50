use super::*;

fn rule() -> Rule {
    let figures = vec![Figure::P50, Figure::P99, Figure::Throughput];
    Rule { figures, is_strict: false, gate: Some(1.1), chance: Chance { confidence: 0.95, seed: 1 } }
}

fn block(p50_us: f64) -> Block {
    Block { calls: 1000, p50_us, p99_us: 2.0 * p50_us, throughput_per_s: 1e6 / p50_us }
}

#[test]
fn too_few_blocks_or_calls_are_not_judged() {
    let few = against(&[block(1.0); 3], &[block(1.0); 3], &rule());
    assert!(few.iter().all(|c| c.verdict == Verdict::Unjudged && c.ratio.is_none() && c.why.is_some()));
    let silent = Block { calls: 0, p50_us: 0.0, p99_us: 0.0, throughput_per_s: 0.0 };
    let mut blocks = vec![block(1.0); 9];
    blocks.push(silent);
    let found = against(&blocks, &[block(1.0); 10], &rule());
    assert!(found.iter().all(|c| c.verdict == Verdict::Unjudged), "{found:?}");
    let thin = Block { calls: 199, ..block(1.0) };
    let found = against(&[thin; 10], &[thin; 10], &rule());
    let verdicts: Vec<Verdict> = found.iter().map(|c| c.verdict).collect();
    assert_eq!(verdicts, [Verdict::Passed, Verdict::Unjudged, Verdict::Passed]);
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
