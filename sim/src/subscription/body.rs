//! Answers as HTTP bodies: whole ones, and streams of events that are made when the connection can take them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use super::live::Next;
use crate::door::Door;

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum ReplyBody {
    /// All of it; `None` once it has been taken.
    Whole(Option<Bytes>),
    /// The events of a subscription.
    Events(EventBody),
}

impl From<Bytes> for ReplyBody {
    fn from(bytes: Bytes) -> Self {
        Self::Whole((!bytes.is_empty()).then_some(bytes))
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Events(events) => events.poll_event(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Events(_) => SizeHint::default(),
        }
    }
}

/// The events of one subscription. Dropping it frees the subscription.
///
/// It holds no event: one is made each time the connection asks for more, and the connection asks only while it can
/// send. There is no task either; whoever polls is woken by news of the shard or by the timer.
#[derive(Debug)]
pub(crate) struct EventBody {
    /// `None` after the end: the SDK polls once more.
    open: Option<Open>,
    timer: Option<Pin<Box<Sleep>>>,
}

/// A subscription, until it is dropped.
#[derive(Debug)]
struct Open {
    door: Arc<Door>,
    ticket: u64,
}

impl EventBody {
    pub(crate) fn new(door: Arc<Door>, ticket: u64) -> Self {
        Self { open: Some(Open { door, ticket }), timer: None }
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            let Some(Open { door, ticket }) = &self.open else { return Poll::Ready(None) };
            let (next, now) =
                door.with(|engine, now| (engine.next_frame(now, *ticket, context.waker()), now));
            match next {
                Next::Frame(bytes) => {
                    self.timer = None;
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Next::WaitUntil(at) => {
                    // At least a millisecond: the engine's clock counts whole ones, and must move on.
                    let wait = Duration::from_millis(at.saturating_sub(now).max(1));
                    let timer = self.timer.insert(Box::pin(tokio::time::sleep(wait)));
                    ready!(timer.as_mut().poll(context));
                }
                Next::End => {
                    self.open = None;
                    return Poll::Ready(None);
                }
                Next::Break => {
                    self.open = None;
                    let error =
                        io::Error::new(io::ErrorKind::ConnectionReset, "the simulated connection broke");
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.door.with(|engine, _| engine.unsubscribe(self.ticket));
    }
}
