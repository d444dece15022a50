//! What is to be done with an answer, given the evidence? The only place that judges; stateless.

use crate::calibration::Evidence;
use crate::reason::{Action, Reason};
use serde::{Deserialize, Serialize};

/// What is done about the evidence, at which promised false-alarm rates.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Share of clean rows whose answer may be kept back: a row is when its p-value is at most this, and a request
    /// when one of its rows is.
    pub alpha: f64,
    /// Share of clean rows whose answer may be flagged or kept back. At least `alpha`.
    pub alpha_flag: f64,
    /// What is done at `alpha`.
    pub on_anomaly: OnAnomaly,
    /// What is done at `alpha_flag`.
    pub on_doubt: OnDoubt,
    /// Judge and record, but give every answer.
    pub shadow: bool,
    /// Share of requests that shadow mode judges, above 0 to 1, chosen by chance; the others get the answer of the
    /// model alone, at its cost alone. Less than 1 needs `shadow`.
    pub shadow_share: f64,
    /// What happens to an answer that a detector could not measure.
    pub unmeasured: Unmeasurable,
    /// What happens when the calibration is of another model, contract or runtime.
    pub stale: Stale,
    /// Whether the promise is made for each predicted class by itself (Mondrian conformal prediction). Each class
    /// needs as many calibration rows as all do without.
    pub per_class: bool,
    /// Share of clean rows whose answer leaves after the first run, 0 to 1: more is cheaper and sees less.
    pub exit_share: f64,
    /// Run every copy for every row, so that the time of an answer tells nothing of the evidence.
    pub constant_depth: bool,
}

/// What differs from the common policy for one model; a key that is not set is as in `[policy]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Override {
    /// As `policy.alpha`.
    pub alpha: Option<f64>,
    /// As `policy.alpha_flag`.
    pub alpha_flag: Option<f64>,
    /// As `policy.on_anomaly`.
    pub on_anomaly: Option<OnAnomaly>,
    /// As `policy.on_doubt`.
    pub on_doubt: Option<OnDoubt>,
    /// As `policy.shadow`.
    pub shadow: Option<bool>,
    /// As `policy.shadow_share`.
    pub shadow_share: Option<f64>,
    /// As `policy.unmeasured`.
    pub unmeasured: Option<Unmeasurable>,
    /// As `policy.stale`.
    pub stale: Option<Stale>,
    /// As `policy.per_class`.
    pub per_class: Option<bool>,
    /// As `policy.exit_share`.
    pub exit_share: Option<f64>,
    /// As `policy.constant_depth`.
    pub constant_depth: Option<bool>,
}

/// What is done with an answer that clean traffic would rarely get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnAnomaly {
    /// It is withheld.
    #[default]
    Withhold,
    /// It is not given, and the case is referred to a clinician.
    Abstain,
    /// The baseline that the contract names is asked instead, and judged; where it is anomalous too, or there is
    /// none, the case is referred to a clinician.
    FallBack,
}

/// What is done with an answer that is in doubt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnDoubt {
    /// It is given and marked.
    #[default]
    Flag,
    /// It is not given, and the case is referred to a clinician.
    Abstain,
    /// The baseline is asked instead.
    FallBack,
}

/// What happens when the calibration is of something else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stale {
    /// The model is not served.
    #[default]
    Refuse,
    /// It is served, and every answer is flagged as uncalibrated.
    Flag,
}

/// What happens to an answer that a detector could not measure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unmeasurable {
    /// It is withheld; a model that no detector can measure is not served at all.
    #[default]
    Withhold,
    /// It is given.
    Allow,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            alpha: 0.01,
            alpha_flag: 0.05,
            on_anomaly: OnAnomaly::Withhold,
            on_doubt: OnDoubt::Flag,
            shadow: false,
            shadow_share: 1.0,
            unmeasured: Unmeasurable::Withhold,
            stale: Stale::Refuse,
            per_class: false,
            exit_share: 0.9,
            constant_depth: false,
        }
    }
}

/// The judgement of one row, or of a request: only `Policy` makes one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    action: Action,
    basis: Basis,
    shadowed: Option<Action>,
}

/// What a verdict rests on.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Basis {
    Evidence(Evidence),
    /// A detector could not measure.
    Unmeasured,
    /// What is measured means nothing: the calibration is of something else.
    Uncalibrated,
    /// Shadow mode judges a share of the requests, and this was none of it.
    Unjudged,
}

/// A verdict allows an answer to leave: only a `Verdict` makes one, and an `Answer` needs one.
#[derive(Debug)]
pub struct Release(());

impl Verdict {
    /// What is to be done.
    #[must_use]
    pub fn action(&self) -> Action {
        self.action
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match (self.action, self.basis) {
            (_, Basis::Uncalibrated) => Reason::Uncalibrated,
            (_, Basis::Unjudged) => Reason::Unjudged,
            (Action::Allowed, _) => Reason::Clean,
            (_, Basis::Evidence(_)) => Reason::Anomalous,
            (_, Basis::Unmeasured) => Reason::Unmeasured,
        }
    }

    /// Whether the baseline is to be asked instead.
    #[must_use]
    pub fn falls_back(&self) -> bool {
        self.action == Action::FellBack
    }

    /// What is done when the baseline was to be asked, given its own verdict if there is one: its answer is given if
    /// that is clean, and else the case is referred to a clinician. What the baseline's shadow mode alone allows, or
    /// does not judge, is not clean. The evidence stays that on the first answer.
    #[must_use]
    pub fn after(self, baseline: Option<Self>) -> Self {
        let clean = baseline.is_some_and(|own| {
            own.action == Action::Allowed && own.shadowed.is_none() && own.basis != Basis::Unjudged
        });
        Self { action: if clean { Action::FellBack } else { Action::Abstained }, ..self }
    }

    /// The evidence, if there was any.
    #[must_use]
    pub fn evidence(&self) -> Option<Evidence> {
        match self.basis {
            Basis::Evidence(evidence) => Some(evidence),
            Basis::Unmeasured | Basis::Uncalibrated | Basis::Unjudged => None,
        }
    }

    /// What auditors may know: the detector that spoke, and what shadow mode kept from being done. Empty
    /// for what is clean.
    #[must_use]
    pub fn detail(&self) -> String {
        let spoke = match self.basis {
            Basis::Evidence(evidence) => evidence.loudest().as_str(),
            Basis::Unmeasured => "unmeasured",
            Basis::Uncalibrated => "uncalibrated",
            Basis::Unjudged => "unjudged",
        };
        match self.shadowed {
            Some(action) => format!("shadow:{action}:{spoke}"),
            None if self.action == Action::Allowed && self.evidence().is_some() => String::new(),
            None => spoke.to_owned(),
        }
    }

    /// The proof that the answer that was judged may leave; `None` if it may not. Where the baseline is to answer
    /// instead, it is the verdict on the baseline's answer that releases it.
    #[must_use]
    pub fn release(&self) -> Option<Release> {
        (self.action.answers() && !self.falls_back()).then_some(Release(()))
    }

    /// What would have been done but for shadow mode.
    #[must_use]
    pub fn shadowed(&self) -> Option<Action> {
        self.shadowed
    }
}

impl Policy {
    /// Whether the thresholds make sense.
    ///
    /// # Errors
    /// The key to mend and why.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let share = |alpha: f64| alpha > 0.0 && alpha < 1.0;
        if !share(self.alpha) {
            return Err(("alpha", "between 0 and 1, both excluded"));
        }
        if !share(self.alpha_flag) || self.alpha_flag < self.alpha {
            return Err(("alpha_flag", "at least `alpha` and less than 1"));
        }
        if !(self.shadow_share > 0.0 && self.shadow_share <= 1.0) {
            return Err(("shadow_share", "above 0, and at most 1"));
        }
        if self.shadow_share < 1.0 && !self.shadow {
            return Err(("shadow_share", "1 unless `shadow` is true: what is acted on is judged"));
        }
        if !(0.0..=1.0).contains(&self.exit_share) {
            return Err(("exit_share", "between 0 and 1"));
        }
        Ok(())
    }

    /// This policy, but for what a model has of its own.
    #[must_use]
    pub fn with(self, own: &Override) -> Self {
        Self {
            alpha: own.alpha.unwrap_or(self.alpha),
            alpha_flag: own.alpha_flag.unwrap_or(self.alpha_flag),
            on_anomaly: own.on_anomaly.unwrap_or(self.on_anomaly),
            on_doubt: own.on_doubt.unwrap_or(self.on_doubt),
            shadow: own.shadow.unwrap_or(self.shadow),
            shadow_share: own.shadow_share.unwrap_or(self.shadow_share),
            unmeasured: own.unmeasured.unwrap_or(self.unmeasured),
            stale: own.stale.unwrap_or(self.stale),
            per_class: own.per_class.unwrap_or(self.per_class),
            exit_share: own.exit_share.unwrap_or(self.exit_share),
            constant_depth: own.constant_depth.unwrap_or(self.constant_depth),
        }
    }

    /// Whether an answer may ever be asked of the baseline.
    #[must_use]
    pub fn may_fall_back(&self) -> bool {
        self.on_anomaly == OnAnomaly::FallBack || self.on_doubt == OnDoubt::FallBack
    }

    /// Whether no further evidence could change what is done.
    #[must_use]
    pub fn is_final(&self, evidence: Evidence) -> bool {
        evidence.p_value() <= self.alpha
    }

    /// Judges one row. No evidence means that a detector could not measure.
    #[must_use]
    pub fn judge(&self, evidence: Option<Evidence>) -> Verdict {
        let action = match evidence {
            None => match self.unmeasured {
                Unmeasurable::Withhold => Action::Withheld,
                Unmeasurable::Allow => Action::Allowed,
            },
            Some(evidence) if evidence.p_value() <= self.alpha => match self.on_anomaly {
                OnAnomaly::Withhold => Action::Withheld,
                OnAnomaly::Abstain => Action::Abstained,
                OnAnomaly::FallBack => Action::FellBack,
            },
            Some(evidence) if evidence.p_value() <= self.alpha_flag => match self.on_doubt {
                OnDoubt::Flag => Action::Flagged,
                OnDoubt::Abstain => Action::Abstained,
                OnDoubt::FallBack => Action::FellBack,
            },
            Some(_) => Action::Allowed,
        };
        let basis = evidence.map_or(Basis::Unmeasured, Basis::Evidence);
        if self.shadow && action != Action::Allowed {
            return Verdict { action: Action::Allowed, basis, shadowed: Some(action) };
        }
        Verdict { action, basis, shadowed: None }
    }

    /// Judges a row whose request shadow mode leaves unjudged: its answer is given. `None` of a policy that acts on
    /// what it finds.
    #[must_use]
    pub fn leave_unjudged(&self) -> Option<Verdict> {
        let verdict = Verdict { action: Action::Allowed, basis: Basis::Unjudged, shadowed: None };
        self.shadow.then_some(verdict)
    }

    /// Judges a row whose measures mean nothing, because the calibration is of something else: its answer is flagged.
    #[must_use]
    pub fn judge_uncalibrated() -> Verdict {
        Verdict { action: Action::Flagged, basis: Basis::Uncalibrated, shadowed: None }
    }

    /// The verdict on a whole request: that of its worst row.
    #[must_use]
    pub fn worst(rows: &[Verdict]) -> Option<Verdict> {
        let severity = |action: Action| match action {
            Action::Allowed => 0,
            Action::Flagged => 1,
            Action::FellBack => 2,
            Action::Abstained => 3,
            Action::Withheld => 4,
            Action::Refused | Action::Abandoned => 5,
        };
        let p_value = |verdict: &Verdict| verdict.evidence().map_or(0.0, |evidence| evidence.p_value());
        let worse = |a: &&Verdict, b: &&Verdict| {
            let acted = |v: &Verdict| severity(v.shadowed.unwrap_or(v.action));
            acted(a).cmp(&acted(b)).then(p_value(b).total_cmp(&p_value(a)))
        };
        rows.iter().max_by(worse).copied()
    }
}

#[cfg(test)]
mod tests;
