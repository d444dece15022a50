//! What do the files of `[tls]` hold? Read within bounds, each problem with the key that names the file.

use super::TlsError;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use std::fmt::Display;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The largest files that are read, in bytes. The revocation list of a CA of a million clients has 40 MB.
const PEM_BYTES_MAX: u64 = 4 << 20;
const CRL_BYTES_MAX: u64 = 64 << 20;
const DENY_LIST_BYTES_MAX: u64 = 16 << 20;

/// The certificates in a PEM file, at least one.
pub(super) fn certificates(key: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(key, path, PEM_BYTES_MAX)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = read.map_err(|error| problem(key, path, words(&error)))?;
    if chain.is_empty() {
        return Err(problem(key, path, "no certificate in it"));
    }
    Ok(chain)
}

/// A private key whose file nobody but its owner may read.
pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    use std::os::unix::fs::PermissionsExt;
    let mut file = open("key", path)?;
    let metadata = file.metadata().map_err(|error| problem("key", path, error))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(problem("key", path, "readable by others than its owner; chmod 600"));
    }
    let text = read_open("key", path, &mut file, PEM_BYTES_MAX)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| problem("key", path, words(&error)))
}

/// The revocation lists in a PEM or DER file, at least one.
pub(super) fn revocation_lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let bytes = read("crl", path, CRL_BYTES_MAX)?;
    // DER begins with the tag of a SEQUENCE, text does not.
    if bytes.first() == Some(&0x30) {
        return Ok(vec![CertificateRevocationListDer::from(bytes)]);
    }
    let read: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
    let lists = read.map_err(|error| problem("crl", path, words(&error)))?;
    if lists.is_empty() {
        return Err(problem("crl", path, "no revocation list in it (PEM `X509 CRL`, or DER)"));
    }
    Ok(lists)
}

/// The text of the deny list.
pub(super) fn deny_list(path: &Path) -> Result<String, TlsError> {
    let bytes = read("deny_list", path, DENY_LIST_BYTES_MAX)?;
    String::from_utf8(bytes).map_err(|_| problem("deny_list", path, "not UTF-8"))
}

pub(super) fn problem(key: &str, path: &Path, problem: impl Display) -> TlsError {
    TlsError::File { key: key.to_owned(), path: path.to_owned(), problem: problem.to_string() }
}

fn read(key: &str, path: &Path, bytes_max: u64) -> Result<Vec<u8>, TlsError> {
    read_open(key, path, &mut open(key, path)?, bytes_max)
}

fn open(key: &str, path: &Path) -> Result<File, TlsError> {
    let at = |error: std::io::Error| problem(key, path, error);
    // Opening a pipe would wait for somebody to write to it.
    if !std::fs::metadata(path).map_err(at)?.is_file() {
        return Err(problem(key, path, "not a file"));
    }
    File::open(path).map_err(at)
}

fn read_open(key: &str, path: &Path, file: &mut File, bytes_max: u64) -> Result<Vec<u8>, TlsError> {
    let mut bytes = Vec::new();
    let read = file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|error| problem(key, path, error))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > bytes_max {
        return Err(problem(key, path, format!("larger than {bytes_max} bytes")));
    }
    Ok(bytes)
}

/// What is wrong with a PEM file, without a byte of what stands in it.
#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum: whatever else is wrong, it is no PEM")]
fn words(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "cut off: a PEM block has no end",
        pem::Error::IllegalSectionStart { .. } => "a PEM block begins wrongly",
        pem::Error::Base64Decode(_) => "a PEM block is no base64",
        pem::Error::NoItemsFound => "no such PEM block in it",
        _ => "not a PEM file",
    }
}
