//! How does a line of the log look? One line an event, each field bounded, and nothing in it that a terminal or a
//! reader of lines would take for anything but text (CWE-117, CWE-150).
//!
//! A line that is written in the course of a request carries its `trace_id` and `request_id`.

use crate::trace::Ids;
use std::fmt::{self, Debug, Write};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Bytes of one field; what is beyond is cut off, and said to be.
const FIELD_BYTES_MAX: usize = 1024;

/// The form of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// One JSON object a line: `timestamp`, `level`, `message`, the fields, `target`.
    Json,
    /// The same for people, the fields as `name="text"`.
    Text,
}

/// The fields of an event in order, `message` among them.
#[derive(Default)]
struct Fields(Vec<(&'static str, Value)>);

enum Value {
    Text(Bounded),
    /// A number or a truth value.
    Bare(String),
}

/// A text that stops growing.
#[derive(Default)]
struct Bounded {
    text: String,
    cut: usize,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let mut fields = Fields::default();
        event.record(&mut fields);
        if let Some(ids) = Ids::current() {
            fields.add("trace_id", &format_args!("{:032x}", ids.trace_id));
            fields.add("request_id", &ids.request_id);
        }
        let message = fields.take("message");
        let (level, target) = (event.metadata().level().as_str(), event.metadata().target());
        match self {
            Self::Json => {
                write!(out, "{{\"timestamp\":\"{time}\",\"level\":\"{level}\"")?;
                let message = message.as_ref().map(|message| ("message", message));
                for (name, value) in
                    message.into_iter().chain(fields.0.iter().map(|(name, value)| (*name, value)))
                {
                    out.write_str(",")?;
                    quoted(&mut out, name)?;
                    out.write_str(":")?;
                    value.write(&mut out)?;
                }
                out.write_str(",\"target\":")?;
                quoted(&mut out, target)?;
                out.write_str("}\n")
            }
            Self::Text => {
                write!(out, "{time} {level:>5} ")?;
                escaped(&mut out, target)?;
                out.write_str(":")?;
                match &message {
                    Some(Value::Text(message)) => {
                        out.write_str(" ")?;
                        escaped(&mut out, &message.text)?;
                    }
                    Some(Value::Bare(message)) => write!(out, " {message}")?,
                    None => {}
                }
                for (name, value) in &fields.0 {
                    write!(out, " {name}=")?;
                    value.write(&mut out)?;
                }
                out.write_str("\n")
            }
        }
    }
}

impl Fields {
    /// A field that the event has not got itself.
    fn add(&mut self, name: &'static str, value: &dyn fmt::Display) {
        if self.0.iter().all(|(own, _)| *own != name) {
            self.0.push((name, Value::text(format_args!("{value}"))));
        }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        let place = self.0.iter().position(|(own, _)| *own == name)?;
        Some(self.0.remove(place).1)
    }

    fn bare(&mut self, field: &Field, value: impl fmt::Display) {
        self.0.push((field.name(), Value::Bare(value.to_string())));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.push((field.name(), Value::text(format_args!("{value:?}"))));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.name(), Value::text(format_args!("{value}"))));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.0.push((field.name(), Value::text(format_args!("{value}"))));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.bare(field, value);
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.bare(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.bare(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.bare(field, value);
    }
}

impl Value {
    fn text(text: fmt::Arguments<'_>) -> Self {
        let mut bounded = Bounded::default();
        // A `Display` that fails has said what it could.
        bounded.write_fmt(text).ok();
        if bounded.cut > 0 {
            let more = format!(" [{} bytes more]", bounded.cut);
            bounded.text.push_str(&more);
        }
        Self::Text(bounded)
    }

    fn write(&self, out: &mut Writer<'_>) -> fmt::Result {
        match self {
            Self::Text(bounded) => quoted(out, &bounded.text),
            Self::Bare(bare) => out.write_str(bare),
        }
    }
}

impl Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let room = if self.cut > 0 { 0 } else { FIELD_BYTES_MAX.saturating_sub(self.text.len()) };
        let (kept, cut) = more.split_at(more.floor_char_boundary(room));
        self.text.push_str(kept);
        self.cut = self.cut.saturating_add(cut.len());
        Ok(())
    }
}

/// As a string of JSON (RFC 8259, section 7).
fn quoted(out: &mut Writer<'_>, text: &str) -> fmt::Result {
    out.write_str("\"")?;
    escaped(out, text)?;
    out.write_str("\"")
}

/// Escapes what JSON has to, and besides it whatever moves, hides or turns text: controls of both sets, separators of
/// lines and paragraphs, and marks of direction.
fn escaped(out: &mut Writer<'_>, text: &str) -> fmt::Result {
    for c in text.chars() {
        match c {
            '"' => out.write_str("\\\"")?,
            '\\' => out.write_str("\\\\")?,
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}' => {
                write!(out, "\\u{:04x}", u32::from(c))?;
            }
            c if c.is_control() => write!(out, "\\u{:04x}", u32::from(c))?,
            c => out.write_char(c)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::tests::Kept;
    use crate::trace::RequestId;
    use proptest::prelude::*;

    fn written(lines: Lines, write: impl FnOnce()) -> String {
        let kept = Kept::default();
        tracing::subscriber::with_default(kept.subscriber(lines), write);
        kept.text()
    }

    #[test]
    fn no_field_and_no_message_begins_a_line_or_moves_a_terminal() {
        let evil = "x\r\n2026-01-01T00:00:00Z  INFO forged: \u{1b}[31m\u{9b}2K\u{7f}\u{2029}\u{202e}";
        for lines in [Lines::Json, Lines::Text] {
            let error = std::io::Error::other(evil);
            let text = written(lines, || {
                tracing::warn!(shown = %evil, debugged = ?evil, named = evil, error = %error, "said {evil}");
            });
            assert_eq!(text.lines().count(), 1, "{text}");
            let plain = |c: char| !c.is_control() && !('\u{2028}'..='\u{202e}').contains(&c);
            assert!(text.trim_end_matches('\n').chars().all(plain), "{text}");
        }
    }

    #[test]
    fn a_line_of_json_has_its_fields_as_they_were() {
        let text = written(Lines::Json, || {
            tracing::error!(
                count = 7_u64,
                less = -1_i64,
                ratio = 0.5,
                odd = f64::NAN,
                so = true,
                "it \"is\""
            );
        });
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        let expected = serde_json::json!({
            "timestamp": line["timestamp"], "level": "ERROR", "message": "it \"is\"", "count": 7, "less": -1,
            "ratio": 0.5, "odd": "NaN", "so": true, "target": module_path!(),
        });
        assert_eq!(line, expected);
        assert!(
            text.starts_with("{\"timestamp\":\"20") && text.contains("Z\",\"level\":\"ERROR\",\"message\"")
        );
    }

    #[test]
    fn a_line_for_people_has_the_same_fields() {
        let text = written(Lines::Text, || tracing::info!(count = 7, name = "a b", "it is"));
        let expected = format!(" INFO {}: it is count=7 name=\"a b\"\n", module_path!());
        assert!(text.ends_with(&expected), "{text}");
    }

    #[test]
    fn a_line_in_the_course_of_a_request_names_it_and_its_trace() {
        let ids = Ids { trace_id: 7, request_id: RequestId::new(9) };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let text = written(Lines::Json, || {
            runtime.block_on(ids.during(async { tracing::warn!("inside") }));
            runtime.block_on(ids.during(async { tracing::warn!(request_id = "its own", "inside") }));
            tracing::warn!("outside");
        });
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["trace_id"], "00000000000000000000000000000007");
        assert_eq!(lines[0]["request_id"], "00000000000000000000000000000009");
        assert_eq!(lines[1]["request_id"], "its own");
        assert_eq!(text.matches("request_id").count(), 2);
        assert!(lines[2].get("trace_id").is_none());
    }

    #[test]
    fn a_field_is_cut_between_characters() {
        let long = "\u{e4}".repeat(FIELD_BYTES_MAX);
        let text = written(Lines::Json, || tracing::info!(long, "x"));
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        let kept = line["long"].as_str().unwrap().strip_suffix(" [1024 bytes more]").unwrap();
        assert_eq!(kept, "\u{e4}".repeat(FIELD_BYTES_MAX / 2));
    }

    proptest! {
        #[test]
        fn whatever_a_field_holds_a_reader_of_json_gets_it_back(value in ".{0,300}") {
            let text = written(Lines::Json, || tracing::info!(value, "x"));
            let line: serde_json::Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(line["value"].as_str().unwrap(), &value);
            prop_assert_eq!(text.lines().count(), 1);
        }
    }
}
