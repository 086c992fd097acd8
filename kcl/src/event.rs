//! What happens in a worker that somebody may want to know, as values.
//!
//! Every event is also a line in the log (`tracing`), at the level of its [`severity`](ConsumerEvent::severity), so that
//! nothing is told in one place only.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kinesis_shard::{Checkpoint, ExtendedSequenceNumber, SequenceNumber, ShardId};

use crate::board::StuckWhy;
use crate::config::InitialPosition;
use crate::lease::{LeaseKey, WorkerId};

// Where events go.
mod sink;

// An event in words.
mod text;

// How much an event matters, and what it is about.
mod subject;

pub(crate) use sink::Events;
pub use sink::{EventReceiver, EventSink};

/// One shard of one stream.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamShard {
    /// The stream's name or ARN, as configured.
    pub stream: Arc<str>,
    /// The shard.
    pub shard_id: ShardId,
}

impl fmt::Display for StreamShard {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.stream, self.shard_id)
    }
}

/// Which call of the [`RecordProcessor`](crate::RecordProcessor) an event speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ProcessorCall {
    /// `initialize`.
    Initialize,
    /// `process_records`.
    ProcessRecords,
    /// `lease_lost`.
    LeaseLost,
    /// `shard_ended`.
    ShardEnded,
    /// `shutdown_requested`.
    ShutdownRequested,
}

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Severity {
    /// The ordinary life of a fleet.
    Info,
    /// Something failed or is late, and is being dealt with; somebody may have to look if it goes on.
    Warning,
    /// Records were skipped, or are out of reach, or the worker stops.
    Error,
}

/// Something that happened in a worker. Its `Display` is one sentence; it never contains payload or partition keys.
///
/// Choose where events go with [`ConsumerConfig::with_events`](crate::ConsumerConfig::with_events).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConsumerEvent {
    /// This worker has the lease from now on.
    LeaseTaken {
        /// The shard.
        shard: StreamShard,
        /// Where it starts.
        checkpoint: Checkpoint,
    },
    /// The lease went to somebody else, or ran out.
    LeaseLost {
        /// The shard.
        shard: StreamShard,
        /// Who has it, if that is known; `None` also when only time ended it.
        moved_to: Option<WorkerId>,
    },
    /// Another worker asked for the lease: the processor is asked to finish.
    LeaseAskedFor {
        /// The shard.
        shard: StreamShard,
        /// Who asked.
        by: WorkerId,
    },
    /// The lease was given to a worker that had asked for it.
    LeaseHandedOver {
        /// The shard.
        shard: StreamShard,
        /// Who has it now, if that is known.
        to: Option<WorkerId>,
    },
    /// The lease was given back, free for anybody.
    LeaseReleased {
        /// The shard.
        shard: StreamShard,
    },
    /// A lease was created.
    LeaseCreated {
        /// The shard.
        shard: StreamShard,
        /// Where it will start.
        checkpoint: Checkpoint,
        /// No worker would have created it any more: its parents had ended without it.
        hole: bool,
    },
    /// A lease that nothing needs any more was deleted.
    LeaseDeleted {
        /// The shard.
        shard: StreamShard,
    },
    /// The processor is initialized, reading begins.
    ShardStarted {
        /// The shard.
        shard: StreamShard,
        /// Behind this checkpoint.
        checkpoint: Checkpoint,
    },
    /// The shard begins at the time that was configured when its lease was made, and that time is not what is configured now.
    /// Delete the lease, or use another application name, to begin elsewhere.
    StartTimeStays {
        /// The shard.
        shard: StreamShard,
        /// Where it begins.
        begins_at: SystemTime,
        /// What is configured now.
        configured: InitialPosition,
    },
    /// Every record was processed and the end is stored.
    ShardEnded {
        /// The shard.
        shard: StreamShard,
        /// The shards that go on.
        children: Vec<ShardId>,
    },
    /// The record at the checkpoint is older than the stream's retention: reading goes on at the first one there is.
    GapBelowRetention {
        /// The shard.
        shard: StreamShard,
        /// Behind this one records may be missing.
        checkpoint: SequenceNumber,
        /// The first one that is still stored, if one is.
        first: Option<SequenceNumber>,
    },
    /// The stream's retention overtook the reading of the shard: records may have been trimmed before they were read. Told at
    /// most once a minute.
    OvertakenByRetention {
        /// The shard.
        shard: StreamShard,
        /// What was put in this time, counted from `after`, is no longer stored; if nothing was put then, nothing is lost.
        lost: Duration,
        /// The last position that was read, if there is one.
        after: Option<SequenceNumber>,
        /// The first record that is still stored, if one is.
        first: Option<SequenceNumber>,
    },
    /// `LATEST` had to be opened again before a first record: what was put in between is not read.
    LatestReopened {
        /// The shard.
        shard: StreamShard,
    },
    /// The service no longer knows the shard: what it still held was trimmed. Its children go on.
    ShardVanished {
        /// The shard.
        shard: StreamShard,
    },
    /// The service no longer knows the stream.
    StreamVanished {
        /// Its name or ARN.
        stream: Arc<str>,
    },
    /// The stream was deleted, and another one has its name. One of several streams is then read under leases of its own,
    /// from its first record on.
    StreamReplaced {
        /// Its name or ARN.
        stream: Arc<str>,
    },
    /// One of several streams is read from now on.
    StreamFollowed {
        /// Its name or ARN.
        stream: Arc<str>,
    },
    /// One of several streams is not read any more: its leases are given back and stay in the table.
    StreamLeft {
        /// Its name or ARN.
        stream: Arc<str>,
    },
    /// One of several streams cannot be read yet; it is tried again.
    StreamNotReadable {
        /// Its name or ARN.
        stream: Arc<str>,
        /// Why.
        error: Arc<str>,
    },
    /// Blobs that begin like an aggregate and are none were handed over whole.
    BrokenAggregate {
        /// The shard.
        shard: StreamShard,
        /// How many, in one batch.
        count: u64,
    },
    /// Aggregates were dropped by the range filter, which is off unless it was switched on.
    AggregateOutOfRange {
        /// The shard.
        shard: StreamShard,
        /// How many, in one batch.
        count: u64,
    },
    /// A read, or an answer to one, was not usable; it is tried again at the same position.
    ReadFailed {
        /// The shard.
        shard: StreamShard,
        /// What the service said, or what was wrong with its answer.
        error: Arc<str>,
    },
    /// A subscription broke off, or was silent for too long; the next one goes on behind what was received.
    SubscriptionCut {
        /// The shard.
        shard: StreamShard,
        /// What was seen.
        error: Arc<str>,
    },
    /// A call of the processor returned an error or panicked; it is made again with the same input.
    ProcessorFailed {
        /// The shard.
        shard: StreamShard,
        /// Which call.
        call: ProcessorCall,
        /// Which attempt it was, from 1.
        attempt: u32,
        /// The first record of the batch, if there is one.
        first: Option<ExtendedSequenceNumber>,
        /// The error or the panic, as text.
        error: Arc<str>,
    },
    /// `shard_ended` returned `Ok` without `checkpoint()`: it is called again, and the children wait.
    EndNotAcknowledged {
        /// The shard.
        shard: StreamShard,
        /// Which attempt it was, from 1.
        attempt: u32,
    },
    /// A batch was given up, as [`FailurePolicy::SkipBatch`](crate::FailurePolicy::SkipBatch) says: its records are lost
    /// for this application unless they are read again from `first`.
    BatchSkipped {
        /// The shard.
        shard: StreamShard,
        /// Its first record.
        first: ExtendedSequenceNumber,
        /// Its last record.
        last: ExtendedSequenceNumber,
        /// How many records it has.
        record_count: usize,
        /// Attempts made.
        attempts: u32,
        /// The last error or panic, as text.
        error: Arc<str>,
    },
    /// The lease was given back because a batch failed as often as the failure policy allows.
    ShardGivenUp {
        /// The shard.
        shard: StreamShard,
        /// The last error or panic, as text.
        error: Arc<str>,
    },
    /// A checkpoint was not stored.
    CheckpointFailed {
        /// The shard.
        shard: StreamShard,
        /// Why.
        error: Arc<str>,
    },
    /// A call of the processor has been running for long. Told again each time its age has doubled.
    ProcessorSlow {
        /// The shard.
        shard: StreamShard,
        /// Which call.
        call: ProcessorCall,
        /// For how long by now.
        running_for: Duration,
    },
    /// The shard makes no progress. Told again each time its age has doubled.
    ShardStuck {
        /// The shard.
        shard: StreamShard,
        /// What it waits for.
        why: StuckWhy,
        /// For how long by now.
        stuck_for: Duration,
    },
    /// A shard that was told to be stuck makes progress again.
    ShardMovesAgain {
        /// The shard.
        shard: StreamShard,
        /// How long it was stuck.
        stuck_for: Duration,
    },
    /// Comparing the stream's shards with the lease table failed; it is repeated.
    ShardSyncFailed {
        /// The stream's name or ARN.
        stream: Arc<str>,
        /// What failed.
        error: Arc<str>,
    },
    /// Reading the lease table failed; it is repeated.
    LeaseTableUnreadable {
        /// What the store said.
        error: Arc<str>,
    },
    /// The lease table has leases of an application of another form beside those of this one: of one stream beside several, or
    /// the other way round. Nobody here goes on where they stand. Delete them once no worker of that form runs any more.
    LeasesOfAnotherForm {
        /// How many, finished ones left out.
        count: usize,
        /// One of them.
        example: LeaseKey,
    },
    /// A row of the lease table holds no lease that can be read: its shard is not read until it is corrected.
    LeaseUnreadable {
        /// Which one, and what is wrong with it.
        error: Arc<str>,
    },
    /// The worker cannot go on; it gives its leases back.
    WorkerFailed {
        /// Why.
        error: Arc<str>,
    },
}
