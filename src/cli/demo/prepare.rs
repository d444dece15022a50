//! What `demo/` holds: a configuration, an access policy, a development PKI and the audit log.

use crate::cli::{Failure, certs};
use crate::clock::Now;
use crate::config::Config;
use std::io;
use std::path::{Component, Path, PathBuf};
use x509_parser::prelude::{ASN1Time, parse_x509_pem};

/// Certificates that end within a day are made anew.
const MARGIN_SECONDS: i64 = 24 * 60 * 60;
/// A larger message is refused, which the demo shows; what gRPC servers have as their default.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// The prepared directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// `asepsis.toml`.
    pub config: PathBuf,
    /// Files that were there, are not what would be written now, and were kept.
    pub kept: Vec<PathBuf>,
}

/// Writes what is missing in `directory`; what a person changed is kept, and so is the audit log.
///
/// # Errors
/// The directory cannot be written, or certificates cannot be issued.
pub fn prepare(directory: &Path, models: &Path, now: Now) -> Result<Prepared, Failure> {
    let problem = |error: io::Error| Failure::Other(format!("{}: {error}", directory.display()));
    std::fs::create_dir_all(directory.join("audit")).map_err(problem)?;
    let pki = directory.join("pki");
    if !is_fresh(&pki, now.unix_seconds()) {
        certs::issue(&pki, true, now).map_err(|error| Failure::Other(error.to_string()))?;
    }
    let library = Config::default().onnxruntime.library;
    let text = configuration(&seen_from(directory, models)?, &seen_from(directory, &library)?);
    let config = directory.join("asepsis.toml");
    let mut kept = Vec::new();
    for (path, text) in [(&config, text.as_str()), (&directory.join("access.toml"), certs::ACCESS)] {
        match std::fs::read_to_string(path) {
            Ok(found) if found == text => {}
            Ok(_) => kept.push(path.clone()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                std::fs::write(path, text).map_err(problem)?;
            }
            Err(error) => return Err(problem(error)),
        }
    }
    Ok(Prepared { config, kept })
}

fn configuration(models: &Path, library: &Path) -> String {
    let [models, library] = [models, library].map(|path| toml::Value::from(path.display().to_string()));
    format!(
        r#"# The demo's sidecar, as `asepsis demo` writes it. Edit it: it is kept. Delete it to have it written anew.
#
# Paths are relative to this file, and ASEPSIS__SECTION__KEY in the environment overrides a key.
# `asepsis schema` names every key; `asepsis check --config FILE` says whether a file would start.

[listen]
grpc = "127.0.0.1:8001"         # the Open Inference Protocol, over mutual TLS
admin = "127.0.0.1:8002"        # /livez /readyz /metrics: plain HTTP, no patient data
operations = "127.0.0.1:8003"   # what operators ask (`asepsis operations`), over mutual TLS

[tls]                           # a development PKI, as `asepsis certs dev --out pki` writes it
certificate = "pki/server.pem"
key = "pki/server.key"
client_ca = "pki/ca.pem"        # who may call: whoever has a certificate of this CA, and a role

[access]
policy = "access.toml"          # which role may call which method on which model

[models]
repository = {models}

[onnxruntime]
library = {library}

[limits]
message_bytes_max = {MESSAGE_BYTES_MAX}     # a larger message is refused before it is decoded

[policy]
alpha = 0.01                    # share of clean rows whose answer may be withheld
alpha_flag = 0.05               # share of clean rows whose answer may be flagged or withheld
shadow = false                  # true: judge and record, but give every answer

[audit]
directory = "audit"             # one line a request, each holding the hash of the line before
"#
    )
}

/// `path` as it is written in a file of `directory`: relative, unless they have nothing but the root in common.
fn seen_from(directory: &Path, path: &Path) -> Result<PathBuf, Failure> {
    let resolved = directory.canonicalize()?;
    let path = match path.canonicalize() {
        Ok(path) => path,
        // A library that was not fetched yet: the sidecar will say so.
        Err(_) => std::path::absolute(path)?,
    };
    Ok(relative(&resolved, &path))
}

fn relative(directory: &Path, path: &Path) -> PathBuf {
    let shared = directory.components().zip(path.components()).take_while(|(a, b)| a == b).count();
    if shared <= 1 {
        return path.to_owned();
    }
    let up = directory.components().skip(shared).map(|_| Component::ParentDir);
    up.chain(path.components().skip(shared)).collect()
}

/// Whether the certificates are there and will not end within a day.
fn is_fresh(pki: &Path, now: i64) -> bool {
    let soon = ASN1Time::from_timestamp(now.saturating_add(MARGIN_SECONDS));
    let lasts = |name: &str| {
        let pem = std::fs::read(pki.join(name)).ok()?;
        let (_, pem) = parse_x509_pem(&pem).ok()?;
        let certificate = pem.parse_x509().ok()?;
        Some(certificate.validity().not_after > *soon.as_ref().ok()?)
    };
    ["ca.pem", "server.pem", "client.pem"].iter().all(|name| lasts(name) == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_within_one_tree_and_absolute_across() {
        for (directory, path, seen) in [
            ("/work/main/demo", "/work/main/models", "../models"),
            ("/work/main/a/demo", "/work/main/.onnxruntime/x.so", "../../.onnxruntime/x.so"),
            ("/tmp/demo", "/work/main/models", "/work/main/models"),
        ] {
            assert_eq!(relative(Path::new(directory), Path::new(path)), Path::new(seen), "{directory}");
        }
    }

    #[test]
    fn certificates_that_are_absent_or_no_certificates_are_not_fresh() {
        let directory = tempfile::tempdir().unwrap();
        assert!(!is_fresh(directory.path(), 0));
        for name in ["ca.pem", "server.pem", "client.pem"] {
            std::fs::write(directory.path().join(name), "no certificate").unwrap();
        }
        assert!(!is_fresh(directory.path(), 0));
    }

    #[test]
    fn what_a_person_changed_is_kept_and_the_rest_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let prepared = prepare(directory.path(), Path::new("models"), Now::read()).unwrap();
        assert!(prepared.kept.is_empty());
        assert!(is_fresh(&directory.path().join("pki"), Now::read().unix_seconds()));
        let key = std::fs::read(directory.path().join("pki/client.key")).unwrap();
        std::fs::write(directory.path().join("access.toml"), "# mine").unwrap();
        let prepared = prepare(directory.path(), Path::new("models"), Now::read()).unwrap();
        assert_eq!(prepared.kept, [directory.path().join("access.toml")]);
        assert_eq!(std::fs::read(directory.path().join("pki/client.key")).unwrap(), key);
        let later =
            Now { wall: Now::read().wall + std::time::Duration::from_hours(24 * 365 * 50), ..Now::read() };
        prepare(directory.path(), Path::new("models"), later).unwrap();
        assert_ne!(std::fs::read(directory.path().join("pki/client.key")).unwrap(), key);
    }

    #[test]
    fn the_configuration_is_one_that_loads() {
        let directory = tempfile::tempdir().unwrap();
        let prepared = prepare(directory.path(), Path::new("models"), Now::read()).unwrap();
        let none: [(&str, &str); 0] = [];
        let config = Config::load(&prepared.config, none).unwrap();
        assert_eq!(config.limits.message_bytes_max, MESSAGE_BYTES_MAX);
        assert!(config.audit.directory.ends_with("audit"));
    }
}
