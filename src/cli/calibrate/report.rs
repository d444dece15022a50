//! What does a calibration promise, what does the promise rest on, and how well does it find what it was shown?
//!
//! The page is for whoever answers for the model: a clinical safety officer, a security engineer. It stands alone:
//! no script, no font, no image from elsewhere, and a policy that would refuse them.

mod charts;
mod checks;
mod page;
mod sections;
mod statistics;
mod svg;
mod text;

use crate::calibration::promise::Promise;
use crate::calibration::resample::{Order, Resampled};

/// All that is reported of one calibration. Plain data: whoever calibrates fills it in.
#[derive(Clone, Debug)]
pub struct Report {
    /// The model's name.
    pub model: String,
    /// Its version.
    pub version: String,
    /// When the calibration was made, as a person reads it (RFC 3339).
    pub date: String,
    /// The command line that made it.
    pub command: String,
    /// What the calibration is bound to: name and digest or version, in the order of the artefact.
    pub bound_to: Vec<(String, String)>,
    /// How many clean rows did what.
    pub rows: Rows,
    /// Where they come from, if nobody says that they are clean.
    pub recorded: Option<Recorded>,
    /// The policy's thresholds, the one of the largest alpha first: that one judges strata, gates and blocks.
    pub thresholds: Vec<Threshold>,
    /// Every detector, in the order in which they run.
    pub detectors: Vec<DetectorScores>,
    /// Fused scores of the clean rows that rank; larger is more suspicious.
    pub fused: Vec<f64>,
    /// The same of the rows that gave the references, where those are of other data: no threshold is below theirs.
    pub elsewhere: Option<Vec<f64>>,
    /// Attacked rows, a set for each attack; empty if none were given.
    pub attacks: Vec<Attack>,
    /// What other gates would cost and find, by rising quantile; empty without attacked rows or a second stage.
    pub gates: Vec<Gate>,
    /// Answers to clean rows whose labels are known.
    pub labelled: Option<Labelled>,
    /// False alarms of parts of the clean rows; empty if nothing tells them apart.
    pub strata: Vec<Stratum>,
    /// Random splits of the clean rows.
    pub resampled: Option<Resampled>,
    /// Blocks of the clean rows in the order of the file.
    pub order: Option<Order>,
}

/// How many clean rows did what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// Gave each detector its reference.
    pub references: usize,
    /// Rank the fused score.
    pub ranked: usize,
}

/// Rows of production traffic, and what the calibration in use thought of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recorded {
    /// Rows that it judged anomalous at `alpha`.
    pub flagged: usize,
    /// All of them.
    pub rows: usize,
    /// What it had promised.
    pub alpha: f64,
    /// How probable so many are by chance.
    pub p: f64,
    /// Whether that is too few for chance, and a person took them all the same.
    pub accepted: bool,
}

/// One threshold of the policy.
#[derive(Clone, Debug)]
pub struct Threshold {
    /// What is done at or below it, as `flagged`.
    pub action: String,
    /// What it promises.
    pub promise: Promise,
}

/// Raw scores of one detector.
#[derive(Clone, Debug)]
pub struct DetectorScores {
    /// Its name with the copy, as in the artefact.
    pub name: String,
    /// The stage of the cascade it runs in: 1 or 2.
    pub stage: usize,
    /// Rows of the model that are run for it alone: 0 for what is measured on the answer, 1 for a copy.
    pub passes: f64,
    /// Of the clean rows that rank.
    pub clean: Vec<f64>,
    /// Of all attacked rows.
    pub attacked: Vec<f64>,
}

/// One set of attacked rows.
#[derive(Clone, Debug)]
pub struct Attack {
    /// Its name.
    pub name: String,
    /// Rows that the contract refused before the model saw them.
    pub refused: usize,
    /// Fused scores of the others.
    pub fused: Vec<f64>,
}

/// The cascade with its gate at another place.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    /// Share of the clean rows that leave at the gate.
    pub quantile: f64,
    /// Rows of the model run for a clean row, mean.
    pub passes: f64,
    /// Share of the attacked rows found at the largest alpha, that promise being calibrated anew.
    pub detected: f64,
    /// Whether this is the gate of the calibration.
    pub chosen: bool,
}

/// Answers to rows whose labels are known.
#[derive(Clone, Debug)]
pub struct Labelled {
    /// The temperature that was fitted.
    pub temperature: f64,
    /// With the model's own probabilities.
    pub before: Vec<Answer>,
    /// The same rows with the temperature.
    pub after: Vec<Answer>,
}

/// One answer to a row whose label is known.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// Probability of the class that was answered.
    pub confidence: f64,
    /// Whether it is the label.
    pub right: bool,
}

/// A part of the clean rows.
#[derive(Clone, Debug)]
pub struct Stratum {
    /// What the rows are told apart by, as `predicted class`.
    pub by: String,
    /// What they have in common, as `PNEUMONIA`.
    pub name: String,
    /// Its rows among those that rank.
    pub rows: usize,
    /// Rows of them judged anomalous at the largest alpha.
    pub alarms: usize,
}

impl Report {
    /// The page: UTF-8, complete, some 100 KB.
    #[must_use]
    pub fn html(&self) -> String {
        sections::page(self)
    }

    /// The short form, for a terminal: lines, each ended.
    #[must_use]
    pub fn text(&self) -> String {
        text::lines(self)
    }

    /// What its rows are called.
    fn kind(&self) -> &'static str {
        if self.recorded.is_some() { "recorded" } else { "clean" }
    }

    /// The fused score above which a row is anomalous at `alpha`; `None` where no row can be.
    fn threshold(&self, alpha: f64) -> Option<f64> {
        let here = statistics::threshold(&self.fused, alpha)?;
        let Some(elsewhere) = &self.elsewhere else { return Some(here) };
        Some(here.max(statistics::threshold(elsewhere, alpha)?))
    }

    /// The threshold of the largest alpha.
    fn widest(&self) -> Option<&Threshold> {
        self.thresholds.first()
    }

    /// All attacked rows that reached the model.
    fn attacked(&self) -> Vec<f64> {
        self.attacks.iter().flat_map(|attack| attack.fused.iter().copied()).collect()
    }
}

impl Attack {
    /// Rows that were sent.
    fn rows(&self) -> usize {
        self.fused.len().saturating_add(self.refused)
    }

    /// Rows that were refused or lie above the threshold.
    fn found(&self, threshold: Option<f64>) -> usize {
        let above = |score: &&f64| threshold.is_some_and(|threshold| **score > threshold);
        self.fused.iter().filter(above).count().saturating_add(self.refused)
    }
}

#[cfg(test)]
mod tests;
