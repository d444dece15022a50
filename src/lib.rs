//! Asepsis: a sidecar that lets nothing unclean reach a model, and nothing unsound leave it.
//!
//! The modules stand in the order of a request; read [`guard`] first. A stage uses only what stands above it
//! here, which `tests/architecture.rs` enforces.

// Vocabulary: what every stage may use.
pub mod clock;
pub mod contract;
pub mod digest;
pub mod file;
pub mod proto;
pub mod reason;
pub mod reload;
pub mod tensor;
pub mod trace;

// Stages, in the order of the request.
pub mod identity;
pub mod admission;
pub mod intake;
pub mod inference;
pub mod detection;
pub mod calibration;
pub mod decision;
pub mod judgement;
pub mod provenance;
pub mod catalog;
pub mod audit;
pub mod refusal;
pub mod incident;
pub mod telemetry;
pub mod guard;

// Shell: what connects the stages to the world.
pub mod transport;
pub mod admin;
pub mod config;
pub mod app;
pub mod cli;
