//! See `tests/it/fuzzed.rs`.
#![no_main]

#[path = "../../tests/it/fuzzed/run.rs"]
mod run;

libfuzzer_sys::fuzz_target!(init: run::abort_on_our_panics(), |bytes: &[u8]| {
    run::request(bytes);
});
