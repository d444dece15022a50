//! The page stands alone, says what is missing, and shows strings as text whatever they are.

use super::*;
use crate::calibration::resample::{Fused, order, resample};

fn scores(rows: u32, shift: f64) -> Vec<f64> {
    // A fixed scatter: multiples of the golden ratio, as the logarithm of a uniform variable.
    (1..=rows).map(|row| shift - (1.0 - f64::from(row) * 0.618_033_988_749_895 % 1.0).ln()).collect()
}

fn threshold(action: &str, alpha: f64, rows: usize) -> Threshold {
    Threshold { action: action.into(), promise: Promise::new(alpha, rows) }
}

fn detector(name: &str, attacked: Vec<f64>) -> DetectorScores {
    DetectorScores { name: name.into(), stage: 1, passes: 0.0, clean: scores(400, 0.0), attacked }
}

/// A report with nothing in it but clean rows.
fn bare() -> Report {
    Report {
        model: "pneumonia".into(),
        version: "3".into(),
        date: "2026-11-22T10:00:00Z".into(),
        command: "asepsis calibrate --model models/pneumonia/3".into(),
        bound_to: vec![("model".into(), "ab".repeat(32))],
        rows: Rows { references: 200, ranked: 400 },
        recorded: None,
        thresholds: vec![threshold("flagged", 0.05, 400), threshold("withheld", 0.01, 400)],
        detectors: vec![detector("confidence", Vec::new())],
        fused: scores(400, 0.0),
        elsewhere: None,
        attacks: Vec::new(),
        gates: Vec::new(),
        labelled: None,
        strata: Vec::new(),
        resampled: None,
        order: None,
    }
}

/// A report with everything in it.
fn full() -> Report {
    let gate = |quantile, passes, detected, chosen| Gate { quantile, passes, detected, chosen };
    let answers = |shift: u32| {
        let answer = |row: u32| Answer { confidence: 0.5 + f64::from(row) / 200.0, right: row % 7 > shift };
        (0..100).map(answer).collect()
    };
    let stratum = |name: &str, rows, alarms| Stratum { by: "class".into(), name: name.into(), rows, alarms };
    let fused = scores(400, 0.0);
    let split = |split: &crate::calibration::resample::Split<'_>| {
        let of = |rows: &[usize]| rows.iter().map(|row| fused[*row]).collect();
        Some(Fused { ranked: of(split.calibration), tested: of(split.tested) })
    };
    Report {
        detectors: vec![detector("confidence", scores(80, 2.0)), detector("consistency.0", scores(80, 4.0))],
        attacks: vec![
            Attack { name: "fgsm".into(), refused: 0, fused: scores(50, 4.0) },
            Attack { name: "pgd".into(), refused: 10, fused: scores(30, 1.0) },
        ],
        gates: vec![gate(0.5, 2.1, 0.97, false), gate(0.8, 1.6, 0.96, true), gate(0.9, 1.3, 0.9, false)],
        labelled: Some(Labelled { temperature: 1.7, before: answers(2), after: answers(1) }),
        strata: vec![stratum("NORMAL", 300, 10), stratum("PNEUMONIA", 100, 20)],
        resampled: resample(400, 0.05, 50, 1, split),
        order: order(&fused, 0.05, 10, 50, 1),
        ..bare()
    }
}

/// Every tag is closed, attributes are quoted, and no `&` stands alone.
fn assert_well_formed(html: &str) {
    let body = html.split_once("</style>").unwrap().1;
    let mut open = vec!["html", "head"];
    for piece in body.split('<').skip(1) {
        let (tag, text) = piece.split_once('>').unwrap_or_else(|| panic!("`<{piece}` is not closed"));
        let entity = |rest: &str| rest.split_once(';').is_some_and(|(name, _)| name.len() <= 5);
        assert!(text.split('&').skip(1).all(entity) && !text.contains(['"', '>']), "{text}");
        assert!(tag.matches('"').count().is_multiple_of(2), "{tag}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "{tag}");
        } else if !tag.ends_with('/') {
            open.push(tag.split(' ').next().unwrap());
        }
    }
    assert_eq!(open, Vec::<&str>::new());
}

#[test]
fn the_page_loads_nothing_and_runs_nothing() {
    for page in [bare().html(), full().html()] {
        assert_well_formed(&page);
        assert!(page.contains("content=\"default-src 'none'; style-src 'unsafe-inline'\""));
        for forbidden in ["<script", "http:", "https:", "//", "src=", "href", "url(", "@import", "style="] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        let tags = page.split('<').filter_map(|piece| Some(piece.split_once('>')?.0));
        assert!(tags.clone().count() > 100);
        assert!(tags.clone().all(|tag| !tag.contains(" on")));
        assert!(page.len() < 200_000, "{} bytes", page.len());
    }
}

#[test]
fn a_string_is_text_wherever_it_comes_from() {
    const HOSTILE: &str = "</title><script>alert(1)</script>\"' onload='x\0\u{202e}&amp;";
    let mut report = full();
    let name = || HOSTILE.to_owned();
    for text in [&mut report.model, &mut report.version, &mut report.date, &mut report.command] {
        *text = name();
    }
    report.bound_to = vec![(name(), name())];
    report.thresholds.iter_mut().for_each(|threshold| threshold.action = name());
    report.detectors.iter_mut().for_each(|detector| detector.name = name());
    report.attacks.iter_mut().for_each(|attack| attack.name = name());
    for stratum in &mut report.strata {
        (stratum.by, stratum.name) = (name(), name());
    }
    let page = report.html();
    assert_well_formed(&page);
    for raw in ["<script", "' onload", "\0", "\u{202e}", "\"'"] {
        assert!(!page.contains(raw), "{raw:?}");
    }
    // Where it was shown before, it is shown still.
    assert!(page.matches("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39; onload=").count() >= 20);
    assert!(!report.text().contains('\0'));
}

#[test]
fn what_there_are_no_data_for_is_said_in_a_line() {
    let page = bare().html();
    for missing in [
        "No attacked rows were given",
        "there is no gate to move",
        "Nothing tells the clean rows apart",
        "have no labels",
    ] {
        assert!(page.contains(missing), "{missing}");
        assert!(!full().html().contains(missing), "{missing}");
    }
    assert_eq!(page.matches("Not checked.").count(), 2);
    let mut nothing = bare();
    (nothing.fused, nothing.detectors, nothing.thresholds) = (Vec::new(), Vec::new(), Vec::new());
    assert_well_formed(&nothing.html());
}

#[test]
fn recorded_rows_are_called_clean_nowhere_and_warned_of() {
    let found = Recorded { flagged: 61, rows: 600, alpha: 0.05, p: 1e-7, accepted: true };
    let mut report = Report { recorded: Some(found), ..bare() };
    let page = report.html();
    assert_well_formed(&page);
    assert!(page.contains("200 rows of traffic, recorded, not screened, gave"), "{page}");
    assert!(page.contains("61 of 600 rows were judged anomalous by the calibration in use"), "{page}");
    assert!(page.contains("a share of 5.00%") && page.contains("`--accept-shift`"), "{page}");
    for called in ["clean data", "clean rows that rank", "the clean rows", "clean against"] {
        assert!(!page.to_lowercase().contains(called), "{called}");
        assert!(!report.text().to_lowercase().contains(called), "{called}");
    }
    assert!(report.text().contains("(recorded, not screened)"));
    report.recorded = Some(Recorded { accepted: false, ..found });
    assert!(!report.html().contains("--accept-shift"));
    assert!(bare().html().contains("clean data") && !bare().html().contains("Nobody has looked"));
}

#[test]
fn the_numbers_of_the_promise_are_on_the_page() {
    // scipy.stats.beta.ppf(0.95, [20, 4], [381, 397]), betabinom.ppf(0.95, 1000, …), SciPy 1.17.1.
    let page = bare().html();
    for number in ["4.99%", "6.89%", "72", "20 of 400", "1.00%", "1.93%", "21", "4 of 400"] {
        assert!(page.contains(&format!("<td>{number}</td>")), "{number}");
    }
    assert!(!page.contains("too few rows"));
    let fine = Report { thresholds: vec![threshold("withheld", 0.001, 400)], ..bare() };
    assert!(fine.html().contains("too few rows"));
}

#[test]
fn what_is_wrong_stands_out() {
    let mut report = full();
    assert!(report.html().contains("More false alarms than alpha: class PNEUMONIA."));
    assert!(report.text().contains("class PNEUMONIA: 12.7% to 29.2% false alarms, more than 5%"));
    for p_value in [0.2, 0.001] {
        report.order.as_mut().unwrap().p_value = p_value;
        report.resampled.as_mut().unwrap().p_value = p_value;
        let suspicious = p_value < 0.01;
        assert_eq!(report.html().contains("The rows differ along the file"), suspicious);
        assert_eq!(report.html().contains("the calibration is wrong"), suspicious);
        assert_eq!(report.text().matches("LOOK INTO IT").count(), if suspicious { 2 } else { 0 });
    }
}

#[test]
fn refused_rows_count_as_found() {
    let text = full().text();
    // All 50 of fgsm lie above; of pgd 10 were refused.
    assert!(text.contains("attack fgsm: of 50 rows 100% found at 5%, "), "{text}");
    let page = full().html();
    let pgd = page.split("<tr>").find(|row| row.starts_with("<td>pgd</td>")).unwrap();
    assert!(pgd.contains("<td>40</td><td>10</td></tr>"), "{pgd}");
    let alone = Attack { name: String::new(), refused: 3, fused: vec![1.0, 5.0] };
    assert_eq!((alone.found(Some(2.0)), alone.found(None), alone.rows()), (4, 3, 5));
}

#[test]
fn numbers_that_are_none_do_not_break_the_page() {
    let mut report = full();
    report.fused.push(f64::NAN);
    report.detectors[0].attacked.push(f64::INFINITY);
    report.gates.push(Gate { quantile: f64::NAN, passes: f64::NAN, detected: f64::NAN, chosen: false });
    report.labelled.as_mut().unwrap().before.push(Answer { confidence: f64::NAN, right: true });
    let page = report.html();
    assert_well_formed(&page);
    for chart in page.split("<svg").skip(1) {
        let chart = chart.split("</svg>").next().unwrap();
        assert!(!chart.contains("NaN") && !chart.contains("inf"), "{chart}");
    }
}
