//! Text becomes HTML here and nowhere else: every string is escaped on its way into the page.

use crate::calibration::promise::Promise;
use std::fmt::Write;

/// The page's style. Colours are those of Okabe and Ito, which colour-blind readers can tell apart; attacked rows
/// have a dashed outline besides.
const STYLE: &str = "
:root{color-scheme:light dark;--paper:#fff;--ink:#1b1f24;--soft:#57606a;--rule:#d8dee4;--tint:#f3f5f7;
--clean:#0072b2;--attacked:#c84f00;--warn:#fff4ce;--warnrule:#bf8700}
@media(prefers-color-scheme:dark){:root{--paper:#12161b;--ink:#e3e7eb;--soft:#9aa5b1;--rule:#333b44;--tint:#1b2128;
--clean:#56b4e9;--attacked:#f0883e;--warn:#332a10;--warnrule:#bf8700}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1.2rem 1rem 4rem;max-width:64rem;background:var(--paper);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;overflow-wrap:break-word}
h1{font-size:1.6rem;line-height:1.25;margin:.6rem 0 .2rem}
h2{font-size:1.2rem;margin:2.6rem 0 .6rem;padding-top:.7rem;border-top:1px solid var(--rule)}
p,ul{max-width:46rem;margin:.6rem 0}ul{padding-left:1.2rem}li{margin:.4rem 0}
.soft{color:var(--soft)}.none{color:var(--soft);font-style:italic}
.warn{background:var(--warn);border-left:4px solid var(--warnrule);padding:.5rem .8rem;max-width:46rem}
.wide{overflow-x:auto;margin:.8rem 0}
td{white-space:nowrap}table{border-collapse:collapse;font-size:.92rem;font-variant-numeric:tabular-nums}
th,td{padding:.35rem .7rem;text-align:right;border-bottom:1px solid var(--rule);vertical-align:top}
th{font-weight:600;background:var(--tint)}th:first-child,td:first-child{text-align:left}
.names td{text-align:left;white-space:normal;word-break:break-all}.names td:first-child{white-space:nowrap;word-break:normal}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,19rem),1fr));gap:1.2rem;margin:.8rem 0}
figure{margin:0;max-width:30rem}figcaption{font-size:.88rem;margin-top:.2rem}
svg{display:block;width:100%;height:auto}svg text{font:11px system-ui,'DejaVu Sans',sans-serif;fill:var(--soft);
paint-order:stroke;stroke:var(--paper);stroke-width:3px;stroke-linejoin:round}
svg path{fill:none;stroke-width:2}
.clean{stroke:var(--clean)}.attacked{stroke:var(--attacked);stroke-dasharray:5 3}
svg path.cleanarea{fill:var(--clean);fill-opacity:.28;stroke:var(--clean);stroke-width:1.5}
svg path.attackedarea{fill:var(--attacked);fill-opacity:.14;stroke:var(--attacked);stroke-width:1.8;stroke-dasharray:5 3}
circle.clean{fill:var(--clean);stroke:none}circle.attacked{fill:var(--attacked);stroke:none}
.before{stroke:var(--soft);stroke-dasharray:5 3}circle.before{fill:var(--soft);stroke:none}
line.grid{stroke:var(--rule)}line.axis{stroke:var(--soft)}
line.mark{stroke:var(--ink);stroke-dasharray:2 3}svg path.even{stroke:var(--soft);stroke-width:1;stroke-dasharray:3 3}
.key{display:inline-block;width:1.6em;height:.8em;border:2px solid;margin-right:.4em;vertical-align:-.05em}
.key.clean{border-color:var(--clean)}.key.attacked{border-color:var(--attacked);border-style:dashed}
.key.before{border-color:var(--soft);border-style:dashed}
code{font-family:ui-monospace,'DejaVu Sans Mono',monospace;font-size:.88em;white-space:pre-wrap;word-break:break-all}
@media(max-width:32rem){table{font-size:.84rem}th,td{padding:.35rem .4rem}}
@media print{body{max-width:none}h2{break-after:avoid}figure,tr{break-inside:avoid}}
";

/// A page that is being written.
pub(super) struct Page(String);

/// How a line of text stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// Ordinary text.
    Plain,
    /// Explains what is shown.
    Soft,
    /// Says that something is missing.
    Missing,
    /// Something to look into.
    Warning,
}

impl Page {
    /// A page with its title.
    pub(super) fn new(title: &str) -> Self {
        let title = escape(title);
        Self(format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <meta name=\"referrer\" content=\"no-referrer\">\
             <title>{title}</title><style>{STYLE}</style></head>\n<body>\n<h1>{title}</h1>\n"
        ))
    }

    /// A section begins.
    pub(super) fn heading(&mut self, text: &str) {
        self.element("h2", "", text);
    }

    /// A paragraph.
    pub(super) fn paragraph(&mut self, tone: Tone, text: &str) {
        let class = match tone {
            Tone::Plain => "",
            Tone::Soft => "soft",
            Tone::Missing => "none",
            Tone::Warning => "warn",
        };
        self.element("p", class, text);
    }

    /// A list.
    pub(super) fn list(&mut self, items: &[&str]) {
        self.0.push_str("<ul>\n");
        for item in items {
            self.element("li", "", item);
        }
        self.0.push_str("</ul>\n");
    }

    /// A command line or the like.
    pub(super) fn code(&mut self, text: &str) {
        let _ = writeln!(self.0, "<p><code>{}</code></p>", escape(text));
    }

    /// A table of numbers; the first column is the name of the row.
    pub(super) fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        self.0.push_str("<div class=\"wide\" tabindex=\"0\"><table><thead><tr>");
        for cell in head {
            let _ = write!(self.0, "<th scope=\"col\">{}</th>", escape(cell));
        }
        self.0.push_str("</tr></thead><tbody>\n");
        self.rows(rows);
        self.0.push_str("</tbody></table></div>\n");
    }

    /// A table of names and values, without a head.
    pub(super) fn names(&mut self, rows: &[Vec<String>]) {
        self.0.push_str("<div class=\"wide\"><table class=\"names\"><tbody>\n");
        self.rows(rows);
        self.0.push_str("</tbody></table></div>\n");
    }

    /// Which look means which rows.
    pub(super) fn key(&mut self, names: &[(&'static str, &str)]) {
        self.0.push_str("<p>");
        for (class, name) in names {
            let _ = write!(self.0, "<span class=\"key {class}\"></span>{} &#160; ", escape(name));
        }
        self.0.push_str("</p>\n");
    }

    /// Charts side by side: each an SVG element of [`super::svg`], and its caption.
    pub(super) fn figures(&mut self, figures: &[(String, String)]) {
        self.0.push_str("<div class=\"charts\">\n");
        for (svg, caption) in figures {
            let _ = writeln!(self.0, "<figure>{svg}<figcaption>{}</figcaption></figure>", escape(caption));
        }
        self.0.push_str("</div>\n");
    }

    /// The finished page.
    pub(super) fn finish(mut self) -> String {
        self.0.push_str("</body></html>\n");
        self.0
    }

    fn rows(&mut self, rows: &[Vec<String>]) {
        for row in rows {
            self.0.push_str("<tr>");
            for cell in row {
                let _ = write!(self.0, "<td>{}</td>", escape(cell));
            }
            self.0.push_str("</tr>\n");
        }
    }

    fn element(&mut self, name: &'static str, class: &'static str, text: &str) {
        let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
        let _ = writeln!(self.0, "<{name}{class}>{}</{name}>", escape(text));
    }
}

/// Text that means itself in an element and in a quoted attribute. Controls, and marks that turn the direction of
/// writing (a name must not be able to disguise itself, as in CVE-2021-42574), become U+FFFD.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' => escaped.push('\n'),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                escaped.push('\u{fffd}');
            }
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A share as percent: finer the smaller it is.
pub(super) fn percent(share: f64) -> String {
    let value = 100.0 * share;
    if value == 0.0 || value == 100.0 {
        return format!("{value:.0}%");
    }
    let decimals = if value < 0.1 { 3 } else { usize::from(!(10.0..99.9).contains(&value)) + 1 };
    format!("{value:.decimals$}%")
}

/// A threshold as percent, with no more digits than it has.
pub(super) fn alpha(promise: &Promise) -> String {
    let digits = format!("{:.6}", 100.0 * promise.alpha());
    format!("{}%", digits.trim_end_matches('0').trim_end_matches('.'))
}

/// A p-value, which is never 0.
pub(super) fn p_value(p: f64) -> String {
    if p < 0.0005 { "below 0.001".to_owned() } else { format!("{p:.3}") }
}

/// A name on one line of a terminal.
pub(super) fn one_line(name: &str) -> String {
    name.replace(char::is_control, "\u{fffd}")
}

/// A count with its thousands apart.
pub(super) fn count(count: usize) -> String {
    let digits = count.to_string();
    let mut shown = String::with_capacity(digits.len() + 4);
    for (place, digit) in (1..=digits.len()).rev().zip(digits.chars()) {
        shown.push(digit);
        if place > 1 && place % 3 == 1 {
            shown.push(',');
        }
    }
    shown
}

/// A word for so many.
pub(super) fn rows(number: usize) -> String {
    format!("{} {}", count(number), if number == 1 { "row" } else { "rows" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escape("<a b='c' d=\"e\">&"), "&lt;a b=&#39;c&#39; d=&quot;e&quot;&gt;&amp;");
        assert_eq!(escape("a\0b\u{1b}c\u{202e}d\u{2066}e\nf"), "a\u{fffd}b\u{fffd}c\u{fffd}d\u{fffd}e\nf");
    }

    #[test]
    fn numbers_are_as_fine_as_they_matter() {
        let shown = [0.0, 0.000_12, 0.0123, 0.0499, 0.963, 0.9996, 1.0].map(percent);
        assert_eq!(shown, ["0%", "0.012%", "1.23%", "4.99%", "96.3%", "99.96%", "100%"]);
        let alphas = [0.05, 0.001, 0.29, 0.000_015].map(|share| alpha(&Promise::new(share, 10)));
        assert_eq!(alphas, ["5%", "0.1%", "29%", "0.0015%"]);
        assert_eq!([7, 1000, 1_234_567].map(count), ["7", "1,000", "1,234,567"]);
        assert_eq!([p_value(1e-9), p_value(0.0421)], ["below 0.001", "0.042"]);
    }
}
