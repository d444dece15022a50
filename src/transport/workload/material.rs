//! Which identity and which bundles does an update hold, and are there too many?

use super::Problem;
use spiffe::{PrivateKey, SpiffeId, X509Context};
use std::collections::BTreeMap;
use std::fmt;

/// What one update may hold. Its bytes are bounded by the size of a message, the chain of an identity to 16
/// certificates by the crate `spiffe`.
const IDENTITIES_MAX: usize = 64;
const TRUST_DOMAINS_MAX: usize = 256;
const AUTHORITIES_MAX: usize = 1024;

/// An X.509-SVID and whom to believe: all that TLS needs.
#[derive(Clone, PartialEq, Eq)]
pub struct Svid {
    /// `spiffe://domain/path`, from the certificate itself.
    pub spiffe_id: String,
    /// Certificates, DER, the sidecar's own first.
    pub chain: Vec<Vec<u8>>,
    /// The private key, PKCS#8 DER; overwritten when it is dropped.
    pub key: PrivateKey,
    /// The CAs of each trust domain, DER, by its name without scheme; never an empty list. A certificate of a
    /// trust domain is good under the bundle of that domain alone (SPIFFE Workload API, section 4.6).
    pub bundles: BTreeMap<String, Vec<Vec<u8>>>,
}

// By hand: certificates are long, and a key is nobody's business.
impl fmt::Debug for Svid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trust_domains = self.bundles.keys();
        f.debug_struct("Svid")
            .field("spiffe_id", &self.spiffe_id)
            .field("chain", &self.chain.len())
            .field("trust_domains", &trust_domains.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// Takes the identity `wanted`, or the first, and every bundle.
pub(super) fn choose(context: &X509Context, wanted: Option<&SpiffeId>) -> Result<Svid, Problem> {
    let bundles = context.bundle_set();
    at_most(IDENTITIES_MAX, "identities", context.svids().len())?;
    at_most(TRUST_DOMAINS_MAX, "trust domains", bundles.len())?;
    let authorities = bundles.iter().map(|(_, bundle)| bundle.authorities().len()).sum();
    at_most(AUTHORITIES_MAX, "certificates of CAs", authorities)?;

    let svid = match wanted {
        None => context.default_svid().ok_or_else(|| Problem::Malformed("no identity in it".to_owned()))?,
        Some(wanted) => {
            let mut svids = context.svids().iter();
            svids.find(|svid| svid.spiffe_id() == wanted).ok_or_else(|| Problem::Missing(wanted.clone()))?
        }
    };
    let bundles: BTreeMap<_, Vec<_>> = bundles
        .iter()
        .map(|(domain, bundle)| {
            let authorities = bundle.authorities().iter();
            (domain.to_string(), authorities.map(|authority| authority.as_bytes().to_vec()).collect())
        })
        // A trust domain without a CA is one that nobody is believed of.
        .filter(|(_, authorities): &(_, Vec<_>)| !authorities.is_empty())
        .collect();
    let domain = svid.spiffe_id().trust_domain();
    if !bundles.contains_key(domain.as_str()) {
        return Err(Problem::Malformed(format!("no bundle of the sidecar's own trust domain {domain}")));
    }
    Ok(Svid {
        spiffe_id: svid.spiffe_id().to_string(),
        chain: svid.cert_chain().iter().map(|certificate| certificate.as_bytes().to_vec()).collect(),
        key: svid.private_key().clone(),
        bundles,
    })
}

fn at_most(limit: usize, what: &'static str, found: usize) -> Result<(), Problem> {
    if found > limit {
        return Err(Problem::TooMany { what, found, limit });
    }
    Ok(())
}
