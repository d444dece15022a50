//! Which keys sign for the provider, and for which algorithm is each (JSON Web Key Set, RFC 7517 and 7518)?
//!
//! A key is for the algorithms that its kind, its curve and its own `alg`, `use` and `key_ops` leave, and for no
//! other: that is what refuses a token whose header confuses one kind with another. Symmetric keys are never taken.

use super::{Algorithm, json};
use crate::digest::sha256;
use crate::identity::IdentityError;
use aws_lc_rs::signature::{self, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// The largest key set, in bytes.
pub const JWKS_BYTES_MAX: usize = 256 << 10;
/// Keys in a set.
const KEYS_MAX: usize = 64;
/// Lengths of RSA moduli (NIST SP 800-131A forbids shorter ones; longer ones take long to verify).
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// Bytes of an RSA exponent. The largest in use is 65537; a long one takes long to verify.
const EXPONENT_BYTES_MAX: usize = 4;
/// Bytes of a coordinate on P-256, and of a public key of Ed25519.
const COORDINATE_BYTES: usize = 32;
/// What only a private key has (RFC 7518, sections 6.2.2 and 6.3.2).
const PRIVATE: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "oth"];

/// Why a key set is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// Larger than anything that a provider publishes.
    #[error("larger than {JWKS_BYTES_MAX} bytes")]
    TooLarge,
    /// Not a set of keys.
    #[error("no JSON Web Key Set: {0}")]
    Malformed(String),
    /// More keys than anybody rotates through.
    #[error("more than {KEYS_MAX} keys")]
    TooMany,
    /// Whoever has read it can sign tokens.
    #[error("keys[{0}] is a private key; the provider must replace it and publish the public one alone")]
    Private(usize),
    /// Nobody can tell which one is meant.
    #[error("keys[{0}] and keys[{1}] have the same kid and algorithm")]
    Ambiguous(usize, usize),
    /// Nothing can be verified with it.
    #[error("no key that can be used ({})", .0.join(", "))]
    NoneUsable(Vec<String>),
}

/// The provider's keys that can be used here.
#[derive(Debug)]
pub struct Keys {
    keys: Vec<Key>,
    /// SHA-256 of the set as it was read.
    digest: String,
}

/// One public key.
#[derive(Debug)]
pub(super) struct Key {
    kid: Option<String>,
    /// What verifies for each algorithm that it is for. Not empty.
    verifiers: Verifiers,
}

type Verifiers = Vec<(Algorithm, ParsedPublicKey)>;

impl Keys {
    /// The keys of a set that can verify one of the algorithms in `taken`. Others are passed over, as RFC 7517,
    /// section 5, asks.
    ///
    /// # Errors
    /// The set is malformed or ambiguous, or no key in it can be used.
    pub fn parse(jwks: &[u8], taken: &[Algorithm]) -> Result<Self, KeysError> {
        if jwks.len() > JWKS_BYTES_MAX {
            return Err(KeysError::TooLarge);
        }
        let set = json::object(jwks).map_err(KeysError::Malformed)?;
        let listed = set.get("keys").and_then(Value::as_array);
        let listed = listed.ok_or_else(|| KeysError::Malformed("no list `keys`".to_owned()))?;
        if listed.len() > KEYS_MAX {
            return Err(KeysError::TooMany);
        }
        let mut usable: Vec<(usize, Key)> = Vec::new();
        let mut passed_over = Vec::new();
        for (index, value) in listed.iter().enumerate() {
            let Some(jwk) = value.as_object() else {
                return Err(KeysError::Malformed(format!("keys[{index}] is no object")));
            };
            let symmetric = jwk.get("kty").and_then(Value::as_str) == Some("oct");
            if !symmetric && PRIVATE.iter().any(|member| jwk.contains_key(*member)) {
                return Err(KeysError::Private(index));
            }
            match Key::parse(jwk, taken) {
                Ok(key) => {
                    if let Some((twin, _)) = usable.iter().find(|(_, other)| other.is_mistakable_for(&key)) {
                        return Err(KeysError::Ambiguous(*twin, index));
                    }
                    usable.push((index, key));
                }
                Err(problem) => passed_over.push(format!("keys[{index}]: {problem}")),
            }
        }
        if usable.is_empty() {
            passed_over.truncate(3);
            return Err(KeysError::NoneUsable(passed_over));
        }
        Ok(Self { keys: usable.into_iter().map(|(_, key)| key).collect(), digest: sha256(jwks) })
    }

    /// How many there are.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn digest(&self) -> &str {
        &self.digest
    }

    /// The key that a token's header means. Without a name, the only key that fits.
    ///
    /// # Errors
    /// There is none, or the named one is for other algorithms, or several fit.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<&Key, IdentityError> {
        let fits = |key: &&Key| key.is_for(algorithm);
        let Some(kid) = kid else {
            let mut fitting = self.keys.iter().filter(fits);
            return match (fitting.next(), fitting.next()) {
                (Some(only), None) => Ok(only),
                (None, _) => Err(IdentityError::UnknownKey),
                (Some(_), Some(_)) => Err(IdentityError::Invalid("the token does not name its key")),
            };
        };
        let mut named = self.keys.iter().filter(|key| key.kid.as_deref() == Some(kid)).peekable();
        if named.peek().is_none() {
            return Err(IdentityError::UnknownKey);
        }
        named.find(fits).ok_or(IdentityError::Invalid("the token's algorithm does not fit its key"))
    }
}

impl Key {
    /// Whether `signature` (base64url, in its one spelling) is this key's of `message`. Only for an algorithm
    /// that the key is for.
    pub(super) fn has_signed(&self, message: &str, signature: &str, algorithm: Algorithm) -> bool {
        let Some((_, verifier)) = self.verifiers.iter().find(|(own, _)| *own == algorithm) else {
            return false;
        };
        let signature = URL_SAFE_NO_PAD.decode(signature);
        signature.is_ok_and(|signature| verifier.verify_sig(message.as_bytes(), &signature).is_ok())
    }

    fn is_for(&self, algorithm: Algorithm) -> bool {
        self.verifiers.iter().any(|(own, _)| *own == algorithm)
    }

    /// Reads a public key, or says why it is passed over.
    fn parse(jwk: &Map<String, Value>, taken: &[Algorithm]) -> Result<Self, &'static str> {
        let mut verifiers = match text(jwk, "kty")?.ok_or("no `kty`")? {
            "RSA" => rsa(jwk)?,
            "EC" => p256(jwk)?,
            "OKP" => ed25519(jwk)?,
            "oct" => return Err("symmetric"),
            _ => return Err("of a kind that is not taken"),
        };
        if text(jwk, "use")?.is_some_and(|usage| usage != "sig") {
            return Err("not for signatures (`use`)");
        }
        let verifies = |operations: &Value| {
            operations.as_array().is_some_and(|list| list.iter().any(|one| one.as_str() == Some("verify")))
        };
        if !jwk.get("key_ops").is_none_or(verifies) {
            return Err("not for verifying (`key_ops`)");
        }
        let own = text(jwk, "alg")?;
        verifiers.retain(|(algorithm, _)| {
            taken.contains(algorithm) && own.is_none_or(|name| name == algorithm.name())
        });
        if verifiers.is_empty() {
            return Err("for no algorithm in jwt.algorithms");
        }
        Ok(Self { kid: text(jwk, "kid")?.map(str::to_owned), verifiers })
    }

    fn is_mistakable_for(&self, other: &Self) -> bool {
        self.kid.is_some()
            && self.kid == other.kid
            && self.verifiers.iter().any(|(algorithm, _)| other.is_for(*algorithm))
    }
}

/// A member that is text, if it is there.
fn text<'a>(jwk: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, &'static str> {
    match jwk.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err("a member that should be a string is not"),
    }
}

/// A member that is bytes in base64url.
fn bytes(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, &'static str> {
    let text = text(jwk, name)?.ok_or("a member of the key is missing")?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| "a member of the key is not base64url")
}

fn rsa(jwk: &Map<String, Value>) -> Result<Verifiers, &'static str> {
    let (modulus, exponent) = (bytes(jwk, "n")?, bytes(jwk, "e")?);
    // Some write the sign of an ASN.1 integer, which RFC 7518, section 6.3.1.1, warns of.
    let (n, e) = (without_zeros(&modulus), without_zeros(&exponent));
    let unused = n.first().map_or(0, |first| first.leading_zeros() as usize);
    if !RSA_BITS.contains(&(n.len() * 8 - unused)) {
        return Err("RSA of less than 2048 bits, or more than 8192");
    }
    let odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
    if !odd(n) || !odd(e) || e == [1] || e.len() > EXPONENT_BYTES_MAX {
        return Err("no RSA key");
    }
    let components = RsaPublicKeyComponents { n, e };
    let parse =
        |scheme: &'static RsaParameters| components.to_parsed_public_key(scheme).map_err(|_| "no RSA key");
    Ok(vec![
        (Algorithm::Rs256, parse(&signature::RSA_PKCS1_2048_8192_SHA256)?),
        (Algorithm::Ps256, parse(&signature::RSA_PSS_2048_8192_SHA256)?),
    ])
}

fn p256(jwk: &Map<String, Value>) -> Result<Verifiers, &'static str> {
    if text(jwk, "crv")? != Some("P-256") {
        return Err("on a curve that is not taken");
    }
    let (x, y) = (bytes(jwk, "x")?, bytes(jwk, "y")?);
    if x.len() != COORDINATE_BYTES || y.len() != COORDINATE_BYTES {
        return Err("no point on P-256");
    }
    // Uncompressed (SEC 1, section 2.3.3). The curve is checked here, and not only when a token comes.
    let point = [&[4], x.as_slice(), y.as_slice()].concat();
    let parsed = ParsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point);
    Ok(vec![(Algorithm::Es256, parsed.map_err(|_| "no point on P-256")?)])
}

fn ed25519(jwk: &Map<String, Value>) -> Result<Verifiers, &'static str> {
    if text(jwk, "crv")? != Some("Ed25519") {
        return Err("on a curve that is not taken");
    }
    let x = bytes(jwk, "x")?;
    if x.len() != COORDINATE_BYTES {
        return Err("no key of Ed25519");
    }
    let parsed = ParsedPublicKey::new(&signature::ED25519, x).map_err(|_| "no key of Ed25519")?;
    Ok(vec![(Algorithm::EdDsa, parsed)])
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

#[cfg(test)]
mod tests;
