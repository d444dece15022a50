//! Which detectors run: those that are switched on and have something to measure in a model.

use super::fit::Fit;
use super::head::Head;
use super::planes::Planes;
use super::table::{Scale, Table};
use super::{Detector, OutputDetector, Places};
use super::{confidence, consistency, divergence, energy, entropy, flat, flips, grid, loss, mahalanobis};
use super::{max_softmax, nearest, residual, twin, twin_margin};
use crate::contract::{Contract, Meaning};
use serde::{Deserialize, Serialize};

/// Which detectors are switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Margin of the answer.
    pub confidence: Enabled,
    /// Generalised entropy of the answer; off unless it is switched on: where a twin or an embedding tells more, it costs
    /// power.
    pub entropy: Enabled,
    /// One minus the largest probability; off unless it is switched on: the margin tells the same and more.
    pub max_softmax: Enabled,
    /// Free energy of the logits; off unless it is switched on.
    pub energy: Enabled,
    /// Roughness of an image, as a whole and in parts.
    pub residual: Enabled,
    /// Distance of an image in 0..1 from one of 256 levels.
    pub grid: Enabled,
    /// Whether an image is constant, or nearly so.
    pub flat: Enabled,
    /// Distance of the embedding from those of every class.
    pub mahalanobis: Enabled,
    /// Distance of a table's features from those of clean rows.
    pub table: Enabled,
    /// Agreement of the answer with the twin's.
    pub twin: Enabled,
    /// Margin of the answer's class under the twin.
    pub twin_margin: Enabled,
    /// Agreement of the answer with those to the perturbed copies.
    pub consistency: Enabled,
    /// The same by the Jensen-Shannon divergence; off unless it is switched on.
    pub divergence: Enabled,
    /// Margin of the answer's class under the perturbed copies.
    pub loss: Enabled,
    /// Share of copies with another label; off unless it is switched on: it knows few values.
    pub flips: Enabled,
    /// Distance of the embedding from the nearest of clean rows; off unless it is switched on: beside the distance from
    /// every class it costs power.
    pub nearest: Enabled,
}

/// A switch of one detector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Enabled {
    /// Whether it runs.
    pub enabled: bool,
}

impl Default for Enabled {
    fn default() -> Self {
        Self { enabled: true }
    }
}

impl Default for Settings {
    fn default() -> Self {
        let off = Enabled { enabled: false };
        Self {
            entropy: off,
            max_softmax: off,
            energy: off,
            divergence: off,
            flips: off,
            nearest: off,
            ..Self::all()
        }
    }
}

impl Settings {
    /// Whether every detector is switched off.
    #[must_use]
    pub fn is_off(&self) -> bool {
        *self == Self::none()
    }

    /// Every detector.
    #[must_use]
    pub fn all() -> Self {
        Self::each(Enabled { enabled: true })
    }

    /// No detector.
    #[must_use]
    pub fn none() -> Self {
        Self::each(Enabled { enabled: false })
    }

    fn each(on: Enabled) -> Self {
        Self {
            confidence: on,
            entropy: on,
            max_softmax: on,
            energy: on,
            residual: on,
            grid: on,
            flat: on,
            mahalanobis: on,
            table: on,
            twin: on,
            twin_margin: on,
            consistency: on,
            divergence: on,
            loss: on,
            flips: on,
            nearest: on,
        }
    }

    /// Whether a detector is switched on.
    #[must_use]
    pub fn enable(&self, detector: Detector) -> bool {
        let switch = match detector {
            Detector::Confidence => self.confidence,
            Detector::Entropy => self.entropy,
            Detector::MaxSoftmax => self.max_softmax,
            Detector::Energy => self.energy,
            Detector::Residual => self.residual,
            Detector::Grid => self.grid,
            Detector::Flat => self.flat,
            Detector::Mahalanobis => self.mahalanobis,
            Detector::Table => self.table,
            Detector::Twin => self.twin,
            Detector::TwinMargin => self.twin_margin,
            Detector::Consistency(_) => self.consistency,
            Detector::Divergence(_) => self.divergence,
            Detector::Loss(_) => self.loss,
            Detector::Flips => self.flips,
            Detector::Nearest => self.nearest,
        };
        switch.enabled
    }
}

/// The detectors that are switched on and have something to measure in a model of this contract, in the order of
/// [`Detector`]. Without a fit, those that need one are left out.
#[must_use]
pub fn of(contract: &Contract, settings: Settings, fit: Option<&Fit>) -> Vec<Box<dyn OutputDetector>> {
    let mut detectors = of_answer(contract, fit);
    detectors.extend(of_input(contract, fit));
    detectors.extend(of_comparison(contract, fit));
    detectors.retain(|detector| settings.enable(detector.name()));
    detectors.sort_by_key(|detector| detector.name());
    detectors
}

/// Those that read the model's answer to the input itself.
fn of_answer(contract: &Contract, fit: Option<&Fit>) -> Vec<Box<dyn OutputDetector>> {
    let mut detectors: Vec<Box<dyn OutputDetector>> = Vec::new();
    let temperature = fit.map_or(1.0, |fit| fit.temperature);
    match Head::of(contract, fit) {
        Some(Head::Classes) => {
            detectors.push(Box::new(confidence::Confidence));
            detectors.push(Box::new(entropy::Entropy { temperature }));
            detectors.push(Box::new(max_softmax::MaxSoftmax { temperature }));
            if contract.output_of(Meaning::Logits).is_some() {
                detectors.push(Box::new(energy::Energy { temperature }));
            }
        }
        Some(Head::Labels) => detectors.push(Box::new(confidence::Confidence)),
        Some(Head::Values(_)) | None => {}
    }
    let Some(fit) = fit.filter(|_| contract.output_of(Meaning::Embedding).is_some()) else {
        return detectors;
    };
    if let Some(classes) = fit.embedding.clone() {
        detectors.push(Box::new(mahalanobis::Mahalanobis { classes }));
    }
    if let Some(neighbours) = fit.neighbours.clone() {
        detectors.push(Box::new(nearest::Nearest { neighbours }));
    }
    detectors
}

/// Those that read the input.
fn of_input(contract: &Contract, fit: Option<&Fit>) -> Vec<Box<dyn OutputDetector>> {
    let mut detectors: Vec<Box<dyn OutputDetector>> = Vec::new();
    if let Some(planes) = Planes::of(contract) {
        if let Some(clean) = fit.and_then(|fit| fit.residual) {
            detectors.push(Box::new(residual::Residual { planes, clean }));
        }
        if let Some(grid) = grid::Grid::of(contract) {
            detectors.push(Box::new(grid));
        }
        detectors.push(Box::new(flat::Flat { planes }));
    }
    if let (Some(scale), Some(clean)) = (Scale::of(contract), fit.and_then(|fit| fit.table.clone())) {
        detectors.push(Box::new(Table { scale, clean }));
    }
    detectors
}

/// Those that compare the answer with the twin's, and with those to the copies.
fn of_comparison(contract: &Contract, fit: Option<&Fit>) -> Vec<Box<dyn OutputDetector>> {
    let mut detectors: Vec<Box<dyn OutputDetector>> = Vec::new();
    let Some(head) = Head::of(contract, fit) else { return detectors };
    let temperature = fit.map_or(1.0, |fit| fit.temperature);
    if head.has_twin(&Places::of(contract)) {
        let temperature = temperature.max(twin::TEMPERATURE_MIN);
        detectors.push(Box::new(twin::Twin { head: head.clone(), temperature }));
        if head == Head::Classes {
            detectors.push(Box::new(twin_margin::TwinMargin));
        }
    }
    let copies = contract.perturbations.len();
    for copy in 0..copies {
        detectors.push(Box::new(consistency::Consistency { copy, head: head.clone() }));
        match &head {
            Head::Classes => {
                detectors.push(Box::new(divergence::Divergence { copy }));
                detectors.push(Box::new(loss::Loss { copy }));
            }
            Head::Labels => detectors.push(Box::new(divergence::Divergence { copy })),
            Head::Values(_) => {}
        }
    }
    match head {
        Head::Classes | Head::Labels if copies > 0 => detectors.push(Box::new(flips::Flips { copies })),
        Head::Classes | Head::Labels | Head::Values(_) => {}
    }
    detectors
}
