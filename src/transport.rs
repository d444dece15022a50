//! The wire: TLS, HTTP/2 and gRPC around the guard. Nothing is decided here.

pub mod client;
pub mod codec;
pub mod cores;
pub mod door;
pub mod health;
pub mod inference;
pub mod jwks;
pub mod listener;
pub mod meter;
pub mod operations;
pub mod raw;
pub mod status;
pub mod tls;
pub mod workload;

pub(crate) mod stubs {
    //! The services and clients of `proto/`, generated.
    #![expect(
        unreachable_pub,
        clippy::pedantic,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        reason = "generated code; the files in proto/ are its documentation"
    )]
    include!(concat!(env!("OUT_DIR"), "/services/inference.rs"));
    include!(concat!(env!("OUT_DIR"), "/services/asepsis.v1.rs"));
}

use crate::intake::image;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Limits of connections, messages and time (`[limits]`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Largest decoded message of a request, in bytes.
    pub message_bytes_max: usize,
    /// Bytes of requests being received and answered at once, over all connections.
    pub received_bytes_max: usize,
    /// Calls in flight at once, over all connections.
    pub in_flight_max: usize,
    /// Connections at once; more wait to be accepted.
    pub connections_max: usize,
    /// Calls at once on one connection.
    pub streams_per_connection_max: u32,
    /// Bytes of all headers of one call.
    pub header_bytes_max: u32,
    /// Largest file (DICOM, PNG, JPEG) that is decoded, in bytes.
    pub image_bytes_max: usize,
    /// Most samples of an image: width x height x channels of the frame that is decoded. While it is decoded it
    /// holds up to 4 bytes for each.
    pub image_samples_max: usize,
    /// How long decoding and preparing the files of one request may take, in milliseconds.
    pub image_timeout_ms: u64,
    /// Bytes that all files being decoded may hold together.
    pub images_bytes_max: usize,
    /// Requests with files that one principal may have waiting or being decoded.
    pub image_requests_max: usize,
    /// Runs that wait for a compute thread.
    pub queue_max: usize,
    /// How long a request may take when its caller gives no shorter deadline, in milliseconds.
    pub request_timeout_ms: u64,
    /// How long a TLS handshake may take, and after it the preface of HTTP/2, in milliseconds.
    pub handshake_timeout_ms: u64,
    /// How long a stream may be silent, in milliseconds.
    pub stream_idle_ms: u64,
    /// How long a shutdown goes on answering while readiness says no, in milliseconds, so that load balancers
    /// turn away first.
    pub drain_delay_ms: u64,
    /// How long a shutdown then waits for calls in flight, in milliseconds.
    pub drain_timeout_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes_max: 64 << 20,
            received_bytes_max: 1 << 30,
            in_flight_max: 1024,
            connections_max: 4096,
            streams_per_connection_max: 128,
            header_bytes_max: 16 << 10,
            image_bytes_max: 50 << 20,
            image_samples_max: 32 << 20,
            image_timeout_ms: 2_000,
            images_bytes_max: 512 << 20,
            image_requests_max: 16,
            queue_max: 256,
            request_timeout_ms: 30_000,
            handshake_timeout_ms: 5_000,
            stream_idle_ms: 300_000,
            drain_delay_ms: 1_000,
            drain_timeout_ms: 20_000,
        }
    }
}

impl Limits {
    /// Those of one file.
    #[must_use]
    pub fn of_an_image(&self) -> image::Limits {
        image::Limits {
            bytes_max: self.image_bytes_max,
            samples_max: self.image_samples_max,
            time_max: Duration::from_millis(self.image_timeout_ms),
        }
    }
}
