//! Is only the provider believed that is named, and only what it answers itself?

use super::*;

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
    let large = good("");
    large.as_file().set_len(CA_BYTES_MAX + 1).unwrap();
    let too_large = format!("jwt.ca: {}: larger than 4194304 bytes", large.path().display());
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
        (at("https://localhost/keys", Some(Path::new("/dev/zero"))), "jwt.ca: /dev/zero: not a file"),
        (at("https://localhost/keys", Some(large.path())), &too_large),
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
