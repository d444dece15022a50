//! `asepsis client`: one request of each kind to a running sidecar, and whether each ends as it must.

use super::Failure;
use super::demo::callers::Callers;
use super::demo::cases::{self, Caller, Case, Data, Expected};
use super::demo::closing;
use super::demo::ledger::{Entries, Mark};
use super::demo::report::{self, Colour, Row};
use crate::clock;
use crate::config::Config;
use crate::proto::ModelInferResponse;
use crate::proto::infer_parameter::ParameterChoice;
use crate::reason::{Action, Reason};
use crate::transport::client::{Outcome, Target, TransportError};
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Arguments.
#[derive(clap::Args)]
pub struct Args {
    /// The sidecar's configuration file: where it listens, and where its audit log is.
    #[arg(long, default_value = "demo/asepsis.toml", value_name = "FILE")]
    config: PathBuf,
    /// Where it serves gRPC, if elsewhere than the configuration says: HOST:PORT or unix:PATH.
    #[arg(long)]
    target: Option<Target>,
    /// Where it serves /metrics, if elsewhere than the configuration says.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    /// The development PKI [default: pki beside the configuration file].
    #[arg(long, value_name = "DIR")]
    pki: Option<PathBuf>,
    /// The samples to send.
    #[arg(long, default_value = "examples/demo", value_name = "DIR")]
    samples: PathBuf,
    /// Print a JSON list of what was sent and how it ended, and nothing else.
    #[arg(long)]
    json: bool,
}

/// No call of the demo takes as long.
pub(super) const TIMEOUT: Duration = Duration::from_secs(20);

/// Sends every case and tells how each ended.
///
/// # Errors
/// No sidecar answers, or a case did not end as it must.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let config = Config::load(&args.config, std::env::vars_os())
        .map_err(|problems| Failure::Configuration(problems.to_string()))?;
    let data = Data::read(&args.samples).map_err(Failure::Configuration)?;
    let cases = cases::all(&data, config.limits.message_bytes_max).map_err(Failure::Configuration)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let beside = || args.config.parent().unwrap_or(Path::new("")).join("pki");
    let pki = args.pki.clone().unwrap_or_else(beside);
    let mut callers = Callers::new(target(args, &config)?, pki);
    let mark = Mark::now(&config.audit.directory);
    let mut rows = runtime.block_on(send_all(&mut callers, cases))?;
    let entries = mark.as_ref().ok().and_then(|mark| mark.since().ok());
    for row in &mut rows {
        confirm(row, entries.as_ref());
    }
    if args.json {
        writeln!(out, "{}", report::json(&rows))?;
        return verdict(&rows);
    }
    let colour = Colour(std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    writeln!(out, "{}", report::table(&rows, colour))?;
    let passed = rows.iter().filter(|row| row.pass).count();
    let summary = format!("{passed} of {} as expected", rows.len());
    writeln!(out, "{}\n", colour.paint(if passed == rows.len() { "1;32" } else { "1;31" }, &summary))?;
    if let Some(request) = data.benign() {
        writeln!(out, "Latency   {}", runtime.block_on(closing::latency(&mut callers, request))?)?;
    }
    let entries = mark.ok().and_then(|mark| mark.since().ok());
    closing::tell_audit(&config, entries.as_ref(), out)?;
    let admin = args.admin.or_else(|| config.listen.admin.parse().ok());
    closing::tell_metrics(admin, out)?;
    verdict(&rows)
}

fn verdict(rows: &[Row]) -> Result<(), Failure> {
    match rows.iter().filter(|row| !row.pass).count() {
        0 => Ok(()),
        failed => Err(Failure::Other(format!("{failed} of {} cases did not end as they must", rows.len()))),
    }
}

fn target(args: &Args, config: &Config) -> Result<Target, Failure> {
    let unix = config.listen.unix.as_ref().map(|path| Target::Unix(path.clone()));
    let configured = config.listen.grpc.as_ref().and_then(|address| address.parse().ok());
    let target = args.target.clone().or(configured).or(unix);
    target.ok_or_else(|| Failure::Usage("the configuration has no listen.grpc; give --target".into()))
}

async fn send_all(callers: &mut Callers, cases: Vec<Case>) -> Result<Vec<Row>, Failure> {
    if let Err(error) = callers.client(Caller::Client).await? {
        let target = callers.target();
        let why = format!("no sidecar answers at {target}: {error}; start one with: make serve");
        return Err(Failure::Other(why));
    }
    let mut rows = Vec::with_capacity(cases.len());
    for case in cases {
        let request = case.request.clone();
        if case.caller.certificate().is_some() {
            // So that the time is that of the call and not of the handshake.
            drop(callers.client(case.caller).await?);
        }
        let started = clock::instant();
        let outcome = match callers.client(case.caller).await? {
            Ok(mut client) => client.infer(request, TIMEOUT).await,
            Err(error) => Outcome::Transport(error),
        };
        let ms = clock::instant().duration_since(started).as_secs_f64() * 1e3;
        rows.push(row(&case, outcome, (ms * 1e3).round() / 1e3));
    }
    Ok(rows)
}

/// What the caller saw, beside what it had to see.
fn row(case: &Case, outcome: Outcome, ms: f64) -> Row {
    let mut row = Row {
        group: case.group,
        case: case.name.to_owned(),
        sent: case.sent.clone(),
        status: String::new(),
        action: String::new(),
        answer: String::new(),
        reason: String::new(),
        expected: case.expected.to_string(),
        pass: false,
        ms,
        message: String::new(),
        request_id: None,
    };
    match outcome {
        Outcome::Answer(answer) => answered(&mut row, &case.expected, &answer),
        Outcome::Refused(refused) => {
            row.status = refused.status;
            row.action = refused.action.unwrap_or_default();
            row.answer.clone_from(&row.action);
            row.reason = refused.reason.unwrap_or_default();
            row.message = format!("the server says: {}", refused.message);
            row.request_id = refused.request_id;
            row.pass = match case.expected {
                Expected::Doubted => seen(&row) == withheld().to_string(),
                Expected::Answer(_) | Expected::Refusal(..) | Expected::Alert(_) => {
                    seen(&row) == row.expected
                }
            };
        }
        Outcome::Transport(TransportError::Alert(alert)) => {
            "TLS alert".clone_into(&mut row.status);
            Action::Refused.as_str().clone_into(&mut row.action);
            row.reason = alert.replace(' ', "_");
            row.pass = case.expected == Expected::Alert("certificate required") && seen(&row) == row.expected;
            row.answer = alert;
        }
        Outcome::Transport(TransportError::Broken(why)) => {
            "no connection".clone_into(&mut row.status);
            row.message = why;
        }
    }
    row
}

fn answered(row: &mut Row, expected: &Expected, answer: &ModelInferResponse) {
    "OK".clone_into(&mut row.status);
    row.action = text(answer, "asepsis_action").unwrap_or_default();
    row.request_id = text(answer, "asepsis_request_id");
    let best: Vec<(f64, String)> = classes(answer.raw_output_contents.first().map_or(&[], |raw| raw));
    let (shown, class) = match best.as_slice() {
        [] => (String::new(), None),
        [(probability, class)] => (format!("{class} {}", percent(*probability)), Some(class)),
        several => (format!("{} answers", several.len()), None),
    };
    row.answer = format!("{} {shown}", row.action);
    let fits = match expected {
        Expected::Answer(None) | Expected::Doubted => !best.is_empty(),
        Expected::Answer(wanted) => wanted.as_ref() == class,
        Expected::Refusal(..) | Expected::Alert(_) => false,
    };
    let action = if *expected == Expected::Doubted { Action::Flagged } else { Action::Allowed };
    row.message = format!("the answer is {}", row.answer);
    row.pass = fits && row.action == action.as_str();
}

/// How an attack ends that the evidence is clear about.
fn withheld() -> Expected {
    Expected::Refusal(Action::Withheld, Reason::Anomalous)
}

fn seen(row: &Row) -> String {
    format!("{} {} {}", row.status, row.action, row.reason)
}

/// Compares what the caller was told with what is on record. Without a log to read (a sidecar elsewhere), the
/// caller's word stands alone, and nobody knows the reason of an answer.
fn confirm(row: &mut Row, entries: Option<&Entries>) {
    let (Some(entries), Some(id)) = (entries, &row.request_id) else { return };
    let Some(entry) = entries.of(id) else {
        row.pass = false;
        row.message = format!("the audit log does not hold exactly one entry of request {id}");
        return;
    };
    if row.reason.is_empty() {
        row.reason.clone_from(&entry.reason);
    }
    let told = (&row.action, &row.reason, &row.status);
    if told != (&entry.action, &entry.reason, &entry.status) {
        row.pass = false;
        row.message = format!("on record is {} {} {}", entry.status, entry.action, entry.reason);
    }
}

fn text(answer: &ModelInferResponse, name: &str) -> Option<String> {
    match answer.parameters.get(name)?.parameter_choice.as_ref()? {
        ParameterChoice::StringParam(text) => Some(text.clone()),
        ParameterChoice::BoolParam(_)
        | ParameterChoice::Int64Param(_)
        | ParameterChoice::DoubleParam(_)
        | ParameterChoice::Uint64Param(_) => None,
    }
}

/// The classes of a `classification` output: BYTES elements `value:index:label`.
fn classes(mut raw: &[u8]) -> Vec<(f64, String)> {
    let mut classes = Vec::new();
    while let Some((length, rest)) = raw.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let Some((element, rest)) = rest.split_at_checked(length) else { break };
        raw = rest;
        let element = String::from_utf8_lossy(element);
        let mut parts = element.splitn(3, ':');
        let Some(probability) = parts.next().and_then(|value| value.parse().ok()) else { break };
        classes.push((probability, parts.last().unwrap_or_default().to_owned()));
    }
    classes
}

/// Whole percents, rounded down: 99.96% is not 100%.
fn percent(probability: f64) -> String {
    format!("{:.0}%", (probability * 100.0).floor())
}

#[cfg(test)]
mod tests {
    use super::super::demo::cases::Group;
    use super::*;
    use crate::proto::{InferParameter, ModelInferRequest};
    use crate::transport::client::Refused;
    use std::collections::BTreeMap;

    fn case(expected: Expected) -> Case {
        Case {
            group: Group::Answered,
            name: "case",
            sent: "sent".into(),
            caller: Caller::Client,
            request: ModelInferRequest::default(),
            expected,
        }
    }

    fn answer(action: &str, classes: &[&str]) -> Outcome {
        let text =
            |text: &str| InferParameter { parameter_choice: Some(ParameterChoice::StringParam(text.into())) };
        let mut raw = Vec::new();
        for class in classes {
            raw.extend_from_slice(&u32::try_from(class.len()).unwrap().to_le_bytes());
            raw.extend_from_slice(class.as_bytes());
        }
        Outcome::Answer(ModelInferResponse {
            parameters: BTreeMap::from([
                ("asepsis_action".to_owned(), text(action)),
                ("asepsis_request_id".to_owned(), text("id")),
            ]),
            raw_output_contents: vec![raw.into()],
            ..ModelInferResponse::default()
        })
    }

    fn refused(status: &str, action: &str, reason: &str) -> Outcome {
        Outcome::Refused(Refused {
            status: status.into(),
            action: Some(action.into()),
            reason: Some(reason.into()),
            ..Refused::default()
        })
    }

    fn passes(expected: Expected, outcome: Outcome) -> bool {
        row(&case(expected), outcome, 1.0).pass
    }

    #[test]
    fn an_answer_that_is_flagged_wrong_or_unexpected_fails() {
        let benign = || Expected::Answer(Some("benign".into()));
        assert!(!passes(benign(), answer("flagged", &["0.9:1:benign"])));
        assert!(!passes(benign(), answer("allowed", &["0.9:0:malignant"])));
        assert!(!passes(benign(), answer("allowed", &[])));
        assert!(!passes(benign(), refused("FAILED_PRECONDITION", "withheld", "anomalous")));
        assert!(!passes(Expected::Doubted, answer("allowed", &["0.9:1:benign"])));
        assert!(!passes(Expected::Doubted, refused("FAILED_PRECONDITION", "withheld", "unmeasured")));
        assert!(!passes(withheld(), answer("allowed", &["0.9:1:benign"])));
        assert!(!passes(withheld(), refused("FAILED_PRECONDITION", "withheld", "unmeasured")));
        assert!(!passes(withheld(), refused("INTERNAL", "withheld", "anomalous")));
        let broken = TransportError::Broken("reset".into());
        assert!(!passes(Expected::Alert("certificate required"), Outcome::Transport(broken)));
        let other = TransportError::Alert("unknown ca".into());
        assert!(!passes(Expected::Alert("certificate required"), Outcome::Transport(other)));
    }

    #[test]
    fn each_kind_of_end_passes_where_it_is_expected() {
        assert!(passes(Expected::Answer(Some("benign".into())), answer("allowed", &["0.9:1:benign"])));
        assert!(passes(Expected::Answer(None), answer("allowed", &["0.9:1:benign", "0.8:0:malignant"])));
        assert!(passes(Expected::Doubted, answer("flagged", &["0.5:1:benign"])));
        assert!(passes(Expected::Doubted, refused("FAILED_PRECONDITION", "withheld", "anomalous")));
        assert!(passes(withheld(), refused("FAILED_PRECONDITION", "withheld", "anomalous")));
        let alert = TransportError::Alert("certificate required".into());
        assert!(passes(Expected::Alert("certificate required"), Outcome::Transport(alert)));
    }

    #[test]
    fn an_answer_that_is_not_on_record_fails() {
        let benign = case(Expected::Answer(Some("benign".into())));
        let mut row = row(&benign, answer("allowed", &["0.9996:1:benign"]), 1.0);
        assert_eq!(row.answer, "allowed benign 99%");
        confirm(&mut row, None);
        assert!(row.pass);
        confirm(&mut row, Some(&Entries::default()));
        assert!(!row.pass && row.message.contains("exactly one"));
    }

    #[test]
    fn torn_classes_are_not_read() {
        assert!(classes(&[9, 0, 0, 0, b'1']).is_empty());
        assert!(classes(&[1, 0, 0]).is_empty());
    }
}
