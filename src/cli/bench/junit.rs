//! What does a CI show as a test report? A case for the errors of each server, one for each figure that is gated, and
//! the verdict.

use super::judge::{problems, slower, unanswered};
use super::result::Report;
use std::fmt::Write;

/// One test suite, as the JUnit plugins of GitLab, Jenkins and others read it.
pub(super) fn xml(report: &Report) -> String {
    let mut cases = String::new();
    let (mut tests, mut failures) = (0_u32, 0_u32);
    let mut case = |name: &str, problem: Option<String>| {
        tests = tests.saturating_add(1);
        let _ = write!(
            cases,
            "    <testcase classname=\"asepsis.bench.{}\" name=\"{}\"",
            escaped(&report.settings.model),
            escaped(name)
        );
        let Some(problem) = problem else { return cases.push_str("/>\n") };
        failures = failures.saturating_add(1);
        let _ = writeln!(cases, "><failure message=\"{}\"/></testcase>", escaped(&problem));
    };
    for side in std::iter::once(&report.target).chain(&report.against) {
        case(&format!("{} answers", side.url), unanswered(report, side));
    }
    for comparison in report.comparisons.iter().filter(|comparison| comparison.gate.is_some()) {
        let name = format!("{} over {}", comparison.figure.as_str(), comparison.with.as_str());
        case(&name, slower(comparison));
    }
    // The exit status itself, whatever it comes from.
    let problems = problems(report);
    case("verdict", (!problems.is_empty()).then(|| problems.join("; ")));
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"asepsis bench\" tests=\"{tests}\" \
         failures=\"{failures}\" errors=\"0\" skipped=\"0\" timestamp=\"{}\">\n{cases}  </testsuite>\n</testsuites>\n",
        escaped(report.made.trim_end_matches('Z'))
    )
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
    use super::super::judge::tests::{anchored, report, short, slower};
    use super::super::result::Side;
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
        assert_eq!(counted(&xml(&report(1.0)), "failure"), (6, 0));
        assert_eq!(counted(&xml(&slower(1.25)), "failure"), (6, 4));
    }

    #[test]
    fn it_is_green_only_where_the_build_passes() {
        let silent = Report { target: Side { calls: 0, ..report(1.0).target }, ..report(1.0) };
        for run in [report(1.0), slower(1.25), short(), anchored(100.0, 10.0), silent] {
            let red = counted(&xml(&run), "failure").1 > 0;
            assert_eq!(red, !problems(&run).is_empty(), "{:?}", problems(&run));
        }
    }

    #[test]
    fn refused_calls_are_a_failure_with_the_servers_word() {
        let mut refused = report(1.0);
        refused.target.errors.insert("INVALID_ARGUMENT".into(), 7);
        refused.target.first_error = Some("INVALID_ARGUMENT: \"<&>\u{1}".into());
        let xml = xml(&refused);
        assert_eq!(counted(&xml, "failure").1, 2);
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
