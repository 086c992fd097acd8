//! What the writer gives out.

use std::fmt;

use bytes::Bytes;

use super::AGGREGATE_PARTITION_KEY;
use crate::HashKey;

/// What [`AggregatedRecordWriter::finish`](super::AggregatedRecordWriter::finish) sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// What to put.
    pub payload: Payload,
    /// How many user records are in it; at least one.
    pub user_record_count: usize,
}

/// The content of one Kinesis record.
#[derive(Clone, PartialEq, Eq)]
pub enum Payload {
    /// A single user record as it was pushed: wrapping it would only make it longer.
    Plain {
        /// Its partition key.
        partition_key: String,
        /// Its explicit hash key, if it has one.
        explicit_hash_key: Option<HashKey>,
        /// Its data.
        data: Bytes,
    },
    /// Two user records or more. Put it under [`AGGREGATE_PARTITION_KEY`] with the hash key of its first user record
    /// as explicit hash key.
    Aggregated(Bytes),
}

impl Payload {
    /// The data of the Kinesis record.
    pub fn data(&self) -> &Bytes {
        match self {
            Self::Plain { data, .. } | Self::Aggregated(data) => data,
        }
    }

    /// The partition key of the Kinesis record.
    pub fn partition_key(&self) -> &str {
        match self {
            Self::Plain { partition_key, .. } => partition_key,
            Self::Aggregated(_) => AGGREGATE_PARTITION_KEY,
        }
    }

    /// What counts against the service's limits: data and partition key.
    pub fn charged_len(&self) -> usize {
        self.data().len() + self.partition_key().len()
    }
}

/// Shows lengths, never data.
impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain { partition_key, explicit_hash_key, data } => f
                .debug_struct("Plain")
                .field("partition_key", partition_key)
                .field("explicit_hash_key", explicit_hash_key)
                .field("data_bytes", &data.len())
                .finish(),
            Self::Aggregated(blob) => f.debug_struct("Aggregated").field("data_bytes", &blob.len()).finish(),
        }
    }
}
