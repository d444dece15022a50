//! Our own caller, for the demo, the benchmarks and the tests: mutual TLS, HTTP/2 and gRPC, tuned for latency.

use super::stubs::grpc_inference_service_client::GrpcInferenceServiceClient;
use super::stubs::operations_client::OperationsClient;
use super::tls::{self, ClientTls, HandshakeError};
use crate::proto::operations::{ReloadRequest, ReloadResponse, StatusRequest, StatusResponse};
use crate::proto::{ModelInferRequest, ModelInferResponse};
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tonic::metadata::{AsciiMetadataKey, MetadataMap};
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt;

/// Room for a whole tensor in flight without waiting for a window update.
pub(super) const WINDOW: u32 = 4 << 20;
/// A tensor of a megabyte travels in one frame.
pub(super) const FRAME_MAX: u32 = 1 << 20;
/// No answer of ours is larger.
const ANSWER_BYTES_MAX: usize = 64 << 20;
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The name in a development certificate.
const LOCAL_NAME: &str = "localhost";

/// The generated stub, for calls that [`Client`] has no method for.
pub type Stub = GrpcInferenceServiceClient<Channel>;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `host:port`.
    Tcp {
        /// A name or an address.
        host: String,
        /// The port.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

impl Target {
    /// The name that the server's certificate must carry.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Tcp { host, .. } if !is_loopback(host) => host,
            Self::Tcp { .. } | Self::Unix(_) => LOCAL_NAME,
        }
    }

    /// The `:authority` that the server sees.
    pub(super) fn authority(&self) -> String {
        match self {
            Self::Tcp { .. } => self.to_string(),
            Self::Unix(_) => LOCAL_NAME.to_owned(),
        }
    }
}

fn is_loopback(host: &str) -> bool {
    host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        let bare = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
        let parts = bare.trim_end_matches('/').rsplit_once(':');
        let parsed = parts.and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let (host, port) = parsed.ok_or_else(|| format!("`{text}`: use HOST:PORT or unix:PATH"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(format!("`{text}`: the host is missing; use HOST:PORT or unix:PATH"));
        }
        Ok(Self::Tcp { host: host.to_owned(), port })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why there is no connection, or no longer one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The server turned us away in the TLS handshake; its alert, as in `certificate required`.
    #[error("TLS alert: {0}")]
    Alert(String),
    /// Nobody listens, or the connection broke.
    #[error("{0}")]
    Broken(String),
}

/// How a call ended, as its caller sees it.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The model's answer.
    Answer(ModelInferResponse),
    /// A gRPC status instead of it.
    Refused(Refused),
    /// Neither: no connection.
    Transport(TransportError),
}

/// A gRPC status and its details.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// The canonical code, as in `INVALID_ARGUMENT`.
    pub status: String,
    /// What the server says.
    pub message: String,
    /// `ErrorInfo.reason`, in lower case, as audit and metrics have it.
    pub reason: Option<String>,
    /// What was done, from `ErrorInfo.metadata`.
    pub action: Option<String>,
    /// The server's id of the request.
    pub request_id: Option<String>,
    /// The fields to mend and what is wrong with each, from `BadRequest`.
    pub violations: Vec<(String, String)>,
    /// When to try again, from `RetryInfo`.
    pub retry_after: Option<Duration>,
    /// What a new token would have to say, as the `claims` parameter that asks a provider for it.
    pub claims: Option<String>,
}

/// A connection to one server in the name of one caller.
#[derive(Clone, Debug)]
pub struct Client {
    stub: Stub,
    headers: MetadataMap,
}

impl Client {
    /// Connects, and returns only when the server has accepted the caller's certificate. Without `tls` in
    /// plaintext.
    ///
    /// # Errors
    /// Nobody listens, or one side turned the other away.
    pub async fn connect(target: &Target, tls: Option<ClientTls>) -> Result<Self, TransportError> {
        let channel = channel(target, tls).await?;
        let stub = Stub::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
        Ok(Self { stub, headers: MetadataMap::new() })
    }

    /// The same connection for a caller that sends this header too, as in `authorization`.
    ///
    /// # Errors
    /// It is no header.
    pub fn with_header(&self, name: &str, value: &str) -> Result<Self, String> {
        let name = AsciiMetadataKey::from_str(name).map_err(|error| error.to_string())?;
        let value = value.parse().map_err(|_| "a header is visible ASCII".to_owned())?;
        let mut other = self.clone();
        other.headers.append(name, value);
        Ok(other)
    }

    /// Asks a model; `timeout` travels to the server too.
    pub async fn infer(&mut self, request: ModelInferRequest, timeout: Duration) -> Outcome {
        let mut request = tonic::Request::new(request);
        *request.metadata_mut() = self.headers.clone();
        request.set_timeout(timeout);
        match self.stub.model_infer(request).await {
            Ok(response) => Outcome::Answer(response.into_inner()),
            Err(status) => ended(&status),
        }
    }

    /// The stub, for every other method; a clone shares the connection.
    pub fn inner(&mut self) -> &mut Stub {
        &mut self.stub
    }
}

/// A connection that the server has accepted.
async fn channel(target: &Target, tls: Option<ClientTls>) -> Result<Channel, TransportError> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{}", target.authority()))
        .map_err(|error| broken(&error))?;
    let endpoint = endpoint
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_frame_size(FRAME_MAX)
        .connect_timeout(CONNECT_TIMEOUT);
    let target = target.clone();
    let connector = tower::service_fn(move |_| open(target.clone(), tls.clone()));
    endpoint.connect_with_connector(connector).await.map_err(|error| broken(&error))
}

/// A connection to the operations port of one sidecar.
#[derive(Clone, Debug)]
pub struct Operator(OperationsClient<Channel>);

impl Operator {
    /// Connects as [`Client::connect`] does.
    ///
    /// # Errors
    /// Nobody listens, or one side turned the other away.
    pub async fn connect(target: &Target, tls: ClientTls) -> Result<Self, TransportError> {
        Ok(Self(OperationsClient::new(channel(target, Some(tls)).await?)))
    }

    /// Has everything read anew that can be.
    ///
    /// # Errors
    /// How the call ended instead.
    pub async fn reload(&mut self) -> Result<ReloadResponse, Outcome> {
        let told = self.0.reload(ReloadRequest {}).await;
        told.map(tonic::Response::into_inner).map_err(|status| ended(&status))
    }

    /// How the sidecar stands.
    ///
    /// # Errors
    /// How the call ended instead.
    pub async fn status(&mut self) -> Result<StatusResponse, Outcome> {
        let told = self.0.status(StatusRequest {}).await;
        told.map(tonic::Response::into_inner).map_err(|status| ended(&status))
    }
}

pub(super) type BoxError = Box<dyn Error + Send + Sync>;

pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Io for S {}

/// A connected socket, behind TLS where it is asked for.
pub(super) async fn open(target: Target, tls: Option<ClientTls>) -> Result<TokioIo<Box<dyn Io>>, BoxError> {
    let socket: Box<dyn Io> = match &target {
        Target::Tcp { host, port } => {
            let socket = TcpStream::connect((host.as_str(), *port)).await?;
            socket.set_nodelay(true)?;
            Box::new(socket)
        }
        Target::Unix(path) => Box::new(UnixStream::connect(path).await?),
    };
    let Some(tls) = tls else { return Ok(TokioIo::new(socket)) };
    Ok(TokioIo::new(Box::new(tls::dial(tls, target.name(), socket).await?)))
}

/// What a status means to the caller: the server's word, or a connection that broke.
fn ended(status: &tonic::Status) -> Outcome {
    let name = name_of(status.code() as usize);
    // Only a status that came over the wire has no cause on our side.
    if let Some(source) = status.source() {
        return Outcome::Transport(transport(status.message(), source));
    }
    let details = status.get_error_details();
    let info = details.error_info();
    let metadata = |key: &str| info.and_then(|info| info.metadata.get(key).cloned());
    let fields = details.bad_request().map(|bad| bad.field_violations.iter());
    let violations = fields.into_iter().flatten().map(|v| (v.field.clone(), v.description.clone()));
    Outcome::Refused(Refused {
        status: name.to_owned(),
        message: status.message().to_owned(),
        reason: info.map(|info| info.reason.to_ascii_lowercase()),
        action: metadata("action"),
        request_id: metadata("request_id"),
        violations: violations.collect(),
        retry_after: details.retry_info().and_then(|info| info.retry_delay),
        claims: metadata("claims"),
    })
}

fn broken(error: &tonic::transport::Error) -> TransportError {
    transport("", error)
}

/// The alert somewhere in a chain of causes, or the chain in words.
pub(super) fn transport(summary: &str, error: &(dyn Error + 'static)) -> TransportError {
    let mut words = Vec::from_iter((!summary.is_empty()).then(|| summary.to_owned()));
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(HandshakeError::Alert(alert)) = error.downcast_ref() {
            return TransportError::Alert(alert.clone());
        }
        let text = error.to_string();
        if text != "transport error" && !words.iter().any(|known| known.contains(&text)) {
            words.push(text);
        }
        cause = error.source();
    }
    TransportError::Broken(words.join(": "))
}

/// The name of a `google.rpc.Code`.
pub(super) fn name_of(code: usize) -> &'static str {
    NAMES.get(code).copied().unwrap_or("UNKNOWN")
}

/// Names of `google.rpc.Code`, by number.
const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::{Code, Status};
    use tonic_types::ErrorDetails;

    #[test]
    fn a_target_without_a_port_or_host_is_refused() {
        for text in ["", "localhost", ":8001", "localhost:", "localhost:99999", "localhost:x"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }

    #[test]
    fn targets_read_as_they_are_written() {
        for (text, shown, name) in [
            ("127.0.0.1:8001", "127.0.0.1:8001", "localhost"),
            ("https://model.example:443/", "model.example:443", "model.example"),
            ("[::1]:8001", "[::1]:8001", "localhost"),
            ("192.0.2.1:8001", "192.0.2.1:8001", "192.0.2.1"),
            ("unix:/run/asepsis.sock", "unix:/run/asepsis.sock", "localhost"),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!((target.to_string().as_str(), target.name()), (shown, name));
        }
    }

    #[test]
    fn a_refusal_is_read_with_its_details() {
        let mut details = ErrorDetails::new();
        let metadata =
            [("request_id".to_owned(), "2a".to_owned()), ("action".to_owned(), "refused".to_owned())];
        details.set_error_info("NON_FINITE", "asepsis", metadata);
        details.add_bad_request_violation("inputs[0]", "not finite");
        let status = Status::with_error_details(Code::InvalidArgument, "inputs[0]: not finite", details);
        let Outcome::Refused(refused) = ended(&status) else { panic!("not the server's word") };
        assert_eq!(refused.status, "INVALID_ARGUMENT");
        assert_eq!(refused.reason.as_deref(), Some("non_finite"));
        assert_eq!(refused.action.as_deref(), Some("refused"));
        assert_eq!(refused.request_id.as_deref(), Some("2a"));
        assert_eq!(refused.violations, [("inputs[0]".to_owned(), "not finite".to_owned())]);
    }

    #[tokio::test]
    async fn nobody_listening_is_a_transport_error() {
        let target: Target = "127.0.0.1:1".parse().unwrap();
        let error = Client::connect(&target, None).await.unwrap_err();
        assert!(matches!(&error, TransportError::Broken(why) if why.contains("refused")), "{error}");
    }
}
