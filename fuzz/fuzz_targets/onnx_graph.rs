//! See `tests/it/fuzzed.rs`.
#![no_main]

#[path = "../../tests/it/fuzzed/run.rs"]
mod run;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    run::onnx_graph(bytes);
});
