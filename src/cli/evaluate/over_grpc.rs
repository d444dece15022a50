//! What does a running sidecar do with these rows?

use super::super::Failure;
use super::Args;
use crate::cli::demo::request;
use crate::proto::infer_parameter::ParameterChoice;
use crate::proto::model_metadata_response::TensorMetadata;
use crate::proto::{ModelInferResponse, ModelMetadataRequest, ModelMetadataResponse};
use crate::transport::client::{Client, Outcome, Target};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_mins(1);

/// What was done with the rows of every set.
#[derive(Serialize)]
struct Results {
    model: String,
    version: String,
    target: String,
    sets: BTreeMap<String, Ended>,
}

/// What was done with the rows of one set, row by row.
#[derive(Default, Serialize)]
struct Ended {
    rows: usize,
    /// Rows that the contract refuses.
    refused: usize,
    actions: BTreeMap<String, usize>,
    /// `None` where a row was refused, or its answer kept back: the caller is told no evidence then.
    p_values: Vec<Option<f64>>,
    /// What was done with each row.
    row_actions: Vec<String>,
    /// Rows the model ran for each row, copies included.
    passes: Vec<Option<i64>>,
}

/// Sends every row by itself.
pub(super) async fn send(args: &Args, out: &mut dyn Write) -> Result<serde_json::Value, Failure> {
    let other = |error: &dyn std::fmt::Display| Failure::Other(error.to_string());
    let (Some(target), Some(model)) = (&args.target, &args.model) else {
        return Err(Failure::Usage("give --target and --model".into()));
    };
    let mut client = Client::connect(target, Some(args.caller.tls()?))
        .await
        .map_err(|e| other(&format!("{target}: {e}")))?;
    let metadata = metadata(&mut client, model, &args.version).await?;
    let [input] = metadata.inputs.as_slice() else {
        return Err(other(&format!("{model} has several inputs; rows of one are in a file")));
    };
    let shape = input.shape.get(1..).unwrap_or_default();
    let row_len = shape.iter().try_fold(1_usize, |len, dim| len.checked_mul(usize::try_from(*dim).ok()?));
    let sets = args.read(row_len.unwrap_or(0))?;
    let version = metadata.versions.last().cloned().unwrap_or_default();
    let mut results =
        Results { model: model.clone(), version, target: described(target), sets: BTreeMap::new() };
    for set in sets {
        let mut ended = Ended::default();
        for row in set.rows() {
            let mut request = request::fp32(model, &input.name, shape, &[row]);
            args.version.clone_into(&mut request.model_version);
            request.outputs.clear();
            ended.note(client.infer(request, TIMEOUT).await)?;
        }
        writeln!(out, "{}: {} rows, {}", set.name, ended.rows, told(&ended.actions))?;
        results.sets.insert(set.name, ended);
    }
    serde_json::to_value(results).map_err(|error| other(&error))
}

async fn metadata(client: &mut Client, model: &str, version: &str) -> Result<ModelMetadataResponse, Failure> {
    let request = ModelMetadataRequest { name: model.to_owned(), version: version.to_owned() };
    let metadata = client.inner().model_metadata(request).await;
    let metadata: ModelMetadataResponse =
        metadata.map_err(|status| Failure::Other(format!("{model}: {}", status.message())))?.into_inner();
    let real = |input: &TensorMetadata| input.datatype == "FP32";
    if metadata.inputs.iter().all(real) {
        return Ok(metadata);
    }
    Err(Failure::Other(format!("{model} takes other tensors than FP32")))
}

impl Ended {
    fn note(&mut self, outcome: Outcome) -> Result<(), Failure> {
        let (action, p_value, passes) = match outcome {
            Outcome::Answer(response) => {
                let action = text(&response, "asepsis_action").ok_or_else(|| {
                    let needed = "the caller's role needs `sees_evidence = true` in the access policy";
                    Failure::Other(format!("the sidecar does not say what it did: {needed}"))
                })?;
                let p_value = text(&response, "asepsis_p_values").and_then(|text| text.parse().ok());
                (action, p_value.filter(|p: &f64| p.is_finite()), number(&response, "asepsis_rows_run"))
            }
            Outcome::Refused(refused) => {
                let action = refused.action.unwrap_or_else(|| "refused".to_owned());
                if action == "refused" && refused.violations.is_empty() {
                    return Err(Failure::Other(format!("{}: {}", refused.status, refused.message)));
                }
                (action, None, None)
            }
            Outcome::Transport(error) => return Err(Failure::Other(error.to_string())),
        };
        self.rows = self.rows.saturating_add(1);
        self.refused = self.refused.saturating_add(usize::from(action == "refused"));
        let count = self.actions.entry(action.clone()).or_default();
        *count = count.saturating_add(1);
        self.p_values.push(p_value);
        self.passes.push(passes);
        self.row_actions.push(action);
        Ok(())
    }
}

fn text(response: &ModelInferResponse, name: &str) -> Option<String> {
    let choice = response.parameters.get(name)?.parameter_choice.as_ref()?;
    if let ParameterChoice::StringParam(text) = choice { Some(text.clone()) } else { None }
}

fn number(response: &ModelInferResponse, name: &str) -> Option<i64> {
    let choice = response.parameters.get(name)?.parameter_choice.as_ref()?;
    if let ParameterChoice::Int64Param(number) = choice { Some(*number) } else { None }
}

fn described(target: &Target) -> String {
    target.to_string()
}

fn told(actions: &BTreeMap<String, usize>) -> String {
    let told: Vec<String> = actions.iter().map(|(action, count)| format!("{count} {action}")).collect();
    told.join(", ")
}
