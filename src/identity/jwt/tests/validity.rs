//! From when to when does a token count, and which are remembered?

use super::*;

#[test]
fn a_token_counts_from_its_first_to_its_last_moment_and_no_longer_than_its_age() {
    let (signer, jwt) = es256();
    let (early, late) = ("the token is not valid yet", "the token has expired, or was issued too long ago");
    let lasting = |seconds: u64| with("exp", ISSUED + seconds);
    let mut dated = lasting(600);
    dated["nbf"] = (ISSUED + 100).into();
    let mut signed_in = lasting(600);
    signed_in["auth_time"] = (ISSUED + 100).into();
    for (claims, seconds, words) in [
        (lasting(600), 629, None),
        (lasting(600), 630, Some(late)),
        (lasting(600), 80_000, Some(late)),
        (with("exp", 600.5 + 1.8e9), 630, None),
        (with("exp", 600.5 + 1.8e9), 631, Some(late)),
        // Older than two hours, whatever the provider says.
        (lasting(100_000), 7229, None),
        (lasting(100_000), 7230, Some(late)),
        (with("iat", ISSUED + 40), 10, None),
        (with("iat", ISSUED + 40), 9, Some(early)),
        (dated.clone(), 70, None),
        (dated, 69, Some(early)),
        (signed_in.clone(), 70, None),
        (signed_in, 69, Some(early)),
        (with("nbf", 0), 0, None),
        (with("exp", ISSUED - 31), 0, Some(late)),
        (with("exp", 0), 0, Some(late)),
    ] {
        let token = signer.token(&claims);
        // Twice: the second time the cache could answer.
        for _ in 0..2 {
            let result = ask_from(&jwt, &token, &tls(), at(seconds)).map(|_| ());
            assert_eq!(result.err(), words.map(IdentityError::Invalid), "{claims} {seconds}");
        }
    }
    let strict = judge(Settings { leeway_s: 0, ..settings() }, &[&signer]);
    for (seconds, good) in [(599, true), (600, false)] {
        assert_eq!(ask_from(&strict, &signer.token(&claims()), &tls(), at(seconds)).is_ok(), good);
    }
}

#[test]
fn the_identity_ends_with_the_token() {
    let (signer, jwt) = es256();
    for (claims, last) in [(claims(), 630), (with("exp", ISSUED + 100_000), 7230)] {
        let identity = ask(&jwt, &signer.token(&claims)).unwrap();
        assert!(identity.still_valid(at(last)).is_ok());
        assert!(identity.still_valid(at(last + 1)).is_err());
    }
}

#[test]
fn only_tokens_that_were_admitted_are_cached() {
    let (signer, jwt) = es256();
    for token in [
        signer.token(&with("aud", "another")),
        signer.token(&with("exp", ISSUED)),
        Signer::new("k1", Algorithm::Es256).token(&claims()),
        signer.sign(r#"{"alg":"ES256","kid":"k2"}"#, &claims().to_string()),
        "a.b.c".to_owned(),
    ] {
        assert!(ask_from(&jwt, &token, &tls(), at(100)).is_err());
    }
    assert_eq!(jwt.cache.len(), 0);
}
