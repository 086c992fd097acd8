use std::sync::Arc;
use std::time::Instant;

use kinesis_shard::{ListShardsError, ShardId};

use super::Context;
use crate::fetch::{FetchAnswer, FetchStep, Listing, Pushed};
use crate::transport::EventStream;

/// A step of the fetcher that was carried out.
pub(super) struct Read {
    pub(super) answer: FetchAnswer,
    /// The subscription, if it is open still.
    pub(super) subscription: Option<Box<dyn EventStream>>,
}

impl Read {
    fn of(answer: FetchAnswer) -> Self {
        Self { answer, subscription: None }
    }

    /// How late the shard is, if this was a read that succeeded.
    pub(super) fn millis_behind_latest(&self) -> Option<u64> {
        match &self.answer {
            FetchAnswer::Records(Ok(answer)) => Some(answer.millis_behind_latest.unwrap_or(0)),
            FetchAnswer::Pushed(Pushed::Event(event)) => Some(event.millis_behind_latest.unwrap_or(0)),
            _ => None,
        }
    }
}

/// Makes the one call that `step` asks for. Dropping the future closes the subscription.
pub(super) async fn read(
    context: Arc<Context>,
    shard: ShardId,
    step: FetchStep,
    subscription: Option<Box<dyn EventStream>>,
) -> Read {
    let transport = &context.transport;
    match step {
        FetchStep::OpenIterator(from) => Read::of(FetchAnswer::Iterator(transport.open(&shard, from).await)),
        FetchStep::GetRecords { iterator, limit, .. } => {
            Read::of(FetchAnswer::Records(transport.read(&iterator, limit).await))
        }
        FetchStep::Subscribe(from) => {
            // The one before first: it must not stand in the way of this one.
            drop(subscription);
            match transport.subscribe(&shard, from).await {
                Ok(stream) => Read { answer: FetchAnswer::Subscribed(Ok(())), subscription: Some(stream) },
                Err(error) => Read::of(FetchAnswer::Subscribed(Err(error))),
            }
        }
        FetchStep::NextEvent { until, .. } => next_event(&context, until, subscription).await,
        FetchStep::ListShards => {
            let listing = match transport.shards().await {
                Ok(shards) => Listing::Shards(shards),
                Err(ListShardsError::NotFound { .. }) => Listing::StreamNotFound,
                Err(error) => Listing::Failed(error.to_string().into()),
            };
            Read::of(FetchAnswer::Shards(listing))
        }
        FetchStep::WaitUntil(_) | FetchStep::Idle | FetchStep::StreamGone => panic!("{step:?} calls nobody"),
    }
}

async fn next_event(context: &Context, until: Instant, subscription: Option<Box<dyn EventStream>>) -> Read {
    let mut stream = subscription.expect("only an open subscription is waited for");
    let received = tokio::select! {
        // An event that is there counts, however late it is looked at; then the clock.
        biased;
        received = stream.next() => received,
        () = context.clock.sleep_until(until) => return Read::of(FetchAnswer::Pushed(Pushed::Silent)),
    };
    match received {
        Ok(Some(event)) => {
            Read { answer: FetchAnswer::Pushed(Pushed::Event(event)), subscription: Some(stream) }
        }
        Ok(None) => Read::of(FetchAnswer::Pushed(Pushed::Closed)),
        Err(error) => Read::of(FetchAnswer::Pushed(Pushed::Cut(error))),
    }
}
