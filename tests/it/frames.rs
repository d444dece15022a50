//! HTTP/2 by hand, for what even an HTTP/2 library does not send.

use crate::sidecar::Sidecar;
use crate::wire::dial;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// RFC 9113, section 7.
pub const ENHANCE_YOUR_CALM: u32 = 0xb;

/// One frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Header fields in the plainest form of HPACK: literal, without indexing, without Huffman.
pub fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            let length = u8::try_from(text.len()).unwrap();
            assert!(length < 127, "a longer length needs another form");
            block.push(length);
            block.extend(text.as_bytes());
        }
    }
    block
}

/// The head of a gRPC call to `path`.
pub fn call(path: &str) -> Vec<u8> {
    fields(&[
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", path),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ])
}

/// Sends these bytes after a preface, and reads until the server closes the connection.
pub async fn send_until_closed(sidecar: &Sidecar, bytes: Vec<u8>) -> Vec<u8> {
    let (mut read, mut write) = tokio::io::split(dial(sidecar.grpc(), "client").await);
    let send = async {
        write.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
        write.write_all(&frame(4, 0, 0, &[])).await?;
        write.write_all(&bytes).await?;
        write.flush().await
    };
    let mut answer = Vec::new();
    // Either side may end in an error: the server hangs up on whoever goes on sending.
    let (sent, read) = tokio::join!(send, read.read_to_end(&mut answer));
    drop((sent, read));
    answer
}

/// Kind, stream and payload of each frame.
pub fn parsed(mut bytes: &[u8]) -> Vec<(u8, u32, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some((head, rest)) = bytes.split_at_checked(9) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let Some((payload, rest)) = rest.split_at_checked(length) else { break };
        let stream = u32::from_be_bytes(head[5..9].try_into().unwrap());
        frames.push((head[3], stream, payload.to_vec()));
        bytes = rest;
    }
    frames
}

/// The error code of the last GOAWAY.
pub fn goodbye(answer: &[u8]) -> Option<u32> {
    let frames = parsed(answer);
    let last = frames.iter().rev().find(|(kind, ..)| *kind == GOAWAY)?;
    Some(u32::from_be_bytes(last.2[4..8].try_into().unwrap()))
}
