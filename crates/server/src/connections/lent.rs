//! A stream that is lent to whoever serves it, and comes back when that is over.
//!
//! hyper drops the stream once it has written its last answer. A socket that is closed with bytes unread, or that gets some
//! afterwards, is reset, and a reset throws away what is still on its way to the other end: the last answers. Who has the
//! stream back can listen until the other end has hung up.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

/// Reads and writes as the stream does.
#[derive(Debug)]
pub(super) struct Lent<S> {
    /// There until it is dropped.
    lent: Option<(S, oneshot::Sender<S>)>,
}

/// Lends a stream; the receiver has it back as soon as the loan is dropped.
pub(super) fn lend<S>(stream: S) -> (Lent<S>, oneshot::Receiver<S>) {
    let (back, returned) = oneshot::channel();
    (Lent { lent: Some((stream, back)) }, returned)
}

impl<S> Drop for Lent<S> {
    fn drop(&mut self) {
        if let Some((stream, back)) = self.lent.take() {
            // Where nobody wants it back it is closed here.
            let _unwanted = back.send(stream);
        }
    }
}

impl<S: Unpin> Lent<S> {
    fn stream<T>(self: Pin<&mut Self>, poll: impl FnOnce(Pin<&mut S>) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &mut self.get_mut().lent {
            Some((stream, _)) => poll(Pin::new(stream)),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lent<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.stream(|stream| stream.poll_read(cx, buf))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lent<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream(|stream| stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream(|stream| stream.poll_write_vectored(cx, parts))
    }

    fn is_write_vectored(&self) -> bool {
        self.lent.as_ref().is_some_and(|(stream, _)| stream.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream(|stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream(|stream| stream.poll_shutdown(cx))
    }
}
