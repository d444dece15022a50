//! How are numbers and times put for a person? With their units, few digits, and in UTC.
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a person reads two digits"
)]

use jiff::Timestamp;
use std::time::{Duration, SystemTime};

/// Holds a number and its unit together on a line.
const JOINED: char = '\u{a0}';
const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// How long something took: two digits or three, in the unit that fits.
pub(super) fn duration(took: Duration) -> String {
    let seconds = took.as_secs_f64();
    let (value, unit) = match took {
        _ if took < Duration::from_millis(1) => (seconds * 1e6, "µs"),
        _ if took < Duration::from_secs(1) => (seconds * 1e3, "ms"),
        _ => (seconds, "s"),
    };
    format!("{}{JOINED}{unit}", digits(value))
}

/// How long ago, or until then: the two largest units.
pub(super) fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    let two = |large: u64, name: &str, small: u64, rest: &str| match seconds % large / small {
        0 => format!("{}{JOINED}{name}", seconds / large),
        part => format!("{}{JOINED}{name} {part}{JOINED}{rest}", seconds / large),
    };
    match seconds {
        ..MINUTE => format!("{seconds}{JOINED}s"),
        MINUTE..HOUR => format!("{}{JOINED}min", seconds / MINUTE),
        HOUR..DAY => two(HOUR, "h", MINUTE, "min"),
        DAY.. if seconds < 30 * DAY => two(DAY, "d", HOUR, "h"),
        _ => format!("{}{JOINED}d", count(seconds / DAY)),
    }
}

/// A whole number, its thousands apart.
pub(super) fn count(count: u64) -> String {
    let plain = count.to_string();
    let mut text = String::with_capacity(plain.len() * 4 / 3);
    for (at, digit) in plain.chars().enumerate() {
        if at > 0 && (plain.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// As [`count`].
pub(super) fn size(size: usize) -> String {
    count(u64::try_from(size).unwrap_or(u64::MAX))
}

/// So many a second.
pub(super) fn rate(a_second: f64) -> String {
    if a_second == 0.0 { "0".to_owned() } else { digits(a_second) }
}

/// A share in percent; 100% and 0% mean all and none.
pub(super) fn percent(part: u64, all: u64) -> String {
    if all == 0 {
        return "–".to_owned();
    }
    match share(part as f64 / all as f64 * 100.0) {
        text if text == "100%" && part < all => ">99.9%".to_owned(),
        text => text,
    }
}

/// A promised share, as it was configured.
pub(super) fn promise(alpha: f64) -> String {
    // Up to twelve digits of what was written in decimal, and nothing of its binary form.
    let percent = (alpha * 100.0 * 1e10).round() / 1e10;
    format!("{percent}%")
}

fn share(percent: f64) -> String {
    match percent {
        0.0 => "0%".to_owned(),
        ..0.1 => "<0.1%".to_owned(),
        ..10.0 => format!("{percent:.1}%"),
        _ => format!("{percent:.0}%"),
    }
}

/// Hours, minutes and seconds of the day in UTC, after the day where it is another than that of `now`.
pub(super) fn moment(at: Timestamp, now: Timestamp) -> String {
    let day = |at: Timestamp| at.strftime("%F").to_string();
    let format = if day(at) == day(now) { "%T" } else { "%F %T" };
    at.strftime(format).to_string()
}

/// A day in UTC.
pub(super) fn day(at: Timestamp) -> String {
    at.strftime("%F").to_string()
}

/// A day and a minute in UTC.
pub(super) fn minute(at: Timestamp) -> String {
    at.strftime("%F %H:%M").to_string()
}

/// The timestamp of a time; the epoch for what no calendar knows.
pub(super) fn timestamp(at: SystemTime) -> Timestamp {
    Timestamp::try_from(at).unwrap_or_default()
}

/// Two digits, or the whole number.
fn digits(value: f64) -> String {
    match value {
        ..0.095 => format!("{value:.2}"),
        ..9.95 => format!("{value:.1}"),
        ..1e15 => count(value.round() as u64),
        _ => "∞".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_digits_and_the_unit_that_fits() {
        for (nanoseconds, text) in [
            (0, "0.00 µs"),
            (40, "0.04 µs"),
            (940, "0.9 µs"),
            (12_345, "12 µs"),
            (999_600, "1,000 µs"),
            (1_260_000, "1.3 ms"),
            (432_000_000, "432 ms"),
            (3_000_000_000, "3.0 s"),
            (61_500_000_000, "62 s"),
        ] {
            let told = duration(Duration::from_nanos(nanoseconds)).replace(JOINED, " ");
            assert_eq!(told, text);
        }
    }

    #[test]
    fn ages_have_their_two_largest_units() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (61, "1 min"),
            (3_600, "1 h"),
            (3_720, "1 h 2 min"),
            (2 * DAY + 5 * HOUR + 9, "2 d 5 h"),
            (30 * DAY, "30 d"),
            (1_234 * DAY, "1,234 d"),
        ] {
            assert_eq!(age(Duration::from_secs(seconds)).replace(JOINED, " "), text);
        }
    }

    #[test]
    fn counts_rates_and_shares_are_short() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.0, 0.2, 9.94, 9.96, 38_400.0].map(rate), ["0", "0.2", "9.9", "10", "38,400"]);
        let shares = [(0, 0), (0, 9), (1, 9_000), (44, 1_000), (500, 1_000), (9_999, 10_000), (7, 7)];
        let told = shares.map(|(part, all)| percent(part, all));
        assert_eq!(told, ["–", "0%", "<0.1%", "4.4%", "50%", ">99.9%", "100%"]);
        assert_eq!([0.01, 0.05, 0.001, 0.07, 0.125].map(promise), ["1%", "5%", "0.1%", "7%", "12.5%"]);
    }

    #[test]
    fn a_moment_of_another_day_says_which() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let now = at("2026-11-22T19:25:07Z");
        assert_eq!(moment(at("2026-11-22T00:00:01.5Z"), now), "00:00:01");
        assert_eq!(moment(at("2026-11-21T23:59:59Z"), now), "2026-11-21 23:59:59");
        assert_eq!((day(now), minute(now)), ("2026-11-22".into(), "2026-11-22 19:25".into()));
    }
}
