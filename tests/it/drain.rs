//! A shutdown loses nothing: what was sent is answered, and every answer is on record.

use crate::house::{request, samples};
use crate::sidecar::{PATIENCE, Sidecar, block_on, client_tls, entries};
use asepsis::transport::client::{Client, Outcome};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn a_drain_under_load_loses_no_request() {
    let sidecar = Sidecar::start();
    let target = sidecar.target();
    let answered = Arc::new(AtomicUsize::new(0));
    let (started, running) = std::sync::mpsc::channel();
    let load = std::thread::spawn({
        let answered = Arc::clone(&answered);
        move || {
            block_on(async {
                let mut callers = tokio::task::JoinSet::new();
                for _ in 0..8 {
                    let (target, answered, started) =
                        (target.clone(), Arc::clone(&answered), started.clone());
                    callers.spawn(async move {
                        let tls = client_tls(Some("client"));
                        let mut client = Client::connect(&target, Some(tls)).await.unwrap();
                        let row = samples("wdbc").clean[0].clone();
                        loop {
                            match client.infer(request("wdbc", &row), PATIENCE).await {
                                Outcome::Answer(_) => answered.fetch_add(1, Ordering::SeqCst),
                                // The connection is gone and no new one is let in: nothing was sent.
                                Outcome::Transport(_) => return,
                                Outcome::Refused(refused) => {
                                    assert_eq!(refused.status, "UNAVAILABLE", "{refused:?}");
                                    return;
                                }
                            };
                            if answered.load(Ordering::SeqCst) == 200 {
                                started.send(()).unwrap();
                            }
                        }
                    });
                }
                while let Some(caller) = callers.join_next().await {
                    caller.unwrap();
                }
            });
        }
    });
    running.recv_timeout(PATIENCE).unwrap();
    let left = sidecar.stop();
    load.join().unwrap();
    let entries = entries(left.path());
    let allowed = entries.iter().filter(|entry| entry["action"] == "allowed").count();
    assert_eq!(
        allowed,
        answered.load(Ordering::SeqCst),
        "an answer was recorded and lost, or left unrecorded"
    );
    assert_eq!(allowed, entries.len(), "a request was neither answered nor left unsent");
}
