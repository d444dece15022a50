//! Is a role assumed for as long and as often as it may be, alarmed when it is, and closed on record?

use super::*;

fn assumed(reason: &str) -> Assumed {
    Assumed { role: "break-glass".into(), reason: reason.into(), minutes: 60, per_day: 2 }
}

fn later(now: Now, minutes: u64) -> Now {
    let time = Duration::from_mins(minutes);
    Now { monotonic: now.monotonic + time, wall: now.wall + time }
}

fn ended(principal: &str, reason: &str) -> Ended {
    Ended { principal: principal.into(), role: "break-glass".into(), reason: reason.into() }
}

#[test]
fn whoever_has_assumed_the_role_too_often_is_refused_until_a_day_has_passed() {
    let (table, start) = (Emergencies::default(), Now::read());
    let assume = |minutes| table.assume("sub:ada", &assumed("fire"), later(start, minutes));
    assert!(assume(0).unwrap().started && assume(100).unwrap().started);
    assert!(!assume(159).unwrap().started);
    drop(table.ended(later(start, 160)));
    let denial = assume(160).unwrap_err();
    assert_eq!(denial.reason, Reason::EmergencyRefused);
    assert_eq!(denial.retry_after, Some(Duration::from_mins(24 * 60 - 160)));
    assert_eq!(denial.detail, "roles.break-glass.emergency: per_day");
    assert!(table.assume("sub:bob", &assumed("fire"), later(start, 160)).is_ok());
    assert!(assume(24 * 60 - 1).is_err());
    assert!(assume(24 * 60).unwrap().started);
}

#[test]
fn only_the_first_call_of_a_window_is_alarmed_and_each_reason_has_its_own() {
    let (table, start) = (Emergencies::default(), Now::read());
    let assume = |reason, minutes| table.assume("sub:ada", &assumed(reason), later(start, minutes)).unwrap();
    let first = assume("fire", 0);
    assert_eq!(first, Window { started: true, ends: later(start, 60).wall });
    assert_eq!(assume("fire", 59), Window { started: false, ..first });
    assert!(assume("flood", 59).started);
    assert_eq!(table.open(later(start, 59)), 2);
    assert_eq!(table.open(later(start, 60)), 1);
}

#[test]
fn a_window_whose_start_could_not_be_recorded_is_none_and_the_next_call_alarms_again() {
    let (table, start) = (Emergencies::default(), Now::read());
    let assume = |reason, minutes| table.assume("sub:ada", &assumed(reason), later(start, minutes)).unwrap();
    assert!(assume("flood", 0).started && assume("fire", 0).started);
    table.withdraw("sub:ada", &assumed("fire"), start);
    assert_eq!(table.open(start), 1);
    assert!(assume("fire", 1).started && !assume("flood", 1).started);
    table.withdraw("sub:bob", &assumed("fire"), start);
    assert_eq!(table.ended(later(start, 61)), [ended("sub:ada", "fire"), ended("sub:ada", "flood")]);
}

#[test]
fn the_end_of_a_window_is_told_once() {
    let (table, start) = (Emergencies::default(), Now::read());
    for (principal, reason, minutes) in
        [("sub:bob", "fire", 0), ("sub:ada", "flood", 0), ("sub:ada", "fire", 5)]
    {
        table.assume(principal, &assumed(reason), later(start, minutes)).unwrap();
    }
    assert_eq!(table.ended(later(start, 59)), []);
    assert_eq!(table.ended(later(start, 60)), [ended("sub:ada", "flood"), ended("sub:bob", "fire")]);
    assert_eq!(table.ended(later(start, 65)), [ended("sub:ada", "fire")]);
    assert_eq!(table.ended(later(start, 9999)), []);
    assert_eq!(table.open(later(start, 65)), 0);
}

#[test]
fn an_end_that_was_not_told_yet_is_not_forgotten() {
    let (table, start) = (Emergencies::default(), Now::read());
    let days = 3 * 24 * 60;
    table.assume("sub:ada", &assumed("fire"), start).unwrap();
    table.assume("sub:ada", &assumed("fire"), later(start, days)).unwrap();
    assert_eq!(table.ended(later(start, days)), [ended("sub:ada", "fire")]);
    assert_eq!(table.ended(later(start, days + 60)), [ended("sub:ada", "fire")]);
}

#[test]
fn a_full_table_gives_up_windows_that_are_over_and_no_other() {
    let (table, start) = (Emergencies::default(), Now::read());
    let size = || table.table.lock().unwrap().len();
    for number in 0..PRINCIPALS_MAX {
        let opened = if number == 7 { start } else { later(start, 1) };
        table.assume(&format!("sub:{number}"), &assumed("fire"), opened).unwrap();
    }
    let newcomer = |minutes| table.assume("sub:new", &assumed("fire"), later(start, minutes));
    assert_eq!(newcomer(59).unwrap_err().reason, Reason::EmergencyRefused);
    // Over, but its end is not on record.
    assert!(newcomer(60).is_err());
    assert_eq!(table.ended(later(start, 60)), [ended("sub:7", "fire")]);
    assert!(newcomer(60).unwrap().started);
    assert_eq!(size(), PRINCIPALS_MAX);
    assert!(!table.assume("sub:8", &assumed("fire"), later(start, 60)).unwrap().started);
    drop(table.ended(later(start, 24 * 60 + 60)));
    assert_eq!(table.ended(later(start, 48 * 60)), []);
    assert_eq!(size(), 0);
}
