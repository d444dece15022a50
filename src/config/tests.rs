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
