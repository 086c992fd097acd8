use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use tokio::sync::mpsc;

use super::{ConsumerEvent, Severity, StreamShard};
use crate::lease::LeaseKey;

/// Where the events of a worker go: nowhere but the log, to a hook, or into a queue. Cheap to clone.
///
/// Nothing here ever waits: a hook runs at once in the task that has the news, and a full queue drops the event and
/// counts it. A worker is never slowed down, nor its memory filled, by whoever listens.
#[derive(Clone, Default)]
pub struct EventSink {
    target: Target,
    dropped: Arc<AtomicU64>,
}

#[derive(Clone, Default)]
enum Target {
    #[default]
    LogOnly,
    Hook(Arc<dyn Fn(&ConsumerEvent) + Send + Sync>),
    Queue(mpsc::Sender<ConsumerEvent>),
}

impl fmt::Debug for EventSink {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = match &self.target {
            Target::LogOnly => "log only",
            Target::Hook(_) => "hook",
            Target::Queue(_) => "queue",
        };
        formatter.debug_struct("EventSink").field("target", &target).finish_non_exhaustive()
    }
}

impl EventSink {
    /// Calls `hook` with each event, in the task that has the news: it must return at once and must not block.
    ///
    /// A panic of the hook is caught and counted as a dropped event.
    pub fn hook(hook: impl Fn(&ConsumerEvent) + Send + Sync + 'static) -> Self {
        Self { target: Target::Hook(Arc::new(hook)), dropped: Arc::default() }
    }

    /// A queue of at most `capacity` events (at least 1), and the end at which they come out.
    ///
    /// One receiver may serve several workers: give each a clone of the sink.
    ///
    /// ```
    /// let (events, mut receiver) = kcl::EventSink::queue(1_000);
    /// let config = kcl::ConsumerConfig::new("billing", "orders", "worker-a").with_events(events);
    /// # let _ = (config, receiver.try_recv());
    /// ```
    pub fn queue(capacity: usize) -> (Self, EventReceiver) {
        let (sender, receiver) = mpsc::channel(capacity.max(1));
        let dropped = Arc::new(AtomicU64::new(0));
        let sink = Self { target: Target::Queue(sender), dropped: Arc::clone(&dropped) };
        (sink, EventReceiver { receiver, dropped })
    }

    /// Events that the queue had no room for, or on which the hook panicked; a count.
    pub fn dropped_count(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    fn deliver(&self, event: ConsumerEvent) {
        let delivered = match &self.target {
            Target::LogOnly => true,
            Target::Hook(hook) => catch_unwind(AssertUnwindSafe(|| hook(&event))).is_ok(),
            // A receiver that was dropped wants no events: that is no loss.
            Target::Queue(sender) => {
                !matches!(sender.try_send(event), Err(mpsc::error::TrySendError::Full(_)))
            }
        };
        if !delivered {
            self.dropped.fetch_add(1, Relaxed);
        }
    }
}

/// Where the events of a queue come out. Also a [`Stream`](futures::Stream) of them.
#[derive(Debug)]
pub struct EventReceiver {
    receiver: mpsc::Receiver<ConsumerEvent>,
    dropped: Arc<AtomicU64>,
}

impl EventReceiver {
    /// The next event; `None` once every worker that fed the queue is gone and it is empty. Cancel safe.
    pub async fn recv(&mut self) -> Option<ConsumerEvent> {
        self.receiver.recv().await
    }

    /// The next event, if there is one now.
    pub fn try_recv(&mut self) -> Option<ConsumerEvent> {
        self.receiver.try_recv().ok()
    }

    /// Events that the queue had no room for; a count.
    pub fn dropped_count(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

impl futures::Stream for EventReceiver {
    type Item = ConsumerEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<ConsumerEvent>> {
        self.receiver.poll_recv(context)
    }
}

/// What the parts of a worker tell their news to. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Events {
    sink: EventSink,
    /// The stream of keys that name none.
    stream: Arc<str>,
}

impl Events {
    pub(crate) fn new(sink: EventSink, stream: Arc<str>) -> Self {
        Self { sink, stream }
    }

    /// The same for another stream.
    pub(crate) fn of_stream(&self, stream: &Arc<str>) -> Self {
        Self { sink: self.sink.clone(), stream: Arc::clone(stream) }
    }

    /// Logs the event and delivers it. Never waits.
    pub(crate) fn emit(&self, event: ConsumerEvent) {
        match event.severity() {
            Severity::Info => tracing::info!("{event}"),
            Severity::Warning => tracing::warn!("{event}"),
            Severity::Error => tracing::error!("{event}"),
        }
        self.sink.deliver(event);
    }

    /// The shard that a lease is about, in the words of an event.
    pub(crate) fn shard(&self, key: &LeaseKey) -> StreamShard {
        // `<account>:<stream>:<epoch>:<shard id>`, or the shard id alone.
        let stream = key.as_str().split(':').nth(1).filter(|_| key.as_str().matches(':').count() == 3);
        let stream = stream.map_or_else(|| Arc::clone(&self.stream), Arc::from);
        StreamShard { stream, shard_id: key.shard_id() }
    }

    /// The stream of keys that name none.
    pub(crate) fn stream(&self) -> Arc<str> {
        Arc::clone(&self.stream)
    }

    pub(crate) fn dropped_count(&self) -> u64 {
        self.sink.dropped_count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(stream: &str) -> ConsumerEvent {
        ConsumerEvent::StreamVanished { stream: stream.into() }
    }

    fn events(sink: EventSink) -> Events {
        Events::new(sink, "orders".into())
    }

    #[tokio::test]
    async fn a_full_queue_drops_and_counts_and_never_waits() {
        let (sink, mut receiver) = EventSink::queue(2);
        let events = events(sink);
        for stream in ["a", "b", "c", "d"] {
            events.emit(event(stream));
        }
        assert_eq!((receiver.recv().await, receiver.recv().await), (Some(event("a")), Some(event("b"))));
        assert_eq!((receiver.try_recv(), receiver.dropped_count(), events.dropped_count()), (None, 2, 2));
        events.emit(event("e"));
        drop(events);
        assert_eq!((receiver.recv().await, receiver.recv().await), (Some(event("e")), None));
    }

    #[test]
    fn a_receiver_that_is_gone_loses_nothing() {
        let (sink, receiver) = EventSink::queue(1);
        drop(receiver);
        let events = events(sink);
        events.emit(event("a"));
        assert_eq!(events.dropped_count(), 0);
    }

    #[test]
    fn a_hook_that_panics_harms_nobody() {
        let events = events(EventSink::hook(|_| panic!("a bug of the listener")));
        events.emit(event("a"));
        assert_eq!(events.dropped_count(), 1);
    }

    #[test]
    fn a_key_of_several_streams_names_its_own() {
        let events = events(EventSink::default());
        let cases = [
            ("shardId-000000000001", "orders/shardId-000000000001"),
            ("123456789012:clicks:1700000000:shardId-000000000002", "clicks/shardId-000000000002"),
        ];
        for (key, shown) in cases {
            assert_eq!(events.shard(&LeaseKey::new(key)).to_string(), shown);
        }
    }
}
