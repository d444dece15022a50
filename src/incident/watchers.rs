//! Who looks at which closed request, and what is known of each model? The watchers that run, one of a kind for each
//! served model version.
//!
//! What they see is in memory and begins with the process. They contain nobody: an alarm is told to people.

use super::{FlagRate, Settings, flag_rate};
use crate::audit::{ClosedEntry, Judged, Observer};
use crate::calibration::promise::Promised;
use crate::clock::Now;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The watchers, as an observer of closed entries.
#[derive(Debug)]
pub struct Watchers {
    settings: Settings,
    watched: Mutex<Watched>,
}

/// An alarm that is not on record yet.
#[derive(Clone, Debug)]
pub struct Raised {
    /// The model.
    pub model: String,
    /// Its version.
    pub version: String,
    /// What was seen.
    pub alarm: flag_rate::Alarm,
    /// When the request arrived that raised it.
    pub at: Now,
}

/// By name and version, which the catalog bounds.
#[derive(Debug, Default)]
struct Watched {
    models: BTreeMap<String, BTreeMap<String, OfVersion>>,
    raised: Vec<Raised>,
}

/// What is known of one version.
#[derive(Debug)]
struct OfVersion {
    promised: Arc<Promised>,
    /// `None` where nothing is promised that could be tested.
    test: Option<FlagRate>,
    alarms: u64,
}

impl Watchers {
    /// Nothing has been seen.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, watched: Mutex::default() }
    }

    /// Whether the rate of flagged rows is watched.
    #[must_use]
    pub fn watch_flag_rate(&self) -> bool {
        self.settings.flag_rate.enabled
    }

    /// Where the test of a version's flagged rows stands; `None` before its first row under this calibration.
    #[must_use]
    pub fn flag_rate(&self, model: &str, version: &str, calibration: &str) -> Option<flag_rate::Status> {
        let watched = self.lock();
        let of_version = watched.models.get(model)?.get(version)?;
        let same = of_version.promised.calibration == calibration;
        of_version.test.as_ref().filter(|_| same).map(FlagRate::status)
    }

    /// Alarms about a version since the start, over all its calibrations.
    #[must_use]
    pub fn alarms(&self, model: &str, version: &str) -> u64 {
        let watched = self.lock();
        watched.models.get(model).and_then(|versions| versions.get(version)).map_or(0, |found| found.alarms)
    }

    /// Alarms that are to be put on record, each once.
    #[must_use]
    pub fn take_raised(&self) -> Vec<Raised> {
        std::mem::take(&mut self.lock().raised)
    }

    /// One of them that could not be put on record.
    pub fn put_back(&self, raised: Raised) {
        self.lock().raised.push(raised);
    }

    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Watchers {
    fn observe(&self, closed: &ClosedEntry) {
        let Some(judged) = &closed.observation.judged else { return };
        if !self.settings.flag_rate.enabled {
            return;
        }
        let (model, version) = (&closed.record.model, &closed.record.version);
        let mut watched = self.lock();
        let known = watched.of(model, version, judged, &self.settings);
        let Some(alarm) = known.and_then(|known| known.observe(judged)) else { return };
        let (model, version) = (model.clone(), version.clone());
        tracing::warn!(model, version, %alarm, "FLAG RATE: more rows are flagged than calibration promised");
        watched.raised.push(Raised { model, version, alarm, at: closed.observation.opened });
    }
}

impl Watched {
    /// What is known of a version. A new calibration begins anew; rows of requests that were under way when it came
    /// may begin it once more, before it has seen many.
    fn of(
        &mut self,
        model: &str,
        version: &str,
        judged: &Judged,
        settings: &Settings,
    ) -> Option<&mut OfVersion> {
        // Known ones are found by what they are called; only a new one is written down.
        if !self.models.get(model).is_some_and(|versions| versions.contains_key(version)) {
            let versions = self.models.entry(model.to_owned()).or_default();
            versions.insert(version.to_owned(), OfVersion::new(judged, settings, 0));
        }
        let found = self.models.get_mut(model)?.get_mut(version)?;
        if !Arc::ptr_eq(&found.promised, &judged.promised) && found.promised != judged.promised {
            *found = OfVersion::new(judged, settings, found.alarms);
        }
        Some(found)
    }
}

impl OfVersion {
    fn new(judged: &Judged, settings: &Settings, alarms: u64) -> Self {
        let test = FlagRate::of(&judged.promised.promises, &settings.flag_rate);
        Self { promised: Arc::clone(&judged.promised), test, alarms }
    }

    fn observe(&mut self, judged: &Judged) -> Option<flag_rate::Alarm> {
        let rows = flag_rate::Counts { rows: judged.rows, flagged: judged.flagged };
        let alarm = self.test.as_mut()?.observe_rows(rows)?;
        self.alarms = self.alarms.saturating_add(1);
        Some(alarm)
    }
}

#[cfg(test)]
mod tests;
