//! Are settings of tokens refused that would let the wrong ones in?

use super::*;

/// A good configuration that takes tokens.
const TOKENS: &str = r#"
[jwt]
issuer = "https://login.hospital.example/"
audience = "api://asepsis"
jwks = "https://login.hospital.example:8443/keys?v=2"
"#;

fn token_problems(key: &str, value: &str) -> Vec<String> {
    let name = format!("ASEPSIS__JWT__{}", key.to_ascii_uppercase());
    problems(&format!("{GOOD}{TOKENS}"), &[(&name, value)])
}

#[test]
fn settings_of_tokens_that_would_let_the_wrong_ones_in_are_refused() {
    for (key, value, start) in [
        (
            "algorithms",
            "[\"HS256\"]",
            "unknown variant `HS256`, expected one of `RS256`, `PS256`, `ES256`, `EdDSA`",
        ),
        ("algorithms", "[\"none\"]", "unknown variant `none`"),
        ("algorithms", "[]", "name at least one"),
        ("audience", "[]", "set it to the name of this service"),
        ("audience", "", "set it to the name of this service"),
        ("audience", "[\"a\", \"\"]", "set it to the name of this service"),
        ("audience", "[1]", "set it to the name of this service"),
        ("audience", "[\"a\", \"b\"", "set it to the name of this service"),
        ("audience", "a b", "set it to the name of this service"),
        ("jwks", "", "set it to the URL of the provider's keys"),
        ("jwks", "http://login.hospital.example/keys", "a URL such as https://"),
        ("jwks", "file:///etc/keys.json", "a URL such as https://"),
        ("jwks", "https://user:password@login.hospital.example/keys", "a URL such as https://"),
        ("jwks", "https:///keys", "a URL such as https://"),
        ("principal_claim", "", "set it to the name of a claim"),
        ("roles_claim", "", "set it to the name of a claim"),
        ("groups_claim", "", "set it to the name of a claim"),
        ("device_claim", "", "set it to the name of a claim"),
        ("leeway_s", "301", "301 is not between 0 and 300"),
        ("max_age_s", "0", "0 is not between 1 and 86400"),
        ("token_bytes_max", "70000", "70000 is not between 256 and 65536"),
        ("fetch_interval_s", "0", "0 is not between 1 and"),
        ("refresh_s", "9", "9 is not between 10 and"),
        ("stale_s", "299", "299 is not between 300 and"),
        ("issue", "x", "unknown key `issue`"),
    ] {
        let found = token_problems(key, value);
        let start = format!("ASEPSIS__JWT__{}: jwt.{key}: {start}", key.to_ascii_uppercase());
        assert!(found.len() == 1 && found[0].starts_with(&start), "{found:#?}\n{start}");
    }
    for (text, env) in [
        (format!("{GOOD}{TOKENS}"), &[("ASEPSIS__JWT__ISSUER", "")][..]),
        (format!("{GOOD}[jwt]\njwks = \"keys.json\""), &[]),
        (format!("{GOOD}[jwt]\naudience = \"asepsis\""), &[]),
    ] {
        let forgotten = problems(&text, env);
        assert!(forgotten[0].contains("jwt.issuer: set it to the provider's name"), "{forgotten:#?}");
    }
    let number = TOKENS.replace("\"api://asepsis\"", "7");
    let found = problems(&format!("{GOOD}{number}"), &[]);
    assert!(
        found[0].contains("jwt.audience: invalid type: integer `7`, expected a string or a list"),
        "{found:#?}"
    );
    let ca = [("ASEPSIS__JWT__JWKS", "keys.json"), ("ASEPSIS__JWT__CA", "ca.pem")];
    let found = problems(&format!("{GOOD}{TOKENS}"), &ca);
    assert!(found[0].contains("jwt.ca: only where jwt.jwks is a URL"), "{found:#?}");
    let plaintext = [("ASEPSIS__TLS__PLAINTEXT", "true")];
    let found = problems(&format!("{GOOD}{TOKENS}"), &plaintext);
    assert!(found[0].contains("jwt.issuer: tokens are taken over TLS alone"), "{found:#?}");
}

#[test]
fn settings_of_tokens_name_a_file_beside_the_configuration_or_a_url() {
    let text = format!("{GOOD}{TOKENS}");
    let (directory, config) = read(&text, &[("ASEPSIS__JWT__CA", "ca.pem")]);
    let jwt = config.unwrap().jwt;
    assert_eq!(jwt.audience, ["api://asepsis"]);
    assert_eq!(jwt.key_source(), KeySource::Url("https://login.hospital.example:8443/keys?v=2"));
    assert_eq!(jwt.ca, Some(directory.join("ca.pem")));
    let list = r#"["api://asepsis", "asepsis"]"#;
    let (directory, config) =
        read(&text, &[("ASEPSIS__JWT__JWKS", "pki/keys.json"), ("ASEPSIS__JWT__AUDIENCE", list)]);
    let mut config = config.unwrap();
    assert_eq!(config.jwt.audience, ["api://asepsis", "asepsis"]);
    assert_eq!(config.jwt.key_source(), KeySource::File(&directory.join("pki/keys.json")));
    let mut again = read(&config.to_string(), &[]).1.unwrap();
    (again.places, config.places) = (Places::default(), Places::default());
    assert_eq!(config, again);
    assert_eq!(good(&[]).jwt, crate::identity::jwt::Settings::default());
}
