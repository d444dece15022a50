use super::super::judge::tests::anchored;
use super::*;
use proptest::prelude::*;

fn written() -> String {
    serde_json::to_string(&anchored(100.0, 10.0)).unwrap()
}

#[test]
fn what_is_no_result_is_refused_with_what_to_mend() {
    for (text, says) in [
        (String::new(), "no result of asepsis bench"),
        ("{}".to_owned(), "no result of asepsis bench"),
        (written().replace("asepsis.bench/1", "asepsis.bench/9"), "not `asepsis.bench/1`; record it anew"),
        (written().replacen("\"p50_us\":100.0", "\"p50_us\":0.0", 1), "not positive"),
        (written().replacen("\"p50_us\":10.0", "\"p50_us\":-1.0", 1), "not positive"),
        (written().replacen("\"calls\"", "\"cals\"", 1), "unknown field"),
        (written().replacen("\"calls\":1000", "\"calls\":-1", 1), "invalid value"),
    ] {
        let problem = parse(&text).unwrap_err();
        assert!(problem.contains(says), "{says}: {problem}");
    }
    assert!(read(Path::new("/nowhere/b.json")).unwrap_err().starts_with("/nowhere/b.json: "));
}

#[test]
fn a_result_is_read_as_it_was_written() {
    assert_eq!(parse(&written()).unwrap(), anchored(100.0, 10.0));
}

type Change = fn(&mut Report);

#[test]
fn a_baseline_of_something_else_is_refused_with_what_to_mend() {
    let ours = anchored(100.0, 10.0);
    let bare = ours.bare.clone().unwrap();
    assert_eq!(compare(&ours, &ours.settings, &bare), Ok(()));
    let changes: [(Change, &str); 10] = [
        (|stored| stored.bare = None, "--against-bare"),
        (|stored| stored.passed = false, "did not pass"),
        (|stored| stored.bare.as_mut().unwrap().model_sha256 = "e".repeat(64), "another model"),
        (|stored| stored.bare.as_mut().unwrap().onnxruntime = "0.9".into(), "ONNX Runtime \"0.9\""),
        (|stored| stored.bare.as_mut().unwrap().threads = 2, "--bare-threads"),
        (|stored| stored.settings.model = "other".into(), "--model"),
        (|stored| stored.settings.data.sha256 = "f".repeat(64), "--data"),
        (|stored| stored.settings.load.connections = 16, "--connections"),
        (|stored| stored.settings.tls = false, "scheme"),
        (
            |stored| {
                let shape = vec![1, 30];
                let input = super::super::result::Input { name: "x".into(), datatype: "FP32".into(), shape };
                stored.settings.inputs = vec![input];
            },
            "rows",
        ),
    ];
    for (change, says) in changes {
        let mut stored = ours.clone();
        change(&mut stored);
        let problem = compare(&stored, &ours.settings, &bare).unwrap_err();
        assert!(problem.contains(says), "{says}: {problem}");
    }
    let mut longer = ours.clone();
    longer.settings.repetitions = 99;
    longer.settings.block_ms = 1;
    assert_eq!(compare(&longer, &ours.settings, &bare), Ok(()), "more of the same");
}

proptest! {
    #[test]
    fn any_text_is_refused_without_a_panic(text in "\\PC{0,200}") {
        prop_assert!(parse(&text).is_err());
    }

    #[test]
    fn a_result_with_any_bytes_changed_is_read_or_refused(
        at in 0..2000_usize,
        other in "[0-9a-z\\-\\[\\]{}\",:.]{0,4}",
    ) {
        let mut text = written();
        let at = at % text.len();
        text.replace_range(at..=at, &other);
        if let Ok(report) = parse(&text) {
            let blocks = report.target.blocks.iter().chain(report.bare.iter().flat_map(|bare| &bare.blocks));
            prop_assert!(blocks.into_iter().all(|b| b.p50_us > 0.0 && b.p50_us.is_finite()));
        }
    }
}
