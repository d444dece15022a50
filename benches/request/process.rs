//! The sidecar as it is shipped, in a process of its own, with everything on.

use crate::house;
use asepsis::transport::tls::{self, ClientTls};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Writes PKI, policy and configuration to `directory`; `more` is added to the configuration.
pub fn prepare(directory: &Path, more: &str) {
    asepsis::cli::certs::issue(&directory.join("pki"), true, asepsis::clock::Now::read()).unwrap();
    let quoted = |path: &Path| format!("{:?}", path.display().to_string());
    let policy = std::fs::read_to_string(house::root().join("deploy/access.toml")).unwrap();
    // Limits that are charged and never reached.
    let limits = "\n[limits.each_principal.requests]\nper_second = 1000000\nper_day = 100000000000\n\
         [limits.roles.Developers_Demo.requests]\nper_second = 1000000\n\
         [limits.models.wdbc.requests]\nper_second = 1000000\n";
    std::fs::write(directory.join("access.toml"), policy + limits).unwrap();
    let text = format!(
        "[listen]\ngrpc = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\noperations = \"127.0.0.1:0\"\n\
         [tls]\ncertificate = \"pki/server.pem\"\nkey = \"pki/server.key\"\nclient_ca = \"pki/ca.pem\"\n\
         [access]\npolicy = \"access.toml\"\n[models]\nrepository = {}\n[onnxruntime]\nlibrary = {}\n\
         [audit]\ndirectory = \"AUDIT\"\n{more}",
        quoted(&house::models()),
        quoted(&house::library()),
    );
    std::fs::write(directory.join("asepsis.toml"), text).unwrap();
}

/// Starts the `n`th sidecar of a directory, with an audit log of its own; what it says when it is ready.
pub fn start(binary: &Path, directory: &Path, n: usize) -> (Child, serde_json::Value) {
    let config = directory.join(format!("asepsis-{n}.toml"));
    let text = std::fs::read_to_string(directory.join("asepsis.toml")).unwrap();
    std::fs::write(&config, text.replace("AUDIT", &format!("audit-{n}"))).unwrap();
    let mut child = Command::new(binary)
        .args(["serve", "--config"])
        .arg(config)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (child, serde_json::from_str(&line).unwrap())
}

/// The caller who may do everything.
pub fn client_tls(directory: &Path) -> ClientTls {
    let pki = directory.join("pki");
    tls::client(&pki.join("ca.pem"), Some((&pki.join("client.pem"), &pki.join("client.key")))).unwrap()
}
