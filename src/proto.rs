//! The messages of `proto/`, generated; service stubs live where they are used.

#![expect(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    reason = "generated code; proto/inference.proto is its documentation"
)]

include!(concat!(env!("OUT_DIR"), "/messages/inference.rs"));

/// The compiled descriptors, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/inference.bin"));

pub mod operations {
    //! The messages of `proto/asepsis.proto`: what an operator asks of a running sidecar.

    include!(concat!(env!("OUT_DIR"), "/messages/asepsis.v1.rs"));

    /// The compiled descriptors, for gRPC reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/asepsis.bin"));
}

pub mod onnx {
    //! The messages of `proto/onnx.proto`: what a model file holds.

    include!(concat!(env!("OUT_DIR"), "/messages/onnx.rs"));

    /// The compiled descriptors, which tell what of a file is known.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/onnx.bin"));
}
