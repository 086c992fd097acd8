//! What a producer has done so far, under the Java KPL's metric names.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kinesis_shard::{ShardId, ShardMap};

use crate::pipeline::kinesis_record::KinesisRecord;

/// What is measured, and the samples.
mod metric;

/// One distribution for each metric, in all and by shard.
mod metric_table;

/// What waits where, and why nothing moves.
mod queue_status;

pub(crate) use metric::float;
pub use metric::{Distribution, Metric, Sample};
use metric_table::MetricTable;
pub use queue_status::QueueStatus;

/// A snapshot of a producer's counters and gauges; see [`Producer::stats`](crate::Producer::stats). Counters only grow.
///
/// The fields are the figures most asked for; [`metric`](Self::metric), [`shard_metric`](Self::shard_metric) and
/// [`metrics`](Self::metrics) give all of them under the Java KPL's names.
#[derive(Debug, Clone, Default, PartialEq)]
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
    /// Failed attempts of Kinesis records by the shard they were meant for, for shards that still exist.
    pub errors_by_shard: BTreeMap<ShardId, u64>,
    /// Attempts of Kinesis records after their first.
    pub retries: u64,
    /// Aggregates that were stored on a shard that does not cover all of their records, and were sent again.
    pub wrong_shard: u64,
    /// Throttled attempts of Kinesis records.
    pub throttled: u64,
    /// `ListShards` questions asked, each of any number of pages.
    pub shard_map_questions: u64,
    /// From acceptance, or the end of the attempt before, to an attempt; per Kinesis record.
    pub buffering_time: TimeStats,
    /// From the start of a request to its answer.
    pub request_time: TimeStats,
    /// Gauge: user records accepted and not yet answered.
    pub outstanding_records: u64,
    /// Gauge: bytes accepted or reserved and not yet given back, of all streams that share the bound.
    pub outstanding_bytes: u64,
    /// Gauge: sealed Kinesis records that wait for a rate, a request, a retry or a map.
    pub kinesis_records_queued: usize,
    /// Gauge: requests in flight.
    pub requests_in_flight: usize,
    /// Gauge: shards that are sent less than their full rate after throttling.
    pub throttled_shards: usize,
    /// Gauge: the most bytes in one Kinesis record, data and key, as configured, learned from the stream, or assumed.
    pub max_record_size: usize,
    /// Where the sealed Kinesis records are.
    pub queue: QueueStatus,
    table: MetricTable,
}

impl ProducerStats {
    /// All samples of a metric so far; of a gauge, the one sample of now.
    pub fn metric(&self, metric: Metric) -> Distribution {
        self.table.total(metric)
    }

    /// All samples of a metric that named this shard, while the shard exists.
    pub fn shard_metric(&self, shard: &ShardId, metric: Metric) -> Distribution {
        self.table.of_shard(shard, metric)
    }

    /// Every metric that has samples: in all, then by shard.
    pub fn metrics(&self) -> impl Iterator<Item = (Metric, Option<&ShardId>, Distribution)> {
        let shards = std::iter::once(None).chain(self.table.shards().map(Some));
        shards
            .flat_map(move |shard| {
                Metric::ALL.into_iter().map(move |metric| {
                    let distribution =
                        shard.map_or_else(|| self.metric(metric), |shard| self.shard_metric(shard, metric));
                    (metric, shard, distribution)
                })
            })
            .filter(|(_, _, distribution)| distribution.count > 0)
    }

    /// What the handle knows and the pipeline does not.
    pub(crate) fn complete(&mut self, unseen_user_records: u64, (put, failed): (u64, u64), bytes: usize) {
        self.user_records_received += unseen_user_records;
        (self.user_records_put, self.user_records_failed) = (put, failed);
        self.outstanding_records = self.user_records_received.saturating_sub(put + failed);
        self.outstanding_bytes = widen(bytes);
        self.table.add(None, &[(Metric::UserRecordsReceived, 1.0, unseen_user_records)]);
        for (metric, value) in self.gauges() {
            self.table.gauge(metric, value);
        }
    }

    pub(crate) fn gauges(&self) -> [(Metric, f64); 5] {
        [
            (Metric::UserRecordsPending, float(self.outstanding_records)),
            (Metric::KinesisRecordsQueued, float(widen(self.kinesis_records_queued))),
            (Metric::RequestsInFlight, float(widen(self.requests_in_flight))),
            (Metric::ThrottledShards, float(widen(self.throttled_shards))),
            (Metric::OutstandingBytes, float(self.outstanding_bytes)),
        ]
    }
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
#[derive(Debug, Default)]
pub(crate) struct Counters {
    stream: Arc<str>,
    table: MetricTable,
    retries: u64,
    buffering_time: TimeStats,
    request_time: TimeStats,
    /// Kept for a hook, if there is one.
    samples: Option<Vec<Sample>>,
}

impl Counters {
    pub(crate) fn new(stream: Arc<str>, sampled: bool) -> Self {
        Self { stream, samples: sampled.then(Vec::new), ..Self::default() }
    }

    /// A Kinesis record is complete.
    pub(crate) fn sealed(&mut self, record: &KinesisRecord) {
        self.add(None, &[(Metric::UserRecordsReceived, 1.0, widen(record.origin.len()))]);
    }

    /// A request begins.
    pub(crate) fn sent(&mut self, now: Instant, records: &[KinesisRecord]) {
        let mut user_records = 0;
        for record in records {
            let since = record.attempts.last().map_or(Duration::ZERO, |last| last.started + last.duration);
            let buffered = now.saturating_duration_since(record.opened + since);
            self.retries += u64::from(!record.attempts.is_empty());
            self.buffering_time.add(buffered);
            let members = widen(record.origin.len());
            user_records += members;
            self.add(
                record.predicted.as_ref(),
                &[
                    (Metric::BufferingTime, millis(buffered), 1),
                    (Metric::UserRecordsPerKinesisRecord, float(members), 1),
                ],
            );
        }
        self.add(
            None,
            &[
                (Metric::KinesisRecordsPerPutRecordsRequest, float(widen(records.len())), 1),
                (Metric::UserRecordsPerPutRecordsRequest, float(user_records), 1),
            ],
        );
    }

    /// A request was answered, or failed.
    pub(crate) fn answered(&mut self, time: Duration) {
        self.request_time.add(time);
        self.add(None, &[(Metric::RequestTime, millis(time), 1)]);
    }

    /// An attempt failed.
    pub(crate) fn error(&mut self, code: &Arc<str>, shard: Option<&ShardId>) {
        self.add(shard, &[(Metric::KinesisRecordsPut, 0.0, 1), (Metric::AllErrors, 1.0, 1)]);
        self.table.error(code, shard);
        self.table.add(shard, &[(Metric::ErrorsByCode, 1.0, 1)]);
        self.sample(shard, Some(code), (Metric::ErrorsByCode, 1.0, 1));
    }

    pub(crate) fn throttled(&mut self, shard: Option<&ShardId>) {
        self.add(shard, &[(Metric::Throttled, 1.0, 1)]);
    }

    pub(crate) fn wrong_shard(&mut self, shard: Option<&ShardId>) {
        self.add(shard, &[(Metric::WrongShard, 1.0, 1)]);
    }

    /// The user records of a Kinesis record were delivered here.
    pub(crate) fn delivered(&mut self, record: &KinesisRecord, shard: &ShardId) {
        let members = widen(record.origin.len());
        let bytes = record
            .origin
            .bytes()
            .saturating_sub(record.origin.len() * crate::user_record::RECORD_OVERHEAD_BYTES);
        let mean = float(widen(bytes)) / float(members.max(1));
        let all = [
            (Metric::KinesisRecordsPut, 1.0, 1),
            (Metric::KinesisRecordsDataPut, float(widen(record.entry_bytes())), 1),
            (Metric::AllErrors, 0.0, 1),
            (Metric::UserRecordsPut, 1.0, members),
            (Metric::UserRecordsDataPut, mean, members),
            (Metric::RetriesPerRecord, retries(record), members),
        ];
        if record.predicted.as_ref() == Some(shard) {
            self.add(Some(shard), &all);
        } else {
            let (of_attempt, of_records) = all.split_at(3);
            self.add(record.predicted.as_ref(), of_attempt);
            self.add(Some(shard), of_records);
        }
    }

    /// The user records of a Kinesis record failed for good.
    pub(crate) fn failed(&mut self, record: &KinesisRecord, expired: bool) {
        let members = widen(record.origin.len());
        self.add(
            record.predicted.as_ref(),
            &[
                (Metric::UserRecordsPut, 0.0, members),
                (Metric::RetriesPerRecord, retries(record), members),
                (Metric::UserRecordExpired, 1.0, if expired { members } else { 0 }),
            ],
        );
    }

    pub(crate) fn keep_shards_of(&mut self, maps: [Option<&ShardMap>; 2]) {
        self.table.keep_shards_of(maps);
    }

    /// What came since the last time, if there is a hook to take it.
    pub(crate) fn take_samples(&mut self) -> Vec<Sample> {
        self.samples.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Everything but gauges and what the handle knows.
    pub(crate) fn stats(&self) -> ProducerStats {
        let table = self.table.clone();
        let (mut errors_by_code, mut errors_by_shard) = (BTreeMap::new(), BTreeMap::new());
        for (code, shard, count) in table.errors() {
            *errors_by_code.entry(Arc::clone(code)).or_default() += count;
            if let Some(shard) = shard {
                *errors_by_shard.entry(shard.clone()).or_default() += count;
            }
        }
        let sum = |metric| whole(table.total(metric).sum);
        ProducerStats {
            user_records_received: sum(Metric::UserRecordsReceived),
            user_records_expired: sum(Metric::UserRecordExpired),
            kinesis_records_put: sum(Metric::KinesisRecordsPut),
            kinesis_records_data_put: sum(Metric::KinesisRecordsDataPut),
            put_records_calls: table.total(Metric::KinesisRecordsPerPutRecordsRequest).count,
            kinesis_records_sent: sum(Metric::KinesisRecordsPerPutRecordsRequest),
            errors_by_code,
            errors_by_shard,
            retries: self.retries,
            wrong_shard: sum(Metric::WrongShard),
            throttled: sum(Metric::Throttled),
            buffering_time: self.buffering_time,
            request_time: self.request_time,
            table,
            ..ProducerStats::default()
        }
    }

    fn add(&mut self, shard: Option<&ShardId>, samples: &[(Metric, f64, u64)]) {
        self.table.add(shard, samples);
        for sample in samples {
            self.sample(shard, None, *sample);
        }
    }

    fn sample(
        &mut self,
        shard: Option<&ShardId>,
        code: Option<&Arc<str>>,
        (metric, value, count): (Metric, f64, u64),
    ) {
        let Some(samples) = &mut self.samples else { return };
        if count > 0 {
            let (stream, shard_id) = (Arc::clone(&self.stream), shard.cloned());
            samples.push(Sample { metric, value, count, stream, shard_id, error_code: code.cloned() });
        }
    }
}

fn retries(record: &KinesisRecord) -> f64 {
    float(widen(record.attempts.len()).saturating_sub(1))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn widen(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a sum of whole numbers from 0 on"
)]
fn whole(sum: f64) -> u64 {
    sum as u64
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
