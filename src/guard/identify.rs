//! Who is asking on this connection, in this call? Asked anew whenever what the answer rests on has changed.

use super::{Guard, Head, Visitor};
use crate::admission::Standing;
use crate::clock::Now;
use crate::identity::{self, Credentials, Identity, IdentityError, Presented};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Who is asking in a call, and what the policy in force knows of it; or why nobody could be identified. Worked
/// out once a call: a bad credential costs no more than a good one.
pub type Identified = Result<Arc<Standing>, IdentityError>;

impl Guard {
    /// Who is asking, and what the policy in force knows of it: worked out anew when the credentials differ from
    /// those of the connection's last call, or when anything that they rest on has been read anew since.
    ///
    /// # Errors
    /// Nobody could be identified.
    pub fn identify(&self, visitor: &Visitor, head: &Head) -> Identified {
        let epoch = self.epoch.load(Ordering::Acquire);
        if let Some(known) = visitor.known(epoch, &head.credentials) {
            known.identity().still_valid(head.now)?;
            return Ok(known);
        }
        let presented = Presented { peer: &visitor.peer, credentials: &head.credentials, now: head.now };
        let own = self.own(visitor, epoch, &presented)?;
        let identity = identity::identify(own, &self.of_call, &presented)?;
        // What the connection vouches for was established before, and may have ended since.
        identity.still_valid(head.now)?;
        let standing = Arc::new(self.admission.standing(identity));
        visitor.remember(epoch, &head.credentials, &standing);
        Ok(standing)
    }

    /// Whom the connection itself vouches for.
    fn own(
        &self,
        visitor: &Visitor,
        epoch: u64,
        presented: &Presented<'_>,
    ) -> Result<Option<Identity>, IdentityError> {
        visitor.own(epoch, || identity::vouch(None, &self.of_connection, presented))
    }

    /// Whether the other end of an open connection is still who it may be: its certificate may have been revoked
    /// since, or its CA.
    #[must_use]
    pub fn trusts(&self, visitor: &Visitor, now: Now) -> bool {
        let presented = Presented { peer: &visitor.peer, credentials: &Credentials::default(), now };
        let own = self.own(visitor, self.epoch.load(Ordering::Acquire), &presented);
        own.is_ok_and(|own| own.is_none_or(|own| own.still_valid(now).is_ok()))
    }

    /// As [`Guard::identify`], but a token that names a new signing key gets a chance: waits until the provider's
    /// keys were asked for, as often as that is allowed, and looks again if they have come.
    ///
    /// # Errors
    /// As [`Guard::identify`].
    pub async fn identify_awaiting_keys(&self, visitor: &Visitor, head: &Head) -> Identified {
        let identified = self.identify(visitor, head);
        match (&self.jwt, &identified) {
            (Some(jwt), Err(IdentityError::UnknownKey)) if jwt.wait_for_keys(head.now).await => {
                self.identify(visitor, head)
            }
            (Some(_) | None, _) => identified,
        }
    }
}
