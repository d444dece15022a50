//! Is a token verified only with a key of the provider's that is there now?

use super::*;

#[test]
fn a_kid_is_a_name_and_nothing_else() {
    let (signer, jwt) = es256();
    let signed = |kid: &Value| {
        let header = json!({ "alg": "ES256", "kid": kid }).to_string();
        signer.sign(&header, &claims().to_string())
    };
    for kid in [
        "",
        " k1",
        "k1 ",
        "K1",
        "k1\0",
        "k2",
        "../../../../dev/null",
        "/proc/self/environ",
        "k1' OR '1'='1",
        "x' UNION SELECT 'k1",
        "k1|/usr/bin/id",
        "http://evil.example/keys",
        "\u{212a}1",
        "*",
    ] {
        assert_eq!(ask(&jwt, &signed(&kid.into())), Err(IdentityError::UnknownKey), "{kid:?}");
    }
    for kid in [json!(1), json!(null), json!(["k1"]), json!({ "k1": 1 }), json!("k".repeat(2000))] {
        assert_eq!(refusal(ask(&jwt, &signed(&kid))), "the token's header cannot be read", "{kid}");
    }
    let twice = signer.sign(r#"{"alg":"ES256","kid":"k2","kid":"k1"}"#, &claims().to_string());
    assert_eq!(refusal(ask(&jwt, &twice)), "the token's header cannot be read");
}

#[test]
fn a_token_without_kid_is_taken_only_if_one_key_fits() {
    let (signer, jwt) = es256();
    let nameless = signer.sign(r#"{"alg":"ES256"}"#, &claims().to_string());
    assert!(ask(&jwt, &nameless).is_ok());
    jwt.replace_keys(&jwks(&[&signer, &Signer::new("k2", Algorithm::Es256)]), at(0)).unwrap();
    assert_eq!(refusal(ask(&jwt, &nameless)), "the token does not name its key");
    jwt.replace_keys(&jwks(&[&signer, &Signer::new("k2", Algorithm::EdDsa)]), at(0)).unwrap();
    assert!(ask(&jwt, &nameless).is_ok());
    jwt.replace_keys(&jwks(&[&Signer::new("k2", Algorithm::EdDsa)]), at(0)).unwrap();
    assert_eq!(ask(&jwt, &nameless), Err(IdentityError::UnknownKey));
}

#[test]
fn keys_that_a_token_brings_with_itself_are_never_used() {
    let (_, jwt) = es256();
    let attacker = Signer::new("k1", Algorithm::Es256);
    for (name, value) in [
        ("jwk", attacker.jwk()),
        ("jku", json!("https://evil.example/keys")),
        ("x5u", json!("https://evil.example/chain.pem")),
        ("x5c", json!(["MIIB"])),
    ] {
        let mut header = attacker.header();
        header[name] = value;
        let token = attacker.sign(&header.to_string(), &claims().to_string());
        assert_eq!(refusal(ask(&jwt, &token)), "the token's signature is not valid");
        header.as_object_mut().unwrap().remove("kid");
        let token = attacker.sign(&header.to_string(), &claims().to_string());
        assert_eq!(refusal(ask(&jwt, &token)), "the token's signature is not valid");
    }
}

#[test]
fn no_token_is_taken_before_keys_have_come_nor_when_they_are_too_old() {
    let signer = Signer::new("k1", Algorithm::Es256);
    let jwt = Jwt::new(Settings { stale_s: 100, ..settings() }, at(0)).unwrap();
    let token = signer.token(&claims());
    assert_eq!(ask(&jwt, &token), Err(IdentityError::UnknownKey));
    assert_eq!(jwt.status(), Status::default());
    jwt.replace_keys(&jwks(&[&signer]), at(5)).unwrap();
    assert!(ask_from(&jwt, &token, &tls(), at(105)).is_ok());
    assert_eq!(refusal(ask_from(&jwt, &token, &tls(), at(106))), "the provider's keys are too old");
    // The same keys again are as good as new.
    assert_eq!(jwt.replace_keys(&jwks(&[&signer]), at(106)), Ok(false));
    assert!(ask_from(&jwt, &token, &tls(), at(206)).is_ok());
    let status = Status { fetched_at: Some(at(106).wall), failures: 0, keys: 1 };
    assert_eq!(jwt.status(), status);
}

#[test]
fn a_token_whose_key_is_withdrawn_is_refused_though_it_is_cached() {
    let (signer, jwt) = es256();
    let token = signer.token(&claims());
    assert!(ask(&jwt, &token).is_ok());
    assert_eq!(jwt.cache.len(), 1);
    let next = Signer::new("k2", Algorithm::Es256);
    assert_eq!(jwt.replace_keys(&jwks(&[&next]), at(20)), Ok(true));
    assert_eq!(ask(&jwt, &token), Err(IdentityError::UnknownKey));
    // Another key of the same name.
    jwt.replace_keys(&jwks(&[&Signer::new("k1", Algorithm::Es256)]), at(20)).unwrap();
    assert_eq!(refusal(ask(&jwt, &token)), "the token's signature is not valid");
}

#[test]
fn keys_in_a_file_are_read_again_and_a_bad_file_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    let file = Settings { jwks: path.to_str().unwrap().to_owned(), stale_s: 100, ..settings() };
    let missing = Jwt::new(file.clone(), at(0)).err().unwrap().to_string();
    assert!(missing.starts_with(&format!("jwt.jwks: {}: ", path.display())), "{missing}");
    let (old, new) = (Signer::new("k1", Algorithm::Es256), Signer::new("k2", Algorithm::EdDsa));
    std::fs::write(&path, jwks(&[&old])).unwrap();
    let jwt = Jwt::new(file, at(0)).unwrap();
    assert_eq!(jwt.files(), std::slice::from_ref(&path));
    // Whoever keeps a file vouches for its age.
    assert!(ask_from(&jwt, &old.token(&claims()), &tls(), at(500)).is_ok());
    for bad in [&b"{"[..], b"{\"keys\":[]}", &vec![b' '; JWKS_BYTES_MAX + 1]] {
        std::fs::write(&path, bad).unwrap();
        assert!(jwt.reload(at(1)).unwrap_err().starts_with("jwt.jwks: "));
        assert!(ask(&jwt, &old.token(&claims())).is_ok());
    }
    assert_eq!(jwt.status().failures, 3);
    std::fs::write(&path, jwks(&[&new])).unwrap();
    jwt.reload(at(2)).unwrap();
    assert_eq!(ask(&jwt, &old.token(&claims())), Err(IdentityError::UnknownKey));
    assert!(ask(&jwt, &new.token(&claims())).is_ok());
}

#[tokio::test]
async fn nobody_waits_for_the_keys_of_a_file_and_who_comes_late_sees_those_that_came() {
    let (signer, jwt) = es256();
    assert!(!jwt.wait_for_keys(at(1)).await);
    jwt.replace_keys(&jwks(&[&signer]), at(2)).unwrap();
    assert!(jwt.wait_for_keys(at(1)).await);
    assert!(!jwt.wait_for_keys(at(3)).await);
}
