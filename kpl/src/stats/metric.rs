//! The names under which a producer is measured: those of the Java KPL, and a few that it has not.

use std::fmt;
use std::sync::Arc;

use kinesis_shard::ShardId;

/// What is measured. Names, units and moments are the Java KPL's unless a line says "ours".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Metric {
    /// User records accepted: 1 each.
    UserRecordsReceived,
    /// Gauge: user records accepted and not answered.
    UserRecordsPending,
    /// User records answered: 1 if delivered, 0 if failed.
    UserRecordsPut,
    /// Bytes of delivered user records, keys included (the Java KPL leaves keys out). Those of one aggregate count with their mean.
    UserRecordsDataPut,
    /// User records that ran out of time: 1 each.
    UserRecordExpired,
    /// Kinesis records answered: 1 if stored, 0 if not.
    KinesisRecordsPut,
    /// Bytes of stored Kinesis records, keys included (the Java KPL leaves keys out).
    KinesisRecordsDataPut,
    /// Failed attempts of Kinesis records, by code: 1 each. A request that failed counts once for each of its records (once in all in
    /// the Java KPL).
    ErrorsByCode,
    /// Attempts of Kinesis records: 1 if failed, 0 if not.
    AllErrors,
    /// User records answered: their attempts less one.
    RetriesPerRecord,
    /// Milliseconds from acceptance, or the end of the attempt before, to an attempt; per Kinesis record (per user record in the
    /// Java KPL).
    BufferingTime,
    /// Milliseconds from the start of a request to its answer.
    RequestTime,
    /// User records in each Kinesis record sent.
    UserRecordsPerKinesisRecord,
    /// Kinesis records in each request.
    KinesisRecordsPerPutRecordsRequest,
    /// User records in each request.
    UserRecordsPerPutRecordsRequest,
    /// Ours: aggregates that were stored where readers drop them, and were sent again: 1 each.
    WrongShard,
    /// Ours: throttled attempts of Kinesis records: 1 each.
    Throttled,
    /// Ours, gauge: Kinesis records that wait for a rate, a request, a retry or a map.
    KinesisRecordsQueued,
    /// Ours, gauge: requests in flight.
    RequestsInFlight,
    /// Ours, gauge: shards that are sent less than their full rate after throttling.
    ThrottledShards,
    /// Ours, gauge: bytes accepted or reserved and not given back.
    OutstandingBytes,
}

impl Metric {
    /// How many there are.
    pub(crate) const COUNT: usize = 21;

    /// All of them.
    pub const ALL: [Self; Self::COUNT] = [
        Self::UserRecordsReceived,
        Self::UserRecordsPending,
        Self::UserRecordsPut,
        Self::UserRecordsDataPut,
        Self::UserRecordExpired,
        Self::KinesisRecordsPut,
        Self::KinesisRecordsDataPut,
        Self::ErrorsByCode,
        Self::AllErrors,
        Self::RetriesPerRecord,
        Self::BufferingTime,
        Self::RequestTime,
        Self::UserRecordsPerKinesisRecord,
        Self::KinesisRecordsPerPutRecordsRequest,
        Self::UserRecordsPerPutRecordsRequest,
        Self::WrongShard,
        Self::Throttled,
        Self::KinesisRecordsQueued,
        Self::RequestsInFlight,
        Self::ThrottledShards,
        Self::OutstandingBytes,
    ];

    /// The Java KPL's name, or one in its style.
    pub fn name(self) -> &'static str {
        match self {
            Self::UserRecordsReceived => "UserRecordsReceived",
            Self::UserRecordsPending => "UserRecordsPending",
            Self::UserRecordsPut => "UserRecordsPut",
            Self::UserRecordsDataPut => "UserRecordsDataPut",
            Self::UserRecordExpired => "UserRecordExpired",
            Self::KinesisRecordsPut => "KinesisRecordsPut",
            Self::KinesisRecordsDataPut => "KinesisRecordsDataPut",
            Self::ErrorsByCode => "ErrorsByCode",
            Self::AllErrors => "AllErrors",
            Self::RetriesPerRecord => "RetriesPerRecord",
            Self::BufferingTime => "BufferingTime",
            Self::RequestTime => "RequestTime",
            Self::UserRecordsPerKinesisRecord => "UserRecordsPerKinesisRecord",
            Self::KinesisRecordsPerPutRecordsRequest => "KinesisRecordsPerPutRecordsRequest",
            Self::UserRecordsPerPutRecordsRequest => "UserRecordsPerPutRecordsRequest",
            Self::WrongShard => "WrongShard",
            Self::Throttled => "Throttled",
            Self::KinesisRecordsQueued => "KinesisRecordsQueued",
            Self::RequestsInFlight => "RequestsInFlight",
            Self::ThrottledShards => "ThrottledShards",
            Self::OutstandingBytes => "OutstandingBytes",
        }
    }

    /// `Count`, `Bytes` or `Milliseconds`.
    pub fn unit(self) -> &'static str {
        match self {
            Self::UserRecordsDataPut | Self::KinesisRecordsDataPut | Self::OutstandingBytes => "Bytes",
            Self::BufferingTime | Self::RequestTime => "Milliseconds",
            _ => "Count",
        }
    }

    /// Whether it says how much there is now, and not what happened.
    pub fn is_gauge(self) -> bool {
        matches!(
            self,
            Self::UserRecordsPending
                | Self::KinesisRecordsQueued
                | Self::RequestsInFlight
                | Self::ThrottledShards
                | Self::OutstandingBytes
        )
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Something that happened, or is so now.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Sample {
    /// What is measured.
    pub metric: Metric,
    /// How much, in the metric's unit.
    pub value: f64,
    /// How many times that much: the user records of one aggregate come as one sample.
    pub count: u64,
    /// The stream.
    pub stream: Arc<str>,
    /// The shard, where there is one: where a user record was delivered, or where a Kinesis record was meant to go.
    pub shard_id: Option<ShardId>,
    /// The code, with [`Metric::ErrorsByCode`].
    pub error_code: Option<Arc<str>>,
}

/// What the samples of one metric were.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct Distribution {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The least; 0 if there is none.
    pub min: f64,
    /// The greatest; 0 if there is none.
    pub max: f64,
}

impl Distribution {
    /// The mean; 0 if there is none.
    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum / float(self.count) }
    }

    pub(crate) fn add(&mut self, value: f64, count: u64) {
        if count == 0 {
            return;
        }
        let first = self.count == 0;
        self.min = if first { value } else { self.min.min(value) };
        self.max = if first { value } else { self.max.max(value) };
        self.count += count;
        self.sum += value * float(count);
    }
}

#[expect(clippy::cast_precision_loss, reason = "statistics: exact up to 2^53")]
pub(crate) fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_of_the_java_kpl_is_here_under_its_name() {
        let of_java = [
            "UserRecordsReceived",
            "UserRecordsPending",
            "UserRecordsPut",
            "UserRecordsDataPut",
            "UserRecordExpired",
            "KinesisRecordsPut",
            "KinesisRecordsDataPut",
            "ErrorsByCode",
            "AllErrors",
            "RetriesPerRecord",
            "BufferingTime",
            "RequestTime",
            "UserRecordsPerKinesisRecord",
            "KinesisRecordsPerPutRecordsRequest",
            "UserRecordsPerPutRecordsRequest",
        ];
        let names: Vec<_> = Metric::ALL.iter().map(|metric| metric.name()).collect();
        assert_eq!(names[..of_java.len()], of_java);
        for (index, metric) in Metric::ALL.iter().enumerate() {
            assert_eq!(*metric as usize, index, "a table is indexed by it");
        }
    }

    #[test]
    fn a_distribution_knows_count_sum_least_greatest_and_mean() {
        let mut distribution = Distribution::default();
        assert!(distribution.mean().abs() < f64::EPSILON);
        distribution.add(5.0, 3);
        distribution.add(2.0, 1);
        distribution.add(9.0, 0);
        assert_eq!(distribution, Distribution { count: 4, sum: 17.0, min: 2.0, max: 5.0 });
        assert!((distribution.mean() - 4.25).abs() < f64::EPSILON);
    }
}
