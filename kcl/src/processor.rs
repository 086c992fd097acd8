//! The user's side: what is called, with what, and what may be answered.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kinesis_shard::{Checkpoint, ShardId};

use crate::checkpoint::Checkpointer;
use crate::error::BoxError;
use crate::event::StreamShard;
use crate::lease::{PendingCheckpoint, WorkerId};
use crate::user_record::UserRecord;

/// Processes the records of one shard, under one tenure of its lease.
///
/// Calls of one processor never overlap: `initialize`, then `process_records` again and again, then exactly one of
/// `lease_lost`, `shard_ended` and `shutdown_requested` that returns `Ok`, and nothing after it. Processors of different
/// shards run at the same time. An error, or a panic, means that the call did not take place: it is repeated after a
/// growing pause with the same input. No record is skipped.
///
/// A call begins only while the lease is believed to be ours. One that runs longer than the failover time may overlap
/// with another worker's: the records of that one call may be seen twice.
#[async_trait]
pub trait RecordProcessor: Send {
    /// The lease was gained: get ready to process from the position given.
    ///
    /// # Errors
    /// Any; it is called again after a pause.
    async fn initialize(&mut self, input: InitializationInput) -> Result<(), BoxError>;

    /// The next records of the shard, in order.
    ///
    /// # Errors
    /// Any; the same batch is handed over again after a pause, as the
    /// [`FailurePolicy`](crate::FailurePolicy) says.
    async fn process_records(&mut self, input: ProcessRecordsInput) -> Result<(), BoxError>;

    /// The lease is gone: stop at once; a checkpoint is not possible any more. The last call.
    async fn lease_lost(&mut self, input: LeaseLostInput);

    /// Every record of the shard was processed. Call `checkpoint()`, or the children never start. The last call.
    ///
    /// # Errors
    /// Any; it is called again after a pause, as it is when it returns without having stored the end.
    async fn shard_ended(&mut self, input: ShardEndedInput) -> Result<(), BoxError>;

    /// The shard is to go to another worker, or this one shuts down: finish, checkpoint if you like; the lease is given
    /// back afterwards. The last call.
    ///
    /// A worker that asked for the lease waits for one failover time, counted from when it saw its mark; of that, what is
    /// left of the running call and this one have about two thirds. What takes longer ends in `lease_lost`.
    ///
    /// # Errors
    /// Any; it is called again after a pause, as long as the shutdown's grace or the lease lasts.
    async fn shutdown_requested(&mut self, input: ShutdownRequestedInput) -> Result<(), BoxError>;
}

/// Makes a processor for each shard that is gained. Any `Fn(StreamShard) -> impl RecordProcessor` is one.
pub trait RecordProcessorFactory: Send + Sync {
    /// A new processor for a new tenure of this shard.
    fn create(&self, shard: StreamShard) -> Box<dyn RecordProcessor>;
}

impl<F, P> RecordProcessorFactory for F
where
    F: Fn(StreamShard) -> P + Send + Sync,
    P: RecordProcessor + 'static,
{
    fn create(&self, shard: StreamShard) -> Box<dyn RecordProcessor> {
        Box::new(self(shard))
    }
}

/// What [`RecordProcessor::initialize`] is told.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct InitializationInput {
    /// The stream's name or ARN, as configured; its name in an application of several streams.
    pub stream: Arc<str>,
    /// The shard.
    pub shard_id: ShardId,
    /// Where processing starts: the first record behind this checkpoint.
    pub checkpoint: Checkpoint,
    /// A checkpoint that an earlier owner announced and did not make, with the bytes it left.
    pub pending_checkpoint: Option<PendingCheckpoint>,
}

/// What [`RecordProcessor::process_records`] is given.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ProcessRecordsInput {
    /// The stream's name or ARN, as configured; its name in an application of several streams.
    pub stream: Arc<str>,
    /// The shard.
    pub shard_id: ShardId,
    /// The records, in order. Empty only at the end of a shard, or if the configuration asks for empty calls.
    pub records: Arc<[UserRecord]>,
    /// How far this batch is behind the tip of the shard, by the service's word; milliseconds.
    pub millis_behind_latest: Option<u64>,
    /// How long the batch waited in memory before this attempt.
    pub time_in_cache: Duration,
    /// Nothing comes after this batch but `shard_ended`.
    pub is_at_shard_end: bool,
    /// At the end of the shard: the shards that continue it.
    pub child_shards: Vec<ShardId>,
    /// Which attempt at this batch this is, from 1.
    pub attempt: u32,
    /// Writes down how far processing got.
    pub checkpointer: Checkpointer,
}

/// What [`RecordProcessor::lease_lost`] is told.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LeaseLostInput {
    /// The stream's name or ARN, as configured; its name in an application of several streams.
    pub stream: Arc<str>,
    /// The shard.
    pub shard_id: ShardId,
    /// The worker that had the lease.
    pub worker_id: WorkerId,
}

/// What [`RecordProcessor::shard_ended`] is given.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ShardEndedInput {
    /// The stream's name or ARN, as configured; its name in an application of several streams.
    pub stream: Arc<str>,
    /// The shard.
    pub shard_id: ShardId,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// `checkpoint()` stores the end of the shard.
    pub checkpointer: Checkpointer,
}

/// What [`RecordProcessor::shutdown_requested`] is given.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ShutdownRequestedInput {
    /// The stream's name or ARN, as configured; its name in an application of several streams.
    pub stream: Arc<str>,
    /// The shard.
    pub shard_id: ShardId,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// Writes down how far processing got, a last time.
    pub checkpointer: Checkpointer,
}
