//! What a Kinesis producer and a Kinesis consumer must agree on: to which shard a key belongs, which shard
//! comes before which, how positions are ordered, and how many user records travel in one Kinesis record.
//!
//! It does no I/O, starts no task and reads no clock, with two exceptions behind features: `aws-sdk` lists
//! shards through a client that you pass in, `clock` is the one place where drivers read the time.
//! It knows nothing of batching, retrying, leases or checkpoint storage: those are the `kpl` and `kcl` crates.
//!
//! ```text
//!  partition key --MD5--> HashKey --+                      ShardId <-- ShardMap <-- ListShards (discover)
//!  explicit hash key --parse--------+--> ShardMap::shard_of ---^          |
//!                                                                         v
//!  user records --> AggregatedRecordWriter --> blob --> parse_aggregated  Lineage: who must end first
//!                                                |
//!                      SequenceNumber + index = ExtendedSequenceNumber --> Checkpoint
//! ```
//!
//! # Example
//!
//! ```
//! use std::num::NonZeroU32;
//!
//! use kinesis_shard::{
//!     AggregatedRecordWriter, HashKey, HashKeyRange, ParsedRecord, Payload, SequenceNumber, Shard, ShardId,
//!     ShardMap, parse_aggregated,
//! };
//!
//! // Two open shards, as a new stream has them.
//! let ranges = HashKeyRange::even(NonZeroU32::new(2).expect("two is not zero"));
//! let shards = (0..).zip(ranges).map(|(index, hash_key_range)| Shard {
//!     id: ShardId::from_index(index),
//!     parent: None,
//!     adjacent_parent: None,
//!     hash_key_range,
//!     starting_sequence_number: SequenceNumber::ZERO,
//!     ending_sequence_number: None,
//! });
//! let map = ShardMap::new(shards)?;
//!
//! // Where does this key go?
//! let key = HashKey::of_partition_key("203.0.113.7");
//! assert_eq!(map.shard_of(key).id.as_str(), "shardId-000000000000");
//!
//! // Two user records in one Kinesis record, and back.
//! let mut writer = AggregatedRecordWriter::new();
//! writer.push("203.0.113.7", key.low_64(), None, b"GET /");
//! writer.push("203.0.113.7", key.low_64(), None, b"GET /about");
//! let Payload::Aggregated(blob) = writer.finish().payload else { unreachable!("two records are wrapped") };
//! let ParsedRecord::Aggregated(records) = parse_aggregated(&blob) else { unreachable!("we wrote it") };
//! assert_eq!(records[1].data.as_ref(), b"GET /about");
//! assert_eq!(records[1].hash_key(), key);
//! # Ok::<(), kinesis_shard::ShardMapError>(())
//! ```
//!
//! # Features
//!
//! | feature | default | adds | pulls in |
//! | --- | --- | --- | --- |
//! | `aws-sdk` | off | `discover`: `ListShards` to the end | `aws-sdk-kinesis` |
//! | `clock` | off | `Clock`: the time that drivers read | `tokio` (`time`) |

/// Which stream: a name or an ARN.
pub mod stream_name;

/// Where a key falls: 128-bit hash keys and inclusive ranges of them.
pub mod hash_key;

/// MD5 of many inputs at once.
mod md5_lanes;

/// What will be written soon.
mod prefetch;

/// Positions in a shard, ordered as numbers.
pub mod sequence_number;

/// Which open shard takes a hash key.
pub mod shard_map;

/// Which shards must end before which others may start.
pub mod lineage;

/// Many user records in one Kinesis record: written, measured, read.
pub mod aggregated_record;

/// How long to wait before the next attempt.
pub mod backoff;

/// Bugs on purpose.
#[doc(hidden)]
pub mod planted;

/// What the service allows: each limit with unit, source and date.
pub mod limits;

/// The clock that drivers read.
#[cfg(feature = "clock")]
pub mod clock;

/// The shards of a stream, asked of the service.
#[cfg(feature = "aws-sdk")]
pub mod discover;

pub use aggregated_record::{
    AggregateMember, AggregatedRecordWriter, AggregatedUserRecord, MalformedReason, ParsedRecord, Payload,
    PlainReason, Sealed, TableKind, parse as parse_aggregated, parse_many as parse_many_aggregated,
    parse_many_in_place, write_digests,
};
pub use backoff::Backoff;
#[cfg(feature = "clock")]
pub use clock::{Clock, Freezer};
#[cfg(feature = "aws-sdk")]
pub use discover::{ListShardsError, ShardFilter, ShardFromSdkError, list_shards, shard_from_sdk};
pub use hash_key::{HashKey, HashKeyRange, HashKeyRangeError, ParseHashKeyError, md5};
pub use lineage::Lineage;
pub use md5_lanes::md5_many;
#[doc(hidden)]
pub use planted::planted;
pub use prefetch::read_soon;
pub use sequence_number::{
    Checkpoint, Decimal, ExtendedSequenceNumber, ParseCheckpointError, ParseSequenceNumberError,
    SequenceNumber, SequenceNumberLayout,
};
pub use shard_map::{Shard, ShardId, ShardMap, ShardMapError};
pub use stream_name::StreamName;
