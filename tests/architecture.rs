//! The house rules that a compiler does not know: which stage may use which, where the boxed crates stand,
//! and how long a file may be.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines of code and comments in one file; split by meaning beyond it.
const LINES_MAX: usize = 400;

/// Crates behind which there is foreign code or a wire, and the only places that may name them.
const BOXED: &[(&str, &[&str])] = &[
    ("ort", &["inference/ort.rs", "inference/ort/"]),
    ("h2", &["transport/"]),
    ("tonic", &["transport/", "transport.rs", "inference/upstream.rs"]),
    ("rustls", &["transport/tls.rs", "transport/tls/", "secret/", "inference/upstream.rs"]),
    ("tokio_rustls", &["transport/tls.rs", "transport/tls/"]),
    ("webpki", &["transport/tls/"]),
    ("opentelemetry", &["telemetry/", "telemetry.rs"]),
    ("prometheus_client", &["telemetry/", "telemetry.rs"]),
];

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every source file by its path below `src`, but for files of unit tests.
fn files() -> BTreeMap<String, String> {
    fn collect(directory: &Path, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !path.ends_with("tests.rs")
            {
                let name = path.strip_prefix(src()).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    collect(&src(), &mut found);
    assert!(found.len() > 30, "the source tree was not found");
    found
}

/// The part of a file that is not its tests, without comments.
fn code(text: &str) -> String {
    let production = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = production.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The modules in the order in which `lib.rs` lists them.
fn order() -> Vec<String> {
    let lib = fs::read_to_string(src().join("lib.rs")).unwrap();
    let modules = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    modules.map(str::to_owned).collect()
}

fn stage_of(file: &str) -> &str {
    file.split('/').next().unwrap().trim_end_matches(".rs")
}

/// `name::` as the root of a path: not `other_name::`, not `x::name::`.
fn names_root(code: &str, name: &str) -> bool {
    let wanted = format!("{name}::");
    code.match_indices(&wanted).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':')
    }) || code.contains(&format!("use {name};"))
}

/// Stages that a file uses, by `crate::stage`.
fn uses<'a>(code: &str, order: &'a [String]) -> Vec<&'a String> {
    let used = |stage: &&String| {
        code.match_indices(&format!("crate::{stage}")).any(|(at, found)| {
            let after = code[at + found.len()..].chars().next();
            after.is_none_or(|c| !c.is_alphanumeric() && c != '_')
        })
    };
    order.iter().filter(used).collect()
}

#[test]
fn a_stage_uses_only_what_stands_above_it() {
    let order = order();
    let vocabulary =
        order.iter().position(|module| module == "trace").expect("the vocabulary ends with trace");
    let place = |stage: &str| order.iter().position(|module| module == stage);
    let mut wrong = Vec::new();
    for (file, text) in files() {
        let Some(own) = place(stage_of(&file)) else { continue };
        for used in uses(&code(&text), &order) {
            let other = place(used).unwrap();
            if other > own && other > vocabulary {
                wrong.push(format!("{file} uses {used}, which stands below it"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_is_listed_in_the_order_of_a_request() {
    let order = order();
    let known = |file: &&String| !["lib", "main"].contains(&stage_of(file));
    let files = files();
    let unlisted: Vec<_> =
        files.keys().filter(known).filter(|file| !order.contains(&stage_of(file).to_owned())).collect();
    assert!(unlisted.is_empty(), "not in lib.rs: {unlisted:?}");
}

#[test]
fn a_crate_with_a_wire_or_foreign_code_behind_it_is_named_in_its_box_alone() {
    let mut wrong = Vec::new();
    for (file, text) in files() {
        for (name, boxes) in BOXED {
            let inside =
                boxes.iter().any(|place| file == *place || (place.ends_with('/') && file.starts_with(place)));
            if !inside && names_root(&code(&text), name) {
                wrong.push(format!("{file} names {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn time_is_asked_in_one_place() {
    let asks = |text: &String| {
        let code = code(text);
        code.contains("Instant::now") || code.contains("SystemTime::now")
    };
    let files = files();
    let asking: Vec<_> = files.iter().filter(|(_, text)| asks(text)).map(|(file, _)| file.as_str()).collect();
    assert_eq!(asking, ["clock.rs"]);
}

#[test]
fn no_file_is_longer_than_one_meaning() {
    let long: Vec<_> = files()
        .into_iter()
        .map(|(file, text)| (file, text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .collect();
    assert!(long.is_empty(), "longer than {LINES_MAX} lines: {long:?}");
}

#[test]
fn every_module_says_first_which_question_it_answers() {
    let silent: Vec<_> =
        files().into_iter().filter(|(_, text)| !text.starts_with("//! ")).map(|(f, _)| f).collect();
    assert!(silent.is_empty(), "no `//!` on the first line: {silent:?}");
}

#[test]
fn unsafe_code_is_forbidden_for_the_whole_crate() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    assert!(manifest.contains("unsafe_code = \"forbid\""));
    assert!(manifest.contains("overflow-checks = true"));
}

/// The names of metrics that this code registers, without the prefix.
fn metrics(code: &str) -> Vec<&str> {
    let calls = ["gauge(", "counter(", "register(", "register_with_unit("];
    let after = calls.iter().flat_map(|call| code.split(call).skip(1));
    after.filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next()).collect()
}

#[test]
fn every_metric_stands_in_the_manual() {
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/OPERATIONS.md");
    let manual = fs::read_to_string(manual).unwrap();
    let rows: Vec<&str> = manual.lines().filter(|line| line.starts_with("| `asepsis_")).collect();
    let files = files();
    let code: Vec<String> = files.values().map(|text| code(text)).collect();
    let names: Vec<&str> = code.iter().flat_map(|code| metrics(code)).collect();
    assert!(names.len() > 25, "{names:?}");
    let missing: Vec<_> = names
        .into_iter()
        .filter(|name| {
            let known = ["", "_total", "_seconds", "_info"].map(|end| format!("| `asepsis_{name}{end}` |"));
            !rows.iter().any(|row| known.iter().any(|start| row.starts_with(start)))
        })
        .collect();
    assert!(missing.is_empty(), "not in the table of docs/OPERATIONS.md: {missing:?}");
}

#[test]
fn the_test_itself_would_notice() {
    assert_eq!(metrics("t.gauge(\n  \"a_b\",\n \"help\"); r.register_with_unit(\"c\", x)"), ["a_b", "c"]);
    assert!(names_root("use ort::Session;", "ort"));
    assert!(names_root("let x = ort::init();", "ort"));
    assert!(!names_root("crate::inference::ort::load()", "ort"));
    assert!(!names_root("tokio_rustls::X", "rustls"));
    let order = vec!["audit".to_owned(), "audit_log".to_owned()];
    assert_eq!(uses("use crate::audit_log::X;", &order), [&order[1]]);
}
