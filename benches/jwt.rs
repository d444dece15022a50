//! What a bearer token costs: one that is known, and one that is new and verified by ES256.
//!
//! `cargo bench --bench jwt`. Figures that are promised stand in docs/SPECIFICATION.md.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::missing_docs_in_private_items,
    reason = "a benchmark"
)]

use asepsis::clock::Now;
use asepsis::identity::jwt::{Jwt, Settings};
use asepsis::identity::{Authenticator, Credentials, Header, Peer, Presented};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use serde_json::{Value, json};
use std::hint::black_box;

struct Provider {
    key: EcdsaKeyPair,
    certificate: Vec<u8>,
    issued: i64,
    tokens: u64,
}

impl Provider {
    fn new() -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self { key, certificate: vec![7; 900], issued: Now::read().unix_seconds(), tokens: 0 }
    }

    fn jwt(&self) -> Jwt {
        let settings = Settings {
            issuer: Some("https://login.hospital.example/".to_owned()),
            audience: vec!["api://asepsis".to_owned()],
            jwks: "https://login.hospital.example/keys".to_owned(),
            ..Settings::default()
        };
        let jwt = Jwt::new(settings, Now::read()).unwrap();
        let (x, y) = self.key.public_key().as_ref()[1..].split_at(32);
        let key = json!({
            "kty": "EC", "crv": "P-256", "kid": "k1", "alg": "ES256", "use": "sig",
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        });
        jwt.replace_keys(json!({ "keys": [key] }).to_string().as_bytes(), Now::read()).unwrap();
        jwt
    }

    /// A token as providers make them, of about a kilobyte, and no two alike.
    fn token(&mut self, bound: bool) -> Credentials {
        self.tokens += 1;
        let mut claims = json!({
            "iss": "https://login.hospital.example/", "aud": "api://asepsis", "ver": "2.0",
            "sub": "0f3cbe1c-2b79-4c55-8f2a-93f3b8d3d3a1", "oid": "0f3cbe1c-2b79-4c55-8f2a-93f3b8d3d3a1",
            "iat": self.issued, "nbf": self.issued, "exp": self.issued + 3600, "auth_time": self.issued,
            "jti": self.tokens.to_string(), "azp": "7d1b9c3e-52a7-4a0f-b1c5-0a8f4dd61f5e",
            "name": "Ada Lovelace", "preferred_username": "ada.lovelace@hospital.example",
            "tid": "2b8b1a0f-6d8c-4d43-8a1b-c1f1b9e3e0aa", "scp": "infer", "acrs": ["c1"], "amr": ["pwd", "mfa"],
            "roles": ["Radiologists_AI_Read", "Clinicians_AI_Query", "Emergency"],
        });
        if bound {
            let thumbprint = digest(&SHA256, &self.certificate);
            claims["cnf"] = json!({ "x5t#S256": URL_SAFE_NO_PAD.encode(thumbprint) });
        }
        self.sign(&claims)
    }

    fn sign(&self, claims: &Value) -> Credentials {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","kid":"k1","typ":"at+jwt"}"#);
        let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = self.key.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        let token = format!("Bearer {message}.{}", URL_SAFE_NO_PAD.encode(signature));
        Credentials { authorization: Header::Once(token.into_bytes()), ..Credentials::default() }
    }
}

fn tokens(criterion: &mut Criterion) {
    let mut provider = Provider::new();
    let jwt = provider.jwt();
    let peer = Peer { tls: true, chain: vec![provider.certificate.clone()], ..Peer::default() };
    let now = Now::read();
    let mut group = criterion.benchmark_group("jwt");
    for (name, bound) in [("cached", false), ("cached, bound to a certificate", true)] {
        let credentials = provider.token(bound);
        let presented = Presented { peer: &peer, credentials: &credentials, now };
        jwt.authenticate(&presented).unwrap();
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(jwt.authenticate(black_box(&presented)).unwrap()));
        });
    }
    group.bench_function("uncached, ES256", |bencher| {
        bencher.iter_batched(
            || provider.token(false),
            |credentials| {
                let presented = Presented { peer: &peer, credentials: &credentials, now };
                black_box(jwt.authenticate(&presented).unwrap())
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, tokens);
criterion_main!(benches);
