//! Counters under the KCL's metric names.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use crate::event::StreamShard;

/// What a worker has done since it started. Counts only grow; fields follow the KCL's metric names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerStats {
    /// `RecordsProcessed`: user records in calls of `process_records` that returned `Ok`; a count.
    pub records_processed: u64,
    /// `DataBytesProcessed`: their payload, in bytes.
    pub data_bytes_processed: u64,
    /// `MillisBehindLatest`: the greatest lag over the shards held now, by the last answer for each; milliseconds.
    pub millis_behind_latest: u64,
    /// The lag of each shard held now; milliseconds.
    pub millis_behind_latest_by_shard: BTreeMap<StreamShard, u64>,
    /// `CurrentLeases`: shards held now; a count.
    pub current_leases: u64,
    /// `LostLeases`: leases lost to others or to time; a count.
    pub lost_leases: u64,
    /// `KinesisDataFetcher.getRecords.Success`: GetRecords calls with a usable answer; a count.
    pub get_records_success: u64,
    /// Reads that failed or whose answer was refused, throttled ones not included; a count.
    pub get_records_failures: u64,
    /// Reads refused because of the shard's limits; a count.
    pub get_records_throttled: u64,
    /// `ExpiredIterator`: iterators that had to be opened again; a count.
    pub expired_iterator: u64,
    /// Subscriptions that the service accepted (enhanced fan-out); a count.
    pub subscriptions_opened: u64,
    /// Events received over subscriptions, empty ones included; a count.
    pub subscription_events: u64,
    /// Subscriptions that broke off, or sent nothing for too long; a count. The regular end after five minutes is none.
    pub subscription_cuts: u64,
    /// Times that another subscription of the same consumer was in the way; a count.
    pub subscription_in_use: u64,
    /// `RecordProcessor.processRecords` calls that returned `Ok`; a count.
    pub process_records_success: u64,
    /// Calls of any kind that returned an error or panicked; a count.
    pub processor_failures: u64,
    /// Records of batches that were given up, as the failure policy says; a count.
    pub records_skipped: u64,
    /// `UpdateLease.Success`: checkpoints written; a count.
    pub checkpoints_written: u64,
    /// Checkpoints that the store did not take; a count.
    pub checkpoints_failed: u64,
    /// Shards processed to their end; a count.
    pub shards_ended: u64,
    /// Blobs that begin like an aggregate but are none; each was handed over whole; a count.
    pub suspicious_aggregates: u64,
    /// Aggregates dropped by the range filter, if it is switched on; a count.
    pub out_of_range_aggregates: u64,
    /// Times that reading went on behind a gap: a checkpoint older than the retention, or a lost `LATEST`; a count.
    pub gaps: u64,
}

impl ConsumerStats {
    /// The counts that the KCL has too, under its names, for an exporter that takes name and value.
    ///
    /// All are totals since the start but `MillisBehindLatest` (milliseconds) and `CurrentLeases`, which are of now.
    pub fn kcl_metrics(&self) -> [(&'static str, u64); 9] {
        [
            ("RecordsProcessed", self.records_processed),
            ("DataBytesProcessed", self.data_bytes_processed),
            ("MillisBehindLatest", self.millis_behind_latest),
            ("CurrentLeases", self.current_leases),
            ("LostLeases", self.lost_leases),
            ("KinesisDataFetcher.getRecords.Success", self.get_records_success),
            ("ExpiredIterator", self.expired_iterator),
            ("RecordProcessor.processRecords.Success", self.process_records_success),
            ("UpdateLease.Success", self.checkpoints_written),
        ]
    }
}

macro_rules! counters {
    ($($name:ident),* $(,)?) => {
        /// The live counters.
        #[derive(Debug, Default)]
        pub(crate) struct Stats {
            $(pub(crate) $name: Counter,)*
            lag: Mutex<BTreeMap<StreamShard, u64>>,
        }

        impl Stats {
            /// All counters now. They are read one after the other: sums may be off by what happens meanwhile.
            pub(crate) fn snapshot(&self) -> ConsumerStats {
                let millis_behind_latest_by_shard = self.lag.lock().unwrap_or_else(PoisonError::into_inner).clone();
                ConsumerStats {
                    $($name: self.$name.0.load(Relaxed),)*
                    millis_behind_latest: millis_behind_latest_by_shard.values().copied().max().unwrap_or(0),
                    current_leases: millis_behind_latest_by_shard.len() as u64,
                    millis_behind_latest_by_shard,
                }
            }
        }
    };
}

counters! {
    records_processed, data_bytes_processed, lost_leases, get_records_success, get_records_failures,
    get_records_throttled, expired_iterator, subscriptions_opened, subscription_events, subscription_cuts,
    subscription_in_use, process_records_success, processor_failures, records_skipped, checkpoints_written,
    checkpoints_failed, shards_ended, suspicious_aggregates, out_of_range_aggregates, gaps,
}

/// A count that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    pub(crate) fn one(&self) {
        self.add(1);
    }
}

impl Stats {
    /// A shard is held, and this far behind.
    pub(crate) fn lag(&self, shard: &StreamShard, millis_behind: u64) {
        self.lag.lock().unwrap_or_else(PoisonError::into_inner).insert(shard.clone(), millis_behind);
    }

    /// A shard is not held any more.
    pub(crate) fn left(&self, shard: &StreamShard) {
        self.lag.lock().unwrap_or_else(PoisonError::into_inner).remove(shard);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinesis_shard::ShardId;

    fn shard(index: u64) -> StreamShard {
        StreamShard { stream: "orders".into(), shard_id: ShardId::from_index(index) }
    }

    #[test]
    fn the_worker_is_as_late_as_its_latest_shard() {
        let stats = Stats::default();
        stats.lag(&shard(0), 7);
        stats.lag(&shard(1), 900);
        stats.records_processed.add(3);
        let snapshot = stats.snapshot();
        assert_eq!((snapshot.millis_behind_latest, snapshot.current_leases), (900, 2));
        assert_eq!(snapshot.records_processed, 3);
        let metric = |wanted: &str| snapshot.kcl_metrics().into_iter().find(|(name, _)| *name == wanted);
        assert_eq!(metric("MillisBehindLatest"), Some(("MillisBehindLatest", 900)));
        assert_eq!(metric("RecordsProcessed"), Some(("RecordsProcessed", 3)));
        stats.left(&shard(1));
        assert_eq!(stats.snapshot().millis_behind_latest, 7);
    }
}
