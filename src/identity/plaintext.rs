//! The identity of a caller on a listener without TLS: nobody in particular, and named so.
//!
//! Such a listener exists only by an explicit setting, on loopback or a Unix socket. Access policies grant
//! it nothing unless a role names the member `plaintext`.

use super::{Authenticator, Identity, IdentityError, Presented};

/// Vouches for callers of a plaintext listener.
#[derive(Debug)]
pub struct Plaintext;

impl Authenticator for Plaintext {
    fn authenticate(&self, presented: &Presented<'_>) -> Result<Option<Identity>, IdentityError> {
        let identity = Identity { principal: "plaintext".into(), expires: None };
        Ok(presented.plaintext.then_some(identity))
    }
}
