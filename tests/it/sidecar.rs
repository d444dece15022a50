//! The real sidecar in this process: real runtimes, real TLS, real files, port 0.

use crate::house;
use asepsis::app::App;
use asepsis::config::Config;
use asepsis::proto::ModelInferRequest;
use asepsis::transport::client::{Client, Outcome, Refused, Target};
use asepsis::transport::tls;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;
use tempfile::TempDir;

/// Long enough for a loaded machine; nothing waits for it unless something is broken.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A development PKI, made once for all tests of the binary.
pub fn pki() -> &'static Path {
    static PKI: OnceLock<TempDir> = OnceLock::new();
    let made = PKI.get_or_init(|| {
        let directory = TempDir::new().unwrap();
        asepsis::cli::certs::issue(directory.path(), true, asepsis::clock::Now::read()).unwrap();
        directory
    });
    made.path()
}

/// A running sidecar and its directory.
pub struct Sidecar {
    app: Option<App>,
    directory: TempDir,
}

impl Sidecar {
    pub fn start() -> Self {
        Self::start_with(|_| {})
    }

    /// Starts with a changed configuration.
    pub fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let directory = TempDir::new().unwrap();
        let mut config = config(directory.path());
        change(&mut config);
        let app = App::start(&config).unwrap();
        Self { app: Some(app), directory }
    }

    /// Starts under this access policy, which stands in `access.toml` of its directory.
    pub fn start_under(policy: &str, change: impl FnOnce(&mut Config)) -> Self {
        Self::start_with(|config| {
            config.access.policy = config.audit.directory.with_file_name("access.toml");
            std::fs::write(&config.access.policy, policy).unwrap();
            change(config);
        })
    }

    pub fn app(&self) -> &App {
        self.app.as_ref().unwrap()
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn admin(&self) -> SocketAddr {
        self.app().addresses().admin.unwrap()
    }

    pub fn grpc(&self) -> SocketAddr {
        self.app().addresses().grpc.unwrap()
    }

    /// Where operators ask.
    pub fn operations(&self) -> Target {
        let address = self.app().addresses().operations.unwrap();
        Target::Tcp { host: address.ip().to_string(), port: address.port() }
    }

    pub fn target(&self) -> Target {
        Target::Tcp { host: self.grpc().ip().to_string(), port: self.grpc().port() }
    }

    /// A client with the certificate `who` of the PKI, as in `client-Radiologists_AI_Read`.
    pub async fn client(&self, who: &str) -> Client {
        let tls = client_tls(Some(who));
        Client::connect(&self.target(), Some(tls)).await.unwrap()
    }

    /// Stops in order and gives the directory with all that is left on disk.
    pub fn stop(mut self) -> TempDir {
        self.app.take().unwrap().stop(std::future::pending());
        std::mem::replace(&mut self.directory, TempDir::new().unwrap())
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        if let Some(app) = self.app.take() {
            app.stop(std::future::pending());
        }
    }
}

/// The configuration of a sidecar whose files are in `directory`.
pub fn config(directory: &Path) -> Config {
    let mut config = Config::default();
    config.listen.grpc = Some("127.0.0.1:0".into());
    config.listen.admin = "127.0.0.1:0".into();
    config.listen.operations = Some("127.0.0.1:0".into());
    config.tls.certificate = Some(pki().join("server.pem"));
    config.tls.key = Some(pki().join("server.key"));
    config.tls.client_ca = Some(pki().join("ca.pem"));
    config.access.policy = house::root().join("deploy/access.toml");
    config.models.repository = house::models();
    config.onnxruntime.library = house::library();
    config.audit.directory = directory.join("audit");
    config.limits.drain_delay_ms = 0;
    config
}

pub fn client_tls(who: Option<&str>) -> tls::ClientTls {
    let files: Option<(PathBuf, PathBuf)> =
        who.map(|who| (pki().join(format!("{who}.pem")), pki().join(format!("{who}.key"))));
    let identity = files.as_ref().map(|(certificate, key)| (certificate.as_path(), key.as_path()));
    tls::client(&pki().join("ca.pem"), identity).unwrap()
}

/// Runs a test's client side.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    block_on_for(PATIENCE, future)
}

/// As [`block_on`], for as long as that.
pub fn block_on_for<T>(patience: Duration, future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(patience, future).await.expect("it takes too long") })
}

/// Sends one request and expects a refusal.
pub async fn refused(client: &mut Client, request: ModelInferRequest) -> Refused {
    match client.infer(request, PATIENCE).await {
        Outcome::Refused(refused) => refused,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// Every line of the audit log in `directory`, in order.
pub fn entries(directory: &Path) -> Vec<Value> {
    let audit = directory.join("audit");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&audit)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    files.sort();
    let text: String = files.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
