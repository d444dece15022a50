//! Mutual TLS: the SPIFFE ID in the certificate's URI SAN, else its DNS SAN; never its CN (RFC 6125, 6.4.4).
//!
//! TLS has verified chain, validity, name constraints and key usage before this reads the leaf.

use super::{Authenticator, Identity, IdentityError, Mechanism, Presented};
use std::time::{Duration, UNIX_EPOCH};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// Longest SPIFFE ID (SPIFFE-ID specification, section 2.3) and longest DNS name (RFC 1035).
const SPIFFE_ID_BYTES_MAX: usize = 2048;
const DNS_NAME_BYTES_MAX: usize = 253;

/// Reads the identity in a verified client certificate.
#[derive(Debug, Default)]
pub struct Certificate {
    /// Trust domains whose SPIFFE IDs are believed; empty means any that the client CA signs.
    pub trust_domains: Vec<String>,
}

impl Authenticator for Certificate {
    fn authenticate(&self, presented: &Presented<'_>) -> Result<Option<Identity>, IdentityError> {
        let Some(der) = presented.peer.chain.first() else { return Ok(None) };
        let invalid = IdentityError::Invalid;
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|_| invalid("the client certificate cannot be read"))?;
        if !rest.is_empty() {
            return Err(invalid("the client certificate has trailing bytes"));
        }
        let names = certificate
            .subject_alternative_name()
            .map_err(|_| invalid("the client certificate's subject alternative name cannot be read"))?
            .ok_or(invalid("the client certificate has no subject alternative name"))?;
        let principal = self.principal(&names.value.general_names)?;
        let ends = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
        let expires = UNIX_EPOCH.checked_add(Duration::from_secs(ends));
        Ok(Some(Identity::new(Mechanism::Certificate, principal, expires)))
    }
}

impl Certificate {
    /// Exactly one URI SAN is a SPIFFE ID (X509-SVID, section 2); without any, the first DNS SAN speaks.
    fn principal(&self, names: &[GeneralName<'_>]) -> Result<String, IdentityError> {
        let mut uri = None;
        let mut dns = None;
        for name in names {
            match name {
                GeneralName::URI(_) if uri.is_some() => {
                    return Err(IdentityError::Invalid("the client certificate has more than one URI name"));
                }
                GeneralName::URI(value) => uri = Some(*value),
                GeneralName::DNSName(value) if dns.is_none() => dns = Some(*value),
                // Other kinds of name say who somebody is in other protocols.
                GeneralName::DNSName(_)
                | GeneralName::OtherName(..)
                | GeneralName::RFC822Name(_)
                | GeneralName::X400Address(_)
                | GeneralName::DirectoryName(_)
                | GeneralName::EDIPartyName(_)
                | GeneralName::IPAddress(_)
                | GeneralName::RegisteredID(_)
                | GeneralName::Invalid(..) => {}
            }
        }
        match (uri, dns) {
            (Some(uri), _) => self.spiffe(uri),
            (None, Some(dns)) => dns_name(dns),
            (None, None) => {
                Err(IdentityError::Invalid("the client certificate has neither a URI nor a DNS name"))
            }
        }
    }

    fn spiffe(&self, uri: &str) -> Result<String, IdentityError> {
        let invalid = IdentityError::Invalid("the client certificate's URI name is not a SPIFFE ID");
        let rest = uri.strip_prefix("spiffe://").ok_or(invalid.clone())?;
        let (domain, path) = rest.split_once('/').ok_or(invalid.clone())?;
        let domain_char =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
        let path_char = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        let segment = |s: &str| !s.is_empty() && s != "." && s != ".." && s.bytes().all(path_char);
        let good = !domain.is_empty() && domain.bytes().all(domain_char) && path.split('/').all(segment);
        if !good || uri.len() > SPIFFE_ID_BYTES_MAX {
            return Err(invalid);
        }
        if !self.trust_domains.is_empty() && !self.trust_domains.iter().any(|d| d == domain) {
            return Err(IdentityError::Invalid("the client's SPIFFE trust domain is not one of ours"));
        }
        Ok(uri.to_owned())
    }
}

fn dns_name(name: &str) -> Result<String, IdentityError> {
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
    use crate::clock::Now;
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
        let authenticator = Certificate { trust_domains: vec!["hospital.example".into()] };
        ask(&authenticator, &[der]).map(|identity| identity.unwrap().principal().to_owned())
    }

    fn ask(authenticator: &Certificate, chain: &[&[u8]]) -> Result<Option<Identity>, IdentityError> {
        let peer =
            Peer { chain: chain.iter().map(|der| der.to_vec()).collect(), tls: true, ..Peer::default() };
        let credentials = Credentials::default();
        authenticator.authenticate(&Presented { peer: &peer, credentials: &credentials, now: Now::read() })
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
