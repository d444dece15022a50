//! TLS 1.3 with a client certificate, by our own acceptor, so that certificates can be reloaded later.

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
pub use tokio_rustls::TlsAcceptor as Acceptor;
use tokio_rustls::server::TlsStream;

/// Certificates and versions (`[tls]`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The server's certificate chain, PEM.
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM; readable by its owner alone.
    pub key: Option<PathBuf>,
    /// The CAs that sign client certificates, PEM.
    pub client_ca: Option<PathBuf>,
    /// Whether callers must have a certificate.
    pub client_certificate: ClientCertificate,
    /// SPIFFE trust domains that are believed; empty: any that `client_ca` signs.
    pub trust_domains: Vec<String>,
    /// The oldest protocol version.
    pub minimum_version: Version,
    /// Serve without TLS. Only on loopback or a Unix socket; callers are then the member `plaintext`.
    pub plaintext: bool,
}

/// Whether callers must have a certificate: the only choice as long as there is no other credential.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientCertificate {
    /// Without one the handshake fails.
    #[default]
    Required,
}

/// TLS versions that are offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Version {
    /// TLS 1.2 and 1.3.
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3 alone.
    #[default]
    #[serde(rename = "1.3")]
    Tls13,
}

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A key that is needed is not set.
    #[error("tls.{0} is not set")]
    Unset(&'static str),
    /// A file that does not hold what it should.
    #[error("tls.{key}: {path}: {problem}")]
    File {
        /// The configuration key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Certificate and key, or CA, do not fit.
    #[error("tls: {0}")]
    Unusable(String),
}

/// Accepts TLS connections with these settings.
///
/// # Errors
/// The first file or combination to mend.
pub fn acceptor(settings: &Settings) -> Result<Acceptor, TlsError> {
    server(settings).map(Acceptor::from)
}

/// Shakes hands; the stream, and the client's own certificate (DER), whose chain is verified.
///
/// # Errors
/// The peer, or TLS itself, failed.
pub async fn accept<IO: AsyncRead + AsyncWrite + Unpin>(
    acceptor: &Acceptor,
    stream: IO,
) -> std::io::Result<(TlsStream<IO>, Option<Vec<u8>>)> {
    let stream = acceptor.accept(stream).await?;
    let chain = stream.get_ref().1.peer_certificates();
    let certificate = chain.and_then(|chain| chain.first()).map(|leaf| leaf.as_ref().to_vec());
    Ok((stream, certificate))
}

/// The server's side: TLS 1.3, HTTP/2 by ALPN, and a client certificate that `client_ca` signed.
///
/// # Errors
/// The first file or combination to mend.
pub fn server(settings: &Settings) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let roots = Arc::new(roots("client_ca", path(settings.client_ca.as_ref(), "client_ca")?)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
    let verifier = verifier.build().map_err(|error| TlsError::Unusable(error.to_string()))?;
    let versions: &[&rustls::SupportedProtocolVersion] = match settings.minimum_version {
        Version::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        Version::Tls13 => &[&rustls::version::TLS13],
    };
    let chain = certificates("certificate", path(settings.certificate.as_ref(), "certificate")?)?;
    let key = private_key(path(settings.key.as_ref(), "key")?)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(|error| TlsError::Unusable(error.to_string()))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| TlsError::Unusable(error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A caller is who its certificate says now: no resumption into an older identity, no early data.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// A client's side, for our own client, tests and benchmarks; `identity` is a certificate and its key.
///
/// # Errors
/// The first file to mend.
pub fn client(ca: &Path, identity: Option<(&Path, &Path)>) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| TlsError::Unusable(error.to_string()))?
        .with_root_certificates(roots("ca", ca)?);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder
            .with_client_auth_cert(certificates("certificate", certificate)?, private_key(key)?)
            .map_err(|error| TlsError::Unusable(error.to_string()))?,
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// What [`client`] makes: certificate, key and trusted CA of a caller.
pub type ClientTls = Arc<ClientConfig>;

/// How long [`dial`] waits for the server's first word before it believes the handshake done.
const FIRST_WORD: std::time::Duration = std::time::Duration::from_secs(1);

/// Why our own client came to no TLS connection.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The server turned us away; its alert in words, as in `certificate required`.
    #[error("TLS alert: {0}")]
    Alert(String),
    /// The server is not who it should be, or does not speak TLS.
    #[error("TLS handshake: {0}")]
    Failed(#[from] std::io::Error),
}

/// The client's side of a handshake, to its real end.
///
/// In TLS 1.3 the server judges our certificate after our own side is done (RFC 8446, section 2), so that a
/// refusal would surface only at the first call, or be lost when the server resets the connection. An HTTP/2
/// server speaks first (RFC 9113, section 3.4): this waits for that word, or for the alert in its stead.
///
/// # Errors
/// The server's alert, or what else went wrong.
pub async fn dial<S>(
    config: ClientTls,
    name: &str,
    socket: S,
) -> Result<tokio_rustls::client::TlsStream<S>, HandshakeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    use tokio::io::AsyncBufReadExt;
    let name = rustls::pki_types::ServerName::try_from(name.to_owned()).map_err(std::io::Error::other)?;
    let mut stream = tokio_rustls::TlsConnector::from(config).connect(name, socket).await.map_err(refused)?;
    match tokio::time::timeout(FIRST_WORD, stream.fill_buf()).await {
        Err(_) => Ok(stream),
        Ok(Ok(word)) if !word.is_empty() => Ok(stream),
        Ok(Ok(_)) => Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
        Ok(Err(error)) => Err(refused(error)),
    }
}

fn refused(error: std::io::Error) -> HandshakeError {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::AlertReceived(alert)) => HandshakeError::Alert(words(&format!("{alert:?}"))),
        _ => HandshakeError::Failed(error),
    }
}

/// `CertificateRequired` as `certificate required`.
fn words(name: &str) -> String {
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(letter.to_ascii_lowercase());
    }
    words
}

fn path<'a>(path: Option<&'a PathBuf>, key: &'static str) -> Result<&'a Path, TlsError> {
    path.map(PathBuf::as_path).ok_or(TlsError::Unset(key))
}

fn file_error(key: &'static str, path: &Path, problem: impl std::fmt::Display) -> TlsError {
    TlsError::File { key, path: path.to_owned(), problem: problem.to_string() }
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| file_error(key, path, error))?;
    let chain: Vec<_> = read.collect::<Result<_, _>>().map_err(|error| file_error(key, path, error))?;
    if chain.is_empty() {
        return Err(file_error(key, path, "no certificate in it"));
    }
    Ok(chain)
}

fn roots(key: &'static str, path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(key, path)? {
        roots.add(certificate).map_err(|error| file_error(key, path, error))?;
    }
    Ok(roots)
}

/// Reads a private key whose file nobody but its owner may read.
fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = std::fs::metadata(path).map_err(|error| file_error("key", path, error))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(file_error("key", path, "readable by others than its owner; chmod 600"));
    }
    PrivateKeyDer::from_pem_file(path).map_err(|error| file_error("key", path, error))
}
