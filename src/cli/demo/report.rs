//! What came of each case, as a table for people and as JSON for scripts.

use super::cases::Group;
use serde::Serialize;
use std::fmt::Write as _;

/// One case, sent and ended. As JSON these are the keys that scripts rely on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Where it stands.
    #[serde(skip)]
    pub group: Group,
    /// What it is.
    pub case: String,
    /// What was sent.
    pub sent: String,
    /// The gRPC status, or `TLS alert`.
    pub status: String,
    /// What was done.
    pub action: String,
    /// The action with the answer, or the alert.
    #[serde(skip)]
    pub answer: String,
    /// Why, from the refusal or, for an answer, from the audit entry.
    pub reason: String,
    /// How it had to end: status, action, reason and class.
    pub expected: String,
    /// Whether it ended so, and stands so in the audit log.
    pub pass: bool,
    /// How long the caller waited, in milliseconds.
    pub ms: f64,
    /// What the server said, or what does not fit.
    #[serde(skip)]
    pub message: String,
    /// The server's id of the request.
    #[serde(skip)]
    pub request_id: Option<String>,
}

/// Whether to write escape sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour(pub bool);

impl Colour {
    /// `text` in the style of an SGR code, as in `1` for bold.
    #[must_use]
    pub fn paint(self, code: &str, text: &str) -> String {
        if self.0 { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

const BOLD: &str = "1";
const DIM: &str = "2";
const GREEN: &str = "32";
const RED: &str = "31";
const YELLOW: &str = "33";

/// The JSON list.
#[must_use]
pub fn json(rows: &[Row]) -> String {
    serde_json::to_string_pretty(rows).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
}

/// Groups with their headings, aligned; a case that failed says what was expected.
#[must_use]
pub fn table(rows: &[Row], colour: Colour) -> String {
    let titles = ["", "case", "sent", "status", "answer or action", "reason", "ms"].map(str::to_owned);
    let all = || std::iter::once(titles.clone()).chain(rows.iter().map(cells));
    let widths: [usize; 7] = std::array::from_fn(|i| {
        all().filter_map(|line| line.get(i).map(|cell| width(cell))).max().unwrap_or(0)
    });
    let mut text = format!("{}\n", colour.paint(DIM, &line(&titles, &widths, |_, cell| cell)));
    let mut group = None;
    for row in rows {
        if group != Some(row.group) {
            group = Some(row.group);
            let _ = writeln!(text, "\n{}", colour.paint(BOLD, row.group.heading()));
        }
        let paint = |column: usize, cell: String| match column {
            0 => colour.paint(if row.pass { GREEN } else { RED }, &cell),
            4 => colour.paint(style(&row.action), &cell),
            6 => colour.paint(DIM, &cell),
            _ => cell,
        };
        let _ = writeln!(text, "{}", line(&cells(row), &widths, paint));
        if !row.pass {
            let _ = writeln!(text, "  expected {}; {}", row.expected, row.message);
        }
    }
    text
}

fn style(action: &str) -> &'static str {
    match action {
        "allowed" => GREEN,
        "flagged" | "abstained" | "fell_back" => YELLOW,
        _ => RED,
    }
}

fn cells(row: &Row) -> [String; 7] {
    let mark = if row.pass { "✓" } else { "✗" };
    [
        mark.to_owned(),
        row.case.clone(),
        row.sent.clone(),
        row.status.clone(),
        row.answer.clone(),
        row.reason.clone(),
        format!("{:.1}", row.ms),
    ]
}

/// Cells in their columns, numbers to the right.
fn line(cells: &[String; 7], widths: &[usize; 7], paint: impl Fn(usize, String) -> String) -> String {
    let last = cells.len() - 1;
    let mut line = Vec::with_capacity(cells.len());
    for (column, (cell, wide)) in cells.iter().zip(widths).enumerate() {
        let gap = " ".repeat(wide.saturating_sub(width(cell)));
        let text = paint(column, cell.clone());
        line.push(if column == last { format!("{gap}{text}") } else { format!("{text}{gap}") });
    }
    line.join(" ")
}

fn width(cell: &str) -> usize {
    cell.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(pass: bool) -> Row {
        Row {
            group: Group::Attacked,
            case: "another role's model".into(),
            sent: "wdbc [536870913,30]".into(),
            status: "FAILED_PRECONDITION".into(),
            action: "withheld".into(),
            answer: "allowed malignant 100%".into(),
            reason: "method_forbidden".into(),
            expected: "OK allowed clean benign".into(),
            pass,
            ms: 1234.56,
            message: "the server said: no".into(),
            request_id: None,
        }
    }

    #[test]
    fn the_widest_row_fits_110_columns_and_columns_align() {
        let short = Row { case: "a".into(), status: "OK".into(), ms: 0.51, ..row(true) };
        let table = table(&[row(true), short], Colour(false));
        let lines: Vec<usize> =
            table.lines().filter(|line| line.starts_with('✓')).map(|line| line.chars().count()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0], lines[1]);
        assert!(lines[0] <= 110, "{}", lines[0]);
    }

    #[test]
    fn a_failed_case_says_what_was_expected() {
        let table = table(&[row(false)], Colour(false));
        assert!(table.contains('✗') && table.contains("expected OK allowed clean benign"));
        assert!(table.contains("Attacked:"));
        assert!(!table.contains('\u{1b}'));
    }

    #[test]
    fn colour_does_not_move_columns() {
        let coloured = table(&[row(true), row(false)], Colour(true));
        let mut plain = coloured.clone();
        for code in [BOLD, DIM, GREEN, RED, YELLOW, "0"] {
            plain = plain.replace(&format!("\u{1b}[{code}m"), "");
        }
        assert_ne!(coloured, plain);
        assert_eq!(plain, table(&[row(true), row(false)], Colour(false)));
    }

    #[test]
    fn json_has_the_keys_that_scripts_rely_on() {
        let list: serde_json::Value = serde_json::from_str(&json(&[row(true)])).unwrap();
        let keys: std::collections::BTreeSet<_> = list[0].as_object().unwrap().keys().cloned().collect();
        let wanted = ["case", "sent", "status", "action", "reason", "expected", "pass", "ms"];
        assert_eq!(keys, wanted.map(String::from).into());
    }
}
