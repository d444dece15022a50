use super::*;
use crate::audit::Judged;
use crate::calibration::promise::{Promise, Promised};
use crate::telemetry::tests::closed;

/// An entry that ends so long after `began`.
fn ended(began: Now, after: Duration, action: Action, reason: Reason) -> ClosedEntry {
    let mut entry = closed(action, reason);
    let observation = &mut entry.observation;
    let moved = |at: std::time::Instant| {
        began.monotonic + after + at.saturating_duration_since(observation.opened.monotonic)
    };
    for measured in &mut observation.stages {
        (measured.from, measured.to) = (moved(measured.from), moved(measured.to));
    }
    observation.opened.monotonic = began.monotonic + after;
    observation.closed = observation.opened.monotonic;
    entry
}

fn later(began: Now, after: Duration) -> Now {
    Now { monotonic: began.monotonic + after, wall: began.wall + after }
}

/// A row that was judged by this calibration.
fn judged_by(calibration: &str) -> Judged {
    let promises = vec![Promise::new(0.05, 99)];
    let (calibration, site) = (calibration.to_owned(), String::new());
    let promised = Arc::new(Promised { calibration, site, alpha: 0.05, promises });
    Judged { rows: 1, flagged: 0, promised }
}

const SLOT: Duration = Duration::from_secs(SLOT_SECONDS);

#[test]
fn a_flood_of_refusals_neither_grows_nor_washes_away_what_detectors_saw() {
    let recent = Recent::new(Now::read());
    recent.observe(&closed(Action::Withheld, Reason::Anomalous));
    for n in 0..10 * KEPT_MAX {
        let mut entry = closed(Action::Refused, Reason::RateLimited);
        entry.record.time_us = i64::try_from(n).unwrap();
        recent.observe(&entry);
    }
    assert_eq!(recent.judged().len(), 1);
    let times: Vec<i64> = recent.refused().iter().map(|kept| kept.time_us).collect();
    let newest = i64::try_from(10 * KEPT_MAX).unwrap();
    assert_eq!(times, (newest - i64::try_from(KEPT_MAX).unwrap()..newest).rev().collect::<Vec<_>>());
}

#[test]
fn nothing_of_who_called_is_kept_but_the_role() {
    let recent = Recent::new(Now::read());
    let mut entry = closed(Action::Refused, Reason::NonFinite);
    entry.record.workload = "spiffe://x/secret-workload".to_owned();
    entry.record.detail = "secret-field".to_owned();
    entry.record.study = "secret-study".to_owned();
    entry.record.emergency = "secret-emergency".to_owned();
    entry.observation.peer = "192.0.2.7".to_owned();
    recent.observe(&entry);
    let told = format!("{:?}", recent.refused());
    for word in ["dns:ward", "case-7", "secret", "192.0.2.7"] {
        assert!(!told.contains(word), "{word} in {told}");
    }
    assert!(told.contains("clinician"), "{told}");
}

#[test]
fn what_was_simply_answered_is_counted_and_not_listed() {
    let began = Now::read();
    let recent = Recent::new(began);
    recent.observe(&ended(began, Duration::ZERO, Action::Allowed, Reason::Clean));
    assert!(recent.judged().is_empty() && recent.refused().is_empty());
    assert_eq!(recent.window(began).total(Action::Allowed), 1);
}

#[test]
fn probes_and_questions_about_models_do_not_drown_the_rest() {
    let recent = Recent::new(Now::read());
    let mut entry = closed(Action::Allowed, Reason::Clean);
    entry.record.rpc = Some(Rpc::ModelMetadata);
    recent.observe(&entry);
    assert_eq!(recent.window(Now::read()).total(Action::Allowed), 0);
    entry.record.action = Action::Refused;
    recent.observe(&entry);
    assert_eq!(recent.window(Now::read()).total(Action::Refused), 1);
    assert_eq!(recent.refused().len(), 1);
}

#[test]
fn each_action_is_listed_where_it_belongs() {
    for (action, shadowed, judged, refused) in [
        (Action::Allowed, None, 0, 0),
        (Action::Allowed, Some(Action::Withheld), 1, 0),
        (Action::Flagged, None, 1, 0),
        (Action::Abstained, None, 1, 0),
        (Action::Withheld, None, 1, 0),
        (Action::FellBack, None, 1, 0),
        (Action::Refused, None, 0, 1),
        (Action::Abandoned, None, 0, 1),
    ] {
        let recent = Recent::new(Now::read());
        let mut entry = closed(action, Reason::Anomalous);
        entry.observation.shadowed = shadowed;
        recent.observe(&entry);
        assert_eq!((recent.judged().len(), recent.refused().len()), (judged, refused), "{action}");
    }
}

#[test]
fn a_stage_that_ran_twice_is_listed_once_and_in_order() {
    let mut entry = closed(Action::Flagged, Reason::Anomalous);
    let again: Vec<_> = entry.observation.stages.iter().rev().copied().collect();
    entry.observation.stages.extend(again);
    let recent = Recent::new(Now::read());
    recent.observe(&entry);
    let ms = Duration::from_millis;
    assert_eq!(recent.judged()[0].stages, [(Stage::Decode, ms(2)), (Stage::Infer, ms(4))]);
}

#[test]
fn what_happened_leaves_the_window_after_five_minutes_and_its_place_is_used_again() {
    let began = Now::read();
    let recent = Recent::new(began);
    let window = SLOT * u32::try_from(SLOTS).unwrap();
    recent.observe(&ended(began, SLOT / 2, Action::Flagged, Reason::Anomalous));
    let first = recent.window(later(began, SLOT / 2));
    assert_eq!(first.of(Action::Flagged).collect::<Vec<_>>()[SLOTS - 1], 1);
    let before_its_end = recent.window(later(began, window.saturating_sub(Duration::from_millis(1))));
    assert_eq!(before_its_end.of(Action::Flagged).collect::<Vec<_>>()[0], 1);
    assert_eq!(recent.window(later(began, window)).total(Action::Flagged), 0);
    recent.observe(&ended(began, window + SLOT / 2, Action::Refused, Reason::Malformed));
    // Five minutes late: its place is another's.
    recent.observe(&ended(began, SLOT / 2, Action::Flagged, Reason::Anomalous));
    let last = recent.window(later(began, window + SLOT / 2));
    assert_eq!((last.total(Action::Flagged), last.total(Action::Refused)), (0, 1));
}

#[test]
fn times_are_of_requests_that_came_to_the_queue_or_the_model() {
    let began = Now::read();
    let recent = Recent::new(began);
    let mut refused = ended(began, Duration::ZERO, Action::Refused, Reason::RateLimited);
    (refused.observation.rows_run, refused.observation.stages) = (0, Vec::new());
    recent.observe(&refused);
    assert_eq!(recent.window(began).whole.all, None);
    // Time ran out in the queue, or in a run that was stopped: no row came of either.
    for stage in [Stage::Queue, Stage::Infer] {
        let mut late = ended(began, Duration::ZERO, Action::Refused, Reason::DeadlineExceeded);
        late.observation.stages.retain(|measured| measured.stage == Stage::Infer);
        late.observation.stages[0].stage = stage;
        (late.observation.rows, late.observation.copies, late.observation.rows_run) = (0, 0, 0);
        let before = recent.window(began).whole.all.map_or(0, |all| all.count);
        recent.observe(&late);
        assert_eq!(recent.window(began).whole.all.map(|all| all.count), Some(before + 1), "{stage}");
    }
    let recent = Recent::new(began);
    recent.observe(&ended(began, Duration::ZERO, Action::Allowed, Reason::Clean));
    let window = recent.window(began);
    assert_eq!(window.whole.all.map(|all| all.count), Some(1));
    let infer = window.stages[Stage::Infer as usize].all.unwrap();
    let truth = Duration::from_millis(2).as_secs_f64();
    assert!((infer.p50.as_secs_f64() / truth - 1.0).abs() <= 0.0625, "{infer:?}");
    assert_eq!(window.stages[Stage::Queue as usize].all, None);
}

#[test]
fn p_values_are_kept_of_each_row_under_its_model() {
    let recent = Recent::new(Now::read());
    let mut entry = closed(Action::Allowed, Reason::Clean);
    recent.observe(&entry);
    assert_eq!(recent.p_values("wdbc", "1", "a"), [0.0; 0]);
    (entry.observation.p_value, entry.observation.judged) = (Some(0.5), Some(judged_by("a")));
    recent.observe(&entry);
    entry.observation.p_value = Some(0.1);
    entry.observation.row_p_values = vec![0.7, 0.1];
    recent.observe(&entry);
    assert_eq!(recent.p_values("wdbc", "1", "a"), [0.5, 0.7, 0.1]);
    assert_eq!(recent.p_values("wdbc", "2", "a"), [0.0; 0]);
    assert_eq!(recent.p_values("wdbc", "1", "b"), [0.0; 0], "another calibration is served");
    entry.observation.judged = Some(judged_by("b"));
    recent.observe(&entry);
    assert_eq!(recent.p_values("wdbc", "1", "b"), [0.7, 0.1]);
    assert_eq!(recent.p_values("wdbc", "1", "a"), [0.0; 0]);
}
