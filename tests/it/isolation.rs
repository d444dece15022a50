//! Nobody gets another's answer: 10,000 requests of concurrent callers with distinct inputs, bit by bit.

use crate::answers::{answered, floats};
use crate::house::{request, samples};
use crate::sidecar::{Sidecar, block_on, entries};

const CALLERS: usize = 10;
const REQUESTS_EACH: usize = 1_000;

#[test]
fn ten_thousand_concurrent_requests_each_get_their_own_answer() {
    let sidecar = Sidecar::start_with(|config| config.policy.shadow = true);
    let row = samples("wdbc").clean[0].clone();
    // Distinct inputs: each caller moves one feature its own way.
    let input = move |caller: usize, n: usize| {
        let mut row = row.clone();
        row[caller] *= 1.0 + (n % 50) as f32 * 1e-3;
        row
    };
    block_on(async {
        let mut alone = sidecar.client("client").await;
        let mut callers = tokio::task::JoinSet::new();
        for caller in 0..CALLERS {
            let mut wanted = Vec::new();
            for n in 0..50 {
                wanted.push(floats(&answered(&mut alone, request("wdbc", &input(caller, n))).await));
            }
            let mut client = sidecar.client("client").await;
            let input = input.clone();
            callers.spawn(async move {
                for n in 0..REQUESTS_EACH {
                    let mut asked = request("wdbc", &input(caller, n));
                    asked.id = format!("{caller}-{n}");
                    let response = answered(&mut client, asked).await;
                    assert_eq!(response.id, format!("{caller}-{n}"));
                    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                    assert_eq!(
                        bits(&floats(&response)),
                        bits(&wanted[n % 50]),
                        "caller {caller}, request {n}"
                    );
                }
            });
        }
        while let Some(caller) = callers.join_next().await {
            caller.unwrap();
        }
    });
    let left = sidecar.stop();
    let entries = entries(left.path());
    assert_eq!(entries.len(), CALLERS * (REQUESTS_EACH + 50));
    let distinct: std::collections::BTreeSet<_> =
        entries.iter().map(|entry| entry["request_id"].as_str().unwrap()).collect();
    assert_eq!(distinct.len(), entries.len());
}
