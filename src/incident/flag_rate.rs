//! Are more rows judged anomalous than calibration promised? A sequential test that may look after every row.
//!
//! For each rate q of a grid above the tolerated rate t, and each row s at which the rate may have changed, the
//! likelihood ratio of q against t since s is a bet that loses in expectation as long as each row is flagged with
//! probability at most t, whatever came before: a nonnegative supermartingale started at s. Their sum over s is an
//! e-detector (Shin, Ramdas and Rinaldo, E-detectors: a nonparametric framework for sequential change detection,
//! New England Journal of Statistics in Data Science 2(2), 2024), which needs one multiplication a row as the
//! Shiryaev-Roberts recursion does: E <- L (E + weight of s).
//!
//! Shiryaev and Roberts give every s the weight 1, and so promise an average run length: some false alarm every
//! 1/c rows, for ever. Here the weights of all s sum to 1. Then E plus the weights still to come is itself a
//! supermartingale that starts at 1, and Ville's inequality (1939) gives
//!
//! > P(a false alarm ever, however long it runs) <= `false_alarm_rate`,
//!
//! for which a change at row s is noticed later, by the time it takes to earn ln(1 / weight) ≈ ln s + 2 ln ln s.
//!
//! What is tested is the rate given this calibration, which is itself random: [`FlagRate::of`] spends half of the
//! rate of false alarms on a bound of it. Rows that depend on each other (one study sent twice, a client that
//! retries) can raise an alarm that is no drift; it says that somebody should look, and contains nobody.

use crate::calibration::promise::Promise;
use serde::{Deserialize, Serialize};

/// Alternatives: rates whose odds are [`ODDS_LEAST`] to [`ODDS_LEAST`] x [`ODDS_STEP`]^11 (some 420) times the
/// tolerated odds.
const ALTERNATIVES: usize = 12;
const ODDS_LEAST: f64 = 1.25;
const ODDS_STEP: f64 = 1.7;

/// Flagged rows that the recent rate remembers, if the rate is the tolerated one.
const RECENT_FLAGGED: f64 = 20.0;

/// When the watcher speaks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Whether it runs.
    pub enabled: bool,
    /// How likely it may ever raise an alarm for a calibration while traffic is as the calibration data were.
    pub false_alarm_rate: f64,
    /// Share of rows that this site expects to be judged anomalous rightly (bad exposures, other views), beyond
    /// the false alarms that calibration promises.
    pub expected: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { enabled: true, false_alarm_rate: 0.01, expected: 0.0 }
    }
}

/// The test for one calibration of one model version; a new calibration starts a new one. Some 500 bytes
/// whatever it has seen, and some 50 ns a row.
#[derive(Clone, Debug)]
pub struct FlagRate {
    tolerated: f64,
    threshold: f64,
    /// Likelihood ratios of each alternative for a row that was flagged, and one that was not.
    flagged: [f64; ALTERNATIVES],
    passed: [f64; ALTERNATIVES],
    prior: [f64; ALTERNATIVES],
    evidence: [f64; ALTERNATIVES],
    /// ln(rows + 2).
    ln_next: f64,
    recent: Recent,
    seen: Counts,
    alarm: Option<Alarm>,
}

/// Rows since the calibration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Rows judged by evidence.
    pub rows: u64,
    /// Rows of them judged anomalous.
    pub flagged: u64,
}

/// The rate is above the tolerated one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Alarm {
    /// What had been seen.
    pub seen: Counts,
    /// The rate of late, in an exponential window.
    pub recent_rate: f64,
    /// The rate that is no alarm.
    pub tolerated_rate: f64,
}

/// Where the test stands.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Status {
    /// What has been seen.
    pub seen: Counts,
    /// The rate of late, in an exponential window; 0 before the first row.
    pub recent_rate: f64,
    /// The rate that is no alarm.
    pub tolerated_rate: f64,
    /// Evidence for a higher rate, as a share of what raises the alarm: 0 to 1.
    pub evidence: f64,
    /// The alarm that stands until the next calibration.
    pub alarm: Option<Alarm>,
}

/// An exponential window, corrected for its start.
#[derive(Clone, Copy, Debug)]
struct Recent {
    keeps: f64,
    rows: f64,
    flagged: f64,
}

impl Settings {
    /// Whether the settings make sense.
    ///
    /// # Errors
    /// The key to mend, below `watchers`, and why.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let share = |value: f64| value > 0.0 && value < 1.0;
        if !share(self.false_alarm_rate) {
            return Err(("flag_rate.false_alarm_rate", "between 0 and 1, both excluded"));
        }
        if self.expected != 0.0 && !share(self.expected) {
            return Err(("flag_rate.expected", "at least 0 and less than 1"));
        }
        Ok(())
    }
}

impl FlagRate {
    /// Watches the rows that have a p-value of at most the promise's alpha.
    ///
    /// The tolerated rate is the one that this calibration keeps below with confidence 1 - rate/2 (see
    /// [`Promise::bound`]), plus what the site expects; the test has the other half. So P(a false alarm ever) is at
    /// most `false_alarm_rate`, over calibration and traffic. Where each predicted class has a promise of its own they
    /// share the half that bounds them, and the loosest bound is tolerated, whatever the mixture of classes.
    ///
    /// `None` if the promise is that nothing is judged anomalous, or the settings make no sense.
    #[must_use]
    pub fn of(promises: &[Promise], settings: &Settings) -> Option<Self> {
        settings.check().ok()?;
        let half = settings.false_alarm_rate / 2.0;
        let share = half / u32::try_from(promises.len()).ok().filter(|count| *count > 0).map(f64::from)?;
        let bound = promises.iter().map(|promise| promise.bound(1.0 - share)).fold(0.0, f64::max);
        Self::new(bound + settings.expected * (1.0 - bound), half)
    }

    /// Tests whether rows are flagged at a rate above `tolerated`. `None` unless both are between 0 and 1.
    #[must_use]
    pub fn new(tolerated: f64, false_alarm_rate: f64) -> Option<Self> {
        // Nearer to 0 or 1 the likelihood ratios would leave the range of f64.
        let sound = |value: f64| (1e-9..=1.0 - 1e-9).contains(&value);
        if !sound(tolerated) || !sound(false_alarm_rate) {
            return None;
        }
        let (mut flagged, mut passed) = ([0.0; ALTERNATIVES], [0.0; ALTERNATIVES]);
        let mut prior = [0.0; ALTERNATIVES];
        let mut odds = tolerated / (1.0 - tolerated) * ODDS_LEAST;
        // Small changes get most of the prior: a row says so little of them that each nat costs many rows.
        let mut share = 0.5;
        for ((flagged, passed), prior) in flagged.iter_mut().zip(&mut passed).zip(&mut prior) {
            let rate = odds / (1.0 + odds);
            *flagged = rate / tolerated;
            *passed = (1.0 - rate) / (1.0 - tolerated);
            *prior = share;
            odds *= ODDS_STEP;
            share *= 0.5;
        }
        Some(Self {
            tolerated,
            threshold: 1.0 / false_alarm_rate,
            flagged,
            passed,
            prior,
            evidence: [0.0; ALTERNATIVES],
            ln_next: std::f64::consts::LN_2,
            recent: Recent { keeps: 1.0 - tolerated / RECENT_FLAGGED, rows: 0.0, flagged: 0.0 },
            seen: Counts::default(),
            alarm: None,
        })
    }

    /// One row that was judged by evidence; rows that were refused or could not be measured are none. `Some` once,
    /// when the evidence suffices; the alarm then stands in the status.
    pub fn observe(&mut self, flagged: bool) -> Option<Alarm> {
        self.observe_rows(Counts { rows: 1, flagged: u64::from(flagged) })
    }

    /// The rows of one request, whose order among each other nobody kept: one step of the test, in which a change can
    /// only have begun with the first of them. To put them into an order by how they were judged would break the
    /// bound.
    pub fn observe_rows(&mut self, rows: Counts) -> Option<Alarm> {
        let Counts { rows, flagged } = Counts { flagged: rows.flagged.min(rows.rows), ..rows };
        if rows == 0 {
            return None;
        }
        let passed = rows.saturating_sub(flagged);
        let start = self.start(rows);
        self.seen.rows = self.seen.rows.saturating_add(rows);
        self.seen.flagged = self.seen.flagged.saturating_add(flagged);
        self.recent.observe(as_f64(rows), as_f64(flagged));
        if self.alarm.is_some() {
            return None;
        }
        let ratio = |of_flagged: f64, of_passed: f64| match (flagged, passed) {
            (1, 0) => of_flagged,
            (0, 1) => of_passed,
            // By logarithms, because a power of the one may be infinite where one of the other is 0.
            _ => of_flagged.ln().mul_add(as_f64(flagged), of_passed.ln() * as_f64(passed)).exp(),
        };
        let ratios = self.flagged.iter().zip(&self.passed).map(|(flagged, passed)| ratio(*flagged, *passed));
        // The evidence needs no logarithms: below, each term is at least the new start's; above, an alarm ends it.
        for ((evidence, ratio), prior) in self.evidence.iter_mut().zip(ratios).zip(&self.prior) {
            *evidence = (*evidence + prior * start) * ratio;
        }
        if self.evidence.iter().sum::<f64>() < self.threshold {
            return None;
        }
        self.alarm =
            Some(Alarm { seen: self.seen, recent_rate: self.recent.rate(), tolerated_rate: self.tolerated });
        self.alarm
    }

    /// Where it stands.
    #[must_use]
    pub fn status(&self) -> Status {
        let evidence = self.evidence.iter().sum::<f64>() / self.threshold;
        Status {
            seen: self.seen,
            recent_rate: self.recent.rate(),
            tolerated_rate: self.tolerated,
            evidence: evidence.min(1.0),
            alarm: self.alarm,
        }
    }

    /// The weight of a change at the next row, s = 1, 2, …: ln 2 (1 / ln(s + 1) - 1 / ln(s + 2)), so that all sum to
    /// 1 and each is about 1 / (s ln^2 s), nearly the slowest that can. Of several rows, those of all of them.
    fn start(&mut self, rows: u64) -> f64 {
        let next = as_f64(self.seen.rows) + 2.0;
        let ln_here = self.ln_next;
        let apart = (as_f64(rows) / next).ln_1p();
        self.ln_next = next.ln() + apart;
        std::f64::consts::LN_2 * apart / (ln_here * self.ln_next)
    }
}

impl Recent {
    /// `flagged` of so many `rows`, evenly among them.
    fn observe(&mut self, rows: f64, flagged: f64) {
        let kept = self.keeps.powf(rows);
        let new = if rows > 1.0 { (1.0 - kept) / (1.0 - self.keeps) } else { rows };
        self.rows = self.rows.mul_add(kept, new);
        self.flagged = self.flagged.mul_add(kept, flagged / rows * new);
    }

    fn rate(&self) -> f64 {
        if self.rows > 0.0 { self.flagged / self.rows } else { 0.0 }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a weight may be off by 2^-53")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

impl std::fmt::Display for Alarm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seen: Counts { rows, flagged }, recent_rate, tolerated_rate } = self;
        write!(
            f,
            "{flagged} of {rows} rows since calibration were judged anomalous, {:.1}% of late; at most {:.1}% were to be expected",
            100.0 * recent_rate,
            100.0 * tolerated_rate
        )
    }
}

#[cfg(test)]
mod tests;
