use std::sync::Arc;
use std::time::Instant;

use super::ShardTask;
use crate::checkpoint::Checkpointer;
use crate::event::{ConsumerEvent, StreamShard};
use crate::fetch::{ChildShard, Fetched};
use crate::lease::NewLease;
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

impl ShardTask {
    /// Unpacks a batch and hands it to the consumer.
    pub(super) fn take(&mut self, fetched: Fetched) {
        let was_empty = fetched.records.is_empty();
        let (records, found) = self.unpacker.unpack(&fetched.records);
        let stats = &self.context.stats;
        stats.suspicious_aggregates.add(found.suspicious_count);
        stats.out_of_range_aggregates.add(found.out_of_range_count);
        let shard = || self.shard().clone();
        if found.suspicious_count > 0 {
            self.tell(ConsumerEvent::BrokenAggregate { shard: shard(), count: found.suspicious_count });
        }
        if found.out_of_range_count > 0 {
            self.tell(ConsumerEvent::AggregateOutOfRange { shard: shard(), count: found.out_of_range_count });
        }
        let empty_call = self.context.config.call_process_records_even_for_empty_list
            && was_empty
            && fetched.ended.is_none();
        // A member of an aggregate is small, what describes it is not: unpacked, a batch may take several times its payload.
        let unpacked_bytes = records.len() * size_of::<UserRecord>();
        self.holding.add(unpacked_bytes);
        let memory_bytes = fetched.memory_bytes + unpacked_bytes;
        let deliver = !records.is_empty() || empty_call;
        let ends_shard = fetched.ended.is_some();
        let child_shards =
            fetched.ended.as_ref().map(|children| children.iter().map(|child| child.id.clone()).collect());
        if let Some(children) = fetched.ended {
            self.children = children.into_iter().map(|child| self.new_lease(child)).collect();
        }
        if deliver {
            self.batch = Some(Batch {
                data_bytes: records.iter().map(|record| record.data().len() as u64).sum(),
                records: records.into(),
                millis_behind_latest: fetched.millis_behind_latest,
                received_at: fetched.received_at,
                child_shards,
                memory_bytes,
            });
        } else {
            self.holding.remove(memory_bytes);
        }
        self.consumer.batch_taken(deliver, ends_shard);
    }

    /// A child's lease, from its first record: its parents were being read, so nothing of it may be missed.
    fn new_lease(&self, child: ChildShard) -> NewLease {
        NewLease::child(self.lease.key().sibling(&child.id), child.parents, child.hash_key_range)
    }
}
