//! What do the options mean, and which are none?

use super::Args;
use super::arrivals::CALLS_MAX;
use super::result::{Input, Load, Open, Settings, Source};
use super::rounds::Plan;
use super::statistics::Chance;
use super::verdict::{Rule, USUAL};
use std::time::Duration;

/// The ratio that is borne between two servers of one run, and between two runs.
const GATE_AGAINST: f64 = 1.10;
const GATE_BASELINE: f64 = 1.30;

/// Calls that an open loop may have under way on one connection: fewer than most servers allow.
const OPEN_PER_CONNECTION: usize = 100;
/// More of either is a mistake.
const COUNT_MAX: usize = 100_000;
const CONCURRENCY_MAX: usize = 100_000;
const LONGEST: Duration = Duration::from_hours(1);

/// A whole number from 1.
pub(super) fn count(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=COUNT_MAX).contains(count));
    count.ok_or_else(|| format!("use a whole number from 1 to {COUNT_MAX}"))
}

/// A number above 0.
pub(super) fn positive(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0);
    number.ok_or_else(|| "use a number above 0".to_owned())
}

/// From 0 to 1.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "use a share from 0 to 1".to_owned())
}

/// From 0.5 to 0.999.
pub(super) fn confidence(text: &str) -> Result<f64, String> {
    let confidence = text.parse().ok().filter(|confidence| (0.5..=0.999).contains(confidence));
    confidence.ok_or_else(|| "use a confidence from 0.5 to 0.999".to_owned())
}

/// `500ms`, `10s` or `2m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "use a time as in 500ms, 10s or 2m, at most an hour".to_owned();
    let unit = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (count, unit) = text.split_at_checked(unit).ok_or_else(wrong)?;
    let count: u32 = count.parse().map_err(|_| wrong())?;
    let unit = match unit {
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_mins(1),
        _ => return Err(wrong()),
    };
    unit.checked_mul(count).filter(|length| !length.is_zero() && *length <= LONGEST).ok_or_else(wrong)
}

/// `NAME: VALUE`, the value maybe in a file.
pub(super) fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("use NAME: VALUE")?;
    let (name, value) = (name.trim().to_owned(), value.trim());
    let Some(path) = value.strip_prefix('@') else { return Ok((name, value.to_owned())) };
    let text = crate::file::read_text(std::path::Path::new(path), 64 << 10);
    let text = text.map_err(|error| format!("{path}: {error}"))?;
    Ok((name, text.trim().to_owned()))
}

/// How the server is loaded.
///
/// # Errors
/// Options that do not go together.
pub(super) fn load(args: &Args) -> Result<Load, String> {
    let connections = args.connections;
    let usual = if args.rate.is_some() { OPEN_PER_CONNECTION } else { 1 };
    let concurrency = args.concurrency.unwrap_or_else(|| connections.saturating_mul(usual));
    if concurrency < connections {
        return Err(format!(
            "--concurrency {concurrency} leaves some of {connections} connections without a call"
        ));
    }
    if concurrency > CONCURRENCY_MAX {
        return Err(format!("--concurrency {concurrency} is more than {CONCURRENCY_MAX}"));
    }
    let open = args.rate.map(|rate| Open { rate, arrivals: args.arrivals });
    #[expect(clippy::cast_precision_loss, reason = "a bound")]
    let most = CALLS_MAX as f64;
    let longest = args.block.max(args.warmup).as_secs_f64();
    if open.as_ref().is_some_and(|open| open.rate * longest > most) {
        return Err(format!("--rate is too high for a block: at most {CALLS_MAX} calls"));
    }
    if args.against.is_none() && args.baseline.is_none() {
        if args.max_regression.is_some() {
            return Err("--max-regression needs --against or --baseline".to_owned());
        }
        if !args.gate.is_empty() {
            return Err("--gate needs --against or --baseline".to_owned());
        }
    }
    Ok(Load { connections, concurrency, open })
}

/// What the result says of the options.
pub(super) fn described(args: &Args, load: Load, inputs: Vec<Input>, data: Source) -> Settings {
    let ms = |length: Duration| u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    Settings {
        model: args.model.clone(),
        inputs,
        data,
        load,
        tls: args.target.is_tls,
        repetitions: args.repetitions,
        block_ms: ms(args.block),
        warmup_ms: ms(args.warmup),
        timeout_ms: ms(args.timeout),
        max_errors: args.max_errors,
        confidence: args.confidence,
        seed: args.seed,
    }
}

/// How long everything takes.
pub(super) fn plan(args: &Args, settings: &Settings) -> Plan {
    Plan {
        load: settings.load.clone(),
        repetitions: args.repetitions,
        block: args.block,
        warmup: args.warmup,
        warmup_calls: args.warmup_calls,
        patience: args.timeout,
        seed: args.seed,
    }
}

/// What fails a build.
pub(super) fn rule(args: &Args) -> Rule {
    let gate =
        args.max_regression.unwrap_or(if args.baseline.is_some() { GATE_BASELINE } else { GATE_AGAINST });
    Rule {
        figures: if args.gate.is_empty() { USUAL.to_vec() } else { args.gate.clone() },
        gate: Some(gate),
        chance: Chance { confidence: args.confidence, seed: args.seed },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_are_none_are_refused() {
        for text in ["", "0", "-1", "1.5", "x", "100001"] {
            assert!(count(text).is_err(), "count {text}");
        }
        for text in ["", "0", "-1", "inf", "nan"] {
            assert!(positive(text).is_err(), "positive {text}");
        }
        for text in ["-0.1", "1.1", "nan"] {
            assert!(share(text).is_err(), "share {text}");
        }
        for text in ["0.4", "1", "nan"] {
            assert!(confidence(text).is_err(), "confidence {text}");
        }
        for text in ["", "5", "ms", "0s", "5h", "61m", "-1s", "1.5s", "99999999999s", "5é"] {
            assert!(duration(text).is_err(), "duration {text}");
        }
        for text in ["", "authorization", "authorization: @/nowhere/token"] {
            assert!(header(text).is_err(), "header {text}");
        }
    }

    #[test]
    fn options_mean_what_they_say() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2m"), Ok(Duration::from_mins(2)));
        assert_eq!(header("x-api-key:  k:1 "), Ok(("x-api-key".to_owned(), "k:1".to_owned())));
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        std::fs::write(&file, "Bearer t\n").unwrap();
        let read = header(&format!("authorization: @{}", file.display()));
        assert_eq!(read, Ok(("authorization".to_owned(), "Bearer t".to_owned())));
    }
}
