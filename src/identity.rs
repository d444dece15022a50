//! Who is asking? Turns what a caller presents into an `Identity`, or refuses it.
//!
//! One file a mechanism. A bad credential is never excused by a good one: every authenticator looks at what
//! was presented, and one refusal is a refusal. A credential that no authenticator here takes is a bad one.

pub mod api_key;
pub mod certificate;
pub mod forwarded;
pub mod jwt;
pub mod plaintext;

use crate::clock::Now;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

/// The other end of a connection, as TLS and the kernel vouch for it; the same for all its calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// The client's certificates (DER), its own first, whose chain TLS has verified; empty without one.
    pub chain: Vec<Vec<u8>>,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// The peer's address; `None` on a Unix socket.
    pub address: Option<IpAddr>,
    /// The user of the process at the other end of a Unix socket (`SO_PEERCRED`).
    pub uid: Option<u32>,
}

/// A header that carries a credential.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Header {
    /// Not sent.
    #[default]
    Absent,
    /// Sent once.
    Once(Vec<u8>),
    /// Sent more than once: nobody can tell which one is meant.
    Repeated,
}

/// The credentials in the headers of one call.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// `authorization`.
    pub authorization: Header,
    /// `x-api-key`.
    pub api_key: Header,
    /// `x-forwarded-client-cert`.
    pub forwarded: Header,
}

/// What the connection and the headers of a call present.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'a> {
    /// The connection.
    pub peer: &'a Peer,
    /// The headers.
    pub credentials: &'a Credentials,
    /// When.
    pub now: Now,
}

/// A way in which an identity was established.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mechanism {
    /// No credential at all, on a listener that is configured so. The least telling of all.
    Plaintext,
    /// A client certificate in mutual TLS.
    Certificate,
    /// A client certificate that a trusted proxy vouches for.
    Forwarded,
    /// An API key.
    ApiKey,
    /// A bearer token: a person, or an application in its own name.
    Token,
}

/// How, when and on which device a person has signed in, as the token says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SignIn {
    /// Authentication contexts that were satisfied: `acrs`, else `acr`.
    pub acrs: Vec<String>,
    /// Authentication methods (`amr`, RFC 8176), as in `mfa`.
    pub amr: Vec<String>,
    /// When the person last authenticated (`auth_time`), seconds since the Unix epoch.
    pub auth_time: Option<i64>,
    /// Whether the device is compliant, if the token says.
    pub device_compliant: Option<bool>,
}

/// Who is asking, as one authenticator vouches, or several together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Whom the audit entry names: the person, else the key, else the workload.
    principal: String,
    /// Under which the access policy may know the principal; the principal itself among them.
    names: Vec<String>,
    /// The workload that carries the call of a person or a key.
    workload: Option<String>,
    /// Names of the credentials beside the one that speaks: they open nothing, and are denied like any other.
    beside: Vec<String>,
    /// Ascending.
    mechanisms: Vec<Mechanism>,
    sign_in: SignIn,
    /// When the first of the credentials ends; `None` if none does.
    expires: Option<SystemTime>,
}

impl Identity {
    /// Whom `mechanism` vouches for until `expires`.
    #[must_use]
    pub fn new(mechanism: Mechanism, principal: String, expires: Option<SystemTime>) -> Self {
        let names = vec![principal.clone()];
        let (mechanisms, sign_in) = (vec![mechanism], SignIn::default());
        Self { principal, names, workload: None, beside: Vec::new(), mechanisms, sign_in, expires }
    }

    /// Whom the access policy also knows under these names, as in `role:Radiologists`.
    #[must_use]
    pub fn also_known_as(mut self, names: impl IntoIterator<Item = String>) -> Self {
        self.names.extend(names);
        self
    }

    /// Who has signed in so.
    #[must_use]
    pub fn signed_in(mut self, sign_in: SignIn) -> Self {
        self.sign_in = sign_in;
        self
    }

    /// `sub:…`, `api_key:…`, `spiffe://…`, `dns:…` or `plaintext`: whom the audit entry names.
    #[must_use]
    pub fn principal(&self) -> &str {
        &self.principal
    }

    /// Every name under which the access policy may have the principal as a member.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The workload that carries the call of a person or a key: `spiffe://…` or `dns:…`.
    #[must_use]
    pub fn workload(&self) -> Option<&str> {
        self.workload.as_deref()
    }

    /// Names of the credentials beside the one that names the principal: the key beside a token, the proxy
    /// behind a forwarded certificate. They make nobody a member of a role; a rule that denies one of them holds.
    #[must_use]
    pub fn beside(&self) -> &[String] {
        &self.beside
    }

    /// How the identity was established, ascending.
    #[must_use]
    pub fn mechanisms(&self) -> &[Mechanism] {
        &self.mechanisms
    }

    /// How the person has signed in.
    #[must_use]
    pub fn sign_in(&self) -> &SignIn {
        &self.sign_in
    }

    /// A connection or a stream outlives the moment of its identification: whoever was identified then is asked
    /// anew at each call.
    ///
    /// # Errors
    /// A credential has ended since.
    pub fn still_valid(&self, now: Now) -> Result<(), IdentityError> {
        if self.expires.is_some_and(|expires| now.wall > expires) {
            return Err(IdentityError::Invalid(match self.mechanisms.last() {
                Some(Mechanism::Token) => "the token or the certificate beside it has expired",
                Some(Mechanism::ApiKey) => "the API key or the certificate beside it has expired",
                _ => "the client certificate has expired, or the list of revoked ones is too old",
            }));
        }
        Ok(())
    }

    /// One identity of two credentials. The more telling mechanism names the principal, and its names alone make
    /// the principal a member of roles: a person gains nothing from the workload that carries the call.
    /// A forwarded certificate takes the place of the proxy's own, which is then none of the caller's credentials.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        let (mut first, second) =
            if self.mechanisms.last() >= other.mechanisms.last() { (self, other) } else { (other, self) };
        let speaks_for_itself = first.mechanisms.last() <= Some(&Mechanism::Forwarded);
        if !speaks_for_itself && first.workload.is_none() {
            let carries = second.mechanisms.last() <= Some(&Mechanism::Forwarded)
                && second.mechanisms.last() > Some(&Mechanism::Plaintext);
            first.workload = second.workload.or(carries.then_some(second.principal));
        }
        // Nobody is refused for having come without a credential where one has come with it.
        if second.mechanisms.last() > Some(&Mechanism::Plaintext) {
            first.beside.extend(second.names.into_iter().chain(second.beside));
        }
        first.mechanisms.extend(second.mechanisms);
        first.mechanisms.sort_unstable();
        first.mechanisms.dedup();
        if first.mechanisms.contains(&Mechanism::Forwarded) {
            first.mechanisms.retain(|mechanism| *mechanism != Mechanism::Certificate);
        }
        first.expires = match (first.expires, second.expires) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        first
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.principal)
    }
}

/// Tells which credentials there are, and nothing of them.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sent = |header: &Header| *header != Header::Absent;
        f.debug_struct("Credentials")
            .field("authorization", &sent(&self.authorization))
            .field("api_key", &sent(&self.api_key))
            .field("forwarded", &sent(&self.forwarded))
            .finish()
    }
}

/// Why nobody could be identified. The words are for the caller: they tell nothing of what was presented.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Nothing was presented that any authenticator knows.
    #[error("no credential was presented")]
    Missing,
    /// Something was presented that is not valid.
    #[error("{0}")]
    Invalid(&'static str),
    /// The token names a signing key that is not known here. It may be a new one, which is being fetched.
    #[error("the token's signing key is not known")]
    UnknownKey,
    /// The token's groups are too many to stand in it, and nobody may be admitted by what is missing.
    #[error("the token leaves out the caller's groups (overage); have the provider send roles instead")]
    GroupsOverage,
}

/// One way to establish an identity.
pub trait Authenticator: Send + Sync {
    /// `None` when nothing of this kind was presented.
    ///
    /// # Errors
    /// What was presented is of this kind and not valid.
    fn authenticate(&self, presented: &Presented<'_>) -> Result<Option<Identity>, IdentityError>;
}

/// One that something else holds on to as well.
impl<T: Authenticator + ?Sized> Authenticator for Arc<T> {
    fn authenticate(&self, presented: &Presented<'_>) -> Result<Option<Identity>, IdentityError> {
        self.as_ref().authenticate(presented)
    }
}

/// Asks every authenticator, and adds what they vouch for to what is `known` already.
///
/// # Errors
/// The first objection: something invalid was presented.
pub fn vouch(
    known: Option<Identity>,
    authenticators: &[Box<dyn Authenticator>],
    presented: &Presented<'_>,
) -> Result<Option<Identity>, IdentityError> {
    let mut identity = known;
    for authenticator in authenticators {
        if let Some(vouched) = authenticator.authenticate(presented)? {
            identity = Some(match identity {
                None => vouched,
                Some(before) => before.with(vouched),
            });
        }
    }
    Ok(identity)
}

/// As [`vouch`]; the identities together stand if no authenticator objects.
///
/// # Errors
/// Nothing was presented, or something invalid was, or something that no authenticator here takes.
pub fn identify(
    known: Option<Identity>,
    authenticators: &[Box<dyn Authenticator>],
    presented: &Presented<'_>,
) -> Result<Identity, IdentityError> {
    let identity = vouch(known, authenticators, presented)?;
    let taken = |mechanism| identity.as_ref().is_some_and(|known| known.mechanisms.contains(&mechanism));
    let Credentials { authorization, api_key, forwarded } = presented.credentials;
    for (header, mechanism, problem) in [
        (authorization, Mechanism::Token, "bearer tokens are not taken here"),
        (api_key, Mechanism::ApiKey, "API keys are not taken here"),
        (forwarded, Mechanism::Forwarded, "x-forwarded-client-cert is not taken from this peer"),
    ] {
        if *header != Header::Absent && !taken(mechanism) {
            return Err(IdentityError::Invalid(problem));
        }
    }
    identity.ok_or(IdentityError::Missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    /// Vouches for whoever presents an API key, or objects to everybody.
    struct Keys(bool);

    impl Authenticator for Keys {
        fn authenticate(&self, presented: &Presented<'_>) -> Result<Option<Identity>, IdentityError> {
            let key = Identity::new(Mechanism::ApiKey, "api_key:1".into(), None);
            match presented.credentials.api_key {
                Header::Absent => Ok(None),
                Header::Once(_) | Header::Repeated if self.0 => Ok(Some(key)),
                Header::Once(_) | Header::Repeated => Err(IdentityError::Invalid("a bad key")),
            }
        }
    }

    fn ask(good: bool, credentials: &Credentials) -> Result<Identity, IdentityError> {
        let peer = Peer::default();
        let authenticators: [Box<dyn Authenticator>; 2] =
            [Box::new(plaintext::Plaintext), Box::new(Keys(good))];
        identify(None, &authenticators, &Presented { peer: &peer, credentials, now: Now::read() })
    }

    #[test]
    fn a_bad_credential_is_not_excused_by_a_good_one_nor_is_one_that_nobody_takes() {
        let once = Header::Once(b"x".to_vec());
        let key = Credentials { api_key: once.clone(), ..Credentials::default() };
        assert_eq!(ask(false, &key), Err(IdentityError::Invalid("a bad key")));
        for credentials in [
            Credentials { authorization: once.clone(), ..key.clone() },
            Credentials { forwarded: Header::Repeated, ..key.clone() },
        ] {
            assert!(matches!(ask(true, &credentials), Err(IdentityError::Invalid(_))));
        }
        assert_eq!(ask(true, &key).unwrap().principal(), "api_key:1");
        assert_eq!(ask(true, &Credentials::default()).unwrap().principal(), "plaintext");
    }

    #[test]
    fn the_person_speaks_the_workload_stands_beside_and_the_earliest_end_counts() {
        let at = |seconds| Some(UNIX_EPOCH + Duration::from_secs(seconds));
        let workload = Identity::new(Mechanism::Certificate, "spiffe://a/pacs".into(), at(9));
        let person = Identity::new(Mechanism::Token, "sub:ada".into(), at(5))
            .also_known_as(["role:Radiologists".to_owned()]);
        for both in [workload.clone().with(person.clone()), person.with(workload.clone())] {
            assert_eq!((both.principal(), both.workload()), ("sub:ada", Some("spiffe://a/pacs")));
            assert_eq!(both.names(), ["sub:ada", "role:Radiologists"]);
            assert_eq!(both.mechanisms(), [Mechanism::Certificate, Mechanism::Token]);
            let now = Now { wall: UNIX_EPOCH + Duration::from_secs(6), ..Now::read() };
            assert!(both.still_valid(now).is_err());
        }
        let behind = Identity::new(Mechanism::Forwarded, "spiffe://a/viewer".into(), None);
        let forwarded = workload.with(behind);
        assert_eq!((forwarded.principal(), forwarded.workload()), ("spiffe://a/viewer", None));
        assert_eq!(forwarded.beside(), ["spiffe://a/pacs"]);
    }

    #[test]
    fn a_proxys_own_certificate_is_none_of_the_credentials_of_whom_it_forwards() {
        let proxy = Identity::new(Mechanism::Certificate, "spiffe://a/proxy".into(), None);
        let caller = Identity::new(Mechanism::Forwarded, "spiffe://a/viewer".into(), None);
        let person = Identity::new(Mechanism::Token, "sub:ada".into(), None);
        for alone in [proxy.clone().with(caller.clone()), caller.clone().with(proxy.clone())] {
            assert_eq!(alone.mechanisms(), [Mechanism::Forwarded]);
        }
        let all = [proxy, caller, person];
        for [a, b, c] in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let together = all[a].clone().with(all[b].clone()).with(all[c].clone());
            assert_eq!(together.mechanisms(), [Mechanism::Forwarded, Mechanism::Token]);
            assert_eq!(together.principal(), "sub:ada");
        }
    }

    #[test]
    fn credentials_do_not_show_themselves() {
        let secret = Header::Once(b"secret".to_vec());
        let credentials = Credentials { authorization: secret, ..Credentials::default() };
        assert!(!format!("{credentials:?}").contains("115"));
    }
}
