//! How does a record outlive the process and the machine? One `write(2)` a record into a directory of files.
//!
//! A record is in the kernel before the answer leaves, so it survives the death of the process; `durability`
//! says when it survives the death of the machine. After a failed write nothing is appended behind a torn line:
//! the file is left as evidence and the chain goes on in the next one, as soon as the storage takes a probe.

mod lag;
pub(crate) mod segment;
mod writer;

use super::{Ledger, LedgerError, Record};
use crate::clock;
use lag::Lag;
use segment::Segments;
use serde::{Deserialize, Serialize};
use std::fs::{File, TryLockError};
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use writer::Writer;

/// Where and how surely the audit log is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Directory of the log: `00000001.jsonl`, `00000002.jsonl`, ... One process at a time writes to it.
    pub directory: PathBuf,
    /// When a record survives the death of the machine. It survives that of the process in any case.
    pub durability: Durability,
    /// A file that would grow beyond this many bytes is followed by the next one.
    pub rotate_bytes: u64,
    /// Milliseconds between two flushes to the disk; with `always` there is no waiting for it.
    pub fsync_interval_ms: u64,
    /// A file of 64 hexadecimal digits: the key under which studies and odd request ids are hashed in the log, so that
    /// `asepsis audit pseudonym` finds them. Without it a new one is drawn at each start, and nobody can.
    pub pseudonym_key: Option<PathBuf>,
}

/// When a record is flushed to the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// Every `fsync_interval_ms`: a power failure may cost the records since the last flush.
    #[default]
    Interval,
    /// Before each answer: no answer leaves whose record a power failure could cost.
    Always,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("audit"),
            durability: Durability::default(),
            rotate_bytes: 64 << 20,
            fsync_interval_ms: 1_000,
            pseudonym_key: None,
        }
    }
}

/// Why the log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be read or written.
    #[error("the audit directory {directory} cannot be used: {error}")]
    Io {
        /// The directory.
        directory: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Another process writes to it.
    #[error("the audit directory {0} is in use by another process")]
    InUse(PathBuf),
    /// The end of the log is damaged by more than one interrupted write: nothing may be attached to it.
    #[error(
        "the audit log ends in lines that were not written by it: {0}; keep the directory and name another"
    )]
    Damaged(PathBuf),
}

/// A ledger in files. Dropping it flushes what is left.
pub struct FileLedger {
    shared: Arc<Shared>,
    durability: Durability,
    flusher: Option<Flusher>,
    /// Held for as long as this process writes to the directory.
    _lock: File,
}

/// What requests and the flusher share. Locks are taken in the order `flushed`, `writer`.
struct Shared {
    writer: Mutex<Writer>,
    flushed: Mutex<Flushed>,
    lag: Arc<Lag>,
}

/// How far the log is on the disk.
#[derive(Default)]
struct Flushed {
    through: u64,
    /// Records up to this one may be lost: the flush that was to keep them failed.
    lost_through: u64,
}

/// The thread that flushes at intervals; it ends when its channel is closed.
struct Flusher {
    closing: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl FileLedger {
    /// Opens the directory, creating it if need be, and finds the end of the chain.
    ///
    /// # Errors
    /// The directory cannot be used, is in use, or its log is damaged.
    pub fn open(settings: &Settings) -> Result<Self, OpenError> {
        let directory = &settings.directory;
        let failed = |error| OpenError::Io { directory: directory.clone(), error };
        segment::create_directory(directory).map_err(failed)?;
        let lock = segment::create_or_open(&directory.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(directory.clone())),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let segments = Segments::list(directory).map_err(failed)?;
        let end = segments.end().map_err(failed)?.map_err(OpenError::Damaged)?;
        if let Some(torn) = &end.torn {
            tracing::warn!(file = %torn.display(), "the audit log's last line is torn; the log goes on in the next file");
        }
        let lag = Arc::new(Lag::new(clock::instant()));
        let writer =
            Writer::open(directory, &end, settings.rotate_bytes, Arc::clone(&lag)).map_err(failed)?;
        let shared = Arc::new(Shared { writer: Mutex::new(writer), flushed: Mutex::default(), lag });
        let flusher = match settings.durability {
            Durability::Interval => {
                let interval = Duration::from_millis(settings.fsync_interval_ms.max(1));
                Some(Flusher::start(Arc::clone(&shared), interval).map_err(failed)?)
            }
            Durability::Always => None,
        };
        Ok(Self { shared, durability: settings.durability, flusher, _lock: lock })
    }

    /// Whether a record could be appended now. After a failure this tries the storage anew.
    #[must_use]
    pub fn writable(&self) -> bool {
        self.shared.writer().recover().is_ok()
    }

    /// Whether the storage took the last record or probe. Neither waits nor tries.
    #[must_use]
    pub fn took_last(&self) -> bool {
        self.shared.lag.took_last()
    }

    /// The age of the oldest record that is not yet on the disk; zero when all are. Does not wait.
    #[must_use]
    pub fn lag(&self, now: Instant) -> Duration {
        self.shared.lag.at(now)
    }
}

impl Ledger for FileLedger {
    fn waits(&self) -> bool {
        self.durability == Durability::Always
    }

    fn append(&self, record: &Record) -> Result<(), LedgerError> {
        let seq = self.shared.writer().append(record)?;
        match self.durability {
            Durability::Interval => Ok(()),
            Durability::Always => self.shared.flush_through(seq),
        }
    }
}

impl Drop for FileLedger {
    fn drop(&mut self) {
        if let Some(Flusher { closing, thread }) = self.flusher.take() {
            drop(closing);
            if thread.join().is_err() {
                tracing::error!("the audit log's flusher has panicked");
            }
        }
        self.shared.flush_and_log();
    }
}

impl Flusher {
    fn start(shared: Arc<Shared>, interval: Duration) -> io::Result<Self> {
        let (closing, closed) = mpsc::channel();
        let run = move || {
            while let Err(RecvTimeoutError::Timeout) = closed.recv_timeout(interval) {
                shared.flush_and_log();
            }
        };
        let thread = std::thread::Builder::new().name("audit-flush".to_owned()).spawn(run)?;
        Ok(Self { closing, thread })
    }
}

impl Shared {
    /// The writer; a panic while it was held leaves a file that nothing more is appended to.
    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(|poisoned| {
            let mut writer = poisoned.into_inner();
            writer.abandon_file();
            self.writer.clear_poison();
            writer
        })
    }

    /// Returns when record `seq` is on the disk. Whoever comes while another flushes finds its own record
    /// flushed along with the other's, so that one flush serves many requests.
    fn flush_through(&self, seq: u64) -> Result<(), LedgerError> {
        let mut flushed = self.flushed.lock().unwrap_or_else(PoisonError::into_inner);
        if seq <= flushed.lost_through {
            return Err(LedgerError::Broken);
        }
        if seq <= flushed.through {
            return Ok(());
        }
        Ok(self.flush(&mut flushed)?)
    }

    fn flush_and_log(&self) {
        let mut flushed = self.flushed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.flush(&mut flushed) {
            tracing::error!(%error, "the audit log cannot be flushed; the latest records may be lost");
        }
    }

    /// Flushes what was written until now. After a failed flush the kernel drops the pages and the next flush
    /// succeeds without them (<https://lwn.net/Articles/752063/>), so the file is never trusted again.
    fn flush(&self, flushed: &mut Flushed) -> io::Result<()> {
        let (through, pending) = self.writer().take_unflushed();
        let result = pending.flush();
        if result.is_ok() {
            flushed.through = flushed.through.max(through);
            self.lag.flushed();
            return result;
        }
        flushed.lost_through = flushed.lost_through.max(through);
        self.writer().abandon_file();
        result
    }
}

#[cfg(test)]
mod tests;
