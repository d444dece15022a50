//! Are keys refused that nothing should be verified with?

use super::super::signer::{Signer, base64url, jwks};
use super::*;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{EcdsaKeyPair, KeyPair};
use proptest::prelude::*;
use serde_json::json;

const ALL: [Algorithm; 4] = [Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es256, Algorithm::EdDsa];

fn parse(keys: &[Value]) -> Result<Keys, KeysError> {
    Keys::parse(json!({ "keys": keys }).to_string().as_bytes(), &ALL)
}

fn changed(algorithm: Algorithm, name: &str, value: Value) -> Value {
    let mut jwk = Signer::new("k1", algorithm).jwk();
    jwk[name] = value;
    jwk
}

/// An RSA key with a modulus of so many bits. Nobody knows its factors.
fn rsa(bits: usize, exponent: &[u8]) -> Value {
    let mut modulus = vec![0xff; bits.div_ceil(8)];
    modulus[0] >>= modulus.len() * 8 - bits;
    json!({ "kty": "RSA", "n": base64url(modulus), "e": base64url(exponent) })
}

#[test]
fn keys_that_cannot_or_must_not_be_used_are_passed_over() {
    let secret = json!({ "kty": "oct", "kid": "k1", "k": base64url([1; 64]), "alg": "HS256" });
    let not_on_curve = changed(Algorithm::Es256, "x", json!(base64url([7; 32])));
    let of_another = changed(Algorithm::Es256, "crv", json!("P-384"));
    for (jwk, problem) in [
        (json!({}), "no `kty`"),
        (json!({ "kty": 1 }), "a member that should be a string is not"),
        (json!({ "kty": "AKP", "alg": "ML-DSA-44" }), "of a kind that is not taken"),
        (json!({ "kty": "rsa", "n": "AQAB", "e": "AQAB" }), "of a kind that is not taken"),
        (secret, "symmetric"),
        (json!({ "kty": "RSA" }), "a member of the key is missing"),
        (json!({ "kty": "RSA", "n": "A=", "e": "AQAB" }), "a member of the key is not base64url"),
        (rsa(1024, &[1, 0, 1]), "RSA of less than 2048 bits, or more than 8192"),
        (rsa(2047, &[1, 0, 1]), "RSA of less than 2048 bits, or more than 8192"),
        (rsa(8193, &[1, 0, 1]), "RSA of less than 2048 bits, or more than 8192"),
        (rsa(0x8000, &[1, 0, 1]), "RSA of less than 2048 bits, or more than 8192"),
        (rsa(2048, &[]), "no RSA key"),
        (rsa(2048, &[1]), "no RSA key"),
        (rsa(2048, &[1, 0, 0]), "no RSA key"),
        (rsa(2048, &[1, 0, 0, 0, 1]), "no RSA key"),
        (not_on_curve, "no point on P-256"),
        (changed(Algorithm::Es256, "y", json!(base64url([7; 31]))), "no point on P-256"),
        (of_another, "on a curve that is not taken"),
        (changed(Algorithm::EdDsa, "crv", json!("Ed448")), "on a curve that is not taken"),
        (changed(Algorithm::EdDsa, "crv", json!("X25519")), "on a curve that is not taken"),
        (changed(Algorithm::EdDsa, "x", json!(base64url([7; 33]))), "no key of Ed25519"),
        (changed(Algorithm::Es256, "use", json!("enc")), "not for signatures (`use`)"),
        (changed(Algorithm::Es256, "use", json!(["sig"])), "a member that should be a string is not"),
        (changed(Algorithm::Es256, "key_ops", json!(["sign"])), "not for verifying (`key_ops`)"),
        (changed(Algorithm::Es256, "key_ops", json!("verify")), "not for verifying (`key_ops`)"),
        (changed(Algorithm::Es256, "alg", json!("RS256")), "for no algorithm in jwt.algorithms"),
        (changed(Algorithm::Rs256, "alg", json!("ES256")), "for no algorithm in jwt.algorithms"),
        (changed(Algorithm::Rs256, "alg", json!("HS256")), "for no algorithm in jwt.algorithms"),
        (changed(Algorithm::Rs256, "alg", json!("RSA-OAEP")), "for no algorithm in jwt.algorithms"),
        (changed(Algorithm::Es256, "alg", json!(null)), "a member that should be a string is not"),
        (changed(Algorithm::Es256, "kid", json!(1)), "a member that should be a string is not"),
    ] {
        let alone = parse(std::slice::from_ref(&jwk)).unwrap_err();
        assert_eq!(alone, KeysError::NoneUsable(vec![format!("keys[0]: {problem}")]), "{jwk}");
        let good = Signer::new("good", Algorithm::EdDsa).jwk();
        assert_eq!(parse(&[jwk, good]).unwrap().len(), 1);
    }
}

#[test]
fn sets_that_nobody_should_publish_are_refused_whole() {
    let ec = Signer::new("k1", Algorithm::Es256);
    let rs = Signer::new("k1", Algorithm::Rs256);
    let open = |mut jwk: Value| {
        jwk.as_object_mut().unwrap().remove("alg");
        jwk
    };
    for (keys, error) in [
        (vec![], KeysError::NoneUsable(vec![])),
        (vec![ec.jwk(); 65], KeysError::TooMany),
        (vec![ec.jwk(), ec.jwk()], KeysError::Ambiguous(0, 1)),
        (vec![ec.jwk(), json!({}), Signer::new("k1", Algorithm::Es256).jwk()], KeysError::Ambiguous(0, 2)),
        (vec![rs.jwk(), open(rs.jwk())], KeysError::Ambiguous(0, 1)),
        (vec![ec.jwk(), json!(1)], KeysError::Malformed("keys[1] is no object".to_owned())),
        (vec![ec.jwk(), changed(Algorithm::EdDsa, "d", json!("AA"))], KeysError::Private(1)),
        (vec![ec.jwk(), changed(Algorithm::Rs256, "p", json!(null))], KeysError::Private(1)),
    ] {
        assert_eq!(parse(&keys).unwrap_err(), error);
    }
    for text in [
        "",
        "[]",
        "{}",
        r#"{"keys":{}}"#,
        r#"{"keys":null}"#,
        r#"{"keys":[],"keys":[]}"#,
        r#"{"keys":[{"kty":"RSA","kty":"EC"}]}"#,
        "<html>",
    ] {
        assert!(matches!(Keys::parse(text.as_bytes(), &ALL), Err(KeysError::Malformed(_))), "{text}");
    }
    let padded = [jwks(&[&ec]), vec![b' '; JWKS_BYTES_MAX]].concat();
    assert_eq!(Keys::parse(&padded, &ALL).unwrap_err(), KeysError::TooLarge);
    assert!(Keys::parse(&padded[..JWKS_BYTES_MAX], &ALL).is_ok());
}

#[test]
fn a_key_is_for_what_its_kind_and_its_own_words_leave() {
    let mut open = Signer::new("r", Algorithm::Rs256).jwk();
    open.as_object_mut().unwrap().retain(|name, _| ["kty", "n", "e", "kid"].contains(&name.as_str()));
    let verifying = changed(Algorithm::Es256, "key_ops", json!(["sign", "verify"]));
    let keys = parse(&[open, Signer::new("p", Algorithm::Ps256).jwk(), verifying]).unwrap();
    for (kid, algorithm, good) in [
        ("r", Algorithm::Rs256, true),
        ("r", Algorithm::Ps256, true),
        ("r", Algorithm::Es256, false),
        ("p", Algorithm::Ps256, true),
        ("p", Algorithm::Rs256, false),
        ("k1", Algorithm::Es256, true),
        ("k1", Algorithm::EdDsa, false),
    ] {
        assert_eq!(keys.find(Some(kid), algorithm).is_ok(), good, "{kid} {algorithm:?}");
    }
    assert_eq!(keys.find(Some("x"), Algorithm::Es256).unwrap_err(), IdentityError::UnknownKey);
    // Two keys of one name are two keys if no algorithm is for both.
    assert_eq!(
        parse(&[Signer::new("k", Algorithm::Rs256).jwk(), Signer::new("k", Algorithm::Ps256).jwk()])
            .unwrap()
            .len(),
        2
    );
    assert_eq!(parse(&[rsa(2048, &[3]), rsa(8192, &[1, 0, 1])]).unwrap().len(), 2);
}

#[test]
fn a_modulus_with_the_sign_of_asn_1_is_the_same_modulus() {
    let signer = Signer::new("r", Algorithm::Rs256);
    let mut jwk = signer.jwk();
    let modulus = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
    jwk["n"] = base64url([&[0], modulus.as_slice()].concat()).into();
    let keys = parse(&[jwk]).unwrap();
    let signature = base64url(signer.signature(b"message"));
    let key = keys.find(Some("r"), Algorithm::Rs256).unwrap();
    assert!(key.has_signed("message", &signature, Algorithm::Rs256));
    assert!(!key.has_signed("massage", &signature, Algorithm::Rs256));
    assert!(!key.has_signed("message", &signature, Algorithm::Ps256));
}

#[test]
fn a_signature_in_another_spelling_or_encoding_is_not_one() {
    for algorithm in ALL {
        let signer = Signer::new("k", algorithm);
        let keys = parse(&[signer.jwk()]).unwrap();
        let key = keys.find(Some("k"), algorithm).unwrap();
        let raw = signer.signature(b"message");
        let good = base64url(&raw);
        assert!(key.has_signed("message", &good, algorithm));
        // 64 bytes and 256 leave four and two bits of the last letter unused: another letter is another spelling.
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let (rest, last) = good.split_at(good.len() - 1);
        let next = alphabet.find(last).unwrap() + 1;
        for other in [
            format!("{rest}{}", &alphabet[next..=next]),
            format!("{good}="),
            format!("{good}=="),
            format!("{good}A"),
            format!("{good} "),
            format!(" {good}"),
            format!("{good}\n"),
            rest.to_owned(),
            base64::engine::general_purpose::STANDARD.encode(&raw),
            base64url([raw.as_slice(), &[0]].concat()),
            base64url([&[0], raw.as_slice()].concat()),
            String::new(),
        ] {
            assert!(!key.has_signed("message", &other, algorithm), "{algorithm:?}: {other}");
        }
    }
    // What TLS and X.509 have for a signature by ECDSA is not what JWS has (RFC 7518, section 3.4).
    let random = SystemRandom::new();
    let der = EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let (x, y) = der.public_key().as_ref()[1..].split_at(32);
    let jwk = json!({ "kty": "EC", "crv": "P-256", "x": base64url(x), "y": base64url(y) });
    let keys = parse(&[jwk]).unwrap();
    let signature = base64url(der.sign(&random, b"message").unwrap());
    assert!(!keys.find(None, Algorithm::Es256).unwrap().has_signed("message", &signature, Algorithm::Es256));
}

proptest! {
    #[test]
    fn no_key_of_any_kind_makes_it_panic(
        kty in prop::sample::select(vec!["RSA", "EC", "OKP", "oct"]),
        crv in prop::sample::select(vec!["P-256", "Ed25519"]),
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        more in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let (first, second) = (base64url(bytes), base64url(more));
        drop(parse(&[json!({ "kty": kty, "crv": crv, "n": first, "e": second, "x": second, "y": second, "k": first })]));
    }
}
