//! For whom does a token speak, in which roles, from when until when, and on which connection?
//!
//! Read only after the signature is verified. A claim of the wrong type is refused, not ignored: whoever wrote it
//! meant something that is not understood here.

use super::cache::digest;
use super::{Settings, json};
use crate::identity::{Identity, IdentityError, Mechanism, Presented, SignIn};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Roles, groups, audiences and the like in one token.
const LIST_MAX: usize = 256;
/// Bytes of each of them.
const ITEM_BYTES_MAX: usize = 256;
/// Bytes of the caller's name.
const PRINCIPAL_BYTES_MAX: usize = 255;
/// The last second of the year 9999. A provider that means a later one means something else.
const SECONDS_MAX: f64 = 253_402_300_799.0;

/// What a verified token vouches for, and on which conditions.
pub(super) struct Vouched {
    identity: Identity,
    /// First and last moment, clocks' difference included.
    from: SystemTime,
    until: SystemTime,
    /// SHA-256 of the certificate that the token is bound to (RFC 8705, section 3.1).
    certificate: Option<[u8; 32]>,
}

/// The claims of one token.
struct Claims(Map<String, Value>);

impl Vouched {
    /// Reads the payload of a token whose signature is verified.
    ///
    /// # Errors
    /// It is another's token, or for another service, or not understood.
    pub(super) fn read(payload: &[u8], settings: &Settings) -> Result<Self, IdentityError> {
        let invalid = IdentityError::Invalid;
        let claims = json::object(payload).map_err(|_| invalid("the token's claims cannot be read"))?;
        let claims = Claims(claims);
        let issuer = claims.0.get("iss").and_then(Value::as_str);
        if issuer.is_none() || issuer != settings.issuer.as_deref() {
            return Err(invalid("the token is not from the provider that is trusted here"));
        }
        let audience = claims.list("aud", "the token's `aud` is not a list of names")?.unwrap_or_default();
        if !audience.iter().any(|name| settings.audience.contains(name)) {
            return Err(invalid("the token is not for this service (`aud`)"));
        }
        let certificate = claims.certificate()?;
        if settings.bound_to_certificate && certificate.is_none() {
            return Err(invalid("the token is not bound to a client certificate (`cnf`)"));
        }
        let (from, until) = claims.lifetime(settings)?;
        let identity = Identity::new(Mechanism::Token, claims.principal(settings)?, Some(until))
            .also_known_as(claims.memberships(settings)?)
            .signed_in(claims.sign_in(settings)?);
        Ok(Self { identity, from, until, certificate })
    }

    /// The identity, if the token is good for this call: asked anew each time, also of a token that is known.
    ///
    /// # Errors
    /// It is too early, too late, or another's connection.
    pub(super) fn identity(&self, presented: &Presented<'_>) -> Result<Identity, IdentityError> {
        let invalid = IdentityError::Invalid;
        let now = presented.now.wall;
        if now < self.from {
            return Err(invalid("the token is not valid yet"));
        }
        if now >= self.until {
            return Err(invalid("the token has expired, or was issued too long ago"));
        }
        if let Some(bound_to) = &self.certificate {
            let leaf = presented.peer.chain.first();
            if leaf.map(|leaf| digest(leaf)).as_ref() != Some(bound_to) {
                return Err(invalid("the token is bound to another client certificate"));
            }
        }
        Ok(self.identity.clone())
    }
}

impl Claims {
    /// A list of names, or one name; `None` if there is no such claim.
    fn list(&self, name: &str, problem: &'static str) -> Result<Option<Vec<String>>, IdentityError> {
        let values = match self.0.get(name) {
            None => return Ok(None),
            Some(Value::Array(values)) => values.as_slice(),
            Some(one) => std::slice::from_ref(one),
        };
        if values.len() > LIST_MAX {
            return Err(IdentityError::Invalid("a list in the token is too long"));
        }
        let mut names = Vec::with_capacity(values.len());
        for value in values {
            let plain =
                |name: &&str| (1..=ITEM_BYTES_MAX).contains(&name.len()) && !name.contains(char::is_control);
            let name = value.as_str().filter(plain).ok_or(IdentityError::Invalid(problem))?;
            names.push(name.to_owned());
        }
        Ok(Some(names))
    }

    /// A `NumericDate` (RFC 7519, section 2): seconds since the Unix epoch, perhaps with a fraction.
    fn moment(&self, name: &str) -> Result<Option<SystemTime>, IdentityError> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        let seconds = value.as_f64().filter(|seconds| (0.0..=SECONDS_MAX).contains(seconds));
        let since = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let moment = since.and_then(|since| UNIX_EPOCH.checked_add(since));
        moment.map(Some).ok_or(IdentityError::Invalid("a time in the token is not a number of seconds"))
    }

    /// From when and until when the token is good, the clocks' difference included.
    fn lifetime(&self, settings: &Settings) -> Result<(SystemTime, SystemTime), IdentityError> {
        let leeway = Duration::from_secs(settings.leeway_s);
        let missing = IdentityError::Invalid("the token does not say when it was issued and when it ends");
        let (Some(issued), Some(expires)) = (self.moment("iat")?, self.moment("exp")?) else {
            return Err(missing);
        };
        let too_old = issued.checked_add(Duration::from_secs(settings.max_age_s)).unwrap_or(issued);
        // Nobody has signed in, and no token was issued, in the future.
        let not_before = self.moment("nbf")?.max(self.moment("auth_time")?).unwrap_or(issued);
        let from = issued.max(not_before).checked_sub(leeway).unwrap_or(UNIX_EPOCH);
        let until = expires.min(too_old);
        Ok((from, until.checked_add(leeway).unwrap_or(until)))
    }

    /// The caller's name: what audit entries and policies can show as it is.
    fn principal(&self, settings: &Settings) -> Result<String, IdentityError> {
        let plain = |name: &&str| {
            (1..=PRINCIPAL_BYTES_MAX).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic())
        };
        let name = self.0.get(&settings.principal_claim).and_then(Value::as_str).filter(plain);
        let name =
            name.ok_or(IdentityError::Invalid("the token does not name its caller in plain letters"))?;
        Ok(format!("sub:{name}"))
    }

    /// Roles; without that claim groups, unless the provider left them out for being too many.
    fn memberships(&self, settings: &Settings) -> Result<Vec<String>, IdentityError> {
        if let Some(roles) = self.list(&settings.roles_claim, "the token's roles are not a list of names")? {
            return Ok(roles.into_iter().map(|role| format!("role:{role}")).collect());
        }
        if self.groups_are_elsewhere(&settings.groups_claim)? {
            return Err(IdentityError::GroupsOverage);
        }
        let groups = self.list(&settings.groups_claim, "the token's groups are not a list of names")?;
        Ok(groups.unwrap_or_default().into_iter().map(|group| format!("group:{group}")).collect())
    }

    /// A distributed claim (OpenID Connect Core, section 5.6.2), or the mark of Entra ID's implicit flow
    /// (Microsoft identity platform, "Groups overage claim").
    fn groups_are_elsewhere(&self, groups_claim: &str) -> Result<bool, IdentityError> {
        let marked = self.0.get("hasgroups").is_some_and(|mark| *mark != Value::Bool(false));
        match self.0.get("_claim_names") {
            None => Ok(marked),
            Some(Value::Object(names)) => Ok(marked || names.contains_key(groups_claim)),
            Some(_) => Err(IdentityError::Invalid("the token's `_claim_names` is not an object")),
        }
    }

    fn sign_in(&self, settings: &Settings) -> Result<SignIn, IdentityError> {
        let acrs = match self.list("acrs", "the token's `acrs` is not a list of names")? {
            Some(acrs) => acrs,
            None => self.list("acr", "the token's `acr` is not a name")?.unwrap_or_default(),
        };
        let amr = self.list("amr", "the token's `amr` is not a list of names")?.unwrap_or_default();
        let since = self.moment("auth_time")?.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let auth_time = since.and_then(|since| i64::try_from(since.as_secs()).ok());
        let device_compliant = match self.0.get(&settings.device_claim) {
            None => None,
            Some(Value::Bool(compliant)) => Some(*compliant),
            Some(_) => return Err(IdentityError::Invalid("the token's device claim is not true or false")),
        };
        Ok(SignIn { acrs, amr, auth_time, device_compliant })
    }

    /// The certificate in `cnf`. Who confirms otherwise (`jkt`, `jwk`, `kid`) asks for a proof that is not taken
    /// here, so a token that names another, or more than one, is refused.
    fn certificate(&self) -> Result<Option<[u8; 32]>, IdentityError> {
        let Some(confirmation) = self.0.get("cnf") else { return Ok(None) };
        let only = confirmation.as_object().filter(|members| members.len() == 1);
        let thumbprint = only.and_then(|members| members.get("x5t#S256")).and_then(Value::as_str);
        let bytes = thumbprint.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        let digest = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        let problem = "the token is bound in another way than to a client certificate";
        digest.map(Some).ok_or(IdentityError::Invalid(problem))
    }
}

#[cfg(test)]
mod tests;
