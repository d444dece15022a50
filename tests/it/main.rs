//! One binary, one module a promise. Everything here starts the real sidecar on port 0, with certificates
//! made for the test, and speaks to it over the wire.
#![expect(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::cast_precision_loss,
    reason = "tests"
)]

mod abuse;
mod access;
mod agent;
mod answers;
mod audit;
mod bench;
mod bytes;
mod console;
mod certify;
mod datatypes;
mod door;
mod drain;
mod evidence;
mod fallback;
mod faults;
mod floods;
mod frames;
mod fuzzed;
mod health;
mod hostile;
mod house;
mod images;
mod isolation;
mod ledger;
mod keys;
mod lifecycle;
mod onnx;
mod operations;
mod pool;
mod probes;
mod process;
mod promise;
mod properties;
mod provider;
mod recording;
mod refusals;
mod reload;
mod rotation;
mod sidecar;
mod slow;
mod streams;
mod telemetry;
mod tokens;
mod trust;
mod unary;
mod watching;
mod wire;
mod workload;
