//! What calibration promises of the shipped models: the rate of false alarms, that the cascade may stop early, and
//! that a verdict can be had again.

use crate::house::{input_of, loader, models, root, samples};
use asepsis::calibration::resample::{Fused, Split, resample};
use asepsis::calibration::{Artefact, Calibration, Measured, Use};
use asepsis::catalog::Repository;
use asepsis::decision::Policy;
use asepsis::detection::{Detector, Score, Settings};
use asepsis::inference::interrupt::Interrupt;
use asepsis::inference::perturbation::Secret;
use asepsis::intake::Input;
use asepsis::judgement::{Judgement, Served, judge};
use asepsis::tensor::{Data, Tensor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const MODELS: [&str; 3] = ["wdbc", "digits", "pneumonia"];

fn artefact(model: &str) -> Artefact {
    let json = std::fs::read(models().join(model).join("1/calibration.json")).unwrap();
    serde_json::from_slice(&json).unwrap()
}

/// Every row the calibration data have: those that gave references too, unless they are of other data.
fn rows(artefact: &Artefact) -> Vec<Measured> {
    let row = |columns: &BTreeMap<Detector, Vec<f64>>, n: usize, class| {
        let score = |(name, column): (&Detector, &Vec<f64>)| (*name, Score::new(column[n]).unwrap());
        Measured { class, scores: columns.iter().map(score).collect() }
    };
    let references = artefact.references.values().next().unwrap().len();
    let references = if artefact.others().is_some() { 0 } else { references };
    let references = (0..references).map(|n| row(&artefact.references, n, None));
    let classes = artefact.ranked.classes.iter().enumerate();
    references.chain(classes.map(|(n, class)| row(&artefact.ranked.scores, n, Some(*class)))).collect()
}

/// As the sidecar serves it by default.
fn served(model: &str) -> Served {
    let versions = Repository::new(models()).versions().unwrap();
    loader().load(versions.iter().find(|version| version.name == model).unwrap()).unwrap()
}

/// The calibration as the detectors that run by default use it.
fn calibration(
    artefact: &Artefact,
    (early, late): &(Vec<Detector>, Vec<Detector>),
    exit_share: f64,
) -> Calibration {
    Calibration::new(artefact, early, late, Use { exit_share, per_class: false }).unwrap()
}

fn default_detectors(model: &str) -> (Vec<Detector>, Vec<Detector>) {
    let (mut early, mut late) = served(model).detectors.names();
    early.retain(|name| Settings::default().enable(*name));
    late.retain(|name| Settings::default().enable(*name));
    (early, late)
}

#[test]
fn random_splits_of_the_shipped_calibrations_keep_the_false_alarms_that_are_promised() {
    let policy = Policy::default();
    for model in MODELS {
        let (whole, detectors) = (artefact(model), default_detectors(model));
        let measured = rows(&whole);
        let split = |split: &Split<'_>| {
            let of = |indices: &[usize]| indices.iter().map(|n| measured[*n].clone()).collect::<Vec<_>>();
            let (half, tested) = (of(split.calibration), of(split.tested));
            let made = (String::new(), 0, String::new());
            let (binding, fit) = (whole.binding.clone(), whole.fit.clone());
            let part = Artefact::new(binding, made, fit, &half, whole.others()).ok()?;
            let calibration = calibration(&part, &detectors, policy.exit_share);
            let sum = |row: &Measured| calibration.cascade(&row.scores).unwrap().sum();
            let ranked = half.iter().enumerate().filter(|(n, _)| part.ranks(*n)).map(|(_, row)| sum(row));
            Some(Fused { ranked: ranked.collect(), tested: tested.iter().map(sum).collect() })
        };
        let kept = resample(measured.len(), policy.alpha_flag, 200, 1, split).unwrap();
        assert!(kept.mean <= 0.055, "{model}: {}", kept.mean);
        assert!(kept.mean >= 0.01, "{model}: nothing would ever be flagged: {}", kept.mean);
        assert!(kept.p_value > 0.01, "{model}: {} of the splits within {}", kept.within, kept.bound);
    }
}

/// Share of the ranking rows on which they differ whether it is flagged.
fn differ(calibrations: [&Calibration; 2], rows: &[Measured], alpha: f64) -> f64 {
    let flagged = |calibration: &Calibration, row: &Measured| {
        let fused = calibration.cascade(&row.scores).unwrap();
        calibration.evidence(fused, row.class).unwrap().p_value() <= alpha
    };
    let [cascade, full] = calibrations;
    let differing = rows.iter().filter(|row| flagged(cascade, row) != flagged(full, row)).count();
    differing as f64 / rows.len() as f64
}

#[test]
fn a_cascade_that_stops_early_seldom_decides_otherwise_than_one_that_asks_everything() {
    let policy = Policy::default();
    for model in MODELS {
        let (artefact, detectors) = (artefact(model), default_detectors(model));
        let rows: Vec<Measured> = rows(&artefact).into_iter().filter(|row| row.class.is_some()).collect();
        let cascade = calibration(&artefact, &detectors, policy.exit_share);
        let full = calibration(&artefact, &detectors, 0.0);
        let share = differ([&cascade, &full], &rows, policy.alpha_flag);
        println!("{model}: {:.2}% of {} clean rows", 100.0 * share, rows.len());
        assert!(share <= 0.03, "{model}: {share}");
    }
}

fn verdict(served: &Served, model: &str, row: &[f32], seed: u8) -> Judgement {
    let (_, shape) = input_of(model);
    let dims = shape.iter().map(|dim| usize::try_from(*dim).unwrap());
    let shape: Vec<usize> = std::iter::once(1).chain(dims).collect();
    let tensor = Tensor::new(shape, Data::Fp32(row.to_vec())).unwrap();
    let input = Input::from_tensors(&served.contract, vec![tensor]).unwrap();
    judge(served, input, &Secret::new(&[seed; 32]), &Interrupt::default()).unwrap()
}

fn p_value(judgement: &Judgement) -> f64 {
    judgement.verdict().evidence().unwrap().p_value()
}

#[test]
fn model_input_and_seed_make_the_same_verdict_bit_by_bit() {
    for model in MODELS {
        let (here, there, samples) = (served(model), served(model), samples(model));
        for row in samples.clean.iter().chain(&samples.attacked) {
            let (one, other) = (verdict(&here, model, row, 7), verdict(&there, model, row, 7));
            assert_eq!(p_value(&one).to_bits(), p_value(&other).to_bits(), "{model}");
            assert_eq!(one.rows_run(), other.rows_run(), "{model}");
            assert_eq!(one.verdict().action(), other.verdict().action(), "{model}");
        }
    }
}

/// What the committed samples were judged to be, by model and kind.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Golden(BTreeMap<String, BTreeMap<String, Vec<f64>>>);

/// How far a p-value may stand from its golden one: another processor rounds otherwise, which moves ranks a little.
fn tolerance(golden: f64) -> f64 {
    0.01 + 0.1 * golden
}

#[test]
fn the_committed_samples_are_judged_as_they_were() {
    let path = root().join("tests/fixtures/verdicts.json");
    let mut now = Golden::default();
    for model in MODELS {
        let (served, samples) = (served(model), samples(model));
        for (kind, rows) in [("clean", &samples.clean), ("attacked", &samples.attacked)] {
            let judged = rows.iter().map(|row| p_value(&verdict(&served, model, row, 7))).collect();
            now.0.entry(model.to_owned()).or_default().insert(kind.to_owned(), judged);
        }
    }
    if std::env::var_os("ASEPSIS_GOLDEN").is_some() {
        std::fs::write(&path, serde_json::to_vec_pretty(&now).unwrap()).unwrap();
    }
    let golden: Golden = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for (model, kinds) in &golden.0 {
        for (kind, golden) in kinds {
            let judged = &now.0[model][kind];
            assert_eq!(judged.len(), golden.len(), "{model}, {kind}");
            for (n, (p, golden)) in judged.iter().zip(golden).enumerate() {
                assert!((p - golden).abs() <= tolerance(*golden), "{model}, {kind} {n}: {p}, once {golden}");
            }
        }
    }
    assert_eq!(golden.0.len(), MODELS.len());
}
