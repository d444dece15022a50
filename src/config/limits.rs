//! Do the settings make sense together? What no type can say.

use super::{Config, Problem, Problems};
use crate::audit::file::Durability;
use crate::catalog::load::is_site;
use crate::identity::certificate::{self, Certificate};
use crate::identity::forwarded::Settings;
use crate::identity::jwt::KeySource;
use crate::transport::cores::Runtimes;
use crate::transport::workload::Fallback;
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::Path;

/// The longest path of a Unix socket that Linux takes (`sun_path`, unix(7), without its NUL).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Bounds that no machine needs to exceed; beyond them a limit would limit nothing.
const COUNT_MAX: u64 = 1 << 20;
const THREADS_MAX: u64 = 1024;
const MESSAGE_BYTES_MAX: u64 = 2 << 30;
const IMAGE_SAMPLES_MAX: u64 = 1 << 30;
const TIME_MS_MAX: u64 = 24 * 60 * 60 * 1000;
const ROTATE_BYTES_MAX: u64 = 1 << 40;
const TLS_FILES_MAX: usize = 64;

/// Whoever's list is a week too old has nobody who makes a new one.
const CRL_GRACE_S_MAX: u64 = 7 * 24 * 60 * 60;

const TRUST_DOMAIN: &str = "a bare name in small letters, as hospital.example";

/// Proxies that may forward identities: each call asks for each.
const FORWARDED_MAX: usize = 256;
const DAY_S: u64 = 24 * 60 * 60;
const TOKEN_BYTES_MAX: u64 = 64 << 10;
/// Clocks that differ more are broken, and a leeway that allows it makes each token longer-lived than it says.
const LEEWAY_S_MAX: u64 = 300;

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
        self.check_api_keys(&mut report);
        self.check_forwarded(&mut report);
        self.check_jwt(&mut report);
        self.check_required(&mut report);
        self.check_limits(&mut report);
        if cfg!(not(feature = "cedar")) && self.access.cedar.is_some() {
            report(
                "access.cedar",
                &"this build knows no Cedar: build it with `--features cedar`, or unset the key",
            );
        }
        if self.listen.runtimes == Runtimes::PerCore && self.audit.durability == Durability::Always {
            report(
                "listen.runtimes",
                &"\"shared\" where audit.durability is \"always\": no core may wait for a disk",
            );
        }
        if let Err((key, problem)) = self.policy.check() {
            report(&format!("policy.{key}"), &problem);
        }
        for (model, own) in &self.models.policy {
            if let Err((key, problem)) = self.policy.with(own).check() {
                report(&format!("models.policy.{model}.{key}"), &problem);
            }
        }
        if let Err((key, problem)) = self.console.check() {
            report(&format!("console.{key}"), &problem);
        }
        if let Err((key, problem)) = self.watchers.check() {
            report(&format!("watchers.{key}"), &problem);
        }
        if let Err((key, problem)) = self.models.record.check() {
            report(&format!("models.record.{key}"), &problem);
        }
        if !is_site(&self.models.site) {
            report("models.site", &"up to 64 letters, digits, `-` and `_`");
        }
        for (key, problem) in self.otlp.check().err().unwrap_or_default() {
            report(&format!("otlp.{key}"), &problem);
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
        if listen.operations.is_some() && listen.operations_address().is_none() {
            report("listen.operations", &ADDRESS);
        }
        if self.tls.plaintext && listen.operations.is_some() && self.places.has("listen.operations") {
            report("listen.operations", &"operators are known over TLS alone; unset it or tls.plaintext");
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
        for domain in tls.trust_domains.iter().filter(|domain| !certificate::trust_domain(domain)) {
            report("tls.trust_domains", &format!("`{domain}`: {TRUST_DOMAIN}"));
        }
        for (domain, path) in &tls.trust_bundles {
            let key = format!("tls.trust_bundles.{domain}");
            if !certificate::trust_domain(domain) {
                report(&key, &format!("`{domain}`: {TRUST_DOMAIN}"));
            } else if path.as_os_str().is_empty() {
                report(&key, &"set it to a PEM file");
            } else if !tls.trust_domains.is_empty() && !tls.trust_domains.contains(domain) {
                report(&key, &"not one of tls.trust_domains: nobody of it would be believed");
            }
        }
        for (key, count) in [("crl", tls.crl.0.len()), ("trust_bundles", tls.trust_bundles.len())] {
            if count > TLS_FILES_MAX {
                report(&format!("tls.{key}"), &format!("more than {TLS_FILES_MAX} files"));
            }
        }
        if tls.plaintext {
            let remote = |address: SocketAddr| !address.ip().is_loopback();
            if self.listen.grpc_address().is_some_and(remote) {
                report("tls.plaintext", &"only where listen.grpc is a loopback address or not set");
            }
            return;
        }
        match self.workload_api.source() {
            // Files are needed where nothing else can serve, or where they may serve in its stead.
            Ok(Some(_)) if self.workload_api.fallback == Fallback::None => return,
            Ok(_) => {}
            Err(error) => report("workload_api", &error),
        }
        let files = [("certificate", &tls.certificate), ("key", &tls.key), ("client_ca", &tls.client_ca)];
        for (key, file) in files {
            let bundled = key == "client_ca" && !tls.trust_bundles.is_empty();
            if file.is_none() && !bundled {
                report(
                    &format!("tls.{key}"),
                    &"set it to a PEM file (`asepsis certs dev` makes one to try with)",
                );
            }
        }
    }

    fn check_api_keys(&self, report: &mut dyn FnMut(&str, &dyn Display)) {
        let keys = &self.api_keys;
        match (&keys.file, &keys.secret) {
            (None, Some(_)) => {
                report("api_keys.file", &"set it to the file of API keys, which `asepsis key new` makes");
            }
            (Some(_), None) => report(
                "api_keys.secret",
                &"set it to the file of the secret under which keys are hashed, which `asepsis key new` makes",
            ),
            (Some(file), Some(secret)) if file == secret => {
                report(
                    "api_keys.secret",
                    &"the same as api_keys.file; whoever has both has what proves keys",
                );
            }
            (Some(_), Some(_)) if self.tls.plaintext => {
                report("api_keys.file", &"API keys are taken over TLS alone; unset it or tls.plaintext");
            }
            (None, None) | (Some(_), Some(_)) => {}
        }
    }

    fn check_forwarded(&self, report: &mut dyn FnMut(&str, &dyn Display)) {
        let Settings { peers, unix_uids } = &self.forwarded;
        let rules = Certificate { trust_domains: self.tls.trust_domains.clone(), trust: None };
        for peer in peers {
            if rules.spiffe(peer).is_err() {
                let problem = format!(
                    "`{peer}`: the whole SPIFFE ID of a proxy in a trust domain of ours, as \
                     spiffe://mesh.example/ns/edge/sa/envoy"
                );
                report("forwarded.peers", &problem);
            }
        }
        if self.tls.plaintext && !peers.is_empty() {
            report("forwarded.peers", &"proxies are known by their certificates; unset it or tls.plaintext");
        }
        if peers.len().max(unix_uids.len()) > FORWARDED_MAX {
            report("forwarded", &format!("more than {FORWARDED_MAX} proxies of one kind"));
        }
        if !unix_uids.is_empty() && self.listen.unix.is_none() {
            report("forwarded.unix_uids", &"set listen.unix, too: users are known on a Unix socket alone");
        }
    }

    fn check_jwt(&self, report: &mut dyn FnMut(&str, &dyn Display)) {
        let jwt = &self.jwt;
        if jwt.algorithms.is_empty() {
            report("jwt.algorithms", &"name at least one");
        }
        let claims = [
            ("jwt.principal_claim", &jwt.principal_claim),
            ("jwt.roles_claim", &jwt.roles_claim),
            ("jwt.groups_claim", &jwt.groups_claim),
            ("jwt.device_claim", &jwt.device_claim),
        ];
        for (key, claim) in claims {
            if claim.is_empty() {
                report(key, &"set it to the name of a claim");
            }
        }
        if jwt.issuer.is_none() {
            if !jwt.jwks.is_empty() || !jwt.audience.is_empty() {
                report(
                    "jwt.issuer",
                    &"set it to the provider's name, exactly as its tokens have it in `iss`",
                );
            }
            return;
        }
        if self.tls.plaintext {
            report("jwt.issuer", &"tokens are taken over TLS alone, and tls.plaintext is set");
        }
        // A list that is not TOML would be read as one name.
        let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'[' | b']' | b'"' | b'\'');
        let name = |name: &String| !name.is_empty() && name.bytes().all(plain);
        if jwt.audience.is_empty() || !jwt.audience.iter().all(name) {
            report("jwt.audience", &"set it to the name of this service, as tokens have it in `aud`");
        }
        let host_over_https = |uri: &http::Uri| {
            let host = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
            uri.scheme_str() == Some("https") && host
        };
        match jwt.key_source() {
            KeySource::File(path) => {
                if path.as_os_str().is_empty() {
                    report(
                        "jwt.jwks",
                        &"set it to the URL of the provider's keys (`jwks_uri`), or to a file",
                    );
                }
                if jwt.ca.is_some() {
                    report("jwt.ca", &"only where jwt.jwks is a URL");
                }
            }
            KeySource::Url(url) => {
                if !url.parse().is_ok_and(|uri| host_over_https(&uri)) {
                    report(
                        "jwt.jwks",
                        &"a URL such as https://login.hospital.example/keys, without a password",
                    );
                }
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
        let Self { limits, jwt, .. } = self;
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
            ("limits.image_bytes_max", wide(limits.image_bytes_max), 1, MESSAGE_BYTES_MAX),
            ("limits.image_samples_max", wide(limits.image_samples_max), 1, IMAGE_SAMPLES_MAX),
            ("limits.image_timeout_ms", limits.image_timeout_ms, 1, TIME_MS_MAX),
            (
                "limits.images_bytes_max",
                wide(limits.images_bytes_max),
                wide(limits.of_an_image().held_max()),
                ROTATE_BYTES_MAX,
            ),
            ("limits.image_requests_max", wide(limits.image_requests_max), 1, COUNT_MAX),
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
            ("tls.crl_grace_s", self.tls.crl_grace_s, 0, CRL_GRACE_S_MAX),
            ("otlp.queue_max", wide(self.otlp.queue_max), 1, COUNT_MAX),
            ("otlp.interval_ms", self.otlp.interval_ms, 1, TIME_MS_MAX),
            ("otlp.timeout_ms", self.otlp.timeout_ms, 1, TIME_MS_MAX),
            ("otlp.slow_ms", self.otlp.slow_ms, 1, TIME_MS_MAX),
            ("jwt.leeway_s", jwt.leeway_s, 0, LEEWAY_S_MAX),
            ("jwt.max_age_s", jwt.max_age_s, 1, DAY_S),
            ("jwt.token_bytes_max", wide(jwt.token_bytes_max), 256, TOKEN_BYTES_MAX),
            ("jwt.fetch_interval_s", jwt.fetch_interval_s, 1, DAY_S),
            ("jwt.refresh_s", jwt.refresh_s, jwt.fetch_interval_s, DAY_S),
            ("jwt.stale_s", jwt.stale_s, jwt.refresh_s, 30 * DAY_S),
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
