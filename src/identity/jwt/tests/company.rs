//! With which other credentials does a token count?

use super::*;
use crate::identity::{identify, plaintext};

#[test]
fn a_bound_token_is_taken_with_its_own_certificate_alone() {
    let (signer, jwt) = es256();
    let demanding = judge(Settings { bound_to_certificate: true, ..settings() }, &[&signer]);
    let (own, other) = (b"own certificate".to_vec(), b"another".to_vec());
    let thumbprint = base64url(cache::digest(&own));
    let bound = signer.token(&with("cnf", json!({ "x5t#S256": thumbprint })));
    let peer = |chain: &[&Vec<u8>]| Peer { chain: chain.iter().map(|der| (*der).clone()).collect(), ..tls() };
    let another = "the token is bound to another client certificate";
    for jwt in [&jwt, &demanding] {
        // Before and after a good call: that the token is known changes nothing.
        for _ in 0..2 {
            for chain in [&[][..], &[&other], &[&other, &own]] {
                assert_eq!(refusal(ask_from(jwt, &bound, &peer(chain), at(10))), another);
            }
            assert!(ask_from(jwt, &bound, &peer(&[&own, &other]), at(10)).is_ok());
        }
    }
    let unbound = "the token is not bound to a client certificate (`cnf`)";
    assert_eq!(refusal(ask_from(&demanding, &signer.token(&claims()), &peer(&[&own]), at(10))), unbound);
    for confirmation in [
        json!({ "jkt": thumbprint }),
        json!({ "x5t#S256": thumbprint, "jkt": thumbprint }),
        json!({ "kid": "k1" }),
        json!({ "jwk": signer.jwk() }),
        json!({ "x5t": thumbprint }),
        json!({ "x5t#S256": format!("{thumbprint}=") }),
        json!({ "x5t#S256": &thumbprint[1..] }),
        json!({ "x5t#S256": crate::digest::sha256(&own) }),
        json!({ "x5t#S256": [thumbprint] }),
        json!({ "x5t#S256": null }),
        json!({}),
        json!([]),
        json!(null),
        json!("x5t#S256"),
        json!(false),
    ] {
        for jwt in [&jwt, &demanding] {
            let token = signer.token(&with("cnf", confirmation.clone()));
            let result = ask_from(jwt, &token, &peer(&[&own]), at(10));
            let words = "the token is bound in another way than to a client certificate";
            assert_eq!(refusal(result), words, "{confirmation}");
        }
    }
}

#[test]
fn a_token_beside_another_credential_is_the_person_and_a_bad_one_is_not_excused() {
    let (signer, jwt) = es256();
    let (jwt, peer) = (Arc::new(jwt), tls());
    let all: [Box<dyn Authenticator>; 2] = [Box::new(plaintext::Plaintext), Box::new(Arc::clone(&jwt))];
    let together = |token: &str| {
        let authorization = Header::Once(format!("Bearer {token}").into_bytes());
        let credentials = Credentials { authorization, ..Credentials::default() };
        identify(None, &all, &Presented { peer: &peer, credentials: &credentials, now: at(10) })
    };
    let stranger = Signer::new("k1", Algorithm::Es256).token(&claims());
    assert_eq!(refusal(together(&stranger)), "the token's signature is not valid");
    assert_eq!(together(&signer.token(&claims())).unwrap().principal(), "sub:ada");
}
