//! A connection that closes after its peer, not before.
//!
//! Node's clients say goodbye (GOAWAY) as soon as an answer begins, and drop what they have not read yet when the
//! connection then ends. So the last bytes of an answer are followed by a pause, which ends as soon as the peer closes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// The longest pause: what a program may take to get from one event of a subscription to the next.
const PAUSE: Duration = Duration::from_secs(10);

/// What an h2 peer says first. On HTTP/1.1 the end of the connection may be all that tells the end of an answer, so it
/// is not delayed.
const H2: &[u8] = b"PRI ";

/// See the module.
#[derive(Debug)]
pub(super) struct Linger<S> {
    stream: S,
    /// How many bytes of the preface have come; none more are expected after a difference.
    preface: Option<usize>,
    pause: Option<Pin<Box<Sleep>>>,
    /// A server that stops does not wait for its peers.
    is_stopping: Arc<AtomicBool>,
}

impl<S> Linger<S> {
    pub(super) fn new(stream: S, is_stopping: Arc<AtomicBool>) -> Self {
        Self { stream, preface: Some(0), pause: None, is_stopping }
    }

    fn is_h2(&self) -> bool {
        self.preface == Some(H2.len())
    }

    fn see(&mut self, bytes: &[u8]) {
        let Some(seen) = self.preface else { return };
        let expected = H2.get(seen..).unwrap_or_default();
        let compared = expected.len().min(bytes.len());
        let is_same = bytes.get(..compared) == expected.get(..compared);
        self.preface = is_same.then_some(seen + compared);
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Linger<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        if this.preface.is_some_and(|seen| seen < H2.len()) {
            this.see(buffer.filled().get(before..).unwrap_or_default());
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Linger<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_h2() && !this.is_stopping.load(Ordering::Relaxed) {
            ready!(Pin::new(&mut this.stream).poll_flush(context))?;
            ready!(this.poll_peer_closed(context));
        }
        Pin::new(&mut this.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl<S: AsyncRead + Unpin> Linger<S> {
    /// Ready when the peer has closed, or after the pause. What the peer still says is of no interest.
    fn poll_peer_closed(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let pause = self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(PAUSE)));
        if pause.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let mut discarded = [0; 1024];
        loop {
            let mut buffer = ReadBuf::new(&mut discarded);
            let outcome = ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer));
            if outcome.is_err() || buffer.filled().is_empty() {
                return Poll::Ready(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::time::timeout;

    use super::*;

    /// Both ends, after the peer's first bytes have been read.
    async fn opened(first: &[u8], is_stopping: bool) -> (Linger<DuplexStream>, DuplexStream) {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut ours = Linger::new(ours, Arc::new(AtomicBool::new(is_stopping)));
        for byte in first {
            theirs.write_all(&[*byte]).await.unwrap();
            ours.read_u8().await.unwrap();
        }
        (ours, theirs)
    }

    async fn shuts_within(ours: &mut Linger<DuplexStream>, time: Duration) -> bool {
        timeout(time, ours.shutdown()).await.is_ok_and(|outcome| outcome.is_ok())
    }

    #[tokio::test(start_paused = true)]
    async fn h2_is_closed_after_the_peer_or_the_pause() {
        let (mut ours, mut theirs) = opened(b"PRI * HTTP/2.0", false).await;
        ours.write_all(b"last").await.unwrap();
        theirs.write_all(b"a ping").await.unwrap();
        let shut = tokio::join!(timeout(Duration::from_secs(3), ours.shutdown()), async {
            let mut last = [0; 4];
            theirs.read_exact(&mut last).await.unwrap();
            assert_eq!(&last, b"last");
            let ended = timeout(Duration::from_secs(1), theirs.read(&mut last)).await;
            assert!(ended.is_err(), "the connection ended before the peer closed it");
            theirs.shutdown().await.unwrap();
        });
        shut.0.expect("the peer's end is seen at once").unwrap();

        let (mut ours, _theirs) = opened(b"PRI * HTTP/2.0", false).await;
        assert!(!shuts_within(&mut ours, PAUSE.saturating_sub(Duration::from_secs(1))).await);
        assert!(shuts_within(&mut ours, Duration::from_secs(2)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_else_waits() {
        for (first, is_stopping) in
            [("POST / HTTP/1.1", false), ("PR", false), ("", false), ("PRI * HTTP/2.0", true)]
        {
            let (mut ours, _theirs) = opened(first.as_bytes(), is_stopping).await;
            assert!(shuts_within(&mut ours, Duration::from_millis(1)).await, "{first}");
        }
    }
}
