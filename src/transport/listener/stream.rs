//! What was accepted, and on which runtime is it?

use super::Listener;
use crate::identity::Peer;
use std::io;
use tokio::net::{TcpStream, UnixStream};

/// A connection as it was accepted.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Registered with the runtime that this is called on, and no longer with the one that accepted it.
    pub(super) fn here(self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(stream) => Self::Tcp(TcpStream::from_std(stream.into_std()?)?),
            Self::Unix(stream) => Self::Unix(UnixStream::from_std(stream.into_std()?)?),
        })
    }
}

/// The next connection, and what the kernel knows of its other end.
pub(super) async fn accept(listener: &Listener) -> io::Result<(Stream, Peer)> {
    match listener {
        Listener::Tcp(listener) => {
            let (stream, address) = listener.accept().await?;
            stream.set_nodelay(true)?;
            // An IPv4 caller of an IPv6 socket is known by its IPv4 address.
            let address = Some(address.ip().to_canonical());
            Ok((Stream::Tcp(stream), Peer { address, ..Peer::default() }))
        }
        Listener::Unix(listener) => {
            let (stream, _) = listener.accept().await?;
            let uid = stream.peer_cred().ok().map(|peer| peer.uid());
            Ok((Stream::Unix(stream), Peer { uid, ..Peer::default() }))
        }
    }
}
