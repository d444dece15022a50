//! What does a person read: a summary of a job in Markdown, and a few lines in a terminal?

use super::chart::{latencies, ratios, time};
use super::judge::{errors, problems};
use super::result::{Comparison, Report, Side};
use super::tally::Latencies;
use std::fmt::Write;

/// For `$GITHUB_STEP_SUMMARY`, a comment on a merge request, or a file. Charts are of characters in a code block: job
/// summaries show no SVG, and not every view draws Mermaid.
pub(super) fn summary(report: &Report) -> String {
    let mut text = String::new();
    let verdict = if report.passed { "✅ passed" } else { "❌ failed" };
    let _ = writeln!(text, "## Latency of `{}`: {verdict}\n", cell(&report.settings.model));
    for problem in problems(report) {
        let _ = writeln!(text, "- **{}**", cell(&problem));
    }
    for warning in &report.warnings {
        let _ = writeln!(text, "- {}", cell(warning));
    }
    let _ = writeln!(text, "\n| | calls | errors | per second | p50 | p90 | p99 | p99.9 | max |");
    let _ = writeln!(text, "|---|--:|--:|--:|--:|--:|--:|--:|--:|");
    row(&mut text, "target", Some(&report.target));
    row(&mut text, "against", report.against.as_ref());
    if let Some(bare) = &report.bare {
        let calls: u64 = bare.blocks.iter().map(|block| block.calls).sum();
        let _ = writeln!(text, "| the model itself | {calls} | 0 | {}", figures("", bare.latency_us));
    }
    if !report.comparisons.is_empty() {
        let _ = writeln!(
            text,
            "\n| | ratio to | | {:.0}% of them between | gate | |",
            report.settings.confidence * 100.0
        );
        let _ = writeln!(text, "|---|---|--:|--:|--:|---|");
        for comparison in &report.comparisons {
            let _ = writeln!(text, "{}", compared(comparison));
        }
    }
    let chart = ratios(&report.comparisons);
    let _ = writeln!(text, "\n```text");
    if chart.is_empty() {
        text.push_str(&latencies(&report.target));
    } else {
        text.push_str(&chart);
    }
    let _ = writeln!(text, "```\n\n<sub>{}</sub>\n", cell(&circumstances(report)));
    text
}

/// For a terminal.
pub(super) fn told(report: &Report) -> String {
    let mut text = String::new();
    for (name, side) in [("target", Some(&report.target)), ("against", report.against.as_ref())] {
        let Some(side) = side else { continue };
        let _ = writeln!(text, "{name:<8} {} {}", side.url, who(side));
        let _ = writeln!(
            text,
            "         {} calls, errors: {}; {:.0}/s; {} us of this client's CPU a call",
            side.calls,
            errors(side),
            side.throughput_per_s,
            side.client_cpu_us_per_call
        );
        let _ = writeln!(text, "         {}", line(side.latency_us));
        if let Some(late) = side.lateness_us {
            let _ = writeln!(text, "         sent late by: p50 {}, p99 {}", time(late.p50), time(late.p99));
        }
    }
    if let Some(bare) = &report.bare {
        let _ = writeln!(text, "bare     {}", line(bare.latency_us));
    }
    for c in &report.comparisons {
        let ratio =
            c.ratio.map_or("-".to_owned(), |r| format!("{:.2} [{:.2}, {:.2}]", r.estimate, r.low, r.high));
        let gate = c.gate.map_or(String::new(), |gate| format!("  gate {gate:.2}: {}", c.verdict.as_str()));
        let why = c.why.as_ref().map_or(String::new(), |why| format!("  ({why})"));
        let _ = writeln!(text, "{:<10} over {:<8} {ratio}{gate}{why}", c.figure.as_str(), c.with.as_str());
    }
    for warning in &report.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    let _ = writeln!(text, "{}", if report.passed { "passed" } else { "failed" });
    text
}

fn who(side: &Side) -> String {
    let version = side.version.as_ref().map(|version| format!("model version {version}"));
    let known: Vec<String> = side.server.iter().cloned().chain(version).collect();
    if known.is_empty() { String::new() } else { format!("({})", known.join(", ")) }
}

fn line(latencies: Option<Latencies>) -> String {
    let Some(l) = latencies else { return "no call was answered".to_owned() };
    let p999 = l.p999.map_or(String::new(), |p999| format!(", p99.9 {}", time(p999)));
    format!("p50 {}, p90 {}, p99 {}{p999}, max {}", time(l.p50), time(l.p90), time(l.p99), time(l.max))
}

fn row(text: &mut String, name: &str, side: Option<&Side>) {
    let Some(side) = side else { return };
    let _ = writeln!(
        text,
        "| {name} `{}` {} | {} | {} | {}",
        cell(&side.url),
        cell(&who(side)),
        side.calls,
        cell(&errors(side)),
        figures(&format!("{:.0}", side.throughput_per_s), side.latency_us)
    );
}

fn figures(rate: &str, latencies: Option<Latencies>) -> String {
    let Some(l) = latencies else { return format!("{rate} | | | | | |") };
    let p999 = l.p999.map_or(String::new(), time);
    format!("{rate} | {} | {} | {} | {p999} | {} |", time(l.p50), time(l.p90), time(l.p99), time(l.max))
}

fn compared(c: &Comparison) -> String {
    let ratio = c.ratio.map_or(String::new(), |ratio| format!("{:.3}", ratio.estimate));
    let between = c.ratio.map_or(String::new(), |ratio| format!("{:.3} … {:.3}", ratio.low, ratio.high));
    let gate = c.gate.map_or(String::new(), |gate| format!("{gate:.2}"));
    let verdict = match (c.gate, &c.why) {
        (_, Some(why)) => cell(why),
        (Some(_), None) => c.verdict.as_str().to_owned(),
        (None, None) => "not gated".to_owned(),
    };
    format!("| {} | {} | {ratio} | {between} | {gate} | {verdict} |", c.figure.as_str(), c.with.as_str())
}

fn circumstances(report: &Report) -> String {
    let settings = &report.settings;
    let load = match &settings.load.open {
        Some(open) => format!("{:.0} calls a second ({:?} arrivals)", open.rate, open.arrivals),
        None => format!("{} calls at a time", settings.load.concurrency),
    };
    format!(
        "{} over {} connections, {} blocks of {} ms each in turn; {} requests ({}); client {:.0} us of CPU a call; {}, {} \
         cores, {}; asepsis {} on {}",
        load,
        settings.load.connections,
        settings.repetitions,
        settings.block_ms,
        settings.data.requests,
        settings.data.kind,
        report.target.client_cpu_us_per_call,
        report.machine.cpu,
        report.machine.cores,
        report.machine.system,
        report.asepsis,
        report.made,
    )
}

/// Text from elsewhere, which must not become Markdown or HTML.
fn cell(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '|' | '`' | '*' | '[' | ']' | '!' => {
                safe.push('\\');
                safe.push(c);
            }
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::super::judge::tests::{report, slower};
    use super::*;

    #[test]
    fn a_servers_word_is_no_markup() {
        assert_eq!(cell("<b>|`x`*\n[a](b)"), "&lt;b&gt;\\|\\`x\\`\\* \\[a\\](b)");
        let mut refused = report(1.0);
        refused.target.calls = 0;
        refused.target.first_error = Some("INVALID_ARGUMENT: <script>|".into());
        let text = summary(&refused);
        assert!(!text.contains("<script>") && text.contains("&lt;script&gt;\\|"), "{text}");
    }

    #[test]
    fn a_summary_says_first_whether_it_passed_and_draws_it() {
        let text = summary(&report(1.0));
        assert!(text.starts_with("## Latency of `m`: ✅ passed"), "{text}");
        assert!(text.contains("● ") || text.contains('●'), "{text}");
        let text = summary(&slower(1.25));
        assert!(text.starts_with("## Latency of `m`: ❌ failed"), "{text}");
        assert!(text.contains("**p50 is 1.25 times that of against"), "{text}");
    }

    #[test]
    fn every_row_of_a_table_has_as_many_cells() {
        for report in [report(1.0), slower(1.4)] {
            let text = summary(&report);
            let tables: Vec<&str> =
                text.split("\n\n").map(str::trim_start).filter(|part| part.starts_with('|')).collect();
            assert_eq!(tables.len(), 2, "{text}");
            for table in tables {
                let counts: Vec<usize> = table.lines().map(|line| line.matches('|').count()).collect();
                assert!(counts.iter().all(|count| *count == counts[0]), "{table}");
            }
        }
    }

    #[test]
    fn a_terminal_is_told_the_same_verdict() {
        assert!(told(&report(1.0)).ends_with("passed\n"));
        let text = told(&slower(1.25));
        assert!(text.contains("gate 1.10: failed") && text.ends_with("failed\n"), "{text}");
    }
}
