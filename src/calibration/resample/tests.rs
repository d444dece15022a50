//! Random splits hold the promise; what breaks it is noticed.

use super::*;
use rand_distr::{Distribution, StandardNormal};

fn normal(rows: usize, seed: u64) -> Vec<f64> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    (0..rows).map(|_| StandardNormal.sample(&mut rng)).collect()
}

fn of(scores: &[f64], indices: &[usize]) -> Vec<f64> {
    indices.iter().map(|index| scores[*index]).collect()
}

/// As calibration does: a third of the rows would make references, the rest rank.
fn split(scores: &[f64], split: &Split<'_>) -> Fused {
    let ranked = &split.calibration[split.calibration.len().div_ceil(3)..];
    Fused { ranked: of(scores, ranked), tested: of(scores, split.tested) }
}

#[test]
fn nothing_to_split_or_to_score_is_no_check() {
    assert!(resample(0, 0.05, 10, 1, |_| Some(Fused::default())).is_none());
    assert!(resample(100, 0.05, 10, 1, |_| None).is_none());
    assert!(resample(100, 0.05, 0, 1, |s| Some(split(&normal(100, 1), s))).is_none());
    assert!(order(&[], 0.05, 10, 10, 1).is_none());
    assert!(order(&normal(5, 1), 0.05, 10, 10, 1).is_none());
    assert!(order(&normal(50, 1), 0.001, 5, 10, 1).is_none());
}

#[test]
fn traffic_that_is_shifted_against_the_calibration_is_noticed() {
    let scores = normal(1500, 7);
    let shifted = resample(scores.len(), 0.05, 200, 7, |s| {
        let mut fused = split(&scores, s);
        fused.tested.iter_mut().for_each(|score| *score += 0.25);
        Some(fused)
    });
    let shifted = shifted.unwrap();
    assert!(shifted.mean > 0.06, "{}", shifted.mean);
    assert!(shifted.within < 0.8 && shifted.p_value < 1e-6, "{} {}", shifted.within, shifted.p_value);
}

#[test]
fn a_threshold_that_is_one_place_off_is_noticed() {
    let scores = normal(450, 3);
    let wrong = resample(scores.len(), 0.01, 200, 3, |s| {
        let mut fused = split(&scores, s);
        // Forgets the largest score: every threshold sinks by one place.
        fused.ranked.sort_by(f64::total_cmp);
        let last = fused.ranked.len() - 1;
        fused.ranked[last] = f64::NEG_INFINITY;
        Some(fused)
    });
    assert!(wrong.unwrap().p_value < 0.001);
}

#[test]
fn random_splits_of_the_same_rows_hold_the_promise() {
    let mut suspected = 0;
    for seed in 0..20 {
        let scores = normal(600, 1000 + seed);
        let held = resample(scores.len(), 0.05, 200, seed, |s| Some(split(&scores, s))).unwrap();
        assert_eq!((held.promise.rows(), held.tested, held.rates.len()), (200, 300, 200));
        // The rate of one split deviates by 0.02, the mean of 200 by 0.0014.
        assert!((held.mean - held.promise.expected()).abs() < 0.006, "{}", held.mean);
        suspected += usize::from(held.p_value <= 0.05);
    }
    // Binomial(20, 0.05): more than 4 has probability 0.003.
    assert!(suspected <= 4, "{suspected} of 20 at 5%");
}

#[test]
fn a_drift_along_the_file_is_noticed_though_random_splits_cannot_see_it() {
    for seed in 0..4 {
        let mut scores = normal(1500, 50 + seed);
        scores.iter_mut().skip(1200).for_each(|score| *score += 0.8);
        let found = order(&scores, 0.05, 10, 200, seed).unwrap();
        assert!(found.p_value <= 0.01, "seed {seed}: {}", found.p_value);
        assert!(found.rates[9] > found.rates[0]);
        let splits = resample(scores.len(), 0.05, 200, seed, |s| Some(split(&scores, s))).unwrap();
        assert!(splits.p_value > 0.001, "seed {seed}: {}", splits.p_value);
    }
}

#[test]
fn rows_in_an_order_that_means_nothing_are_seldom_suspected() {
    let p_value = |seed| order(&normal(300, 9000 + seed), 0.05, 10, 99, seed).unwrap().p_value;
    let suspected = (0..200).filter(|seed| p_value(*seed) <= 0.05).count();
    // Binomial(200, 0.05): more than 19 has probability 0.002.
    assert!((1..=19).contains(&suspected), "{suspected} of 200 at 5%");
}

#[test]
fn a_seed_means_the_same_splits_for_ever() {
    let scores = normal(300, 1);
    let twice = [0, 1].map(|_| resample(scores.len(), 0.05, 5, 9, |s| Some(split(&scores, s))).unwrap());
    assert_eq!(twice[0], twice[1]);
    let mut items = [0, 1, 2, 3, 4, 5, 6, 7];
    shuffle(&mut items, &mut Xoshiro256PlusPlus::seed_from_u64(42));
    assert_eq!(items, [7, 0, 1, 4, 3, 5, 2, 6]);
}

proptest::proptest! {
    #[test]
    fn alarms_are_those_whose_conformal_p_value_is_at_most_alpha(
        ranked in proptest::collection::vec(0..20_i32, 1..60), tested in -2..22_i32, alpha in 0.01_f64..0.99,
    ) {
        let mut ranked: Vec<f64> = ranked.into_iter().map(f64::from).collect();
        let tested = f64::from(tested);
        let mut ascending = ranked.clone();
        ascending.sort_by(f64::total_cmp);
        let p_value = crate::calibration::conformal_p(&ascending, tested);
        let promise = Promise::new(alpha, ranked.len());
        proptest::prop_assert_eq!(alarms(&mut ranked, &[tested], promise) == 1, p_value <= alpha);
    }
}
