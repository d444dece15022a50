//! False alarms stay within what was stated, changes are noticed, and no stream breaks the test.

use super::*;
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// Flags at a rate, from a seed.
struct Traffic(Xoshiro256PlusPlus);

impl Traffic {
    fn new(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    fn flagged(&mut self, rate: f64) -> bool {
        self.uniform() < rate
    }

    fn uniform(&mut self) -> f64 {
        f64::from(self.0.next_u32()) / 2.0_f64.powi(32)
    }
}

/// Rows from `from` on until the alarm, if it comes within `rows`.
fn delay(test: &mut FlagRate, traffic: &mut Traffic, rate: f64, rows: usize) -> Option<usize> {
    (1..=rows).find(|_| test.observe(traffic.flagged(rate)).is_some())
}

/// The median over 101 streams of the rows between a change to `rate`, after `clean` rows, and the alarm.
fn median_delay(test: &FlagRate, clean: (usize, f64), rate: f64) -> usize {
    let mut delays: Vec<usize> = (0..101)
        .map(|seed| {
            let (mut test, mut traffic) = (test.clone(), Traffic::new(7000 + seed));
            assert_eq!(delay(&mut test, &mut traffic, clean.1, clean.0), None, "seed {seed}");
            delay(&mut test, &mut traffic, rate, 100_000).unwrap_or(usize::MAX)
        })
        .collect();
    delays.sort_unstable();
    delays[50]
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    for (tolerated, false_alarms) in [(0.0, 0.1), (1.0, 0.1), (0.05, 0.0), (0.05, 1.0), (f64::NAN, 0.1)] {
        assert!(FlagRate::new(tolerated, false_alarms).is_none(), "{tolerated} {false_alarms}");
    }
    for (key, settings) in [
        ("flag_rate.false_alarm_rate", Settings { false_alarm_rate: 0.0, ..Settings::default() }),
        ("flag_rate.false_alarm_rate", Settings { false_alarm_rate: f64::NAN, ..Settings::default() }),
        ("flag_rate.expected", Settings { expected: 1.0, ..Settings::default() }),
        ("flag_rate.expected", Settings { expected: -0.1, ..Settings::default() }),
    ] {
        assert_eq!(settings.check().unwrap_err().0, key);
        assert!(FlagRate::of(&[Promise::new(0.05, 1000)], &settings).is_none());
    }
    assert!(FlagRate::of(&[Promise::new(0.001, 100)], &Settings::default()).is_none());
    assert!(FlagRate::of(&[], &Settings::default()).is_none());
}

#[test]
fn promises_of_classes_are_tolerated_at_the_loosest_of_their_bounds() {
    let settings = Settings::default();
    let of = |promises: &[Promise]| FlagRate::of(promises, &settings).unwrap().tolerated;
    let (many, few) = (Promise::new(0.05, 2000), Promise::new(0.05, 100));
    assert!((of(&[many, few]) - few.bound(1.0 - 0.0025)).abs() < 1e-12);
    assert!((of(&[many]) - many.bound(1.0 - 0.005)).abs() < 1e-12);
    assert!(of(&[many, few]) > of(&[few]), "two classes share what one has alone");
}

/// Requests of four rows, each in one step: exactly as much may be promised as row by row.
#[test]
fn rows_of_one_request_are_worth_no_more_than_one_after_the_other() {
    const REQUESTS: u32 = 3;
    let tolerated: f64 = 0.3;
    let mut sum = 0.0;
    for stream in 0..5_u32.pow(REQUESTS) {
        let mut test = FlagRate::new(tolerated, 1e-9).unwrap();
        let (mut probability, mut left) = (1.0, stream);
        for _ in 0..REQUESTS {
            let flagged = left % 5;
            left /= 5;
            let ways = [1.0, 4.0, 6.0, 4.0, 1.0][flagged as usize];
            let passed = i32::try_from(4 - flagged).unwrap();
            probability *=
                ways * tolerated.powi(i32::try_from(flagged).unwrap()) * (1.0 - tolerated).powi(passed);
            test.observe_rows(Counts { rows: 4, flagged: flagged.into() });
        }
        sum += probability * test.evidence.iter().sum::<f64>();
    }
    let to_come = std::f64::consts::LN_2 / f64::from(4 * REQUESTS + 2).ln();
    let worth = sum + to_come * (1.0 - 0.5_f64.powi(12));
    assert!((worth - (1.0 - 0.5_f64.powi(12))).abs() < 1e-9, "{worth}");
}

#[test]
fn a_request_of_very_many_rows_is_no_nonsense() {
    let mut test = FlagRate::new(0.05, 0.01).unwrap();
    assert_eq!(test.observe_rows(Counts::default()), None);
    assert_eq!(test.observe_rows(Counts { rows: 1_000_000, flagged: 40_000 }), None);
    assert!((test.status().recent_rate - 0.04).abs() < 1e-9);
    let alarm = test.observe_rows(Counts { rows: 1_000_000, flagged: u64::MAX }).unwrap();
    assert_eq!(alarm.seen, Counts { rows: 2_000_000, flagged: 1_040_000 });
    assert_eq!(test.status().evidence, 1.0);
}

/// Ville's inequality needs this and nothing else; all streams of 14 rows, exactly.
#[test]
fn evidence_and_the_weights_still_to_come_are_worth_one_at_the_tolerated_rate_and_less_below_it() {
    const ROWS: u32 = 14;
    let worth = |tolerated: f64, rate: f64| {
        let mut sum = 0.0;
        for stream in 0..1_u32 << ROWS {
            let mut test = FlagRate::new(tolerated, 1e-9).unwrap();
            let mut probability = 1.0;
            for row in 0..ROWS {
                let flagged = stream >> row & 1 == 1;
                probability *= if flagged { rate } else { 1.0 - rate };
                test.observe(flagged);
            }
            sum += probability * test.evidence.iter().sum::<f64>();
        }
        let to_come = std::f64::consts::LN_2 / f64::from(ROWS + 2).ln();
        // The last of the halves that the prior is made of is given to nobody.
        sum + to_come * (1.0 - 0.5_f64.powi(12))
    };
    assert!((worth(0.3, 0.3) - (1.0 - 0.5_f64.powi(12))).abs() < 1e-9, "{}", worth(0.3, 0.3));
    assert!(worth(0.3, 0.2) < 0.9);
    assert!(worth(0.3, 0.4) > 1.1);
}

#[test]
fn false_alarms_are_as_rare_as_stated_over_a_long_run() {
    for (rate, at_least) in [(0.05, 1), (0.04, 0)] {
        let alarmed = (0..400).filter(|seed| {
            let mut test = FlagRate::new(0.05, 0.2).unwrap();
            delay(&mut test, &mut Traffic::new(*seed), rate, 5000).is_some()
        });
        let alarmed = alarmed.count();
        // 80 are stated; at the very rate some must come, or this test could not fail.
        assert!((at_least..=80).contains(&alarmed), "{alarmed} of 400 at {rate}");
    }
}

#[test]
fn false_alarms_over_calibration_and_traffic_are_as_rare_as_stated() {
    // The rate that each calibration gives is drawn from its distribution: the k-th smallest of n uniform scores.
    let settings = Settings { false_alarm_rate: 0.2, ..Settings::default() };
    let promise = Promise::new(0.05, 200);
    let mut alarmed = 0;
    for seed in 0..300 {
        let mut traffic = Traffic::new(40_000 + seed);
        let mut scores: Vec<f64> = (0..200).map(|_| traffic.uniform()).collect();
        scores.sort_by(f64::total_cmp);
        let rate = scores[promise.rank() - 1];
        let mut test = FlagRate::of(&[promise], &settings).unwrap();
        alarmed += usize::from(delay(&mut test, &mut traffic, rate, 3000).is_some());
    }
    assert!((1..=60).contains(&alarmed), "{alarmed} of 300");
}

#[test]
fn a_changed_rate_is_noticed_early_and_late() {
    let known = |tolerated| FlagRate::new(tolerated, 0.01).unwrap();
    let calibrated = |rows| FlagRate::of(&[Promise::new(0.05, rows)], &Settings::default()).unwrap();
    // Measured: 219, 650, 24, 1261; 1038, 2693, 70, 101.
    for (test, clean, rate, at_most) in [
        (known(0.05), (0, 0.0), 0.1, 260),
        (known(0.05), (10_000, 0.04), 0.1, 780),
        (known(0.05), (10_000, 0.04), 0.5, 29),
        (known(0.01), (0, 0.0), 0.02, 1500),
        (calibrated(1000), (0, 0.0), 0.1, 1250),
        (calibrated(1000), (10_000, 0.05), 0.1, 3200),
        (calibrated(1000), (10_000, 0.05), 0.3, 84),
        (calibrated(200), (10_000, 0.05), 0.3, 121),
    ] {
        let median = median_delay(&test, clean, rate);
        assert!(median <= at_most, "{} {clean:?} {rate}: {median} rows", test.tolerated);
    }
}

#[test]
fn an_alarm_is_raised_once_and_stands() {
    let mut test = FlagRate::new(0.05, 0.01).unwrap();
    assert_eq!(test.status().recent_rate, 0.0);
    let raised: Vec<Alarm> = (0..1000).filter_map(|_| test.observe(true)).collect();
    assert_eq!(raised.len(), 1);
    assert_eq!((test.status().alarm, test.status().evidence), (Some(raised[0]), 1.0));
    assert_eq!(test.status().seen, Counts { rows: 1000, flagged: 1000 });
    assert!(raised[0].seen.rows <= 5, "{:?}", raised[0]);
    assert_eq!(
        raised[0].to_string(),
        "4 of 4 rows since calibration were judged anomalous, 100.0% of late; at most 5.0% were to be expected"
    );
}

#[test]
fn a_long_quiet_time_does_not_make_it_deaf() {
    for tolerated in [1e-9, 0.05, 0.5, 1.0 - 1e-9] {
        let mut test = FlagRate::new(tolerated, 1e-9).unwrap();
        assert!((0..200_000).all(|_| test.observe(false).is_none()));
        assert!(test.evidence.iter().all(|term| term.is_normal()), "{tolerated}: {:?}", test.evidence);
        let rows = (1..200).find(|_| test.observe(true).is_some());
        assert_eq!(rows.is_some(), tolerated < 0.9, "{tolerated}");
    }
    let mut test = FlagRate::new(0.05, 0.01).unwrap();
    test.seen.rows = u64::MAX;
    assert!(test.observe(false).is_none() && test.observe(false).is_none());
    assert!(test.evidence.iter().all(|term| term.is_finite() && *term > 0.0));
}

proptest::proptest! {
    #[test]
    fn no_stream_makes_it_say_nonsense(
        tolerated in 1e-6_f64..0.999, stream in proptest::collection::vec(proptest::bool::ANY, 0..300),
    ) {
        let mut test = FlagRate::new(tolerated, 0.01).unwrap();
        let alarms = stream.iter().filter(|flagged| test.observe(**flagged).is_some()).count();
        let status = test.status();
        proptest::prop_assert_eq!(alarms, usize::from(status.alarm.is_some()));
        proptest::prop_assert!((0.0..=1.0).contains(&status.evidence));
        proptest::prop_assert!((0.0..=1.0).contains(&status.recent_rate));
        proptest::prop_assert_eq!(status.seen.rows, stream.len() as u64);
    }

    #[test]
    fn one_more_flagged_row_is_never_less_evidence(
        stream in proptest::collection::vec(proptest::bool::ANY, 1..60), at in 0..60_usize,
    ) {
        let evidence = |stream: &[bool]| {
            let mut test = FlagRate::new(0.3, 1e-9).unwrap();
            for flagged in stream {
                test.observe(*flagged);
            }
            // Above an alarm nothing is added any more, so that a later one may stand on more.
            test.status().evidence
        };
        let (mut less, mut more) = (stream.clone(), stream);
        let at = at % less.len();
        (less[at], more[at]) = (false, true);
        proptest::prop_assert!(evidence(&less) <= evidence(&more));
    }
}
