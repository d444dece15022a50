//! Do the settings make sense together? What no type can say.

use super::{Config, Problem, Problems};
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::Path;

/// The longest path of a Unix socket that Linux takes (`sun_path`, unix(7), without its NUL).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Bounds that no machine needs to exceed; beyond them a limit would limit nothing.
const COUNT_MAX: u64 = 1 << 20;
const THREADS_MAX: u64 = 1024;
const MESSAGE_BYTES_MAX: u64 = 2 << 30;
const TIME_MS_MAX: u64 = 24 * 60 * 60 * 1000;
const ROTATE_BYTES_MAX: u64 = 1 << 40;

impl Config {
    /// Adds what is wrong beyond types. A key that has a problem already gets no second one.
    pub(super) fn check(&self, problems: &mut Problems) {
        let mut found = Problems::default();
        let mut report = |key: &str, problem: &dyn Display| {
            if !problems.concern(key) {
                found.push(Problem::new(self.places.of(key), key, problem));
            }
        };
        self.check_listen(&mut report);
        self.check_tls(&mut report);
        self.check_required(&mut report);
        self.check_limits(&mut report);
        if let Err((key, problem)) = self.policy.check() {
            report(&format!("policy.{key}"), &problem);
        }
        let url = |text: &String| text.parse::<http::Uri>().is_ok_and(|uri| uri.scheme_str() == Some("http"));
        if self.otlp.endpoint.as_ref().is_some_and(|endpoint| !url(endpoint)) {
            report(
                "otlp.endpoint",
                &"a URL such as http://127.0.0.1:4317: plain HTTP/2, a mesh encrypts the way to it",
            );
        }
        for problem in found.as_slice() {
            problems.push(problem.clone());
        }
    }

    fn check_listen(&self, report: &mut dyn FnMut(&str, &dyn Display)) {
        const ADDRESS: &str = "an IP address and a port, as 127.0.0.1:8001; port 0 takes a free one";
        let listen = &self.listen;
        if listen.grpc.is_some() && listen.grpc_address().is_none() {
            report("listen.grpc", &ADDRESS);
        }
        if listen.grpc.is_none() && listen.unix.is_none() {
            report("listen.grpc", &"set it, or listen.unix");
        }
        if listen.admin_address().is_none() {
            report("listen.admin", &ADDRESS);
        }
        let port = |address: SocketAddr| address.port() != 0;
        if listen.admin_address().is_some_and(port) && listen.admin_address() == listen.grpc_address() {
            report("listen.admin", &"the same as listen.grpc");
        }
        let long = |path: &Path| path.as_os_str().len() > SOCKET_PATH_BYTES_MAX;
        if listen.unix.as_deref().is_some_and(long) {
            report(
                "listen.unix",
                &format!("longer than {SOCKET_PATH_BYTES_MAX} bytes, the most that Linux takes"),
            );
        }
    }

    fn check_tls(&self, report: &mut dyn FnMut(&str, &dyn Display)) {
        let tls = &self.tls;
        for domain in &tls.trust_domains {
            let plain =
                |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
            if domain.is_empty() || !domain.bytes().all(plain) {
                let problem = format!("`{domain}`: a bare name in small letters, as hospital.example");
                report("tls.trust_domains", &problem);
            }
        }
        if tls.plaintext {
            let remote = |address: SocketAddr| !address.ip().is_loopback();
            if self.listen.grpc_address().is_some_and(remote) {
                report("tls.plaintext", &"only where listen.grpc is a loopback address or not set");
            }
            return;
        }
        let files = [("certificate", &tls.certificate), ("key", &tls.key), ("client_ca", &tls.client_ca)];
        for (key, file) in files {
            if file.is_none() {
                report(
                    &format!("tls.{key}"),
                    &"set it to a PEM file (`asepsis certs dev` makes one to try with)",
                );
            }
        }
    }

    fn check_required(&self, report: &mut dyn FnMut(&str, &dyn Display)) {
        let required = [
            ("access.policy", &self.access.policy, "a file of roles"),
            ("models.repository", &self.models.repository, "the directory of NAME/VERSION/model.onnx"),
            ("audit.directory", &self.audit.directory, "the directory of the audit log"),
        ];
        for (key, path, what) in required {
            if !self.places.has(key) || path.as_os_str().is_empty() {
                report(key, &format!("set it to {what}"));
            }
        }
        if self.onnxruntime.library.as_os_str().is_empty() {
            report("onnxruntime.library", &"set it to the library that `scripts/fetch-onnxruntime` fetches");
        }
    }

    fn check_limits(&self, report: &mut dyn FnMut(&str, &dyn Display)) {
        let wide = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
        let limits = &self.limits;
        let ranges = [
            ("models.compute_threads", wide(self.models.compute_threads), 0, THREADS_MAX),
            ("models.intra_threads", wide(self.models.intra_threads), 1, THREADS_MAX),
            ("limits.message_bytes_max", wide(limits.message_bytes_max), 1, MESSAGE_BYTES_MAX),
            (
                "limits.received_bytes_max",
                wide(limits.received_bytes_max),
                wide(limits.message_bytes_max),
                ROTATE_BYTES_MAX,
            ),
            ("limits.in_flight_max", wide(limits.in_flight_max), 1, COUNT_MAX),
            ("limits.connections_max", wide(limits.connections_max), 1, COUNT_MAX),
            ("limits.streams_per_connection_max", limits.streams_per_connection_max.into(), 1, COUNT_MAX),
            ("limits.header_bytes_max", limits.header_bytes_max.into(), 1024, COUNT_MAX),
            ("limits.queue_max", wide(limits.queue_max), 1, COUNT_MAX),
            ("limits.request_timeout_ms", limits.request_timeout_ms, 1, TIME_MS_MAX),
            ("limits.handshake_timeout_ms", limits.handshake_timeout_ms, 1, TIME_MS_MAX),
            ("limits.stream_idle_ms", limits.stream_idle_ms, 1, TIME_MS_MAX),
            ("limits.drain_delay_ms", limits.drain_delay_ms, 0, TIME_MS_MAX),
            ("limits.drain_timeout_ms", limits.drain_timeout_ms, 1, TIME_MS_MAX),
            ("otlp.queue_max", wide(self.otlp.queue_max), 1, COUNT_MAX),
            ("otlp.interval_ms", self.otlp.interval_ms, 1, TIME_MS_MAX),
            ("otlp.timeout_ms", self.otlp.timeout_ms, 1, TIME_MS_MAX),
            ("audit.rotate_bytes", self.audit.rotate_bytes, 1, ROTATE_BYTES_MAX),
            ("audit.fsync_interval_ms", self.audit.fsync_interval_ms, 1, TIME_MS_MAX),
        ];
        for (key, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                report(key, &format!("{value} is not between {least} and {most}"));
            }
        }
    }
}
