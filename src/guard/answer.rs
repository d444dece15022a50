//! The answer as the caller gets it: published outputs of the caller's own rows, and nothing else.

use super::{Call, Settled};
use crate::admission::Content;
use crate::audit::Outcome;
use crate::decision::{Release, Verdict};
use crate::inference::Outputs;
use crate::intake::parameters::{Parameters, Wanted};
use crate::judgement::Served;
use crate::judgement::certify::{ALPHA, Certified};
use crate::proto::infer_parameter::ParameterChoice;
use crate::proto::model_infer_response::InferOutputTensor;
use crate::proto::{InferParameter, ModelInferResponse};
use crate::reason::Status;
use crate::refusal::Refusal;
use crate::tensor::Datatype;
use bytes::Bytes;
use half::{bf16, f16};

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
        settled: &Settled,
        asked: &Parameters,
        call: &Call,
        id: &str,
    ) -> Result<Self, Refusal> {
        let (verdict, own) = (settled.verdict(), settled.own());
        let mut response = ModelInferResponse {
            model_name: served.contract.name.clone(),
            model_version: served.contract.version.clone(),
            id: id.to_owned(),
            ..ModelInferResponse::default()
        };
        let content = call.content();
        for wanted in &asked.outputs {
            let (output, bytes) = output(served, settled.outputs(), wanted, content)
                .ok_or_else(|| Refusal::internal("an output is not what the contract says"))?;
            response.outputs.push(output);
            response.raw_output_contents.push(Bytes::from(bytes));
        }
        let mut add = |name: &str, value: ParameterChoice| {
            response.parameters.insert(name.to_owned(), InferParameter { parameter_choice: Some(value) });
        };
        add("asepsis_request_id", ParameterChoice::StringParam(call.request_id().to_string()));
        add("asepsis_model_version", ParameterChoice::StringParam(served.contract.version.clone()));
        if let Some(emergency) = call.emergency() {
            add("asepsis_emergency", ParameterChoice::StringParam(emergency.to_owned()));
        }
        if call.sees_action() {
            add("asepsis_action", ParameterChoice::StringParam(verdict.action().to_string()));
            let rows: Vec<&str> = own.rows().iter().map(|row| row.action().as_str()).collect();
            add("asepsis_row_actions", ParameterChoice::StringParam(rows.join(",")));
            if let Some(baseline) = settled.baseline() {
                add("asepsis_baseline", ParameterChoice::StringParam(baseline.to_owned()));
            }
        }
        if call.sees_evidence() {
            let p_value = |row: &Verdict| row.evidence().map_or(f64::NAN, |evidence| evidence.p_value());
            let p_values: Vec<String> = own.rows().iter().map(|row| p_value(row).to_string()).collect();
            add("asepsis_p_values", ParameterChoice::StringParam(p_values.join(",")));
            add("asepsis_rows_run", ParameterChoice::Int64Param(whole(settled.rows_run())));
        }
        if let Some(votes) = settled.certified() {
            add_votes(votes, &mut add);
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

/// Of each row the certified class and radius, `-` for one that abstains, and how likely each may be wrong.
fn add_votes(votes: &[Option<Certified>], add: &mut impl FnMut(&str, ParameterChoice)) {
    let each = |text: fn(&Certified) -> String| {
        let rows: Vec<String> = votes.iter().map(|vote| vote.as_ref().map_or("-".into(), text)).collect();
        ParameterChoice::StringParam(rows.join(","))
    };
    add("asepsis_certified_class", each(|vote| vote.class.to_string()));
    add("asepsis_certified_radius", each(|vote| format!("{:.6}", (vote.radius * 1e6).floor() / 1e6)));
    add("asepsis_certified_alpha", ParameterChoice::StringParam(ALPHA.to_string()));
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn output(
    served: &Served,
    outputs: &Outputs,
    wanted: &Wanted,
    content: Content,
) -> Option<(InferOutputTensor, Vec<u8>)> {
    let spec = served.contract.outputs.get(wanted.index)?;
    let mut described = InferOutputTensor { name: spec.name.clone(), ..InferOutputTensor::default() };
    let Some(classes) = wanted.classes else {
        spec.datatype.as_str().clone_into(&mut described.datatype);
        let shape = outputs.clean_shape(wanted.index)?;
        described.shape = shape.iter().map(|dim| i64::try_from(*dim).ok()).collect::<Option<_>>()?;
        let bytes = outputs.clean_bytes(wanted.index)?;
        let bytes = if content == Content::Full { bytes } else { rounded_bytes(spec.datatype, &bytes)? };
        return Some((described, bytes));
    };
    described.datatype = "BYTES".into();
    described.shape = vec![i64::try_from(outputs.rows()).ok()?, i64::try_from(classes).ok()?];
    let mut bytes = Vec::new();
    for row in 0..outputs.rows() {
        for text in best(outputs.clean(wanted.index, row)?, classes, &served.labels, content) {
            // BYTES elements: a little-endian length, then the bytes.
            bytes.extend_from_slice(&u32::try_from(text.len()).ok()?.to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    Some((described, bytes))
}

/// Two decimals are what a person reads, and leave little of the gradient by which a model is extracted
/// (Tramer et al., USENIX Security 2016, section 7).
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// Every number of a tensor rounded; whole numbers and text stay as they are.
fn rounded_bytes(datatype: Datatype, bytes: &[u8]) -> Option<Vec<u8>> {
    macro_rules! round {
        ($element:ty, $widen:expr, $narrow:expr) => {{
            let (values, rest) = bytes.as_chunks();
            let round = |v| $narrow(rounded($widen(<$element>::from_le_bytes(v)))).to_le_bytes();
            rest.is_empty().then(|| values.iter().copied().flat_map(round).collect())?
        }};
    }
    let bytes = match datatype {
        Datatype::Fp16 => round!(f16, f64::from, f16::from_f64),
        Datatype::Bf16 => round!(bf16, f64::from, bf16::from_f64),
        Datatype::Fp32 => round!(f32, f64::from, narrow),
        Datatype::Fp64 => round!(f64, std::convert::identity, std::convert::identity),
        Datatype::Bool
        | Datatype::Uint8
        | Datatype::Uint16
        | Datatype::Uint32
        | Datatype::Uint64
        | Datatype::Int8
        | Datatype::Int16
        | Datatype::Int32
        | Datatype::Int64
        | Datatype::Bytes => bytes.to_vec(),
    };
    Some(bytes)
}

#[expect(clippy::cast_possible_truncation, reason = "the nearest number of the tensor's own datatype")]
fn narrow(value: f64) -> f32 {
    value as f32
}

/// The `count` largest as `value:index:label`, as the classification extension of the protocol has it; without
/// its value where the caller may have the label alone.
fn best(values: &[f32], count: usize, labels: &[String], content: Content) -> Vec<String> {
    let mut order: Vec<(usize, f32)> = values.iter().copied().enumerate().collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let text = |(index, value): &(usize, f32)| {
        let value = match content {
            Content::Full => format!("{value:.6}"),
            Content::Rounded => format!("{value:.2}"),
            Content::Label => String::new(),
        };
        match labels.get(*index) {
            Some(label) => format!("{value}:{index}:{label}"),
            None => format!("{value}:{index}"),
        }
    };
    order.iter().take(count).map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_listed_best_first_and_ties_by_index() {
        let labels = ["a".to_owned(), "b".to_owned()];
        assert_eq!(best(&[0.25, 0.5, 0.25], 2, &labels, Content::Full), ["0.500000:1:b", "0.250000:0:a"]);
        assert_eq!(best(&[0.25, 0.75], 9, &[], Content::Full).len(), 2);
    }

    #[test]
    fn a_caller_gets_no_more_of_the_scores_than_its_role_says() {
        let labels = ["a".to_owned(), "b".to_owned()];
        assert_eq!(best(&[0.123_456, 0.876_544], 1, &labels, Content::Label), [":1:b"]);
        assert_eq!(best(&[0.123_456, 0.876_544], 1, &labels, Content::Rounded), ["0.88:1:b"]);
        let bytes: Vec<u8> = [0.123_456_f32, -1.005].iter().flat_map(|v| v.to_le_bytes()).collect();
        let wanted: Vec<u8> = [0.12_f32, -1.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(rounded_bytes(Datatype::Fp32, &bytes), Some(wanted));
        assert_eq!(rounded_bytes(Datatype::Fp32, &bytes[1..]), None);
        let half = |v: f64| f16::from_f64(v).to_le_bytes().to_vec();
        assert_eq!(rounded_bytes(Datatype::Fp16, &half(0.123_456)), Some(half(0.12)));
        let brain = |v: f64| bf16::from_f64(v).to_le_bytes().to_vec();
        assert_eq!(rounded_bytes(Datatype::Bf16, &brain(0.8765)), Some(brain(0.88)));
        assert_eq!(rounded_bytes(Datatype::Int64, &[1, 2]), Some(vec![1, 2]));
    }
}
