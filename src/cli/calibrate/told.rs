//! What is reported of a calibration: everything it was made of, judged as the detectors that run by default would.

use super::clean::Rows;
use super::report;
use super::report::{Answer, Attack, DetectorScores, Gate, Labelled, Report, Stratum, Threshold};
use crate::calibration::promise::Promise;
use crate::calibration::resample::{self, Split};
use crate::calibration::{Artefact, Calibration, Measured, Use};
use crate::cli::Failure;
use crate::decision::Policy;
use crate::detection::vector::softmax;
use crate::detection::{Detector, Row, Settings};
use crate::inference::cascade::Plan;
use crate::inference::perturbation::Secret;
use crate::judgement::{Served, ask_all};

/// Where the page moves the gate to.
const GATES: [f64; 8] = [0.0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95];
/// How often the clean rows are split anew, and from which seed.
const SPLITS: usize = 200;
const SEED: u64 = 1;
const BLOCKS: usize = 10;
const PERMUTATIONS: usize = 1000;

/// Attacked rows of one kind, measured.
pub(super) struct Attacked {
    pub(super) name: String,
    pub(super) refused: usize,
    pub(super) rows: Vec<Measured>,
}

/// A calibration as the detectors that run by default use it.
pub(super) struct Judge {
    early: Vec<Detector>,
    late: Vec<Detector>,
    plan: Plan,
    pub(super) policy: Policy,
}

impl Judge {
    /// Of the detectors that the artefact has: a recording has those that ran.
    pub(super) fn of(served: &Served, artefact: &Artefact) -> Self {
        let settings = Settings::default();
        let (mut early, mut late) = served.detectors.names();
        let runs = |name: &Detector| settings.enable(*name) && artefact.references.contains_key(name);
        early.retain(runs);
        late.retain(runs);
        Self { early, late, plan: served.cascade.plan.clone(), policy: Policy::default() }
    }

    /// With so many rows leaving after the first run.
    fn calibration(&self, artefact: &Artefact, exit_share: f64) -> Option<Calibration> {
        let usage = Use { exit_share, per_class: false };
        Calibration::new(artefact, &self.early, &self.late, usage).ok()
    }

    /// As the policy has it.
    pub(super) fn by_policy(&self, artefact: &Artefact) -> Result<Calibration, Failure> {
        let calibration = self.calibration(artefact, self.policy.exit_share);
        calibration.ok_or_else(|| Failure::Other("the clean rows make no calibration".into()))
    }
}

/// Rows of the model run for a clean row, mean: itself, the copies beside it, and those of the second run if it does
/// not leave at the gate.
#[expect(clippy::cast_precision_loss, reason = "a handful of copies")]
fn passes(plan: &Plan, exit_share: f64) -> f64 {
    1.0 + plan.first.len() as f64 + (1.0 - exit_share) * plan.second.len() as f64
}

/// The fused score of each row that could be measured, as the cascade comes to it.
pub(super) fn fused<'a>(calibration: &Calibration, rows: impl IntoIterator<Item = &'a Measured>) -> Vec<f64> {
    rows.into_iter().filter_map(|row| Some(calibration.cascade(&row.scores)?.sum())).collect()
}

/// The p-value of a row of which everything was measured.
pub(super) fn p_value(calibration: &Calibration, row: &Measured) -> Option<f64> {
    Some(calibration.evidence(calibration.cascade(&row.scores)?, row.class)?.p_value())
}

/// Share of attacked rows found at `alpha`, those included that the contract refuses.
#[expect(clippy::cast_precision_loss, reason = "counts of rows")]
fn found(calibration: &Calibration, attacked: &[Attacked], alpha: f64) -> f64 {
    let mut total = 0_usize;
    let mut found = 0_usize;
    for attack in attacked {
        let is_found = |row: &&Measured| p_value(calibration, row).is_none_or(|p| p <= alpha);
        let judged = attack.rows.iter().filter(is_found).count();
        found = found.saturating_add(attack.refused).saturating_add(judged);
        total = total.saturating_add(attack.refused).saturating_add(attack.rows.len());
    }
    found as f64 / total.max(1) as f64
}

/// The report of a calibration that was just made of `rows`, as they were measured in `measured`.
///
/// # Errors
/// The clean rows make no calibration, or the model could not be run.
pub(super) fn report(
    (served, artefact): (&Served, &Artefact),
    (rows, measured): (&Rows, &[Measured]),
    attacked: &[Attacked],
    (date, command): (String, String),
) -> Result<Report, Failure> {
    let judge = Judge::of(served, artefact);
    let calibration = judge.by_policy(artefact)?;
    let policy = judge.policy;
    let count = artefact.ranked.rows();
    let threshold =
        |action: &str, alpha| Threshold { action: action.into(), promise: Promise::new(alpha, count) };
    let binding = &artefact.binding;
    let all = fused(&calibration, ranked(artefact, measured));
    Ok(Report {
        model: served.contract.name.clone(),
        version: served.contract.version.clone(),
        date,
        command,
        bound_to: [
            ("model", binding.model_sha256.clone()),
            ("contract", binding.contract_sha256.clone()),
            ("labels", binding.labels_sha256.clone()),
            ("preparation of images", binding.preparation_sha256.clone()),
            ("twin", binding.twin_sha256.clone()),
            ("revision of the detectors", binding.scores.to_string()),
            ("ONNX Runtime", binding.onnxruntime.clone()),
            ("data", artefact.dataset_sha256.clone()),
            ("data of the references", artefact.references_sha256.clone()),
            ("site", artefact.site.clone()),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name.to_owned(), value))
        .collect(),
        rows: report::Rows {
            references: artefact.references.values().next().map_or(0, Vec::len),
            ranked: count,
        },
        recorded: None,
        thresholds: vec![threshold("flagged", policy.alpha_flag), threshold("withheld", policy.alpha)],
        detectors: detectors(&judge, artefact, attacked),
        attacks: attacked.iter().map(|attack| of_attack(&calibration, attack)).collect(),
        gates: gates(&judge, artefact, attacked),
        labelled: labelled(served, artefact, rows)?,
        strata: strata(served, (artefact, &calibration), rows, measured, policy.alpha_flag),
        resampled: resampled(&judge, artefact, measured),
        order: resample::order(&all, policy.alpha_flag, BLOCKS, PERMUTATIONS, SEED),
        fused: all,
        elsewhere: calibration.elsewhere().map(<[f64]>::to_vec),
    })
}

/// The rows that rank.
fn ranked<'a>(artefact: &Artefact, measured: &'a [Measured]) -> impl Iterator<Item = &'a Measured> {
    measured.iter().enumerate().filter(|(n, _)| artefact.ranks(*n)).map(|(_, row)| row)
}

fn detectors(judge: &Judge, artefact: &Artefact, attacked: &[Attacked]) -> Vec<DetectorScores> {
    let stages = [(1, &judge.early), (2, &judge.late)];
    let names = stages.into_iter().flat_map(|(stage, names)| names.iter().map(move |name| (stage, *name)));
    let scores = names.map(|(stage, name)| {
        let of = |row: &Measured| row.scores.iter().find(|(other, _)| *other == name).map(|(_, s)| s.value());
        DetectorScores {
            name: String::from(name),
            stage,
            passes: if name.copy().is_some() { 1.0 } else { 0.0 },
            clean: artefact.ranked.scores.get(&name).cloned().unwrap_or_default(),
            attacked: attacked.iter().flat_map(|attack| &attack.rows).filter_map(of).collect(),
        }
    });
    scores.collect()
}

fn of_attack(calibration: &Calibration, attack: &Attacked) -> Attack {
    let fused = fused(calibration, &attack.rows);
    Attack { name: attack.name.clone(), refused: attack.refused, fused }
}

fn gates(judge: &Judge, artefact: &Artefact, attacked: &[Attacked]) -> Vec<Gate> {
    if attacked.is_empty() || judge.late.is_empty() {
        return Vec::new();
    }
    let gate = |quantile: f64| {
        let calibration = judge.calibration(artefact, quantile)?;
        Some(Gate {
            quantile,
            passes: passes(&judge.plan, calibration.exit_share()),
            detected: found(&calibration, attacked, judge.policy.alpha_flag),
            chosen: (quantile - judge.policy.exit_share).abs() < 1e-9,
        })
    };
    GATES.into_iter().filter_map(gate).collect()
}

fn labelled(served: &Served, artefact: &Artefact, rows: &Rows) -> Result<Option<Labelled>, Failure> {
    if rows.labels.is_empty() {
        return Ok(None);
    }
    let temperature = artefact.fit.temperature;
    let mut labelled = Labelled { temperature, before: Vec::new(), after: Vec::new() };
    for (input, label) in rows.inputs.iter().zip(&rows.labels) {
        let answers = ask_all(served, input.clone(), &Secret::new(&[0; 32]));
        let answers = answers.map_err(|error| Failure::Other(error.to_string()))?;
        let row = Row::new(&answers, served.places, 0);
        let (Some(logits), Some(class)) = (row.logits(), row.class()) else { return Ok(None) };
        let answer = |temperature| {
            let confidence = softmax(logits, temperature)?.get(class).copied()?;
            Some(Answer { confidence, right: class == *label })
        };
        labelled.before.extend(answer(1.0));
        labelled.after.extend(answer(temperature));
    }
    Ok(Some(labelled))
}

fn strata(
    served: &Served,
    (artefact, calibration): (&Artefact, &Calibration),
    rows: &Rows,
    measured: &[Measured],
    alpha: f64,
) -> Vec<Stratum> {
    let class = |row: &Measured| {
        let class = row.class?;
        Some(served.labels.get(class).cloned().unwrap_or_else(|| class.to_string()))
    };
    let classes: Option<Vec<String>> = measured.iter().map(class).collect();
    let by_class = classes.map(|classes| ("predicted class", classes));
    let given = rows.strata.iter().map(|(by, values)| (*by, values.clone()));
    let mut strata: Vec<Stratum> = Vec::new();
    for (by, values) in by_class.into_iter().chain(given) {
        for (n, (row, name)) in measured.iter().zip(values).enumerate() {
            if !artefact.ranks(n) {
                continue;
            }
            let alarm = usize::from(p_value(calibration, row).is_none_or(|p| p <= alpha));
            match strata.iter_mut().find(|stratum| stratum.by == by && stratum.name == name) {
                Some(stratum) => {
                    stratum.rows = stratum.rows.saturating_add(1);
                    stratum.alarms = stratum.alarms.saturating_add(alarm);
                }
                None => strata.push(Stratum { by: by.to_owned(), name, rows: 1, alarms: alarm }),
            }
        }
    }
    strata
}

/// The promise on random halves of the clean rows: one calibrates, as all of them did, and the other is tested.
fn resampled(judge: &Judge, artefact: &Artefact, measured: &[Measured]) -> Option<resample::Resampled> {
    let split = |split: &Split<'_>| {
        let rows: Vec<Measured> =
            split.calibration.iter().filter_map(|n| measured.get(*n)).cloned().collect();
        let made = (String::new(), 0, String::new());
        let (binding, fit) = (artefact.binding.clone(), artefact.fit.clone());
        let part = Artefact::new(binding, made, fit, &rows, artefact.others()).ok()?;
        let calibration = judge.calibration(&part, judge.policy.exit_share)?;
        let tested = split.tested.iter().filter_map(|n| measured.get(*n));
        Some(resample::Fused {
            ranked: fused(&calibration, ranked(&part, &rows)),
            tested: fused(&calibration, tested),
        })
    };
    resample::resample(measured.len(), judge.policy.alpha_flag, SPLITS, SEED, split)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_beside_every_row_is_paid_for_every_row() {
        let plan =
            |first: &[usize], second: &[usize]| Plan { first: first.to_vec(), second: second.to_vec() };
        for (plan, exit_share, wanted) in [
            (plan(&[], &[]), 0.9, 1.0),
            (plan(&[0], &[1, 2]), 1.0, 2.0),
            (plan(&[0], &[1, 2]), 0.5, 3.0),
            (plan(&[], &[0, 1]), 0.9, 1.2),
        ] {
            assert!((passes(&plan, exit_share) - wanted).abs() < 1e-9, "{plan:?} {exit_share}");
        }
    }
}
