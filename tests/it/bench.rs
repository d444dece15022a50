//! `asepsis bench`, the real command, against real sidecars: what it refuses, what it writes, and what fails a build.
//!
//! How sure its verdicts are was measured (docs/SPECIFICATION.md); here no machine's time is asserted: gates are so
//! wide, baselines so absurd, and a stall so long, that its noise decides nothing.

use crate::house::{library, models, root};
use crate::sidecar::{Sidecar, pki};
use crate::unary;
use roxmltree::Document;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_asepsis");

/// As short as it can be judged.
const SHORT: [&str; 8] = ["--repetitions", "4", "--block", "40ms", "--warmup", "40ms", "--warmup-calls", "1"];

fn url(sidecar: &Sidecar) -> String {
    format!("https://{}", sidecar.grpc())
}

fn rows(model: &str) -> String {
    root().join(format!("examples/demo/{model}.npz")).display().to_string()
}

/// With the certificate of `client`.
fn command(target: &str) -> Command {
    let file = |name: &str| pki().join(name);
    let mut command = Command::new(BINARY);
    command.args(["bench", "--target", target, "--ca"]).arg(file("ca.pem"));
    command.arg("--cert").arg(file("client.pem")).arg("--key").arg(file("client.key"));
    command
}

fn bench(target: &str, options: &[&str]) -> Output {
    command(target).arg("--library").arg(library()).args(SHORT).args(options).output().unwrap()
}

#[track_caller]
fn ended(output: &Output, code: i32, says: &str) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert!(told.contains(says), "{says}: {told}");
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn options_that_do_not_go_together_are_wrong_usage() {
    for options in [
        &["--model", "wdbc", "--max-regression", "1.1"][..],
        &["--model", "wdbc", "--gate", "p50"],
        &["--model", "wdbc", "--connections", "4", "--concurrency", "2"],
        &["--model", "wdbc", "--baseline", "b.json"],
        &["--model", "wdbc", "--arrivals", "constant"],
        &["--model", "wdbc", "--rate", "1e9"],
        &["--model", "wdbc", "--gate", "p42"],
        &[],
    ] {
        let output = bench("127.0.0.1:1", options);
        assert_eq!(output.status.code(), Some(64), "{options:?}: {output:?}");
    }
}

#[test]
fn what_cannot_be_measured_fails_and_says_why() {
    let sidecar = Sidecar::start();
    let target = url(&sidecar);
    let wdbc = rows("wdbc");
    ended(&bench("http://127.0.0.1:1", &["--model", "wdbc"]), 1, "http://127.0.0.1:1");
    ended(&bench(&target, &["--model", "retina"]), 1, "PERMISSION_DENIED");
    ended(&bench(&target, &["--model", "wdbc", "--data", &rows("digits")]), 1, "does not give rows");
    let plaintext = format!("http://{}", sidecar.grpc());
    let output = bench(&plaintext, &["--model", "wdbc", "--data", &wdbc]);
    assert_eq!(output.status.code(), Some(1), "plaintext to a port of TLS: {output:?}");
    let no_ca = ["bench", "--target", &target, "--model", "wdbc", "--ca", "/nowhere/ca.pem"];
    ended(&Command::new(BINARY).args(no_ca).output().unwrap(), 78, "/nowhere/ca.pem");
    let other = models().join("digits/1").display().to_string();
    let output = bench(&target, &["--model", "wdbc", "--data", &wdbc, "--against-bare", &other]);
    ended(&output, 1, "does not take what the server takes");
}

#[test]
fn refusals_are_not_measured_and_fail_with_the_servers_word() {
    let sidecar = Sidecar::start();
    let directory = TempDir::new().unwrap();
    let out = directory.path().join("r.json");
    let options = ["--model", "wdbc", "--synthetic", "uniform:-9000:-8000", "--out", out.to_str().unwrap()];
    let output = bench(&url(&sidecar), &options);
    ended(&output, 1, "64 of 64 requests are not answered");
    ended(&output, 1, "INVALID_ARGUMENT: inputs[0]");
    ended(&output, 1, "--data");
    assert!(!out.exists());
    // Who bears all errors has measured nothing all the same.
    let borne = [&options[..], &["--max-errors", "1"]].concat();
    ended(&bench(&url(&sidecar), &borne), 1, "ended without an answer");
    assert_eq!(json(&out)["passed"], false);
}

#[test]
fn two_of_the_same_pass_and_everything_is_written() {
    let (new, old) = (Sidecar::start(), Sidecar::start());
    let directory = TempDir::new().unwrap();
    let file = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(file("summary.md"), "# Job\n").unwrap();
    let bare = models().join("wdbc/1").display().to_string();
    let output = bench(
        &url(&new),
        &[
            "--against",
            &url(&old),
            "--model",
            "wdbc",
            "--data",
            &rows("wdbc"),
            "--connections",
            "2",
            "--concurrency",
            "3",
            "--max-regression",
            "1000",
            "--against-bare",
            &bare,
            "--out",
            &file("r.json"),
            "--junit",
            &file("r.xml"),
            "--markdown",
            &file("summary.md"),
        ],
    );
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.ends_with("passed\n"), "{told}");
    assert!(output.stderr.is_empty(), "no progress where nobody looks");

    let report = json(Path::new(&file("r.json")));
    assert_eq!((&report["schema"], &report["passed"]), (&"asepsis.bench/1".into(), &true.into()));
    assert_eq!(report["settings"]["load"]["concurrency"], 3);
    assert_eq!(report["settings"]["inputs"][0]["shape"], serde_json::json!([1, 30]));
    assert!(report["machine"]["cores"].as_u64().unwrap() >= 1);
    for side in ["target", "against"] {
        let side = &report[side];
        assert!(side["server"].as_str().unwrap().starts_with("asepsis "), "{side}");
        assert_eq!(side["blocks"].as_array().unwrap().len(), 4);
        let calls: u64 =
            side["blocks"].as_array().unwrap().iter().map(|b| b["calls"].as_u64().unwrap()).sum();
        assert_eq!(side["calls"], calls);
        let latency = |name: &str| side["latency_us"][name].as_f64().unwrap();
        assert!(latency("p50") <= latency("p90") && latency("p90") <= latency("p99"));
        assert!(latency("p99") <= latency("max") && latency("min") > 0.0);
        assert!(side["throughput_per_s"].as_f64().unwrap() > 0.0);
        assert!(side["client_cpu_us_per_call"].as_f64().unwrap() > 0.0);
    }
    assert_eq!(report["bare"]["model_sha256"].as_str().unwrap().len(), 64);
    let verdicts = report["comparisons"].as_array().unwrap();
    assert!(
        verdicts.iter().any(|v| v["with"] == "against" && v["figure"] == "p50" && v["verdict"] == "passed")
    );
    assert!(verdicts.iter().any(|v| v["with"] == "bare" && v["gate"].is_null()));

    let xml = std::fs::read_to_string(file("r.xml")).unwrap();
    let document = Document::parse(&xml).unwrap();
    let suite = document.descendants().find(|node| node.has_tag_name("testsuite")).unwrap();
    assert_eq!((suite.attribute("tests"), suite.attribute("failures")), (Some("4"), Some("0")));
    let cases =
        document.descendants().filter_map(|node| node.attribute("classname").and(node.attribute("name")));
    // The two servers' answers before: by default the p50 alone is gated.
    assert_eq!(cases.skip(2).collect::<Vec<_>>(), ["p50 over against", "verdict"]);
    let summary = std::fs::read_to_string(file("summary.md")).unwrap();
    assert!(summary.starts_with("# Job\n## Latency of `wdbc`: ✅ passed"), "{summary}");
}

#[test]
fn an_open_loop_counts_from_when_a_call_was_due() {
    const STALL: Duration = Duration::from_millis(200);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let calls = AtomicUsize::new(0);
    // 64 calls are tried, a handful warm up; then 400 are due in two seconds, of which this one is in the first.
    let target = unary::serve(&runtime, pki(), move |_| {
        if calls.fetch_add(1, Ordering::Relaxed) == 200 {
            std::thread::sleep(STALL);
        }
        unary::probabilities("echo".into(), vec![1, 2], vec![0; 8])
    });
    let directory = TempDir::new().unwrap();
    let out = directory.path().join("r.json");
    let mut command = command(&target);
    command.args([
        "--model",
        "echo",
        "--input",
        "image:FP32:-1,4",
        "--rate",
        "200",
        "--arrivals",
        "constant",
    ]);
    command.args(["--concurrency", "1", "--repetitions", "1", "--block", "2s", "--warmup", "40ms"]);
    let output = command.args(["--warmup-calls", "1", "--out"]).arg(&out).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let report = json(&out);
    assert_eq!(report["settings"]["load"]["open"]["arrivals"], "constant");
    let target = &report["target"];
    assert_eq!(target["calls"], 400);
    // One call met the stall, which is less than one in a hundred; 40 came due meanwhile, and half of them waited for
    // more than half of it.
    let p99 = target["latency_us"]["p99"].as_f64().unwrap();
    assert!(p99 > 1e6 * STALL.as_secs_f64() / 2.0, "{target}");
    let longest = |kind: &str| target[kind]["max"].as_f64().unwrap();
    assert!(longest("lateness_us") <= longest("latency_us"), "lateness is a part of latency");
}

/// A result of `wdbc` with the bare model beside it.
fn baseline(sidecar: &Sidecar, path: &Path, more: &[&str]) -> Output {
    let bare = models().join("wdbc/1").display().to_string();
    let wdbc = rows("wdbc");
    let options =
        ["--model", "wdbc", "--data", &wdbc, "--against-bare", &bare, "--out", path.to_str().unwrap()];
    bench(&url(sidecar), &[&options[..], more].concat())
}

#[test]
fn a_stored_result_is_compared_where_it_can_be_and_refused_where_not() {
    let sidecar = Sidecar::start();
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    let recorded = baseline(&sidecar, &path("b.json"), &[]);
    assert!(recorded.status.success(), "{recorded:?}");
    let stored = path("b.json").display().to_string();
    let same = baseline(&sidecar, &path("r.json"), &["--baseline", &stored, "--max-regression", "1000"]);
    assert!(same.status.success(), "{same:?}");
    let report = json(&path("r.json"));
    assert!(report["baseline"]["made"].is_string());
    assert!(
        report["comparisons"]
            .as_array()
            .unwrap()
            .iter()
            .any(|c| c["with"] == "baseline" && c["gate"] == 1000.0)
    );

    // Of a server that answered in a thousandth of the time.
    let mut faster = json(&path("b.json"));
    for block in faster["target"]["blocks"].as_array_mut().unwrap() {
        for figure in ["p50_us", "p99_us"] {
            block[figure] = (block[figure].as_f64().unwrap() / 1000.0).into();
        }
    }
    std::fs::write(path("faster.json"), faster.to_string()).unwrap();
    let stored = path("faster.json").display().to_string();
    let slower = baseline(&sidecar, &path("slower.json"), &["--baseline", &stored]);
    ended(&slower, 1, "times that of baseline");
    assert_eq!(json(&path("slower.json"))["passed"], false);

    for (field, value, says) in [
        ("/bare/model_sha256", Value::from("0".repeat(64)), "another model"),
        ("/settings/load/connections", Value::from(7), "--connections"),
        ("/settings/data/sha256", Value::from("0".repeat(64)), "--data"),
        ("/schema", Value::from("asepsis.bench/0"), "record it anew"),
    ] {
        let mut other = json(&path("b.json"));
        *other.pointer_mut(field).unwrap() = value;
        std::fs::write(path("other.json"), other.to_string()).unwrap();
        let stored = path("other.json").display().to_string();
        ended(&baseline(&sidecar, &path("no.json"), &["--baseline", &stored]), 78, says);
    }
}

/// The CI examples, parsed.
fn example(name: &str) -> serde_yaml_ng::Value {
    let text = std::fs::read_to_string(root().join("examples/ci").join(name)).unwrap();
    serde_yaml_ng::from_str(&text).unwrap()
}

#[test]
fn the_ci_examples_are_jobs_that_call_the_script_and_keep_its_results() {
    let github = example("github-actions.yml");
    assert_eq!(github["on"].as_str(), Some("pull_request"));
    let steps = github["jobs"]["bench"]["steps"].as_sequence().unwrap().clone();
    let runs: Vec<&str> = steps.iter().filter_map(|step| step["run"].as_str()).collect();
    let gitlab = example("gitlab-ci.yml");
    let script = gitlab["latency"]["script"].as_sequence().unwrap().clone();
    let script: Vec<&str> = script.iter().map(|line| line.as_str().unwrap()).collect();
    for lines in [runs, script] {
        let call = lines.iter().find(|line| line.contains("examples/ci/compare-builds")).unwrap();
        // OLD NEW RESULTS are its own; the rest are options of this version.
        let options: Vec<&str> = call.split_whitespace().skip(4).collect();
        assert!(options.contains(&"--max-regression"));
        let against = ["--model", "m", "--against", "http://127.0.0.1:1"];
        let output = bench("http://127.0.0.1:1", &[&against[..], &options].concat());
        assert_eq!(output.status.code(), Some(1), "an option that is none: {output:?}");
    }
    let kept = gitlab["latency"]["artifacts"]["reports"]["junit"].as_str().unwrap();
    assert_eq!(kept, "results/bench.xml");
    let uploaded =
        steps.iter().find(|step| step["uses"].as_str().is_some_and(|uses| uses.contains("upload")));
    assert!(uploaded.unwrap()["with"]["path"].as_str().unwrap().contains("results/bench.json"));
}

#[test]
fn the_script_of_the_ci_examples_measures_two_builds() {
    let directory = TempDir::new().unwrap();
    let results = directory.path().join("results");
    let run = |more: &[&str]| {
        let mut command = Command::new(root().join("examples/ci/compare-builds"));
        command.arg(root()).arg(root()).arg(&results);
        command.env("ASEPSIS_OLD", BINARY).env("ASEPSIS_NEW", BINARY).env("TMPDIR", directory.path());
        command.args(SHORT).args(more).output().unwrap()
    };
    let output = run(&["--max-regression", "1000"]);
    assert!(output.status.success(), "{output:?}");
    let written = |name: &str| -> PathBuf { results.join(name) };
    assert_eq!(json(&written("bench.json"))["settings"]["model"], "digits");
    Document::parse(&std::fs::read_to_string(written("bench.xml")).unwrap()).unwrap();
    assert!(std::fs::read_to_string(written("summary.md")).unwrap().contains("passed"));
    let output = run(&["--model"]);
    assert_eq!(output.status.code(), Some(64), "its exit status is that of the benchmark: {output:?}");
}
