//! What do the files of `[tls]` hold? Read within bounds, each problem with the key that names the file.

use super::TlsError;
use crate::file;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use std::fmt::Display;
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
    let text = file::read_private(path, PEM_BYTES_MAX);
    let text = text.map_err(|error| problem("key", path, error.problem))?;
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| problem("key", path, words(&error)))
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
    file::read_text(path, DENY_LIST_BYTES_MAX).map_err(|error| problem("deny_list", path, error))
}

pub(super) fn problem(key: &str, path: &Path, problem: impl Display) -> TlsError {
    TlsError::File { key: key.to_owned(), path: path.to_owned(), problem: problem.to_string() }
}

fn read(key: &str, path: &Path, bytes_max: u64) -> Result<Vec<u8>, TlsError> {
    file::read(path, bytes_max).map_err(|error| problem(key, path, error))
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
