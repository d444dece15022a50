use super::*;
use crate::detection::fit::Fit;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};
use resample::{Split, resample};

const EARLY: Detector = Detector::Confidence;
const LATE: Detector = Detector::Consistency(0);

fn score(value: f64) -> Score {
    Score::new(value).unwrap()
}

/// Clean rows of two detectors: the early scores are 0 to 1 in steps, the late ones the same in another order.
fn artefact(rows: u32) -> Artefact {
    let column =
        |step: u32| (0..rows).map(|n| f64::from(n * step % rows) / f64::from(rows)).collect::<Vec<_>>();
    let scores = || BTreeMap::from([(EARLY, column(1)), (LATE, column(7))]);
    let classes = (0..rows).map(|n| usize::from(n % 4 == 0)).collect();
    Artefact::trial(scores(), Ranked { scores: scores(), classes })
}

fn calibration(usage: Use) -> Calibration {
    Calibration::new(&artefact(100), &[EARLY], &[LATE], usage).unwrap()
}

const USE: Use = Use { exit_share: 0.8, per_class: false };

#[test]
fn a_score_without_reference_or_a_reference_without_score_is_no_evidence() {
    let calibration = calibration(USE);
    assert!(calibration.early(&[]).is_none());
    assert!(calibration.early(&[(LATE, score(1.0))]).is_none());
    let early = calibration.early(&[(EARLY, score(0.99))]).unwrap();
    assert!(calibration.late(early, &[]).is_none());
    assert!(calibration.late(early, &[(EARLY, score(1.0))]).is_none());
    assert!(fuse(&[], &[]).is_none());
}

#[test]
fn a_detector_that_was_not_calibrated_is_named() {
    let error = Calibration::new(&artefact(10), &[EARLY], &[Detector::Consistency(3)], USE).unwrap_err();
    assert!(matches!(error, ArtefactError::Uncalibrated(name) if name == "consistency.3"));
}

#[test]
fn a_class_that_no_calibration_row_has_is_no_evidence_where_ranks_are_of_classes() {
    let calibration = calibration(Use { per_class: true, ..USE });
    let fused = calibration.early(&[(EARLY, score(0.5))]).unwrap().unwrap();
    assert!(calibration.evidence(fused, Some(2)).is_none());
    assert!(calibration.evidence(fused, None).is_none());
    assert!(calibration.evidence(fused, Some(0)).is_some());
    assert_eq!(calibration.rows_ranked(), 25, "the smaller class");
}

#[test]
fn the_p_value_is_the_rank_and_a_tie_counts_against_alarm() {
    let scores = [1.0, 2.0, 3.0];
    assert_eq!(conformal_p(&scores, 0.5), 1.0);
    assert_eq!(conformal_p(&scores, 3.0), 0.5);
    assert_eq!(conformal_p(&scores, 3.5), 0.25);
}

#[test]
fn a_row_below_the_gate_leaves_and_one_above_is_asked_on() {
    let calibration = calibration(USE);
    let early = |value| calibration.early(&[(EARLY, score(value))]).unwrap();
    assert!(!calibration.is_open(early(0.5)));
    assert!(calibration.is_open(early(0.9)));
    assert!((calibration.exit_share() - 0.8).abs() < 0.03, "{}", calibration.exit_share());
    let never = Calibration::new(&artefact(100), &[EARLY], &[LATE], Use { exit_share: 0.0, ..USE }).unwrap();
    assert!(never.is_open(never.early(&[(EARLY, score(0.0))]).unwrap()), "no row leaves early");
    let alone = Calibration::new(&artefact(100), &[EARLY], &[], USE).unwrap();
    assert!(!alone.is_open(alone.early(&[(EARLY, score(9.0))]).unwrap()), "there is nothing more to ask");
    assert_eq!(alone.exit_share(), 1.0);
    let late = Calibration::new(&artefact(100), &[], &[LATE], USE).unwrap();
    assert!(late.is_open(late.early(&[]).unwrap()), "nothing was asked yet");
}

#[test]
fn the_cascade_is_ranked_as_it_runs() {
    // Every clean row is given the p-value that its own place in the order of the cascade's scores has.
    let artefact = artefact(100);
    let calibration = Calibration::new(&artefact, &[EARLY], &[LATE], USE).unwrap();
    let column = |name| artefact.ranked.scores[&name].clone();
    let mut alarms = 0;
    for (early, late) in column(EARLY).into_iter().zip(column(LATE)) {
        let first = calibration.early(&[(EARLY, score(early))]).unwrap();
        let fused = if calibration.is_open(first) {
            calibration.late(first, &[(LATE, score(late))]).unwrap()
        } else {
            first.unwrap()
        };
        alarms += usize::from(calibration.evidence(fused, None).unwrap().p_value() <= 0.1);
    }
    assert!((9..=10).contains(&alarms), "{alarms} of 100 clean rows at 10%");
}

proptest::proptest! {
    #[test]
    fn a_worse_score_never_has_a_larger_p_value(
        early in (-2.0_f64..2.0, -2.0_f64..2.0), late in (-2.0_f64..2.0, -2.0_f64..2.0),
    ) {
        let calibration = calibration(USE);
        let p = |early: f64, late: f64| {
            let first = calibration.early(&[(EARLY, score(early))]).unwrap();
            let fused = if calibration.is_open(first) {
                calibration.late(first, &[(LATE, score(late))]).unwrap()
            } else {
                first.unwrap()
            };
            calibration.evidence(fused, None).unwrap().p_value()
        };
        let (low, high) = (early.0.min(early.1), early.0.max(early.1));
        let (little, much) = (late.0.min(late.1), late.0.max(late.1));
        proptest::prop_assert!(p(high, much) <= p(low, little));
        proptest::prop_assert!(p(high, little) <= p(low, little));
        proptest::prop_assert!(p(low, much) <= p(low, little));
    }
}

#[test]
fn clean_rows_have_evenly_spread_p_values_but_for_ties_which_have_the_largest() {
    for (per_class, classes) in [(false, vec![0; 6]), (true, vec![0, 0, 0, 1, 1, 1])] {
        let columns = |values: &[f64]| BTreeMap::from([(EARLY, values.to_vec())]);
        let mut artefact = Artefact::trial(
            columns(&[0.0, 0.1, 0.2, 0.3, 0.4, 0.5]),
            // What is rarer than one in e counts; the three smallest scores tie at nothing.
            Ranked { scores: columns(&[0.0, 3.0, 0.0, 2.0, 0.0, 1.0]), classes },
        );
        (artefact.created, artefact.site) = (7, "north".to_owned());
        let calibration = Calibration::new(&artefact, &[EARLY], &[], Use { per_class, ..USE }).unwrap();
        let mut p_values = calibration.clean_p_values();
        p_values.sort_by(f64::total_cmp);
        let sixths = [1.0, 2.0, 3.0, 6.0, 6.0, 6.0].map(|rank| rank / 6.0);
        let thirds = [1.0, 1.0, 2.0, 3.0, 3.0, 3.0].map(|rank| rank / 3.0);
        assert_eq!(p_values, if per_class { thirds } else { sixths });
        assert_eq!((calibration.created(), calibration.site()), (7, "north"));
    }
}

/// Rows that two detectors measure, of a site whose scores are `scale` times as large and `offset` larger.
fn site(rows: usize, scale: f64, offset: f64, seed: u64) -> Vec<Measured> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut draw = || {
        let even = f64::from(u32::try_from(rng.next_u64() >> 32).unwrap()) / f64::from(u32::MAX);
        score(offset - scale * (1.0 - even).max(1e-9).ln())
    };
    (0..rows).map(|_| Measured { class: Some(0), scores: vec![(EARLY, draw()), (LATE, draw())] }).collect()
}

#[test]
fn references_that_fit_the_site_badly_cost_no_more_false_alarms_than_promised() {
    let here = site(312, 1.0, 0.0, 1);
    // Of scores that are much smaller than the site's, much larger, or all alike.
    for (scale, offset) in [(1.0, 0.0), (0.1, -3.0), (5.0, 2.0), (0.0, 1.0)] {
        let references = References::of(&site(500, scale, offset, 2), "elsewhere".into());
        let split = |split: &Split<'_>| {
            let of = |rows: &[usize]| rows.iter().map(|row| here[*row].clone()).collect::<Vec<_>>();
            let made = (String::new(), 0, String::new());
            let part = Artefact::new(
                Binding::default(),
                made,
                Fit::default(),
                &of(split.calibration),
                Some(references.clone()),
            );
            let calibration = Calibration::new(&part.unwrap(), &[EARLY], &[LATE], USE).unwrap();
            let sum = |row: &Measured| calibration.cascade(&row.scores).unwrap().sum();
            let fused = |rows: &[usize]| of(rows).iter().map(sum).collect::<Vec<_>>();
            Some(resample::Fused { ranked: fused(split.calibration), tested: fused(split.tested) })
        };
        let kept = resample(here.len(), 0.05, 200, 3, split).unwrap();
        assert_eq!(kept.tested, 156, "every row of the calibration half ranks");
        assert!(kept.mean <= 0.055, "{scale} {offset}: {}", kept.mean);
        assert!(kept.p_value > 0.01, "{scale} {offset}: {} within {}", kept.within, kept.bound);
    }
}

#[test]
fn what_is_common_among_the_rows_that_gave_references_is_not_rare_however_unlike_the_site_it_is() {
    let made = |others| {
        let made = (String::new(), 0, String::new());
        Artefact::new(Binding::default(), made, Fit::default(), &site(60, 0.1, 0.0, 1), Some(others)).unwrap()
    };
    let artefact = made(References::of(&site(40, 1.0, 0.0, 2), "elsewhere".into()));
    let calibration = Calibration::new(&artefact, &[EARLY], &[], USE).unwrap();
    let p = |value| {
        let fused = calibration.early(&[(EARLY, score(value))]).unwrap().unwrap();
        calibration.evidence(fused, None).unwrap().p_value()
    };
    // Ten times as large as nearly every row of the site.
    assert!(p(1.5) > 0.1, "{}", p(1.5));
    assert_eq!(p(1e6), 1.0 / 41.0, "no rarer than the fewer rows can tell");
    assert_eq!(calibration.rows_ranked(), 40);
    assert!(
        calibration.clean_p_values().iter().all(|p| *p > 0.1),
        "none of the site's rows is rare elsewhere"
    );
}
