//! Are all mistakes found, and each at its place?

mod file;
mod listen;
mod overrides;
mod tokens;
mod trust;

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
