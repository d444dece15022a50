//! Do keys come from a real server over real TLS, only from the right one, and never faster than allowed?

mod pace;
mod provider;
mod renewal;

use super::*;
use crate::identity::jwt::signer::{Signer, jwks};
use crate::identity::jwt::{Algorithm, JwtError};
use crate::identity::{Authenticator, Credentials, Header, Identity, IdentityError, Peer, Presented};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;
use std::convert::Infallible;
use std::sync::Mutex;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// So long that in a test it never passes.
const NEVER: Duration = Duration::from_hours(24);

/// What a provider answers next.
#[derive(Clone)]
struct Answer {
    status: u16,
    location: Option<String>,
    body: Vec<u8>,
}

impl Answer {
    fn body(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, location: None, body: body.into() }
    }
}

/// An OpenID provider's key endpoint: HTTPS on loopback, with a certificate of its own CA.
struct Server {
    port: u16,
    ca: tempfile::NamedTempFile,
    answer: Arc<Mutex<Answer>>,
    paths: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        let ca = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(ca.path(), issuer.pem()).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer = Arc::new(Mutex::new(Answer::body("")));
        let paths = Arc::new(Mutex::new(Vec::new()));
        let acceptor = TlsAcceptor::from(Arc::new(config));
        tokio::spawn(serve(listener, acceptor, Arc::clone(&answer), Arc::clone(&paths)));
        Self { port, ca, answer, paths }
    }

    fn answers(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    fn settings(&self) -> Settings {
        Settings {
            issuer: Some("https://login.hospital.example/".to_owned()),
            audience: vec!["asepsis".to_owned()],
            jwks: format!("https://localhost:{}/keys?code=secret", self.port),
            ca: Some(self.ca.path().to_owned()),
            ..Settings::default()
        }
    }

    fn fetches(&self) -> usize {
        self.paths.lock().unwrap().len()
    }
}

async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    answer: Arc<Mutex<Answer>>,
    paths: Arc<Mutex<Vec<String>>>,
) {
    loop {
        let (socket, _) = listener.accept().await.unwrap();
        let Ok(stream) = acceptor.accept(socket).await else { continue };
        let respond = service_fn(|request: Request<Incoming>| {
            paths.lock().unwrap().push(request.uri().to_string());
            let Answer { status, location, body } = answer.lock().unwrap().clone();
            let mut response = Response::builder().status(status);
            if let Some(location) = location {
                response = response.header("location", location);
            }
            let response = response.body(Full::new(Bytes::from(body))).unwrap();
            async move { Ok::<_, Infallible>(response) }
        });
        drop(http1::Builder::new().serve_connection(TokioIo::new(stream), respond).await);
    }
}

fn ask(jwt: &Jwt, signer: &Signer, now: Now) -> Result<Identity, IdentityError> {
    let issued = now.unix_seconds();
    let token = signer.token(&json!({
        "iss": "https://login.hospital.example/", "aud": "asepsis", "sub": "ada", "iat": issued, "exp": issued + 60,
    }));
    let authorization = Header::Once(format!("Bearer {token}").into_bytes());
    let credentials = Credentials { authorization, ..Credentials::default() };
    let peer = Peer { tls: true, ..Peer::default() };
    let identity = jwt.authenticate(&Presented { peer: &peer, credentials: &credentials, now })?;
    Ok(identity.expect("a token was presented"))
}

fn new(settings: Settings) -> Result<Arc<Jwt>, JwtError> {
    Jwt::new(settings, Now::read()).map(Arc::new)
}

/// Waits for keys as a patient caller does, who comes again.
async fn come(jwt: &Jwt, now: Now) {
    while !jwt.wait_for_keys(now).await {
        jwt.fetching().until_ready().await;
    }
}

/// Keeps the keys of `jwt` fresh from its provider, but at this pace.
fn keep(jwt: &Arc<Jwt>, pace: Pace) -> tokio::task::JoinHandle<()> {
    let (jwt, provider) = (Arc::clone(jwt), Provider::of(jwt.settings()).unwrap().unwrap());
    tokio::spawn(async move { keep_fresh(&jwt, "test", pace, || provider.fetch(), || {}).await })
}
