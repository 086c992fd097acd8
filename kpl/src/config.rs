//! How a producer behaves: every knob with its unit, default, range and reason.

use std::sync::Arc;
use std::time::Duration;

use kinesis_shard::Clock;
use kinesis_shard::limits::{
    DEFAULT_MAX_RECORD_BYTES, MAX_MAX_RECORD_BYTES, MAX_PUT_RECORDS_BYTES, MAX_RECORDS_PER_PUT_RECORDS,
};

use crate::error::ConfigError;
use crate::user_record::RECORD_OVERHEAD_BYTES;

const KIB: u64 = 1024;
/// An instant plus any configured time must exist.
const YEAR: Duration = Duration::from_hours(365 * 24);

/// How one [`Producer`](crate::Producer) behaves. Names, defaults and ranges follow the Java KPL unless a line says why not.
///
/// Values are checked together by [`Producer::start`](crate::Producer::start), which names the first one that is wrong.
#[derive(Debug, Clone)]
pub struct ProducerConfig {
    pub(crate) stream: Arc<str>,
    pub(crate) aggregation_enabled: bool,
    pub(crate) aggregation_max_count: u32,
    pub(crate) aggregation_max_size: usize,
    pub(crate) collection_max_count: usize,
    pub(crate) collection_max_size: usize,
    pub(crate) max_record_size: usize,
    pub(crate) record_max_buffered_time: Duration,
    pub(crate) record_ttl: Duration,
    pub(crate) rate_limit: u32,
    pub(crate) fail_if_throttled: bool,
    pub(crate) max_connections: usize,
    pub(crate) request_timeout: Duration,
    pub(crate) max_outstanding_bytes: usize,
    pub(crate) seed: Option<u64>,
    pub(crate) clock: Clock,
}

impl ProducerConfig {
    /// The defaults, for one stream, given by name or by ARN.
    pub fn new(stream: impl Into<Arc<str>>) -> Self {
        Self {
            stream: stream.into(),
            aggregation_enabled: true,
            aggregation_max_count: u32::MAX,
            aggregation_max_size: 51_200,
            collection_max_count: MAX_RECORDS_PER_PUT_RECORDS,
            collection_max_size: 5 * 1024 * 1024,
            max_record_size: DEFAULT_MAX_RECORD_BYTES,
            record_max_buffered_time: Duration::from_millis(100),
            record_ttl: Duration::from_secs(30),
            rate_limit: 150,
            fail_if_throttled: false,
            max_connections: 24,
            request_timeout: Duration::from_secs(6),
            max_outstanding_bytes: 64 * 1024 * 1024,
            seed: None,
            clock: Clock::default(),
        }
    }

    /// Whether several user records share one Kinesis record. Default: true.
    ///
    /// Prediction and rate limiting stay on when this is off (the Java KPL switches them off with it).
    #[must_use]
    pub fn with_aggregation_enabled(mut self, enabled: bool) -> Self {
        self.aggregation_enabled = enabled;
        self
    }

    /// The most user records in one aggregate. Default: 4,294,967,295; range: 1 and up.
    #[must_use]
    pub fn with_aggregation_max_count(mut self, count: u32) -> Self {
        self.aggregation_max_count = count;
        self
    }

    /// The most bytes in one aggregate, exact. Default: 51,200; range: 64 to 10,485,760.
    ///
    /// A user record that does not fit alone is sent as a Kinesis record of its own.
    #[must_use]
    pub fn with_aggregation_max_size(mut self, bytes: usize) -> Self {
        self.aggregation_max_size = bytes;
        self
    }

    /// The most Kinesis records in one request. Default: 500; range: 1 to 500 (the service's limit).
    #[must_use]
    pub fn with_collection_max_count(mut self, count: usize) -> Self {
        self.collection_max_count = count;
        self
    }

    /// The most bytes in one request, partition keys included. Default: 5,242,880; range: 52,224 to 10,485,760 (the service's limit).
    #[must_use]
    pub fn with_collection_max_size(mut self, bytes: usize) -> Self {
        self.collection_max_size = bytes;
        self
    }

    /// The most bytes in one Kinesis record, data and partition key together, as the service counts.
    /// Default: 1,048,576; range: 64 to 10,485,760.
    ///
    /// Set it to the stream's own limit. (The Java KPL's `MaxUserRecordSize` leaves the key out.)
    #[must_use]
    pub fn with_max_record_size(mut self, bytes: usize) -> Self {
        self.max_record_size = bytes;
        self
    }

    /// How long a user record may wait to be joined by others before its first attempt. Default: 100 ms; range: 0 to a year.
    ///
    /// One fifth of it, at most 50 ms, is spent on joining Kinesis records into one request; the rest on aggregation.
    /// (The Java KPL adds that fifth on top.)
    #[must_use]
    pub fn with_record_max_buffered_time(mut self, time: Duration) -> Self {
        self.record_max_buffered_time = time;
        self
    }

    /// After how long an undelivered user record is given up. Default: 30 s; range: 100 ms to a year.
    ///
    /// Counted from the oldest user record of its aggregate. A request in flight is never cut short by it.
    #[must_use]
    pub fn with_record_ttl(mut self, time: Duration) -> Self {
        self.record_ttl = time;
        self
    }

    /// How much is sent to one shard, in percent of its write limit. Default: 150; range: 1 to 100,000.
    ///
    /// Bursts hold at most 100 ms of it. Above 100 the service's throttling finds the true limit; below, room is left to others.
    #[must_use]
    pub fn with_rate_limit(mut self, percent: u32) -> Self {
        self.rate_limit = percent;
        self
    }

    /// Whether a throttled record fails at once instead of being sent again. Default: false.
    #[must_use]
    pub fn with_fail_if_throttled(mut self, fail: bool) -> Self {
        self.fail_if_throttled = fail;
        self
    }

    /// The most requests in flight. Default: 24; range: 1 to 256.
    #[must_use]
    pub fn with_max_connections(mut self, count: usize) -> Self {
        self.max_connections = count;
        self
    }

    /// How long one request may take. Default: 6 s; range: 100 ms to 600 s.
    ///
    /// What a timed-out request held may have been written; it is sent again.
    #[must_use]
    pub fn with_request_timeout(mut self, time: Duration) -> Self {
        self.request_timeout = time;
        self
    }

    /// The most bytes accepted and not yet answered: keys, data and 32 bytes a record.
    /// Default: 67,108,864; range: 65,536 to 2^40. `put` waits for room. (The Java KPL has no bound.)
    #[must_use]
    pub fn with_max_outstanding_bytes(mut self, bytes: usize) -> Self {
        self.max_outstanding_bytes = bytes;
        self
    }

    /// Where retry jitter comes from. Default: drawn from the operating system. One seed and one history of calls give one behaviour.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The monotonic clock. Default: tokio's. Tests give one that runs fast or slow.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The stream, as it was given.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// The wait for other Kinesis records, taken out of the buffered time: min(50 ms, a fifth).
    pub(crate) fn collection_wait(&self) -> Duration {
        (self.record_max_buffered_time / 5).min(Duration::from_millis(50))
    }

    /// Checks every value against its range, then the values against each other.
    ///
    /// # Errors
    /// The first value out of range, or the first contradiction, in a sentence.
    pub fn validate(&self) -> Result<(), ConfigError> {
        for (name, value, minimum, maximum) in self.ranges() {
            if value < minimum || value > maximum {
                return Err(ConfigError::OutOfRange { name, value, minimum, maximum });
            }
        }
        match self.contradictions().into_iter().find(|(contradicts, _)| *contradicts) {
            Some((_, sentence)) => Err(ConfigError::Contradiction(sentence)),
            None => Ok(()),
        }
    }

    /// Name with unit, value, least, greatest.
    fn ranges(&self) -> [(&'static str, u64, u64, u64); 12] {
        let year = millis(YEAR);
        [
            ("stream length", bytes(self.stream.len()), 1, 2048),
            ("aggregation_max_count", u64::from(self.aggregation_max_count), 1, u64::from(u32::MAX)),
            (
                "aggregation_max_size in bytes",
                bytes(self.aggregation_max_size),
                64,
                bytes(MAX_MAX_RECORD_BYTES),
            ),
            ("collection_max_count", bytes(self.collection_max_count), 1, bytes(MAX_RECORDS_PER_PUT_RECORDS)),
            (
                "collection_max_size in bytes",
                bytes(self.collection_max_size),
                51 * KIB,
                bytes(MAX_PUT_RECORDS_BYTES),
            ),
            ("max_record_size in bytes", bytes(self.max_record_size), 64, bytes(MAX_MAX_RECORD_BYTES)),
            ("record_max_buffered_time in milliseconds", millis(self.record_max_buffered_time), 0, year),
            ("record_ttl in milliseconds", millis(self.record_ttl), 100, year),
            ("rate_limit in percent", u64::from(self.rate_limit), 1, 100_000),
            ("max_connections", bytes(self.max_connections), 1, 256),
            ("request_timeout in milliseconds", millis(self.request_timeout), 100, 600_000),
            ("max_outstanding_bytes", bytes(self.max_outstanding_bytes), 64 * KIB, 1 << 40),
        ]
    }

    fn contradictions(&self) -> [(bool, &'static str); 4] {
        [
            (
                self.record_max_buffered_time >= self.record_ttl,
                "record_max_buffered_time is not below record_ttl: records would expire before their first attempt",
            ),
            (
                self.aggregation_enabled && self.aggregation_max_size >= self.max_record_size,
                "aggregation_max_size is not below max_record_size: the service would refuse full aggregates",
            ),
            (
                self.max_record_size > self.collection_max_size,
                "max_record_size is above collection_max_size: the largest record would fit no request",
            ),
            (
                self.max_outstanding_bytes < self.max_record_size + RECORD_OVERHEAD_BYTES,
                "max_outstanding_bytes is below max_record_size and its overhead of 32 bytes: the largest record would wait for room for ever",
            ),
        ]
    }
}

fn bytes(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

fn millis(value: Duration) -> u64 {
    u64::try_from(value.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ProducerConfig {
        ProducerConfig::new("orders")
    }

    #[test]
    fn defaults_are_valid() {
        assert_eq!(config().validate(), Ok(()));
    }

    #[test]
    fn each_value_out_of_range_is_named_with_both_numbers() {
        let cases = [
            (ProducerConfig::new(""), "stream length is 0: set it between 1 and 2,048"),
            (config().with_aggregation_max_count(0), "aggregation_max_count is 0"),
            (config().with_aggregation_max_size(63), "aggregation_max_size in bytes is 63"),
            (
                config().with_collection_max_count(501),
                "collection_max_count is 501: set it between 1 and 500",
            ),
            (config().with_collection_max_size(52_223), "between 52,224 and 10,485,760"),
            (config().with_max_record_size(10_485_761), "max_record_size in bytes is 10,485,761"),
            (config().with_record_ttl(Duration::from_millis(99)), "record_ttl in milliseconds is 99"),
            (config().with_record_max_buffered_time(Duration::MAX), "record_max_buffered_time"),
            (config().with_rate_limit(0), "rate_limit in percent is 0"),
            (config().with_max_connections(257), "max_connections is 257"),
            (
                config().with_request_timeout(Duration::from_secs(601)),
                "request_timeout in milliseconds is 601,000",
            ),
            (config().with_max_outstanding_bytes(1), "max_outstanding_bytes is 1"),
        ];
        for (config, expected) in cases {
            let message = config.validate().unwrap_err().to_string();
            assert!(message.contains(expected), "{message:?} does not contain {expected:?}");
        }
    }

    #[test]
    fn each_contradiction_is_refused_with_a_sentence() {
        let cases = [
            (
                config().with_record_max_buffered_time(Duration::from_secs(30)),
                "record_max_buffered_time is not below",
            ),
            (config().with_aggregation_max_size(1024 * 1024), "aggregation_max_size is not below"),
            (config().with_max_record_size(6 * 1024 * 1024), "max_record_size is above"),
            (config().with_max_outstanding_bytes(1024 * 1024), "max_outstanding_bytes is below"),
        ];
        for (config, expected) in cases {
            let message = config.validate().unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message:?} does not start with {expected:?}");
        }
    }

    #[test]
    fn a_fifth_of_the_buffered_time_is_for_collecting_at_most_50_ms() {
        let cases = [(0, 0), (100, 20), (250, 50), (1000, 50)];
        for (buffered, wait) in cases {
            let config = config().with_record_max_buffered_time(Duration::from_millis(buffered));
            assert_eq!(config.collection_wait(), Duration::from_millis(wait));
        }
    }
}
