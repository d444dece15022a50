//! Under which circumstances does a role hold? Sign-in, network and hours, judged from the headers alone.
//!
//! Each condition that is written has to be met. What a token does not say is not met.

mod written;

pub(crate) use written::duration;
pub use written::{ConditionsSpec, Day};

use super::Challenge;
use crate::clock::Now;
use crate::identity::SignIn;
use ipnet::IpNet;
use jiff::tz::TimeZone;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// How far the clock of whoever signs tokens may be ahead of ours.
const CLOCK_SKEW_SECONDS: i64 = 300;

/// Conditions, checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conditions {
    challenge: Challenge,
    networks: Option<Vec<IpNet>>,
    times: Option<Times>,
}

/// When a role holds.
#[derive(Clone, Debug, PartialEq)]
struct Times {
    hours: Option<Hours>,
    /// One bit a day, Monday the lowest; all seven when none are named.
    days: u8,
    zone: TimeZone,
}

/// Minutes after midnight, the end excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hours {
    from: u16,
    to: u16,
}

/// One thing that a role asks for besides membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Authentication contexts.
    Acrs,
    /// More than one factor.
    Mfa,
    /// A compliant device.
    DeviceCompliant,
    /// A recent sign-in.
    AuthenticatedWithin,
    /// The peer's network.
    Networks,
    /// Hours and days.
    Hours,
    /// The workload that makes the call.
    Workloads,
    /// Credentials that have to be presented together.
    Requires,
}

/// The conditions that are not met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unmet(u8);

impl Condition {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Acrs,
        Self::Mfa,
        Self::DeviceCompliant,
        Self::AuthenticatedWithin,
        Self::Networks,
        Self::Hours,
        Self::Workloads,
        Self::Requires,
    ];

    /// Its key in the access policy.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Acrs => "acrs",
            Self::Mfa => "mfa",
            Self::DeviceCompliant => "device_compliant",
            Self::AuthenticatedWithin => "authenticated_within",
            Self::Networks => "networks",
            Self::Hours => "hours",
            Self::Workloads => "workloads",
            Self::Requires => "requires",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }

    /// Whether another sign-in could meet it.
    fn is_of_sign_in(self) -> bool {
        match self {
            Self::Acrs | Self::Mfa | Self::DeviceCompliant | Self::AuthenticatedWithin => true,
            Self::Networks | Self::Hours | Self::Workloads | Self::Requires => false,
        }
    }
}

impl Unmet {
    /// One more.
    pub(super) fn add(&mut self, condition: Condition) {
        self.0 |= condition.bit();
    }

    /// Whether everything is met.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether this is among them.
    #[must_use]
    pub fn contains(self, condition: Condition) -> bool {
        self.0 & condition.bit() != 0
    }

    /// Whether a new sign-in alone would do.
    #[must_use]
    pub fn is_of_sign_in_alone(self) -> bool {
        !self.is_empty() && self.iter().all(Condition::is_of_sign_in)
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Condition> {
        Condition::ALL.into_iter().filter(move |condition| self.contains(*condition))
    }
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, condition) in self.iter().enumerate() {
            write!(f, "{}{}", if i == 0 { "" } else { ", " }, condition.as_str())?;
        }
        Ok(())
    }
}

impl Conditions {
    /// What is not met now, by a caller who has signed in so and comes from `address`.
    #[must_use]
    pub fn unmet(&self, sign_in: &SignIn, now: Now, address: Option<IpAddr>) -> Unmet {
        let mut unmet = Unmet::default();
        let Challenge { acrs, mfa, device_claim, max_age } = &self.challenge;
        if !acrs.iter().all(|asked| sign_in.acrs.contains(asked)) {
            unmet.add(Condition::Acrs);
        }
        if *mfa && !sign_in.amr.iter().any(|method| method == "mfa") {
            unmet.add(Condition::Mfa);
        }
        if device_claim.is_some() && sign_in.device_compliant != Some(true) {
            unmet.add(Condition::DeviceCompliant);
        }
        if max_age.is_some_and(|max_age| !recent(sign_in.auth_time, max_age, now)) {
            unmet.add(Condition::AuthenticatedWithin);
        }
        // A socket that takes both versions of IP shows an IPv4 peer as `::ffff:192.0.2.1`.
        let address = address.map(|address| address.to_canonical());
        let inside = |networks: &Vec<IpNet>| {
            address.is_some_and(|address| networks.iter().any(|network| network.contains(&address)))
        };
        if !self.networks.as_ref().is_none_or(inside) {
            unmet.add(Condition::Networks);
        }
        if !self.times.as_ref().is_none_or(|times| times.hold(now)) {
            unmet.add(Condition::Hours);
        }
        unmet
    }

    /// What a token has to say to meet the conditions of sign-in; equal to the default when there are none.
    #[must_use]
    pub fn challenge(&self) -> &Challenge {
        &self.challenge
    }

    /// By which claim tokens say whether the device is compliant.
    pub(super) fn name_device_claim(&mut self, claim: &str) {
        if let Some(named) = &mut self.challenge.device_claim {
            claim.clone_into(named);
        }
    }

    /// The conditions of sign-in, as if a caller met none of them.
    pub(super) fn of_sign_in(&self) -> Unmet {
        let mut asked = Unmet::default();
        for (is_asked, condition) in [
            (!self.challenge.acrs.is_empty(), Condition::Acrs),
            (self.challenge.mfa, Condition::Mfa),
            (self.challenge.device_claim.is_some(), Condition::DeviceCompliant),
            (self.challenge.max_age.is_some(), Condition::AuthenticatedWithin),
        ] {
            if is_asked {
                asked.add(condition);
            }
        }
        asked
    }

    /// Whether the hours have no length: nobody ever meets them.
    pub(super) fn never_hold(&self) -> bool {
        let hours = self.times.as_ref().and_then(|times| times.hours);
        hours.is_some_and(|hours| hours.from == hours.to)
    }
}

impl Times {
    fn hold(&self, now: Now) -> bool {
        let Ok(timestamp) = jiff::Timestamp::from_second(now.unix_seconds()) else { return false };
        let local = self.zone.to_datetime(timestamp);
        let minute = i16::from(local.hour()) * 60 + i16::from(local.minute());
        let Ok(minute) = u16::try_from(minute) else { return false };
        let (begun_today, within) = self.hours.map_or((true, true), |hours| hours.at(minute));
        let day = if begun_today { local.weekday() } else { local.weekday().previous() };
        within && self.days & (1 << day.to_monday_zero_offset()) != 0
    }
}

impl Hours {
    /// Whether the hours around this minute began today, and whether it is among them.
    fn at(self, minute: u16) -> (bool, bool) {
        let Self { from, to } = self;
        if from <= to {
            (true, (from..to).contains(&minute))
        } else {
            (minute >= from, minute >= from || minute < to)
        }
    }
}

/// Whether the person authenticated at most `max_age` ago.
fn recent(auth_time: Option<i64>, max_age: Duration, now: Now) -> bool {
    let max_age = i64::try_from(max_age.as_secs()).unwrap_or(i64::MAX);
    let age = auth_time.map(|time| now.unix_seconds().saturating_sub(time));
    age.is_some_and(|age| (-CLOCK_SKEW_SECONDS..=max_age).contains(&age))
}

#[cfg(test)]
mod tests;
