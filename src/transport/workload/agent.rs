//! How is the agent reached, and what do its errors mean?

use super::Problem;
use futures_util::{Stream, StreamExt};
use hyper_util::rt::TokioIo;
use spiffe::transport::{Endpoint as Address, GrpcStatusCode, TransportError};
use spiffe::{WorkloadApiClient, WorkloadApiError, X509Context};
use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;
use tokio::net::UnixStream;
use tonic::transport::Channel;

/// The longest text of an agent that we repeat in logs and errors, in characters.
const TEXT_MAX: usize = 200;

/// An agent that hangs is noticed within the interval and the timeout. Not more often: gRPC servers end a
/// connection that is pinged more than every five minutes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_mins(6);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// The socket of an agent on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(Address);

impl Endpoint {
    /// Reads `unix:///absolute/path` or `tcp://IP:PORT` (SPIFFE Workload Endpoint, section 4).
    ///
    /// TCP is for addresses of this machine alone: the answer holds a private key, and the protocol has no
    /// encryption (section 3 of the same asks for a network that authenticates by address).
    ///
    /// # Errors
    /// What to mend.
    pub fn parse(text: &str) -> Result<Self, String> {
        let address = Address::parse(text).map_err(|error| error.to_string())?;
        if let Address::Tcp { host, .. } = &address
            && !is_here(*host)
        {
            return Err(format!(
                "{host} is not an address of this machine, and the agent's answer holds a private key in clear"
            ));
        }
        Ok(Self(address))
    }
}

fn is_here(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback() || address.is_link_local(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unicast_link_local(),
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Address::Unix(path) => write!(f, "unix://{}", path.display()),
            Address::Tcp { host: IpAddr::V6(host), port } => write!(f, "tcp://[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
            other => write!(f, "{other:?}"),
        }
    }
}

/// What the agent sends. A message may have 4 MiB, tonic's default, which the crate `spiffe` leaves as it is.
type Message = Result<X509Context, WorkloadApiError>;

/// A client, for as long as the stream is wanted, the stream, and the first message, which comes without delay
/// (SPIFFE Workload API, section 4.3).
pub(super) async fn open(
    endpoint: &Endpoint,
) -> Result<(WorkloadApiClient, impl Stream<Item = Message> + Unpin + use<>, Option<Message>), Problem> {
    let channel = connect(endpoint).await?;
    let client = WorkloadApiClient::new_with_channel(endpoint.0.clone(), channel);
    let mut stream = client.stream_x509_contexts().await.map_err(problem)?;
    let first = stream.next().await;
    Ok((client, stream, first))
}

/// As the crate's own `connect`, and with a sign of life from the agent.
async fn connect(endpoint: &Endpoint) -> Result<Channel, Problem> {
    let authority = match &endpoint.0 {
        Address::Tcp { host: IpAddr::V6(host), port } => format!("http://[{host}]:{port}"),
        Address::Tcp { host, port } => format!("http://{host}:{port}"),
        Address::Unix(_) | _ => "http://localhost".to_owned(),
    };
    let unreachable = |error: tonic::transport::Error| Problem::Unreachable(words(&error));
    let channel = Channel::from_shared(authority)
        .map_err(|error| Problem::Unreachable(words(&error)))?
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    let Address::Unix(path) = endpoint.0.clone() else {
        return channel.connect().await.map_err(unreachable);
    };
    let connector = tower::service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    channel.connect_with_connector(connector).await.map_err(unreachable)
}

/// What an error of the crate means: all but [`Problem::Malformed`] end the stream.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "open enums of the crate; what is left is about a message"
)]
pub(super) fn problem(error: WorkloadApiError) -> Problem {
    match error {
        WorkloadApiError::NoIdentityIssued => Problem::Denied("no identity issued".to_owned()),
        WorkloadApiError::PermissionDenied(message) => Problem::Denied(brief(&message)),
        WorkloadApiError::EmptyResponse => Problem::Ended,
        WorkloadApiError::Transport(TransportError::Status(status)) => match status.code() {
            GrpcStatusCode::InvalidArgument | GrpcStatusCode::Unimplemented => {
                Problem::Unsupported(brief(&status.to_string()))
            }
            _ => Problem::Failed(brief(&status.to_string())),
        },
        WorkloadApiError::Transport(error) => Problem::Unreachable(words(&error)),
        error => Problem::Malformed(words(&error)),
    }
}

/// An error with its causes, without saying anything twice.
fn words(error: &dyn Error) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut cause = Some(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if !words.iter().any(|known| known.contains(&text)) {
            words.push(text);
        }
        cause = error.source();
    }
    brief(&words.join(": "))
}

/// Text of the agent in one line of bounded length.
pub(super) fn brief(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(TEXT_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_of_another_machine_is_refused() {
        for text in
            ["tcp://192.0.2.1:8081", "tcp://10.0.0.1:8081", "tcp://[2001:db8::1]:8081", "tcp://0.0.0.0:1"]
        {
            let error = Endpoint::parse(text).unwrap_err();
            assert!(error.contains("not an address of this machine"), "{text}: {error}");
        }
    }

    #[test]
    fn endpoints_are_shown_as_they_are_written() {
        for text in ["unix:///run/spire/agent.sock", "tcp://127.0.0.1:8081", "tcp://[::1]:8081"] {
            assert_eq!(Endpoint::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_an_agent_says_becomes_one_short_line() {
        assert_eq!(brief("no\nidentity\u{1b}[2J"), "no identity [2J");
        assert_eq!(brief(&"é".repeat(10_000)).chars().count(), TEXT_MAX);
    }

    #[test]
    fn only_a_refusal_to_identify_means_that_we_are_nobody() {
        let status = |code| WorkloadApiError::Transport(TransportError::status(code, "why"));
        assert!(matches!(problem(WorkloadApiError::NoIdentityIssued), Problem::Denied(_)));
        assert!(matches!(problem(WorkloadApiError::PermissionDenied("why".into())), Problem::Denied(_)));
        assert!(matches!(problem(status(GrpcStatusCode::InvalidArgument)), Problem::Unsupported(_)));
        assert!(matches!(problem(status(GrpcStatusCode::Unimplemented)), Problem::Unsupported(_)));
        assert!(matches!(problem(status(GrpcStatusCode::Unavailable)), Problem::Failed(_)));
        let missing = WorkloadApiError::MissingRequiredField { field: "X509SVIDResponse.svids" };
        assert!(matches!(problem(missing), Problem::Malformed(_)));
    }
}
