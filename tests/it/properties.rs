//! Whatever a caller sends: never a panic, never INTERNAL, always one outcome.

use crate::house;
use asepsis::admission::Rpc;
use asepsis::audit::memory::MemoryLedger;
use asepsis::guard::Guard;
use asepsis::proto::model_infer_request::InferInputTensor;
use asepsis::proto::{InferTensorContents, ModelInferRequest};
use asepsis::reason::Status;
use proptest::prelude::*;
use std::sync::{Arc, OnceLock};

fn world() -> &'static (Arc<Guard>, Arc<MemoryLedger>, tokio::runtime::Runtime) {
    static WORLD: OnceLock<(Arc<Guard>, Arc<MemoryLedger>, tokio::runtime::Runtime)> = OnceLock::new();
    WORLD.get_or_init(|| {
        let ledger = Arc::new(MemoryLedger::new(4));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        (house::guard_with(Arc::clone(&ledger)), ledger, runtime.unwrap())
    })
}

fn datatype() -> impl Strategy<Value = String> {
    prop_oneof![
        5 => Just("FP32".to_owned()),
        1 => prop::sample::select(vec!["FP64", "INT8", "UINT64", "BOOL", "BYTES", "FP16", "fp32", ""])
            .prop_map(str::to_owned),
    ]
}

fn dim() -> impl Strategy<Value = i64> {
    prop_oneof![
        5 => Just(1_i64),
        3 => Just(30),
        2 => 0_i64..70,
        1 => prop::sample::select(vec![-1, i64::MIN, i64::MAX, 1 << 32, (1 << 32) + 1, 1 << 62]),
    ]
}

fn tensor() -> impl Strategy<Value = InferInputTensor> {
    let name = prop_oneof![5 => Just("features".to_owned()), 1 => ".{0,8}"];
    let contents = prop::option::of(prop::collection::vec(any::<f32>(), 0..40));
    (name, datatype(), prop::collection::vec(dim(), 0..4), contents).prop_map(
        |(name, datatype, shape, contents)| {
            let contents =
                contents.map(|fp32_contents| InferTensorContents { fp32_contents, ..Default::default() });
            InferInputTensor { name, datatype, shape, contents, ..Default::default() }
        },
    )
}

fn request() -> impl Strategy<Value = ModelInferRequest> {
    let raw = prop::collection::vec(
        prop_oneof![Just(120_usize), 0_usize..300].prop_flat_map(|n| prop::collection::vec(any::<u8>(), n)),
        0..3,
    );
    (".{0,80}", prop::collection::vec(tensor(), 0..3), raw).prop_map(|(id, inputs, raw)| ModelInferRequest {
        model_name: "wdbc".into(),
        id,
        inputs,
        raw_input_contents: raw.into_iter().map(Into::into).collect(),
        ..Default::default()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn any_request_has_one_outcome_that_is_not_internal(request in request(), seed in any::<u64>()) {
        let (guard, ledger, runtime) = world();
        let head = house::head(seed, Rpc::ModelInfer);
        let visitor = house::visitor();
        let call = guard.admit(&visitor, &head, &guard.identify(&visitor, &head)).unwrap();
        let outcome = runtime.block_on(guard.serve(call, request));
        let record = ledger.last().unwrap();
        prop_assert_eq!(record.request_id, head.request_id);
        match outcome {
            Ok(_) => prop_assert_eq!(record.status, Status::Ok),
            Err(refusal) => {
                prop_assert_ne!(refusal.status(), Status::Internal);
                prop_assert_eq!(record.reason, refusal.reason());
            }
        }
    }
}
