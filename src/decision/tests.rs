//! What a policy makes of evidence.

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
fn a_baseline_that_shadow_mode_alone_allows_is_not_clean() {
    let first = judged(Policy { on_anomaly: OnAnomaly::FallBack, ..Policy::default() }, 0.001);
    let shadow = Policy { shadow: true, ..Policy::default() };
    let ends = [(shadow, 0.001), (shadow, 0.5), (Policy::default(), 0.001), (Policy::default(), 0.5)];
    let ends = ends.map(|(policy, p)| first.after(Some(judged(policy, p))).action().as_str());
    assert_eq!(ends, ["abstained", "fell_back", "abstained", "fell_back"]);
    assert_eq!(first.after(None).action(), Action::Abstained);
    assert_eq!(first.after(shadow.leave_unjudged()).action(), Action::Abstained);
}

#[test]
fn only_shadow_mode_leaves_a_request_unjudged_and_says_so() {
    assert_eq!(Policy::default().leave_unjudged(), None);
    let verdict = Policy { shadow: true, ..Policy::default() }.leave_unjudged().unwrap();
    assert_eq!((verdict.action(), verdict.reason()), (Action::Allowed, Reason::Unjudged));
    assert_eq!((verdict.evidence(), verdict.detail().as_str()), (None, "unjudged"));
    assert!(verdict.release().is_some());
}

#[test]
fn a_share_is_of_shadow_mode_alone() {
    let share = |shadow, shadow_share| Policy { shadow, shadow_share, ..Policy::default() }.check();
    assert_eq!(share(false, 0.5).unwrap_err().0, "shadow_share");
    for wrong in [0.0, -1.0, 1.5, f64::NAN] {
        assert_eq!(share(true, wrong).unwrap_err().0, "shadow_share");
    }
    assert_eq!((share(true, 0.01), share(false, 1.0)), (Ok(()), Ok(())));
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
