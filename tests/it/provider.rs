//! A provider of tokens with one key, made at test time.

use asepsis::clock::Now;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use serde_json::{Value, json};

/// `iss` and `aud` of its tokens.
pub const ISSUER: &str = "https://id.example";
pub const AUDIENCE: &str = "asepsis";

/// A provider's key.
pub struct Provider {
    key: KeyPair,
    kid: &'static str,
}

impl Provider {
    pub fn new(kid: &'static str) -> Self {
        Self { key: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(), kid }
    }

    /// Its key set, as a provider publishes it.
    pub fn jwks(&self) -> String {
        let point = self.key.der_bytes();
        let [x, y] = [&point[1..33], &point[33..65]].map(|part| URL_SAFE_NO_PAD.encode(part));
        json!({ "keys": [{ "kty": "EC", "crv": "P-256", "use": "sig", "kid": self.kid, "x": x, "y": y }] })
            .to_string()
    }

    /// A token of somebody with a role, good for five minutes; `null` leaves a claim out.
    pub fn token(&self, role: &str, more: &Value) -> String {
        let now = Now::read().unix_seconds();
        let mut claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "roles": [role],
            "iat": now, "exp": now + 300,
        });
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
        header.kid = Some(self.kid.into());
        let key = jsonwebtoken::EncodingKey::from_ec_pem(self.key.serialize_pem().as_bytes()).unwrap();
        jsonwebtoken::encode(&header, &claims, &key).unwrap()
    }
}
