//! Does a variable override its key alone, and by the type of the key?

use super::*;

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
fn a_share_of_shadow_mode_is_refused_without_it_in_the_policy_of_a_model_too() {
    let share = ("ASEPSIS__POLICY__SHADOW_SHARE", "0.5");
    let refused = problems(GOOD, &[share]);
    assert!(
        refused.len() == 1 && refused[0].contains("policy.shadow_share: 1 unless `shadow` is true"),
        "{refused:?}"
    );
    let shadow = ("ASEPSIS__POLICY__SHADOW", "true");
    assert!((good(&[share, shadow]).policy.shadow_share - 0.5).abs() < 1e-12);
    let own = "\n[models.policy.wdbc]\nshadow_share = 0.5\n";
    let refused = problems(&(GOOD.to_owned() + own), &[]);
    assert!(
        refused.len() == 1 && refused[0].contains("models.policy.wdbc.shadow_share: 1 unless"),
        "{refused:?}"
    );
}

#[test]
fn a_runtime_a_core_is_refused_where_answers_wait_for_a_disk() {
    let per_core = ("ASEPSIS__LISTEN__RUNTIMES", "per_core");
    assert_eq!(good(&[per_core]).listen.runtimes, crate::transport::cores::Runtimes::PerCore);
    let refused = problems(GOOD, &[per_core, ("ASEPSIS__AUDIT__DURABILITY", "always")]);
    assert!(refused.len() == 1 && refused[0].contains("listen.runtimes: \"shared\" where"), "{refused:?}");
}
