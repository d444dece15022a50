//! Which files make up the log, and where does it end?

use crate::audit::chain::{self, Head, LINE_BYTES_MAX};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The last number that a name of eight digits can say.
const NUMBER_MAX: u32 = 99_999_999;

/// The files of a log, by number.
#[derive(Debug)]
pub(crate) struct Segments {
    directory: PathBuf,
    numbers: Vec<u32>,
}

/// Where a log ends.
#[derive(Debug)]
pub(super) struct End {
    /// The last good line.
    pub(super) head: Head,
    /// Number of the last file; 0 if there is none.
    pub(super) number: u32,
    /// Its size.
    pub(super) size_bytes: u64,
    /// The last file, if nothing may be appended to it.
    pub(super) torn: Option<PathBuf>,
}

impl Segments {
    /// Lists the directory; files of other names are none of the log's.
    pub(crate) fn list(directory: &Path) -> io::Result<Self> {
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            numbers.extend(entry?.file_name().to_str().and_then(number_of));
        }
        numbers.sort_unstable();
        Ok(Self { directory: directory.to_owned(), numbers })
    }

    /// The files with their numbers, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, PathBuf)> + '_ {
        self.numbers.iter().map(|number| (*number, path_of(&self.directory, *number)))
    }

    /// Finds the last good line, over the torn lines that interrupted writes have left. The inner error
    /// is the file whose end no single interrupted write explains.
    pub(super) fn end(&self) -> io::Result<Result<End, PathBuf>> {
        let mut end = End { head: Head::START, number: 0, size_bytes: 0, torn: None };
        let mut last = true;
        for number in self.numbers.iter().rev() {
            let path = path_of(&self.directory, *number);
            let mut file = File::open(&path)?;
            let size_bytes = file.metadata()?.len();
            let tail = Tail::read(&mut file, size_bytes)?;
            if last {
                (end.number, end.size_bytes) = (*number, size_bytes);
                end.torn = tail.torn.then(|| path.clone());
                last = false;
            }
            match tail.head {
                Some(Ok(head)) => {
                    end.head = head;
                    return Ok(Ok(end));
                }
                Some(Err(_)) => return Ok(Err(path)),
                None => {}
            }
        }
        Ok(Ok(end))
    }
}

/// The end of one file.
struct Tail {
    /// What its last line says, or the one before a torn line; `None` if the file holds no other line.
    head: Option<Result<Head, chain::LineError>>,
    torn: bool,
}

impl Tail {
    fn read(file: &mut File, size_bytes: u64) -> io::Result<Self> {
        let window = u64::try_from(2 * LINE_BYTES_MAX).unwrap_or(u64::MAX).min(size_bytes);
        file.seek(SeekFrom::Start(size_bytes - window))?;
        let mut bytes = Vec::new();
        file.take(window).read_to_end(&mut bytes)?;
        let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').rev();
        let Some(last) = lines.next() else { return Ok(Self { head: None, torn: false }) };
        if let Ok((_, head)) = chain::read(last) {
            return Ok(Self { head: Some(Ok(head)), torn: false });
        }
        let before = lines.next().map(|line| chain::read(line).map(|(_, head)| head));
        Ok(Self { head: before, torn: true })
    }
}

/// Creates the directory for the owner alone; one that exists is left as it is.
pub(super) fn create_directory(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// Opens a file of the directory for writing, created for the owner alone.
pub(super) fn create_or_open(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Opens a file of the log to append to it.
pub(super) fn open(directory: &Path, number: u32) -> io::Result<File> {
    OpenOptions::new().append(true).open(path_of(directory, number))
}

/// Creates the file after `number`; fails if it exists.
pub(super) fn create_after(directory: &Path, number: u32) -> io::Result<(u32, File)> {
    let number = number.saturating_add(1);
    if number > NUMBER_MAX {
        return Err(io::Error::other("the audit log has used up its file numbers"));
    }
    let mut options = OpenOptions::new();
    let file = options.append(true).create_new(true).mode(0o600).open(path_of(directory, number))?;
    Ok((number, file))
}

fn path_of(directory: &Path, number: u32) -> PathBuf {
    directory.join(format!("{number:08}.jsonl"))
}

fn number_of(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".jsonl")?;
    let number = digits.parse().ok()?;
    (digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_digit()) && number > 0).then_some(number)
}
