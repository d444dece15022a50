//! One test a model version and calibration, one alarm a test, and nothing of what no calibration judged.

use super::*;
use crate::audit::memory::MemoryLedger;
use crate::audit::pseudonym::Pseudonyms;
use crate::audit::{Auditor, Entry, Opening, Outcome};
use crate::calibration::promise::Promise;
use crate::reason::{Action, Reason, Status};
use crate::trace::RequestId;

fn promised(calibration: &str) -> Arc<Promised> {
    let promises = vec![Promise::new(0.05, 1000)];
    Arc::new(Promised { calibration: calibration.to_owned(), site: String::new(), alpha: 0.05, promises })
}

fn settings(enabled: bool) -> Settings {
    Settings { flag_rate: flag_rate::Settings { enabled, ..flag_rate::Settings::default() } }
}

/// Closes `requests` entries, of `rows` rows each, through a real auditor.
fn send(watchers: &Arc<Watchers>, model: &str, judged: Option<&Judged>, requests: usize) {
    let observers: Vec<Arc<dyn Observer>> = vec![Arc::clone(watchers) as _];
    let ledger = Box::new(MemoryLedger::new(1024));
    let auditor = Arc::new(Auditor::new(ledger, observers, Pseudonyms::new(b"a key for tests")));
    for n in 0..requests {
        let request_id = RequestId::new(n as u128);
        let opening = Opening { now: Now::read(), request_id, parent: None, peer: "", rpc: None };
        let mut entry = Entry::open(Arc::clone(&auditor), &opening);
        entry.model(model, "1");
        entry.observe(|observation| observation.judged = judged.cloned());
        let (action, reason) = (Action::Allowed, Reason::Clean);
        entry.close(Outcome { action, reason, status: Status::Ok, detail: String::new() }).unwrap();
    }
}

fn judged(rows: u64, flagged: u64, calibration: &str) -> Judged {
    Judged { rows, flagged, promised: promised(calibration) }
}

#[test]
fn a_request_without_evidence_is_seen_by_nobody() {
    let watchers = Arc::new(Watchers::new(settings(true)));
    send(&watchers, "digits", None, 100);
    assert!(watchers.flag_rate("digits", "1", "a").is_none());
    let off = Arc::new(Watchers::new(settings(false)));
    send(&off, "digits", Some(&judged(1, 1, "a")), 100);
    assert!(off.flag_rate("digits", "1", "a").is_none() && off.take_raised().is_empty());
}

#[test]
fn an_alarm_is_raised_once_for_the_model_whose_rows_are_flagged() {
    let watchers = Arc::new(Watchers::new(settings(true)));
    send(&watchers, "wdbc", Some(&judged(10, 0, "a")), 100);
    send(&watchers, "digits", Some(&judged(2, 2, "b")), 100);
    let raised = watchers.take_raised();
    assert_eq!(raised.len(), 1);
    assert_eq!((raised[0].model.as_str(), raised[0].version.as_str()), ("digits", "1"));
    assert!(watchers.take_raised().is_empty(), "taken once");
    assert!(watchers.flag_rate("wdbc", "1", "a").unwrap().alarm.is_none());
    assert!(watchers.flag_rate("digits", "1", "b").unwrap().alarm.is_some());
    assert_eq!(
        (watchers.alarms("digits", "1"), watchers.alarms("wdbc", "1"), watchers.alarms("x", "1")),
        (1, 0, 0)
    );
    watchers.put_back(raised[0].clone());
    assert_eq!(watchers.take_raised()[0].alarm, raised[0].alarm);
}

#[test]
fn a_new_calibration_begins_a_new_test_and_keeps_the_count_of_alarms() {
    let watchers = Arc::new(Watchers::new(settings(true)));
    send(&watchers, "digits", Some(&judged(1, 1, "old")), 20);
    assert!(watchers.flag_rate("digits", "1", "old").unwrap().alarm.is_some());
    send(&watchers, "digits", Some(&judged(1, 0, "new")), 1);
    let status = watchers.flag_rate("digits", "1", "new").unwrap();
    assert!(status.alarm.is_none());
    assert_eq!(status.seen, flag_rate::Counts { rows: 1, flagged: 0 });
    assert!(watchers.flag_rate("digits", "1", "old").is_none());
    send(&watchers, "digits", Some(&judged(1, 1, "new")), 20);
    assert_eq!((watchers.take_raised().len(), watchers.alarms("digits", "1")), (2, 2));
}

#[test]
fn a_promise_that_nothing_can_break_is_not_tested() {
    let nothing = Judged {
        promised: Arc::new(Promised { promises: Vec::new(), ..Promised::clone(&promised("a")) }),
        ..judged(1, 1, "a")
    };
    let watchers = Arc::new(Watchers::new(settings(true)));
    send(&watchers, "digits", Some(&nothing), 100);
    assert!(watchers.take_raised().is_empty());
}
