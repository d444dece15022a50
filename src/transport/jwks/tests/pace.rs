//! Is the provider asked no more often than it is meant to be, whoever wants keys?

use super::*;
use crate::clock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use tokio::sync::Semaphore;

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
