//! Is only that read which has the form of one signed token?

use super::*;
use proptest::prelude::*;

#[test]
fn nothing_but_one_bearer_token_over_tls_is_looked_at() {
    let (signer, jwt) = es256();
    let good = signer.token(&claims());
    let once = |text: String| Header::Once(text.into_bytes());
    let plain = Peer::default();
    for (header, peer, words) in [
        (Header::Repeated, &tls(), "the authorization header was sent more than once"),
        (once(format!("Bearer {good}")), &plain, "a bearer token is taken over TLS alone"),
        (once("Basic YWRhOng=".to_owned()), &tls(), "the authorization header is not `Bearer` and one token"),
        (
            once(format!("Bearer {good}, {good}")),
            &tls(),
            "the authorization header is not `Bearer` and one token",
        ),
        (once(format!("Bearer {}", "a".repeat(8193))), &tls(), "the token is larger than is taken here"),
        (
            once(format!("Bearer {}", "a".repeat(8192))),
            &tls(),
            "the token is not a signed JWT in three parts",
        ),
    ] {
        assert_eq!(present(&jwt, header, peer, at(10)), Err(IdentityError::Invalid(words)));
    }
    assert_eq!(present(&jwt, Header::Absent, &plain, at(10)), Ok(None));
    assert!(present(&jwt, once(format!("bEaReR {good}")), &tls(), at(10)).unwrap().is_some());
}

#[test]
fn what_is_not_three_parts_of_strict_base64url_is_refused() {
    let (signer, jwt) = es256();
    let good = signer.token(&claims());
    let [header, payload, signature] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let (flat, unreadable, unsigned) = (
        "the token is not a signed JWT in three parts",
        "the token's header cannot be read",
        "the token's signature is not valid",
    );
    let scheme = "the authorization header is not `Bearer` and one token";
    for (token, words) in [
        (header.to_owned(), flat),
        (format!("{header}.{payload}"), flat),
        (".".to_owned(), flat),
        (format!("{header}.{payload}.{signature}."), flat),
        (format!(".{header}.{payload}.{signature}"), flat),
        // JWE in compact form (RFC 7516) has five parts.
        (format!("{header}.{payload}.{payload}.{payload}.{signature}"), flat),
        ("..".to_owned(), unreadable),
        (format!(".{payload}.{signature}"), unreadable),
        (format!("{header}=.{payload}.{signature}"), unreadable),
        (format!("{header}==.{payload}.{signature}"), unreadable),
        (format!("%{header}.{payload}.{signature}"), unreadable),
        (format!("{header}.{payload}=.{signature}"), unsigned),
        (format!("{header}.{payload}.{signature}="), unsigned),
        (format!("{header}.{payload}.{signature}=="), unsigned),
        (format!("{header}.{payload}.{signature}A"), unsigned),
        (format!("{header}.{payload}."), unsigned),
        (format!("{header}..{signature}"), unsigned),
        (format!("{header}.{payload}.{signature} "), scheme),
        (format!("{header}.{payload} .{signature}"), scheme),
        (format!("{header}\n.{payload}.{signature}"), scheme),
        (format!("{header}.{payload}.\u{e4}{signature}"), scheme),
        (String::new(), scheme),
    ] {
        assert_eq!(refusal(ask(&jwt, &token)), words, "{token}");
    }
    // 64 bytes are 86 letters, the last of which has four bits to spare: no other letter may stand for it.
    let spare: Vec<char> = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['-', '_']).collect();
    let mut accepted = 0;
    for letter in spare {
        let token = format!("{header}.{payload}.{}{letter}", &signature[..signature.len() - 1]);
        accepted += u8::from(ask(&jwt, &token).is_ok());
    }
    assert_eq!(accepted, 1);
    let classic = signature.replace('-', "+").replace('_', "/");
    if classic != signature {
        assert_eq!(refusal(ask(&jwt, &format!("{header}.{payload}.{classic}"))), unsigned);
    }
    // A signature in the form of X.509 (ASN.1), which RFC 7518, section 3.4, does not have.
    let der = [&[0x30, 0x44, 2, 32], &[1; 32][..], &[2, 32], &[1; 32][..]].concat();
    assert_eq!(refusal(ask(&jwt, &format!("{header}.{payload}.{}", base64url(der)))), unsigned);
    // r = s = 0 (CVE-2022-21449).
    assert_eq!(refusal(ask(&jwt, &format!("{header}.{payload}.{}", base64url([0; 64])))), unsigned);
}

#[test]
fn headers_that_ask_for_more_than_is_done_here_are_refused() {
    let (signer, jwt) = es256();
    let extension = "the token's header has an extension that is not taken here";
    let (typ, unreadable) =
        ("the token's type is neither JWT nor at+jwt", "the token's header cannot be read");
    for (member, words) in [
        (r#""crit":["exp"],"exp":1"#, extension),
        (r#""crit":[]"#, extension),
        (r#""crit":null"#, extension),
        (r#""b64":false"#, extension),
        (r#""b64":true"#, extension),
        (r#""typ":"dpop+jwt""#, typ),
        (r#""typ":null"#, typ),
        (r#""typ":1"#, typ),
        (r#""alg":"none""#, unreadable),
        (r#""al\u0067":"none""#, unreadable),
        (&format!(r#""x":"{}""#, "x".repeat(1000)), unreadable),
        ("", unreadable),
    ] {
        let header = format!(r#"{{"alg":"ES256","kid":"k1",{member}}}"#);
        assert_eq!(refusal(ask(&jwt, &signer.sign(&header, &claims().to_string()))), words, "{member}");
    }
    for header in ["[]", "\"alg\"", "{}{}", "\u{feff}{\"alg\":\"ES256\"}", "{\"alg\":\"ES256\"} x"] {
        assert_eq!(refusal(ask(&jwt, &signer.sign(header, &claims().to_string()))), unreadable, "{header}");
    }
    // The largest header that is read.
    let room = HEADER_ROOM - r#"{"alg":"ES256","kid":"k1","x":""}"#.len();
    for (length, good) in [(room, true), (room + 1, false)] {
        let header = format!(r#"{{"alg":"ES256","kid":"k1","x":"{}"}}"#, "x".repeat(length));
        assert_eq!(ask(&jwt, &signer.sign(&header, &claims().to_string())).is_ok(), good);
    }
    let extra = r#"{"alg":"ES256","kid":"k1","typ":"application/AT+JWT","nonce":"n","x5t":"t"}"#;
    assert!(ask(&jwt, &signer.sign(extra, &claims().to_string())).is_ok());
}

/// What the promise of one kibibyte means.
const HEADER_ROOM: usize = 1024;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn no_change_to_a_good_token_makes_another_good_one(
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        kind in 0..4_u8,
    ) {
        static GOOD: LazyLock<(Jwt, String)> = LazyLock::new(|| {
            let (signer, jwt) = es256();
            (jwt, signer.token(&claims()))
        });
        let (jwt, good) = &*GOOD;
        let mut changed = good.clone().into_bytes();
        let place = place.index(changed.len());
        match kind {
            0 => changed[place] = byte,
            1 => changed.insert(place, byte),
            2 => drop(changed.remove(place)),
            _ => changed.truncate(place),
        }
        let identical = changed == good.as_bytes();
        let header = Header::Once([b"Bearer ".to_vec(), changed].concat());
        prop_assert_eq!(present(jwt, header, &tls(), at(10)).is_ok(), identical);
    }

    #[test]
    fn no_header_makes_it_panic(header in prop::collection::vec(any::<u8>(), 0..200)) {
        static JWT: LazyLock<Jwt> = LazyLock::new(|| es256().1);
        prop_assert!(present(&JWT, Header::Once(header), &tls(), at(10)).is_err());
    }
}
