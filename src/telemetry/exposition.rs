//! In which words is a scrape answered? OpenMetrics, or the older text format of Prometheus, made of it.
//!
//! OpenMetrics: <https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md>; the older one:
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::fmt::{self, Write};

/// A format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    /// OpenMetrics 1.0, with exemplars.
    OpenMetrics,
    /// Version 0.0.4 of the Prometheus text format, which every reader of metrics takes.
    PlainText,
}

/// Names that Triton's counters have; OpenMetrics lets no counter be called so.
pub(super) const TRITON: &str = "nv_";

/// The same metrics in the older format: counters and infos are called what their samples are, and exemplars, units
/// and the end mark are left out.
pub(super) fn plain_text(open_metrics: &str, out: &mut String) -> fmt::Result {
    let mut help = "";
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').map_or("", |(_, text)| text);
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|described| described.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" if name.starts_with(TRITON) => ("", "counter"),
                "unknown" => ("", "untyped"),
                other => ("", other),
            };
            write!(out, "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n")?;
        } else if !line.starts_with('#') {
            writeln!(out, "{}", without_exemplar(line))?;
        }
    }
    Ok(())
}

/// A sample up to the `#` that no label holds.
fn without_exemplar(sample: &str) -> &str {
    let (mut quoted, mut escaped) = (false, false);
    let exemplar = sample.find(|c| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '#' if !quoted => return true,
            _ => {}
        }
        false
    });
    exemplar.and_then(|at| sample.get(..at)).unwrap_or(sample).trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_open_metrics_own_is_left_out() {
        let open = "# HELP asepsis_build The version.\n# TYPE asepsis_build info\nasepsis_build_info{version=\"1\"} 1\n\
            # HELP a Requests.\n# TYPE a counter\na_total{model=\"x # {\\\"} \"} 7 # {trace_id=\"0a\"} 1.0\n\
            # HELP s_seconds Time.\n# TYPE s_seconds histogram\n# UNIT s_seconds seconds\n\
            s_seconds_bucket{le=\"+Inf\"} 1 # {trace_id=\"0a\"} 0.002 1763840000.5\n\
            # HELP nv_x Triton's.\n# TYPE nv_x unknown\nnv_x 3\n# EOF\n";
        let mut out = String::new();
        plain_text(open, &mut out).unwrap();
        let expected = "# HELP asepsis_build_info The version.\n# TYPE asepsis_build_info gauge\n\
            asepsis_build_info{version=\"1\"} 1\n# HELP a_total Requests.\n# TYPE a_total counter\n\
            a_total{model=\"x # {\\\"} \"} 7\n# HELP s_seconds Time.\n# TYPE s_seconds histogram\n\
            s_seconds_bucket{le=\"+Inf\"} 1\n# HELP nv_x Triton's.\n# TYPE nv_x counter\nnv_x 3\n";
        assert_eq!(out, expected);
    }
}
