//! Is every claim refused that is not what it should be?

use super::*;
use crate::clock::Now;
use crate::identity::{Credentials, Peer};
use proptest::prelude::*;
use serde_json::json;

fn settings() -> Settings {
    Settings {
        issuer: Some("https://login.hospital.example/".to_owned()),
        audience: vec!["asepsis".to_owned(), "api://asepsis".to_owned()],
        ..Settings::default()
    }
}

fn claims(changes: &Value) -> Value {
    let mut claims = json!({
        "iss": "https://login.hospital.example/", "aud": "asepsis", "sub": "ada", "iat": 1000, "exp": 2000,
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn read(changes: &Value) -> Result<Identity, IdentityError> {
    read_text(&claims(changes).to_string())
}

fn read_text(payload: &str) -> Result<Identity, IdentityError> {
    let vouched = Vouched::read(payload.as_bytes(), &settings())?;
    let now = Now { wall: UNIX_EPOCH + Duration::from_mins(25), ..Now::read() };
    let (peer, credentials) = (Peer::default(), Credentials::default());
    vouched.identity(&Presented { peer: &peer, credentials: &credentials, now })
}

/// Each of these claims alone has the token refused, in these words.
fn refused(cases: Vec<(&str, Value, &'static str)>) {
    for (name, value, words) in cases {
        let result = read(&json!({ name: value }));
        assert_eq!(result, Err(IdentityError::Invalid(words)), "{name}: {value}");
    }
}

#[test]
fn a_token_of_another_provider_for_another_service_or_nobody_or_no_time_is_refused() {
    let issuer = "the token is not from the provider that is trusted here";
    let (list, service) =
        ("the token's `aud` is not a list of names", "the token is not for this service (`aud`)");
    let caller = "the token does not name its caller in plain letters";
    let time = "a time in the token is not a number of seconds";
    let missing = "the token does not say when it was issued and when it ends";
    refused(vec![
        ("iss", json!("https://login.hospital.example"), issuer),
        ("iss", json!("https://login.hospital.example/ "), issuer),
        ("iss", json!("HTTPS://login.hospital.example/"), issuer),
        ("iss", json!("https://login.hospital.example/\0"), issuer),
        ("iss", json!(["https://login.hospital.example/"]), issuer),
        ("iss", json!(null), issuer),
        ("iss", json!(""), issuer),
        ("aud", json!("asepsis2"), service),
        ("aud", json!("ASEPSIS"), service),
        ("aud", json!(["other", "third"]), service),
        ("aud", json!([]), service),
        ("aud", json!(""), list),
        ("aud", json!(["asepsis", 1]), list),
        ("aud", json!(["asepsis", null]), list),
        ("aud", json!([["asepsis"]]), list),
        ("aud", json!({ "asepsis": 1 }), list),
        ("aud", json!(null), list),
        ("aud", json!(vec!["asepsis"; 257]), "a list in the token is too long"),
        ("sub", json!(""), caller),
        ("sub", json!("ada lovelace"), caller),
        ("sub", json!("ada\n"), caller),
        ("sub", json!("ad\u{e4}"), caller),
        ("sub", json!("\u{202e}ada"), caller),
        ("sub", json!("a".repeat(256)), caller),
        ("sub", json!(7), caller),
        ("sub", json!(["ada"]), caller),
        ("sub", json!(null), caller),
        ("exp", json!("2000"), time),
        ("exp", json!(null), time),
        ("exp", json!(true), time),
        ("exp", json!([2000]), time),
        ("exp", json!(-1), time),
        ("exp", json!(1e18), time),
        ("exp", json!(253_402_300_800_u64), time),
        ("exp", json!(u64::MAX), time),
        ("iat", json!("1000"), time),
        ("iat", json!(-1000), time),
        ("iat", json!({}), time),
        ("nbf", json!("0"), time),
        ("nbf", json!(null), time),
        ("nbf", json!(-0.5), time),
        ("auth_time", json!("1000"), time),
        ("auth_time", json!(null), time),
    ]);
    for (name, words) in
        [("iss", issuer), ("aud", service), ("sub", caller), ("exp", missing), ("iat", missing)]
    {
        let mut claims = claims(&json!({}));
        claims.as_object_mut().unwrap().remove(name);
        assert_eq!(read_text(&claims.to_string()), Err(IdentityError::Invalid(words)), "{name}");
    }
}

#[test]
fn roles_groups_and_words_on_the_sign_in_of_another_type_are_refused() {
    let (roles, groups) =
        ("the token's roles are not a list of names", "the token's groups are not a list of names");
    let device = "the token's device claim is not true or false";
    let long = "a list in the token is too long";
    refused(vec![
        ("roles", json!(null), roles),
        ("roles", json!(1), roles),
        ("roles", json!({ "admin": true }), roles),
        ("roles", json!(["a", 1]), roles),
        ("roles", json!(["a", ""]), roles),
        ("roles", json!("a\nb"), roles),
        ("roles", json!("a".repeat(257)), roles),
        ("roles", json!(vec!["a"; 257]), long),
        ("groups", json!(false), groups),
        ("groups", json!([["a"]]), groups),
        ("groups", json!(vec!["a"; 257]), long),
        ("_claim_names", json!("groups"), "the token's `_claim_names` is not an object"),
        ("_claim_names", json!(["groups"]), "the token's `_claim_names` is not an object"),
        ("acrs", json!(1), "the token's `acrs` is not a list of names"),
        ("acrs", json!(null), "the token's `acrs` is not a list of names"),
        ("acr", json!(1), "the token's `acr` is not a name"),
        ("amr", json!({ "mfa": true }), "the token's `amr` is not a list of names"),
        ("amr", json!(["pwd", true]), "the token's `amr` is not a list of names"),
        ("device_compliant", json!("true"), device),
        ("device_compliant", json!(1), device),
        ("device_compliant", json!(null), device),
    ]);
}

#[test]
fn claims_that_are_no_object_or_name_one_twice_are_refused() {
    let good = claims(&json!({})).to_string();
    let twice = |member: &str| good.replacen('{', &format!("{{{member},"), 1);
    for payload in [
        twice(r#""iss":"https://evil.example/""#),
        twice(r#""exp":9999999999"#),
        twice(r#""\u0073ub":"eve""#),
        twice(r#""x":{"y":1,"y":2}"#),
        format!("[{good}]"),
        format!("{good}{good}"),
        String::new(),
    ] {
        let words = "the token's claims cannot be read";
        assert_eq!(read_text(&payload), Err(IdentityError::Invalid(words)), "{payload}");
    }
    assert!(read_text(&good).is_ok());
}

#[test]
fn nobody_is_trusted_where_no_provider_is_named() {
    let nobody = Settings { issuer: None, ..settings() };
    let payload = claims(&json!({ "iss": null })).to_string();
    assert!(Vouched::read(payload.as_bytes(), &nobody).is_err());
    let nowhere = Settings { audience: Vec::new(), ..settings() };
    assert!(Vouched::read(claims(&json!({ "aud": [] })).to_string().as_bytes(), &nowhere).is_err());
}

#[test]
fn groups_that_the_provider_left_out_admit_nobody_unless_roles_are_there() {
    let elsewhere = json!({ "groups": "src1" });
    for changes in [
        json!({ "_claim_names": elsewhere }),
        json!({ "_claim_names": elsewhere, "groups": ["a"] }),
        json!({ "hasgroups": true }),
        json!({ "hasgroups": "true" }),
        json!({ "hasgroups": 1 }),
        json!({ "hasgroups": true, "groups": ["a"] }),
        json!({ "hasgroups": true, "_claim_names": {} }),
    ] {
        assert_eq!(read(&changes), Err(IdentityError::GroupsOverage), "{changes}");
        let mut roles = changes;
        roles["roles"] = json!(["Radiologists"]);
        assert_eq!(read(&roles).unwrap().names(), ["sub:ada", "role:Radiologists"]);
    }
    for changes in [json!({ "_claim_names": { "address": "src1" } }), json!({ "hasgroups": false })] {
        assert_eq!(read(&changes).unwrap().names(), ["sub:ada"]);
    }
}

#[test]
fn roles_come_before_groups_and_one_name_is_a_list_of_one() {
    for (changes, names) in [
        (json!({}), vec![]),
        (json!({ "roles": ["a", "b c"] }), vec!["role:a", "role:b c"]),
        (json!({ "roles": "a" }), vec!["role:a"]),
        (json!({ "roles": [], "groups": ["g"] }), vec![]),
        (json!({ "roles": ["a"], "groups": ["g"] }), vec!["role:a"]),
        (json!({ "roles": ["a"], "groups": 7 }), vec!["role:a"]),
        (json!({ "groups": ["g", "h"] }), vec!["group:g", "group:h"]),
        (json!({ "groups": "g" }), vec!["group:g"]),
        // A name that looks like another kind of name stays in its own kind.
        (json!({ "groups": ["role:admin", "sub:eve"] }), vec!["group:role:admin", "group:sub:eve"]),
    ] {
        let identity = read(&changes).unwrap();
        assert_eq!(identity.names()[1..], names[..], "{changes}");
        assert_eq!(identity.principal(), "sub:ada");
    }
    let most: Vec<String> = (0..256).map(|n| format!("{n:0256}")).collect();
    assert_eq!(read(&json!({ "roles": most })).unwrap().names().len(), 257);
}

#[test]
fn the_claims_that_are_read_are_those_in_the_settings() {
    let settings = Settings {
        principal_claim: "oid".to_owned(),
        roles_claim: "https://hospital.example/roles".to_owned(),
        groups_claim: "teams".to_owned(),
        device_claim: "managed".to_owned(),
        ..settings()
    };
    let payload =
        claims(&json!({ "oid": "0-1", "teams": ["t"], "groups": ["g"], "roles": ["r"], "managed": true }));
    let vouched = Vouched::read(payload.to_string().as_bytes(), &settings).unwrap();
    assert_eq!(vouched.identity.names(), ["sub:0-1", "group:t"]);
    assert_eq!(vouched.identity.sign_in().device_compliant, Some(true));
}

#[test]
fn how_the_person_has_signed_in_is_told() {
    let said = json!({
        "acrs": ["c1", "c2"], "acr": "1", "amr": ["pwd", "mfa"], "auth_time": 1200.9, "device_compliant": false,
    });
    let sign_in = SignIn {
        acrs: vec!["c1".to_owned(), "c2".to_owned()],
        amr: vec!["pwd".to_owned(), "mfa".to_owned()],
        auth_time: Some(1200),
        device_compliant: Some(false),
    };
    assert_eq!(*read(&said).unwrap().sign_in(), sign_in);
    assert_eq!(read(&json!({ "acr": "urn:silver" })).unwrap().sign_in().acrs, ["urn:silver"]);
    assert_eq!(read(&json!({ "acrs": "c1", "acr": "1" })).unwrap().sign_in().acrs, ["c1"]);
    assert_eq!(*read(&json!({})).unwrap().sign_in(), SignIn::default());
}

proptest! {
    #[test]
    fn no_claim_of_any_kind_makes_it_panic(
        name in prop::sample::select(vec![
            "iss", "aud", "sub", "exp", "iat", "nbf", "auth_time", "roles", "groups", "_claim_names", "hasgroups",
            "acrs", "acr", "amr", "cnf", "device_compliant",
        ]),
        number in any::<f64>(),
        text in ".*",
        kind in 0..5,
    ) {
        let value = match kind {
            0 => json!(number),
            1 => json!(text),
            2 => json!([text, number]),
            3 => json!({ &text: number }),
            _ => Value::Null,
        };
        drop(read(&json!({ name: value })));
    }
}
