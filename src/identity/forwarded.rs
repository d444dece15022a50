//! A caller whose mutual TLS has ended at a proxy: the proxy's word is taken if its own identity is on the list.
//!
//! `x-forwarded-client-cert` as Envoy writes it. From anybody else the header is refused, not ignored: who sends it
//! means somebody to believe it. A proxy that sends none speaks for itself, so it should be a member of no role.
//!
//! Architecture Invariant: one element, never a list. Envoy appends what it saw itself on the right, and only that
//! could be believed; but it writes URI and DNS names without quotes, so that a comma in a caller's certificate
//! begins an element, too, and the rightmost one is the caller's. With SANITIZE_SET there is one, or an attack.

mod xfcc;

use super::certificate::{self, Certificate, Trust};
use super::{Authenticator, Header, Identity, IdentityError, Mechanism, Presented};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

const NOT_TRUSTED: IdentityError =
    IdentityError::Invalid("x-forwarded-client-cert is not taken from this peer");

/// Whose word is taken for the certificates of its callers (`[forwarded]`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Proxies by the SPIFFE ID of their own certificate, exactly; set them to `SANITIZE_SET` (Envoy).
    pub peers: Vec<String>,
    /// Proxies on the Unix socket, by the user that they run as.
    pub unix_uids: Vec<u32>,
}

/// Reads the identity that a trusted proxy forwards.
#[derive(Default)]
pub struct Forwarded {
    peers: Vec<String>,
    unix_uids: Vec<u32>,
    /// A forwarded certificate is held to the rules of one that is presented here.
    rules: Certificate,
    /// Whom the deny list names is refused also when a proxy vouches for it.
    trust: Option<Arc<dyn Trust>>,
}

impl Forwarded {
    /// Believes these proxies, and SPIFFE IDs of these trust domains; of none means of any.
    #[must_use]
    pub fn new(settings: &Settings, trust_domains: &[String], trust: Option<Arc<dyn Trust>>) -> Self {
        let Settings { peers, unix_uids } = settings.clone();
        Self {
            peers,
            unix_uids,
            rules: Certificate { trust_domains: trust_domains.to_vec(), trust: None },
            trust,
        }
    }

    /// Whether the connection itself is a proxy's. That its certificate is still trusted is asked by the
    /// authenticator of certificates, at each call as this one.
    fn trusts(&self, presented: &Presented<'_>) -> bool {
        if presented.peer.uid.is_some_and(|uid| self.unix_uids.contains(&uid)) {
            return true;
        }
        let own = self.rules.authenticate(presented).ok().flatten();
        own.is_some_and(|own| self.peers.iter().any(|peer| peer == own.principal()))
    }
}

impl Authenticator for Forwarded {
    fn authenticate(&self, presented: &Presented<'_>) -> Result<Option<Identity>, IdentityError> {
        let header = match &presented.credentials.forwarded {
            Header::Absent => return Ok(None),
            Header::Once(_) | Header::Repeated if !self.trusts(presented) => return Err(NOT_TRUSTED),
            Header::Repeated => return Err(xfcc::SEVERAL),
            Header::Once(header) => header,
        };
        let caller = xfcc::parse(header)?;
        let principal = match (caller.uri, caller.dns) {
            (Some(uri), _) => self.rules.spiffe(uri)?,
            (None, Some(dns)) => certificate::dns_name(dns)?,
            (None, None) => {
                return Err(IdentityError::Invalid(
                    "x-forwarded-client-cert has neither a URI nor a DNS name; have the proxy forward one",
                ));
            }
        };
        if self.trust.as_ref().is_some_and(|trust| trust.denies(&principal)) {
            return Err(IdentityError::Invalid("the forwarded client is on the deny list"));
        }
        // When the caller's certificate ends, the proxy does not say; it asks for a new one at each handshake.
        Ok(Some(Identity::new(Mechanism::Forwarded, principal, None)))
    }
}

#[cfg(test)]
mod tests;
