//! How a producer behaves: every knob with its unit, default, range and reason.

use std::sync::Arc;
use std::time::Duration;

use kinesis_shard::Clock;
use kinesis_shard::limits::{DEFAULT_MAX_RECORD_BYTES, MAX_MAX_RECORD_BYTES, MAX_RECORDS_PER_PUT_RECORDS};

use crate::error::ConfigError;
use crate::stats::Sample;
use crate::user_record::RECORD_OVERHEAD_BYTES;

/// Every knob in one table: name, unit, range, and how it is read and set.
mod knobs;

/// Where samples go.
mod metrics_hook;

/// Knobs by name and text: properties files, environment, command lines.
mod load;

/// The same through serde.
#[cfg(feature = "serde")]
mod with_serde;

pub use load::IgnoredKnob;
pub(crate) use metrics_hook::MetricsHook;

/// Whether user records of one shard are stored in the order in which they were put.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ordering {
    /// In order while nothing has to be sent again and no request overtakes another. The default, and the fastest.
    #[default]
    Relaxed,
    /// In order always, across retries, splits and merges: one Kinesis record is in flight for each shard, and one that failed goes
    /// first. A user record that failed for good leaves a gap. One shard then takes one aggregate per round trip.
    PerShard,
}

/// How one [`Producer`](crate::Producer) behaves. Names, defaults and ranges follow the Java KPL unless a line says why not.
///
/// Values are checked together by [`Producer::start`](crate::Producer::start), which names the first one that is wrong. They can also
/// be set by name from text, [`set`](Self::set), and loaded from a Java properties file,
/// [`from_properties`](Self::from_properties), or through serde with the feature of that name.
#[derive(Debug, Clone)]
pub struct ProducerConfig {
    pub(crate) stream: Arc<str>,
    pub(crate) aggregation_enabled: bool,
    pub(crate) aggregation_on_auto: bool,
    pub(crate) aggregation_max_count: u32,
    pub(crate) aggregation_max_size: usize,
    pub(crate) collection_max_count: usize,
    pub(crate) collection_max_size: usize,
    pub(crate) max_user_record_size: usize,
    pub(crate) max_record_size: Option<usize>,
    pub(crate) record_max_buffered_time: Duration,
    pub(crate) record_ttl: Duration,
    pub(crate) ordering: Ordering,
    pub(crate) rate_limit: u32,
    pub(crate) fleet_size: u32,
    pub(crate) fail_if_throttled: bool,
    pub(crate) max_connections: usize,
    pub(crate) request_timeout: Duration,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) max_outstanding_bytes: usize,
    pub(crate) seed: Option<u64>,
    pub(crate) clock: Clock,
    pub(crate) metrics_hook: Option<MetricsHook>,
    pub(crate) ignored: Vec<IgnoredKnob>,
}

impl ProducerConfig {
    /// The defaults, for one stream, given by name or by ARN.
    pub fn new(stream: impl Into<Arc<str>>) -> Self {
        Self {
            stream: stream.into(),
            aggregation_enabled: true,
            aggregation_on_auto: false,
            aggregation_max_count: u32::MAX,
            aggregation_max_size: 51_200,
            collection_max_count: MAX_RECORDS_PER_PUT_RECORDS,
            collection_max_size: 5 * 1024 * 1024,
            max_user_record_size: MAX_MAX_RECORD_BYTES,
            max_record_size: None,
            record_max_buffered_time: Duration::from_millis(100),
            record_ttl: Duration::from_secs(30),
            ordering: Ordering::Relaxed,
            rate_limit: 150,
            fleet_size: 1,
            fail_if_throttled: false,
            max_connections: 24,
            request_timeout: Duration::from_secs(6),
            connect_timeout: None,
            max_outstanding_bytes: 64 * 1024 * 1024,
            seed: None,
            clock: Clock::default(),
            metrics_hook: None,
            ignored: Vec::new(),
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

    /// Whether user records are aggregated on a stream with AUTO record distribution too. Default: false.
    ///
    /// Such a stream ignores keys, so an aggregate lands on any shard, and a reader that filters by hash range, as the Java KCL does,
    /// drops it. Set it only if every reader of the stream takes whole aggregates. (The Java KPL knows nothing of such streams.)
    #[must_use]
    pub fn with_aggregation_on_auto(mut self, enabled: bool) -> Self {
        self.aggregation_on_auto = enabled;
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
    /// A user record that does not fit alone is sent as a Kinesis record of its own. Aggregates above 1 MiB need
    /// [`with_max_record_size`](Self::with_max_record_size).
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
    ///
    /// A single record above it is sent in a request of its own.
    #[must_use]
    pub fn with_collection_max_size(mut self, bytes: usize) -> Self {
        self.collection_max_size = bytes;
        self
    }

    /// The most bytes of data in one user record, without its key. Default: 10,485,760; range: 64 to 10,485,760.
    ///
    /// (1,048,576 in the Java KPL. Here the limit of the stream itself is known, see
    /// [`with_max_record_size`](Self::with_max_record_size), so this is only for those who want less.)
    #[must_use]
    pub fn with_max_user_record_size(mut self, bytes: usize) -> Self {
        self.max_user_record_size = bytes;
        self
    }

    /// The most bytes in one Kinesis record of the stream, data and partition key together, as the service counts.
    /// Default: what the stream says; range: 64 to 10,485,760.
    ///
    /// Without it the producer asks the service (`kinesis:DescribeStreamSummary`) and takes the service's default, 1,048,576, if it
    /// may not. (Not known to the Java KPL.)
    #[must_use]
    pub fn with_max_record_size(mut self, bytes: usize) -> Self {
        self.max_record_size = Some(bytes);
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

    /// Whether the order of puts is kept per shard. Default: [`Ordering::Relaxed`]. (The Java KPL never keeps it across retries.)
    ///
    /// Order needs a caller that puts one record after the other, and a stream whose keys decide the shard: on one with AUTO record
    /// distribution every put fails.
    #[must_use]
    pub fn with_ordering(mut self, ordering: Ordering) -> Self {
        self.ordering = ordering;
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

    /// How many producers like this one write into the stream. Default: 1; range: 1 to 10,000. (Not in the Java KPL.)
    ///
    /// Each takes its share: `rate_limit` divided by this many. Where producers are not equally busy, name fewer than there are.
    #[must_use]
    pub fn with_fleet_size(mut self, producers: u32) -> Self {
        self.fleet_size = producers;
        self
    }

    /// Whether a throttled record fails at once instead of being sent again. Default: false.
    #[must_use]
    pub fn with_fail_if_throttled(mut self, fail: bool) -> Self {
        self.fail_if_throttled = fail;
        self
    }

    /// The most `PutRecords` requests in flight to one stream. Default: 24; range: 1 to 256.
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

    /// How long connecting may take, TLS included. Default: what the client says; range: 100 ms to 300 s. (6 s in the Java KPL, which
    /// makes its own client.)
    #[must_use]
    pub fn with_connect_timeout(mut self, time: Duration) -> Self {
        self.connect_timeout = Some(time);
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

    /// Where samples of every [`Metric`](crate::Metric) go, as they happen. Default: nowhere; [`Producer::stats`](crate::Producer::stats)
    /// sums them up all the same.
    ///
    /// It runs in the producer's own task, so it must not block: count, or hand over. Gauges come with what happens, at most every 200 ms.
    #[must_use]
    pub fn with_metrics_hook(mut self, hook: impl Fn(&Sample) + Send + Sync + 'static) -> Self {
        self.metrics_hook = Some(MetricsHook::new(hook));
        self
    }

    /// The stream, as it was given.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// The most bytes accepted and not yet answered. A stream of a producer of several has the bound that they share.
    pub fn max_outstanding_bytes(&self) -> usize {
        self.max_outstanding_bytes
    }

    /// The wait for other Kinesis records, taken out of the buffered time: min(50 ms, a fifth).
    pub(crate) fn collection_wait(&self) -> Duration {
        (self.record_max_buffered_time / 5).min(Duration::from_millis(50))
    }

    /// The most bytes in one Kinesis record before the stream was asked.
    pub(crate) fn assumed_max_record_size(&self) -> usize {
        self.max_record_size.unwrap_or(DEFAULT_MAX_RECORD_BYTES)
    }

    /// Checks every value against its range, then the values against each other.
    ///
    /// # Errors
    /// The first value out of range, or the first contradiction, in a sentence.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let stream = knobs::in_range("stream length", bytes(self.stream.len()), 1, 2048);
        stream.and_then(|()| knobs::all_in_range(self))?;
        match self.contradictions().into_iter().find(|(contradicts, _)| *contradicts) {
            Some((_, sentence)) => Err(ConfigError::Contradiction(sentence)),
            None => Ok(()),
        }
    }

    fn contradictions(&self) -> [(bool, &'static str); 6] {
        let largest = self.assumed_max_record_size();
        [
            (
                self.record_max_buffered_time >= self.record_ttl,
                "record_max_buffered_time is not below record_ttl: records would expire before their first attempt",
            ),
            (
                self.aggregation_enabled && self.aggregation_max_size >= largest,
                "aggregation_max_size is not below max_record_size (1,048,576 unless set): the service would refuse full aggregates",
            ),
            (
                self.max_outstanding_bytes < largest + RECORD_OVERHEAD_BYTES,
                "max_outstanding_bytes is below max_record_size (1,048,576 unless set) and its overhead of 32 bytes: the largest record would wait for room for ever",
            ),
            (
                self.connect_timeout.is_some_and(|time| time > self.request_timeout),
                "connect_timeout is above request_timeout: the request would be given up before the attempt to connect",
            ),
            (
                self.ordering == Ordering::PerShard && self.aggregation_on_auto,
                "ordering is per shard and aggregation_on_auto is set: a stream with AUTO record distribution has no order to keep",
            ),
            (
                !self.aggregation_enabled && self.aggregation_on_auto,
                "aggregation_on_auto is set and aggregation_enabled is not: say which of them is meant",
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
            (config().with_max_user_record_size(63), "max_user_record_size in bytes is 63"),
            (config().with_max_record_size(10_485_761), "max_record_size in bytes is 10,485,761"),
            (config().with_record_ttl(Duration::from_millis(99)), "record_ttl in milliseconds is 99"),
            (config().with_record_max_buffered_time(Duration::MAX), "record_max_buffered_time"),
            (config().with_rate_limit(0), "rate_limit in percent is 0"),
            (config().with_fleet_size(10_001), "fleet_size is 10,001: set it between 1 and 10,000"),
            (config().with_max_connections(257), "max_connections is 257"),
            (
                config().with_request_timeout(Duration::from_secs(601)),
                "request_timeout in milliseconds is 601,000",
            ),
            (config().with_connect_timeout(Duration::ZERO), "connect_timeout in milliseconds is 0"),
            (config().with_max_outstanding_bytes(1), "max_outstanding_bytes is 1"),
        ];
        for (config, expected) in cases {
            let message = config.validate().unwrap_err().to_string();
            assert!(message.contains(expected), "{message:?} does not contain {expected:?}");
        }
    }

    #[test]
    fn what_is_exactly_enough_is_no_contradiction() {
        let largest = 1024 * 1024;
        let enough = [
            config().with_max_outstanding_bytes(largest + 32),
            config().with_aggregation_max_size(largest - 1),
            config()
                .with_connect_timeout(Duration::from_secs(6))
                .with_request_timeout(Duration::from_secs(6)),
            config().with_ordering(Ordering::PerShard),
            config().with_aggregation_on_auto(true),
            config().with_aggregation_enabled(false).with_aggregation_max_size(largest),
        ];
        for config in enough {
            assert_eq!(config.validate(), Ok(()), "{config:?}");
        }
        let short = config().with_max_outstanding_bytes(largest + 31);
        assert!(matches!(short.validate(), Err(ConfigError::Contradiction(_))));
    }

    #[test]
    fn what_was_set_can_be_read_and_a_hook_is_called() {
        let config = config().with_max_outstanding_bytes(2 << 20);
        assert_eq!((config.stream(), config.max_outstanding_bytes()), ("orders", 2 << 20));
        let (sender, samples) = std::sync::mpsc::channel();
        let hook = MetricsHook::new(move |sample: &Sample| sender.send(sample.value).expect("it listens"));
        hook.take(&Sample {
            metric: crate::stats::Metric::UserRecordsPut,
            value: 7.0,
            count: 1,
            stream: "orders".into(),
            shard_id: None,
            error_code: None,
        });
        assert_eq!(samples.try_recv(), Ok(7.0));
    }

    #[test]
    fn each_contradiction_is_refused_with_a_sentence() {
        let cases = [
            (
                config().with_record_max_buffered_time(Duration::from_secs(30)),
                "record_max_buffered_time is not below",
            ),
            (config().with_aggregation_max_size(1024 * 1024), "aggregation_max_size is not below"),
            (config().with_max_outstanding_bytes(1024 * 1024), "max_outstanding_bytes is below"),
            (config().with_connect_timeout(Duration::from_secs(7)), "connect_timeout is above"),
            (
                config().with_ordering(Ordering::PerShard).with_aggregation_on_auto(true),
                "ordering is per shard",
            ),
            (
                config().with_aggregation_enabled(false).with_aggregation_on_auto(true),
                "aggregation_on_auto is set",
            ),
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
