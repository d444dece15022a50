//! What is answered: the model's own answer to the caller's own input, bit by bit.

use crate::house::{Bare, batch, golden, request, samples};
use crate::sidecar::{PATIENCE, Sidecar, block_on};
use asepsis::proto::infer_parameter::ParameterChoice;
use asepsis::proto::model_infer_request::InferRequestedOutputTensor;
use asepsis::proto::{InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse};
use asepsis::transport::client::{Client, Outcome};
use asepsis::transport::cores::Runtimes;

pub async fn answered(client: &mut Client, request: ModelInferRequest) -> ModelInferResponse {
    match client.infer(request, PATIENCE).await {
        Outcome::Answer(response) => response,
        other => panic!("expected an answer, got {other:?}"),
    }
}

pub fn floats(response: &ModelInferResponse) -> Vec<f32> {
    let (chunks, rest) = response.raw_output_contents[0].as_chunks::<4>();
    assert!(rest.is_empty());
    chunks.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn parameter<'a>(response: &'a ModelInferResponse, name: &str) -> Option<&'a ParameterChoice> {
    response.parameters.get(name)?.parameter_choice.as_ref()
}

#[test]
fn golden_inputs_get_their_golden_answers() {
    let sidecar = Sidecar::start_with(|config| config.policy.shadow = true);
    block_on(async {
        let mut client = sidecar.client("client").await;
        for model in ["wdbc", "digits", "pneumonia"] {
            let (inputs, answers) = golden(model);
            assert!(!inputs.is_empty());
            for (input, wanted) in inputs.iter().zip(&answers) {
                let got = floats(&answered(&mut client, request(model, input)).await);
                // Tolerance: the recorded answers come from another machine's vector units.
                let near = got.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-5);
                assert!(near && got.len() == wanted.len(), "{model}");
            }
        }
    });
}

#[test]
fn the_answer_beside_copies_is_bitwise_that_of_the_bare_model() {
    let sidecar = Sidecar::start();
    block_on(async {
        let mut client = sidecar.client("client").await;
        for model in ["wdbc", "digits", "pneumonia"] {
            let wanted = Bare::open(model, 1).run();
            let response = answered(&mut client, request(model, &samples(model).clean[0])).await;
            assert_eq!(floats(&response)[0].to_bits(), wanted.to_bits(), "{model}");
        }
    });
}

#[test]
fn clean_samples_are_answered_with_their_class_and_nothing_unpublished() {
    let sidecar = Sidecar::start();
    block_on(async {
        let mut client = sidecar.client("client").await;
        for model in ["wdbc", "digits", "pneumonia"] {
            let samples = samples(model);
            for (row, label) in samples.clean.iter().zip(&samples.label).take(6) {
                let response = answered(&mut client, request(model, row)).await;
                assert_eq!(response.outputs.len(), 1);
                assert_eq!(response.outputs[0].name, "probabilities");
                let probabilities = floats(&response);
                assert_eq!(response.outputs[0].shape, [1, i64::try_from(probabilities.len()).unwrap()]);
                let best =
                    (0..probabilities.len()).max_by(|a, b| probabilities[*a].total_cmp(&probabilities[*b]));
                assert_eq!(best, Some(*label), "{model}");
            }
        }
    });
}

#[test]
fn typed_contents_are_answered_as_raw_ones_are() {
    let sidecar = Sidecar::start();
    block_on(async {
        let mut client = sidecar.client("client").await;
        let row = &samples("wdbc").clean[1];
        let raw = answered(&mut client, request("wdbc", row)).await;
        let mut typed = request("wdbc", row);
        typed.raw_input_contents.clear();
        let contents = InferTensorContents { fp32_contents: row.clone(), ..InferTensorContents::default() };
        typed.inputs[0].contents = Some(contents);
        assert_eq!(floats(&answered(&mut client, typed).await), floats(&raw));
    });
}

#[test]
fn classification_lists_classes_by_label() {
    let sidecar = Sidecar::start();
    block_on(async {
        let mut client = sidecar.client("client").await;
        let samples = samples("wdbc");
        let mut asked = request("wdbc", &samples.clean[0]);
        let count = InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(1)) };
        asked.outputs.push(InferRequestedOutputTensor {
            name: "probabilities".into(),
            parameters: [("classification".to_owned(), count)].into(),
        });
        let response = answered(&mut client, asked).await;
        assert_eq!(
            (response.outputs[0].datatype.as_str(), &response.outputs[0].shape[..]),
            ("BYTES", &[1, 1][..])
        );
        let raw = &response.raw_output_contents[0];
        let length = u32::from_le_bytes(raw[..4].try_into().unwrap()) as usize;
        let text = str::from_utf8(&raw[4..4 + length]).unwrap();
        let label = ["malignant", "benign"][samples.label[0]];
        assert!(text.ends_with(&format!(":{}:{label}", samples.label[0])), "{text}");
    });
}

#[test]
fn who_may_know_is_told_the_action_and_who_may_not_is_not() {
    let sidecar = Sidecar::start();
    block_on(async {
        let row = &samples("pneumonia").clean[0];
        let mut developer = sidecar.client("client").await;
        let response = answered(&mut developer, request("pneumonia", row)).await;
        assert_eq!(
            parameter(&response, "asepsis_action"),
            Some(&ParameterChoice::StringParam("allowed".into()))
        );
        let mut radiologist = sidecar.client("client-Radiologists_AI_Read").await;
        let response = answered(&mut radiologist, request("pneumonia", row)).await;
        assert_eq!(parameter(&response, "asepsis_action"), None);
        assert!(parameter(&response, "asepsis_request_id").is_some());
        assert!(parameter(&response, "asepsis_model_version").is_some());
    });
}

#[test]
fn a_batch_gets_a_verdict_a_row() {
    let sidecar = Sidecar::start_with(|config| config.policy.alpha_flag = 0.9);
    block_on(async {
        let mut client = sidecar.client("client").await;
        let samples = samples("digits");
        let rows: Vec<&[f32]> = samples.clean.iter().take(8).map(Vec::as_slice).collect();
        let response = answered(&mut client, batch("digits", &rows)).await;
        let Some(ParameterChoice::StringParam(actions)) = parameter(&response, "asepsis_row_actions") else {
            panic!("no actions");
        };
        assert_eq!(actions.split(',').count(), 8);
        assert!(actions.contains("flagged"), "{actions}");
        assert_eq!(
            parameter(&response, "asepsis_action"),
            Some(&ParameterChoice::StringParam("flagged".into()))
        );
    });
}

#[test]
fn shadow_mode_answers_what_it_would_withhold() {
    let sidecar = Sidecar::start_with(|config| config.policy.shadow = true);
    block_on(async {
        let mut client = sidecar.client("client").await;
        let attacked = &samples("digits").attacked[0];
        assert_eq!(floats(&answered(&mut client, request("digits", attacked)).await).len(), 10);
    });
}

#[test]
fn a_runtime_for_each_core_answers_on_every_connection_the_same() {
    let sidecar = Sidecar::start_with(|config| config.listen.runtimes = Runtimes::PerCore);
    let wanted = Bare::open("wdbc", 1).run();
    block_on(async {
        let mut clients = Vec::new();
        for _ in 0..8 {
            clients.push(sidecar.client("client").await);
        }
        let ask = |client: &mut Client| {
            let mut client = client.clone();
            async move { answered(&mut client, request("wdbc", &samples("wdbc").clean[0])).await }
        };
        for response in futures_util::future::join_all(clients.iter_mut().map(ask)).await {
            assert_eq!(floats(&response)[0].to_bits(), wanted.to_bits());
        }
    });
    // Calls on every core are recorded before the sidecar has stopped.
    let left = sidecar.stop();
    assert_eq!(crate::sidecar::entries(left.path()).len(), 8);
}
