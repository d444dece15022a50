//! The identity of a caller on a listener without TLS: nobody in particular, and named so.
//!
//! Such a listener exists only by an explicit setting, on loopback or a Unix socket. Access policies grant
//! it nothing unless a role names the member `plaintext`.

use super::{Authenticator, Identity, IdentityError, Mechanism, Presented};

/// Vouches for callers of a plaintext listener.
#[derive(Debug)]
pub struct Plaintext;

impl Authenticator for Plaintext {
    fn authenticate(&self, presented: &Presented<'_>) -> Result<Option<Identity>, IdentityError> {
        let nobody = Identity::new(Mechanism::Plaintext, "plaintext".into(), None);
        Ok((!presented.peer.tls).then_some(nobody))
    }
}
