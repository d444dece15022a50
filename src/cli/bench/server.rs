//! Where is a server, what does it say of itself and of its model, and does it answer at all?

use super::inputs::Wanted;
use super::result::Side;
use super::rounds::Measured;
use crate::admission::Rpc;
use crate::cli::Failure;
use crate::proto::{
    ModelInferResponse, ModelMetadataRequest, ModelMetadataResponse, ServerMetadataRequest,
    ServerMetadataResponse,
};
use crate::transport::client::Target;
use crate::transport::raw::{CallError, Caller, Connection, Framed};
use crate::transport::tls::ClientTls;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The largest answer that is read for what it says.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Requests that are tried before any is measured.
const PROBES: usize = 64;

/// A server's address and whether it speaks TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    target: Target,
    pub(super) is_tls: bool,
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(socket) = text.strip_prefix("http+").filter(|rest| rest.starts_with("unix:")) {
            return Ok(Self { target: socket.parse()?, is_tls: false });
        }
        Ok(Self { target: text.parse()?, is_tls: !text.starts_with("http://") })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Tcp { .. } if self.is_tls => write!(f, "https://{}", self.target),
            Target::Tcp { .. } => write!(f, "http://{}", self.target),
            Target::Unix(_) if self.is_tls => write!(f, "{}", self.target),
            Target::Unix(_) => write!(f, "http+{}", self.target),
        }
    }
}

/// How a caller comes to a server.
pub(super) struct Way<'a> {
    pub tls: Option<ClientTls>,
    pub headers: &'a [(String, String)],
    pub timeout: Duration,
}

/// A server with open connections.
pub(super) struct Server {
    url: String,
    connections: Vec<Connection>,
    /// As in `asepsis 0.1.0`.
    name: Option<String>,
    metadata: Result<ModelMetadataResponse, CallError>,
    timeout: Duration,
}

impl Server {
    /// Connects and asks what there is.
    ///
    /// # Errors
    /// Nobody answers, or one side turned the other away.
    pub(super) async fn open(
        url: &Url,
        way: &Way<'_>,
        connections: usize,
        (model, version): (&str, &str),
    ) -> Result<Self, Failure> {
        let failed = |error: &dyn fmt::Display| Failure::Other(format!("{url}: {error}"));
        let mut opened = Vec::with_capacity(connections);
        for _ in 0..connections {
            let connection = Connection::open(&url.target, way.tls.clone(), way.headers, way.timeout).await;
            opened.push(connection.map_err(|error| failed(&error))?);
        }
        let mut server = Self {
            url: url.to_string(),
            connections: opened,
            name: None,
            metadata: Err(CallError::Broken("it was not asked".into())),
            timeout: way.timeout,
        };
        let who: Result<ServerMetadataResponse, CallError> =
            server.ask(Rpc::ServerMetadata, &ServerMetadataRequest {}).await?;
        // Not everybody may ask that, and not every server knows.
        server.name =
            who.ok().filter(|who| !who.name.is_empty()).map(|who| format!("{} {}", who.name, who.version));
        let what = ModelMetadataRequest { name: model.to_owned(), version: version.to_owned() };
        server.metadata = server.ask(Rpc::ModelMetadata, &what).await?;
        Ok(server)
    }

    async fn ask<M: prost::Message + Default>(
        &self,
        method: Rpc,
        message: &impl prost::Message,
    ) -> Result<Result<M, CallError>, Failure> {
        let mut caller = self.caller(0, method)?;
        let framed = Framed::new(message).ok_or_else(|| Failure::Other("a message is too long".into()))?;
        let asked = tokio::time::timeout(self.timeout, caller.ask(framed, ANSWER_BYTES_MAX)).await;
        Ok(asked.unwrap_or_else(|_| Err(CallError::Broken("no answer came in time".into()))))
    }

    fn caller(&self, at: usize, method: Rpc) -> Result<Caller, Failure> {
        let at = at.checked_rem(self.connections.len()).unwrap_or(0);
        let connection = self.connections.get(at).ok_or_else(|| Failure::Other("no connection".into()))?;
        connection.caller(method.path()).map_err(|error| Failure::Other(format!("{}: {error}", self.url)))
    }

    /// As many callers, one after the other on each connection.
    ///
    /// # Errors
    /// There is no connection.
    pub(super) fn callers(&self, count: usize) -> Result<Vec<Caller>, Failure> {
        (0..count).map(|at| self.caller(at, Rpc::ModelInfer)).collect()
    }

    /// What the model takes.
    ///
    /// # Errors
    /// The server's word, or what cannot be filled.
    pub(super) fn inputs(&self) -> Result<Vec<Wanted>, String> {
        let metadata = self.metadata.as_ref().map_err(|error| {
            format!(
                "{}: what the model takes is not told: {error}; if the name is right, say it with --input",
                self.url
            )
        })?;
        Wanted::all(metadata).map_err(|error| format!("{}: {error}", self.url))
    }

    /// Sends some of the requests once. So an error is told before minutes are spent on measuring it.
    ///
    /// # Errors
    /// More of them than `max_errors` are not answered, or an answer holds nothing.
    pub(super) async fn probe(&mut self, requests: &[Framed], max_errors: f64) -> Result<(), Failure> {
        let (mut sent, mut failed, mut first) = (0_u32, 0_u32, None);
        for request in requests.iter().take(PROBES) {
            let mut caller = self.caller(0, Rpc::ModelInfer)?;
            let answer = caller.ask::<ModelInferResponse>(request.clone(), ANSWER_BYTES_MAX);
            let answer = tokio::time::timeout(self.timeout, answer).await;
            let answer = answer.unwrap_or_else(|_| Err(CallError::Broken("no answer came in time".into())));
            sent = sent.saturating_add(1);
            match answer {
                Ok(answer) if answer.outputs.is_empty() => {
                    return Err(Failure::Other(format!("{}: its answer has no outputs", self.url)));
                }
                Ok(_) => {}
                Err(error) => {
                    failed = failed.saturating_add(1);
                    first.get_or_insert(error);
                }
            }
        }
        match first {
            Some(error) if f64::from(failed) > max_errors * f64::from(sent) => Err(Failure::Other(format!(
                "{}: {failed} of {sent} requests are not answered, and what is not answered is not measured: {error}\n\
                 send rows that the model accepts with --data, or bear some errors with --max-errors",
                self.url
            ))),
            Some(_) | None => Ok(()),
        }
    }

    /// What the result says of it.
    pub(super) fn described(&self, measured: &Measured) -> Side {
        let versions =
            self.metadata.as_ref().map(|metadata| metadata.versions.as_slice()).unwrap_or_default();
        Side {
            url: self.url.clone(),
            server: self.name.clone(),
            version: versions.last().cloned(),
            calls: measured.all.calls(),
            errors: measured.all.errors.clone(),
            first_error: measured.all.first_error.clone(),
            throughput_per_s: measured.throughput(),
            latency_us: measured.all.latencies(),
            lateness_us: measured.all.lateness(),
            client_cpu_us_per_call: measured.cpu_us_per_call(),
            client_cpu_share: measured.cpu_share(),
            blocks: measured.blocks.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_says_whether_it_is_tls() {
        for (text, is_tls, shown) in [
            ("https://model.example:8001", true, "https://model.example:8001"),
            ("127.0.0.1:8001", true, "https://127.0.0.1:8001"),
            ("http://127.0.0.1:8001/", false, "http://127.0.0.1:8001"),
            ("unix:/run/asepsis.sock", true, "unix:/run/asepsis.sock"),
            ("http+unix:/run/triton.sock", false, "http+unix:/run/triton.sock"),
        ] {
            let url: Url = text.parse().unwrap();
            assert_eq!((url.is_tls, url.to_string().as_str()), (is_tls, shown), "{text}");
        }
        assert!("https://".parse::<Url>().is_err());
    }
}
