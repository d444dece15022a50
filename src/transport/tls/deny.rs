//! Who is turned away before a CA has revoked it: serial numbers and SPIFFE IDs from a TOML file.

use super::{TlsError, files};
use crate::clock::Now;
use crate::digest::hex;
use crate::identity::certificate::spiffe_id;
use crate::reload::Reloadable;
use arc_swap::{ArcSwap, Guard};
use serde::Deserialize;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The longest serial number, in bytes (RFC 5280, section 4.1.2.2), as two digits a byte.
const SERIAL_DIGITS_MAX: usize = 40;

/// The deny list in service. It is a source of its own, because it is for what cannot wait: nothing that is wrong
/// with certificates or revocation lists keeps it out.
#[derive(Debug, Default)]
pub struct Denials {
    /// Without a file nobody is denied.
    path: Option<PathBuf>,
    list: ArcSwap<DenyList>,
    generation: AtomicU64,
}

impl Denials {
    /// Reads the file.
    pub(super) fn start(path: Option<&Path>) -> Result<Self, TlsError> {
        let list = path.map(read).transpose()?.unwrap_or_default();
        let path = path.map(Path::to_owned);
        Ok(Self { path, list: ArcSwap::from_pointee(list), generation: AtomicU64::new(0) })
    }

    /// Whether there is a file to read anew.
    pub(super) fn has_file(&self) -> bool {
        self.path.is_some()
    }

    pub(super) fn list(&self) -> Guard<Arc<DenyList>> {
        self.list.load()
    }

    /// How many times another list was put into service.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}

impl Reloadable for Denials {
    fn name(&self) -> &'static str {
        "deny_list"
    }

    fn files(&self) -> Vec<PathBuf> {
        self.path.iter().cloned().collect()
    }

    fn reload(&self, _now: Now) -> Result<(), String> {
        let Some(path) = &self.path else { return Ok(()) };
        let list = read(path).map_err(|error| error.to_string())?;
        self.list.store(Arc::new(list));
        self.generation.fetch_add(1, Ordering::Release);
        Ok(())
    }
}

fn read(path: &Path) -> Result<DenyList, TlsError> {
    DenyList::parse(&files::deny_list(path)?).map_err(|problem| files::problem("deny_list", path, problem))
}

/// The deny list, parsed.
#[derive(Debug, Default)]
pub(super) struct DenyList {
    /// Small hexadecimal digits without leading zeros.
    serials: HashSet<String>,
    spiffe_ids: HashSet<String>,
}

/// The file. Both keys must stand in it, if only as `[]`: a file that was cut off is no shorter deny list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DenyFile {
    serials: Vec<String>,
    spiffe_ids: Vec<String>,
}

impl DenyList {
    /// Parses the text of the file.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let file: DenyFile = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            format!("line {}: {}", before.matches('\n').count() + 1, error.message())
        })?;
        let mut list = Self::default();
        for serial in file.serials {
            let digits = serial.replace(':', "").to_ascii_lowercase();
            let hexadecimal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            if digits.is_empty() || digits.len() > SERIAL_DIGITS_MAX || !hexadecimal {
                return Err(format!("serials: `{serial}`: hexadecimal digits, at most {SERIAL_DIGITS_MAX}"));
            }
            list.serials.insert(significant(&digits).to_owned());
        }
        for id in file.spiffe_ids {
            if spiffe_id(&id).is_err() {
                return Err(format!("spiffe_ids: `{id}`: no SPIFFE ID, as spiffe://hospital.example/pacs"));
            }
            list.spiffe_ids.insert(id);
        }
        Ok(list)
    }

    /// Whether a certificate with this serial number (the content of its DER INTEGER) is turned away.
    pub(super) fn has_serial(&self, serial: &[u8]) -> bool {
        !self.serials.is_empty() && self.serials.contains(significant(&hex(serial)))
    }

    /// Whether this workload is turned away.
    pub(super) fn has_id(&self, id: &str) -> bool {
        self.spiffe_ids.contains(id)
    }
}

/// Digits without leading zeros: tools print the byte that keeps an INTEGER positive, or do not.
fn significant(digits: &str) -> &str {
    digits.trim_start_matches('0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_deny_list_is_refused_with_its_line_or_entry() {
        for (text, wanted) in [
            ("", "serials"),
            ("serials = []", "spiffe_ids"),
            ("serials = []\nspiffe_ids = []\nserial = []", "line 3: unknown field `serial`"),
            ("serials = [\"12\", \"xy\"]\nspiffe_ids = []", "`xy`"),
            ("serials = [\"\"]\nspiffe_ids = []", "``"),
            ("serials = [17]\nspiffe_ids = []", "line 1: "),
            ("serials = [\"01:02\"]\nspiffe_ids = [\"hospital.example/a\"]", "`hospital.example/a`"),
            ("serials = [\"01:02\"]\nspiffe_ids = [\"spiffe://a/b\"", "line "),
        ] {
            let problem = DenyList::parse(text).unwrap_err();
            assert!(problem.contains(wanted), "{text}: {problem}");
        }
        let long = format!("serials = [\"{}\"]\nspiffe_ids = []", "1".repeat(41));
        assert!(DenyList::parse(&long).is_err());
    }

    #[test]
    fn a_serial_number_is_the_same_in_every_notation() {
        let list = DenyList::parse("serials = [\"00:8F:01\", \"0a\", \"0\"]\nspiffe_ids = []").unwrap();
        for denied in [&[0x8f, 1][..], &[0, 0x8f, 1], &[10], &[0]] {
            assert!(list.has_serial(denied), "{denied:?}");
        }
        for other in [&[0x8f][..], &[1], &[0x8f, 1, 0], &[0xa0]] {
            assert!(!list.has_serial(other), "{other:?}");
        }
        assert!(!DenyList::parse("serials = []\nspiffe_ids = []").unwrap().has_serial(&[0]));
    }
}
