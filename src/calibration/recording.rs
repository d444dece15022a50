//! What does a calibration need of production traffic? The scores of its rows, one line each, and nothing of a patient.
//!
//! A JSON line a row, behind a line that says under which calibration the rows were measured. No tensor, no
//! embedding, no name and no id; the hour and not the moment, so that no line can be told to belong to a request.
//! A process that is killed leaves at most one torn line, the last, which is cut.

pub mod writer;

pub use writer::Writer;

use super::Measured;
use crate::detection::{Detector, Score};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The format this build writes and reads.
const FORMAT: u32 = 1;
const HOUR_S: i64 = 60 * 60;

/// The most rows that a recording may hold.
pub const ROWS_MAX: usize = 1_000_000;
/// The largest file that is read.
pub const BYTES_MAX: u64 = 2 << 30;

/// The first line: what the rows were measured by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    format: u32,
    /// The model's name.
    pub model: String,
    /// Its version.
    pub version: String,
    /// The site whose calibration was in use; empty for the one that came with the model.
    pub site: String,
    /// SHA-256 of the file of that calibration, which is bound to everything else.
    pub calibration: String,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The hour in which it was judged, in seconds since 1970.
    hour: i64,
    /// The class the model predicted; left out where it predicts none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    class: Option<usize>,
    /// What each detector measured.
    scores: BTreeMap<Detector, f64>,
}

/// A recording, read.
#[derive(Clone)]
pub struct Recording {
    /// What the rows were measured by.
    pub header: Header,
    /// The rows, in the order in which they were judged.
    pub rows: Vec<Measured>,
    /// Whether a torn line was cut.
    pub torn: bool,
}

/// Why a recording cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file ends before its first line does.
    #[error("no whole line")]
    Empty,
    /// Written by another version.
    #[error("format {0}; this build reads {FORMAT}: record anew")]
    Format(u32),
    /// Not JSON, or not the keys of such a line.
    #[error("line {0}: not a line of a recording")]
    Syntax(usize),
    /// A number that no detector measures, or other detectors than in the lines before.
    #[error(
        "line {0}: other detectors than before, or a score that is not finite; record with the same `[detection]` throughout"
    )]
    Scores(usize),
    /// More than anybody records.
    #[error("more than {ROWS_MAX} rows")]
    TooMany,
}

impl Header {
    /// Of rows that are measured by this version under this calibration.
    #[must_use]
    pub fn new(model: &str, version: &str, site: &str, calibration: &str) -> Self {
        let [model, version, site, calibration] = [model, version, site, calibration].map(str::to_owned);
        Self { format: FORMAT, model, version, site, calibration }
    }
}

impl Line {
    /// Of a row judged at `unix_seconds`.
    #[must_use]
    pub fn new(row: &Measured, unix_seconds: i64) -> Self {
        let scores = row.scores.iter().map(|(detector, score)| (*detector, score.value())).collect();
        Self { hour: unix_seconds.div_euclid(HOUR_S).saturating_mul(HOUR_S), class: row.class, scores }
    }

    fn measured(self) -> Option<Measured> {
        let score = |(detector, value)| Some((detector, Score::new(value)?));
        let scores = self.scores.into_iter().map(score).collect::<Option<_>>()?;
        Some(Measured { class: self.class, scores })
    }
}

impl Recording {
    /// Reads a recording, but for a last line that does not end.
    ///
    /// # Errors
    /// The first line that cannot be used, by its number.
    pub fn parse(text: &[u8]) -> Result<Self, RecordingError> {
        let end = text.iter().rposition(|byte| *byte == b'\n').ok_or(RecordingError::Empty)?;
        let whole = text.get(..end).ok_or(RecordingError::Empty)?;
        let torn = end.saturating_add(1) < text.len();
        let mut lines = whole.split(|byte| *byte == b'\n').zip(1..);
        let (first, _) = lines.next().ok_or(RecordingError::Empty)?;
        let header: Header = serde_json::from_slice(first).map_err(|_| RecordingError::Syntax(1))?;
        if header.format != FORMAT {
            return Err(RecordingError::Format(header.format));
        }
        let mut rows: Vec<Measured> = Vec::new();
        for (line, number) in lines {
            if rows.len() >= ROWS_MAX {
                return Err(RecordingError::TooMany);
            }
            let line: Line = serde_json::from_slice(line).map_err(|_| RecordingError::Syntax(number))?;
            let row = line.measured().ok_or(RecordingError::Scores(number))?;
            let detectors = |row: &Measured| row.scores.iter().map(|(name, _)| *name).collect::<Vec<_>>();
            if row.scores.is_empty() || rows.first().is_some_and(|first| detectors(first) != detectors(&row))
            {
                return Err(RecordingError::Scores(number));
            }
            rows.push(row);
        }
        Ok(Self { header, rows, torn })
    }
}

#[cfg(test)]
mod tests;
