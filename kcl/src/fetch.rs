//! Where to read a shard, and what comes back: the vocabulary of every way of reading.
//!
//! A [`Fetcher`] decides which call comes next and when; it makes none itself. [`polling`] asks with `GetShardIterator`
//! and `GetRecords`; [`fan_out`] is sent what `SubscribeToShard` brings.

use std::collections::VecDeque;
use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use kinesis_shard::{Checkpoint, HashKeyRange, SequenceNumber, Shard, ShardId};

use crate::config::InitialPosition;
pub(crate) use crate::streams::Gone;

// Where to go on.
mod position;

// Whether a shard has really ended.
mod confirmation;
#[cfg(test)]
pub(crate) use confirmation::{Confirmation, Doubt, Verdict};

// Whether records were trimmed before they were read: pure.
mod overtaking;

// GetRecords.
pub(crate) mod polling;

// SubscribeToShard.
pub(crate) mod fan_out;

// The consumer as which it is called.
pub(crate) mod registration;

/// Where an iterator or a subscription is to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadFrom {
    TrimHorizon,
    Latest,
    AtTimestamp(SystemTime),
    At(SequenceNumber),
    After(SequenceNumber),
}

impl ReadFrom {
    /// Where a tenure starts; `None` if the shard has been read to its end.
    ///
    /// A sequence number is opened *at*, not after: the rest of an aggregate may still be undelivered.
    /// `LATEST` is what it was when an earlier tenure first opened it, and `AT_TIMESTAMP` what it was when the lease was made,
    /// if that is written down.
    pub(crate) fn start(
        checkpoint: Checkpoint,
        pinned: Option<SystemTime>,
        initial: InitialPosition,
    ) -> Option<Self> {
        match checkpoint {
            Checkpoint::TrimHorizon => Some(Self::TrimHorizon),
            Checkpoint::Latest => Some(pinned.map_or(Self::Latest, Self::AtTimestamp)),
            Checkpoint::AtTimestamp => Some(match (pinned, initial) {
                (Some(time), _) | (None, InitialPosition::AtTimestamp(time)) => Self::AtTimestamp(time),
                // The row asks for a time that nobody knows any more: reading too much is the safe side.
                (None, InitialPosition::TrimHorizon | InitialPosition::Latest) => Self::TrimHorizon,
            }),
            Checkpoint::At(_) if kinesis_shard::planted("a tenure starts at the newest record") => {
                Some(Self::Latest)
            }
            Checkpoint::At(position) => Some(Self::At(position.sequence_number)),
            Checkpoint::ShardEnd => None,
        }
    }
}

/// The service's opaque bookmark; lives five minutes.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ShardIterator(Arc<str>);

impl ShardIterator {
    pub(crate) fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Debug for ShardIterator {
    // Hundreds of characters that mean nothing to a reader of a log.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ShardIterator")
    }
}

/// One record as the service stores it, before de-aggregation.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct KinesisRecord {
    pub(crate) sequence_number: SequenceNumber,
    pub(crate) partition_key: Arc<str>,
    pub(crate) data: Bytes,
    pub(crate) arrived_at: Option<SystemTime>,
}

impl KinesisRecord {
    /// The memory it takes, in bytes: payload, key and the record itself.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.data.len() + self.partition_key.len() + size_of::<Self>()
    }
}

impl Debug for KinesisRecord {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("KinesisRecord")
            .field("sequence_number", &self.sequence_number)
            .field("data_bytes", &self.data.len())
            .finish_non_exhaustive()
    }
}

/// A shard that continues a closed one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChildShard {
    pub(crate) id: ShardId,
    pub(crate) parents: Vec<ShardId>,
    pub(crate) hash_key_range: Option<HashKeyRange>,
}

/// What one GetRecords call brought.
#[derive(Debug, Clone, Default)]
pub(crate) struct GetRecordsAnswer {
    pub(crate) records: Vec<KinesisRecord>,
    pub(crate) next: Option<ShardIterator>,
    pub(crate) millis_behind_latest: Option<u64>,
    pub(crate) children: Vec<ChildShard>,
}

/// One event of a subscription.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SubscriptionEvent {
    pub(crate) records: Vec<KinesisRecord>,
    /// Where a later subscription goes on, after this number; absent at the end of the shard.
    pub(crate) continuation: Option<SequenceNumber>,
    pub(crate) millis_behind_latest: Option<u64>,
    pub(crate) children: Vec<ChildShard>,
}

/// What came of waiting for an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pushed {
    Event(SubscriptionEvent),
    /// The service closed the subscription, as it does after five minutes.
    Closed,
    /// The connection broke, or the service told an error in the stream.
    Cut(ReadError),
    /// Nothing came in time, not even one of the empty events that the service sends while nothing is put.
    Silent,
}

/// Why a read failed, as far as it decides what comes next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("the shard's read limits are used up: reading slows down by itself")]
    Throttled,
    #[error("the iterator is older than five minutes: a new one is opened at the same position")]
    ExpiredIterator,
    #[error(
        "the service refuses the start time ({0}); if it lies in the future, reading begins once it has come: it is tried again"
    )]
    StartTime(Arc<str>),
    #[error("the service refused an argument ({0}): a new iterator is opened")]
    InvalidArgument(Arc<str>),
    #[error(
        "the service does not know the shard: the stream's shards are listed before anything is concluded"
    )]
    NotFound,
    #[error(
        "another subscription of this consumer is younger than five seconds, or the consumer is not active yet ({0}): it is tried again"
    )]
    InUse(Arc<str>),
    #[error(
        "access denied ({0}): allow the worker kinesis:GetShardIterator and kinesis:GetRecords, or kinesis:SubscribeToShard"
    )]
    AccessDenied(Arc<str>),
    #[error("no answer ({0}): the read is tried again")]
    Unavailable(Arc<str>),
    #[error("the answer cannot be understood ({0}): the read is tried again")]
    Malformed(Arc<str>),
}

/// What listing the stream's shards said.
#[derive(Debug, Clone)]
pub(crate) enum Listing {
    Shards(Vec<Shard>),
    StreamNotFound,
    Failed(Arc<str>),
}

/// The one thing to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FetchStep {
    OpenIterator(ReadFrom),
    GetRecords {
        iterator: ShardIterator,
        limit: u32,
        /// What the answer is likely to bring; bytes.
        expected_bytes: usize,
    },
    /// Close the subscription, if there is one, and open another.
    Subscribe(ReadFrom),
    /// Wait for the next event of the subscription, but not beyond this instant.
    NextEvent {
        until: Instant,
        /// What it is likely to bring; bytes.
        expected_bytes: usize,
    },
    ListShards,
    WaitUntil(Instant),
    /// Nothing until an answer arrives or a batch is taken.
    Idle,
    /// The stream does not exist any more.
    StreamGone(Gone),
}

/// The result of a step that called the service.
#[derive(Debug, Clone)]
pub(crate) enum FetchAnswer {
    Iterator(Result<ShardIterator, ReadError>),
    Records(Result<GetRecordsAnswer, ReadError>),
    Subscribed(Result<(), ReadError>),
    Pushed(Pushed),
    Shards(Listing),
}

/// One batch, as received and not yet handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fetched {
    pub(crate) records: Vec<KinesisRecord>,
    pub(crate) millis_behind_latest: Option<u64>,
    pub(crate) received_at: Instant,
    /// The shard has been read to its end, and these continue it.
    pub(crate) ended: Option<Vec<ChildShard>>,
    /// The memory that it takes; more than nothing also without records, so that empty ones do not pile up.
    pub(crate) memory_bytes: usize,
}

impl Fetched {
    pub(crate) fn new(
        received_at: Instant,
        records: Vec<KinesisRecord>,
        millis_behind_latest: Option<u64>,
        ended: Option<Vec<ChildShard>>,
    ) -> Self {
        let memory_bytes = size_of::<Self>() + records.iter().map(KinesisRecord::memory_bytes).sum::<usize>();
        Self { records, millis_behind_latest, received_at, ended, memory_bytes }
    }
}

/// What memory allows one shard to read now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// Nothing of this shard is in memory: it may read whatever the others hold, or it would starve.
    pub(crate) empty_handed: bool,
    /// What it may add; bytes.
    pub(crate) bytes: usize,
}

/// What someone may want to know about; the driver logs and counts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FetchEvent {
    ExpiredIterator,
    Throttled,
    Failed(ReadError),
    /// The start time is refused again, as was told before.
    StillTooEarly(ReadError),
    /// The answer contradicts itself (kcl.md 3.11) and was not used.
    InvalidAnswer(&'static str),
    /// Nothing had been read yet when LATEST had to be opened again: what was put in between is not read.
    LatestReopened,
    /// The checkpoint is older than what the stream still holds. `first` is the first record there is, if known.
    CheckpointTrimmed {
        checkpoint: SequenceNumber,
        first: Option<SequenceNumber>,
    },
    /// What arrived in this time, behind the last record read, was trimmed before it was read.
    Overtaken {
        lost: Duration,
        after: Option<SequenceNumber>,
        first: Option<SequenceNumber>,
    },
    /// The shard has left the stream's list: what it held was trimmed.
    ShardGone,
    /// The subscription ended early; the next one goes on behind the last event received.
    SubscriptionCut(ReadError),
    /// No event came in time, so the subscription was given up.
    SubscriptionSilent,
    /// Another subscription of the same consumer reads this shard, or has just done so.
    SubscriptionInUse,
    ListingFailed(Arc<str>),
}

/// Decides how one shard is read. Implementations make no call and read no clock.
///
/// Call [`next`](Self::next) after every other method; [`answered`](Self::answered) exactly once for each step that
/// calls the service.
pub(crate) trait Fetcher: Send + Debug {
    /// The one thing to do now, within what memory allows.
    fn next(&mut self, now: Instant, room: Room) -> FetchStep;

    /// The outcome of the last step. The bytes that it queued, which are held until they are taken.
    fn answered(&mut self, now: Instant, answer: FetchAnswer) -> usize;

    /// What `LATEST` means from now on: it is written down, so that an iterator that expires before the first record, and
    /// a later owner of the lease, go on there.
    fn pin(&mut self, at: SystemTime);

    /// Whether it is so far behind that the stream's retention matters.
    fn is_far_behind(&self, now: Instant) -> bool;

    /// The stream's retention, as far as it could be found out; comes before the answer to a step taken far behind.
    fn retention(&mut self, retention: Option<Duration>);

    /// The oldest batch that has not been handed over.
    fn take(&mut self) -> Option<Fetched>;

    /// What happened since the last call.
    fn take_events(&mut self) -> VecDeque<FetchEvent>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinesis_shard::ExtendedSequenceNumber;

    #[test]
    fn start_follows_the_checkpoint_of_the_row() {
        let number: SequenceNumber = "49".parse().unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(5);
        let at = Checkpoint::At(ExtendedSequenceNumber { sequence_number: number, sub_sequence_number: 3 });
        let table = [
            (Checkpoint::TrimHorizon, InitialPosition::Latest, Some(ReadFrom::TrimHorizon)),
            (Checkpoint::Latest, InitialPosition::TrimHorizon, Some(ReadFrom::Latest)),
            (Checkpoint::AtTimestamp, InitialPosition::AtTimestamp(time), Some(ReadFrom::AtTimestamp(time))),
            (Checkpoint::AtTimestamp, InitialPosition::Latest, Some(ReadFrom::TrimHorizon)),
            (at, InitialPosition::Latest, Some(ReadFrom::At(number))),
            (Checkpoint::ShardEnd, InitialPosition::TrimHorizon, None),
        ];
        for (checkpoint, initial, expected) in table {
            assert_eq!(ReadFrom::start(checkpoint, None, initial), expected, "{checkpoint:?} {initial:?}");
            if !matches!(checkpoint, Checkpoint::Latest | Checkpoint::AtTimestamp) {
                assert_eq!(ReadFrom::start(checkpoint, Some(time), initial), expected, "{checkpoint:?}");
            }
        }
        // What is written down stands, whatever is configured by now.
        let later = InitialPosition::AtTimestamp(time + Duration::from_mins(1));
        for initial in [InitialPosition::Latest, InitialPosition::TrimHorizon, later] {
            for checkpoint in [Checkpoint::Latest, Checkpoint::AtTimestamp] {
                let pinned = ReadFrom::start(checkpoint, Some(time), initial);
                assert_eq!(pinned, Some(ReadFrom::AtTimestamp(time)), "{checkpoint:?} {initial:?}");
            }
        }
    }
}
