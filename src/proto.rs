//! The messages of `proto/inference.proto`, generated; service stubs live where they are used.

#![expect(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    reason = "generated code; proto/inference.proto is its documentation"
)]

include!(concat!(env!("OUT_DIR"), "/messages/inference.rs"));

/// The compiled descriptors, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/inference.bin"));
