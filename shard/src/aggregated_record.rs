//! The aggregated record of the KPL: many user records in one Kinesis record.
//!
//! ```text
//! F3 89 9A C2 | partition keys | explicit hash keys | user records | MD5 of what lies between
//!   magic     '---------- one protobuf message (proto2) ----------'   16 bytes
//!
//! field 1, string, repeated: partition keys               user record: field 1, uint64: index of its partition key
//! field 2, string, repeated: explicit hash keys, decimal               field 2, uint64: index of its explicit hash key, if any
//! field 3, message, repeated: user records                             field 3, bytes: its data; field 4: tags, unused
//! ```
//!
//! The two messages are written and read by hand: that gives the exact size before anything is written, and data
//! that is never copied when it is read.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;

use crate::HashKey;

/// Protobuf's variable-length integers and field tags.
mod varint;

/// Keys already written, found again without searching.
mod key_table;

/// User records in, one blob out.
mod writer;

/// What comes out of the writer.
mod sealed;

/// Digests of many aggregates at once.
mod digests;

/// One blob in, user records out.
mod reader;

pub use digests::write_digests;
pub use reader::{parse, parse_many, parse_many_in_place, parse_unchecked};
pub use sealed::{Payload, Sealed};
pub use writer::AggregatedRecordWriter;

/// The first four bytes of every aggregated record.
pub const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];

/// Bytes of the MD5 digest at the end.
pub const DIGEST_BYTES: usize = 16;

/// The partition key that goes with an aggregated record: short, because the explicit hash key beside it routes.
pub const AGGREGATE_PARTITION_KEY: &str = "a";

// Tag bytes: field number times 8 plus wire type.
const TAG_PARTITION_KEY: u8 = 0x0A;
const TAG_EXPLICIT_HASH_KEY: u8 = 0x12;
const TAG_RECORD: u8 = 0x1A;
const TAG_PARTITION_KEY_INDEX: u8 = 0x08;
const TAG_EXPLICIT_HASH_KEY_INDEX: u8 = 0x10;
const TAG_DATA: u8 = 0x1A;

/// What the data of a Kinesis record turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParsedRecord {
    /// One record: hand the whole data over as it is. Nothing is ever dropped, whatever the reason.
    Plain(PlainReason),
    /// These user records, in the order they were put; their index is their sub-sequence number. Never empty.
    Aggregated(Vec<AggregatedUserRecord>),
}

/// One user record out of an aggregate.
#[derive(Clone, PartialEq, Eq)]
pub struct AggregatedUserRecord {
    /// Its partition key; records of one aggregate share equal entries.
    pub partition_key: Arc<str>,
    /// Its explicit hash key, if its producer gave one.
    pub explicit_hash_key: Option<HashKey>,
    /// Its data: a slice of the Kinesis record, which it keeps alive.
    pub data: Bytes,
}

impl AggregatedUserRecord {
    /// Where it belongs: its explicit hash key if it has one, else the MD5 of its partition key.
    pub fn hash_key(&self) -> HashKey {
        self.explicit_hash_key.unwrap_or_else(|| HashKey::of_partition_key(&self.partition_key))
    }
}

/// Where one user record lies in the data of its Kinesis record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AggregateMember {
    /// The bytes of its partition key, which are UTF-8; records of one aggregate may share them.
    pub partition_key: Range<usize>,
    /// Its explicit hash key, if its producer gave one.
    pub explicit_hash_key: Option<HashKey>,
    /// The bytes of its data.
    pub data: Range<usize>,
}

/// Shows the length of the data, never the data.
impl std::fmt::Debug for AggregatedUserRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AggregatedUserRecord")
            .field("partition_key", &self.partition_key)
            .field("explicit_hash_key", &self.explicit_hash_key)
            .field("data_bytes", &self.data.len())
            .finish()
    }
}

/// Why data is one plain record.
///
/// In the last three cases the Java KCL loses user records without a trace; here the whole blob is handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlainReason {
    /// It does not start with the magic: the usual case for data put without aggregation.
    #[error("not an aggregated record")]
    NotAggregated,
    /// It starts with the magic, but there is no room for a message and its digest.
    #[error("starts like an aggregated record but is too short for one")]
    TooShort,
    /// The digest at its end is not that of the message: cut short, altered, or never an aggregate.
    #[error("starts like an aggregated record but its digest does not match")]
    DigestMismatch,
    /// The digest is right, but the message is not one.
    #[error("aggregated record is malformed: {0}")]
    Malformed(MalformedReason),
    /// The message is valid and holds no user record.
    #[error("aggregated record holds no user record")]
    Empty,
    /// A user record points outside a table.
    #[error("user record {user_record} of an aggregate points at entry {index} of {table} {table_len}")]
    BadIndex {
        /// Which user record, from 0.
        user_record: usize,
        /// Into which table it points.
        table: TableKind,
        /// The entry it points at, from 0.
        index: u64,
        /// How many entries there are.
        table_len: usize,
    },
    /// A user record has an explicit hash key that is not a number from 0 to 2^128 - 1.
    #[error("user record {user_record} of an aggregate has an explicit hash key that is not one")]
    BadExplicitHashKey {
        /// Which user record, from 0.
        user_record: usize,
    },
}

impl PlainReason {
    /// Whether it looked like an aggregate but is broken: worth counting, somebody lost user records on the way.
    pub fn is_suspicious(&self) -> bool {
        !matches!(self, Self::NotAggregated)
    }
}

/// One of the two tables of an aggregated record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TableKind {
    /// The partition keys.
    PartitionKeys,
    /// The explicit hash keys.
    ExplicitHashKeys,
}

impl std::fmt::Display for TableKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::PartitionKeys => "a partition key table of",
            Self::ExplicitHashKeys => "an explicit hash key table of",
        })
    }
}

/// What is wrong with a protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum MalformedReason {
    /// It ends inside a field.
    #[error("it ends inside a field")]
    Truncated,
    /// An integer does not fit 64 bits.
    #[error("an integer does not fit 64 bits")]
    VarintOverflow,
    /// A field has the number 0 or one that does not fit 29 bits.
    #[error("a field has an impossible number")]
    FieldNumber,
    /// A field has the wire type of a group or one that does not exist. The format has no groups.
    #[error("a field has a wire type that the format does not have")]
    WireType,
    /// A user record has no partition key index.
    #[error("a user record has no partition key index")]
    MissingPartitionKeyIndex,
    /// A user record has no data, which is not the same as empty data.
    #[error("a user record has no data")]
    MissingData,
    /// A tag has no key.
    #[error("a tag of a user record has no key")]
    MissingTagKey,
    /// A partition key is not UTF-8.
    #[error("a partition key is not UTF-8")]
    PartitionKeyNotUtf8,
}

#[cfg(test)]
mod tests;
