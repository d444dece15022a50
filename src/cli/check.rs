//! `asepsis check`: would this configuration start? Every problem at once, each at the line that causes it.

mod probe;

use super::{Failure, contract};
use crate::admission::rbac::AccessFile;
use crate::app::access;
use crate::audit::pseudonym::Pseudonyms;
use crate::catalog::{Catalog, Loader, Repository};
use crate::clock::Now;
use crate::config::{Config, Problem, Problems};
use crate::contract::Contract;
use crate::file;
use crate::identity::api_key::ApiKeys;
use crate::identity::jwt::Jwt;
use crate::inference::ort::Runtime;
use crate::transport::jwks::Provider;
use crate::transport::tls::{self, TlsError};
use crate::transport::workload::Fallback;
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
    check.tokens();
    let summary = Summary { models: check.models(), roles: check.access().unwrap_or(0) };
    #[cfg(feature = "cedar")]
    check.cedar();
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
        // The SPIFFE agent brings what is not in files; whether it answers, the start finds out.
        let agent = &self.config.workload_api;
        let from_agent = agent.socket.is_some() && agent.fallback == Fallback::None;
        let mut read = tls.clone();
        if from_agent {
            (read.certificate, read.key) = (None, None);
        }
        let before = self.problems.clone();
        for error in tls::examine(&read, Now::read()) {
            let (key, problem) = match error {
                TlsError::Unset(_) if from_agent => continue,
                TlsError::File { key, path, problem } => {
                    (format!("tls.{key}"), format!("{}: {problem}", path.display()))
                }
                TlsError::Unset(key) => (format!("tls.{key}"), "set it to a PEM file".to_owned()),
                TlsError::Unusable(problem) => ("tls.certificate".to_owned(), problem),
            };
            if !before.concern(&key) {
                self.report(&key, problem);
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
        let text = match access::text(path) {
            Ok(text) => text,
            Err(error) => {
                self.report(key, format!("{}: {error}", path.display()));
                return None;
            }
        };
        let checked = match Repository::new(&self.config.models.repository).known() {
            // Without a repository no model is known, and what the roles name cannot be judged.
            Err(_) => AccessFile::parse(&text)
                .map(|file| file.role_names().map(str::to_owned).collect())
                .map_err(|errors| access::lines(&errors)),
            Ok(known) => access::parse(&text, &known)
                .map(|(policy, _)| policy.role_names().map(str::to_owned).collect::<Vec<_>>()),
        };
        match checked {
            Ok(roles) => {
                self.issued_for(&roles);
                Some(roles.len())
            }
            Err(problems) => {
                for problem in problems {
                    self.report(key, format!("{}:{problem}", path.display()));
                }
                None
            }
        }
    }

    /// API keys can be read, and each is issued for a role that there is.
    fn issued_for(&mut self, roles: &[String]) {
        if !self.known("api_keys.file") || !self.known("api_keys.secret") {
            return;
        }
        match ApiKeys::load(&self.config.api_keys) {
            Err(error) => self.report("api_keys.file", error),
            Ok(keys) => {
                let issued_for = keys.map(|keys| keys.roles(Now::read())).unwrap_or_default();
                for role in issued_for.iter().filter(|role| !roles.contains(role)) {
                    let problem =
                        format!("a key is issued for the role `{role}`, which is not in access.policy");
                    self.report("api_keys.file", problem);
                }
            }
        }
    }

    /// The provider's keys, where they are in a file, and the CAs by which they are fetched.
    fn tokens(&mut self) {
        if self.config.jwt.issuer.is_none() || !self.known("jwt.jwks") {
            return;
        }
        if let Err(error) = Jwt::new(self.config.jwt.clone(), Now::read()) {
            self.report("jwt.jwks", error);
        }
        if let Err(error) = Provider::of(&self.config.jwt) {
            self.report("jwt.ca", error);
        }
    }

    #[cfg(feature = "cedar")]
    fn cedar(&mut self) {
        let key = "access.cedar";
        let Some(path) = self.config.access.cedar.as_ref().filter(|_| self.known(key)) else { return };
        for problem in access::cedar(path).err().into_iter().flatten() {
            self.report(key, format!("{}: {problem}", path.display()));
        }
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
            policies: config.models.policy.clone(),
            site: config.models.site.clone(),
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
            let problem = match file::read_text(&path, contract::BYTES_MAX) {
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
        if let Some(path) = &self.config.audit.pseudonym_key
            && let Err(problem) = Pseudonyms::read(path)
        {
            self.report("audit.pseudonym_key", problem.to_string());
        }
    }

    fn addresses(&mut self) {
        let listen = &self.config.listen;
        // Held together, so that two keys that want one port are found.
        let mut bound = Vec::new();
        let addresses = [
            ("listen.grpc", listen.grpc_address()),
            ("listen.admin", listen.admin_address()),
            ("listen.operations", listen.operations_address().filter(|_| !self.config.tls.plaintext)),
        ];
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
