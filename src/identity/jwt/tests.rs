//! Is every token refused that should be, and for its own reason?

use super::signer::{Signer, base64url, jwks};
use super::*;
use crate::identity::{Credentials, Mechanism, Peer, identify, plaintext};
use aws_lc_rs::hmac;
use base64::Engine;
use proptest::prelude::*;
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
