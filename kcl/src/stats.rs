//! Counters under the KCL's metric names.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::event::StreamShard;

// What is counted of the leases.
mod leases;

pub(crate) use leases::LeaseCounters;

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
    /// `KinesisDataFetcher.getRecords.Time`: how long GetRecords calls took, failed ones included.
    pub get_records_time: CallTimes,
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
    /// `RecordProcessor.processRecords.Time`: how long its calls took.
    pub process_records_time: CallTimes,
    /// `RecordProcessor.initialize.Time`: how long its calls took.
    pub initialize_time: CallTimes,
    /// `RecordProcessor.shutdown.Time`: how long calls of `lease_lost`, `shard_ended` and `shutdown_requested` took.
    pub shutdown_time: CallTimes,
    /// Calls of any kind that returned an error or panicked; a count.
    pub processor_failures: u64,
    /// Records of batches that were given up, as the failure policy says; a count.
    pub records_skipped: u64,
    /// `UpdateLease.Success`: checkpoints written; a count.
    pub checkpoints_written: u64,
    /// What was asked of the lease store, and what the last look at it showed.
    pub leases: LeaseStats,
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

/// How long calls of one kind took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallTimes {
    /// Calls that ended; a count.
    pub count: u64,
    /// Their time in all, to a microsecond.
    pub total: Duration,
    /// The longest of them, to a microsecond.
    pub longest: Duration,
}

/// Calls of the lease store, and the table as the last listing of this worker showed it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseStats {
    /// `RenewLease.Success`: leases renewed; a count. A checkpoint renews too and is counted there.
    pub renewed: u64,
    /// `RenewLease.Time`.
    pub renew_time: CallTimes,
    /// `TakenLeases`, `TakeLease.Success`: leases taken; a count.
    pub taken: u64,
    /// `UntakenLeases`: takes that somebody else was quicker with; a count.
    pub untaken: u64,
    /// `TakeLease.Time`.
    pub take_time: CallTimes,
    /// `UpdateLease.Time`.
    pub update_time: CallTimes,
    /// `CreateLease.Success`: leases created; a count.
    pub created: u64,
    /// `CreateLease.Time`.
    pub create_time: CallTimes,
    /// `ListLeases.Success`: listings of the table; a count.
    pub listed: u64,
    /// `ListLeases.Time`.
    pub list_time: CallTimes,
    /// `SyncShards.Success`: comparisons of the stream's shards with the table; a count.
    pub synced: u64,
    /// `TotalLeases`: leases in the table, of the streams that are read; now.
    pub total: u64,
    /// `NumWorkers`: workers that own a lease, and this one; now.
    pub workers: u64,
    /// `ExpiredLeases`: leases that may be taken: free, or their owner is silent; now.
    pub expired: u64,
    /// `VeryOldLeases`: those of them that nobody took for three failover times; now.
    pub very_old: u64,
    /// `NeededLeases`: what this worker is short of its share; now.
    pub needed: u64,
    /// `LeasesToTake`: what it set out to take; now.
    pub to_take: u64,
    /// `LeaseSpillover`: what its share is above the most that it may hold; now.
    pub spillover: u64,
}

impl ConsumerStats {
    /// What the KCL has too, under its names, for an exporter that takes name and value.
    ///
    /// Counts are totals since the start. A name that ends in `.Time` is the time of all such calls together, in milliseconds:
    /// divide its growth by that of the count. `MillisBehindLatest` (milliseconds), `CurrentLeases`, `TotalLeases`,
    /// `NumWorkers`, `ExpiredLeases`, `VeryOldLeases`, `NeededLeases`, `LeasesToTake` and `LeaseSpillover` are of now.
    pub fn kcl_metrics(&self) -> Vec<(&'static str, u64)> {
        let leases = &self.leases;
        let millis = |times: CallTimes| u64::try_from(times.total.as_millis()).unwrap_or(u64::MAX);
        vec![
            ("RecordsProcessed", self.records_processed),
            ("DataBytesProcessed", self.data_bytes_processed),
            ("MillisBehindLatest", self.millis_behind_latest),
            ("CurrentLeases", self.current_leases),
            ("LostLeases", self.lost_leases),
            ("KinesisDataFetcher.getRecords.Success", self.get_records_success),
            ("KinesisDataFetcher.getRecords.Time", millis(self.get_records_time)),
            ("ExpiredIterator", self.expired_iterator),
            ("RecordProcessor.processRecords.Success", self.process_records_success),
            ("RecordProcessor.processRecords.Time", millis(self.process_records_time)),
            ("RecordProcessor.initialize.Time", millis(self.initialize_time)),
            ("RecordProcessor.shutdown.Time", millis(self.shutdown_time)),
            ("UpdateLease.Success", self.checkpoints_written),
            ("UpdateLease.Time", millis(leases.update_time)),
            ("RenewLease.Success", leases.renewed),
            ("RenewLease.Time", millis(leases.renew_time)),
            ("TakeLease.Success", leases.taken),
            ("TakeLease.Time", millis(leases.take_time)),
            ("TakenLeases", leases.taken),
            ("UntakenLeases", leases.untaken),
            ("CreateLease.Success", leases.created),
            ("CreateLease.Time", millis(leases.create_time)),
            ("ListLeases.Success", leases.listed),
            ("ListLeases.Time", millis(leases.list_time)),
            ("SyncShards.Success", leases.synced),
            ("TotalLeases", leases.total),
            ("NumWorkers", leases.workers),
            ("ExpiredLeases", leases.expired),
            ("VeryOldLeases", leases.very_old),
            ("NeededLeases", leases.needed),
            ("LeasesToTake", leases.to_take),
            ("LeaseSpillover", leases.spillover),
        ]
    }
}

macro_rules! counters {
    ([$($name:ident),* $(,)?] [$($time:ident),* $(,)?]) => {
        /// The live counters.
        #[derive(Debug, Default)]
        pub(crate) struct Stats {
            $(pub(crate) $name: Counter,)*
            $(pub(crate) $time: Times,)*
            pub(crate) leases: LeaseCounters,
            lag: Mutex<BTreeMap<StreamShard, u64>>,
        }

        impl Stats {
            /// All counters now. They are read one after the other: sums may be off by what happens meanwhile.
            pub(crate) fn snapshot(&self) -> ConsumerStats {
                let millis_behind_latest_by_shard = self.lag.lock().unwrap_or_else(PoisonError::into_inner).clone();
                ConsumerStats {
                    $($name: self.$name.0.load(Relaxed),)*
                    $($time: self.$time.snapshot(),)*
                    leases: self.leases.snapshot(),
                    millis_behind_latest: millis_behind_latest_by_shard.values().copied().max().unwrap_or(0),
                    current_leases: millis_behind_latest_by_shard.len() as u64,
                    millis_behind_latest_by_shard,
                }
            }
        }
    };
}

counters! {[
    records_processed, data_bytes_processed, lost_leases, get_records_success, get_records_failures,
    get_records_throttled, expired_iterator, subscriptions_opened, subscription_events, subscription_cuts,
    subscription_in_use, process_records_success, processor_failures, records_skipped, checkpoints_written,
    checkpoints_failed, shards_ended, suspicious_aggregates, out_of_range_aggregates, gaps,
] [
    get_records_time, process_records_time, initialize_time, shutdown_time,
]}

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

/// The times of calls of one kind; in microseconds.
#[derive(Debug, Default)]
pub(crate) struct Times {
    count: AtomicU64,
    total: AtomicU64,
    longest: AtomicU64,
}

impl Times {
    pub(crate) fn took(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.count.fetch_add(1, Relaxed);
        self.total.fetch_add(micros, Relaxed);
        self.longest.fetch_max(micros, Relaxed);
    }

    fn snapshot(&self) -> CallTimes {
        let micros = |value: &AtomicU64| Duration::from_micros(value.load(Relaxed));
        CallTimes {
            count: self.count.load(Relaxed),
            total: micros(&self.total),
            longest: micros(&self.longest),
        }
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
        stats.process_records_time.took(Duration::from_millis(1_500));
        stats.process_records_time.took(Duration::from_micros(500_400));
        let times = stats.snapshot().process_records_time;
        assert_eq!((times.count, times.longest), (2, Duration::from_millis(1_500)));
        assert_eq!(times.total, Duration::from_micros(2_000_400));
        let names: std::collections::BTreeSet<_> =
            snapshot.kcl_metrics().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), snapshot.kcl_metrics().len(), "each once");
        stats.left(&shard(1));
        assert_eq!(stats.snapshot().millis_behind_latest, 7);
    }
}
