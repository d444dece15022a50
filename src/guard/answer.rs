//! The answer as the caller gets it: published outputs of the caller's own rows, and nothing else.

use super::Call;
use crate::audit::Outcome;
use crate::decision::Release;
use crate::intake::parameters::{Parameters, Wanted};
use crate::judgement::{Judgement, Served};
use crate::proto::infer_parameter::ParameterChoice;
use crate::proto::model_infer_response::InferOutputTensor;
use crate::proto::{InferParameter, ModelInferResponse};
use crate::reason::Status;
use crate::refusal::Refusal;
use bytes::Bytes;

/// An answer that may leave: made from a judgement whose verdict allows it.
#[derive(Debug)]
pub struct Answer {
    response: ModelInferResponse,
    outcome: Outcome,
}

impl Answer {
    /// `_release` proves that the verdict allows an answer.
    pub(super) fn new(
        _release: Release,
        served: &Served,
        judgement: &Judgement,
        asked: &Parameters,
        call: &Call,
        id: &str,
    ) -> Result<Self, Refusal> {
        let verdict = judgement.verdict();
        let mut response = ModelInferResponse {
            model_name: served.contract.name.clone(),
            model_version: served.contract.version.clone(),
            id: id.to_owned(),
            ..ModelInferResponse::default()
        };
        for wanted in &asked.outputs {
            let (output, bytes) = output(served, judgement, wanted)
                .ok_or_else(|| Refusal::internal("an output is not what the contract says"))?;
            response.outputs.push(output);
            response.raw_output_contents.push(Bytes::from(bytes));
        }
        let mut add = |name: &str, value: ParameterChoice| {
            response.parameters.insert(name.to_owned(), InferParameter { parameter_choice: Some(value) });
        };
        add("asepsis_request_id", ParameterChoice::StringParam(call.request_id().to_string()));
        add("asepsis_model_version", ParameterChoice::StringParam(served.contract.version.clone()));
        if call.admitted().sees_action() {
            add("asepsis_action", ParameterChoice::StringParam(verdict.action().to_string()));
            let rows: Vec<&str> = judgement.rows().iter().map(|row| row.action().as_str()).collect();
            add("asepsis_row_actions", ParameterChoice::StringParam(rows.join(",")));
        }
        if asked.marks_final {
            add("triton_final_response", ParameterChoice::BoolParam(true));
        }
        let outcome = Outcome {
            action: verdict.action(),
            reason: verdict.reason(),
            status: Status::Ok,
            detail: verdict.detail(),
        };
        Ok(Self { response, outcome })
    }

    /// For the wire.
    #[must_use]
    pub fn into_response(self) -> ModelInferResponse {
        self.response
    }

    /// For the audit entry.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.outcome.clone()
    }
}

fn output(served: &Served, judgement: &Judgement, wanted: &Wanted) -> Option<(InferOutputTensor, Vec<u8>)> {
    let spec = served.contract.outputs.get(wanted.index)?;
    let outputs = judgement.outputs();
    let mut described = InferOutputTensor { name: spec.name.clone(), ..InferOutputTensor::default() };
    let Some(classes) = wanted.classes else {
        spec.datatype.as_str().clone_into(&mut described.datatype);
        let shape = outputs.clean_shape(wanted.index)?;
        described.shape = shape.iter().map(|dim| i64::try_from(*dim).ok()).collect::<Option<_>>()?;
        return Some((described, outputs.clean_bytes(wanted.index)?));
    };
    described.datatype = "BYTES".into();
    described.shape = vec![i64::try_from(outputs.rows()).ok()?, i64::try_from(classes).ok()?];
    let mut bytes = Vec::new();
    for row in 0..outputs.rows() {
        for text in best(outputs.clean(wanted.index, row)?, classes, &served.labels) {
            // BYTES elements: a little-endian length, then the bytes.
            bytes.extend_from_slice(&u32::try_from(text.len()).ok()?.to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    Some((described, bytes))
}

/// The `count` largest as `value:index:label`, as the classification extension of the protocol has it.
fn best(values: &[f32], count: usize, labels: &[String]) -> Vec<String> {
    let mut order: Vec<(usize, f32)> = values.iter().copied().enumerate().collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let text = |(index, value): &(usize, f32)| match labels.get(*index) {
        Some(label) => format!("{value:.6}:{index}:{label}"),
        None => format!("{value:.6}:{index}"),
    };
    order.iter().take(count).map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_listed_best_first_and_ties_by_index() {
        let labels = ["a".to_owned(), "b".to_owned()];
        assert_eq!(best(&[0.25, 0.5, 0.25], 2, &labels), ["0.500000:1:b", "0.250000:0:a"]);
        assert_eq!(best(&[0.25, 0.75], 9, &[]).len(), 2);
    }
}
