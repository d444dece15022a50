//! A caller that speaks HTTP/2 itself, and so can do what no gRPC library does.

use crate::sidecar::{Sidecar, client_tls};
use asepsis::transport::client::Target;
use asepsis::transport::tls;
use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt;

pub const MODEL_INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
pub const MODEL_STREAM_INFER: &str = "/inference.GRPCInferenceService/ModelStreamInfer";

/// A TLS connection that was accepted, and nothing said on it.
pub async fn dial(
    address: SocketAddr,
    who: &'static str,
) -> impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin {
    let socket = TcpStream::connect(address).await.unwrap();
    tls::dial(client_tls(Some(who)), "localhost", socket).await.unwrap()
}

/// A channel for generated stubs of other services than inference.
pub async fn channel(sidecar: &Sidecar, who: &'static str) -> Channel {
    let address = sidecar.grpc();
    let connector = tower::service_fn(move |_: http::Uri| async move {
        let socket = TcpStream::connect(address).await?;
        let stream = tls::dial(client_tls(Some(who)), "localhost", socket).await;
        stream.map(TokioIo::new).map_err(std::io::Error::other)
    });
    Endpoint::from_static("https://localhost").connect_with_connector(connector).await.unwrap()
}

/// Where a sidecar in another process listens.
pub fn target(address: SocketAddr) -> Target {
    Target::Tcp { host: address.ip().to_string(), port: address.port() }
}

/// One HTTP/2 connection.
pub struct Wire {
    pub send: SendRequest<Bytes>,
    pub connection: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

/// How a call ended, as it stands in its headers and trailers.
#[derive(Debug)]
pub struct Ended {
    pub http: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub status: tonic::Status,
}

impl Wire {
    pub async fn connect(address: SocketAddr, who: &'static str) -> Self {
        let (send, connection) = h2::client::handshake(dial(address, who).await).await.unwrap();
        Self { send, connection: tokio::spawn(connection) }
    }

    /// Sends a request and all of its body; without one, the headers end the stream.
    pub async fn call(&mut self, request: Request<()>, body: Option<Bytes>) -> Result<Ended, h2::Error> {
        let mut send = self.send.clone().ready().await?;
        let (response, mut stream) = send.send_request(request, body.is_none())?;
        if let Some(body) = body {
            // The server may have answered and closed the stream before the whole body was sent.
            drop(stream.send_data(body, true));
        }
        ended(response).await
    }
}

/// Waits for the end of a call.
pub async fn ended(response: h2::client::ResponseFuture) -> Result<Ended, h2::Error> {
    let (head, mut stream) = response.await?.into_parts();
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    let trailers = stream.trailers().await?;
    let last = trailers.as_ref().unwrap_or(&head.headers);
    let status = tonic::Status::from_header_map(last).expect("a call ends with a gRPC status");
    Ok(Ended { http: head.status, headers: head.headers, body, status })
}

impl Ended {
    /// `ErrorInfo.reason` in lower case; empty without one.
    pub fn reason(&self) -> String {
        let details = self.status.get_error_details();
        details.error_info().map(|info| info.reason.to_ascii_lowercase()).unwrap_or_default()
    }
}

/// The head of a good gRPC call.
pub fn head(path: &str) -> Request<()> {
    let uri = http::Uri::builder().scheme("https").authority("localhost").path_and_query(path);
    Request::builder()
        .method(Method::POST)
        .uri(uri.build().unwrap())
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap()
}

/// A length-prefixed message as gRPC has it, with a flag of the caller's choice.
pub fn framed(flag: u8, length: u32, message: &[u8]) -> Bytes {
    let mut frame = vec![flag];
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(message);
    frame.into()
}

/// The same with its true length.
pub fn frame(flag: u8, message: &[u8]) -> Bytes {
    framed(flag, u32::try_from(message.len()).unwrap(), message)
}

/// The messages in a body; the rest that is none is dropped.
pub fn messages(mut body: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while let Some((prefix, rest)) = body.split_at_checked(5) {
        let length = u32::from_be_bytes(prefix[1..].try_into().unwrap()) as usize;
        let Some((message, rest)) = rest.split_at_checked(length) else { break };
        found.push(message.to_vec());
        body = rest;
    }
    found
}
