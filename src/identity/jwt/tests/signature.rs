//! Is a token taken only under an algorithm that is listed, fits the key and is verified with it?

use super::*;
use crate::identity::Mechanism;
use aws_lc_rs::hmac;
use base64::Engine;

#[test]
fn tokens_that_are_unsigned_or_signed_with_what_is_public_are_refused() {
    let signer = Signer::new("r1", Algorithm::Rs256);
    let jwt = judge(settings(), &[&signer]);
    let forged = |algorithm: &Value, secret: &[u8]| {
        let header = json!({ "alg": algorithm, "kid": "r1" }).to_string();
        let message = format!("{}.{}", base64url(header), base64url(claims().to_string()));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
        format!("{message}.{}", base64url(tag))
    };
    let der = Signer::public_rsa_der();
    let lines: Vec<String> = base64::engine::general_purpose::STANDARD
        .encode(&der)
        .as_bytes()
        .chunks(64)
        .map(|line| String::from_utf8(line.to_vec()).unwrap())
        .collect();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"));
    let jwk = signer.jwk();
    let (modulus, whole) = (jwk["n"].as_str().unwrap(), jwk.to_string());
    let secrets: [&[u8]; 7] = [
        b"",
        pem.as_bytes(),
        pem.trim().as_bytes(),
        &der,
        modulus.as_bytes(),
        &jwks(&[&signer]),
        whole.as_bytes(),
    ];
    for secret in secrets {
        let token = forged(&"HS256".into(), secret);
        assert_eq!(refusal(ask(&jwt, &token)), "the token's algorithm is not taken here");
        // Called by the name of what the key is for, the signature itself must fail.
        let token = forged(&"RS256".into(), secret);
        assert_eq!(refusal(ask(&jwt, &token)), "the token's signature is not valid");
    }
    for algorithm in [
        json!("none"),
        json!("None"),
        json!("NONE"),
        json!("nOnE"),
        json!(""),
        json!("rs256"),
        json!("RS256 "),
        json!("RS256\0"),
        json!("RS384"),
        json!("PS512"),
        json!("ES384"),
        json!("ES256K"),
        json!("HS512"),
        json!("dir"),
        json!("RSA-OAEP"),
        json!(["RS256"]),
        json!({ "RS256": 1 }),
        json!(256),
        json!(true),
        Value::Null,
    ] {
        let header = json!({ "alg": algorithm, "kid": "r1" }).to_string();
        let signed = signer.sign(&header, &claims().to_string());
        let unsigned = format!("{}.", signed.rsplit_once('.').unwrap().0);
        for token in [signed, unsigned] {
            assert_eq!(refusal(ask(&jwt, &token)), "the token's algorithm is not taken here", "{algorithm}");
        }
    }
    let unsigned = signer.token(&claims()).rsplit_once('.').unwrap().0.to_owned() + ".";
    assert_eq!(refusal(ask(&jwt, &unsigned)), "the token's signature is not valid");
    let header = signer.sign(r#"{"kid":"r1"}"#, &claims().to_string());
    assert_eq!(refusal(ask(&jwt, &header)), "the token's algorithm is not taken here");
}

#[test]
fn an_algorithm_that_does_not_fit_its_key_is_refused() {
    let (rsa, pss) = (Signer::new("r1", Algorithm::Rs256), Signer::new("p1", Algorithm::Ps256));
    let (ec, ed) = (Signer::new("e1", Algorithm::Es256), Signer::new("d1", Algorithm::EdDsa));
    let jwt = judge(settings(), &[&rsa, &pss, &ec, &ed]);
    let signers = [&rsa, &pss, &ec, &ed];
    for signer in signers {
        for key in signers {
            let header = json!({ "alg": signer.algorithm.name(), "kid": key.kid }).to_string();
            let result = ask(&jwt, &signer.sign(&header, &claims().to_string()));
            if signer.kid == key.kid {
                assert_eq!(result.unwrap().principal(), "sub:ada");
                continue;
            }
            assert_eq!(refusal(result), "the token's algorithm does not fit its key");
        }
    }
    // Without an `alg` of its own, an RSA key is for both of its algorithms, and still for one signature each.
    let mut open = rsa.jwk();
    open.as_object_mut().unwrap().remove("alg");
    jwt.replace_keys(json!({ "keys": [open] }).to_string().as_bytes(), at(0)).unwrap();
    let message = rsa.sign(r#"{"alg":"PS256","kid":"r1"}"#, &claims().to_string());
    assert_eq!(refusal(ask(&jwt, &message)), "the token's signature is not valid");
    let named = pss.sign(r#"{"alg":"PS256","kid":"r1"}"#, &claims().to_string());
    assert!(ask(&jwt, &named).is_ok() && ask(&jwt, &rsa.token(&claims())).is_ok());
}

#[test]
fn algorithms_that_are_not_listed_are_not_taken() {
    let (ec, ed) = (Signer::new("e1", Algorithm::Es256), Signer::new("d1", Algorithm::EdDsa));
    let jwt = judge(Settings { algorithms: vec![Algorithm::EdDsa], ..settings() }, &[&ec, &ed]);
    assert_eq!(refusal(ask(&jwt, &ec.token(&claims()))), "the token's algorithm is not taken here");
    assert!(ask(&jwt, &ed.token(&claims())).is_ok());
    assert_eq!(jwt.status().keys, 1);
}

#[test]
fn each_of_the_four_algorithms_is_verified() {
    for algorithm in [Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es256, Algorithm::EdDsa] {
        let (signer, stranger) = (Signer::new("k", algorithm), Signer::new("k", Algorithm::Es256));
        let jwt = judge(settings(), &[&signer]);
        let identity = ask(&jwt, &signer.token(&claims())).unwrap();
        assert_eq!(identity.principal(), "sub:ada");
        assert_eq!(identity.names(), ["sub:ada", "role:Radiologists"]);
        assert_eq!(identity.mechanisms(), [Mechanism::Token]);
        // The same header and claims over another's signature.
        let good = signer.token(&claims());
        let message = good.rsplit_once('.').unwrap().0;
        let forged = format!("{message}.{}", base64url(stranger.signature(message.as_bytes())));
        assert_eq!(refusal(ask(&jwt, &forged)), "the token's signature is not valid");
        let other = signer.token(&with("sub", "eve"));
        let swapped = format!("{message}.{}", other.rsplit_once('.').unwrap().1);
        assert_eq!(refusal(ask(&jwt, &swapped)), "the token's signature is not valid");
    }
}
