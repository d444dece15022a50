//! As whom does a command call, and whom does it trust?

use super::Failure;
use crate::transport::tls::{self, ClientTls};
use std::path::PathBuf;

/// The certificates of a call over mutual TLS; by default those of the demo.
#[derive(clap::Args)]
pub(super) struct Caller {
    /// The CA of the servers' certificates.
    #[arg(long, default_value = "demo/pki/ca.pem", value_name = "FILE")]
    ca: PathBuf,
    /// The caller's certificate.
    #[arg(long, default_value = "demo/pki/client.pem", value_name = "FILE")]
    cert: PathBuf,
    /// Its private key.
    #[arg(long, default_value = "demo/pki/client.key", value_name = "FILE")]
    key: PathBuf,
}

impl Caller {
    /// What a client needs for TLS.
    ///
    /// # Errors
    /// A file cannot be read or used.
    pub(super) fn tls(&self) -> Result<ClientTls, Failure> {
        let tls = tls::client(&self.ca, Some((&self.cert, &self.key)));
        tls.map_err(|error| Failure::Configuration(error.to_string()))
    }
}
