use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use kinesis_shard::{Checkpoint, ListShardsError};

use super::Context;
use crate::fetch::{FetchAnswer, FetchStep, Listing, Pushed, ReadError, ReadFrom};
use crate::lease::held::HeldLease;
use crate::transport::EventStream;

/// A step of the fetcher that was carried out.
pub(super) struct Read {
    pub(super) answer: FetchAnswer,
    /// The subscription, if it is open still.
    pub(super) subscription: Option<Box<dyn EventStream>>,
    /// What `LATEST` or `AT_TIMESTAMP` means from now on, if that was found out.
    pub(super) pinned: Option<SystemTime>,
    /// The stream's retention, if it matters and could be found out.
    pub(super) retention: Option<Duration>,
}

impl Read {
    fn of(answer: FetchAnswer) -> Self {
        Self { answer, subscription: None, pinned: None, retention: None }
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

/// The same for a reader that is so far behind that the stream's retention matters.
pub(super) async fn read_far_behind(
    context: Arc<Context>,
    lease: HeldLease,
    step: FetchStep,
    subscription: Option<Box<dyn EventStream>>,
) -> Read {
    let retention = context.retention().await;
    Read { retention, ..read(context, lease, step, subscription).await }
}

/// Makes the one call that `step` asks for. Dropping the future closes the subscription.
pub(super) async fn read(
    context: Arc<Context>,
    lease: HeldLease,
    step: FetchStep,
    subscription: Option<Box<dyn EventStream>>,
) -> Read {
    let transport = &context.transport;
    match step {
        FetchStep::OpenIterator(from) => open(&context, &lease, from).await,
        FetchStep::GetRecords { iterator, limit, .. } => {
            let sent_at = context.clock.now();
            let answer = transport.read(&iterator, limit).await;
            context.stats.get_records_time.took(context.clock.now().saturating_duration_since(sent_at));
            Read::of(FetchAnswer::Records(answer))
        }
        FetchStep::Subscribe(from) => {
            // The one before first: it must not stand in the way of this one.
            drop(subscription);
            subscribe(&context, &lease, from).await
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
        FetchStep::WaitUntil(_) | FetchStep::Idle | FetchStep::StreamGone(_) => {
            panic!("{step:?} calls nobody")
        }
    }
}

async fn open(context: &Context, lease: &HeldLease, from: ReadFrom) -> Read {
    let (transport, shard) = (&context.transport, lease.key().shard_id());
    let opened = match transport.open(&shard, from).await {
        Ok(opened) => opened,
        Err(error) => return Read::of(FetchAnswer::Iterator(Err(error))),
    };
    match pinned(lease, from, opened.at).await {
        Ok(Pin::Not) => Read::of(FetchAnswer::Iterator(Ok(opened.what))),
        Ok(Pin::Here(at)) => Read { pinned: Some(at), ..Read::of(FetchAnswer::Iterator(Ok(opened.what))) },
        Ok(Pin::Earlier(at)) => {
            let again = transport.open(&shard, ReadFrom::AtTimestamp(at)).await.map(|opened| opened.what);
            Read { pinned: Some(at), ..Read::of(FetchAnswer::Iterator(again)) }
        }
        Err(error) => Read::of(FetchAnswer::Iterator(Err(error))),
    }
}

async fn subscribe(context: &Context, lease: &HeldLease, from: ReadFrom) -> Read {
    let opened = match context.transport.subscribe(&lease.key().shard_id(), from).await {
        Ok(opened) => opened,
        Err(error) => return Read::of(FetchAnswer::Subscribed(Err(error))),
    };
    let subscribed = |pinned| Read {
        pinned,
        subscription: Some(opened.what),
        ..Read::of(FetchAnswer::Subscribed(Ok(())))
    };
    match pinned(lease, from, opened.at).await {
        Ok(Pin::Not) => subscribed(None),
        Ok(Pin::Here(at)) => subscribed(Some(at)),
        // Our own subscription is in the way of the one that is to take its place.
        Ok(Pin::Earlier(at)) => {
            let again = ReadError::InUse("it was opened earlier".into());
            Read { pinned: Some(at), ..Read::of(FetchAnswer::Subscribed(Err(again))) }
        }
        Err(error) => Read::of(FetchAnswer::Subscribed(Err(error))),
    }
}

/// What `LATEST` means, once it was opened, or `AT_TIMESTAMP` in a row that does not say.
enum Pin {
    /// Nothing to be written down: something else was opened, or the service did not tell the time.
    Not,
    /// What was opened.
    Here(SystemTime),
    /// This time: somebody wrote it down before, or an attempt of our own did whose answer was lost. What was opened is not it.
    Earlier(SystemTime),
}

/// Writes down what `LATEST` or `AT_TIMESTAMP` means, before anything behind it is read.
async fn pinned(lease: &HeldLease, from: ReadFrom, opened_at: Option<SystemTime>) -> Result<Pin, ReadError> {
    let row = lease.start();
    // Leases that this library makes say it; those of Java's workers do not.
    let silent = row.checkpoint == Checkpoint::AtTimestamp && row.latest_pinned_at.is_none();
    let at = match from {
        ReadFrom::Latest => opened_at,
        ReadFrom::AtTimestamp(time) if silent => Some(time),
        _ => None,
    };
    let Some(at) = at else { return Ok(Pin::Not) };
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    let pinned = lease.pin_latest(millis).await.map_err(|error| {
        ReadError::Unavailable(format!("where reading starts could not be written down: {error}").into())
    })?;
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(pinned.millis);
    // The same configured time is the same place; the same second of the service's clock need not be.
    let same = matches!(from, ReadFrom::AtTimestamp(_)) && pinned.millis == millis;
    Ok(if pinned.just_now || same { Pin::Here(at) } else { Pin::Earlier(at) })
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
            Read { subscription: Some(stream), ..Read::of(FetchAnswer::Pushed(Pushed::Event(event))) }
        }
        Ok(None) => Read::of(FetchAnswer::Pushed(Pushed::Closed)),
        Err(error) => Read::of(FetchAnswer::Pushed(Pushed::Cut(error))),
    }
}
