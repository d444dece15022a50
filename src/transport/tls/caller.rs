//! How does our own client shake hands, to the real end of it?

use super::TlsError;
use super::files;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// A client's side, for our own client, tests and benchmarks; `identity` is a certificate and its key.
///
/// # Errors
/// The first file to mend.
pub fn client(ca: &Path, identity: Option<(&Path, &Path)>) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| TlsError::Unusable(error.to_string()))?
        .with_root_certificates(roots(ca)?);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder
            .with_client_auth_cert(files::certificates("certificate", certificate)?, files::private_key(key)?)
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

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in files::certificates("ca", path)? {
        roots.add(certificate).map_err(|error| files::problem("ca", path, error))?;
    }
    Ok(roots)
}
