//! A calibration from production traffic, from end to end: recorded at a real sidecar, calibrated, and served.

use crate::house::{batch, library, models, samples};
use crate::probes::until;
use crate::sidecar::{PATIENCE, Sidecar, block_on, refused};
use asepsis::calibration::recording::Recording;
use asepsis::config::Config;
use asepsis::decision::Override;
use asepsis::transport::client::Outcome;
use ndarray::{ArrayD, IxDyn, OwnedRepr};
use ndarray_npy::{NpzReader, ReadableElement};
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

const ROLES: &str = r#"
[roles.everything]
members = ["spiffe://asepsis.dev/client"]
permissions = [{ rpcs = ["*"], models = ["*"] }]
"#;

/// A repository with a model of the clone alone.
fn repository(directory: &Path, model: &str) -> PathBuf {
    let to = directory.join("models").join(model).join("1");
    std::fs::create_dir_all(&to).unwrap();
    for entry in std::fs::read_dir(models().join(model).join("1")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    directory.join("models")
}

/// Clean rows that no model was trained on.
fn clean<T: ReadableElement + Copy>(model: &str, value: impl Fn(T) -> f32) -> Vec<Vec<f32>> {
    let path = models().join(model).join("calibration.npz");
    let mut npz = NpzReader::new(File::open(path).unwrap()).unwrap();
    let array: ArrayD<T> = npz.by_name::<OwnedRepr<T>, IxDyn>("input").unwrap();
    array.outer_iter().map(|row| row.iter().map(|element| value(*element)).collect()).collect()
}

fn tables() -> Vec<Vec<f32>> {
    clean("wdbc", |value: f32| value)
}

fn recording(share: f64, rows_max: usize, models: PathBuf) -> impl FnOnce(&mut Config) {
    move |config| {
        config.models.repository = models;
        let directory = config.audit.directory.with_file_name("recorded");
        config.models.record.directory = Some(directory);
        (config.models.record.share, config.models.record.rows_max) = (share, rows_max);
        // Nothing is kept back, and still everything is measured.
        config.policy.shadow = true;
    }
}

fn send(sidecar: &Sidecar, model: &str, rows: &[Vec<f32>]) {
    block_on(async {
        let mut client = sidecar.client("client").await;
        for rows in rows.chunks(8) {
            let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
            let outcome = client.infer(batch(model, &rows), PATIENCE).await;
            assert!(matches!(outcome, Outcome::Answer(_)), "{outcome:?}");
        }
    });
}

/// The one recording, as it stands.
fn recorded(directory: &Path) -> Option<(PathBuf, Recording)> {
    let mut files = std::fs::read_dir(directory.join("recorded")).unwrap();
    let path = files.next()?.unwrap().path();
    assert!(files.next().is_none(), "one model, one calibration, one file");
    let recording = Recording::parse(&std::fs::read(&path).unwrap()).ok()?;
    Some((path, recording))
}

fn rows(directory: &Path) -> usize {
    recorded(directory).map_or(0, |(_, recording)| recording.rows.len())
}

fn calibrate(model: &Path, file: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_asepsis"))
        .arg("calibrate")
        .args(["--model".as_ref(), model.as_os_str(), "--recorded".as_ref(), file.as_os_str()])
        .args(["--library".as_ref(), library().as_os_str()])
        .args(more)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn without_data_both_ways_to_give_them_are_named() {
    let calibrate = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_asepsis"));
        command.args(["calibrate", "--model", "models/wdbc/1"]).args(more).output().unwrap()
    };
    let refused = calibrate(&[]);
    assert_eq!(refused.status.code(), Some(64), "{}", said(&refused));
    assert!(said(&refused).contains("<--clean <CLEAN>|--recorded <FILE.jsonl>>"), "{}", said(&refused));
    let refused = calibrate(&["--clean", "a.npz", "--recorded", "b.jsonl", "--site", "ward"]);
    assert!(said(&refused).contains("cannot be used with"), "{}", said(&refused));
}

#[test]
fn what_a_site_sent_becomes_its_calibration_and_serves() {
    let home = TempDir::new().unwrap();
    let repository = repository(home.path(), "digits");
    let (model, rows_sent) =
        (repository.join("digits/1"), clean("digits", |level: u8| f32::from(level) / 255.0));
    let rows_sent = &rows_sent[..600];
    let sidecar = Sidecar::start_under(ROLES, recording(1.0, 10_000, repository.clone()));
    send(&sidecar, "digits", rows_sent);
    until("every row recorded", || rows(sidecar.directory()) == rows_sent.len());
    let left = sidecar.stop();
    let (file, _) = recorded(left.path()).unwrap();
    let mode = std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "{mode:o}");
    let text = std::fs::read_to_string(&file).unwrap();
    for word in ["principal", "client", "spiffe", "embedding", "input", "request"] {
        assert!(!text.contains(word), "{word}");
    }

    for (more, wanted) in [
        (&[][..], "--site"),
        (&["--site", ""][..], "--site"),
        (&["--site", "ward", "--fit", "x.npz"][..], "cannot be used with"),
    ] {
        let refused = calibrate(&model, &file, more);
        assert!(!refused.status.success() && said(&refused).contains(wanted), "{}", said(&refused));
    }
    let report = home.path().join("report.html");
    let made = calibrate(&model, &file, &["--site", "ward", "--report", report.to_str().unwrap()]);
    assert!(made.status.success(), "{}", said(&made));
    assert!(said(&made).contains("calibration-ward.json"), "{}", said(&made));
    let page = std::fs::read_to_string(&report).unwrap();
    assert!(page.contains("What is promised") && page.contains("recorded, not screened"), "{page}");
    assert!(page.contains("of 600 rows were judged anomalous") && !page.contains("clean data"), "{page}");
    assert!(!page.contains("accepted ("), "nobody had to accept anything");

    let sidecar = Sidecar::start_under(ROLES, |config| {
        config.models.repository.clone_from(&repository);
        config.models.site = "ward".into();
        let own = Override { alpha: Some(0.05), ..Override::default() };
        config.models.policy.insert("digits".into(), own);
    });
    block_on(async {
        let mut client = sidecar.client("client").await;
        let mut answered = 0;
        for row in &rows_sent[..40] {
            let outcome = client.infer(batch("digits", &[row]), PATIENCE).await;
            answered += usize::from(matches!(outcome, Outcome::Answer(_)));
        }
        assert!(answered > 30, "{answered} of 40 of its own rows");
        let attacked = samples("digits").attacked;
        let attacked: Vec<&[f32]> = attacked.iter().map(Vec::as_slice).collect();
        let attacked = refused(&mut client, batch("digits", &attacked)).await;
        assert_eq!(attacked.reason.as_deref(), Some("anomalous"));
    });
    drop(sidecar);

    // Under another name it is the calibration of no site.
    std::fs::copy(model.join("calibration-ward.json"), model.join("calibration-other.json")).unwrap();
    let mut config = crate::sidecar::config(home.path());
    config.access.policy = home.path().join("access.toml");
    std::fs::write(&config.access.policy, ROLES).unwrap();
    config.models.repository.clone_from(&repository);
    config.models.site = "other".into();
    let refused = asepsis::app::App::start(&config).err().unwrap().to_string();
    assert!(refused.contains("calibration-other.json was made for the site \"ward\""), "{refused}");
    std::fs::remove_file(model.join("calibration-other.json")).unwrap();

    // Another calibration has taken the place of the one that the rows were measured by.
    let base = model.join("calibration.json");
    let other = std::fs::read_to_string(&base).unwrap().replacen("\"created\":", "\"created\": ", 1);
    std::fs::write(&base, other).unwrap();
    let refused = calibrate(&model, &file, &["--site", "other"]);
    assert!(said(&refused).contains("recorded under another calibration.json"), "{}", said(&refused));
    assert!(!model.join("calibration-other.json").exists());
}

#[test]
fn rows_unlike_the_promise_are_refused_until_somebody_answers_for_them() {
    let home = TempDir::new().unwrap();
    let repository = repository(home.path(), "wdbc");
    let model = repository.join("wdbc/1");
    let sidecar = Sidecar::start_under(ROLES, recording(1.0, 10_000, repository));
    let attacked = samples("wdbc").attacked;
    let mixed: Vec<Vec<f32>> =
        tables().into_iter().take(100).chain(attacked.iter().cycle().take(60).cloned()).collect();
    send(&sidecar, "wdbc", &mixed);
    until("every row recorded", || rows(sidecar.directory()) == mixed.len());
    let left = sidecar.stop();
    let (file, _) = recorded(left.path()).unwrap();
    let refused = calibrate(&model, &file, &["--site", "ward"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("add --accept-shift"), "{}", said(&refused));
    assert!(!model.join("calibration-ward.json").exists());
    let report = home.path().join("report.html");
    let options = ["--site", "ward", "--accept-shift", "--report", report.to_str().unwrap()];
    let made = calibrate(&model, &file, &options);
    assert!(std::fs::read_to_string(&report).unwrap().contains("accepted (`--accept-shift`)"));
    assert!(made.status.success() && model.join("calibration-ward.json").exists(), "{}", said(&made));
}

#[test]
fn a_recording_never_holds_more_rows_than_it_may_and_goes_on_after_a_restart() {
    let home = TempDir::new().unwrap();
    let repository = repository(home.path(), "wdbc");
    let mut sent = tables();
    sent.truncate(16);
    let sidecar = Sidecar::start_under(ROLES, recording(1.0, 20, repository.clone()));
    send(&sidecar, "wdbc", &sent);
    until("16 rows", || rows(sidecar.directory()) == 16);
    let left = sidecar.stop();
    // As a process that was killed in the middle of a line leaves it.
    let (file, _) = recorded(left.path()).unwrap();
    let torn = std::fs::read_to_string(&file).unwrap() + "{\"hour\":17000";
    std::fs::write(&file, torn).unwrap();
    let directory = left.path().join("recorded");
    let sidecar = Sidecar::start_under(ROLES, |config| {
        recording(1.0, 20, repository)(config);
        config.models.record.directory = Some(directory);
    });
    send(&sidecar, "wdbc", &sent);
    until("20 rows", || rows(left.path()) == 20);
    send(&sidecar, "wdbc", &sent);
    drop(sidecar);
    assert_eq!(rows(left.path()), 20);
}

#[test]
fn nothing_is_recorded_unless_it_is_asked_for() {
    let home = TempDir::new().unwrap();
    let repository = repository(home.path(), "wdbc");
    let sidecar = Sidecar::start_under(ROLES, |config| config.models.repository = repository);
    send(&sidecar, "wdbc", &tables()[..16]);
    let left = sidecar.stop();
    let names = std::fs::read_dir(left.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let beside: Vec<_> = names.filter(|name| name != "audit" && name != "access.toml").collect();
    assert!(beside.is_empty(), "{beside:?}");
}
