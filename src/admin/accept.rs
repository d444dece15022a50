//! Which format of metrics does a scraper prefer? `Accept`, as of RFC 9110, section 12.5.1.

use crate::telemetry::Exposition;
use hyper::header::{ACCEPT, HeaderMap};

/// OpenMetrics where it is asked for by name and nothing else is preferred to it; the text format of Prometheus for
/// everyone else, which every scraper reads and a person in a browser too.
pub(super) fn exposition(headers: &HeaderMap) -> Exposition {
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let (mut open_metrics, mut plain_text) = (0, 0);
    for range in values.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let quality = quality(parts);
        match name.as_str() {
            "application/openmetrics-text" => open_metrics = quality.max(open_metrics),
            "text/plain" => plain_text = quality.max(plain_text),
            _ => {}
        }
    }
    if open_metrics > 0 && open_metrics >= plain_text {
        Exposition::OpenMetrics
    } else {
        Exposition::PlainText
    }
}

/// `q` in thousandths; a thousand where it is not given, none where it is no number.
fn quality<'p>(mut parameters: impl Iterator<Item = &'p str>) -> u32 {
    let stated = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then_some(value.trim())
    });
    let Some(stated) = stated else { return 1_000 };
    let (whole, fraction) = stated.split_once('.').unwrap_or((stated, ""));
    let digits = fraction.len() <= 3 && fraction.bytes().all(|b| b.is_ascii_digit());
    match whole {
        "1" if digits => 1_000,
        "0" if digits => format!("{fraction:0<3}").parse().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Exposition::{OpenMetrics, PlainText};

    #[test]
    fn whoever_does_not_ask_for_open_metrics_gets_what_everyone_reads() {
        for (accept, expected) in [
            (&[][..], PlainText),
            (&["*/*"], PlainText),
            (&["text/html,*/*;q=0.8"], PlainText),
            (&["text/plain;version=0.0.4"], PlainText),
            (&["application/openmetrics-text;q=0"], PlainText),
            (&["application/openmetrics-text;q=x"], PlainText),
            (&["application/openmetrics-text;q=0.5,text/plain;q=0.9"], PlainText),
            (&["application/openmetrics-textual"], PlainText),
            (&["application/openmetrics-text"], OpenMetrics),
            (&["text/plain;q=0.5", "Application/OpenMetrics-Text; version=1.0.0 ; Q=0.75"], OpenMetrics),
            // Prometheus 3, and 2.53.
            (
                &["application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                   application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;\
                   q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"],
                OpenMetrics,
            ),
            (
                &[
                    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;\
                   q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                ],
                OpenMetrics,
            ),
        ] {
            let mut headers = HeaderMap::new();
            for value in accept {
                headers.append(ACCEPT, value.parse().unwrap());
            }
            assert_eq!(exposition(&headers), expected, "{accept:?}");
        }
    }
}
