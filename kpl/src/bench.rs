//! Producers whose requests end where they would be serialized: what is measured is everything up to the sealed batch, and the answers.

use std::num::NonZeroU32;
use std::sync::Arc;

use futures::future::BoxFuture;
use kinesis_shard::limits::DEFAULT_MAX_RECORD_BYTES;
use kinesis_shard::{HashKey, HashKeyRange, SequenceNumber, Shard, ShardId, ShardMap};

use crate::config::ProducerConfig;
use crate::error::ConfigError;
use crate::pipeline::answer::{EntryAnswer, PutRecordsAnswer};
use crate::pipeline::kinesis_record::Entry;
use crate::pipeline::summary::StreamSummary;
use crate::producer::Producer;
use crate::transport::{DescribeError, MapError, Transport};

/// Starts a producer for a stream of this many even shards that takes everything at once.
///
/// # Errors
/// As [`Producer::start`].
///
/// # Panics
/// If there is no shard.
pub fn start_sealing(config: ProducerConfig, shards: u32) -> Result<Producer, ConfigError> {
    Producer::start_on(Arc::new(Sealing { map: even_shards(shards), answers: true }), config)
}

/// Starts a producer for a stream of this many even shards that never answers a record: everything that is put stays outstanding.
///
/// # Errors
/// As [`Producer::start`].
///
/// # Panics
/// If there is no shard.
pub fn start_unanswered(config: ProducerConfig, shards: u32) -> Result<Producer, ConfigError> {
    Producer::start_on(Arc::new(Sealing { map: even_shards(shards), answers: false }), config)
}

/// A stream of this many even shards.
///
/// # Panics
/// If there is no shard.
pub fn even_shards(shards: u32) -> ShardMap {
    let ranges = HashKeyRange::even(NonZeroU32::new(shards).expect("a stream has a shard"));
    let shards = (0..).zip(ranges).map(|(index, hash_key_range)| Shard {
        id: ShardId::from_index(index),
        parent: None,
        adjacent_parent: None,
        hash_key_range,
        starting_sequence_number: SequenceNumber::ZERO,
        ending_sequence_number: None,
    });
    ShardMap::new(shards).expect("even ranges cover every key once")
}

#[derive(Debug)]
struct Sealing {
    map: ShardMap,
    answers: bool,
}

impl Transport for Sealing {
    fn put_records(&self, entries: Vec<Entry>) -> BoxFuture<'_, PutRecordsAnswer> {
        Box::pin(async move {
            if !self.answers {
                // The entries stay alive meanwhile, as those of a call on its way.
                let _entries = entries;
                return std::future::pending().await;
            }
            let stored = |entry: Entry| {
                let key = entry
                    .explicit_hash_key
                    .unwrap_or_else(|| HashKey::of_partition_key(&entry.partition_key));
                EntryAnswer::Stored {
                    shard_id: self.map.shard_of(key).id.clone(),
                    // Nobody looks at it, and making one is the service's work.
                    sequence_number: SequenceNumber::ZERO,
                }
            };
            PutRecordsAnswer::Entries(entries.into_iter().map(stored).collect())
        })
    }

    fn list_shards(&self) -> BoxFuture<'_, Result<ShardMap, MapError>> {
        Box::pin(async { Ok(self.map.clone()) })
    }

    fn describe(&self) -> BoxFuture<'_, Result<StreamSummary, DescribeError>> {
        Box::pin(async { Ok(StreamSummary { max_record_bytes: DEFAULT_MAX_RECORD_BYTES, auto: false }) })
    }
}
