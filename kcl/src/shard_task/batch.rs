use std::sync::Arc;
use std::time::Instant;

use crate::checkpoint::Checkpointer;
use crate::event::StreamShard;
use crate::processor::ProcessRecordsInput;
use crate::user_record::UserRecord;
use kinesis_shard::ShardId;

/// The batch in hand. It is dropped only after a call with it succeeded.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) records: Arc<[UserRecord]>,
    pub(super) millis_behind_latest: Option<u64>,
    pub(super) received_at: Instant,
    pub(super) data_bytes: u64,
    /// Set on the last batch of a shard.
    pub(super) child_shards: Option<Vec<ShardId>>,
    /// The memory it takes; given back to the budget when the batch is dropped.
    pub(super) memory_bytes: usize,
}

impl Batch {
    pub(super) fn input(
        &self,
        shard: StreamShard,
        now: Instant,
        attempt: u32,
        checkpointer: Checkpointer,
    ) -> ProcessRecordsInput {
        ProcessRecordsInput {
            stream: shard.stream,
            shard_id: shard.shard_id,
            records: Arc::clone(&self.records),
            millis_behind_latest: self.millis_behind_latest,
            time_in_cache: now.saturating_duration_since(self.received_at),
            is_at_shard_end: self.child_shards.is_some(),
            child_shards: self.child_shards.clone().unwrap_or_default(),
            attempt,
            checkpointer,
        }
    }
}
