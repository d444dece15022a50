//! Who has assumed a role for an emergency (break-glass), and for how long?
//!
//! Emergency access is a required procedure (HIPAA, 45 CFR 164.312(a)(2)(ii)), and the exception that an auditor
//! looks at first. So each window is alarmed when it opens and closed on record: DICOM audit event types
//! 110127 "Emergency Override Started" and 110138 "Emergency Override Stopped" (DICOM PS3.16, CID 401).
//! The reason is one of a closed list, so that no patient's data can get on record in it.
//!
//! The table is in memory: after a restart nobody has assumed anything, and the first call alarms again.

use super::Denial;
use super::rbac::Mistake;
use crate::clock::Now;
use crate::reason::Reason;
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use toml::Spanned;

/// Callers with a window in the last day; more do not find a place.
pub const PRINCIPALS_MAX: usize = 1024;

const REASON_BYTES_MAX: usize = 64;
const MINUTES_MAX: i64 = 24 * 60;
const PER_DAY_MAX: i64 = 24;
const DAY: Duration = Duration::from_hours(24);

/// Emergency access as written (`[roles.NAME.emergency]`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmergencySpec {
    /// Reasons that may be stated: `[a-z0-9-]`, at most 64 bytes each.
    pub reasons: Option<Spanned<Vec<String>>>,
    /// How long the role is assumed.
    pub minutes: Option<Spanned<i64>>,
    /// How many times in 24 hours a principal may assume it.
    pub per_day: Option<Spanned<i64>>,
}

/// Emergency access, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    reasons: Vec<Arc<str>>,
    minutes: u16,
    per_day: u8,
}

/// A role that is granted only while it is assumed: [`Emergencies::assume`] has to be asked as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assumed {
    /// The role.
    pub role: Arc<str>,
    /// Why, in a word of the access policy.
    pub reason: Arc<str>,
    /// How long it lasts.
    pub minutes: u16,
    /// How many times in 24 hours a principal may assume it.
    pub per_day: u8,
}

/// The time for which a role is assumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Whether this call opened it: raise the alarm, and record the start.
    pub started: bool,
    /// When it is over.
    pub ends: SystemTime,
}

/// A window that is over: record the stop.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ended {
    /// Who had assumed the role.
    pub principal: Arc<str>,
    /// The role.
    pub role: Arc<str>,
    /// The reason that was stated.
    pub reason: Arc<str>,
}

/// Windows by principal and role.
#[derive(Debug, Default)]
pub struct Emergencies {
    table: Mutex<HashMap<Key, Vec<Opened>>>,
}

type Key = (Arc<str>, Arc<str>);

/// One window. It is kept for a day, since it counts for so long.
#[derive(Debug)]
struct Opened {
    reason: Arc<str>,
    from: Instant,
    ends: Instant,
    /// Whether its end was reported.
    reported: bool,
}

impl Terms {
    /// Checks what is written; `whole` says that nothing of it was left out for a mistake found before.
    pub(super) fn check(
        spec: &Spanned<EmergencySpec>,
        whole: bool,
        mistakes: &mut Vec<Mistake>,
    ) -> Option<Self> {
        let EmergencySpec { reasons, minutes, per_day } = spec.get_ref();
        let mut number = |key: &str, written: &Option<Spanned<i64>>, max: i64| {
            let problem = format!("emergency: {key}: write a number from 1 to {max}");
            match written {
                Some(number) if (1..=max).contains(number.get_ref()) => return Some(*number.get_ref()),
                Some(number) => mistakes.push(Mistake::at(number, problem)),
                None if whole => mistakes.push(Mistake::at(spec, problem)),
                None => {}
            }
            None
        };
        let minutes = number("minutes", minutes, MINUTES_MAX);
        let per_day = number("per_day", per_day, PER_DAY_MAX);
        let Some(reasons) = reasons else {
            if whole {
                mistakes.push(Mistake::at(spec, "emergency: reasons: list the reasons that may be stated"));
            }
            return None;
        };
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let good =
            |reason: &String| (1..=REASON_BYTES_MAX).contains(&reason.len()) && reason.bytes().all(plain);
        if (whole && reasons.get_ref().is_empty()) || !reasons.get_ref().iter().all(good) {
            let problem =
                "emergency: reasons: write words such as `system-failure`: a-z, 0-9 and -, at most 64 bytes";
            mistakes.push(Mistake::at(reasons, problem));
        }
        let reasons = reasons.get_ref().iter().map(|reason| Arc::from(reason.as_str())).collect();
        let (minutes, per_day) = (u16::try_from(minutes?).ok()?, u8::try_from(per_day?).ok()?);
        Some(Self { reasons, minutes, per_day })
    }

    /// The role as it may be assumed for the reason that was stated; `None` if that is none of the list.
    pub(super) fn assumed(&self, role: &Arc<str>, stated: &str) -> Option<Assumed> {
        let reason = Arc::clone(self.reasons.iter().find(|reason| ***reason == *stated)?);
        Some(Assumed { role: Arc::clone(role), reason, minutes: self.minutes, per_day: self.per_day })
    }
}

impl Emergencies {
    /// Lets a call of `principal` pass under a role that it has assumed, or assumes now. Each reason has a
    /// window of its own, so that every reason that is stated is alarmed.
    ///
    /// # Errors
    /// The principal has opened as many windows in 24 hours as it may, or [`PRINCIPALS_MAX`] have a window:
    /// [`Reason::EmergencyRefused`].
    pub fn assume(&self, principal: &str, assumed: &Assumed, now: Now) -> Result<Window, Denial> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (Arc::from(principal), Arc::clone(&assumed.role));
        if let Some(windows) = table.get_mut(&key) {
            windows.retain(|window| window.counts(now));
            let open = windows.iter().find(|window| window.reason == assumed.reason && window.is_open(now));
            if let Some(open) = open {
                return Ok(Window { started: false, ends: now.wall_at(open.ends) });
            }
            if windows.len() >= usize::from(assumed.per_day) {
                let first = windows.iter().map(|window| window.from).min();
                return Err(too_often(assumed, first.map(|first| (first + DAY) - now.monotonic)));
            }
        } else if table.len() >= PRINCIPALS_MAX && !make_room(&mut table, now) {
            return Err(full());
        }
        let ends = now.monotonic + Duration::from_mins(assumed.minutes.into());
        let window =
            Opened { reason: Arc::clone(&assumed.reason), from: now.monotonic, ends, reported: false };
        table.entry(key).or_default().push(window);
        Ok(Window { started: true, ends: now.wall_at(ends) })
    }

    /// Takes a window back whose start could not be recorded: the next call opens it, and alarms, anew.
    pub fn withdraw(&self, principal: &str, assumed: &Assumed, now: Now) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (Arc::from(principal), Arc::clone(&assumed.role));
        let Some(windows) = table.get_mut(&key) else { return };
        windows.retain(|window| window.reason != assumed.reason || !window.is_open(now));
        if windows.is_empty() {
            table.remove(&key);
        }
    }

    /// Windows that are over and that were not told of before.
    #[must_use]
    pub fn ended(&self, now: Now) -> Vec<Ended> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ended = Vec::new();
        for ((principal, role), windows) in table.iter_mut() {
            for window in windows.iter_mut().filter(|window| !window.reported && !window.is_open(now)) {
                window.reported = true;
                ended.push(Ended {
                    principal: Arc::clone(principal),
                    role: Arc::clone(role),
                    reason: Arc::clone(&window.reason),
                });
            }
        }
        table.retain(|_, windows| windows.iter().any(|window| window.counts(now)));
        ended.sort();
        ended
    }

    /// How many windows are open, for the gauge.
    #[must_use]
    pub fn open(&self, now: Now) -> usize {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.values().flatten().filter(|window| window.is_open(now)).count()
    }
}

impl Opened {
    fn is_open(&self, now: Now) -> bool {
        now.monotonic < self.ends
    }

    /// Whether it still counts for the day, or its end has still to be told.
    fn counts(&self, now: Now) -> bool {
        !self.reported || now.monotonic < self.from + DAY
    }
}

/// Takes out what counts no more, else the caller whose last window ended first: its day begins anew then.
fn make_room(table: &mut HashMap<Key, Vec<Opened>>, now: Now) -> bool {
    table.retain(|_, windows| windows.iter().any(|window| window.counts(now)));
    if table.len() < PRINCIPALS_MAX {
        return true;
    }
    let over = |windows: &Vec<Opened>| windows.iter().all(|window| window.reported);
    let last_end = |windows: &Vec<Opened>| windows.iter().map(|window| window.ends).max();
    let ended = table.iter().filter(|(_, windows)| over(windows));
    let first = ended.min_by_key(|(_, windows)| last_end(windows)).map(|(key, _)| key.clone());
    first.is_some_and(|key| table.remove(&key).is_some())
}

fn too_often(assumed: &Assumed, retry_after: Option<Duration>) -> Denial {
    Denial {
        retry_after,
        detail: format!("roles.{}.emergency: per_day", assumed.role),
        ..Denial::new(
            Reason::EmergencyRefused,
            "you have assumed this role for emergencies as often as you may in 24 hours",
        )
    }
}

fn full() -> Denial {
    Denial {
        detail: format!("{PRINCIPALS_MAX} principals have assumed roles for emergencies"),
        ..Denial::new(Reason::EmergencyRefused, "too many callers have assumed roles for emergencies")
    }
}

#[cfg(test)]
mod tests;
