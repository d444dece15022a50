//! Has something on disk changed that is in service, and does the new one hold? Watches files, loads what has
//! changed, keeps the last good one.
//!
//! Files are polled, not watched by inotify: inotify does not see changes that another machine makes on NFS, and
//! Kubernetes swaps a symlink (`..data`) two levels away from the name that is configured. A poll looks at what a
//! name leads to, whichever way it came there.

use crate::clock::Now;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// How long after a load that failed it is tried again although no file has changed: a certificate may have
/// become valid meanwhile, or a model that the policy names may have come.
const AGAIN: Duration = Duration::from_mins(1);

/// Something in service that comes from files.
pub trait Reloadable: Send + Sync {
    /// What it is called in metrics, audit and log.
    fn name(&self) -> &'static str;

    /// The files that a reload reads.
    fn files(&self) -> Vec<PathBuf>;

    /// Reads them anew and puts them into service, all at once.
    ///
    /// # Errors
    /// What to mend; what is in service stays.
    fn reload(&self, now: Now) -> Result<(), String>;
}

/// Told of every reload: the source's name, and what came of it.
pub type OnOutcome = Box<dyn Fn(&str, &Result<(), String>) + Send + Sync>;

/// Reloads sources when their files change, or when told to.
pub struct Reloader {
    sources: Vec<Watched>,
    epoch: Arc<AtomicU64>,
    on_outcome: OnOutcome,
}

/// How the reloads of one source went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReloadStatus {
    /// The source.
    pub name: &'static str,
    /// Loads that succeeded, the start among them.
    pub good: u64,
    /// Loads that failed.
    pub failed: u64,
    /// When the last one succeeded.
    pub last_good: SystemTime,
    /// Whether what is in service is what was last found on disk.
    pub current: bool,
}

struct Watched {
    source: Arc<dyn Reloadable>,
    /// Held during a load.
    seen: Mutex<Seen>,
    status: Mutex<ReloadStatus>,
}

/// What was found on disk at the last polls.
#[derive(Default)]
struct Seen {
    /// Where the last load began; `None` until the files of the start have been compared.
    loaded: Option<Vec<Fingerprint>>,
    last: Option<Vec<Fingerprint>>,
    /// When the last load failed, and why; `None` when it was good.
    failed: Option<(Now, String)>,
}

/// What tells one state of a file from another without reading it; `None` for a file that is not there.
type Fingerprint = Option<FileState>;

#[derive(Debug, PartialEq, Eq)]
struct FileState {
    /// Where the name leads to after all symlinks.
    resolved: PathBuf,
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// Also changes with the permissions, as when a key is made private after it was refused.
    changed: (i64, i64),
}

impl Reloader {
    /// Watches `sources`, all of which are in service. `epoch` grows after each load that succeeds, so that what
    /// was concluded before can be concluded again.
    #[must_use]
    pub fn new(
        sources: Vec<Arc<dyn Reloadable>>,
        epoch: Arc<AtomicU64>,
        on_outcome: OnOutcome,
        now: Now,
    ) -> Self {
        let watch = |source: Arc<dyn Reloadable>| Watched {
            status: Mutex::new(ReloadStatus {
                name: source.name(),
                good: 1,
                failed: 0,
                last_good: now.wall,
                current: true,
            }),
            seen: Mutex::default(),
            source,
        };
        Self { sources: sources.into_iter().map(watch).collect(), epoch, on_outcome }
    }

    /// Loads each source whose files have changed and were the same at two polls in a row: whoever writes several
    /// files, or a long one, is given the time between them. One that fails is tried again at its next change,
    /// and once a minute, without a word as long as it fails in the same way.
    ///
    /// The first settled state is loaded once more, without a word if it is good: the files may have changed
    /// between the start, which read them, and the first poll.
    pub fn poll(&self, now: Now) {
        for watched in &self.sources {
            let mut seen = lock(&watched.seen);
            let found = fingerprint(&watched.source.files());
            let settled = seen.last.as_ref() == Some(&found);
            if !settled {
                seen.last = Some(found);
            } else if seen.loaded.as_ref() != Some(&found) {
                let silent_if_good = seen.loaded.is_none();
                seen.loaded = Some(found);
                let outcome = self.load(watched, &mut seen, now);
                if !(silent_if_good && outcome.is_ok()) {
                    (self.on_outcome)(watched.source.name(), &outcome);
                }
            } else if let Some((at, problem)) = seen.failed.clone()
                && now.monotonic.saturating_duration_since(at.monotonic) >= AGAIN
            {
                let outcome = self.load(watched, &mut seen, now);
                if outcome.as_ref().err() != Some(&problem) {
                    (self.on_outcome)(watched.source.name(), &outcome);
                }
            }
        }
    }

    /// Loads every source, whether or not it has changed: for SIGHUP and for operators.
    #[expect(clippy::must_use_candidate, reason = "`on_outcome` is told the same")]
    pub fn reload_all(&self, now: Now) -> Vec<(&'static str, Result<(), String>)> {
        let mut outcomes = Vec::new();
        for watched in &self.sources {
            let mut seen = lock(&watched.seen);
            let found = fingerprint(&watched.source.files());
            seen.loaded = Some(found);
            let outcome = self.load(watched, &mut seen, now);
            (self.on_outcome)(watched.source.name(), &outcome);
            outcomes.push((watched.source.name(), outcome));
        }
        outcomes
    }

    /// How the reloads went, for metrics. Does not wait for a load under way.
    #[must_use]
    pub fn status(&self) -> Vec<ReloadStatus> {
        self.sources.iter().map(|watched| *lock(&watched.status)).collect()
    }

    fn load(&self, watched: &Watched, seen: &mut Seen, now: Now) -> Result<(), String> {
        let outcome = watched.source.reload(now);
        seen.failed = outcome.as_ref().err().map(|problem| (now, problem.clone()));
        let mut status = lock(&watched.status);
        status.current = outcome.is_ok();
        if outcome.is_ok() {
            status.good = status.good.saturating_add(1);
            status.last_good = now.wall;
            self.epoch.fetch_add(1, Ordering::AcqRel);
        } else {
            status.failed = status.failed.saturating_add(1);
        }
        outcome
    }
}

/// A load that panicked has left nothing half-done: sources swap whole values.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn fingerprint(files: &[PathBuf]) -> Vec<Fingerprint> {
    files.iter().map(|path| state(path)).collect()
}

fn state(path: &Path) -> Fingerprint {
    let resolved = path.canonicalize().ok()?;
    let metadata = resolved.metadata().ok()?;
    Some(FileState {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
        resolved,
    })
}

#[cfg(test)]
mod tests;
