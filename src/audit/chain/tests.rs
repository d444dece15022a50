use super::*;
use crate::trace::RequestId;
use proptest::prelude::*;

fn record(detail: &str) -> Record {
    Record {
        time_us: 1_795_327_800_123_456,
        request_id: RequestId::new(0xabcd),
        client_id: "case-7".to_owned(),
        principal: "spiffe://clinic/ward".to_owned(),
        detail: detail.to_owned(),
        ..Record::trial(0)
    }
}

fn sealed(head: &Head, record: &Record) -> (Vec<u8>, Head) {
    let mut line = Vec::new();
    let next = head.seal(record, &mut line).unwrap();
    (line, next)
}

fn time(unix_us: i64) -> String {
    let mut text = [0; 27];
    write_time(unix_us, &mut text);
    String::from_utf8(text.to_vec()).unwrap()
}

#[test]
fn a_line_out_of_its_place_is_noticed() {
    let (first, head) = sealed(&Head::START, &record(""));
    let (second, after) = sealed(&head, &record(""));
    assert_eq!(Head::START.follow(&second), Err(LineError::Seq { expected: 1, found: 2 }));
    assert_eq!(after.follow(&first), Err(LineError::Seq { expected: 3, found: 1 }));
    let elsewhere = Head { seq: 1, hash: Hash::ZERO };
    assert_eq!(elsewhere.follow(&second), Err(LineError::Prev));
    assert_eq!(head.follow(&second), Ok(after));
}

#[test]
fn a_line_cut_short_anywhere_is_noticed() {
    let (line, _) = sealed(&Head::START, &record("x"));
    for length in 0..line.len() {
        assert!(Head::START.follow(&line[..length]).is_err(), "cut to {length} bytes");
    }
}

#[test]
fn a_line_longer_than_the_limit_is_not_written() {
    let mut line = Vec::new();
    let error = Head::START.seal(&record(&"x".repeat(LINE_BYTES_MAX)), &mut line).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn a_line_is_byte_for_byte_what_scripts_rely_on() {
    let (line, head) = sealed(&Head::START, &record("say \"no\""));
    let text = String::from_utf8(line.clone()).unwrap();
    let expected = concat!(
        r#"{"seq":1,"time":"2026-11-22T06:10:00.123456Z","request_id":"0000000000000000000000000000abcd","#,
        r#""client_id":"case-7","principal":"spiffe://clinic/ward","role":"clinician","rpc":"ModelInfer","#,
        r#""model":"wdbc","version":"1","action":"allowed","reason":"clean","status":"OK","#,
        r#""detail":"say \"no\"","prev":"0000000000000000000000000000000000000000000000000000000000000000""#,
    );
    let hash = crate::digest::sha256(expected.as_bytes());
    assert_eq!(text, format!("{expected},\"hash\":\"{hash}\"}}\n"));
    assert_eq!(head.hash.as_str(), hash);
    let (content, _) = read(&line).unwrap();
    assert_eq!(content.detail, "say \"no\"");
    assert_eq!(content.hash, hash);
}

#[test]
fn times_outside_what_four_digits_can_say_are_held_at_the_edge() {
    assert_eq!(time(-1), "1970-01-01T00:00:00.000000Z");
    assert_eq!(time(i64::MAX), "9999-12-31T23:59:59.999999Z");
    assert_eq!(time(951_827_696_000_001), "2000-02-29T12:34:56.000001Z");
}

proptest! {
    #[test]
    fn a_single_changed_byte_in_a_line_is_noticed(detail in ".{0,40}", place: prop::sample::Index, change in 1..=255u8) {
        let (mut line, next) = sealed(&Head::START, &record(&detail));
        prop_assert_eq!(Head::START.follow(&line), Ok(next));
        let place = place.index(line.len());
        line[place] ^= change;
        prop_assert!(Head::START.follow(&line).is_err());
    }

    #[test]
    fn whatever_a_record_holds_is_read_back(texts in prop::collection::vec(any::<String>(), 6)) {
        let mut record = record(&texts[0]);
        record.client_id.clone_from(&texts[1]);
        record.principal.clone_from(&texts[2]);
        record.role.clone_from(&texts[3]);
        record.model.clone_from(&texts[4]);
        record.version.clone_from(&texts[5]);
        let (line, _) = sealed(&Head::START, &record);
        prop_assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1));
        let (content, _) = read(&line).unwrap();
        let read = [content.detail, content.client_id, content.principal, content.role, content.model, content.version];
        prop_assert!(read.iter().zip(&texts).all(|(read, written)| read == written));
    }

    #[test]
    fn times_are_written_as_jiff_writes_them(unix_us in 0..253_402_300_799_999_999_i64) {
        let theirs = jiff::Timestamp::from_microsecond(unix_us).unwrap();
        prop_assert_eq!(time(unix_us), format!("{theirs:.6}"));
    }

    #[test]
    fn arbitrary_bytes_are_never_a_line(bytes: Vec<u8>) {
        prop_assert!(read(&bytes).is_err());
    }
}
