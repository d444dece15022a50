//! What does the sidecar do right now? One read-only page for a person, of the last five minutes.
//!
//! Architecture Invariant: the page takes no input but `refresh=off`, needs no script, loads nothing, and tells
//! nothing of a patient and no caller's name. Whoever is on this machine may read it, as the admin port asks nobody
//! who he is; nobody else may unless the configuration names the host under which he comes. A page of the operator's
//! browser that has its own name resolve to this machine (DNS rebinding) is refused by that name.

mod chart;
mod page;
mod text;

use crate::audit::file::Durability;
use crate::clock::Now;
use crate::identity::jwt;
use crate::reload::ReloadStatus;
use crate::telemetry::recent::{Kept, Window};
use crate::transport::tls::CertificateStatus;
use crate::transport::workload;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header, uri::Authority};
use hyper::body::Bytes;
use page::Page;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// How long a page is good: so often it is made at the most, however many ask.
const FRESH: Duration = Duration::from_secs(1);
/// Hosts that may be named.
const HOSTS_MAX: usize = 64;

/// Whether there is a console, and for whom (`[console]`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Whether the admin port answers `/console`: to this machine by the name `localhost` or by address.
    pub enabled: bool,
    /// Names or addresses, without a port, by which it answers other machines too, which then read it without being
    /// asked who they are.
    pub hosts: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { enabled: true, hosts: Vec::new() }
    }
}

impl Settings {
    /// Whether the settings make sense.
    ///
    /// # Errors
    /// The key to mend, below `console`, and why.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        let host = |host: &String| {
            let name = !host.is_empty() && host.len() <= 253 && host.bytes().all(letter);
            name || host.parse::<IpAddr>().is_ok()
        };
        if self.hosts.len() > HOSTS_MAX {
            return Err(("hosts", "at most 64"));
        }
        if !self.hosts.iter().all(host) {
            return Err(("hosts", "names or addresses, each without scheme and port"));
        }
        Ok(())
    }
}

/// Everything that the page shows.
pub struct View {
    /// When it is looked at.
    pub now: SystemTime,
    /// When the sidecar was started.
    pub started: SystemTime,
    /// The running version.
    pub version: &'static str,
    /// The conditions of readiness by name, and whether each holds.
    pub readiness: Vec<(&'static str, bool)>,
    /// Every version on disk, in order.
    pub models: Vec<Model>,
    /// The last five minutes.
    pub window: Window,
    /// What was flagged or kept back on evidence, newest first.
    pub judged: Vec<Arc<Kept>>,
    /// What was refused or abandoned, newest first.
    pub refused: Vec<Arc<Kept>>,
    /// Calls in flight, and the most there may be.
    pub in_flight: (usize, usize),
    /// Runs that wait for a compute thread, and the most that may.
    pub queue: (usize, usize),
    /// When a record of the audit log survives the machine.
    pub durability: Durability,
    /// Age of the oldest record that is not yet on the disk; zero when all are.
    pub audit_lag: Duration,
    /// Certificates and revocation lists in service.
    pub certificates: Vec<CertificateStatus>,
    /// What is read anew.
    pub sources: Vec<ReloadStatus>,
    /// The provider's keys, if tokens are taken.
    pub jwks: Option<jwt::Status>,
    /// The SPIFFE agent, if there is one.
    pub workload: Option<workload::Status>,
}

/// One version of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// How it is served; `None` if it is not.
    pub serving: Option<Serving>,
}

/// How a version is served.
#[derive(Clone, Debug, PartialEq)]
pub struct Serving {
    /// Since when.
    pub since: SystemTime,
    /// Whether its calibration is of something else, so that every answer is flagged.
    pub is_stale: bool,
    /// In shadow mode, where every answer is given whatever the evidence: the share of requests that is judged.
    pub shadow_share: Option<f64>,
    /// Promised share of clean rows that are kept back.
    pub alpha: f64,
    /// Promised share of clean rows that are flagged or kept back.
    pub alpha_flag: f64,
    /// What its evidence is ranked by; `None` where nothing judges it.
    pub calibration: Option<Calibrated>,
    /// Whether a twin answers beside it.
    pub has_twin: bool,
    /// `NAME/VERSION` of the model that answers where it is not trusted.
    pub baseline: Option<String>,
    /// p-values of the last rows it judged.
    pub p_values: Vec<f64>,
}

/// A calibration in use.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibrated {
    /// When it was made, seconds since 1970.
    pub created: i64,
    /// The site whose clean data it was made of; empty for that which came with the model.
    pub site: String,
    /// p-values of its clean rows, each among the others.
    pub p_values: Vec<f64>,
}

/// The page, made when somebody asks and kept for a second.
pub struct Console {
    hosts: Vec<String>,
    look: Box<dyn Fn(Now) -> View + Send + Sync>,
    made: Mutex<Option<Made>>,
    policy: HeaderValue,
}

#[derive(Clone)]
struct Made {
    at: Instant,
    refreshing: Bytes,
    paused: Bytes,
}

impl Console {
    /// Shows what `look` sees, to those whom the settings let in.
    #[must_use]
    pub fn new(settings: &Settings, look: impl Fn(Now) -> View + Send + Sync + 'static) -> Self {
        let hosts = settings.hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        let policy = page::content_security_policy();
        Self { hosts, look: Box::new(look), made: Mutex::default(), policy }
    }

    /// The Content-Security-Policy of its pages.
    #[must_use]
    pub fn content_security_policy(&self) -> &HeaderValue {
        &self.policy
    }

    /// Whether a request may be answered: who asks from this machine names it `localhost` or by an address, since no
    /// name but that one is resolved by others; who asks from elsewhere, or by a name, needs it configured.
    ///
    /// # Errors
    /// The status of the refusal, and what to do.
    pub fn admit(
        &self,
        local: bool,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<(), (StatusCode, &'static str)> {
        const NO_HOST: (StatusCode, &str) = (StatusCode::BAD_REQUEST, "one Host is needed\n");
        let mut given = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (given.next(), given.next()) else { return Err(NO_HOST) };
        // RFC 9112, section 3.2.2: the authority of an absolute target goes before the header.
        let stated = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
        let authority = uri.authority().cloned().or(stated).filter(|a| !a.as_str().contains('@'));
        let Some(authority) = authority else { return Err(NO_HOST) };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        if self.hosts.contains(&host) {
            return Ok(());
        }
        if !local {
            return Err((
                StatusCode::FORBIDDEN,
                "the console answers its own machine alone; console.hosts lets others in\n",
            ));
        }
        // RFC 6761, section 6.3: `localhost` is never asked of a name server.
        if host == "localhost" || host.parse::<IpAddr>().is_ok() {
            return Ok(());
        }
        Err((
            StatusCode::MISDIRECTED_REQUEST,
            "not by this name; use localhost, or add it to console.hosts\n",
        ))
    }

    /// The page as it was within the last second. May block, as readiness may. `paused`, it does not ask the browser
    /// to come again.
    #[must_use]
    pub fn page(&self, now: Now, paused: bool) -> Bytes {
        // Held while the page is made, so that those who come meanwhile get the same.
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |made: &Made| now.monotonic.saturating_duration_since(made.at) < FRESH;
        let current = match &*made {
            Some(current) if fresh(current) => current.clone(),
            Some(_) | None => {
                let page = Page::of(&(self.look)(now));
                let (refreshing, paused) = (page.render(false), page.render(true));
                let new = Made { at: now.monotonic, refreshing, paused };
                made.insert(new).clone()
            }
        };
        if paused { current.paused } else { current.refreshing }
    }
}

#[cfg(test)]
pub(super) mod tests;
