//! What may still be appended to, and what is not yet on the disk?

use super::lag::Lag;
use super::segment::{self, End};
use crate::audit::Record;
use crate::audit::chain::Head;
use crate::clock;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How much the storage must take before it is trusted again: more than a file system hides in an inode.
const PROBE: [u8; 8192] = [0; 8192];

/// The end of the log, held by one request at a time.
pub(super) struct Writer {
    directory: PathBuf,
    rotate_bytes: u64,
    file: Arc<File>,
    number: u32,
    size_bytes: u64,
    head: Head,
    /// The line being written; kept for its memory.
    line: Vec<u8>,
    health: Health,
    unflushed: Unflushed,
    lag: Arc<Lag>,
}

/// What the last write or flush has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    /// The file ends in a whole line.
    Good,
    /// The last write failed and left nothing behind.
    Refused,
    /// The file ends in a torn line, or in lines that may be lost: nothing is appended to it.
    Torn,
}

/// What has been written and not flushed.
#[derive(Default)]
pub(super) struct Unflushed {
    files: Vec<Arc<File>>,
    /// The directory, if a file was created in it.
    directory: Option<PathBuf>,
}

impl Writer {
    /// Goes on where the log ends.
    pub(super) fn open(directory: &Path, end: &End, rotate_bytes: u64, lag: Arc<Lag>) -> io::Result<Self> {
        let go_on = end.number > 0 && end.torn.is_none();
        let (number, file, size_bytes) = if go_on {
            (end.number, segment::open(directory, end.number)?, end.size_bytes)
        } else {
            let (number, file) = segment::create_after(directory, end.number)?;
            (number, file, 0)
        };
        let created = (!go_on).then(|| directory.to_owned());
        Ok(Self {
            directory: directory.to_owned(),
            rotate_bytes,
            file: Arc::new(file),
            number,
            size_bytes,
            head: end.head,
            line: Vec::with_capacity(1024),
            health: Health::Good,
            unflushed: Unflushed { files: Vec::new(), directory: created },
            lag,
        })
    }

    /// Appends one record and returns its number.
    pub(super) fn append(&mut self, record: &Record) -> io::Result<u64> {
        self.recover()?;
        let next = self.head.seal(record, &mut self.line)?;
        let length = u64::try_from(self.line.len()).unwrap_or(u64::MAX);
        if self.size_bytes > 0 && self.size_bytes.saturating_add(length) > self.rotate_bytes {
            self.next_file()?;
        }
        match write_whole(&mut self.file.as_ref(), &self.line) {
            Ok(()) => {
                self.size_bytes = self.size_bytes.saturating_add(length);
                self.head = next;
                self.mark_unflushed();
                Ok(next.seq)
            }
            Err(Interrupted { written, error }) => {
                self.ail(if written == 0 { Health::Refused } else { Health::Torn });
                tracing::error!(%error, "the audit log cannot be written; requests are refused");
                Err(error)
            }
        }
    }

    /// After a failure: tries the storage, and leaves a torn file for the next one.
    pub(super) fn recover(&mut self) -> io::Result<()> {
        if self.health == Health::Good {
            return Ok(());
        }
        probe(&self.directory)?;
        if self.health == Health::Torn {
            self.next_file()?;
        }
        self.health = Health::Good;
        self.lag.took(true);
        tracing::warn!(file = self.number, "the audit log can be written again");
        Ok(())
    }

    /// Appends nothing more to the file.
    pub(super) fn abandon_file(&mut self) {
        self.ail(Health::Torn);
    }

    fn ail(&mut self, health: Health) {
        self.health = health;
        self.lag.took(false);
    }

    /// The number of the last record, and what must be flushed for it to be on the disk.
    pub(super) fn take_unflushed(&mut self) -> (u64, Unflushed) {
        self.lag.flushing();
        (self.head.seq, std::mem::take(&mut self.unflushed))
    }

    fn next_file(&mut self) -> io::Result<()> {
        let (number, file) = segment::create_after(&self.directory, self.number)?;
        (self.number, self.size_bytes) = (number, 0);
        self.file = Arc::new(file);
        self.unflushed.directory = Some(self.directory.clone());
        Ok(())
    }

    fn mark_unflushed(&mut self) {
        self.lag.written(clock::instant);
        if !self.unflushed.files.last().is_some_and(|file| Arc::ptr_eq(file, &self.file)) {
            self.unflushed.files.push(Arc::clone(&self.file));
        }
    }
}

impl Unflushed {
    /// Waits for the disk.
    pub(super) fn flush(self) -> io::Result<()> {
        let directory = self.directory.map_or(Ok(()), |directory| File::open(directory)?.sync_all());
        self.files.iter().map(|file| file.sync_data()).fold(directory, Result::and)
    }
}

/// A write that failed.
struct Interrupted {
    written: usize,
    error: io::Error,
}

/// Writes all of it, in one call if the system is willing, and says how much stands there if it fails.
fn write_whole(file: &mut impl Write, bytes: &[u8]) -> Result<(), Interrupted> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let written = bytes.len() - rest.len();
        match file.write(rest) {
            Ok(0) => return Err(Interrupted { written, error: io::ErrorKind::WriteZero.into() }),
            Ok(count) => rest = rest.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Interrupted { written, error }),
        }
    }
    Ok(())
}

/// Whether the storage takes a few kilobytes and keeps them.
fn probe(directory: &Path) -> io::Result<()> {
    let path = directory.join("probe");
    let mut file = segment::create_or_open(&path)?;
    let result = file.write_all(&PROBE).and_then(|()| file.sync_all());
    std::fs::remove_file(&path)?;
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes and no more.
    struct Disk(usize);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let count = bytes.len().min(self.0);
            self.0 -= count;
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_tells_whether_it_left_a_torn_line() {
        for room in [0, 1, 9] {
            let Err(interrupted) = write_whole(&mut Disk(room), b"ten bytes\n") else { panic!("{room}") };
            assert_eq!(interrupted.written, room);
            assert_eq!(interrupted.error.kind(), io::ErrorKind::StorageFull);
        }
        assert!(write_whole(&mut Disk(10), b"ten bytes\n").is_ok());
    }
}
