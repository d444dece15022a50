//! How is a message sent that is encoded already? As one HTTP/2 stream, with nothing between it and the wire, so
//! that the caller who measures costs less than what is measured.

use super::client::{CONNECT_TIMEOUT, FRAME_MAX, Target, TransportError, WINDOW, name_of, open, transport};
use super::tls::ClientTls;
use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use prost::Message;
use std::future::poll_fn;
use std::time::Duration;

/// The flag and the length before a message (gRPC over HTTP/2, "Length-Prefixed-Message").
const PREFIX_BYTES: usize = 5;
/// What is shown of a server's word.
const WORD_CHARACTERS_MAX: usize = 500;

/// How a call ended without an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The server's word.
    #[error("{code}: {message}")]
    Status {
        /// The canonical code, as in `INVALID_ARGUMENT`.
        code: &'static str,
        /// What the server says, shortened.
        message: String,
    },
    /// No gRPC answer came.
    #[error("{0}")]
    Broken(String),
}

impl From<h2::Error> for CallError {
    fn from(error: h2::Error) -> Self {
        Self::Broken(format!("the connection broke: {error}"))
    }
}

/// A message as it stands in a body: uncompressed, behind its length. A clone shares the bytes.
#[derive(Clone, Debug)]
pub struct Framed(Bytes);

impl Framed {
    /// Encodes `message`; `None` where it is longer than gRPC can say.
    #[must_use]
    pub fn new(message: &impl Message) -> Option<Self> {
        let length = message.encoded_len();
        let mut frame = BytesMut::with_capacity(length.checked_add(PREFIX_BYTES)?);
        frame.put_u8(0);
        frame.put_u32(u32::try_from(length).ok()?);
        message.encode(&mut frame).ok()?;
        Some(Self(frame.freeze()))
    }

    /// The flag, the length and the message.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its length with the prefix.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.0.len()
    }
}

/// One connection; it ends with the last of its callers.
#[derive(Clone)]
pub struct Connection {
    send: SendRequest<Bytes>,
    origin: String,
    headers: HeaderMap,
}

impl Connection {
    /// Connects; with TLS it returns only when the server has accepted the caller's certificate. `headers` go with
    /// every call, `timeout` too, as what is left of the deadline.
    ///
    /// # Errors
    /// Nobody listens, one side turned the other away, or a header is none.
    pub async fn open(
        target: &Target,
        tls: Option<ClientTls>,
        headers: &[(String, String)],
        timeout: Duration,
    ) -> Result<Self, TransportError> {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let socket = tokio::time::timeout(CONNECT_TIMEOUT, open(target.clone(), tls)).await;
        let socket = socket.map_err(|_| TransportError::Broken("connecting takes too long".into()))?;
        let socket = socket.map_err(|error| transport("", error.as_ref()))?.into_inner();
        let handshake = h2::client::Builder::new()
            .initial_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_frame_size(FRAME_MAX)
            .enable_push(false)
            .handshake(socket);
        let (send, connection) = handshake.await.map_err(|error| transport("", &error))?;
        // It ends when the last sender is dropped, or the connection breaks, which the calls tell.
        drop(tokio::spawn(connection));
        let origin = format!("{scheme}://{}", target.authority());
        Ok(Self { send, origin, headers: of_calls(headers, timeout).map_err(TransportError::Broken)? })
    }

    /// Who calls `method` on this connection.
    ///
    /// # Errors
    /// The address of the server is none that a URI can have.
    pub fn caller(&self, method: &str) -> Result<Caller, TransportError> {
        let uri = format!("{}{method}", self.origin);
        let request = Request::builder().method(Method::POST).uri(uri).body(());
        let mut request = request.map_err(|error| TransportError::Broken(error.to_string()))?;
        *request.headers_mut() = self.headers.clone();
        Ok(Caller { send: self.send.clone(), request })
    }
}

fn of_calls(headers: &[(String, String)], timeout: Duration) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::new();
    map.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    map.insert(http::header::TE, HeaderValue::from_static("trailers"));
    map.insert(http::header::USER_AGENT, HeaderValue::from_static("asepsis-bench"));
    // At most eight digits (gRPC over HTTP/2, "TimeoutValue").
    let timeout = format!("{}m", timeout.as_millis().min(99_999_999));
    map.insert("grpc-timeout", HeaderValue::from_str(&timeout).map_err(|error| error.to_string())?);
    for (name, value) in headers {
        // Not the value: it may be a token.
        let wrong = || format!("`{name}` is no header, or its value is not visible ASCII");
        let name = HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes()).map_err(|_| wrong())?;
        let mut value = HeaderValue::from_str(value).map_err(|_| wrong())?;
        value.set_sensitive(true);
        map.append(name, value);
    }
    Ok(map)
}

/// Calls one method, one call at a time; clones share the connection.
#[derive(Clone)]
pub struct Caller {
    send: SendRequest<Bytes>,
    request: Request<()>,
}

impl Caller {
    /// Sends a message and reads the answer to its end; its length in bytes.
    ///
    /// # Errors
    /// How the call ended instead.
    pub async fn call(&mut self, message: Framed) -> Result<usize, CallError> {
        let mut length: usize = 0;
        self.exchange(message, |part| length = length.saturating_add(part.len())).await?;
        Ok(length)
    }

    /// Sends a message and decodes the answer, which has at most `bytes_max`.
    ///
    /// # Errors
    /// How the call ended instead.
    pub async fn ask<M: Message + Default>(
        &mut self,
        message: Framed,
        bytes_max: usize,
    ) -> Result<M, CallError> {
        let mut body = BytesMut::new();
        let mut is_whole = true;
        self.exchange(message, |part| {
            is_whole &= body.len().saturating_add(part.len()) <= bytes_max;
            if is_whole {
                body.extend_from_slice(part);
            }
        })
        .await?;
        let wrong = |what: &str| CallError::Broken(format!("the answer {what}"));
        if !is_whole {
            return Err(wrong("is too long"));
        }
        let body = body.freeze();
        match body.first() {
            Some(0) if body.len() >= PREFIX_BYTES => {
                M::decode(body.slice(PREFIX_BYTES..)).map_err(|_| wrong("is no such message"))
            }
            Some(_) => Err(wrong("is compressed, which nobody asked for")),
            None => Err(wrong("is empty")),
        }
    }

    async fn exchange(&mut self, message: Framed, mut part: impl FnMut(&Bytes)) -> Result<(), CallError> {
        poll_fn(|context| self.send.poll_ready(context)).await?;
        let (response, mut stream) = self.send.send_request(self.request.clone(), false)?;
        // A server that answers before it has read all closes the stream, and its answer tells.
        let sent = stream.send_data(message.0, true);
        let response = response.await?;
        if !response.status().is_success() {
            return Err(CallError::Broken(format!("HTTP status {}", response.status().as_u16())));
        }
        let (head, mut body) = response.into_parts();
        if let Some(ended) = status(&head.headers) {
            return ended;
        }
        sent?;
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            part(&data);
        }
        let trailers = body.trailers().await?;
        let ended = trailers.as_ref().and_then(status);
        ended.unwrap_or_else(|| Err(CallError::Broken("the answer has no grpc-status".into())))
    }
}

/// How a call ended, by its trailers.
fn status(headers: &HeaderMap) -> Option<Result<(), CallError>> {
    let code = headers.get("grpc-status")?.as_bytes();
    if code == b"0" {
        return Some(Ok(()));
    }
    let code = std::str::from_utf8(code).ok().and_then(|code| code.parse().ok()).unwrap_or(2);
    let message = headers.get("grpc-message").map(HeaderValue::as_bytes).unwrap_or_default();
    Some(Err(CallError::Status { code: name_of(code), message: word(message) }))
}

/// A message without its percent-encoding, shortened, on one line.
fn word(encoded: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some((first, after)) = rest.split_first() {
        let escaped = (*first == b'%').then(|| after.split_at_checked(2)).flatten();
        let escaped = escaped.and_then(|(hex, after)| {
            Some((u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?, after))
        });
        let (byte, after) = escaped.unwrap_or((*first, after));
        bytes.push(byte);
        rest = after;
    }
    let text = String::from_utf8_lossy(&bytes);
    let visible = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    visible.take(WORD_CHARACTERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::ModelMetadataRequest;

    #[test]
    fn a_servers_word_is_read_with_its_code_and_without_its_escapes() {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("3"));
        trailers.insert("grpc-message", HeaderValue::from_static("inputs[0]: 100%25 off%0Aby%zz one"));
        let ended = status(&trailers).unwrap().unwrap_err();
        assert_eq!(ended.to_string(), "INVALID_ARGUMENT: inputs[0]: 100% off by%zz one");
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        assert_eq!(status(&trailers), Some(Ok(())));
        trailers.insert("grpc-status", HeaderValue::from_static("many"));
        assert!(matches!(status(&trailers), Some(Err(CallError::Status { code: "UNKNOWN", .. }))));
        assert_eq!(status(&HeaderMap::new()), None);
    }

    #[test]
    fn a_long_word_is_shortened() {
        assert_eq!(word(&[b'x'; 10_000]).len(), WORD_CHARACTERS_MAX);
        assert_eq!(word(b"%"), "%");
        assert_eq!(word(b"%4"), "%4");
    }

    #[test]
    fn a_message_stands_behind_its_length() {
        let message = ModelMetadataRequest { name: "wdbc".into(), version: String::new() };
        let framed = Framed::new(&message).unwrap();
        assert_eq!(&framed.0[..], b"\0\0\0\0\x06\x0a\x04wdbc");
    }

    #[test]
    fn a_token_in_a_wrong_header_is_not_shown() {
        let wrong = of_calls(&[("authorization".into(), "secret\n".into())], Duration::ZERO).unwrap_err();
        assert!(wrong.contains("authorization") && !wrong.contains("secret"), "{wrong}");
        let headers = of_calls(&[("X-Api-Key".into(), "k".into())], Duration::from_secs(30)).unwrap();
        assert_eq!(headers.get("x-api-key").unwrap(), "k");
        assert_eq!(headers.get("grpc-timeout").unwrap(), "30000m");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_of_a_server_are_read_without_a_panic(
            bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300),
        ) {
            word(&bytes);
        }
    }
}
