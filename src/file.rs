//! How is a file read within bounds, kept from other users, and replaced so that nobody reads half of it?

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

/// How many left-over temporary files of dead processes are stepped over.
const ATTEMPTS: u32 = 64;

/// Why a private file is not read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: FileProblem,
}

/// What is wrong with a private file.
#[derive(Debug, thiserror::Error)]
pub enum FileProblem {
    /// The system does not give it, or it is larger than anything it could hold.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Somebody else may read it; its permissions.
    #[error("readable by others than its owner (mode {0:04o}); chmod 600")]
    Shared(u32),
    /// It is no text.
    #[error("not UTF-8")]
    NotText,
}

impl FileError {
    /// Whether there is no such file.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(&self.problem, FileProblem::Io(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

/// The bytes of a file, at most `bytes_max`.
///
/// # Errors
/// It cannot be read, is no file, or is larger.
pub fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    within(open(path)?, bytes_max)
}

/// As [`read`], of a file of text.
///
/// # Errors
/// As [`read`], or it is no text.
pub fn read_text(path: &Path, bytes_max: u64) -> io::Result<String> {
    String::from_utf8(read(path, bytes_max)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8"))
}

/// As [`read_text`], of a file that its owner alone may read. What is asked is the file that was opened, so that
/// no other can be put in its place between question and answer.
///
/// # Errors
/// As [`read_text`], or others may read it.
pub fn read_private(path: &Path, bytes_max: u64) -> Result<String, FileError> {
    let read = || {
        let file = open(path)?;
        let mode = file.metadata()?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(FileProblem::Shared(mode));
        }
        String::from_utf8(within(file, bytes_max)?).map_err(|_| FileProblem::NotText)
    };
    read().map_err(|problem| FileError { path: path.to_owned(), problem })
}

/// Opens what is a file: opening a pipe would wait for somebody to write to it, and everything that is read anew
/// would wait with it.
fn open(path: &Path) -> io::Result<File> {
    if !path.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"));
    }
    File::open(path)
}

/// One byte more than is taken is asked for, so that a larger file is noticed.
fn within(file: File, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > bytes_max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {bytes_max} bytes")));
    }
    Ok(bytes)
}

/// Writes a new file and puts it in the place of the old one, which whoever has it open keeps: it is at no
/// moment readable by others, nor half-written, also when the machine dies. It belongs to the owner of the old
/// one, so that an administrator who changes it does not take it from the service.
///
/// # Errors
/// It cannot be written; the old one stands.
pub fn replace(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    replace_bytes(path, text.as_bytes(), mode)
}

/// As [`replace`], of a file that is no text.
///
/// # Errors
/// As [`replace`].
pub fn replace_bytes(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let (temporary, mut file) = temporary(path, mode)?;
    let mut write = || {
        if let Ok(old) = path.metadata() {
            let new = file.metadata()?;
            if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
                fchown(&file, Some(old.uid()), Some(old.gid()))?;
            }
        }
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().inspect_err(|_| drop(std::fs::remove_file(&temporary)))?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

/// A new file beside `path`. One of the same name was left by a process that died: its number returns.
fn temporary(path: &Path, mode: u32) -> io::Result<(PathBuf, File)> {
    let mut attempt = 0;
    loop {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.{attempt}", std::process::id()));
        let temporary = path.with_file_name(name);
        match OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < ATTEMPTS => attempt += 1,
            opened => return opened.map(|file| (temporary, file)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_file_that_others_may_read_or_that_is_too_large_or_no_text_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        assert!(read_private(&path, 9).unwrap_err().is_absent());
        std::fs::write(&path, "secret").unwrap();
        for mode in [0o604, 0o640, 0o620, 0o601, 0o777] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let refused = read_private(&path, 9).unwrap_err();
            assert!(matches!(refused.problem, FileProblem::Shared(found) if found == mode), "{mode:o}");
            assert!(refused.to_string().contains(&format!("(mode {mode:04o})")), "{refused}");
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
        assert!(read_private(&path, 5).unwrap_err().to_string().ends_with(": larger than 5 bytes"));
        assert_eq!(read_private(&path, 6).unwrap(), "secret");
        replace(&path, "", 0o600).unwrap();
        std::fs::write(&path, [0xff]).unwrap();
        assert!(matches!(read_private(&path, 9).unwrap_err().problem, FileProblem::NotText));
        assert_eq!(read_text(&path, 9).unwrap_err().to_string(), "not UTF-8");
    }

    #[test]
    fn what_is_no_file_is_not_waited_for_and_what_is_too_large_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for path in [directory.path(), &socket, Path::new("/dev/zero")] {
            assert_eq!(read(path, 9).unwrap_err().to_string(), "not a file", "{}", path.display());
        }
        let path = directory.path().join("text");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read_text(&path, 5).unwrap(), "12345");
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        for refused in [read_text(&path, 4).map(String::into_bytes), read(&path, 4), read(&path, 0)] {
            assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        }
        assert_eq!(read(&path, 4).unwrap_err().to_string(), "larger than 4 bytes");
    }

    #[test]
    fn what_cannot_be_written_leaves_the_old_file_and_nothing_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let taken = directory.path().join("taken");
        std::fs::create_dir_all(taken.join("inside")).unwrap();
        assert!(replace(&taken, "text", 0o600).is_err());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        assert!(replace(&directory.path().join("absent/file"), "text", 0o600).is_err());
    }

    #[test]
    fn a_replaced_file_has_its_mode_and_who_has_the_old_one_open_keeps_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "old").unwrap();
        let mut old = File::open(&path).unwrap();
        // What a dead process of the same number has left.
        let left = directory.path().join(format!("file.{}.0", std::process::id()));
        std::fs::write(&left, "half").unwrap();
        replace(&path, "new", 0o600).unwrap();
        let mut text = String::new();
        old.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), std::fs::read_to_string(&path).unwrap().as_str()), ("old", "new"));
        assert_eq!(mode(&path), 0o600);
        assert_eq!(std::fs::read_to_string(&left).unwrap(), "half");
    }
}
