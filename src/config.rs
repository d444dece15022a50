//! What is this server told to be? The sum of each module's settings, from one TOML file and its overrides.
//!
//! A key of the file is overridden by `ASEPSIS__SECTION__KEY` in the environment. Unknown keys and names are
//! refused, and every problem is reported at once with the line or variable that causes it. Paths are relative
//! to the file's directory. No secret stands in a configuration: it names files, so it may be printed whole.

mod document;
mod limits;
mod problem;

pub use problem::{Place, Places, Problem, Problems};

use crate::identity::jwt::KeySource;
use crate::transport::cores::Runtimes;
use document::Source;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The whole configuration file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen.
    pub listen: Listen,
    /// Certificates and versions.
    pub tls: crate::transport::tls::Settings,
    /// The SPIFFE agent that certificates come from, if not from files.
    pub workload_api: crate::transport::workload::Settings,
    /// API keys, for callers that have neither a certificate nor a token.
    pub api_keys: crate::identity::api_key::Settings,
    /// Whose word is taken for the certificates of its callers.
    pub forwarded: crate::identity::forwarded::Settings,
    /// Whose bearer tokens are taken.
    pub jwt: crate::identity::jwt::Settings,
    /// Who may do what.
    pub access: Access,
    /// The models.
    pub models: Models,
    /// What runs the models.
    pub onnxruntime: OnnxRuntime,
    /// Limits of connections, messages and time.
    pub limits: crate::transport::Limits,
    /// What is done about the evidence.
    pub policy: crate::decision::Policy,
    /// Which detectors run.
    pub detection: crate::detection::Settings,
    /// What looks at many requests at once.
    pub watchers: crate::incident::Settings,
    /// Where and how surely the audit log is kept.
    pub audit: crate::audit::file::Settings,
    /// The page for people on the admin port.
    pub console: crate::admin::console::Settings,
    /// Where traces are sent.
    pub otlp: crate::telemetry::otlp::Settings,
    /// What is counted under which names.
    pub metrics: crate::telemetry::MetricsSettings,
    /// What the process says of itself on standard error.
    pub log: Log,
    /// Where each key was set.
    #[serde(skip)]
    pub places: Places,
}

/// Where to listen (`[listen]`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// Address and port of gRPC; port 0 takes a free one. Empty, or not set beside `unix`: no TCP at all.
    pub grpc: Option<String>,
    /// Address and port of `/livez`, `/readyz` and `/metrics`: plain HTTP, no patient data.
    pub admin: String,
    /// Address and port of what operators may ask, over mutual TLS. Empty: nothing of it.
    pub operations: Option<String>,
    /// A Unix socket that serves gRPC too.
    pub unix: Option<PathBuf>,
    /// Whether gRPC reflection tells a role that may call it what there is to call.
    pub reflection: bool,
    /// Whether one runtime of all cores answers callers, or one for each core, which answers more of them where there are
    /// many more busy connections than cores.
    pub runtimes: Runtimes,
}

/// Who may do what (`[access]`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Access {
    /// The file of roles and permissions. Required.
    pub policy: PathBuf,
    /// A file of Cedar policies. A call is admitted only if they permit it as well. Needs a build with the
    /// feature `cedar`.
    pub cedar: Option<PathBuf>,
}

/// The models (`[models]`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Models {
    /// The directory that holds `NAME/VERSION/model.onnx`. Required.
    pub repository: PathBuf,
    /// Threads, shared by all models, for runs too long for a runtime thread. 0: one a core.
    pub compute_threads: usize,
    /// Threads within one run.
    pub intra_threads: usize,
    /// Whose calibration is used: `calibration-SITE.json`, made by `asepsis calibrate --site`. Empty: the one that
    /// came with the model.
    pub site: String,
    /// Which rows are recorded, for a calibration from them: `[models.record]`.
    pub record: crate::judgement::recorder::Settings,
    /// What differs from `[policy]` for a model, by its name: `[models.policy.NAME]`.
    pub policy: BTreeMap<String, crate::decision::Override>,
}

/// What runs the models (`[onnxruntime]`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OnnxRuntime {
    /// The shared library that `scripts/fetch-onnxruntime` fetches; no other is opened.
    pub library: PathBuf,
}

/// What the process says of itself (`[log]`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// For machines or for people.
    pub format: LogFormat,
    /// The least severe lines that are written.
    pub level: LogLevel,
    /// Which requests have a line of their own, at level `info` whatever `level` is.
    pub requests: crate::telemetry::Logged,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// Text.
    Text,
}

/// How severe a log line is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// Something must be mended.
    Error,
    /// Something may have to be mended.
    Warn,
    /// What changed.
    #[default]
    Info,
    /// How it came about.
    Debug,
    /// Everything.
    Trace,
}

impl Config {
    /// Reads the file at `path` and the overrides in `env` (as from `std::env::vars_os`), and checks the whole.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load<K, V>(path: &Path, env: impl IntoIterator<Item = (K, V)>) -> Result<Self, Problems>
    where
        K: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        let (config, problems) = Self::read(path, env);
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }

    /// As [`Config::load`], but gives what could be understood besides what is wrong, so that it can be
    /// examined further. Nothing may be started from a configuration with problems.
    pub fn read<K, V>(path: &Path, env: impl IntoIterator<Item = (K, V)>) -> (Self, Problems)
    where
        K: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        let source = Source::read(path, env);
        let mut document = source.document();
        let mut config = Self {
            listen: document.section("listen"),
            tls: document.section("tls"),
            workload_api: document.section("workload_api"),
            api_keys: document.section("api_keys"),
            forwarded: document.section("forwarded"),
            jwt: document.section("jwt"),
            access: document.section("access"),
            models: document.section("models"),
            onnxruntime: document.section("onnxruntime"),
            limits: document.section("limits"),
            policy: document.section("policy"),
            detection: document.section("detection"),
            watchers: document.section("watchers"),
            audit: document.section("audit"),
            console: document.section("console"),
            otlp: document.section("otlp"),
            metrics: document.section("metrics"),
            log: document.section("log"),
            places: Places::default(),
        };
        let (places, mut problems) = document.finish();
        config.places = places;
        config.normalise(path.parent().unwrap_or(Path::new("")));
        config.check(&mut problems);
        problems.sort();
        (config, problems)
    }

    /// The configuration in effect, as TOML.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_else(|error| format!("# cannot be printed: {error}\n"))
    }

    /// What telemetry is told of it.
    #[must_use]
    pub fn telemetry(&self) -> crate::telemetry::Settings {
        crate::telemetry::Settings {
            otlp: self.otlp.clone(),
            metrics: self.metrics,
            logged: self.log.requests,
        }
    }

    /// Gives empty values their meaning and paths their place.
    fn normalise(&mut self, directory: &Path) {
        let unix_alone = self.listen.unix.is_some() && !self.places.has("listen.grpc");
        self.listen.grpc = self.listen.grpc.take().filter(|address| !address.is_empty() && !unix_alone);
        self.listen.operations = self.listen.operations.take().filter(|address| !address.is_empty());
        self.otlp.endpoint = self.otlp.endpoint.take().filter(|endpoint| !endpoint.is_empty());
        self.jwt.issuer = self.jwt.issuer.take().filter(|issuer| !issuer.is_empty());
        if let KeySource::File(path) = self.jwt.key_source()
            && !path.as_os_str().is_empty()
        {
            self.jwt.jwks = directory.join(path).to_string_lossy().into_owned();
        }
        let Self { listen, tls, jwt, api_keys, access, models, onnxruntime, audit, otlp, .. } = self;
        tls.crl.0.retain(|path| !path.as_os_str().is_empty());
        for path in tls.crl.0.iter_mut().chain(tls.trust_bundles.values_mut()) {
            if !path.as_os_str().is_empty() {
                *path = directory.join(&*path);
            }
        }
        for path in [
            &mut listen.unix,
            &mut tls.certificate,
            &mut tls.key,
            &mut tls.client_ca,
            &mut tls.deny_list,
            &mut jwt.ca,
            &mut api_keys.file,
            &mut api_keys.secret,
            &mut access.cedar,
            &mut otlp.ca,
            &mut models.record.directory,
        ] {
            *path = path.take().filter(|path| !path.as_os_str().is_empty());
            if let Some(path) = path {
                *path = directory.join(&*path);
            }
        }
        for path in
            [&mut access.policy, &mut models.repository, &mut onnxruntime.library, &mut audit.directory]
        {
            if !path.as_os_str().is_empty() {
                *path = directory.join(&*path);
            }
        }
    }
}

impl Listen {
    /// The address of gRPC; `None` without TCP, or where `grpc` is no address, which `load` refuses.
    #[must_use]
    pub fn grpc_address(&self) -> Option<SocketAddr> {
        self.grpc.as_ref()?.parse().ok()
    }

    /// The address of the operations port; `None` without one, or where `operations` is no address, which `load`
    /// refuses.
    #[must_use]
    pub fn operations_address(&self) -> Option<SocketAddr> {
        self.operations.as_ref()?.parse().ok()
    }

    /// The address of the admin port; `None` where `admin` is no address, which `load` refuses.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.parse().ok()
    }
}

impl LogLevel {
    /// Its name, also as a filter directive.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl AsRef<str> for LogLevel {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_toml())
    }
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            grpc: Some("127.0.0.1:8001".to_owned()),
            admin: "127.0.0.1:8002".to_owned(),
            operations: Some("127.0.0.1:8003".to_owned()),
            unix: None,
            reflection: false,
            runtimes: Runtimes::default(),
        }
    }
}

impl Default for Models {
    fn default() -> Self {
        Self {
            repository: PathBuf::new(),
            compute_threads: 0,
            intra_threads: 1,
            site: String::new(),
            record: crate::judgement::recorder::Settings::default(),
            policy: BTreeMap::new(),
        }
    }
}

impl Default for OnnxRuntime {
    fn default() -> Self {
        Self { library: PathBuf::from(".onnxruntime/libonnxruntime.so.1.31.1") }
    }
}

#[cfg(test)]
mod tests;
