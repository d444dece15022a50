//! An alarm compares what is flagged with what calibration promised: at the real sidecar, once, and not for nothing.

use crate::house::{batch, golden, samples};
use crate::probes::{get, until};
use crate::sidecar::{PATIENCE, Sidecar, block_on, entries};
use asepsis::config::Config;
use asepsis::transport::client::Outcome;

fn sample(metrics: &str, name: &str) -> Option<f64> {
    let line = format!("{name}{{model=\"digits\",version=\"1\"}} ");
    metrics.lines().find_map(|found| found.strip_prefix(line.as_str()))?.parse().ok()
}

/// Sends these rows, several times each, to `digits`; whatever is answered.
fn send(sidecar: &Sidecar, rows: &[Vec<f32>], times: usize) {
    block_on(async {
        let mut client = sidecar.client("client").await;
        let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        for _ in 0..times {
            let outcome = client.infer(batch("digits", &rows), PATIENCE).await;
            assert!(!matches!(outcome, Outcome::Transport(_)), "{outcome:?}");
        }
    });
}

fn alarms(sidecar: Sidecar) -> Vec<serde_json::Value> {
    let left = sidecar.stop();
    entries(left.path()).into_iter().filter(|entry| entry["reason"] == "flag_rate").collect()
}

/// How the alarm stands after so many attacked rows.
fn attacked(change: impl FnOnce(&mut Config)) -> (Sidecar, String) {
    let sidecar = Sidecar::start_with(change);
    send(&sidecar, &samples("digits").attacked, 20);
    let metrics = get(sidecar.admin(), "/metrics").1;
    (sidecar, metrics)
}

#[test]
fn a_stream_of_flagged_inputs_raises_the_alarm_once() {
    let (sidecar, metrics) = attacked(|_| {});
    assert_eq!(sample(&metrics, "asepsis_flag_rate_promised"), Some(0.05));
    assert_eq!(sample(&metrics, "asepsis_flag_rate_alarm"), Some(1.0));
    assert_eq!(sample(&metrics, "asepsis_flag_rate_alarms_total"), Some(1.0));
    assert!(metrics.contains("# TYPE asepsis_flag_rate_alarms_total counter"), "{metrics}");
    assert!(metrics.contains("asepsis_flag_rate_alarm{model=\"wdbc\",version=\"1\"} 0"), "{metrics}");
    // On record while it runs, and not only when it stops.
    until("an alarm on record", || {
        entries(sidecar.directory()).iter().any(|entry| entry["reason"] == "flag_rate")
    });
    let alarms = alarms(sidecar);
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    let alarm = &alarms[0];
    assert_eq!((&alarm["model"], &alarm["version"]), (&"digits".into(), &"1".into()));
    assert_eq!((&alarm["rpc"], &alarm["principal"]), (&"".into(), &"".into()), "no request");
    assert!(alarm["detail"].as_str().unwrap().starts_with("rows="), "{alarm}");
}

#[test]
fn what_shadow_mode_lets_pass_is_counted_as_if_it_had_not() {
    let (sidecar, metrics) = attacked(|config| config.policy.shadow = true);
    assert_eq!(sample(&metrics, "asepsis_flag_rate_alarm"), Some(1.0));
    assert_eq!(alarms(sidecar).len(), 1);
}

#[test]
fn a_watcher_that_is_switched_off_says_nothing() {
    let (sidecar, metrics) = attacked(|config| config.watchers.flag_rate.enabled = false);
    assert_eq!(sample(&metrics, "asepsis_flag_rate_alarm"), None);
    assert!(alarms(sidecar).is_empty());
}

#[test]
fn clean_traffic_raises_no_alarm() {
    let sidecar = Sidecar::start();
    let clean: Vec<Vec<f32>> = golden("digits").0.into_iter().chain(samples("digits").clean).collect();
    send(&sidecar, &clean, 20);
    let metrics = get(sidecar.admin(), "/metrics").1;
    assert_eq!(sample(&metrics, "asepsis_flag_rate_alarm"), Some(0.0));
    assert_eq!(sample(&metrics, "asepsis_flag_rate_alarms_total"), Some(0.0));
    assert!(alarms(sidecar).is_empty());
}
