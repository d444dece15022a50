//! `asepsis check`: would this configuration start? Every problem at once, each at the line that causes it.

mod probe;

use super::Failure;
use crate::admission::rbac::{AccessError, AccessFile, AccessPolicy};
use crate::catalog::{Catalog, Loader, Repository};
use crate::config::{Config, Problem, Problems};
use crate::contract::Contract;
use crate::inference::ort::Runtime;
use crate::transport::tls::{self, TlsError};
use std::fmt::{self, Display};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// The configuration file.
    #[arg(long)]
    config: PathBuf,
}

/// What a good configuration would serve.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Each version, and whether it would run inline or on compute threads.
    pub models: Vec<(String, Execution)>,
    /// How many roles the access policy has.
    pub roles: usize,
}

/// Where a model's runs happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Execution {
    /// On the thread that serves the request, up to so many rows.
    Inline(usize),
    /// On the compute threads.
    Threads,
}

/// Examines the configuration as a start would.
///
/// # Errors
/// Every problem, one a line.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let (config, problems) = Config::read(&args.config, std::env::vars_os());
    let summary = problems_beside(&config, problems)
        .map_err(|problems| Failure::Configuration(problems.to_string()))?;
    writeln!(out, "good: {} would start", args.config.display())?;
    Ok(write!(out, "{summary}")?)
}

/// Does what a start does, without listening and without leaving anything behind.
///
/// # Errors
/// Everything that would keep the sidecar from starting.
pub fn problems(config: &Config) -> Result<Summary, Problems> {
    problems_beside(config, Problems::default())
}

/// As [`problems`], for a configuration of which some are known: what is named wrongly is not looked into.
fn problems_beside(config: &Config, known: Problems) -> Result<Summary, Problems> {
    let mut check = Check { config, problems: known };
    check.tls();
    let summary = Summary { models: check.models(), roles: check.access().unwrap_or(0) };
    check.audit();
    check.addresses();
    check.problems.sort();
    if check.problems.is_empty() { Ok(summary) } else { Err(check.problems) }
}

struct Check<'c> {
    config: &'c Config,
    problems: Problems,
}

impl Check<'_> {
    fn report(&mut self, key: &str, problem: impl Display) {
        self.problems.push(Problem::new(self.config.places.of(key), key, problem));
    }

    /// Whether the key has a value worth looking into.
    fn known(&self, key: &str) -> bool {
        !self.problems.concern(key)
    }

    fn tls(&mut self) {
        let tls = &self.config.tls;
        if tls.plaintext {
            return;
        }
        let files =
            [("tls.certificate", &tls.certificate), ("tls.key", &tls.key), ("tls.client_ca", &tls.client_ca)];
        let mut readable = true;
        for (key, path) in files {
            let Some(path) = path.as_ref().filter(|_| self.known(key)) else {
                readable = false;
                continue;
            };
            if let Err(error) = std::fs::read(path) {
                self.report(key, format!("{}: {error}", path.display()));
                readable = false;
            }
        }
        match tls::server(tls) {
            Ok(_) => {}
            Err(_) if !readable => {}
            Err(TlsError::File { key, path, problem }) => {
                self.report(&format!("tls.{key}"), format!("{}: {problem}", path.display()));
            }
            Err(error @ (TlsError::Unset(_) | TlsError::Unusable(_))) => {
                self.report("tls.certificate", error);
            }
        }
    }

    /// The number of roles.
    fn access(&mut self) -> Option<usize> {
        let key = "access.policy";
        if !self.known(key) {
            return None;
        }
        let path = &self.config.access.policy;
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                self.report(key, format!("{}: {error}", path.display()));
                return None;
            }
        };
        let file = toml::from_str::<AccessFile>(&text).map_err(AccessError::from);
        let names = Repository::new(&self.config.models.repository).names();
        let checked = match (&file, names) {
            // Without a repository no model is known, and what the roles name cannot be judged.
            (Ok(_), Err(_)) => Ok(()),
            (_, names) => AccessPolicy::parse(&text, &names.unwrap_or_default()).map(|_| ()),
        };
        match checked {
            Ok(()) => {}
            Err(AccessError::Syntax(error)) => {
                let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
                let line = before.matches('\n').count() + 1;
                self.report(key, format!("{}:{line}: {}", path.display(), error.message()));
            }
            Err(error @ AccessError::Role { .. }) => self.report(key, format!("{}: {error}", path.display())),
        }
        file.ok().map(|file| file.roles.len())
    }

    fn models(&mut self) -> Vec<(String, Execution)> {
        let config = self.config;
        let runtime = match Runtime::load(&config.onnxruntime.library) {
            Ok(runtime) => Some(runtime),
            Err(error) => {
                if self.known("onnxruntime.library") {
                    self.report("onnxruntime.library", error);
                }
                None
            }
        };
        if !self.known("models.repository") {
            return Vec::new();
        }
        let repository = Repository::new(&config.models.repository);
        let Some(runtime) = runtime else {
            self.contracts(&repository);
            return Vec::new();
        };
        // One session of each shows what any number would.
        let loader = Loader {
            runtime,
            compute_threads: 1,
            runtime_threads: 0,
            intra_threads: if self.known("models.intra_threads") { config.models.intra_threads } else { 1 },
            detection: config.detection,
            policy: if self.known("policy.alpha") {
                config.policy
            } else {
                crate::decision::Policy::default()
            },
        };
        let catalog = match Catalog::start(repository, loader) {
            Ok(catalog) => catalog,
            Err(errors) => {
                for error in errors {
                    self.report("models.repository", error);
                }
                return Vec::new();
            }
        };
        let mut models = Vec::new();
        for served in catalog.served() {
            let execution = match served.inline_rows_max {
                0 => Execution::Threads,
                rows => Execution::Inline(rows),
            };
            models.push((format!("{}/{}", served.contract.name, served.contract.version), execution));
        }
        models
    }

    /// What can be said of models without running them.
    fn contracts(&mut self, repository: &Repository) {
        let versions = match repository.versions() {
            Ok(versions) => versions,
            Err(error) => return self.report("models.repository", error),
        };
        for version in versions {
            let path = version.directory.join("contract.toml");
            let problem = match std::fs::read_to_string(&path) {
                Ok(text) => Contract::parse(&text).err().map(|error| error.to_string()),
                Err(error) => Some(error.to_string()),
            };
            if let Some(problem) = problem {
                let label = format!("model {}/{}: contract.toml", version.name, version.version);
                self.report("models.repository", format!("{label}: {problem}"));
            }
        }
    }

    fn audit(&mut self) {
        if !self.known("audit.directory") {
            return;
        }
        let directory: &Path = &self.config.audit.directory;
        if let Err(problem) = probe::audit(directory) {
            self.report("audit.directory", format!("{}: {problem}", directory.display()));
        }
    }

    fn addresses(&mut self) {
        let listen = &self.config.listen;
        // Held together, so that two keys that want one port are found.
        let mut bound = Vec::new();
        let addresses = [("listen.grpc", listen.grpc_address()), ("listen.admin", listen.admin_address())];
        for (key, address) in addresses {
            let Some(address) = address.filter(|_| self.known(key)) else { continue };
            match std::net::TcpListener::bind(address) {
                Ok(listener) => bound.push(listener),
                Err(error) => self.report(key, format!("{address}: {error}")),
            }
        }
        if let Some(path) = listen.unix.as_ref().filter(|_| self.known("listen.unix"))
            && let Err(error) = probe::unix(path)
        {
            self.report("listen.unix", format!("{}: {error}", path.display()));
        }
    }
}

impl Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (model, execution) in &self.models {
            match execution {
                Execution::Inline(rows) => writeln!(f, "model {model}: inline, up to {rows} rows")?,
                Execution::Threads => writeln!(f, "model {model}: on compute threads")?,
            }
        }
        writeln!(f, "{} roles", self.roles)
    }
}

#[cfg(test)]
mod tests;
