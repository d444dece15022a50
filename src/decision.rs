//! What is to be done with an answer, given the evidence? The only place that judges; stateless.

use crate::calibration::Evidence;
use crate::reason::{Action, Reason};
use serde::{Deserialize, Serialize};

/// The thresholds, as promised false-alarm rates.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Share of clean rows whose answer may be withheld: a row is kept back when its p-value is at most this,
    /// and a request when one of its rows is.
    pub alpha: f64,
    /// Share of clean rows whose answer may be flagged or withheld. At least `alpha`.
    pub alpha_flag: f64,
    /// Judge and record, but give every answer.
    pub shadow: bool,
    /// What happens to an answer that a detector could not measure.
    pub unmeasured: Unmeasurable,
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
        Self { alpha: 0.01, alpha_flag: 0.05, shadow: false, unmeasured: Unmeasurable::Withhold }
    }
}

/// The judgement of one row, or of a request: only `Policy` makes one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    action: Action,
    evidence: Option<Evidence>,
    shadowed: Option<Action>,
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
        match (self.action, self.evidence) {
            (Action::Allowed, _) => Reason::Clean,
            (_, Some(_)) => Reason::Anomalous,
            (_, None) => Reason::Unmeasured,
        }
    }

    /// The evidence, if there was any.
    #[must_use]
    pub fn evidence(&self) -> Option<Evidence> {
        self.evidence
    }

    /// What auditors may know: the detector that spoke, and what shadow mode kept from being done. Empty
    /// for what is clean.
    #[must_use]
    pub fn detail(&self) -> String {
        let detector = self.evidence.map_or("unmeasured", |evidence| evidence.loudest().as_str());
        match self.shadowed {
            Some(action) => format!("shadow:{action}:{detector}"),
            None if self.action == Action::Allowed && self.evidence.is_some() => String::new(),
            None => detector.to_owned(),
        }
    }

    /// The proof that an answer may leave; `None` if it may not.
    #[must_use]
    pub fn release(&self) -> Option<Release> {
        self.action.answers().then_some(Release(()))
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
        Ok(())
    }

    /// Judges one row. No evidence means that a detector could not measure.
    #[must_use]
    pub fn judge(&self, evidence: Option<Evidence>) -> Verdict {
        let action = match evidence {
            None => match self.unmeasured {
                Unmeasurable::Withhold => Action::Withheld,
                Unmeasurable::Allow => Action::Allowed,
            },
            Some(evidence) if evidence.p_value() <= self.alpha => Action::Withheld,
            Some(evidence) if evidence.p_value() <= self.alpha_flag => Action::Flagged,
            Some(_) => Action::Allowed,
        };
        if self.shadow && action != Action::Allowed {
            return Verdict { action: Action::Allowed, evidence, shadowed: Some(action) };
        }
        Verdict { action, evidence, shadowed: None }
    }

    /// The verdict on a whole request: that of its worst row.
    #[must_use]
    pub fn worst(rows: &[Verdict]) -> Option<Verdict> {
        let severity = |action: Action| match action {
            Action::Allowed => 0,
            Action::FellBack => 1,
            Action::Flagged => 2,
            Action::Abstained => 3,
            Action::Withheld => 4,
            Action::Refused | Action::Abandoned => 5,
        };
        let p_value = |verdict: &Verdict| verdict.evidence.map_or(0.0, |evidence| evidence.p_value());
        let worse = |a: &&Verdict, b: &&Verdict| {
            let acted = |v: &Verdict| severity(v.shadowed.unwrap_or(v.action));
            acted(a).cmp(&acted(b)).then(p_value(b).total_cmp(&p_value(a)))
        };
        rows.iter().max_by(worse).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detection::Detector;

    fn judged(policy: Policy, p_value: f64) -> Verdict {
        policy.judge(Some(Evidence::trial(p_value, Detector::Consistency(0))))
    }

    #[test]
    fn what_could_not_be_measured_is_withheld() {
        let verdict = Policy::default().judge(None);
        assert_eq!((verdict.action(), verdict.reason()), (Action::Withheld, Reason::Unmeasured));
    }

    #[test]
    fn rarer_evidence_never_gets_a_milder_action() {
        let policy = Policy::default();
        let actions = [0.001, 0.01, 0.02, 0.05, 0.06, 1.0].map(|p| judged(policy, p).action());
        let wanted = ["withheld", "withheld", "flagged", "flagged", "allowed", "allowed"];
        assert_eq!(actions.map(Action::as_str), wanted);
    }

    #[test]
    fn shadow_mode_answers_and_remembers() {
        let verdict = judged(Policy { shadow: true, ..Policy::default() }, 0.001);
        assert_eq!((verdict.action(), verdict.shadowed()), (Action::Allowed, Some(Action::Withheld)));
        assert_eq!(verdict.detail(), "shadow:withheld:consistency");
    }

    #[test]
    fn the_worst_row_decides() {
        let policy = Policy::default();
        let rows = [0.5, 0.001, 0.04].map(|p| judged(policy, p));
        assert_eq!(Policy::worst(&rows).unwrap().action(), Action::Withheld);
        assert!(Policy::worst(&[]).is_none());
    }

    #[test]
    fn thresholds_out_of_order_are_refused() {
        assert_eq!(Policy { alpha: 0.0, ..Policy::default() }.check().unwrap_err().0, "alpha");
        assert_eq!(Policy { alpha: 0.1, ..Policy::default() }.check().unwrap_err().0, "alpha_flag");
    }
}
