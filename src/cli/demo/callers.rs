//! The demo's callers and their connections.

use super::cases::Caller;
use super::command;
use crate::cli::Failure;
use crate::transport::client::{Client, Target, TransportError};
use crate::transport::tls;
use std::path::PathBuf;

/// One connection for each caller who has a certificate.
pub struct Callers {
    target: Target,
    pki: PathBuf,
    open: Vec<(Caller, Client)>,
}

impl Callers {
    /// Of the sidecar at `target`, with the certificates in `pki`; nothing is opened yet.
    #[must_use]
    pub fn new(target: Target, pki: PathBuf) -> Self {
        Self { target, pki, open: Vec::new() }
    }

    /// Where the sidecar is.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The caller's connection, opened when it is first needed; or why the sidecar has none for it.
    ///
    /// # Errors
    /// The caller's certificate cannot be read.
    pub async fn client(&mut self, caller: Caller) -> Result<Result<Client, TransportError>, Failure> {
        if let Some((_, client)) = self.open.iter().find(|(known, _)| *known == caller) {
            return Ok(Ok(client.clone()));
        }
        let pem = |name: &str, kind: &str| self.pki.join(format!("{name}.{kind}"));
        let identity = caller.certificate().map(|name| (pem(name, "pem"), pem(name, "key")));
        let identity = identity.as_ref().map(|(certificate, key)| (certificate.as_path(), key.as_path()));
        let tls = tls::client(&self.pki.join("ca.pem"), identity)
            .map_err(|error| Failure::Configuration(format!("{error}; run: {} demo --prepare", command())))?;
        let client = Client::connect(&self.target, Some(tls)).await;
        if let Ok(client) = &client {
            self.open.push((caller, client.clone()));
        }
        Ok(client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::certs;
    use crate::clock::Now;

    /// A server that only shakes hands.
    async fn server(pki: &std::path::Path) -> Target {
        let settings = tls::Settings {
            certificate: Some(pki.join("server.pem")),
            key: Some(pki.join("server.key")),
            client_ca: Some(pki.join("ca.pem")),
            ..tls::Settings::default()
        };
        let acceptor = tls::Tls::start(&settings, Now::read()).unwrap().acceptor();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap().to_string().parse().unwrap();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                drop(acceptor.accept(stream).await);
            }
        });
        target
    }

    #[tokio::test]
    async fn a_stranger_is_turned_away_by_the_alert_each_time_and_others_are_not() {
        let directory = tempfile::tempdir().unwrap();
        certs::issue(directory.path(), false, Now::read()).unwrap();
        let mut callers = Callers::new(server(directory.path()).await, directory.path().to_owned());
        for _ in 0..50 {
            let refused = callers.client(Caller::Stranger).await.unwrap().unwrap_err();
            assert_eq!(refused, TransportError::Alert("certificate required".into()));
        }
        let refused = callers.client(Caller::Client).await.unwrap().unwrap_err();
        assert!(matches!(refused, TransportError::Broken(_)), "{refused}");
    }

    #[tokio::test]
    async fn a_certificate_that_is_missing_is_a_matter_of_configuration() {
        let directory = tempfile::tempdir().unwrap();
        let target = "127.0.0.1:1".parse().unwrap();
        let client = Callers::new(target, directory.path().to_owned()).client(Caller::Client).await;
        assert!(matches!(client, Err(Failure::Configuration(why)) if why.contains("demo --prepare")));
    }
}
