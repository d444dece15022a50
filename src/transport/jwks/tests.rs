//! Do keys come from a real server over real TLS, only from the right one, and never faster than allowed?

use super::*;
use crate::clock;
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
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
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

#[tokio::test]
async fn a_provider_that_is_somebody_else_or_sends_elsewhere_or_something_else_is_not_believed() {
    let server = Server::start("localhost").await;
    let signer = Signer::new("k1", Algorithm::Es256);
    let provider = Provider::of(&server.settings()).unwrap().unwrap();
    let large = [jwks(&[&signer]), vec![b' '; JWKS_BYTES_MAX]].concat();
    let elsewhere = Some(format!("https://localhost:{}/other", server.port));
    for (answer, error) in [
        (
            Answer { status: 302, location: elsewhere, body: jwks(&[&signer]) },
            "the provider answers 302 Found",
        ),
        (
            Answer { status: 500, ..Answer::body(jwks(&[&signer])) },
            "the provider answers 500 Internal Server Error",
        ),
        (
            Answer { status: 206, ..Answer::body(jwks(&[&signer])) },
            "the provider answers 206 Partial Content",
        ),
        (Answer::body(large), "larger than 262144 bytes"),
    ] {
        server.answers(answer);
        assert_eq!(provider.fetch().await.unwrap_err().to_string(), error);
    }
    assert_eq!(*server.paths.lock().unwrap(), vec!["/keys?code=secret"; 4]);
    let most = [jwks(&[&signer]), vec![b' '; JWKS_BYTES_MAX - jwks(&[&signer]).len()]].concat();
    server.answers(Answer::body(most));
    assert_eq!(provider.fetch().await.unwrap().len(), JWKS_BYTES_MAX);

    let other = Server::start("localhost").await;
    let elsewhere = Server::start("login.hospital.example").await;
    let of_another_ca = Settings { ca: Some(other.ca.path().to_owned()), ..server.settings() };
    // The system's roots do not have the CA of a test.
    let of_the_system = Settings { ca: None, ..server.settings() };
    for settings in [of_another_ca, of_the_system, elsewhere.settings()] {
        let error = Provider::of(&settings).unwrap().unwrap().fetch().await.unwrap_err().to_string();
        assert!(error.contains("certificate"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
    assert_eq!((other.fetches(), elsewhere.fetches()), (0, 0));
    let gone = Settings { jwks: "https://127.0.0.1:1/keys?code=secret".to_owned(), ..server.settings() };
    let error = Provider::of(&gone).unwrap().unwrap().fetch().await.unwrap_err().to_string();
    assert!(error.contains("refused") && !error.contains("secret"), "{error}");
}

#[test]
fn settings_that_cannot_be_fetched_with_are_refused_at_the_start() {
    let good = |name: &str| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), name).unwrap();
        file
    };
    let (empty, text) = (good(""), good("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"));
    let at = |jwks: &str, ca: Option<&Path>| Settings {
        jwks: jwks.to_owned(),
        ca: ca.map(Path::to_owned),
        ..Settings::default()
    };
    for (settings, start) in [
        (at("http://localhost/keys", None), "jwt.jwks: not https"),
        (at("ftp://localhost/keys", None), "jwt.jwks: not https"),
        (at("https://", None), "jwt.jwks: "),
        (at("https://localhost/keys", Some(Path::new("/nowhere/ca.pem"))), "jwt.ca: /nowhere/ca.pem: "),
        (at("https://localhost/keys", Some(empty.path())), "jwt.ca: "),
        (at("https://localhost/keys", Some(text.path())), "jwt.ca: "),
    ] {
        let error = Provider::of(&settings).map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with(start), "{error}");
    }
    assert!(Provider::of(&at("keys.json", None)).unwrap().is_none());
    let provider = Provider::of(&at("https://localhost:8443/keys?code=secret#x", None)).unwrap().unwrap();
    assert_eq!(provider.name(), "https://localhost:8443/keys");
}

#[tokio::test]
async fn rotated_keys_are_fetched_when_the_first_token_names_them_and_bad_ones_change_nothing() {
    let server = Server::start("localhost").await;
    let (old, new_key) = (Signer::new("k1", Algorithm::Es256), Signer::new("k2", Algorithm::EdDsa));
    server.answers(Answer { status: 503, ..Answer::body("") });
    let jwt = new(server.settings()).unwrap();
    let started = Now::read();
    assert_eq!(ask(&jwt, &old, started), Err(IdentityError::UnknownKey));
    let keeping = keep(&jwt, Pace { refresh: NEVER, interval: Duration::from_millis(1) });
    // A provider that cannot be reached is asked again by itself.
    jwt.fetching().until_ended(2).await;
    assert_eq!(ask(&jwt, &old, Now::read()), Err(IdentityError::UnknownKey));
    server.answers(Answer::body(jwks(&[&old])));
    come(&jwt, started).await;
    assert!(ask(&jwt, &old, Now::read()).is_ok());

    // The new key is fetched because a token names it.
    server.answers(Answer::body(jwks(&[&new_key])));
    jwt.fetching().until_ready().await;
    let before = server.fetches();
    let now = Now::read();
    assert_eq!(ask(&jwt, &new_key, now), Err(IdentityError::UnknownKey));
    come(&jwt, now).await;
    assert_eq!(ask(&jwt, &new_key, Now::read()).unwrap().principal(), "sub:ada");
    assert_eq!(ask(&jwt, &old, Now::read()), Err(IdentityError::UnknownKey));
    assert!(server.fetches() > before);

    // What is no key set, or none that can be used, keeps the last good one.
    let failures = jwt.status().failures;
    let bad = [&b"<html>"[..], b"{\"keys\":[]}", &vec![b'['; JWKS_BYTES_MAX + 1]];
    for (n, body) in bad.iter().enumerate() {
        jwt.fetching().until_ready().await;
        server.answers(Answer::body(*body));
        let now = Now::read();
        let fetched = jwt.wait_for_keys(now).await;
        assert!(!fetched, "{n}");
        assert!(ask(&jwt, &new_key, Now::read()).is_ok());
    }
    assert!(jwt.status().failures >= failures + 3);
    assert_eq!(jwt.status().keys, 1);
    keeping.abort();
}

#[tokio::test]
async fn a_flood_of_unknown_keys_costs_the_provider_one_fetch_an_interval() {
    let server = Server::start("localhost").await;
    let (known, unknown) = (Signer::new("k1", Algorithm::Es256), Signer::new("k2", Algorithm::Es256));
    server.answers(Answer::body(jwks(&[&known])));
    let never = NEVER.as_secs();
    let jwt = new(Settings { refresh_s: never, fetch_interval_s: never, ..server.settings() }).unwrap();
    let provider = Provider::of(jwt.settings()).unwrap().unwrap();
    let keeping = tokio::spawn(run(Arc::clone(&jwt), provider, || {}));
    jwt.fetching().until_ended(1).await;
    for _ in 0..1000 {
        let now = Now::read();
        assert_eq!(ask(&jwt, &unknown, now), Err(IdentityError::UnknownKey));
        // At once: it would not come in time.
        assert!(!jwt.wait_for_keys(now).await);
    }
    assert_eq!(server.fetches(), 1);
    assert!(ask(&jwt, &known, Now::read()).is_ok());
    keeping.abort();
}

#[tokio::test]
async fn between_two_fetches_there_is_always_the_interval_however_much_keys_are_wanted() {
    let interval = Duration::from_millis(20);
    let jwt = new(Server::start("localhost").await.settings()).unwrap();
    let key = jwks(&[&Signer::new("k1", Algorithm::Es256)]);
    let begun: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let (fetched, noted) = (Arc::clone(&jwt), Arc::clone(&begun));
    let keeping = tokio::spawn(async move {
        let fetch = || {
            noted.lock().unwrap().push(clock::instant());
            // Half of them fail.
            let good = noted.lock().unwrap().len() % 2 == 0;
            let answer = if good { Ok(key.clone()) } else { Err(FetchError::Status(StatusCode::NOT_FOUND)) };
            std::future::ready(answer)
        };
        keep_fresh(&fetched, "test", Pace { refresh: NEVER, interval }, fetch, || {}).await;
    });
    while begun.lock().unwrap().len() < 6 {
        jwt.fetching().want();
        tokio::task::yield_now().await;
    }
    keeping.abort();
    let begun = begun.lock().unwrap();
    for pair in begun.windows(2) {
        assert!(pair[1] - pair[0] >= interval);
    }
}

#[tokio::test]
async fn callers_who_come_together_share_one_fetch() {
    let next = Signer::new("k2", Algorithm::Es256);
    let jwt = new(Server::start("localhost").await.settings()).unwrap();
    let (gate, fetches) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let (fetched, opened, counted) = (Arc::clone(&jwt), Arc::clone(&gate), Arc::clone(&fetches));
    let key = jwks(&[&next]);
    let keeping = tokio::spawn(async move {
        let fetch = || async {
            counted.fetch_add(1, Ordering::Relaxed);
            opened.acquire().await.unwrap().forget();
            Ok(key.clone())
        };
        keep_fresh(
            &fetched,
            "test",
            Pace { refresh: NEVER, interval: Duration::from_millis(1) },
            fetch,
            || {},
        )
        .await;
    });
    gate.add_permits(1);
    jwt.fetching().until_ready().await;
    let now = Now::read();
    let mut callers = Vec::new();
    for _ in 0..100 {
        let jwt = Arc::clone(&jwt);
        callers.push(tokio::spawn(async move { jwt.wait_for_keys(now).await }));
    }
    while jwt.fetching().waiting() < 100 {
        tokio::task::yield_now().await;
    }
    gate.add_permits(100);
    for caller in callers {
        assert!(caller.await.unwrap());
    }
    // Nobody has left word for another.
    jwt.fetching().until_ready().await;
    assert_eq!(fetches.load(Ordering::Relaxed), 2);
    assert!(ask(&jwt, &next, Now::read()).is_ok());
    keeping.abort();
}

#[tokio::test]
async fn keys_are_fetched_again_though_nobody_wants_them() {
    let server = Server::start("localhost").await;
    server.answers(Answer::body(jwks(&[&Signer::new("k1", Algorithm::Es256)])));
    let jwt = new(server.settings()).unwrap();
    let often = Duration::from_millis(1);
    let keeping = keep(&jwt, Pace { refresh: often * 2, interval: often });
    jwt.fetching().until_ended(3).await;
    assert!(server.fetches() >= 3);
    assert_eq!(jwt.status().failures, 0);
    keeping.abort();
}

#[tokio::test]
async fn a_reload_has_the_keys_fetched_and_reads_the_file_of_cas_again() {
    let (before, after) = (Server::start("localhost").await, Server::start("localhost").await);
    let signer = Signer::new("k1", Algorithm::Es256);
    after.answers(Answer::body(jwks(&[&signer])));
    // The address is that of the second server, whose CA is not trusted yet.
    let settings = Settings { jwks: after.settings().jwks, ..before.settings() };
    let jwt = new(settings).unwrap();
    assert_eq!(jwt.files(), [before.ca.path().to_owned()]);
    let keeping = keep(&jwt, Pace { refresh: NEVER, interval: Duration::from_millis(1) });
    jwt.fetching().until_ended(1).await;
    assert!(jwt.status().failures >= 1 && jwt.status().keys == 0);
    std::fs::copy(after.ca.path(), before.ca.path()).unwrap();
    let now = Now::read();
    jwt.reload(now).unwrap();
    come(&jwt, now).await;
    assert!(ask(&jwt, &signer, Now::read()).is_ok());
    keeping.abort();
}

#[test]
fn a_provider_that_fails_is_asked_less_and_less_often_but_never_less_than_usual() {
    let pace = Pace { refresh: Duration::from_mins(5), interval: Duration::from_secs(10) };
    for (failures, seconds) in [
        (0, 300),
        (1, 10),
        (2, 20),
        (3, 40),
        (4, 80),
        (5, 160),
        (6, 300),
        (7, 300),
        (31, 300),
        (u32::MAX, 300),
    ] {
        let whole = pace.interval + pace.patience(failures);
        assert_eq!(whole, Duration::from_secs(seconds), "{failures}");
    }
    let settings = Settings { refresh_s: 5, fetch_interval_s: 10, ..Settings::default() };
    assert_eq!(Pace::of(&settings).patience(0), Duration::ZERO);
}
