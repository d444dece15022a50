//! Are all mistakes found, and each at its place?

use super::*;

const GOOD: &str = r#"
[listen]
grpc = "127.0.0.1:0"
admin = "127.0.0.1:0"

[tls]
certificate = "pki/server.pem"
key = "pki/server.key"
client_ca = "/etc/pki/ca.pem"

[access]
policy = "access.toml"

[models]
repository = "models"

[audit]
directory = "audit"
"#;

fn read(text: &str, env: &[(&str, &str)]) -> (PathBuf, Result<Config, Problems>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("asepsis.toml");
    std::fs::write(&path, text).unwrap();
    let read = Config::load(&path, env.iter().copied());
    (directory.path().to_owned(), read)
}

/// Problems without the directory, which differs from run to run.
fn problems(text: &str, env: &[(&str, &str)]) -> Vec<String> {
    let (directory, read) = read(text, env);
    let problems = read.expect_err("should have been refused").to_string();
    let prefix = format!("{}/", directory.display());
    problems.lines().map(|line| line.replace(&prefix, "")).collect()
}

fn good(env: &[(&str, &str)]) -> Config {
    read(GOOD, env).1.unwrap_or_else(|problems| panic!("{problems}"))
}

fn with(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    GOOD.replace(from, to)
}

#[test]
fn every_problem_is_reported_at_once_and_each_at_its_line() {
    let text = r#"
[listen]
grcp = "127.0.0.1:8001"
admin = "localhost:8002"

[tls]
plaintext = "yes"
minimum_version = "1.1"
certificate = "a.pem"

[limits]
in_flight_max = 0
queue_max = -1

[policy]
alpha = 2.0

[detection.confidence]
enabled = 1

[telemetry]
on = true
"#;
    let problems = problems(text, &[]);
    let starts = [
        "asepsis.toml:3: listen.grcp: unknown key `grcp`, expected one of `grpc`",
        "asepsis.toml:4: listen.admin: an IP address and a port",
        "asepsis.toml:6: tls.client_ca: set it",
        "asepsis.toml:6: tls.key: set it",
        "asepsis.toml:7: tls.plaintext: invalid type: string \"yes\", expected a boolean",
        "asepsis.toml:8: tls.minimum_version: unknown variant `1.1`",
        "asepsis.toml:12: limits.in_flight_max: 0 is not between 1 and",
        "asepsis.toml:13: limits.queue_max: invalid value: integer `-1`",
        "asepsis.toml:16: policy.alpha: between 0 and 1",
        "asepsis.toml:19: detection.confidence.enabled: invalid type: integer `1`",
        "asepsis.toml:21: telemetry: there is no such section",
        "asepsis.toml: access.policy: set it",
        "asepsis.toml: audit.directory: set it",
        "asepsis.toml: models.repository: set it",
    ];
    assert_eq!(problems.len(), starts.len(), "{problems:#?}");
    for (problem, start) in problems.iter().zip(starts) {
        assert!(problem.starts_with(start), "{problem}\n{start}");
    }
}

#[test]
fn a_line_that_is_no_toml_hides_no_other_problem() {
    let text = with("key = \"pki/server.key\"", "key = \nkez = 1\nclient_ca = \"b.pem\"");
    let problems = problems(&text, &[]);
    assert!(problems.iter().any(|p| p.starts_with("asepsis.toml:8: ")), "{problems:#?}");
    assert!(problems.iter().any(|p| p.starts_with("asepsis.toml:9: tls.kez: unknown key")), "{problems:#?}");
    assert!(problems.iter().any(|p| p.starts_with("asepsis.toml:11: duplicate key")), "{problems:#?}");
    assert_eq!(problems.len(), 3, "{problems:#?}");
    for broken in [
        "[",
        "[listen",
        "= 1",
        "a.b.",
        "\"",
        "[tls]\n[tls]",
        "x = \"\"\"",
        "\u{0}",
        "[[listen]]",
        "listen = 5",
    ] {
        assert!(read(broken, &[]).1.is_err(), "{broken}");
    }
}

#[test]
fn a_file_that_is_not_there_is_one_problem() {
    let path = Path::new("/nowhere/asepsis.toml");
    let problems = Config::load::<&str, &str>(path, []).unwrap_err().to_string();
    assert!(problems.starts_with("/nowhere/asepsis.toml: cannot be read: "), "{problems}");
    assert_eq!(problems.lines().count(), 1, "{problems}");
}

#[test]
fn overrides_that_fit_no_key_are_refused_by_name() {
    let env = [
        ("ASEPSIS__LISTEN__GRCP", "127.0.0.1:1"),
        ("ASEPSIS__LISTENER__GRPC", "127.0.0.1:1"),
        ("ASEPSIS__LIMITS__IN_FLIGHT_MAX", "many"),
        ("ASEPSIS__LIMITS__QUEUE_MAX", "-5"),
        ("ASEPSIS__LIMITS__CONNECTIONS_MAX", "0"),
        ("ASEPSIS__LISTEN__ADMIN__X", "1"),
        ("ASEPSIS__TLS", "x"),
        ("ASEPSIS__TLS____KEY", "x"),
        ("ASEPSIS__tls__key", "x"),
        ("ASEPSIS__DETECTION__CONFIDENCE__ENABLED", "5"),
        ("ASEPSIS_SERVICE_PORT", "not ours"),
    ];
    let problems = problems(GOOD, &env);
    assert_eq!(problems.len(), env.len() - 1, "{problems:#?}");
    for (name, _) in &env[..env.len() - 1] {
        assert!(problems.iter().any(|p| p.starts_with(&format!("{name}: "))), "{name} {problems:#?}");
    }
    assert!(
        problems.iter().any(|p| p.contains("limits.queue_max: invalid value: integer `-5`")),
        "{problems:#?}"
    );
}

#[cfg(unix)]
#[test]
fn an_override_that_is_not_utf8_is_refused_by_name() {
    use std::os::unix::ffi::OsStrExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("asepsis.toml");
    std::fs::write(&path, GOOD).unwrap();
    let env = [("ASEPSIS__TLS__KEY", OsStr::from_bytes(&[0xff]))];
    let problems = Config::load(&path, env).unwrap_err().to_string();
    assert_eq!(problems, "ASEPSIS__TLS__KEY: tls.key: not UTF-8");
}

#[test]
fn a_mistake_in_the_file_is_refused_even_where_it_is_overridden() {
    let text = with("directory = \"audit\"", "directory = 5");
    let problems = problems(&text, &[("ASEPSIS__AUDIT__DIRECTORY", "/var/audit")]);
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(problems[0].starts_with("asepsis.toml:18: audit.directory: "), "{problems:#?}");
}

#[test]
fn plaintext_is_refused_beyond_this_machine() {
    let text = with("[tls]", "[tls]\nplaintext = true");
    let beyond = text.replace("grpc = \"127.0.0.1:0\"", "grpc = \"0.0.0.0:8001\"");
    let found = problems(&beyond, &[]);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with("asepsis.toml:7: tls.plaintext: only where"), "{found:#?}");
    for local in ["127.0.0.1:8001", "[::1]:8001"] {
        assert!(read(&text, &[("ASEPSIS__LISTEN__GRPC", local)]).1.is_ok(), "{local}");
    }
    let bare = "[access]\npolicy = \"a\"\n[models]\nrepository = \"m\"\n[audit]\ndirectory = \"a\"\n\
                [listen]\nunix = \"s\"\n[tls]\nplaintext = true";
    assert!(read(bare, &[]).1.unwrap().listen.grpc.is_none());
}

#[test]
fn api_keys_without_their_secret_or_without_tls_are_refused() {
    let with_keys = |keys: &str| format!("{GOOD}\n[api_keys]\n{keys}");
    for (keys, start) in [
        ("file = \"keys.toml\"", "asepsis.toml:20: api_keys.secret: set it"),
        ("file = \"keys.toml\"\nsecret = \"\"", "asepsis.toml:22: api_keys.secret: set it"),
        ("secret = \"keys.secret\"", "asepsis.toml:20: api_keys.file: set it"),
        ("file = \"keys\"\nsecret = \"keys\"", "asepsis.toml:22: api_keys.secret: the same as"),
        ("files = \"keys\"", "asepsis.toml:21: api_keys.files: unknown key"),
    ] {
        let found = problems(&with_keys(keys), &[]);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].starts_with(start), "{found:#?}");
    }
    let both = with_keys("file = \"keys.toml\"\nsecret = \"keys.secret\"");
    let plaintext = problems(&both, &[("ASEPSIS__TLS__PLAINTEXT", "true")]);
    assert_eq!(plaintext.len(), 1, "{plaintext:#?}");
    assert!(plaintext[0].contains("api_keys.file: API keys are taken over TLS alone"), "{plaintext:#?}");
    let (directory, config) = read(&both, &[]);
    let files = (directory.join("keys.toml"), directory.join("keys.secret"));
    assert_eq!(config.unwrap().api_keys.files(), Some((files.0.as_path(), files.1.as_path())));
    assert_eq!(good(&[]).api_keys.files(), None);
}

#[test]
fn proxies_that_could_be_anybody_or_nobody_are_refused() {
    let with_forwarded = |peers: &str| format!("{GOOD}\n[forwarded]\n{peers}");
    for peer in
        ["*", "spiffe://mesh.example/*", "spiffe://mesh.example", "dns:envoy", "https://mesh.example/a", ""]
    {
        let found = problems(&with_forwarded(&format!("peers = [\"{peer}\"]")), &[]);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].starts_with(&format!("asepsis.toml:21: forwarded.peers: `{peer}`: ")), "{found:#?}");
    }
    let peer = "peers = [\"spiffe://mesh.example/envoy\"]";
    for (text, env, problem) in [
        (peer, ("ASEPSIS__TLS__TRUST_DOMAINS", "[\"other.example\"]"), "forwarded.peers: `spiffe://"),
        (
            peer,
            ("ASEPSIS__TLS__PLAINTEXT", "true"),
            "forwarded.peers: proxies are known by their certificates",
        ),
        ("unix_uids = [1337]", ("ASEPSIS__LISTEN__UNIX", ""), "forwarded.unix_uids: set listen.unix, too"),
        ("unix_uids = [-1]", ("ASEPSIS__LISTEN__UNIX", "s"), "forwarded.unix_uids: invalid value"),
    ] {
        let found = problems(&with_forwarded(text), &[env]);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].contains(problem), "{found:#?}");
    }
    let many = format!("peers = [{}]", "\"spiffe://mesh.example/envoy\",".repeat(257));
    assert!(problems(&with_forwarded(&many), &[])[0].contains("forwarded: more than 256"));
    let text = with_forwarded(&format!("{peer}\nunix_uids = [1337]"));
    let config = read(&text, &[("ASEPSIS__LISTEN__UNIX", "s")]).1.unwrap();
    assert_eq!(config.forwarded.unix_uids, [1337]);
}

#[test]
fn trust_that_cannot_work_is_refused_at_its_key() {
    let bundles =
        "[tls.trust_bundles]\n\"Lab.example\" = \"lab.pem\"\n\"ward.example\" = \"\"\n\"c\" = \"c.pem\"\n";
    let text = with("[access]", &format!("trust_domains = [\"ward.example\"]\n{bundles}[access]"));
    let found = problems(&text, &[("ASEPSIS__TLS__CRL_GRACE_S", "604801")]);
    let starts = [
        "asepsis.toml:13: tls.trust_bundles.Lab.example: `Lab.example`: a bare name",
        "asepsis.toml:14: tls.trust_bundles.ward.example: set it to a PEM file",
        "asepsis.toml:15: tls.trust_bundles.c: not one of tls.trust_domains",
        "ASEPSIS__TLS__CRL_GRACE_S: tls.crl_grace_s: 604801 is not between 0 and 604800",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (problem, start) in found.iter().zip(starts) {
        assert!(problem.starts_with(start), "{problem}\n{start}");
    }
    let found = problems(&with("[access]", "crl = 5\nclient_certificate = \"never\"\n[access]"), &[]);
    assert!(found[0].starts_with("asepsis.toml:11: tls.crl: invalid type: integer `5`, expected a path or"));
    assert!(found[1].starts_with("asepsis.toml:12: tls.client_certificate: unknown variant `never`"));
    let many = format!("crl = {:?}\n[access]", vec!["x"; 65]);
    assert!(problems(&with("[access]", &many), &[])[0].contains("tls.crl: more than 64 files"));
}

#[test]
fn trust_is_named_by_files_beside_the_configuration() {
    let text = with("client_ca = \"/etc/pki/ca.pem\"", "trust_bundles = { \"lab.example\" = \"lab.pem\" }");
    let env = [
        ("ASEPSIS__TLS__DENY_LIST", "deny.toml"),
        ("ASEPSIS__TLS__CRL", "[\"a.crl\", \"/b.crl\"]"),
        ("ASEPSIS__TLS__CLIENT_CERTIFICATE", "optional"),
    ];
    let (directory, config) = read(&text, &env);
    let tls = config.unwrap().tls;
    assert_eq!(tls.client_ca, None);
    assert_eq!(tls.trust_bundles["lab.example"], directory.join("lab.pem"));
    assert_eq!(tls.crl.0, [directory.join("a.crl"), PathBuf::from("/b.crl")]);
    assert_eq!(tls.deny_list, Some(directory.join("deny.toml")));
    assert_eq!(tls.client_certificate, crate::transport::tls::ClientCertificate::Optional);
    let one = good(&[("ASEPSIS__TLS__CRL", "a.crl")]);
    assert_eq!(one.tls.crl.0.len(), 1);
    let again = read(&one.to_string(), &[]).1.unwrap();
    assert_eq!(one.tls, again.tls);
    assert!(good(&[("ASEPSIS__TLS__CRL", ""), ("ASEPSIS__TLS__DENY_LIST", "")]).tls.crl.0.is_empty());
}

#[test]
fn a_server_that_listens_nowhere_is_refused() {
    assert!(
        problems(GOOD, &[("ASEPSIS__LISTEN__GRPC", "")])[0].contains("listen.grpc: set it, or listen.unix")
    );
    let same = [("ASEPSIS__LISTEN__GRPC", "127.0.0.1:9"), ("ASEPSIS__LISTEN__ADMIN", "127.0.0.1:9")];
    assert!(problems(GOOD, &same)[0].contains("listen.admin: the same as listen.grpc"));
    assert!(problems(GOOD, &[("ASEPSIS__LISTEN__ADMIN", "")])[0].contains("listen.admin: an IP address"));
    let long = "x".repeat(200);
    assert!(problems(GOOD, &[("ASEPSIS__LISTEN__UNIX", &long)])[0].contains("listen.unix: longer than 107"));
    let domain = [("ASEPSIS__TLS__TRUST_DOMAINS", r#"["spiffe://hospital.example"]"#)];
    assert!(problems(GOOD, &domain)[0].contains("tls.trust_domains: `spiffe://"));
    assert!(
        problems(GOOD, &[("ASEPSIS__OTLP__ENDPOINT", "127.0.0.1:4317")])[0].contains("otlp.endpoint: a URL")
    );
}

#[test]
fn overrides_take_the_type_of_their_key() {
    let config = good(&[
        ("ASEPSIS__LISTEN__GRPC", "127.0.0.1:9999"),
        ("ASEPSIS__LISTEN__REFLECTION", "true"),
        ("ASEPSIS__LIMITS__IN_FLIGHT_MAX", "5"),
        ("ASEPSIS__AUDIT__DIRECTORY", "7"),
        ("ASEPSIS__AUDIT__DURABILITY", "always"),
        ("ASEPSIS__TLS__TRUST_DOMAINS", "[\"hospital.example\"]"),
        ("ASEPSIS__TLS__MINIMUM_VERSION", "1.2"),
        ("ASEPSIS__DETECTION__CONFIDENCE__ENABLED", "false"),
        ("ASEPSIS__POLICY__ALPHA", "0.002"),
        ("ASEPSIS__LOG__LEVEL", "debug"),
        ("ASEPSIS__OTLP__ENDPOINT", "http://127.0.0.1:4317"),
    ]);
    assert_eq!(config.listen.grpc_address().unwrap().port(), 9999);
    assert!(config.listen.reflection);
    assert_eq!(config.limits.in_flight_max, 5);
    assert!(config.audit.directory.ends_with("7"));
    assert_eq!(config.audit.durability, crate::audit::file::Durability::Always);
    assert_eq!(config.tls.trust_domains, ["hospital.example"]);
    assert_eq!(config.tls.minimum_version, crate::transport::tls::Version::Tls12);
    assert!(!config.detection.confidence.enabled && config.detection.consistency.enabled);
    assert!((config.policy.alpha - 0.002).abs() < 1e-12);
    assert_eq!(config.log.level, LogLevel::Debug);
    assert!(config.otlp.endpoint.is_some());
    assert_eq!(config.places.of("listen.grpc").to_string(), "ASEPSIS__LISTEN__GRPC");
    assert!(config.places.of("tls.key").to_string().ends_with("asepsis.toml:8"));
    assert!(config.places.of("limits.queue_max").to_string().ends_with("asepsis.toml"));
}

#[test]
fn relative_paths_are_relative_to_the_file() {
    let (directory, config) = read(GOOD, &[("ASEPSIS__LISTEN__UNIX", "run/sock")]);
    let config = config.unwrap();
    assert_eq!(config.tls.key.unwrap(), directory.join("pki/server.key"));
    assert_eq!(config.tls.client_ca.unwrap(), Path::new("/etc/pki/ca.pem"));
    assert_eq!(config.access.policy, directory.join("access.toml"));
    assert_eq!(config.models.repository, directory.join("models"));
    assert_eq!(config.audit.directory, directory.join("audit"));
    assert_eq!(config.listen.unix.unwrap(), directory.join("run/sock"));
    assert_eq!(config.onnxruntime.library, directory.join(".onnxruntime/libonnxruntime.so.1.31.1"));
}

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

#[test]
fn a_unix_socket_alone_needs_no_tcp() {
    let text = with("grpc = \"127.0.0.1:0\"", "unix = \"s\"");
    assert_eq!(read(&text, &[]).1.unwrap().listen.grpc, None);
    let empty = good(&[("ASEPSIS__LISTEN__UNIX", "s"), ("ASEPSIS__LISTEN__GRPC", "")]);
    assert_eq!(empty.listen.grpc, None);
    assert!(good(&[("ASEPSIS__LISTEN__UNIX", "s")]).listen.grpc.is_some());
}

#[test]
fn what_is_printed_can_be_read_again() {
    let config = good(&[("ASEPSIS__OTLP__ENDPOINT", "http://127.0.0.1:4317")]);
    let mut again = read(&config.to_string(), &[]).1.unwrap();
    again.places = config.places.clone();
    assert_eq!(config, again);
}

#[test]
fn no_damage_to_a_file_makes_reading_it_fail_otherwise_than_by_problems() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("asepsis.toml");
    let text = with("[audit]", "[detection]\nconfidence = { enabled = true }\n[audit]");
    for at in (0..text.len()).step_by(3) {
        for damage in ["", "\"", "[", "=", ".", "{", "\n", "'''"] {
            std::fs::write(&path, format!("{}{damage}{}", &text[..at], &text[at + 1..])).unwrap();
            drop(Config::read::<&str, &str>(&path, [("ASEPSIS__DETECTION__CONFIDENCE__ENABLED", "false")]));
        }
        std::fs::write(&path, &text[..at]).unwrap();
        drop(Config::read::<&str, &str>(&path, []));
    }
}

#[test]
#[cfg(not(feature = "cedar"))]
fn cedar_policies_are_refused_by_a_build_that_would_not_ask_them() {
    let text = with("policy = \"access.toml\"", "policy = \"access.toml\"\ncedar = \"access.cedar\"");
    let problems = problems(&text, &[]);
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(
        problems[0].starts_with("asepsis.toml:13: access.cedar: this build knows no Cedar"),
        "{problems:#?}"
    );
}
