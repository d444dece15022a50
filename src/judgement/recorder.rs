//! Which judged rows are kept for a later calibration, and where? A random share of them, measured to the full depth
//! of the cascade, whatever was judged of them.
//!
//! Every row of the traffic has the same chance, also one that is flagged: a sample without these would promise
//! fewer false alarms than there are (ADR 19). What is kept is scores ([`crate::calibration::recording`]).

use super::{Served, measure};
use crate::calibration::Measured;
use crate::calibration::promise::Promised;
use crate::calibration::recording::{Header, Line, ROWS_MAX, Writer};
use crate::clock::Now;
use crate::inference::perturbation::Secret;
use crate::intake::Input;
use crate::trace::RequestId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How traffic is recorded (`[models.record]`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The directory of recordings, created with mode 0700. Not set: nothing is recorded.
    pub directory: Option<PathBuf>,
    /// The share of rows that is recorded, by chance.
    pub share: f64,
    /// The most rows of a recording, one for each model version and calibration; then it ends.
    pub rows_max: usize,
}

/// Keeps a share of the rows that were judged.
pub struct Recorder {
    directory: PathBuf,
    share: f64,
    rows_max: usize,
    /// Under which nobody can foresee which row is chosen.
    secret: Secret,
    /// By the file's name; held while a disk is waited for, and so by compute threads alone.
    open: Mutex<BTreeMap<String, Writer>>,
    /// Those that are full, or could not be written: nothing more is measured for them.
    ended: Mutex<BTreeSet<String>>,
}

/// Rows that were chosen of a request.
pub struct Sample(Input);

impl Sample {
    /// How many.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.0.rows()
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self { directory: None, share: 0.01, rows_max: 10_000 }
    }
}

impl Settings {
    /// Whether the settings make sense.
    ///
    /// # Errors
    /// The key to mend, below `models.record`, and why.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        if !(self.share > 0.0 && self.share <= 1.0) {
            return Err(("share", "above 0, and at most 1"));
        }
        if !(1..=ROWS_MAX).contains(&self.rows_max) {
            return Err(("rows_max", "1 to 1000000"));
        }
        Ok(())
    }
}

impl Recorder {
    /// Makes the directory; `None` where nothing is to be recorded.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn start(settings: &Settings, secret: Secret) -> io::Result<Option<Self>> {
        let Some(directory) = &settings.directory else { return Ok(None) };
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        Ok(Some(Self {
            directory: directory.clone(),
            share: settings.share,
            rows_max: settings.rows_max,
            secret,
            open: Mutex::default(),
            ended: Mutex::default(),
        }))
    }

    /// The rows of a request that are to be recorded, if any is: chosen before they are judged, and by chance alone.
    #[must_use]
    pub fn choose(&self, served: &Served, input: &Input, request: RequestId) -> Option<Sample> {
        let promised = served.promised.as_ref()?;
        let chosen = |row: &usize| self.secret.chance(request.bits(), *row) < self.share;
        let rows: Vec<usize> = (0..input.rows()).filter(chosen).collect();
        if rows.is_empty() || self.has_ended(&file_name(served, promised)) {
            return None;
        }
        Some(Sample(input.select(&rows)?))
    }

    /// Measures the chosen rows with every detector and appends what was measured. Takes as long as a run, and waits
    /// for a disk.
    pub fn keep(&self, served: &Served, sample: Sample, secret: &Secret, now: Now) {
        let Some(promised) = &served.promised else { return };
        // What cannot be run or measured now cannot be judged either, and is none of what a calibration ranks.
        let Ok(measured) = measure(served, sample.0, secret) else { return };
        // Nor can JSON hold what is infinite.
        let finite = |row: &Measured| row.scores.iter().all(|(_, score)| score.value().is_finite());
        let rows: Vec<Measured> = measured.into_iter().filter_map(Result::ok).filter(finite).collect();
        let name = file_name(served, promised);
        let mut open = lock(&self.open);
        if self.has_ended(&name) {
            return;
        }
        let path = self.directory.join(&name);
        let writer = match open.remove(&name) {
            Some(writer) => Ok(writer),
            None => Writer::open(&path, &header(served, promised), self.rows_max),
        };
        match writer.and_then(|writer| append(writer, &rows, now)) {
            Ok(writer) if !writer.is_full() => {
                open.insert(name, writer);
                return;
            }
            Ok(_) => {
                tracing::info!(path = %path.display(), "the recording is full; `asepsis calibrate --recorded` takes it");
            }
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "the recording cannot be written and ends");
            }
        }
        lock(&self.ended).insert(name);
    }

    fn has_ended(&self, name: &str) -> bool {
        lock(&self.ended).contains(name)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn append(mut writer: Writer, rows: &[Measured], now: Now) -> io::Result<Writer> {
    for row in rows {
        writer.append(&Line::new(row, now.unix_seconds()))?;
    }
    Ok(writer)
}

fn header(served: &Served, promised: &Promised) -> Header {
    let contract = &served.contract;
    Header::new(&contract.name, &contract.version, &promised.site, &promised.calibration)
}

/// As in `digits-1-0123456789abcdef.jsonl`.
fn file_name(served: &Served, promised: &Promised) -> String {
    let digest = promised.calibration.get(..16).unwrap_or(&promised.calibration);
    format!("{}-{}-{digest}.jsonl", served.contract.name, served.contract.version)
}
