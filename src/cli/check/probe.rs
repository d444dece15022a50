//! Could this be written to, or bound? Found out by doing it and undoing it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// Whether an audit log could be kept in `directory`: nobody else writes to it, and it, or what it would be
/// created in, can be written to.
pub(super) fn audit(directory: &Path) -> Result<(), String> {
    let mut place = directory;
    while let Err(error) = place.metadata() {
        match place.parent() {
            Some(parent) if error.kind() == io::ErrorKind::NotFound => {
                place = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            }
            _ => return Err(error.to_string()),
        }
    }
    writable(place).map_err(|error| format!("cannot be written to: {error}"))?;
    match File::open(directory.join("lock")).map(|lock| lock.try_lock_shared()) {
        Ok(Err(TryLockError::WouldBlock)) => Err("in use by another process".to_owned()),
        Ok(Err(TryLockError::Error(error))) => Err(error.to_string()),
        Ok(Ok(())) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(format!("lock: {error}")),
    }
}

fn writable(directory: &Path) -> io::Result<()> {
    let path = directory.join(format!(".asepsis-check-{}", std::process::id()));
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)
}

/// Whether a Unix socket could be bound: one that a dead process left behind is replaced at the start.
pub(super) fn unix(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(found) if found.file_type().is_socket() => match UnixStream::connect(path) {
            Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
            Err(_) => writable(path.parent().unwrap_or(Path::new("."))),
        },
        Ok(_) => Err(io::Error::other("there is something else than a socket")),
        Err(_) => {
            drop(UnixListener::bind(path)?);
            std::fs::remove_file(path)
        }
    }
}
