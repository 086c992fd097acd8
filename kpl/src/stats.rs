//! What a producer has done so far, under the Java KPL's metric names.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kinesis_shard::ShardId;

use crate::pipeline::kinesis_record::KinesisRecord;

/// A snapshot of a producer's counters and gauges; see [`Producer::stats`](crate::Producer::stats). Counters only grow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProducerStats {
    /// User records accepted.
    pub user_records_received: u64,
    /// User records delivered.
    pub user_records_put: u64,
    /// User records that failed for good, expired ones included.
    pub user_records_failed: u64,
    /// User records that ran out of time.
    pub user_records_expired: u64,
    /// Kinesis records delivered.
    pub kinesis_records_put: u64,
    /// Bytes of delivered Kinesis records, partition keys included.
    pub kinesis_records_data_put: u64,
    /// `PutRecords` calls begun.
    pub put_records_calls: u64,
    /// Kinesis records in those calls, retried ones each time.
    pub kinesis_records_sent: u64,
    /// Failed attempts of Kinesis records by code: the service's, or one of ours.
    pub errors_by_code: BTreeMap<Arc<str>, u64>,
    /// Failed attempts of Kinesis records by the shard they were meant for.
    pub errors_by_shard: BTreeMap<ShardId, u64>,
    /// Attempts of Kinesis records after their first.
    pub retries: u64,
    /// Aggregates that were stored on a shard that does not cover all of their records, and were sent again.
    pub wrong_shard: u64,
    /// Throttled attempts of Kinesis records.
    pub throttled: u64,
    /// From acceptance, or the end of the attempt before, to an attempt; per Kinesis record.
    pub buffering_time: TimeStats,
    /// From the start of a request to its answer.
    pub request_time: TimeStats,
    /// Gauge: user records accepted and not yet answered.
    pub outstanding_records: u64,
    /// Gauge: bytes accepted or reserved and not yet given back.
    pub outstanding_bytes: u64,
    /// Gauge: sealed Kinesis records that wait for a rate, a request, a retry or a map.
    pub kinesis_records_queued: usize,
    /// Gauge: requests in flight.
    pub requests_in_flight: usize,
    /// Gauge: shards that are sent less than their full rate after throttling.
    pub throttled_shards: usize,
}

/// Count, sum and greatest of some durations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TimeStats {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub total: Duration,
    /// The longest.
    pub max: Duration,
}

impl TimeStats {
    /// The mean; zero if there is none.
    pub fn mean(&self) -> Duration {
        let nanos = self.total.as_nanos().checked_div(u128::from(self.count)).unwrap_or(0);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn add(&mut self, time: Duration) {
        self.count += 1;
        self.total += time;
        self.max = self.max.max(time);
    }
}

/// What the pipeline counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counters {
    pub(crate) sealed_user_records: u64,
    pub(crate) expired: u64,
    pub(crate) kinesis_records_put: u64,
    pub(crate) kinesis_records_data_put: u64,
    pub(crate) put_records_calls: u64,
    pub(crate) kinesis_records_sent: u64,
    pub(crate) errors_by_code: BTreeMap<Arc<str>, u64>,
    pub(crate) errors_by_shard: BTreeMap<ShardId, u64>,
    pub(crate) retries: u64,
    pub(crate) wrong_shard: u64,
    pub(crate) throttled: u64,
    pub(crate) buffering_time: TimeStats,
    pub(crate) request_time: TimeStats,
    pub(crate) queued: usize,
    pub(crate) requests_in_flight: usize,
    pub(crate) throttled_shards: usize,
}

impl Counters {
    pub(crate) fn sealed(&mut self, record: &KinesisRecord) {
        self.sealed_user_records += widen(record.origin.len());
    }

    pub(crate) fn sent(&mut self, now: Instant, records: &[KinesisRecord]) {
        self.put_records_calls += 1;
        self.kinesis_records_sent += widen(records.len());
        for record in records {
            let since = record.attempts.last().map_or(Duration::ZERO, |last| last.started + last.duration);
            self.retries += u64::from(!record.attempts.is_empty());
            self.buffering_time.add(now.saturating_duration_since(record.opened + since));
        }
    }

    pub(crate) fn answered(&mut self, time: Duration) {
        self.request_time.add(time);
    }

    pub(crate) fn delivered(&mut self, record: &KinesisRecord) {
        self.kinesis_records_put += 1;
        self.kinesis_records_data_put += widen(record.entry_bytes());
    }

    pub(crate) fn error(&mut self, code: &str, shard: Option<&ShardId>) {
        match self.errors_by_code.get_mut(code) {
            Some(count) => *count += 1,
            None => drop(self.errors_by_code.insert(code.into(), 1)),
        }
        if let Some(shard) = shard {
            *self.errors_by_shard.entry(shard.clone()).or_default() += 1;
        }
    }

    pub(crate) fn expired(&mut self, user_records: usize) {
        self.expired += widen(user_records);
    }

    /// Everything but what the handle knows.
    pub(crate) fn into_stats(self) -> ProducerStats {
        ProducerStats {
            user_records_received: self.sealed_user_records,
            user_records_expired: self.expired,
            kinesis_records_put: self.kinesis_records_put,
            kinesis_records_data_put: self.kinesis_records_data_put,
            put_records_calls: self.put_records_calls,
            kinesis_records_sent: self.kinesis_records_sent,
            errors_by_code: self.errors_by_code,
            errors_by_shard: self.errors_by_shard,
            retries: self.retries,
            wrong_shard: self.wrong_shard,
            throttled: self.throttled,
            buffering_time: self.buffering_time,
            request_time: self.request_time,
            kinesis_records_queued: self.queued,
            requests_in_flight: self.requests_in_flight,
            throttled_shards: self.throttled_shards,
            ..ProducerStats::default()
        }
    }
}

fn widen(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_know_their_mean_and_their_greatest() {
        let mut times = TimeStats::default();
        assert_eq!(times.mean(), Duration::ZERO);
        for millis in [10, 20, 60] {
            times.add(Duration::from_millis(millis));
        }
        assert_eq!((times.mean(), times.max), (Duration::from_millis(30), Duration::from_millis(60)));
    }
}
