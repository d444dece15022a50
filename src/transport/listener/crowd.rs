//! How many connections has each of the callers? Half of them at the most, so that nobody shuts the others out.

use crate::clock::Now;
use crate::identity::certificate::Certificate;
use crate::identity::{Authenticator, Credentials, Peer, Presented};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Connections by who has them. The connections bound the map.
#[derive(Debug)]
pub struct Crowd {
    counts: Arc<Mutex<HashMap<Who, usize>>>,
    each_max: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Who {
    /// The name in a verified certificate.
    Named(String),
    /// All those without a certificate together: addresses cost an attacker little.
    Nobody,
}

/// One connection; given back when dropped.
#[derive(Debug)]
pub struct Place {
    counts: Arc<Mutex<HashMap<Who, usize>>>,
    who: Who,
}

impl Crowd {
    /// Of `connections_max` connections in all.
    #[must_use]
    pub fn new(connections_max: usize) -> Self {
        Self { counts: Arc::default(), each_max: connections_max.div_ceil(2) }
    }

    /// One more connection of this peer; `None` when it has as many as one may have.
    #[must_use]
    pub fn enter(&self, peer: &Peer) -> Option<Place> {
        let who = who(peer);
        // Without TLS there are only the proxies of this machine, which speak for everybody.
        let each_max = if peer.tls { self.each_max } else { usize::MAX };
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(who.clone()).or_default();
        if *count >= each_max {
            return None;
        }
        *count = count.saturating_add(1);
        drop(counts);
        Some(Place { counts: Arc::clone(&self.counts), who })
    }
}

/// The name is only counted by here: whether it is trusted, and may do anything, is asked at each call.
fn who(peer: &Peer) -> Who {
    let credentials = Credentials::default();
    let presented = Presented { peer, credentials: &credentials, now: Now::read() };
    match Certificate::default().authenticate(&presented) {
        Ok(Some(identity)) => Who::Named(identity.principal().to_owned()),
        Ok(None) | Err(_) => Who::Nobody,
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.who) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Peer {
        let mut params = rcgen::CertificateParams::default();
        params.subject_alt_names = vec![rcgen::SanType::DnsName(name.try_into().unwrap())];
        let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        Peer { chain: vec![certificate.der().to_vec()], tls: true, ..Peer::default() }
    }

    #[test]
    fn one_caller_has_half_of_the_connections_at_the_most() {
        let crowd = Crowd::new(4);
        let (a, b) = (named("a.example"), named("b.example"));
        let held = [crowd.enter(&a), crowd.enter(&a)];
        assert!(held.iter().all(Option::is_some) && crowd.enter(&a).is_none());
        assert!(crowd.enter(&b).is_some() && crowd.enter(&Peer { tls: true, ..Peer::default() }).is_some());
        drop(held);
        assert!(crowd.enter(&a).is_some());
        assert!(crowd.counts.lock().unwrap().is_empty());
    }

    #[test]
    fn those_without_a_certificate_share_one_half() {
        let crowd = Crowd::new(2);
        let at = |last| Peer { address: Some([192, 0, 2, last].into()), tls: true, ..Peer::default() };
        let held = crowd.enter(&at(1));
        assert!(held.is_some() && crowd.enter(&at(2)).is_none());
        assert!(crowd.enter(&Peer::default()).is_some(), "a proxy of this machine");
    }
}
