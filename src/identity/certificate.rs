//! Mutual TLS: the SPIFFE ID in the certificate's URI SAN, else its DNS SAN; never its CN (RFC 6125, 6.4.4).
//!
//! TLS has verified the chain in the handshake. Whoever is identified again, on a connection that is still open
//! while trust changes, is verified again here before the name is read.

use super::{Authenticator, Identity, IdentityError, Mechanism, Presented};
use crate::clock::Now;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// Longest SPIFFE ID (SPIFFE-ID specification, section 2.3) and longest DNS name (RFC 1035).
const SPIFFE_ID_BYTES_MAX: usize = 2048;
const DNS_NAME_BYTES_MAX: usize = 253;

/// Names that one certificate may have.
const NAMES_MAX: usize = 64;

/// Who judges whether a chain of certificates is trusted: the present bundles, revocation lists and deny list.
pub trait Trust: Send + Sync {
    /// Until when the chain (DER, the client's own certificate first) is trusted, as long as what is trusted
    /// does not change.
    ///
    /// # Errors
    /// It is not trusted, in words for the caller.
    fn verify(&self, chain: &[Vec<u8>], now: Now) -> Result<SystemTime, IdentityError>;

    /// Whether the deny list names this SPIFFE ID, whoever vouches for it.
    fn denies(&self, spiffe_id: &str) -> bool;
}

/// Reads the identity in a verified client certificate.
#[derive(Default)]
pub struct Certificate {
    /// Trust domains whose SPIFFE IDs are believed; empty means any that the client CA signs.
    pub trust_domains: Vec<String>,
    /// Verifies the chain again before a name is read; without it the handshake's word counts.
    pub trust: Option<Arc<dyn Trust>>,
}

impl Authenticator for Certificate {
    fn authenticate(&self, presented: &Presented<'_>) -> Result<Option<Identity>, IdentityError> {
        let chain = &presented.peer.chain;
        let Some(der) = chain.first() else { return Ok(None) };
        let trusted_until = match &self.trust {
            Some(trust) => Some(trust.verify(chain, presented.now)?),
            None => None,
        };
        let certificate = parse(der)?;
        let names = Names::read(&certificate)?;
        if let Some(uri) = names.uri {
            may_not_sign(&certificate)?;
            self.believe(spiffe_id(uri)?)?;
        }
        let principal = names.principal()?;
        let ends = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
        let ends = UNIX_EPOCH.checked_add(Duration::from_secs(ends));
        let expires = ends.map(|ends| trusted_until.map_or(ends, |until| until.min(ends))).or(trusted_until);
        Ok(Some(Identity::new(Mechanism::Certificate, principal, expires)))
    }
}

impl Certificate {
    /// The SPIFFE ID, if it is one and its trust domain is believed.
    pub(crate) fn spiffe(&self, uri: &str) -> Result<String, IdentityError> {
        self.believe(spiffe_id(uri)?)?;
        Ok(uri.to_owned())
    }

    fn believe(&self, domain: &str) -> Result<(), IdentityError> {
        if self.trust_domains.is_empty() || self.trust_domains.iter().any(|known| known == domain) {
            return Ok(());
        }
        Err(IdentityError::Invalid("the client's SPIFFE trust domain is not one of ours"))
    }
}

/// Parses one certificate that ends where its bytes end.
pub(crate) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, IdentityError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(IdentityError::Invalid("the client certificate has trailing bytes")),
        Err(_) => Err(IdentityError::Invalid("the client certificate cannot be read")),
    }
}

/// The names in a certificate by which a client may be known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names<'a> {
    /// The only URI.
    pub(crate) uri: Option<&'a str>,
    /// The first DNS name.
    pub(crate) dns: Option<&'a str>,
}

impl<'a> Names<'a> {
    /// Reads the subject alternative name; one that could be read in two ways is refused whole, also for the
    /// sake of a name that would not have been used (CVE-2009-2408).
    pub(crate) fn read(certificate: &X509Certificate<'a>) -> Result<Self, IdentityError> {
        let invalid = IdentityError::Invalid;
        let unreadable = invalid("the client certificate's subject alternative name cannot be read");
        let names = certificate.subject_alternative_name().map_err(|_| unreadable.clone())?;
        let Some(names) = names else { return Ok(Self::default()) };
        if names.value.general_names.len() > NAMES_MAX {
            return Err(invalid("the client certificate has too many names"));
        }
        let mut read = Self::default();
        for name in &names.value.general_names {
            match name {
                GeneralName::URI(text) => {
                    if read.uri.replace(plain(text)?).is_some() {
                        return Err(invalid("the client certificate has more than one URI name"));
                    }
                }
                GeneralName::DNSName(text) => {
                    read.dns.get_or_insert(plain(text)?);
                }
                GeneralName::RFC822Name(text) => drop(plain(text)?),
                GeneralName::Invalid(..) => return Err(unreadable),
                // Other kinds of name say who somebody is in other protocols.
                GeneralName::OtherName(..)
                | GeneralName::X400Address(_)
                | GeneralName::DirectoryName(_)
                | GeneralName::EDIPartyName(_)
                | GeneralName::IPAddress(_)
                | GeneralName::RegisteredID(_) => {}
            }
        }
        Ok(read)
    }

    /// The trust domain of the SPIFFE ID; `None` without one.
    pub(crate) fn trust_domain(&self) -> Result<Option<&'a str>, IdentityError> {
        self.uri.filter(|uri| uri.starts_with("spiffe:")).map(spiffe_id).transpose()
    }

    /// Exactly one URI SAN is a SPIFFE ID (X509-SVID, section 2); without any, the first DNS SAN speaks.
    fn principal(&self) -> Result<String, IdentityError> {
        match (self.uri, self.dns) {
            (Some(uri), _) => spiffe_id(uri).map(|_| uri.to_owned()),
            (None, Some(dns)) => dns_name(dns),
            (None, None) => {
                Err(IdentityError::Invalid("the client certificate has neither a URI nor a DNS name"))
            }
        }
    }
}

/// A name in ASCII without control characters: IA5String (RFC 5280, section 4.2.1.6), and no NUL that ends it early.
fn plain(name: &str) -> Result<&str, IdentityError> {
    if name.bytes().any(|byte| !byte.is_ascii() || byte.is_ascii_control()) {
        return Err(IdentityError::Invalid("the client certificate has a name that is not plain ASCII"));
    }
    Ok(name)
}

/// A workload's certificate signs nobody else's (X509-SVID, section 4.3).
fn may_not_sign(certificate: &X509Certificate<'_>) -> Result<(), IdentityError> {
    let usage = certificate.key_usage();
    let usage =
        usage.map_err(|_| IdentityError::Invalid("the client certificate's key usage cannot be read"))?;
    if usage.is_some_and(|usage| usage.value.key_cert_sign() || usage.value.crl_sign()) {
        return Err(IdentityError::Invalid("the client certificate is one that signs others"));
    }
    Ok(())
}

/// The trust domain of a SPIFFE ID (SPIFFE-ID specification, section 2).
pub(crate) fn spiffe_id(uri: &str) -> Result<&str, IdentityError> {
    let invalid = IdentityError::Invalid("the client certificate's URI name is not a SPIFFE ID");
    let rest = uri.strip_prefix("spiffe://").ok_or(invalid.clone())?;
    let (domain, path) = rest.split_once('/').ok_or(invalid.clone())?;
    let path_char = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let segment = |s: &str| !s.is_empty() && s != "." && s != ".." && s.bytes().all(path_char);
    if !trust_domain(domain) || !path.split('/').all(segment) || uri.len() > SPIFFE_ID_BYTES_MAX {
        return Err(invalid);
    }
    Ok(domain)
}

/// Whether this is the bare name of a trust domain, as in `hospital.example`.
pub(crate) fn trust_domain(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
    !name.is_empty() && name.len() <= 255 && name.bytes().all(plain)
}

/// A plain host name as a principal.
pub(super) fn dns_name(name: &str) -> Result<String, IdentityError> {
    let label = |l: &str| {
        let plain = l.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        !l.is_empty() && l.len() <= 63 && plain
    };
    if name.len() > DNS_NAME_BYTES_MAX || !name.split('.').all(label) {
        return Err(IdentityError::Invalid("the client certificate's DNS name is not a plain host name"));
    }
    Ok(format!("dns:{}", name.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Credentials, Peer};
    use rcgen::{CertificateParams, KeyPair, SanType};

    fn certificate(names: Vec<SanType>) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.distinguished_name.push(rcgen::DnType::CommonName, "dns.example");
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().unwrap())
    }

    fn dns(text: &str) -> SanType {
        SanType::DnsName(text.try_into().unwrap())
    }

    fn read(der: &[u8]) -> Result<String, IdentityError> {
        let authenticator = Certificate { trust_domains: vec!["hospital.example".into()], trust: None };
        ask(&authenticator, &[der]).map(|identity| identity.unwrap().principal().to_owned())
    }

    fn ask(authenticator: &Certificate, chain: &[&[u8]]) -> Result<Option<Identity>, IdentityError> {
        let peer =
            Peer { chain: chain.iter().map(|der| der.to_vec()).collect(), tls: true, ..Peer::default() };
        let credentials = Credentials::default();
        authenticator.authenticate(&Presented { peer: &peer, credentials: &credentials, now: Now::read() })
    }

    /// Trusts everybody for an hour, or nobody.
    struct Hour(bool);

    impl Trust for Hour {
        fn verify(&self, _: &[Vec<u8>], now: Now) -> Result<SystemTime, IdentityError> {
            if self.0 {
                Ok(now.wall + Duration::from_hours(1))
            } else {
                Err(IdentityError::Invalid("not today"))
            }
        }

        fn denies(&self, _: &str) -> bool {
            false
        }
    }

    #[test]
    fn who_is_trusted_no_longer_is_refused_and_who_is_trusted_for_an_hour_is_known_for_an_hour() {
        let der = certificate(vec![dns("host.example")]);
        let with = |trust| Certificate { trust_domains: vec![], trust: Some(Arc::new(Hour(trust))) };
        assert_eq!(ask(&with(false), &[&der]), Err(IdentityError::Invalid("not today")));
        assert_eq!(ask(&with(false), &[]), Ok(None));
        let identity = ask(&with(true), &[&der]).unwrap().unwrap();
        let after = |minutes| Now { wall: Now::read().wall + Duration::from_mins(minutes), ..Now::read() };
        assert!(identity.still_valid(after(59)).is_ok());
        assert!(identity.still_valid(after(61)).is_err());
    }

    #[test]
    fn certificates_without_one_clear_name_are_refused() {
        for names in [
            vec![],
            vec![SanType::IpAddress([127, 0, 0, 1].into())],
            vec![uri("spiffe://hospital.example/a"), uri("spiffe://hospital.example/b")],
            vec![uri("https://hospital.example/a")],
            vec![uri("spiffe://hospital.example")],
            vec![uri("spiffe://hospital.example/")],
            vec![uri("spiffe://hospital.example/a/../b")],
            vec![uri("spiffe://HOSPITAL.example/a")],
            vec![uri("spiffe://elsewhere.example/a")],
            vec![uri("spiffe://user@hospital.example/a")],
            vec![dns("*.example")],
            vec![dns("nul\0.example")],
        ] {
            assert!(read(&certificate(names.clone())).is_err(), "{names:?}");
        }
        assert!(read(b"not a certificate").is_err());
    }

    #[test]
    fn the_spiffe_id_speaks_before_the_dns_name_and_the_common_name_never() {
        let both = certificate(vec![dns("host.example"), uri("spiffe://hospital.example/radiology/pacs")]);
        assert_eq!(read(&both).unwrap(), "spiffe://hospital.example/radiology/pacs");
        assert_eq!(read(&certificate(vec![dns("Host.example")])).unwrap(), "dns:host.example");
    }

    #[test]
    fn an_identity_ends_with_its_certificate_also_on_an_open_connection() {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![dns("host.example")];
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let der = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec();
        let identity = ask(&Certificate::default(), &[&der]).unwrap().unwrap();
        let at = |seconds: u64| Now { wall: UNIX_EPOCH + Duration::from_secs(seconds), ..Now::read() };
        assert!(identity.still_valid(at(1_893_456_001)).is_err());
        assert!(identity.still_valid(at(1_893_455_999)).is_ok());
    }

    #[test]
    fn without_a_certificate_this_is_not_the_authenticators_business() {
        assert_eq!(ask(&Certificate::default(), &[]), Ok(None));
    }
}
