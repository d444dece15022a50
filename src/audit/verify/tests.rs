use super::*;
use crate::audit::file::{FileLedger, Settings};
use crate::audit::{Ledger, Record};
use proptest::prelude::*;

/// A log of nine records in three files.
fn log(home: &Path) -> PathBuf {
    let directory = home.join("audit");
    let settings = Settings { directory: directory.clone(), rotate_bytes: 1_500, ..Settings::default() };
    let ledger = FileLedger::open(&settings).unwrap();
    for number in 0..9 {
        ledger.append(&Record::trial(number)).unwrap();
    }
    directory
}

fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    text.split_inclusive('\n').map(str::to_owned).collect()
}

#[test]
fn a_directory_without_a_log_is_no_good_log() {
    let home = tempfile::tempdir().unwrap();
    assert!(matches!(verify(home.path()), Err(VerifyError::Empty(_))));
    assert!(matches!(verify(&home.path().join("absent")), Err(VerifyError::Io { .. })));
}

#[test]
fn a_dropped_line_is_named_by_file_and_line() {
    let home = tempfile::tempdir().unwrap();
    let directory = log(home.path());
    let file = directory.join("00000002.jsonl");
    let mut kept = lines(&file);
    let (removed, before) = (kept.remove(1), kept.len());
    assert!(before >= 2 && removed.ends_with('\n'));
    std::fs::write(&file, kept.concat()).unwrap();
    let error = verify(&directory).unwrap_err().to_string();
    assert!(error.contains("00000002.jsonl:2: the line has seq"), "{error}");
}

#[test]
fn swapped_lines_and_a_missing_file_are_noticed() {
    let home = tempfile::tempdir().unwrap();
    let directory = log(home.path());
    let file = directory.join("00000001.jsonl");
    let mut kept = lines(&file);
    kept.swap(0, 1);
    std::fs::write(&file, kept.concat()).unwrap();
    assert!(matches!(verify(&directory), Err(VerifyError::Line { .. })));

    std::fs::remove_file(&file).unwrap();
    assert!(matches!(verify(&directory), Err(VerifyError::MissingFile(_))));
}

#[test]
fn a_line_longer_than_any_line_is_refused_without_reading_it_whole() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("00000001.jsonl"), vec![b'x'; 3 * LINE_BYTES_MAX]).unwrap();
    let error = verify(home.path()).unwrap_err().to_string();
    assert!(error.contains("00000001.jsonl:1: not a whole line"), "{error}");
}

#[test]
fn an_untouched_log_is_good() {
    let home = tempfile::tempdir().unwrap();
    let report = verify(&log(home.path())).unwrap();
    assert_eq!((report.records, report.files, report.torn.len()), (9, 3, 0));
    assert_eq!(report.head.seq, report.records);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_single_changed_byte_in_any_file_is_noticed(
        number in 1..=3_u32, place: prop::sample::Index, change in 1..=255_u8,
    ) {
        let home = tempfile::tempdir().unwrap();
        let directory = log(home.path());
        let file = directory.join(format!("{number:08}.jsonl"));
        let mut bytes = std::fs::read(&file).unwrap();
        let place = place.index(bytes.len());
        bytes[place] ^= change;
        std::fs::write(&file, bytes).unwrap();
        prop_assert!(verify(&directory).is_err());
    }
}
