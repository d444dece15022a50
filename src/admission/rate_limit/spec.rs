//! Which limits does the access policy set? `[limits]` of access.toml as written, and checked.

use super::Unit;
use super::bucket::Sustained;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Callers of which the sidecar remembers what they have used, when `principals_max` is not set.
const PRINCIPALS_MAX: usize = 65_536;
/// Fewer are of no use, more are no limit; both in entries.
const PRINCIPALS: (usize, usize) = (1024, 1 << 20);
/// Calls in flight: as many as the whole sidecar may be given.
const IN_FLIGHT_MAX: usize = 1 << 20;
/// Requests in a second: as many as a bucket can tell apart.
const REQUESTS_PER_SECOND_MAX: u64 = super::bucket::CELLS_PER_SECOND_MAX;
/// Units of the other buckets in a second: a tebibyte, or as many microseconds.
const PER_SECOND_MAX: u64 = 1 << 40;
/// Seconds that may be saved up.
const BURST_SECONDS_MAX: u64 = 3600;
/// Units in a day: what `Day` counts up to.
const PER_DAY_MAX: u64 = super::day::COUNT_MAX;

/// `[limits]` as written. What is not set is not limited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Spec {
    /// Every principal by itself.
    pub each_principal: ScopeSpec,
    /// All members of a role together, by the role's name.
    pub roles: BTreeMap<String, ScopeSpec>,
    /// All callers of a model together, by the model's name.
    pub models: BTreeMap<String, ScopeSpec>,
    /// Principals of whom is remembered what they have used; beyond them the one least in use is forgotten.
    pub principals_max: usize,
}

/// The limits of one principal, role or model, as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScopeSpec {
    /// Requests.
    pub requests: Option<RateSpec>,
    /// Bytes of decoded tensors.
    pub bytes: Option<RateSpec>,
    /// Time on a compute thread, as estimated before the run, in milliseconds.
    pub compute_ms: Option<RateSpec>,
    /// Calls in flight at once. Of a principal the default is half of `limits.in_flight_max`.
    pub in_flight: Option<usize>,
}

/// The limits of one unit, as written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateSpec {
    /// Sustained, in units a second.
    pub per_second: Option<u64>,
    /// At once after a pause, in units; twice `per_second` when not set.
    pub burst: Option<u64>,
    /// From midnight to midnight UTC, in units.
    pub per_day: Option<u64>,
}

/// `[limits]`, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub(super) each_principal: Scope,
    pub(super) roles: BTreeMap<String, Scope>,
    pub(super) models: BTreeMap<String, Scope>,
    pub(super) principals_max: usize,
}

/// The limits of one principal, role or model, checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Scope {
    requests: Option<Rate>,
    bytes: Option<Rate>,
    compute: Option<Rate>,
    pub(super) in_flight: Option<usize>,
}

/// The limits of one unit, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    pub(super) sustained: Option<Sustained>,
    pub(super) per_day: Option<u64>,
}

/// What to mend in `[limits]`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct SpecError {
    /// As in `limits.roles.Radiologists.requests.burst`.
    pub key: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            each_principal: ScopeSpec::default(),
            roles: BTreeMap::new(),
            models: BTreeMap::new(),
            principals_max: PRINCIPALS_MAX,
        }
    }
}

impl Spec {
    /// The roles it names; whoever knows the roles checks that they exist.
    pub fn role_names(&self) -> impl Iterator<Item = &str> {
        self.roles.keys().map(String::as_str)
    }

    /// The models it names; whoever knows the models checks that they exist.
    pub fn model_names(&self) -> impl Iterator<Item = &str> {
        self.models.keys().map(String::as_str)
    }

    /// Checks every number.
    ///
    /// # Errors
    /// The first mistake, by its key: a number out of range, a burst without a rate, a table that limits nothing.
    pub fn check(&self) -> Result<Limits, SpecError> {
        let (least, most) = PRINCIPALS;
        let principals_max = within(self.principals_max, least, most)
            .map_err(|problem| SpecError { key: "limits.principals_max".into(), problem })?;
        let each_principal = self.each_principal.check("limits.each_principal")?;
        let all = |kind: &str, specs: &BTreeMap<String, ScopeSpec>| {
            let check = |(name, spec): (&String, &ScopeSpec)| {
                let key = format!("limits.{kind}.{name}");
                let scope = spec.check(&key)?;
                if scope == Scope::default() {
                    return Err(SpecError {
                        key,
                        problem: "limits nothing; set a limit or leave it out".into(),
                    });
                }
                Ok((name.clone(), scope))
            };
            specs.iter().map(check).collect::<Result<BTreeMap<_, _>, _>>()
        };
        let (roles, models) = (all("roles", &self.roles)?, all("models", &self.models)?);
        Ok(Limits { each_principal, roles, models, principals_max })
    }
}

impl ScopeSpec {
    fn check(&self, at: &str) -> Result<Scope, SpecError> {
        let rate = |unit: Unit, spec: Option<RateSpec>| {
            let check = |spec: RateSpec| {
                let error = |(key, problem)| SpecError { key: format!("{at}.{}{key}", unit.key()), problem };
                spec.check(unit).map_err(error)
            };
            spec.map(check).transpose()
        };
        let in_flight = self.in_flight.map(|max| within(max, 1, IN_FLIGHT_MAX)).transpose();
        Ok(Scope {
            requests: rate(Unit::Requests, self.requests)?,
            bytes: rate(Unit::Bytes, self.bytes)?,
            compute: rate(Unit::Compute, self.compute_ms)?,
            in_flight: in_flight.map_err(|problem| SpecError { key: format!("{at}.in_flight"), problem })?,
        })
    }
}

impl RateSpec {
    fn check(self, unit: Unit) -> Result<Rate, (&'static str, String)> {
        let scale = unit.scale();
        let per_second_max = match unit {
            Unit::Requests => REQUESTS_PER_SECOND_MAX,
            Unit::Bytes | Unit::Compute => PER_SECOND_MAX,
        };
        let scaled = |key: &'static str, value: Option<u64>, most: u64| {
            let within =
                |value| Ok(within(value, 1, most / scale).map_err(|problem| (key, problem))? * scale);
            value.map(within).transpose()
        };
        let per_day = scaled(".per_day", self.per_day, PER_DAY_MAX)?;
        let Some(per_second) = scaled(".per_second", self.per_second, per_second_max)? else {
            if self.burst.is_some() {
                return Err((".burst", "set `per_second` beside it".into()));
            }
            if per_day.is_none() {
                return Err(("", "limits nothing; set `per_second` or `per_day`, or leave it out".into()));
            }
            return Ok(Rate { sustained: None, per_day });
        };
        let burst = scaled(".burst", self.burst, per_second * BURST_SECONDS_MAX)?;
        let sustained = Sustained::new(per_second, burst.unwrap_or(per_second * 2));
        Ok(Rate { sustained: Some(sustained), per_day })
    }
}

impl Scope {
    pub(super) fn rate(&self, unit: Unit) -> Option<&Rate> {
        match unit {
            Unit::Requests => self.requests.as_ref(),
            Unit::Bytes => self.bytes.as_ref(),
            Unit::Compute => self.compute.as_ref(),
        }
    }

    /// Whether a bucket of `unit` means the same under both.
    pub(super) fn same_bucket(&self, other: &Self, unit: Unit) -> bool {
        let sustained = |scope: &Self| scope.rate(unit).and_then(|rate| rate.sustained);
        sustained(self) == sustained(other)
    }
}

fn within<N: Copy + PartialOrd + std::fmt::Display>(value: N, least: N, most: N) -> Result<N, String> {
    if value < least || value > most {
        return Err(format!("{value} is not between {least} and {most}"));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Limits, String> {
        let spec: Spec = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        spec.check().map_err(|error| error.to_string())
    }

    #[test]
    fn a_mistake_is_named_by_its_key() {
        for (text, expected) in [
            ("each_principals = {}", "unknown field `each_principals`"),
            ("each_principal = { request = {} }", "unknown field `request`"),
            ("each_principal = { requests = { per_minute = 1 } }", "unknown field `per_minute`"),
            ("each_principal = { requests = { per_second = -1 } }", "invalid value: integer `-1`"),
            ("each_principal = { requests = { per_second = 0.5 } }", "invalid type: floating point"),
            ("each_principal = { requests = {} }", "limits.each_principal.requests: limits nothing"),
            (
                "each_principal = { requests = { per_second = 0 } }",
                "limits.each_principal.requests.per_second: 0 is not between 1 and 1000000",
            ),
            (
                "each_principal = { requests = { burst = 5 } }",
                "limits.each_principal.requests.burst: set `per_second` beside it",
            ),
            (
                "roles.Readers = { bytes = { per_second = 2, burst = 7201 } }",
                "limits.roles.Readers.bytes.burst: 7201 is not between 1 and 7200",
            ),
            (
                "roles.Readers = { bytes = { per_second = 2, burst = 0 } }",
                "limits.roles.Readers.bytes.burst: 0 is not between 1 and 7200",
            ),
            (
                "models.wdbc = { compute_ms = { per_day = 18446744073709551615 } }",
                "limits.models.wdbc.compute_ms.per_day: 18446744073709551615 is not between 1 and 281474976710",
            ),
            (
                "models.wdbc = { in_flight = 0 }",
                "limits.models.wdbc.in_flight: 0 is not between 1 and 1048576",
            ),
            ("models.wdbc = {}", "limits.models.wdbc: limits nothing"),
            ("principals_max = 1000", "limits.principals_max: 1000 is not between 1024 and 1048576"),
            ("principals_max = 2000000", "limits.principals_max: 2000000 is not between 1024 and 1048576"),
        ] {
            let found = check(text).unwrap_err();
            assert!(found.starts_with(expected), "{text}: {found}");
        }
    }

    #[test]
    fn what_is_not_set_is_not_limited() {
        let limits = check("").unwrap();
        assert_eq!(limits.each_principal, Scope::default());
        assert_eq!(limits.principals_max, 65_536);
    }

    #[test]
    fn every_part_is_optional_and_a_burst_is_two_seconds() {
        let limits = check(
            "each_principal = { requests = { per_second = 3 }, bytes = { per_day = 5 }, in_flight = 7 }
             roles.Readers.compute_ms = { per_second = 1500, burst = 6000, per_day = 9 }
             models.wdbc = { in_flight = 2 }",
        )
        .unwrap();
        let each = limits.each_principal;
        assert_eq!(each.requests.unwrap().sustained, Some(Sustained::new(3, 6)));
        assert_eq!(each.bytes.unwrap(), Rate { sustained: None, per_day: Some(5) });
        assert_eq!((each.compute, each.in_flight), (None, Some(7)));
        // Kept in microseconds: a run of a small model takes a fraction of a millisecond.
        let readers = limits.roles["Readers"].compute.unwrap();
        let sustained = Some(Sustained::new(1_500_000, 6_000_000));
        assert_eq!(readers, Rate { sustained, per_day: Some(9_000) });
        assert_eq!(limits.models["wdbc"].in_flight, Some(2));
    }

    #[test]
    fn it_names_its_roles_and_models() {
        let spec: Spec =
            toml::from_str("roles.A.in_flight = 1\nroles.B.in_flight = 1\nmodels.m.in_flight = 1").unwrap();
        assert_eq!(spec.role_names().collect::<Vec<_>>(), ["A", "B"]);
        assert_eq!(spec.model_names().collect::<Vec<_>>(), ["m"]);
    }
}
