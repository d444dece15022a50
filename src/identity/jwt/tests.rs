//! Is every token refused that should be, and for its own reason?

mod company;
mod form;
mod known_keys;
mod signature;
mod validity;

use super::signer::{Signer, base64url, jwks};
use super::*;
use crate::identity::{Credentials, Peer};
use serde_json::{Value, json};
use std::sync::LazyLock;
use std::time::UNIX_EPOCH;

const ISSUER: &str = "https://login.hospital.example/";

/// When the tokens of these tests are issued, in seconds since the Unix epoch.
const ISSUED: u64 = 1_800_000_000;

static START: LazyLock<Now> = LazyLock::new(Now::read);

/// So many seconds after the tokens were issued.
fn at(seconds: u64) -> Now {
    Now {
        monotonic: START.monotonic + Duration::from_secs(seconds),
        wall: UNIX_EPOCH + Duration::from_secs(ISSUED + seconds),
    }
}

fn settings() -> Settings {
    Settings {
        issuer: Some(ISSUER.to_owned()),
        audience: vec!["api://asepsis".to_owned()],
        jwks: "https://login.hospital.example/keys".to_owned(),
        ..Settings::default()
    }
}

fn claims() -> Value {
    json!({ "iss": ISSUER, "aud": "api://asepsis", "sub": "ada", "iat": ISSUED, "exp": ISSUED + 600, "roles": ["Radiologists"] })
}

fn with(name: &str, value: impl Into<Value>) -> Value {
    let mut claims = claims();
    claims[name] = value.into();
    claims
}

/// Trusts these signers.
fn judge(settings: Settings, signers: &[&Signer]) -> Jwt {
    let jwt = Jwt::new(settings, at(0)).unwrap();
    jwt.replace_keys(&jwks(signers), at(0)).unwrap();
    jwt
}

fn present(jwt: &Jwt, header: Header, peer: &Peer, now: Now) -> Result<Option<Identity>, IdentityError> {
    let credentials = Credentials { authorization: header, ..Credentials::default() };
    jwt.authenticate(&Presented { peer, credentials: &credentials, now })
}

fn ask_from(jwt: &Jwt, token: &str, peer: &Peer, now: Now) -> Result<Identity, IdentityError> {
    let header = Header::Once(format!("Bearer {token}").into_bytes());
    present(jwt, header, peer, now).map(|identity| identity.expect("a token was presented"))
}

fn tls() -> Peer {
    Peer { tls: true, ..Peer::default() }
}

/// Ten seconds after the token was issued.
fn ask(jwt: &Jwt, token: &str) -> Result<Identity, IdentityError> {
    ask_from(jwt, token, &tls(), at(10))
}

/// The words of a refusal that is neither an unknown key nor an overage.
fn refusal(result: Result<Identity, IdentityError>) -> &'static str {
    match result {
        Err(IdentityError::Invalid(words)) => words,
        other => panic!("not refused as invalid: {other:?}"),
    }
}

fn es256() -> (Signer, Jwt) {
    let signer = Signer::new("k1", Algorithm::Es256);
    let jwt = judge(settings(), &[&signer]);
    (signer, jwt)
}
