//! What the protocol tells of the server and its models, as far as this caller may know.

use crate::contract::{Contract, InputSpec, OutputSpec};
use crate::guard::{Call, Guard};
use crate::intake::prepare;
use crate::judgement::Served;
use crate::proto::model_metadata_response::TensorMetadata;
use crate::proto::repository_index_response::ModelIndex;
use crate::proto::{
    DataType, InferStatistics, ModelConfig, ModelConfigRequest, ModelConfigResponse, ModelInput,
    ModelMetadataRequest, ModelMetadataResponse, ModelOutput, ModelParameter, ModelReadyRequest,
    ModelReadyResponse, ModelRepositoryParameter, ModelStatistics, ModelStatisticsRequest,
    ModelStatisticsResponse, RepositoryIndexRequest, RepositoryIndexResponse, ServerMetadataResponse,
    StatisticDuration,
};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::telemetry::Statistics;
use crate::tensor::Datatype;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const PLATFORM: &str = "onnxruntime_onnx";

pub(super) fn server() -> ServerMetadataResponse {
    ServerMetadataResponse {
        name: "asepsis".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        extensions: ["classification", "model_configuration", "model_repository", "statistics"]
            .map(str::to_owned)
            .to_vec(),
    }
}

pub(super) fn ready(
    guard: &Guard,
    call: &mut Call,
    asked: &ModelReadyRequest,
) -> Result<ModelReadyResponse, Refusal> {
    let known = guard.catalog.knows(&asked.name) && call.admitted().sees(&asked.name, None);
    match guard.open(call, &asked.name, &asked.version) {
        Ok(_) => Ok(ModelReadyResponse { ready: true }),
        Err(refusal) if known && refusal.reason() == Reason::ModelForbidden => {
            Ok(ModelReadyResponse { ready: false })
        }
        Err(refusal) => Err(refusal),
    }
}

pub(super) fn metadata(
    guard: &Guard,
    call: &mut Call,
    asked: &ModelMetadataRequest,
) -> Result<ModelMetadataResponse, Refusal> {
    let served = guard.open(call, &asked.name, &asked.version)?;
    let contract = &served.contract;
    let input = |i: &InputSpec| tensor(&i.name, i.datatype, &i.shape);
    let output = |o: &OutputSpec| tensor(&o.name, o.datatype, &o.shape);
    Ok(ModelMetadataResponse {
        name: contract.name.clone(),
        versions: guard.catalog.versions(&contract.name).iter().map(u32::to_string).collect(),
        platform: PLATFORM.into(),
        inputs: contract.inputs.iter().map(input).collect(),
        outputs: contract.outputs.iter().filter(|o| o.publish).map(output).collect(),
    })
}

pub(super) fn config(
    guard: &Guard,
    call: &mut Call,
    asked: &ModelConfigRequest,
) -> Result<ModelConfigResponse, Refusal> {
    let served = guard.open(call, &asked.name, &asked.version)?;
    let contract = &served.contract;
    let dims = |shape: &[i64]| shape.iter().skip(1).copied().collect();
    let input = |i: &InputSpec| ModelInput {
        name: i.name.clone(),
        data_type: data_type(i.datatype).into(),
        dims: dims(&i.shape),
        ..ModelInput::default()
    };
    let output = |o: &OutputSpec| ModelOutput {
        name: o.name.clone(),
        data_type: data_type(o.datatype).into(),
        dims: dims(&o.shape),
        label_filename: contract.labels.clone().filter(|_| o.has_classes()).unwrap_or_default(),
        ..ModelOutput::default()
    };
    let config = ModelConfig {
        name: contract.name.clone(),
        platform: PLATFORM.into(),
        backend: "onnxruntime".into(),
        max_batch_size: i32::try_from(contract.client_rows_max()).unwrap_or(i32::MAX),
        input: contract.inputs.iter().map(input).collect(),
        output: contract.outputs.iter().filter(|o| o.publish).map(output).collect(),
        parameters: parameters(contract),
        ..ModelConfig::default()
    };
    Ok(ModelConfigResponse { config: Some(config) })
}

/// What the protocol has no field for: which files stand in for which input, and how they are prepared.
fn parameters(contract: &Contract) -> BTreeMap<String, ModelParameter> {
    let mut parameters = BTreeMap::new();
    let mut add =
        |name: String, string_value: String| parameters.insert(name, ModelParameter { string_value });
    for (input, image) in contract.inputs.iter().filter_map(|input| Some((input, input.image.as_ref()?))) {
        let formats: Vec<&str> = image.formats.iter().map(|format| format.as_str()).collect();
        add(format!("asepsis_files_{}", input.name), formats.join(","));
    }
    let preparation = prepare::digest(contract);
    if !preparation.is_empty() {
        add("asepsis_preparation_sha256".to_owned(), preparation);
    }
    parameters
}

pub(super) fn statistics(
    guard: &Guard,
    statistics: &Statistics,
    call: &mut Call,
    asked: &ModelStatisticsRequest,
) -> Result<ModelStatisticsResponse, Refusal> {
    let models = if asked.name.is_empty() {
        let visible = |served: &Arc<Served>| {
            let version = served.contract.version.parse().ok();
            call.admitted().sees(&served.contract.name, version)
        };
        guard.catalog.served().into_iter().filter(visible).collect()
    } else {
        vec![guard.open(call, &asked.name, &asked.version)?]
    };
    let model_stats = models.iter().map(|served| of_model(statistics, served)).collect();
    Ok(ModelStatisticsResponse { model_stats })
}

fn of_model(statistics: &Statistics, served: &Served) -> ModelStatistics {
    let told = statistics.of(&served.contract.name, &served.contract.version);
    let ns = |d: Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
    let lasting = |count: u64, total: Duration| Some(StatisticDuration { count, ns: ns(total) });
    let ran = told.success_count;
    ModelStatistics {
        name: served.contract.name.clone(),
        version: served.contract.version.clone(),
        last_inference: told.last_inference_ms,
        inference_count: told.inference_count,
        execution_count: told.execution_count,
        inference_stats: Some(InferStatistics {
            success: lasting(ran, told.success_total),
            fail: lasting(told.fail_count, told.fail_total),
            queue: lasting(ran, told.queue_total),
            compute_input: lasting(ran, told.compute_input_total),
            compute_infer: lasting(ran, told.compute_infer_total),
            compute_output: lasting(ran, told.compute_output_total),
            ..InferStatistics::default()
        }),
        ..ModelStatistics::default()
    }
}

pub(super) fn index(guard: &Guard, call: &Call, asked: &RepositoryIndexRequest) -> RepositoryIndexResponse {
    let listed = guard.catalog.index(call.admitted()).into_iter();
    let shown = listed.filter(|listed| listed.ready || !asked.ready);
    let models = shown.map(|listed| ModelIndex {
        name: listed.name,
        version: listed.version.to_string(),
        state: if listed.ready { "READY" } else { "UNAVAILABLE" }.into(),
        reason: if listed.ready { "" } else { "unloaded" }.into(),
    });
    RepositoryIndexResponse { models: models.collect() }
}

/// The name of a model on disk that this caller may load or unload; the entry names it. KServe's clients send
/// it in the first field.
pub(super) fn loadable(
    guard: &Guard,
    call: &mut Call,
    (repository, model): (&str, &str),
    parameters: &BTreeMap<String, ModelRepositoryParameter>,
) -> Result<String, Refusal> {
    if !parameters.is_empty() {
        let problem = "models and configurations come from disk alone; send no parameters";
        return Err(Refusal::new(Reason::BadParameter, problem));
    }
    let name = if model.is_empty() { repository } else { model };
    guard.find(call, name)?;
    Ok(name.to_owned())
}

fn tensor(name: &str, datatype: Datatype, shape: &[i64]) -> TensorMetadata {
    TensorMetadata { name: name.into(), datatype: datatype.as_str().into(), shape: shape.to_vec() }
}

fn data_type(datatype: Datatype) -> DataType {
    match datatype {
        Datatype::Bool => DataType::TypeBool,
        Datatype::Uint8 => DataType::TypeUint8,
        Datatype::Uint16 => DataType::TypeUint16,
        Datatype::Uint32 => DataType::TypeUint32,
        Datatype::Uint64 => DataType::TypeUint64,
        Datatype::Int8 => DataType::TypeInt8,
        Datatype::Int16 => DataType::TypeInt16,
        Datatype::Int32 => DataType::TypeInt32,
        Datatype::Int64 => DataType::TypeInt64,
        Datatype::Fp16 => DataType::TypeFp16,
        Datatype::Bf16 => DataType::TypeBf16,
        Datatype::Fp32 => DataType::TypeFp32,
        Datatype::Fp64 => DataType::TypeFp64,
        Datatype::Bytes => DataType::TypeString,
    }
}
