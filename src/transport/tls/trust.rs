//! Is this chain of client certificates trusted, now? The same answer in the handshake and long after it.
//!
//! webpki builds and verifies the path: signatures, validity, CA and path length, name constraints, key usage,
//! revocation of every certificate below the anchor. What stands here is which anchors and lists it is given,
//! what it leaves out of its sight (the anchors' own validity), and the deny list.

use super::crl::Crl;
use super::deny::{Denials, DenyList};
use crate::identity::IdentityError;
use crate::identity::certificate::{self, Names};
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use webpki::{CertRevocationList, EndEntityCert, Error, KeyUsage, RevocationOptionsBuilder, VerifiedPath};
use x509_parser::certificate::X509Certificate;

/// Certificates that a client may present.
const CHAIN_MAX: usize = 10;

/// Everything that decides whether a chain is trusted; never changed, only replaced, but for the deny list.
pub(super) struct Trust {
    /// By trust domain; `client_ca` under the empty name.
    pub(super) bundles: BTreeMap<String, Bundle>,
    /// The newest first.
    pub(super) crls: Vec<Crl>,
    /// How long after `nextUpdate` a list is still believed.
    pub(super) grace_s: u64,
    pub(super) denials: Arc<Denials>,
    pub(super) algorithms: &'static [&'static dyn SignatureVerificationAlgorithm],
}

/// The CAs of one trust domain.
#[derive(Debug, PartialEq)]
pub(super) struct Bundle {
    anchors: Vec<TrustAnchor<'static>>,
    /// What an anchor does not tell of its certificate, in the same order.
    authorities: Vec<Authority>,
}

#[derive(Debug, PartialEq)]
struct Authority {
    not_before: UnixTime,
    not_after: UnixTime,
    path_length_max: Option<u32>,
    serial: Vec<u8>,
}

/// Why a chain is not trusted.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Distrust {
    #[error("{0}")]
    Unclear(IdentityError),
    #[error("more than {CHAIN_MAX} certificates")]
    TooLong,
    #[error("not for clients (extended key usage clientAuth)")]
    Purpose,
    #[error("on the deny list")]
    Denied,
    #[error("expired")]
    Expired,
    #[error("not valid yet")]
    NotYetValid,
    #[error("revoked")]
    Revoked,
    #[error("the revocation list is too old")]
    ListTooOld,
    #[error("no revocation list tells whether it is revoked: {0:?}")]
    RevocationUnknown(Error),
    #[error("not trusted: {0:?}")]
    Untrusted(Error),
}

impl Trust {
    /// Until when the chain, the client's own certificate first, is trusted as long as this trust lasts.
    pub(super) fn verify(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<UnixTime, Distrust> {
        if chain.len() > CHAIN_MAX {
            return Err(Distrust::TooLong);
        }
        let parsed: Result<Vec<_>, _> = chain.iter().map(|der| certificate::parse(der)).collect();
        let parsed = parsed.map_err(Distrust::Unclear)?;
        let (Some((der, issuers)), Some(leaf)) = (chain.split_first(), parsed.first()) else {
            return Err(Distrust::Unclear(IdentityError::Missing));
        };
        let names = Names::read(leaf).map_err(Distrust::Unclear)?;
        let domain = names.trust_domain().map_err(Distrust::Unclear)?;
        let denied = self.denials.list();
        if names.uri.is_some_and(|id| denied.has_id(id))
            || parsed.iter().any(|certificate| denied.has_serial(certificate.raw_serial()))
        {
            return Err(Distrust::Denied);
        }
        for_clients(leaf)?;
        // A trust domain with a bundle of its own is vouched for by no other.
        let bundle = domain.and_then(|domain| self.bundles.get(domain)).or_else(|| self.bundles.get(""));
        let bundle = bundle.ok_or(Distrust::Untrusted(Error::UnknownIssuer))?;

        let lists = Lists::for_chain(&self.crls, &parsed, self.grace_s, now);
        let leaf = EndEntityCert::try_from(der).map_err(Distrust::from)?;
        let path = leaf
            .verify_for_usage(
                self.algorithms,
                &bundle.anchors,
                issuers,
                now,
                KeyUsage::client_auth(),
                RevocationOptionsBuilder::new(&lists.believed).ok().map(RevocationOptionsBuilder::build),
                Some(&|path| believe(bundle, &denied, path, now)),
            )
            .map_err(Distrust::from);
        let path = match path {
            Err(Distrust::RevocationUnknown(_)) if lists.too_old => return Err(Distrust::ListTooOld),
            Err(distrust) => return Err(distrust),
            // Not a single list to ask is no better than lists that know nothing.
            Ok(_) if lists.believed.is_empty() && lists.too_old => return Err(Distrust::ListTooOld),
            Ok(_) if lists.believed.is_empty() && !self.crls.is_empty() => {
                return Err(Distrust::RevocationUnknown(Error::UnknownRevocationStatus));
            }
            Ok(path) => path,
        };
        Ok(lists.until.into_iter().chain(bundle.until(&path, chain, &parsed)).min().unwrap_or(now))
    }
}

impl Bundle {
    /// Takes certificates for anchors of trust; each must be one of a CA.
    pub(super) fn new(certificates: &[CertificateDer<'static>]) -> Result<Self, String> {
        let mut bundle = Self { anchors: Vec::new(), authorities: Vec::new() };
        for (number, der) in (1..).zip(certificates) {
            let at = |problem: &dyn std::fmt::Display| format!("certificate {number} of it: {problem}");
            let parsed = certificate::parse(der).map_err(|_| at(&"cannot be read"))?;
            let constraints = parsed.basic_constraints().map_err(|error| at(&error))?;
            if !constraints.as_ref().is_some_and(|constraints| constraints.value.ca) {
                return Err(at(&"is not one of a CA (basic constraints)"));
            }
            let anchor = webpki::anchor_from_trusted_cert(der).map_err(|error| at(&format!("{error:?}")))?;
            bundle.anchors.push(anchor.to_owned());
            bundle.authorities.push(Authority {
                not_before: time(parsed.validity().not_before.timestamp()),
                not_after: time(parsed.validity().not_after.timestamp()),
                path_length_max: constraints.and_then(|constraints| constraints.value.path_len_constraint),
                serial: parsed.raw_serial().to_vec(),
            });
        }
        Ok(bundle)
    }

    /// The names by which clients choose among their certificates, DER without the outer SEQUENCE.
    pub(super) fn subjects(&self) -> impl Iterator<Item = &[u8]> {
        self.anchors.iter().map(|anchor| anchor.subject.as_ref())
    }

    /// The validity of the CA that expires next; of the one that expired last, if all have.
    pub(super) fn next_to_expire(&self, now: UnixTime) -> Option<(UnixTime, UnixTime)> {
        let validities = || self.authorities.iter().map(|of| (of.not_before, of.not_after));
        let still = validities().filter(|(_, until)| *until >= now).min_by_key(|(_, until)| *until);
        still.or_else(|| validities().max_by_key(|(_, until)| *until))
    }

    fn authority(&self, path: &VerifiedPath<'_>) -> Option<&Authority> {
        let is_it = |(anchor, _): &(&TrustAnchor<'_>, _)| std::ptr::eq(*anchor, path.anchor());
        self.anchors.iter().zip(&self.authorities).find(is_it).map(|(_, authority)| authority)
    }

    /// The ends of validity on a path.
    fn until<'p>(
        &'p self,
        path: &'p VerifiedPath<'_>,
        chain: &'p [CertificateDer<'_>],
        parsed: &'p [X509Certificate<'_>],
    ) -> impl Iterator<Item = UnixTime> + 'p {
        let on_path = |der: &CertificateDer<'_>| {
            path.end_entity().der() == *der
                || path.intermediate_certificates().any(|certificate| certificate.der() == *der)
        };
        let presented = chain.iter().zip(parsed).filter(move |(der, _)| on_path(der));
        let ends = presented.map(|(_, parsed)| time(parsed.validity().not_after.timestamp()));
        ends.chain(self.authority(path).map(|authority| authority.not_after))
    }
}

/// The revocation lists of a chain's CAs.
struct Lists<'t> {
    /// Those of the very keys first, then the newest: webpki asks the first that fits.
    believed: Vec<&'t CertRevocationList<'t>>,
    /// When the first of them becomes too old.
    until: Option<UnixTime>,
    /// Whether one is left out because it is too old.
    too_old: bool,
}

impl<'t> Lists<'t> {
    fn for_chain(crls: &'t [Crl], chain: &[X509Certificate<'_>], grace_s: u64, now: UnixTime) -> Self {
        let speaking: Vec<&Crl> = crls.iter().filter(|crl| crl.speaks_for(chain)).collect();
        let (mut believed, too_old): (Vec<&Crl>, Vec<&Crl>) =
            speaking.into_iter().partition(|crl| now <= crl.believed_until(grace_s));
        believed.sort_by_key(|crl| !crl.same_key(chain));
        Self {
            until: believed.iter().map(|crl| crl.believed_until(grace_s)).min(),
            believed: believed.into_iter().map(|crl| &crl.list).collect(),
            too_old: !too_old.is_empty(),
        }
    }
}

impl Distrust {
    /// In words for the caller, who is not told what is on our lists.
    pub(super) fn words(&self) -> IdentityError {
        IdentityError::Invalid(match self {
            Self::Unclear(error) => return error.clone(),
            Self::TooLong => "the client's chain of certificates is too long",
            Self::Purpose => "the client certificate is not for clients (extended key usage clientAuth)",
            Self::Denied => "the client certificate, or one that it depends on, is on the deny list",
            Self::Expired => "the client certificate, or one that it depends on, has expired",
            Self::NotYetValid => "the client certificate, or one that it depends on, is not valid yet",
            Self::Revoked => "the client certificate, or one that it depends on, has been revoked",
            Self::ListTooOld => "the revocation list of the client certificate's CA is too old",
            Self::RevocationUnknown(_) => {
                "no revocation list tells whether the client certificate is revoked"
            }
            Self::Untrusted(_) => "the client certificate is not, or no longer, trusted here",
        })
    }
}

impl From<Error> for Distrust {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "webpki's enum: whatever it objects to, it is not trusted"
    )]
    fn from(error: Error) -> Self {
        match error {
            Error::CertExpired { .. } | Error::InvalidCertValidity => Self::Expired,
            Error::CertNotValidYet { .. } => Self::NotYetValid,
            Error::CertRevoked => Self::Revoked,
            Error::CertDistrusted => Self::Denied,
            Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => Self::Purpose,
            Error::UnknownRevocationStatus
            | Error::InvalidCrlSignatureForPublicKey
            | Error::UnsupportedCrlSignatureAlgorithmContext(_)
            | Error::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_)
            | Error::IssuerNotCrlSigner => Self::RevocationUnknown(error),
            _ => Self::Untrusted(error),
        }
    }
}

/// What webpki does not ask of an anchor, which to it is a name and a key.
fn believe(bundle: &Bundle, denied: &DenyList, path: &VerifiedPath<'_>, time: UnixTime) -> Result<(), Error> {
    let authority = bundle.authority(path).ok_or(Error::UnknownIssuer)?;
    let Authority { not_before, not_after, path_length_max, ref serial } = *authority;
    if denied.has_serial(serial) {
        return Err(Error::CertDistrusted);
    }
    if time < not_before {
        return Err(Error::CertNotValidYet { time, not_before });
    }
    if time > not_after {
        return Err(Error::CertExpired { time, not_after });
    }
    let below = u32::try_from(path.intermediate_certificates().count()).unwrap_or(u32::MAX);
    if path_length_max.is_some_and(|most| below > most) {
        return Err(Error::PathLenConstraintViolated);
    }
    Ok(())
}

/// webpki lets certificates pass that do not say what they are for; a client's has to.
fn for_clients(leaf: &X509Certificate<'_>) -> Result<(), Distrust> {
    let usage = leaf.extended_key_usage().map_err(|_| Distrust::Purpose)?;
    if usage.is_some_and(|usage| usage.value.client_auth) { Ok(()) } else { Err(Distrust::Purpose) }
}

pub(super) fn time(seconds: i64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}
