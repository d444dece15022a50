//! Who has signed this? From an `authorization` header to the payload of a token whose signature is good.

use super::keys::Keys;
use super::{Algorithm, json};
use crate::identity::IdentityError;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// Bytes of the header of a token, decoded.
const HEADER_BYTES_MAX: usize = 1024;
/// As many in base64url.
const HEADER_TEXT_MAX: usize = HEADER_BYTES_MAX.div_ceil(3) * 4;

const NOT_ONE_TOKEN: IdentityError =
    IdentityError::Invalid("the authorization header is not `Bearer` and one token");

/// What a header says that matters.
struct Header {
    algorithm: Algorithm,
    kid: Option<String>,
}

/// What stands after `Bearer ` in an `authorization` header (RFC 6750, section 2.1).
pub(super) fn bearer(header: &[u8]) -> Result<&[u8], IdentityError> {
    const SCHEME: &[u8] = b"bearer ";
    match header.split_at_checked(SCHEME.len()) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(SCHEME) && !token.is_empty() => Ok(token),
        Some(_) | None => Err(NOT_ONE_TOKEN),
    }
}

/// The same as text, if it is one token. A token that is known needs no such look: it had it when it was new.
fn one_token(token: &[u8]) -> Result<&str, IdentityError> {
    match str::from_utf8(token) {
        Ok(token) if token.bytes().all(|b| b.is_ascii_graphic()) => Ok(token),
        Ok(_) | Err(_) => Err(NOT_ONE_TOKEN),
    }
}

/// The payload of a token that one of `keys` has signed with one of the algorithms in `taken`.
///
/// # Errors
/// It is no such token. `UnknownKey` if it may be one when the provider's keys are fetched again.
pub(super) fn verify(token: &[u8], keys: &Keys, taken: &[Algorithm]) -> Result<Vec<u8>, IdentityError> {
    let malformed = IdentityError::Invalid("the token is not a signed JWT in three parts");
    let (message, signature) = one_token(token)?.rsplit_once('.').ok_or(malformed.clone())?;
    let (header, payload) = message.split_once('.').ok_or(malformed.clone())?;
    if payload.contains('.') {
        return Err(malformed);
    }
    let Header { algorithm, kid } = Header::read(header, taken)?;
    let key = keys.find(kid.as_deref(), algorithm)?;
    if !key.has_signed(message, signature, algorithm) {
        return Err(IdentityError::Invalid("the token's signature is not valid"));
    }
    URL_SAFE_NO_PAD.decode(payload).map_err(|_| malformed)
}

impl Header {
    /// Reads what decides about key and algorithm. Keys that a token brings with itself (`jwk`, `jku`, `x5c`,
    /// `x5u`) are never looked at (RFC 8725, section 3.10).
    fn read(text: &str, taken: &[Algorithm]) -> Result<Self, IdentityError> {
        let invalid = IdentityError::Invalid;
        let unreadable = invalid("the token's header cannot be read");
        let decode = || (text.len() <= HEADER_TEXT_MAX).then(|| URL_SAFE_NO_PAD.decode(text).ok()).flatten();
        let bytes = decode().filter(|bytes| bytes.len() <= HEADER_BYTES_MAX).ok_or(unreadable.clone())?;
        let header = json::object(&bytes).map_err(|_| unreadable.clone())?;
        // Extensions that must be understood, none of which is (RFC 7515, section 4.1.11; RFC 7797).
        if header.contains_key("crit") || header.contains_key("b64") {
            return Err(invalid("the token's header has an extension that is not taken here"));
        }
        if !header.get("typ").is_none_or(is_jwt) {
            return Err(invalid("the token's type is neither JWT nor at+jwt"));
        }
        let kid = match header.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err(unreadable),
        };
        let algorithm =
            algorithm(&header, taken).ok_or(invalid("the token's algorithm is not taken here"))?;
        Ok(Self { algorithm, kid })
    }
}

/// An access token has a type of its own, which is no other token's (RFC 9068, section 2.1).
fn is_jwt(typ: &Value) -> bool {
    let Some(typ) = typ.as_str() else { return false };
    let short = match typ.split_at_checked("application/".len()) {
        Some((media, rest)) if media.eq_ignore_ascii_case("application/") => rest,
        Some(_) | None => typ,
    };
    short.eq_ignore_ascii_case("JWT") || short.eq_ignore_ascii_case("at+jwt")
}

fn algorithm(header: &Map<String, Value>, taken: &[Algorithm]) -> Option<Algorithm> {
    let name = header.get("alg")?.as_str()?;
    taken.iter().copied().find(|algorithm| algorithm.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_one_token_after_bearer_is_refused() {
        for header in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer  a",
            "Bearer a b",
            "Bearer a ",
            "Bearer a,b c",
            "Bearer\ta",
            " Bearer a",
            "Bearer a\n",
            "Bearer a\0",
            "Bearer \u{e4}",
            "Bearé a",
            "Basic YTpi",
            "DPoP a",
            "Bearera",
            "a",
        ] {
            assert_eq!(bearer(header.as_bytes()).and_then(one_token), Err(NOT_ONE_TOKEN), "{header:?}");
        }
        assert_eq!(bearer(b"Bearer \xff").and_then(one_token), Err(NOT_ONE_TOKEN));
        for header in ["Bearer a.b-_", "bearer a.b-_", "BEARER a.b-_"] {
            assert_eq!(bearer(header.as_bytes()).and_then(one_token), Ok("a.b-_"));
        }
    }

    #[test]
    fn the_type_of_another_kind_of_token_is_refused() {
        for typ in [
            "",
            "logout+jwt",
            "dpop+jwt",
            "application/",
            "application/xml",
            "JOSE",
            "jwt ",
            "xapplication/jwt",
        ] {
            assert!(!is_jwt(&Value::from(typ)), "{typ}");
        }
        assert!(!is_jwt(&Value::from(1)) && !is_jwt(&Value::Null));
        for typ in ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", "Application/JWT"] {
            assert!(is_jwt(&Value::from(typ)), "{typ}");
        }
    }
}
