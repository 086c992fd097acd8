//! All subscriptions of an engine: each joined with the shard that it reads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use bytes::Bytes;

use super::{Batch, Step, Subscription, View};
use crate::engine::Engine;
use crate::error::ServiceError;
use crate::event_stream;
use crate::operation::{answer, get_records};
use crate::shard_log::ShardLog;
use crate::stream::Stream;
use crate::stream_table::{Address, StreamTable};
use crate::wire::writer::Writer;

/// The name of the events.
const EVENT: &str = "SubscribeToShardEvent";

/// Tickets are never shown, and must not be met again in another engine that takes this one's place.
static NEXT_TICKET: AtomicU64 = AtomicU64::new(1);

/// What a subscription reads.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) address: Address,
    /// Which creation of that name.
    pub(crate) generation: u64,
    pub(crate) place: usize,
}

#[derive(Debug)]
struct Live {
    target: Target,
    subscription: Subscription,
}

/// The subscriptions whose connections are open.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    live: BTreeMap<u64, Live>,
}

/// What a connection does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// Send these bytes.
    Frame(Bytes),
    /// Ask again at this time, or when woken.
    WaitUntil(u64),
    /// Close.
    End,
    /// Break off.
    Break,
}

impl Target {
    fn stream<'a>(&self, streams: &'a mut StreamTable) -> Result<&'a mut Stream, ServiceError> {
        let gone = || ServiceError::stream_not_found(self.address.named());
        streams
            .get_mut(&self.address)
            .ok()
            .filter(|stream| stream.generation == self.generation)
            .ok_or_else(gone)
    }

    fn log<'a>(&self, streams: &'a mut StreamTable) -> Option<&'a mut ShardLog> {
        self.stream(streams).ok()?.shards.get_mut(self.place)
    }

    /// The shard as it is now, without what retention has dropped.
    fn look<'a>(
        &self,
        streams: &'a mut StreamTable,
        now: u64,
    ) -> Result<(&'a Stream, View<'a>), ServiceError> {
        let stream = self.stream(streams)?;
        let horizon = stream.horizon(now);
        if let Some(shard) = stream.shards.get_mut(self.place) {
            shard.trim(horizon);
        }
        let stream: &Stream = stream;
        let gone = |id: &dyn std::fmt::Display| ServiceError::shard_does_not_exist(self.address.named(), id);
        let shard = stream.shards.get(self.place).ok_or_else(|| gone(&self.place))?;
        if stream.is_expired(shard, now) {
            return Err(gone(&shard.id));
        }
        Ok((stream, View { shard, next_index: stream.next_index(self.place) }))
    }
}

impl Engine {
    /// Begins a subscription. The ticket names it to whoever sends its events.
    pub(crate) fn subscribe(&mut self, target: Target, subscription: Subscription) -> u64 {
        let ticket = NEXT_TICKET.fetch_add(1, Ordering::Relaxed);
        self.subscriptions.live.insert(ticket, Live { target, subscription });
        ticket
    }

    /// Forgets a subscription whose connection has gone.
    pub(crate) fn unsubscribe(&mut self, ticket: u64) {
        let Some(live) = self.subscriptions.live.remove(&ticket) else { return };
        if let Some(shard) = live.target.log(&mut self.streams) {
            shard.readers.leave(ticket);
        }
    }

    /// Lets a subscription end with this error, if it has not ended.
    pub(crate) fn refuse_subscription(&mut self, ticket: u64, error: ServiceError) {
        let Some(live) = self.subscriptions.live.get_mut(&ticket) else { return };
        live.subscription.refused(error);
        if let Some(shard) = live.target.log(&mut self.streams) {
            shard.readers.wake();
        }
    }

    /// Lets all subscriptions end normally, as they would after five minutes.
    pub(crate) fn stop_subscriptions(&mut self, now: u64) {
        for live in self.subscriptions.live.values_mut() {
            live.subscription.stopped(now);
            if let Some(shard) = live.target.log(&mut self.streams) {
                shard.readers.wake();
            }
        }
    }

    /// How many connections are subscribed.
    pub(crate) fn subscription_count(&self) -> usize {
        self.subscriptions.live.len()
    }

    /// What the connection of this subscription does now. If it is to wait, the waker is called on news.
    pub(crate) fn next_frame(&mut self, now: u64, ticket: u64, waker: &Waker) -> Next {
        let Some(Live { target, subscription }) = self.subscriptions.live.get_mut(&ticket) else {
            return Next::End;
        };
        let looked = target.look(&mut self.streams, now);
        let step = subscription.next(now, looked.as_ref().map(|(_, view)| *view).map_err(Clone::clone));
        let last = match (step, looked) {
            (Step::Open, _) => return Next::Frame(event_stream::initial_response()),
            (Step::Push(batch), Ok((stream, view))) => {
                return Next::Frame(data_event(stream, view.shard, &batch));
            }
            (Step::WaitUntil(at), _) => return Next::WaitUntil(self.wait(at, ticket, waker)),
            (Step::ShardEnd, Ok((stream, view))) => Next::Frame(last_event(stream, view.shard)),
            (Step::Refuse(error), _) => Next::Frame(event_stream::exception(&error)),
            (Step::Break, _) => Next::Break,
            // A machine does not speak of a shard that it was not shown.
            (Step::End | Step::Push(_) | Step::ShardEnd, _) => Next::End,
        };
        // Some readers never ask again after the last frame.
        self.unsubscribe(ticket);
        last
    }

    /// Waits for news, but not beyond the next change of the stream or the next late request: nobody else may come
    /// by to let them take effect.
    fn wait(&mut self, at: u64, ticket: u64, waker: &Waker) -> u64 {
        let late = self.next_late().unwrap_or(at);
        let Some(live) = self.subscriptions.live.get(&ticket) else { return at };
        let Ok(stream) = live.target.stream(&mut self.streams) else { return at };
        if let Some(shard) = stream.shards.get_mut(live.target.place) {
            shard.readers.wait(ticket, waker);
        }
        let change = stream.pending.as_ref().map_or(at, |pending| pending.due);
        at.min(late).min(change)
    }
}

fn data_event(stream: &Stream, shard: &ShardLog, batch: &Batch) -> Bytes {
    let mut out = Writer::default();
    out.begin_map();
    out.key("Records");
    out.begin_list();
    for record in shard.records_from(batch.from).take(batch.count) {
        get_records::write_record(stream, shard, &record, &mut out);
    }
    out.end_list();
    out.plain_member("ContinuationSequenceNumber", batch.continuation);
    out.integer_member("MillisBehindLatest", batch.millis_behind);
    out.end_map();
    event_stream::event(EVENT, out.into_body())
}

/// No continuation, but children: clients take any other combination for an error.
fn last_event(stream: &Stream, shard: &ShardLog) -> Bytes {
    let mut out = Writer::default();
    out.begin_map();
    out.key("Records");
    out.begin_list();
    out.end_list();
    out.integer_member("MillisBehindLatest", 0);
    out.key("ChildShards");
    out.begin_list();
    stream.children_of(shard).for_each(|child| answer::write_child_shard(child, &mut out));
    out.end_list();
    out.end_map();
    event_stream::event(EVENT, out.into_body())
}
