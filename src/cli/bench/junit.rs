//! What does a CI show as a test report? A case for the errors, and one for each figure that is gated.

use super::judge::errors;
use super::result::{Comparison, Report, Side, Verdict};
use std::fmt::Write;

/// One test suite, as the JUnit plugins of GitLab, Jenkins and others read it.
pub(super) fn xml(report: &Report) -> String {
    let mut cases = String::new();
    let (mut tests, mut failures, mut skipped) = (0_u32, 0_u32, 0_u32);
    let mut case = |name: &str, inner: Option<(Outcome, String)>| {
        tests = tests.saturating_add(1);
        let _ = write!(
            cases,
            "    <testcase classname=\"asepsis.bench.{}\" name=\"{}\"",
            escaped(&report.settings.model),
            escaped(name)
        );
        match inner {
            None => cases.push_str("/>\n"),
            Some((Outcome::Failed, message)) => {
                failures = failures.saturating_add(1);
                let _ = writeln!(cases, "><failure message=\"{}\"/></testcase>", escaped(&message));
            }
            Some((Outcome::Skipped, message)) => {
                skipped = skipped.saturating_add(1);
                let _ = writeln!(cases, "><skipped message=\"{}\"/></testcase>", escaped(&message));
            }
        }
    };
    for side in std::iter::once(&report.target).chain(&report.against) {
        case(&format!("{} answers", side.url), of_errors(side, report.settings.max_errors));
    }
    for comparison in report.comparisons.iter().filter(|comparison| comparison.gate.is_some()) {
        let name = format!("{} over {}", comparison.figure.as_str(), comparison.with.as_str());
        case(&name, of_comparison(comparison));
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"asepsis bench\" tests=\"{tests}\" \
         failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\" timestamp=\"{}\">\n{cases}  </testsuite>\n</testsuites>\n",
        escaped(report.made.trim_end_matches('Z'))
    )
}

enum Outcome {
    Failed,
    Skipped,
}

fn of_errors(side: &Side, borne: f64) -> Option<(Outcome, String)> {
    let failed = side.calls == 0 || side.error_share() > borne;
    let word = side.first_error.as_deref().unwrap_or("no answer came in time");
    failed.then(|| {
        (Outcome::Failed, format!("{} of {} answered calls and {}: {word}", errors(side), side.calls, borne))
    })
}

fn of_comparison(comparison: &Comparison) -> Option<(Outcome, String)> {
    let ratio = comparison.ratio.map_or_else(
        || comparison.why.clone().unwrap_or_default(),
        |ratio| {
            let gate = comparison.gate.unwrap_or(1.0);
            format!(
                "ratio {:.3}, between {:.3} and {:.3}; {gate:.2} is borne",
                ratio.estimate, ratio.low, ratio.high
            )
        },
    );
    match comparison.verdict {
        Verdict::Passed | Verdict::Unsure => None,
        Verdict::Failed => Some((Outcome::Failed, ratio)),
        Verdict::Unjudged => Some((Outcome::Skipped, ratio)),
    }
}

/// Text in an attribute; what XML 1.0 has no place for is a space.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::super::judge::tests::{report, slower};
    use super::*;
    use roxmltree::Document;

    /// Cases, and those with an element `kind` in them.
    fn counted(xml: &str, kind: &str) -> (usize, usize) {
        let document = Document::parse(xml).unwrap();
        let cases: Vec<_> = document.descendants().filter(|node| node.has_tag_name("testcase")).collect();
        let with = cases.iter().filter(|case| case.children().any(|node| node.has_tag_name(kind))).count();
        let suite = document.descendants().find(|node| node.has_tag_name("testsuite")).unwrap();
        assert_eq!(suite.attribute("tests").unwrap(), cases.len().to_string());
        if kind == "failure" {
            assert_eq!(suite.attribute("failures").unwrap(), with.to_string());
        }
        (cases.len(), with)
    }

    #[test]
    fn every_gated_figure_is_a_case_and_a_slower_one_a_failure() {
        assert_eq!(counted(&xml(&report(1.0)), "failure"), (5, 0));
        assert_eq!(counted(&xml(&slower(1.25)), "failure"), (5, 3));
    }

    #[test]
    fn refused_calls_are_a_failure_with_the_servers_word() {
        let mut refused = report(1.0);
        refused.target.errors.insert("INVALID_ARGUMENT".into(), 7);
        refused.target.first_error = Some("INVALID_ARGUMENT: \"<&>\u{1}".into());
        let xml = xml(&refused);
        assert_eq!(counted(&xml, "failure").1, 1);
        let document = Document::parse(&xml).unwrap();
        let failure = document.descendants().find(|node| node.has_tag_name("failure")).unwrap();
        assert!(failure.attribute("message").unwrap().contains("INVALID_ARGUMENT: \"<&> "));
    }

    proptest::proptest! {
        #[test]
        fn any_word_of_a_server_is_well_formed(word in "\\PC*|.*") {
            let mut refused = report(1.0);
            refused.target.calls = 0;
            refused.target.first_error = Some(word);
            proptest::prop_assert!(Document::parse(&xml(&refused)).is_ok());
        }
    }
}
