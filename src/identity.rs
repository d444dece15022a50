//! Who is asking? Turns what a caller presents into an `Identity`, or refuses it.
//!
//! One file a mechanism. A bad credential is never excused by a good one: every authenticator looks at what
//! was presented, and one refusal is a refusal.

pub mod certificate;
pub mod plaintext;

use crate::clock::Now;
use std::fmt;
use std::time::SystemTime;

/// What the connection and the headers of a call present.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'a> {
    /// The client certificate (DER), whose chain TLS has verified.
    pub certificate: Option<&'a [u8]>,
    /// Whether the listener was configured, by name, to take calls without TLS.
    pub plaintext: bool,
}

/// Who is asking, as one authenticator vouches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    principal: String,
    /// When the credential ends; `None` for one that does not.
    expires: Option<SystemTime>,
}

impl Identity {
    /// `spiffe://…`, `dns:…` or `plaintext`: what access policies name.
    #[must_use]
    pub fn principal(&self) -> &str {
        &self.principal
    }

    /// A connection outlives its handshake: whoever was identified then is asked anew at each call.
    ///
    /// # Errors
    /// The credential has ended since.
    pub fn still_valid(&self, now: Now) -> Result<(), IdentityError> {
        if self.expires.is_some_and(|expires| now.wall > expires) {
            return Err(IdentityError::Invalid("the client certificate has expired"));
        }
        Ok(())
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.principal)
    }
}

/// Why nobody could be identified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Nothing was presented that any authenticator knows.
    #[error("no credential was presented")]
    Missing,
    /// Something was presented that is not valid.
    #[error("{0}")]
    Invalid(&'static str),
}

/// One way to establish an identity.
pub trait Authenticator: Send + Sync {
    /// `None` when nothing of this kind was presented.
    ///
    /// # Errors
    /// What was presented is of this kind and not valid.
    fn authenticate(&self, presented: &Presented<'_>) -> Result<Option<Identity>, IdentityError>;
}

/// Asks every authenticator; the first identity stands if no other authenticator objects.
///
/// # Errors
/// Nothing was presented, or something invalid was.
pub fn identify(
    authenticators: &[Box<dyn Authenticator>],
    presented: &Presented<'_>,
) -> Result<Identity, IdentityError> {
    let mut identity = None;
    for authenticator in authenticators {
        let vouched = authenticator.authenticate(presented)?;
        identity = identity.or(vouched);
    }
    identity.ok_or(IdentityError::Missing)
}
