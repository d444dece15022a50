//! Conditions as written: what do they mean, and what is to be mended?

use super::{Conditions, Hours, Times};
use crate::admission::Challenge;
use crate::admission::rbac::Mistake;
use crate::identity::jwt;
use ipnet::IpNet;
use jiff::tz::TimeZone;
use serde::Deserialize;
use std::time::Duration;
use toml::Spanned;

/// The longest time that `authenticated_within` takes.
const WITHIN_DAYS_MAX: u64 = 365;

const MINUTES_A_DAY: u16 = 24 * 60;

/// Conditions as written (`[roles.NAME.conditions]`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConditionsSpec {
    /// Authentication contexts; all of them have to be satisfied (`acrs`, else `acr`).
    pub acrs: Option<Spanned<Vec<String>>>,
    /// Whether `amr` has to contain `mfa` (RFC 8176, section 2).
    pub mfa: bool,
    /// Whether the token has to say that the device is compliant.
    pub device_compliant: bool,
    /// How long ago the person may have authenticated (`auth_time`): `30s`, `15m`, `8h` or `7d`.
    pub authenticated_within: Option<Spanned<String>>,
    /// Networks of which the peer's address has to be in one.
    pub networks: Option<Spanned<Vec<Spanned<String>>>>,
    /// `HH:MM-HH:MM` on the clock of `time_zone`, the end excluded; may pass midnight.
    pub hours: Option<Spanned<String>>,
    /// Days of the week; hours after midnight belong to the day on which they began.
    pub days: Option<Spanned<Vec<Day>>>,
    /// A name of the IANA time zone database. Default: UTC.
    pub time_zone: Option<Spanned<String>>,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Day {
    /// Monday.
    Mon,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
    /// Thursday.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
    /// Sunday.
    Sun,
}

/// How the claim is called unless the settings of tokens say otherwise.
fn default_device_claim() -> String {
    jwt::Settings::default().device_claim
}

impl Conditions {
    /// Checks what is written, and adds each mistake to `mistakes`. `whole` says that nothing of it was left
    /// out for a mistake found before: what is empty then was written so.
    pub(in crate::admission) fn check(
        spec: &ConditionsSpec,
        whole: bool,
        mistakes: &mut Vec<Mistake>,
    ) -> Self {
        let mut challenge = Challenge {
            mfa: spec.mfa,
            device_claim: spec.device_compliant.then(default_device_claim),
            ..Challenge::default()
        };
        if let Some(acrs) = &spec.acrs {
            // They stand in a header's quotes when a caller is told what to sign in with (RFC 9470).
            let plain = |acr: &String| {
                !acr.is_empty() && acr.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\'))
            };
            if (whole && acrs.get_ref().is_empty()) || !acrs.get_ref().iter().all(plain) {
                let problem = "acrs: name each context in visible ASCII without quotes, or leave the key out";
                mistakes.push(Mistake::at(acrs, problem));
            }
            challenge.acrs.clone_from(acrs.get_ref());
        }
        if let Some(text) = &spec.authenticated_within {
            challenge.max_age = duration(text.get_ref());
            if challenge.max_age.is_none() {
                let problem = format!(
                    "authenticated_within `{}`: write a time such as 30s, 15m, 8h or 7d, at most {WITHIN_DAYS_MAX}d",
                    text.get_ref()
                );
                mistakes.push(Mistake::at(text, problem));
            }
        }
        let networks = spec.networks.as_ref().map(|written| networks(written, whole, mistakes));
        Self { challenge, networks, times: times(spec, whole, mistakes) }
    }
}

impl Hours {
    fn parse(text: &str) -> Option<Self> {
        let (from, to) = text.split_once('-')?;
        let from = minute_of_day(from).filter(|minute| *minute < MINUTES_A_DAY)?;
        Some(Self { from, to: minute_of_day(to)? })
    }
}

/// `HH:MM`, up to `24:00`.
fn minute_of_day(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let number = |digits: &str| {
        let two = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse::<u16>().ok().filter(|_| two)
    };
    let (hour, minute) = (number(hour)?, number(minute)?);
    let total = hour * 60 + minute;
    (minute < 60 && total <= MINUTES_A_DAY).then_some(total)
}

/// `30s`, `15m`, `8h` or `7d`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let unit = match text.chars().next_back()? {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        _ => return None,
    };
    let digits = text.get(..text.len() - 1).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?;
    let seconds = digits.parse::<u64>().ok()?.checked_mul(unit)?;
    (1..=WITHIN_DAYS_MAX * 24 * 60 * 60).contains(&seconds).then(|| Duration::from_secs(seconds))
}

fn networks(written: &Spanned<Vec<Spanned<String>>>, whole: bool, mistakes: &mut Vec<Mistake>) -> Vec<IpNet> {
    if whole && written.get_ref().is_empty() {
        mistakes.push(Mistake::at(written, "networks: name at least one, or leave the key out"));
    }
    let mut networks = Vec::new();
    for text in written.get_ref() {
        match text.get_ref().parse::<IpNet>() {
            // Bits beyond the prefix mean that one address was meant, or another prefix.
            Ok(network) if network.trunc() == network => networks.push(network),
            Ok(network) => {
                let problem =
                    format!("network `{}`: write `{}`, or a longer prefix", text.get_ref(), network.trunc());
                mistakes.push(Mistake::at(text, problem));
            }
            Err(_) => {
                let problem =
                    format!("network `{}`: write an address and a prefix, as 10.0.0.0/8", text.get_ref());
                mistakes.push(Mistake::at(text, problem));
            }
        }
    }
    networks
}

fn times(spec: &ConditionsSpec, whole: bool, mistakes: &mut Vec<Mistake>) -> Option<Times> {
    let hours = spec.hours.as_ref().and_then(|text| {
        let hours = Hours::parse(text.get_ref());
        if hours.is_none() {
            let problem = format!("hours `{}`: write HH:MM-HH:MM, as 07:00-19:00", text.get_ref());
            mistakes.push(Mistake::at(text, problem));
        }
        hours
    });
    let mut days = 0b111_1111;
    if let Some(written) = &spec.days {
        if whole && written.get_ref().is_empty() {
            mistakes.push(Mistake::at(written, "days: name at least one, or leave the key out"));
        }
        days = written.get_ref().iter().fold(0, |days, day| days | 1 << *day as u8);
    }
    let mut zone = TimeZone::UTC;
    if let Some(name) = &spec.time_zone {
        let found = TimeZone::get(name.get_ref());
        if found.is_err() {
            let problem = format!(
                "time_zone `{}`: write a name of the IANA database, as Europe/Berlin",
                name.get_ref()
            );
            mistakes.push(Mistake::at(name, problem));
        }
        zone = found.unwrap_or(zone);
    }
    (spec.hours.is_some() || spec.days.is_some()).then_some(Times { hours, days, zone })
}
