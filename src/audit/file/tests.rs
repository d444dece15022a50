use super::*;
use crate::audit::verify::{Report, VerifyError, verify};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn settings(directory: &Path) -> Settings {
    Settings { directory: directory.join("audit"), ..Settings::default() }
}

fn append(ledger: &FileLedger, count: u32) {
    for number in 0..count {
        ledger.append(&Record::trial(number)).unwrap();
    }
}

fn file(settings: &Settings, name: &str) -> PathBuf {
    settings.directory.join(name)
}

fn tear(path: &Path, bytes: &[u8]) {
    std::fs::OpenOptions::new().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

fn verified(settings: &Settings) -> Report {
    verify(&settings.directory).unwrap()
}

#[test]
fn a_second_process_may_not_write_to_the_directory() {
    let home = tempfile::tempdir().unwrap();
    let settings = settings(home.path());
    let first = FileLedger::open(&settings).unwrap();
    assert!(matches!(FileLedger::open(&settings), Err(OpenError::InUse(_))));
    drop(first);
    assert!(FileLedger::open(&settings).is_ok());
}

#[test]
fn nothing_is_attached_to_an_end_that_no_interrupted_write_explains() {
    let home = tempfile::tempdir().unwrap();
    let settings = settings(home.path());
    append(&FileLedger::open(&settings).unwrap(), 2);
    tear(&file(&settings, "00000001.jsonl"), b"one\ntwo\n");
    assert!(matches!(FileLedger::open(&settings), Err(OpenError::Damaged(_))));
}

#[test]
fn a_ledger_whose_storage_is_gone_refuses_and_recovers_when_it_is_back() {
    let home = tempfile::tempdir().unwrap();
    let settings = settings(home.path());
    let ledger = FileLedger::open(&settings).unwrap();
    append(&ledger, 2);
    ledger.shared.writer().abandon_file();
    let aside = home.path().join("aside");
    std::fs::rename(&settings.directory, &aside).unwrap();
    assert!(!ledger.writable());
    assert!(ledger.append(&Record::trial(3)).is_err());
    std::fs::rename(&aside, &settings.directory).unwrap();
    assert!(!ledger.took_last());
    assert!(ledger.writable());
    assert!(ledger.took_last());
    append(&ledger, 1);
    let report = verified(&settings);
    assert_eq!((report.head.seq, report.files), (3, 2));
}

#[test]
fn a_ledger_lags_until_its_records_are_flushed() {
    let home = tempfile::tempdir().unwrap();
    let settings = Settings { fsync_interval_ms: 86_400_000, ..settings(home.path()) };
    let ledger = FileLedger::open(&settings).unwrap();
    let later = clock::instant() + Duration::from_secs(7);
    assert_eq!(ledger.lag(later), Duration::ZERO);
    append(&ledger, 2);
    assert!(ledger.lag(later) > Duration::from_secs(1));
    ledger.shared.flush_and_log();
    assert_eq!(ledger.lag(later), Duration::ZERO);
}

#[test]
fn a_full_device_is_an_error_and_not_a_record() {
    let home = tempfile::tempdir().unwrap();
    let settings = settings(home.path());
    std::fs::create_dir(&settings.directory).unwrap();
    std::os::unix::fs::symlink("/dev/full", file(&settings, "00000001.jsonl")).unwrap();
    let ledger = FileLedger::open(&settings).unwrap();
    for number in 0..3 {
        assert!(matches!(ledger.append(&Record::trial(number)), Err(LedgerError::Io(_))));
    }
    assert_eq!(ledger.shared.writer().take_unflushed().0, 0);
}

#[test]
fn a_flush_that_failed_fails_everyone_who_waited_for_it() {
    let home = tempfile::tempdir().unwrap();
    let settings = Settings { durability: Durability::Always, ..settings(home.path()) };
    let ledger = FileLedger::open(&settings).unwrap();
    append(&ledger, 3);
    ledger.shared.flushed.lock().unwrap().lost_through = 2;
    assert!(matches!(ledger.shared.flush_through(2), Err(LedgerError::Broken)));
    assert!(ledger.shared.flush_through(3).is_ok());
}

#[test]
fn a_torn_line_stays_as_evidence_and_the_chain_goes_on_in_the_next_file() {
    for torn in ["{\"seq\":3,\"time\":\"2026", "{}\n", "\0\0\0\0"] {
        let home = tempfile::tempdir().unwrap();
        let settings = settings(home.path());
        append(&FileLedger::open(&settings).unwrap(), 2);
        let first = file(&settings, "00000001.jsonl");
        tear(&first, torn.as_bytes());
        let evidence = std::fs::read(&first).unwrap();
        assert!(matches!(verify(&settings.directory), Err(VerifyError::TornEnd(_))));

        append(&FileLedger::open(&settings).unwrap(), 2);
        assert_eq!(std::fs::read(&first).unwrap(), evidence);
        let report = verified(&settings);
        assert_eq!((report.head.seq, report.files), (4, 2));
        assert_eq!(report.torn.len(), 1);
        assert!(report.torn[0].to_string().ends_with("00000001.jsonl:3"), "{}", report.torn[0]);
    }
}

#[test]
fn a_file_that_holds_nothing_but_a_torn_line_is_stepped_over() {
    let home = tempfile::tempdir().unwrap();
    let settings = settings(home.path());
    append(&FileLedger::open(&settings).unwrap(), 2);
    tear(&file(&settings, "00000001.jsonl"), b"{");
    std::fs::write(file(&settings, "00000002.jsonl"), b"{\"seq\"").unwrap();
    append(&FileLedger::open(&settings).unwrap(), 1);
    let report = verified(&settings);
    assert_eq!((report.head.seq, report.files, report.torn.len()), (3, 3, 2));
}

#[test]
fn an_empty_last_file_is_used() {
    let home = tempfile::tempdir().unwrap();
    let settings = settings(home.path());
    append(&FileLedger::open(&settings).unwrap(), 2);
    std::fs::write(file(&settings, "00000002.jsonl"), b"").unwrap();
    append(&FileLedger::open(&settings).unwrap(), 1);
    let report = verified(&settings);
    assert_eq!((report.head.seq, report.files, report.torn.len()), (3, 2, 0));
}

#[test]
fn the_chain_goes_on_over_files_and_restarts() {
    let home = tempfile::tempdir().unwrap();
    let settings = Settings { rotate_bytes: 1_500, ..settings(home.path()) };
    for _ in 0..4 {
        append(&FileLedger::open(&settings).unwrap(), 5);
    }
    let report = verified(&settings);
    assert_eq!(report.head.seq, 20);
    assert!(report.files > 4, "{} files", report.files);
    for (_, path) in Segments::list(&settings.directory).unwrap().iter() {
        assert!(std::fs::metadata(path).unwrap().len() <= 1_500);
    }
}

#[test]
fn many_threads_write_one_chain() {
    for durability in [Durability::Interval, Durability::Always] {
        let home = tempfile::tempdir().unwrap();
        let settings = Settings { durability, rotate_bytes: 10_000, ..settings(home.path()) };
        let ledger = FileLedger::open(&settings).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| append(&ledger, 50));
            }
        });
        drop(ledger);
        assert_eq!(verified(&settings).head.seq, 200);
    }
}

#[test]
fn only_the_owner_may_read_the_log() {
    let home = tempfile::tempdir().unwrap();
    let settings = settings(home.path());
    append(&FileLedger::open(&settings).unwrap(), 1);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&settings.directory), 0o700);
    assert_eq!(mode(&file(&settings, "00000001.jsonl")), 0o600);
}

#[test]
fn an_unknown_setting_is_refused() {
    assert!(toml::from_str::<Settings>("durable = true").is_err());
    let read: Settings = toml::from_str("durability = \"always\"").unwrap();
    assert_eq!(read, Settings { durability: Durability::Always, ..Settings::default() });
}
