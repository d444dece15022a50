//! What is no recording is refused by its line, a torn end is cut, and no file grows beyond its bound.

use super::*;
use proptest::prelude::*;
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

fn row(class: Option<usize>, scores: &[(Detector, f64)]) -> Measured {
    let score = |(detector, value): &(Detector, f64)| (*detector, Score::new(*value).unwrap());
    Measured { class, scores: scores.iter().map(score).collect() }
}

fn header() -> Header {
    Header::new("digits", "1", "", "ab12")
}

fn text(rows: &[Measured]) -> String {
    let mut text = serde_json::to_string(&header()).unwrap() + "\n";
    for row in rows {
        text += &(serde_json::to_string(&Line::new(row, 1_700_000_000)).unwrap() + "\n");
    }
    text
}

fn two() -> Vec<Measured> {
    let scores = |a, b| [(Detector::Confidence, a), (Detector::Consistency(1), b)];
    vec![row(Some(3), &scores(0.25, 1.0)), row(None, &scores(-2.5e-7, 0.0))]
}

#[test]
fn what_is_no_recording_is_refused_with_its_line() {
    let whole = text(&two());
    let lines: Vec<&str> = whole.lines().collect();
    let with = |last: &str| format!("{}\n{}\n{last}\n", lines[0], lines[1]);
    for (text, wanted) in [
        (String::new(), "no whole line"),
        (lines[0].to_owned(), "no whole line"),
        ("{}\n".into(), "line 1"),
        (whole.replacen("\"format\":1", "\"format\":2", 1), "format 2"),
        (whole.replacen("\"site\"", "\"patient\"", 1), "line 1"),
        (with(""), "line 3"),
        (with("{\"hour\":0,\"scores\":{}}"), "line 3: other detectors"),
        (with("{\"hour\":0,\"scores\":{\"confidence\":1}}"), "line 3: other detectors"),
        (with("{\"hour\":0,\"scores\":{\"nonsense\":1}}"), "line 3"),
        (with("{\"hour\":0,\"scores\":{\"confidence\":1e999,\"consistency.1\":0}}"), "line 3"),
        (with("{\"hour\":0,\"name\":\"Doe\",\"scores\":{\"confidence\":1,\"consistency.1\":0}}"), "line 3"),
        (with("[1,2]"), "line 3"),
    ] {
        let refused = Recording::parse(text.as_bytes()).err().unwrap_or_else(|| panic!("{text}"));
        assert!(refused.to_string().starts_with(wanted), "{refused}: {text}");
    }
}

#[test]
fn a_line_says_the_hour_and_not_the_moment() {
    let line = serde_json::to_value(Line::new(&two()[0], 1_700_000_123)).unwrap();
    assert_eq!(line["hour"], 1_699_999_200);
    let keys: Vec<&String> = line.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["class", "hour", "scores"]);
}

#[test]
fn a_recording_is_bounded_private_and_goes_on_where_it_ended() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("digits.jsonl");
    let line = Line::new(&two()[0], 0);
    let mut writer = Writer::open(&path, &header(), 3).unwrap();
    assert!(writer.append(&line).unwrap() && writer.append(&line).unwrap());
    assert!(Writer::open(&path, &header(), 3).is_err(), "one process at a time");
    drop(writer);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut writer = Writer::open(&path, &header(), 3).unwrap();
    assert!(!writer.is_full() && writer.append(&line).unwrap());
    assert!(writer.is_full() && !writer.append(&line).unwrap());
    assert_eq!(Recording::parse(&std::fs::read(&path).unwrap()).unwrap().rows.len(), 3);
}

#[test]
fn what_a_killed_process_left_is_cut_wherever_it_was_killed() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("digits.jsonl");
    let whole = text(&two());
    let first = whole.find('\n').unwrap() + 1;
    let second = first + whole[first..].find('\n').unwrap() + 1;
    for end in 0..=whole.len() {
        std::fs::write(&path, &whole[..end]).unwrap();
        let mut writer = Writer::open(&path, &header(), 10).unwrap();
        writer.append(&Line::new(&two()[0], 0)).unwrap();
        drop(writer);
        let recording = Recording::parse(&std::fs::read(&path).unwrap()).unwrap();
        let kept = usize::from(end >= second) + usize::from(end == whole.len());
        assert_eq!((recording.rows.len(), recording.torn), (kept + 1, false), "killed at {end}");
    }
}

#[test]
fn a_file_that_is_not_ours_is_left_alone() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("notes.txt");
    let other = text(&[]).replacen("ab12", "cd34", 1);
    for foreign in ["patients", "patients\n", &"x".repeat(70_000), &other] {
        std::fs::write(&path, foreign).unwrap();
        assert!(Writer::open(&path, &header(), 10).is_err(), "{foreign:.20}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), foreign);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        drop(Recording::parse(&bytes));
        let mut behind = text(&two()).into_bytes();
        behind.extend(bytes);
        drop(Recording::parse(&behind));
    }

    #[test]
    fn what_is_written_is_read_and_a_torn_end_costs_its_own_line_alone(
        rows in proptest::collection::vec((proptest::option::of(0_usize..10), -1e9_f64..1e9, 0.0_f64..1.0), 1..20),
        cut in 0_usize..40,
    ) {
        let rows: Vec<Measured> = rows.iter()
            .map(|(class, a, b)| row(*class, &[(Detector::Confidence, *a), (Detector::Nearest, *b)]))
            .collect();
        let whole = text(&rows);
        let read = Recording::parse(whole.as_bytes()).unwrap();
        prop_assert_eq!(read.header, header());
        prop_assert_eq!(read.rows.len(), rows.len());
        for (read, row) in read.rows.iter().zip(&rows) {
            prop_assert_eq!(read.class, row.class);
            for ((name, score), (wanted, value)) in read.scores.iter().zip(&row.scores) {
                prop_assert_eq!(name, wanted);
                prop_assert!((score.value() - value.value()).abs() <= value.value().abs() * 1e-15);
            }
        }
        // Every line is longer than that.
        let torn = Recording::parse(&whole.as_bytes()[..whole.len() - cut]).unwrap();
        prop_assert_eq!(torn.rows.len(), rows.len() - usize::from(cut > 0));
        prop_assert_eq!(torn.torn, cut > 0);
    }
}
