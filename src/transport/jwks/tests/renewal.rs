//! Do new keys come when they are needed, and keep the last good ones until then?

use super::*;

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
