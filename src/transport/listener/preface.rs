//! Has the peer begun to speak HTTP/2? A stream that tells, because hyper waits for the preface without end,
//! and lets no shutdown cut that waiting short.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

/// The length of the client's preface (RFC 9113, section 3.4).
const PREFACE_BYTES: usize = 24;

/// A stream that counts its first bytes.
pub(super) struct Counted<IO> {
    stream: IO,
    missing: usize,
    whole: Option<oneshot::Sender<()>>,
}

/// Resolves when a preface's worth of bytes was read.
pub(super) struct Preface(oneshot::Receiver<()>);

impl Preface {
    /// Resolves if the preface is not there after `patience`, else never.
    pub(super) async fn missing(self, patience: Duration) {
        if tokio::time::timeout(patience, self.0).await.is_ok() {
            std::future::pending::<()>().await;
        }
    }
}

impl<IO> Counted<IO> {
    pub(super) fn new(stream: IO) -> (Self, Preface) {
        let (whole, preface) = oneshot::channel();
        (Self { stream, missing: PREFACE_BYTES, whole: Some(whole) }, Preface(preface))
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Counted<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        self.missing = self.missing.saturating_sub(buffer.filled().len() - before);
        if self.missing == 0
            && let Some(whole) = self.whole.take()
        {
            // Nobody listens any more where the connection is about to end.
            whole.send(()).ok();
        }
        Poll::Ready(read)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Counted<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
