//! Does a role hold when it should, and at no other time?

use super::*;
use std::time::{Duration, UNIX_EPOCH};

fn conditions(text: &str) -> Conditions {
    let mut mistakes = Vec::new();
    let conditions = Conditions::check(&toml::from_str(text).unwrap(), true, &mut mistakes);
    assert_eq!(mistakes, []);
    conditions
}

fn at(time: &str) -> Now {
    let timestamp: jiff::Timestamp = time.parse().unwrap();
    Now { wall: timestamp.into(), ..Now::read() }
}

fn meets(text: &str, sign_in: &SignIn, now: Now, address: Option<&str>) -> bool {
    conditions(text).unmet(sign_in, now, address.map(|address| address.parse().unwrap())).is_empty()
}

#[test]
fn hours_begin_and_end_where_the_role_lives() {
    let nobody = SignIn::default();
    for (text, time, holds) in [
        ("hours = '07:00-19:00'", "2026-11-22T06:59:59Z", false),
        ("hours = '07:00-19:00'", "2026-11-22T07:00:00Z", true),
        ("hours = '07:00-19:00'", "2026-11-22T18:59:59Z", true),
        ("hours = '07:00-19:00'", "2026-11-22T19:00:00Z", false),
        ("hours = '00:00-24:00'", "2026-11-22T23:59:59Z", true),
        ("hours = '19:00-07:00'", "2026-11-22T12:00:00Z", false),
        ("hours = '19:00-07:00'", "2026-11-22T19:00:00Z", true),
        ("hours = '19:00-07:00'", "2026-11-22T06:59:59Z", true),
        ("hours = '12:00-12:00'", "2026-11-22T12:00:00Z", false),
        // Winter and summer time.
        ("hours = '07:00-19:00'\ntime_zone = 'Europe/Berlin'", "2026-11-22T06:00:00Z", true),
        ("hours = '07:00-19:00'\ntime_zone = 'Europe/Berlin'", "2026-11-22T05:59:59Z", false),
        ("hours = '07:00-19:00'\ntime_zone = 'Europe/Berlin'", "2026-07-22T05:00:00Z", true),
    ] {
        assert_eq!(meets(text, &nobody, at(time), None), holds, "{text} at {time}");
    }
}

#[test]
fn hours_after_midnight_belong_to_the_day_on_which_they_began() {
    let nobody = SignIn::default();
    let night = "hours = '19:00-07:00'\ndays = ['sun']";
    for (text, time, holds) in [
        ("days = ['sun']", "2026-11-21T23:59:59Z", false),
        ("days = ['sun']", "2026-11-22T00:00:00Z", true),
        ("days = ['mon', 'sat']", "2026-11-22T12:00:00Z", false),
        ("days = ['mon']\ntime_zone = 'Asia/Tokyo'", "2026-11-22T15:00:00Z", true),
        (night, "2026-11-22T06:00:00Z", false),
        (night, "2026-11-22T19:00:00Z", true),
        (night, "2026-11-23T06:00:00Z", true),
        (night, "2026-11-23T19:00:00Z", false),
    ] {
        assert_eq!(meets(text, &nobody, at(time), None), holds, "{text} at {time}");
    }
}

#[test]
fn a_peer_is_in_a_network_by_its_address_and_a_socket_in_none() {
    let text = "networks = ['10.0.0.0/8', '2001:db8::/32']";
    for (address, holds) in [
        (None, false),
        (Some("11.0.0.1"), false),
        (Some("::1"), false),
        (Some("::ffff:11.0.0.1"), false),
        (Some("10.255.0.1"), true),
        (Some("::ffff:10.0.0.1"), true),
        (Some("2001:db8:1::1"), true),
    ] {
        assert_eq!(meets(text, &SignIn::default(), Now::read(), address), holds, "{address:?}");
    }
}

#[test]
fn what_a_token_does_not_say_is_not_met() {
    let now = Now { wall: UNIX_EPOCH + Duration::from_secs(100_000), ..Now::read() };
    let nobody = SignIn::default();
    let age = |seconds: i64| SignIn { auth_time: Some(100_000 - seconds), ..SignIn::default() };
    let amr = |method: &str| SignIn { amr: vec![method.to_owned()], ..SignIn::default() };
    let device = |compliant| SignIn { device_compliant: Some(compliant), ..SignIn::default() };
    for (text, sign_in, holds) in [
        ("acrs = ['c1']", nobody.clone(), false),
        ("mfa = true", nobody.clone(), false),
        ("mfa = true", amr("MFA"), false),
        ("mfa = true", amr("mfa"), true),
        ("mfa = false", nobody.clone(), true),
        ("device_compliant = true", nobody.clone(), false),
        ("device_compliant = true", device(false), false),
        ("device_compliant = true", device(true), true),
        ("authenticated_within = '15m'", nobody.clone(), false),
        ("authenticated_within = '15m'", age(901), false),
        ("authenticated_within = '15m'", age(900), true),
        ("authenticated_within = '15m'", age(-300), true),
        ("authenticated_within = '15m'", age(-301), false),
        ("authenticated_within = '15m'", SignIn { auth_time: Some(i64::MIN), ..nobody.clone() }, false),
        ("authenticated_within = '15m'", SignIn { auth_time: Some(i64::MAX), ..nobody.clone() }, false),
        ("", nobody.clone(), true),
    ] {
        assert_eq!(meets(text, &sign_in, now, None), holds, "{text}: {sign_in:?}");
    }
}

#[test]
fn times_are_read_in_seconds_minutes_hours_and_days() {
    for text in ["", "s", "8", "8H", "h8", "1.5h", "+8h", "8é", "99999999999999999999d", "31536001s"] {
        assert_eq!(duration(text), None, "{text}");
    }
    let seconds = ["30s", "15m", "8h", "7d"].map(|text| duration(text).unwrap().as_secs());
    assert_eq!(seconds, [30, 900, 28_800, 604_800]);
}
