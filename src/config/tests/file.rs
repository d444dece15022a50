//! Is every problem of the file found, and whatever is good in it read as it was written?

use super::*;

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
