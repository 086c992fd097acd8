//! The service's limits, each settable.

use std::collections::BTreeMap;

use kinesis_shard::limits::{
    SHARD_READ_BYTES_PER_SECOND, SHARD_READ_CALLS_PER_SECOND, SHARD_WRITE_BYTES_PER_SECOND,
    SHARD_WRITE_RECORDS_PER_SECOND, SUBSCRIPTION_BYTES_PER_SECOND,
};

/// What is enforced under [`Limits::Aws`](crate::Limits::Aws). The defaults are the service's; change single fields to
/// bring a limit within reach of a test.
///
/// ```
/// use kinesis_sim::ServiceLimits;
/// let mut limits = ServiceLimits::default();
/// limits.open_shards = 10;
/// limits.calls_per_second.insert("DescribeStream".to_owned(), 2);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceLimits {
    /// Rates of each shard.
    pub shard: ShardRates,
    /// Calls per second by name of operation, instead of the service's rate; zero: no limit. Default: empty.
    pub calls_per_second: BTreeMap<String, u64>,
    /// Open shards of an account in a region. Default: 20,000.
    pub open_shards: usize,
    /// On-demand streams of an account in a region. Default: 50.
    pub on_demand_streams: usize,
    /// Streams that may be CREATING at once. Default: 5.
    pub streams_creating: usize,
    /// `UpdateShardCount` per stream in 24 hours; zero: no limit. Default: 10.
    pub shard_count_updates_per_day: usize,
    /// Switches of the capacity mode per stream in 24 hours; zero: no limit. Default: 2.
    pub mode_switches_per_day: usize,
    /// Consumers that a stream may have. Default: 20.
    pub consumers_per_stream: usize,
    /// Consumers of a stream that may be CREATING at once. Default: 5.
    pub consumers_creating: usize,
    /// Bytes per second that one consumer is pushed of one shard. Default: 2 MiB.
    pub subscription_bytes_per_second: u64,
    /// `StartStreamEncryption` and `StopStreamEncryption`, each, per stream in 24 hours; zero: no limit. Default: 25.
    pub encryption_changes_per_day: usize,
}

/// What one shard takes and gives per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardRates {
    /// Records in. Default: 1,000.
    pub write_records: u64,
    /// Bytes in, data and partition keys. Default: 1 MiB.
    pub write_bytes: u64,
    /// `GetRecords` calls; also `GetShardIterator` calls, counted apart. Default: 5.
    pub read_calls: u64,
    /// Bytes out. Default: 2 MiB.
    pub read_bytes: u64,
}

impl Default for ServiceLimits {
    fn default() -> Self {
        Self {
            shard: ShardRates::default(),
            calls_per_second: BTreeMap::new(),
            open_shards: 20_000,
            on_demand_streams: 50,
            streams_creating: 5,
            shard_count_updates_per_day: 10,
            mode_switches_per_day: 2,
            consumers_per_stream: 20,
            consumers_creating: 5,
            subscription_bytes_per_second: SUBSCRIPTION_BYTES_PER_SECOND,
            encryption_changes_per_day: 25,
        }
    }
}

impl Default for ShardRates {
    fn default() -> Self {
        Self {
            write_records: SHARD_WRITE_RECORDS_PER_SECOND,
            write_bytes: SHARD_WRITE_BYTES_PER_SECOND,
            read_calls: SHARD_READ_CALLS_PER_SECOND,
            read_bytes: SHARD_READ_BYTES_PER_SECOND,
        }
    }
}
