//! How do rows get into a recording, never more than were allowed, and whole or not at all?

use super::{Header, Line};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A line that is longer was not written by us.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// A recording that rows are appended to. One process at a time: a lock on the file holds it.
#[derive(Debug)]
pub struct Writer {
    file: File,
    size_bytes: u64,
    rows: usize,
    rows_max: usize,
}

impl Writer {
    /// Opens a recording, mode 0600, or begins one; the torn line that a killed process may have left is cut.
    ///
    /// # Errors
    /// It cannot be written, another process writes to it, or it is none of such rows.
    pub fn open(path: &Path, header: &Header, rows_max: usize) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let mut file = options.read(true).append(true).create(true).mode(0o600).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, "another process writes to it"));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let mut first = serde_json::to_vec(header).map_err(io::Error::other)?;
        first.push(b'\n');
        let (size_bytes, lines) = whole_lines(&mut file, &first)?;
        file.set_len(size_bytes)?;
        let mut writer = Self { file, size_bytes, rows: lines.saturating_sub(1), rows_max };
        if lines == 0 {
            writer.write(&first)?;
        }
        Ok(writer)
    }

    /// Whether no further row is taken.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.rows >= self.rows_max
    }

    /// Appends a row, if there is room for one: whether there was.
    ///
    /// # Errors
    /// It cannot be written; what was written of it is taken back.
    pub fn append(&mut self, line: &Line) -> io::Result<bool> {
        if self.is_full() {
            return Ok(false);
        }
        let mut bytes = serde_json::to_vec(line).map_err(io::Error::other)?;
        bytes.push(b'\n');
        self.write(&bytes)?;
        self.rows = self.rows.saturating_add(1);
        Ok(true)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all(bytes) {
            self.file.set_len(self.size_bytes)?;
            return Err(error);
        }
        self.size_bytes = self.size_bytes.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        Ok(())
    }
}

/// How many bytes the whole lines take, and how many there are; the first must be `first`.
fn whole_lines(file: &mut File, first: &[u8]) -> io::Result<(u64, usize)> {
    let foreign = |problem| Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    file.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::new(file);
    let (mut size_bytes, mut lines) = (0_u64, 0_usize);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = io::Read::take(&mut reader, LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\n") {
            let too_long = u64::try_from(read).unwrap_or(u64::MAX) >= LINE_BYTES_MAX;
            // A begun first line is one that a killed process left, if it is the beginning of ours.
            let ours = lines > 0 || first.starts_with(&line);
            return if too_long || !ours { foreign("not a recording") } else { Ok((size_bytes, lines)) };
        }
        if lines == 0 && line != first {
            return foreign("a recording of another model, calibration or site");
        }
        size_bytes = size_bytes.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        lines = lines.saturating_add(1);
    }
}
