//! Charges across limits: all or none, named by their owner, kept over reloads, never exceeded by threads.

use super::*;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// 2026-11-22, ten seconds before midnight UTC.
const EVENING: u64 = 1_795_305_600 + 86_390;

fn limits(text: &str) -> Limits {
    toml::from_str::<Spec>(text).unwrap().check().unwrap()
}

/// Time that passes when the test says so, on both clocks.
#[derive(Clone, Copy)]
struct Clock(Now);

impl Clock {
    fn new() -> Self {
        let wall: SystemTime = UNIX_EPOCH + Duration::from_secs(EVENING);
        Self(Now { wall, ..Now::read() })
    }

    fn after(self, ms: u64) -> Now {
        let passed = Duration::from_millis(ms);
        Now { monotonic: self.0.monotonic + passed, wall: self.0.wall + passed }
    }
}

/// Budgets of whom `one` asks as a member of `Readers`.
struct Bench {
    clock: Clock,
    budgets: Budgets,
    one: Arc<Account>,
}

impl Bench {
    fn new(text: &str) -> Self {
        let clock = Clock::new();
        let budgets = Budgets::new(limits(text), clock.0);
        let one = budgets.account("one");
        Self { clock, budgets, one }
    }

    fn request(&self, ms: u64) -> Result<(), Denial> {
        self.budgets.request(&self.one, "Readers", self.clock.after(ms))
    }

    /// `bytes` and `us` of computing with `wdbc`.
    fn work(&self, bytes: u64, us: u64, ms: u64) -> Result<Paid, Denial> {
        let work = Work { bytes, compute: Duration::from_micros(us) };
        self.budgets.work(&self.one, "Readers", "wdbc", work, self.clock.after(ms))
    }

    /// How often something succeeds before it does not.
    fn times<T>(&self, mut ask: impl FnMut(&Self) -> Result<T, Denial>) -> usize {
        std::iter::from_fn(|| ask(self).ok()).take(1000).count()
    }
}

#[test]
fn a_refusal_says_whose_limit_of_what_and_when_to_come_again() {
    let per_day = Duration::from_secs(10);
    let soon = Duration::from_millis(500);
    for (text, reason, message, detail, retry_after) in [
        (
            "each_principal.requests = { per_second = 2, burst = 1 }",
            Reason::RateLimited,
            "your limit of requests is reached; try again later",
            "limits.each_principal.requests",
            soon,
        ),
        (
            "roles.Readers.requests.per_day = 1",
            Reason::QuotaExhausted,
            "your role's quota of requests is used up for today; try again after midnight UTC",
            "limits.roles.Readers.requests",
            per_day,
        ),
        (
            "models.wdbc.requests = { per_second = 2, burst = 1 }",
            Reason::RateLimited,
            "the model's limit of requests is reached; try again later",
            "limits.models.wdbc.requests",
            soon,
        ),
        (
            "models.wdbc.bytes = { per_second = 200, burst = 100 }",
            Reason::RateLimited,
            "the model's limit of bytes is reached; try again later",
            "limits.models.wdbc.bytes",
            soon,
        ),
        (
            "each_principal.compute_ms = { per_second = 2, burst = 1 }",
            Reason::RateLimited,
            "your limit of compute time is reached; try again later",
            "limits.each_principal.compute_ms",
            soon,
        ),
        (
            "roles.Readers.compute_ms.per_day = 1",
            Reason::QuotaExhausted,
            "your role's quota of compute time is used up for today; try again after midnight UTC",
            "limits.roles.Readers.compute_ms",
            per_day,
        ),
    ] {
        let bench = Bench::new(text);
        let call = |ms| bench.request(ms).and_then(|()| bench.work(100, 1_000, ms));
        drop(call(0).unwrap());
        let denial = call(0).unwrap_err();
        assert_eq!(denial.reason, reason, "{text}");
        assert_eq!(denial.message, message, "{text}");
        assert_eq!(denial.detail, detail, "{text}");
        assert_eq!(denial.retry_after, Some(retry_after), "{text}");
        let wait_ms = u64::try_from(retry_after.as_millis()).unwrap();
        assert!(call(wait_ms - 1).is_err() && call(wait_ms).is_ok(), "{text}");
    }
}

#[test]
fn a_refusal_charges_nobody() {
    // Each time the last limit to be asked refuses, and the others have all they had.
    let door = Bench::new(
        "each_principal.requests = { per_second = 1, burst = 7, per_day = 7 }
         roles.Readers.requests = { per_second = 1, burst = 5 }",
    );
    assert_eq!(door.times(|bench| bench.request(0)), 5);
    assert_eq!(door.times(|bench| bench.request(0)), 0);
    let others = |bench: &Bench| bench.budgets.request(&bench.one, "Others", bench.clock.0);
    assert_eq!(door.times(others), 2);

    let everything = "requests = { per_second = 1, burst = 7, per_day = 7 }\n\
                      bytes = { per_second = 1, burst = 70, per_day = 70 }\n\
                      compute_ms = { per_second = 1, burst = 7, per_day = 7 }";
    let bench = Bench::new(&format!(
        "[each_principal]\n{everything}\n[roles.Readers]\n{everything}\n\
         [models.wdbc]\n{everything}\n[models.other]\ncompute_ms = {{ per_second = 1, burst = 5, per_day = 6 }}"
    ));
    let work = Work { bytes: 10, compute: Duration::from_millis(1) };
    let other = |bench: &Bench| bench.budgets.work(&bench.one, "Readers", "other", work, bench.clock.0);
    assert_eq!(bench.times(other), 5);
    assert_eq!(bench.times(other), 0);
    assert_eq!(bench.times(|bench| bench.work(10, 1_000, 0)), 2);
    assert_eq!(bench.budgets.request(&bench.one, "Readers", bench.clock.0), Ok(()));
}

#[test]
fn who_is_beyond_its_own_limit_takes_nothing_from_others() {
    let bench = Bench::new(
        "each_principal.requests = { per_second = 1, burst = 2 }
         roles.Readers.requests = { per_second = 1, burst = 4 }",
    );
    assert_eq!(bench.times(|bench| bench.request(0)), 2);
    for _ in 0..100 {
        assert_eq!(bench.request(0).unwrap_err().detail, "limits.each_principal.requests");
    }
    let two = bench.budgets.account("two");
    let asks = |bench: &Bench| bench.budgets.request(&two, "Readers", bench.clock.0);
    assert_eq!(bench.times(asks), 2);
    assert_eq!(asks(&bench).unwrap_err().detail, "limits.each_principal.requests");
}

#[test]
fn one_large_request_passes_when_nothing_else_has() {
    let bench = Bench::new("each_principal = { bytes = { per_second = 10, burst = 100, per_day = 1000 } }");
    assert!(bench.work(5_000, 0, 0).is_ok());
    assert_eq!(bench.work(1, 0, 0).unwrap_err().reason, Reason::QuotaExhausted);
    // The next day: a full bucket first, and a small charge empties none.
    assert!(bench.work(1, 0, 10_000).is_ok());
    assert_eq!(bench.work(5_000, 0, 10_000).unwrap_err().reason, Reason::QuotaExhausted);
    assert_eq!(bench.work(200, 0, 10_000).unwrap_err().reason, Reason::RateLimited);
    assert!(bench.work(99, 0, 10_000).is_ok());
}

#[test]
fn fractions_of_a_millisecond_of_computing_add_up() {
    let bench = Bench::new("each_principal.compute_ms = { per_second = 1, burst = 1 }");
    assert_eq!(bench.times(|bench| bench.work(0, 50, 0)), 20);
}

#[test]
fn a_model_has_so_many_runs_in_flight_and_gives_their_places_back() {
    let bench = Bench::new("models.wdbc = { in_flight = 2, bytes.per_day = 30 }");
    let held = [bench.work(10, 0, 0).unwrap(), bench.work(10, 0, 0).unwrap()];
    let denial = bench.work(10, 0, 0).unwrap_err();
    assert_eq!((denial.reason, denial.detail.as_str()), (Reason::Overloaded, "limits.models.wdbc.in_flight"));
    assert_eq!(denial.retry_after, Some(Duration::from_millis(100)));
    drop(held);
    // A charge that is refused holds no place either, and the one before has cost nothing.
    assert!(bench.work(10, 0, 0).is_ok());
    for _ in 0..5 {
        assert_eq!(bench.work(10, 0, 0).unwrap_err().reason, Reason::QuotaExhausted);
    }
    assert_eq!(bench.work(10, 0, 20_000).map(drop), Ok(()));
}

#[test]
fn a_reload_gives_nobody_a_fresh_quota() {
    let text = "each_principal = { requests = { per_second = 1, burst = 2, per_day = 3 }, in_flight = 1 }
                roles.Readers.requests = { per_second = 1, burst = 9, per_day = 3 }";
    let mut bench = Bench::new(text);
    assert_eq!(bench.times(|bench| bench.request(0)), 2);
    let place = bench.budgets.enter(&bench.one, "Readers", 9).unwrap();
    for changed in [
        text.to_owned(),
        format!("{text}\nmodels.wdbc.in_flight = 1\nprincipals_max = 2048"),
        format!("{text}\nroles.Others.in_flight = 1"),
    ] {
        bench.budgets = bench.budgets.reuse(limits(&changed));
        assert!(Arc::ptr_eq(&bench.one, &bench.budgets.account("one")));
        assert_eq!(bench.request(0).unwrap_err().reason, Reason::RateLimited);
        assert!(bench.budgets.enter(&bench.one, "Readers", 9).is_err());
    }
    // Another rate begins with a full bucket; the day goes on.
    bench.budgets = bench.budgets.reuse(limits(&text.replace("burst = 2", "burst = 4")));
    assert_eq!(bench.times(|bench| bench.request(0)), 1);
    assert_eq!(bench.request(0).unwrap_err().reason, Reason::QuotaExhausted);
    assert!(bench.budgets.enter(&bench.one, "Readers", 9).is_err());
    drop(place);
    assert!(bench.budgets.enter(&bench.one, "Readers", 9).is_ok());
}

#[test]
fn a_raised_limit_helps_whoever_was_beyond_the_old_one() {
    let of = |text: &str| format!("each_principal.requests = {text}\nroles.Readers.requests = {text}");
    let mut bench = Bench::new(&of("{ per_second = 1, burst = 3600 }"));
    let before = bench.budgets.reuse(limits(&of("{ per_second = 1, burst = 3600 }")));
    for _ in 0..3600 {
        before.request(&bench.one, "Readers", bench.clock.0).unwrap();
    }
    assert!(bench.request(0).is_err());
    bench.budgets = bench.budgets.reuse(limits(&of("{ per_second = 1000, burst = 10 }")));
    assert_eq!(bench.times(|bench| bench.request(0)), 10);
    assert_eq!(bench.request(0).unwrap_err().retry_after, Some(Duration::from_millis(1)));
}

#[test]
fn many_threads_are_never_granted_more_than_there_is() {
    let bench = Bench::new(
        "each_principal.requests = { per_second = 1, burst = 1000, per_day = 900 }
         roles.Readers.requests = { per_second = 1, burst = 800 }",
    );
    let granted = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..400 {
                    if bench.request(0).is_ok() {
                        granted.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(granted.into_inner(), 800);
    // What the role refused, however the threads met, was given back to the caller.
    let others = |bench: &Bench| bench.budgets.request(&bench.one, "Others", bench.clock.0);
    assert_eq!(bench.times(others), 100);
}

#[test]
fn a_request_counts_for_the_role_that_grants_the_model_and_for_no_other() {
    let bench = Bench::new(
        "roles.Readers.requests.per_day = 2\nroles.Others.requests.per_day = 1\nroles.Others.in_flight = 1",
    );
    let (budgets, now) = (&bench.budgets, bench.clock.0);
    bench.request(0).unwrap();
    let held = budgets.change_role("Readers", "Others", now).unwrap();
    assert!(held.is_some());
    let refused = budgets.change_role("Readers", "Others", now).unwrap_err();
    assert_eq!(
        (refused.reason, refused.detail.as_str()),
        (Reason::Overloaded, "limits.roles.Others.in_flight")
    );
    drop(held);
    let refused = budgets.change_role("Readers", "Others", now).unwrap_err();
    assert_eq!(
        (refused.reason, refused.detail.as_str()),
        (Reason::QuotaExhausted, "limits.roles.Others.requests")
    );
    // What the door charged was given back once.
    assert_eq!(bench.times(|bench| bench.request(0)), 2);
}

#[test]
fn computing_that_was_done_is_charged_as_far_as_there_is_something_left() {
    let bench = Bench::new(
        "each_principal.compute_ms = { per_second = 1, burst = 8 }\nmodels.wdbc.compute_ms = { per_second = 1, burst = 99 }",
    );
    let settle =
        |ms| bench.budgets.settle(&bench.one, "Readers", "wdbc", Duration::from_millis(ms), bench.clock.0);
    settle(3);
    assert!(bench.work(0, 5_001, 0).is_err(), "three of eight are gone");
    assert!(bench.work(0, 4_000, 0).is_ok());
    settle(1000);
    assert!(bench.work(0, 2, 0).is_err(), "what was left is gone");
}
