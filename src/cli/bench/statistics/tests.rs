use super::*;
use proptest::prelude::*;
use rand_distr::Normal;

const CHANCE: Chance = Chance { confidence: 0.95, seed: 1 };

/// Blocks of as many calls each.
fn weighed(pairs: &[(f64, f64)]) -> Vec<(Weighed, Weighed)> {
    pairs.iter().map(|(ours, theirs)| ((*ours, 100.0), (*theirs, 100.0))).collect()
}

fn paired(pairs: &[(f64, f64)], chance: Chance) -> Option<Interval> {
    super::paired(&weighed(pairs), chance)
}

fn independent(ours: &[f64], theirs: &[f64], chance: Chance) -> Option<Interval> {
    let weighed = |figures: &[f64]| figures.iter().map(|figure| (*figure, 100.0)).collect::<Vec<_>>();
    super::independent(&weighed(ours), &weighed(theirs), chance)
}

fn positive() -> impl Strategy<Value = f64> {
    (-3.0..3.0_f64).prop_map(f64::exp)
}

#[test]
fn too_few_blocks_and_figures_that_are_none_have_no_interval() {
    assert_eq!(paired(&[(1.0, 1.0); 3], CHANCE), None);
    assert!(paired(&[(1.0, 1.0); 4], CHANCE).is_some());
    for wrong in [(0.0, 1.0), (1.0, 0.0), (-1.0, 1.0), (f64::NAN, 1.0), (f64::INFINITY, 1.0), (0.0, 0.0)] {
        let mut pairs = vec![(1.0, 1.0); 9];
        pairs.push(wrong);
        assert_eq!(paired(&pairs, CHANCE), None, "{wrong:?}");
    }
    assert_eq!(independent(&[1.0; 3], &[1.0; 9], CHANCE), None);
    assert_eq!(independent(&[1.0; 9], &[1.0; 3], CHANCE), None);
    assert_eq!(independent(&[1.0; 9], &[0.0; 9], CHANCE), None);
}

#[test]
fn a_noisy_neighbour_in_a_quarter_of_the_blocks_moves_nothing() {
    let mut pairs = vec![(1.0, 1.0); 16];
    for at in [0, 5, 9, 13] {
        pairs[at] = (40.0, 1.0);
    }
    assert!((paired(&pairs, CHANCE).unwrap().estimate - 1.0).abs() < 1e-12);
}

#[test]
fn a_block_of_few_calls_weighs_as_little_as_it_knows() {
    let mut pairs = vec![((1.0, 1000.0), (1.0, 1000.0)); 6];
    pairs.extend([((40.0, 1.0), (1.0, 900.0)); 10]);
    let found = super::paired(&pairs, CHANCE).unwrap();
    assert!((found.estimate - 1.0).abs() < 1e-9, "{found:?}");
    pairs.push(((1.0, 0.0), (1.0, 1000.0)));
    assert_eq!(super::paired(&pairs, CHANCE), None, "a block without a call");
}

#[test]
fn the_tails_of_few_blocks_are_those_of_student() {
    // t(0.975) of 3, 9 and 29 degrees of freedom: 3.182, 2.262, 2.045.
    for (blocks, t) in [(4_usize, 3.182_f64), (10, 2.262), (30, 2.045)] {
        let n = as_f64(blocks);
        let wanted = normal::cdf(-t * (n / (n - 1.0)).sqrt());
        assert!((tail(0.95, blocks) - wanted).abs() < 4e-4, "{blocks}: {} {wanted}", tail(0.95, blocks));
    }
}

/// Of 200 simulated runs, how many intervals hold the truth.
fn covered(blocks: usize, noise: impl Distribution<f64>) -> usize {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(7);
    let mut covered = 0;
    for run in 0..200 {
        let pairs: Vec<(f64, f64)> = (0..blocks).map(|_| (1.2 * noise.sample(&mut rng).exp(), 1.0)).collect();
        let interval = paired(&pairs, Chance { confidence: 0.95, seed: run }).unwrap();
        covered += usize::from(interval.low <= 1.2 && 1.2 <= interval.high);
    }
    covered
}

#[test]
fn intervals_of_95_percent_hold_the_truth_in_at_least_92_of_100_runs() {
    for blocks in [8, 20] {
        let covered = covered(blocks, Normal::new(0.0, 0.05).unwrap());
        assert!(covered >= 184, "{blocks} blocks: {covered} of 200");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn an_interval_holds_its_estimate_and_the_estimate_lies_within_the_ratios(
        pairs in prop::collection::vec((positive(), positive()), 4..40),
        seed: u64,
    ) {
        let found = paired(&pairs, Chance { seed, ..CHANCE }).unwrap();
        prop_assert!(found.low <= found.estimate && found.estimate <= found.high);
        let ratios: Vec<f64> = pairs.iter().map(|(a, b)| a / b).collect();
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let most = ratios.iter().copied().fold(0.0, f64::max);
        prop_assert!(least * 0.999 <= found.low && found.high <= most * 1.001);
    }

    #[test]
    fn the_same_chance_gives_the_same_interval(
        pairs in prop::collection::vec((positive(), positive()), 4..20),
        seed: u64,
    ) {
        let chance = Chance { seed, ..CHANCE };
        prop_assert_eq!(paired(&pairs, chance), paired(&pairs, chance));
    }

    #[test]
    fn what_slows_both_of_a_pair_changes_nothing(
        pairs in prop::collection::vec((positive(), positive(), positive()), 4..20),
    ) {
        let calm: Vec<(f64, f64)> = pairs.iter().map(|(a, b, _)| (*a, *b)).collect();
        let noisy: Vec<(f64, f64)> = pairs.iter().map(|(a, b, by)| (a * by, b * by)).collect();
        let (calm, noisy) = (paired(&calm, CHANCE).unwrap(), paired(&noisy, CHANCE).unwrap());
        prop_assert!((calm.low / noisy.low - 1.0).abs() < 1e-6);
        prop_assert!((calm.high / noisy.high - 1.0).abs() < 1e-6);
    }

    #[test]
    fn a_slowdown_of_one_side_moves_the_interval_by_as_much(
        pairs in prop::collection::vec((positive(), positive()), 4..20),
        by in 1.0..4.0_f64,
    ) {
        let slower: Vec<(f64, f64)> = pairs.iter().map(|(a, b)| (a * by, *b)).collect();
        let (before, after) = (paired(&pairs, CHANCE).unwrap(), paired(&slower, CHANCE).unwrap());
        prop_assert!((after.low / before.low / by - 1.0).abs() < 1e-6);
        prop_assert!((after.high / before.high / by - 1.0).abs() < 1e-6);
    }

    #[test]
    fn more_confidence_never_gives_a_narrower_interval(
        pairs in prop::collection::vec((positive(), positive()), 4..20),
        less in 0.5..0.99_f64,
        more in 0.0..0.009_f64,
    ) {
        let narrow = paired(&pairs, Chance { confidence: less, seed: 3 }).unwrap();
        let wide = paired(&pairs, Chance { confidence: less + more, seed: 3 }).unwrap();
        prop_assert!(wide.low <= narrow.low && narrow.high <= wide.high);
    }

    #[test]
    fn two_runs_of_the_same_figures_differ_by_nothing(
        figures in prop::collection::vec(positive(), 4..20),
    ) {
        let found = independent(&figures, &figures, CHANCE).unwrap();
        prop_assert!((found.estimate - 1.0).abs() < 1e-9 && found.low <= 1.0 && 1.0 <= found.high);
    }
}
