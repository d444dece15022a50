//! Which certificates does a revocation list speak for, and until when is it believed?
//!
//! webpki verifies signature, scope and content of a list for each chain. What stands here is the choice among
//! lists: CAs that renew their key under the same name (Active Directory Certificate Services does) have several.

use rustls::pki_types::{CertificateRevocationListDer, UnixTime};
use std::time::Duration;
use webpki::{CertRevocationList, OwnedCertRevocationList};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{ParsedExtension, X509Extension};
use x509_parser::num_bigint::BigUint;
use x509_parser::oid_registry::{
    OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER, OID_X509_EXT_ISSUER_DISTRIBUTION_POINT, Oid,
};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

/// A revocation list (RFC 5280, section 5).
pub(super) struct Crl {
    /// As webpki wants it.
    pub(super) list: CertRevocationList<'static>,
    /// Its place in the configuration, for the metric.
    pub(super) number: usize,
    /// When it was made, seconds since the Unix epoch.
    pub(super) this_update: i64,
    /// Its CRL number: which of two made in the same second is the later one.
    sequence: (usize, Vec<u8>),
    /// When the next one was to be made at the latest.
    pub(super) next_update: UnixTime,
    /// The name of the CA, DER.
    issuer: Vec<u8>,
    /// Which of the CA's keys has signed it.
    authority_key: Option<Vec<u8>>,
    /// Which part of the CA's certificates it is about.
    scope: Option<Vec<u8>>,
}

impl Crl {
    /// Parses a list; what is unusual enough that webpki would not apply it (delta and indirect lists, lists
    /// without `nextUpdate`) is refused.
    pub(super) fn parse(der: &CertificateRevocationListDer<'_>, number: usize) -> Result<Self, String> {
        let ([], read) = CertificateRevocationList::from_der(der).map_err(|_| "not a revocation list")?
        else {
            return Err("trailing bytes".to_owned());
        };
        let next_update = read.next_update().ok_or("no nextUpdate: nobody can tell when it is too old")?;
        let next_update = u64::try_from(next_update.timestamp()).unwrap_or(0);
        let sequence = read.crl_number().map_or_else(Vec::new, BigUint::to_bytes_be);
        let list = OwnedCertRevocationList::from_der(der).map_err(|error| format!("{error:?}"))?;
        Ok(Self {
            list: CertRevocationList::from(list),
            number,
            this_update: read.last_update().timestamp(),
            sequence: (sequence.len(), sequence),
            next_update: UnixTime::since_unix_epoch(Duration::from_secs(next_update)),
            issuer: read.issuer().as_raw().to_vec(),
            authority_key: key_identifier(read.extensions()),
            scope: extension(read.extensions(), &OID_X509_EXT_ISSUER_DISTRIBUTION_POINT)
                .map(|extension| extension.value.to_vec()),
        })
    }

    /// Until when it is believed, with a grace period in seconds.
    pub(super) fn believed_until(&self, grace_s: u64) -> UnixTime {
        let seconds = self.next_update.as_secs().saturating_add(grace_s);
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    /// Whether the CA that it is from has issued one of these certificates; by which key is left open.
    pub(super) fn speaks_for(&self, chain: &[X509Certificate<'_>]) -> bool {
        chain.iter().any(|certificate| certificate.issuer().as_raw() == self.issuer)
    }

    /// Whether the very key that has signed it has signed one of these certificates, as both say.
    pub(super) fn same_key(&self, chain: &[X509Certificate<'_>]) -> bool {
        let same = |certificate: &X509Certificate<'_>| {
            certificate.issuer().as_raw() == self.issuer
                && key_identifier(certificate.extensions()) == self.authority_key
        };
        self.authority_key.is_some() && chain.iter().any(same)
    }
}

/// The newest of each CA, key and scope, newest first: an older one would un-revoke.
pub(super) fn newest(mut lists: Vec<Crl>) -> Vec<Crl> {
    lists.sort_by(|a, b| (b.this_update, &b.sequence).cmp(&(a.this_update, &a.sequence)));
    let mut kept: Vec<Crl> = Vec::new();
    for list in lists {
        let same = |other: &Crl| {
            other.issuer == list.issuer
                && other.authority_key == list.authority_key
                && other.scope == list.scope
        };
        if !kept.iter().any(same) {
            kept.push(list);
        }
    }
    kept
}

fn extension<'e, 'a>(extensions: &'e [X509Extension<'a>], oid: &Oid<'_>) -> Option<&'e X509Extension<'a>> {
    extensions.iter().find(|extension| extension.oid == *oid)
}

fn key_identifier(extensions: &[X509Extension<'_>]) -> Option<Vec<u8>> {
    let found = extension(extensions, &OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER)?;
    let ParsedExtension::AuthorityKeyIdentifier(key) = found.parsed_extension() else { return None };
    key.key_identifier.as_ref().map(|id| id.0.to_vec())
}
