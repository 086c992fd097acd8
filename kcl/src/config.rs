//! What a worker may be told, with units, defaults and ranges, checked once.
//!
//! Names are the KCL's in snake case; a default that differs from the Java library's says why.

use std::sync::Arc;
use std::time::Duration;

use kinesis_shard::Clock;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::event::EventSink;
use crate::lease::WorkerId;
use crate::streams::StreamSet;

// What there is to choose from.
mod choices;

// Whether the values are in their ranges and fit together.
mod validate;

pub use choices::{FailurePolicy, InitialPosition, RetrievalMode};

/// Everything a worker needs to know before it starts.
///
/// ```
/// use std::time::Duration;
/// let config = kcl::ConsumerConfig::new("billing", "orders", "worker-a")
///     .with_failover_time(Duration::from_secs(20))
///     .with_max_records(2_000);
/// assert!(config.validate().is_ok());
/// ```
#[derive(Debug, Clone)]
pub struct ConsumerConfig {
    pub(crate) application_name: Arc<str>,
    pub(crate) stream: Arc<str>,
    /// Several streams instead of the one.
    pub(crate) streams: Option<StreamSet>,
    pub(crate) worker_id: WorkerId,
    pub(crate) initial_position: InitialPosition,
    pub(crate) failover_time: Duration,
    pub(crate) lease_renewal_interval: Option<Duration>,
    pub(crate) lease_scan_interval: Option<Duration>,
    pub(crate) shard_sync_interval: Duration,
    pub(crate) parent_shard_poll_interval: Duration,
    pub(crate) max_leases_for_worker: usize,
    pub(crate) max_leases_to_steal_at_one_time: usize,
    pub(crate) max_records: u32,
    pub(crate) idle_time_between_reads: Duration,
    pub(crate) retrieval_mode: RetrievalMode,
    pub(crate) consumer_name: Option<Arc<str>>,
    pub(crate) consumer_arn: Option<Arc<str>>,
    pub(crate) subscription_silence_limit: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) max_prefetch_bytes: usize,
    pub(crate) call_process_records_even_for_empty_list: bool,
    pub(crate) drop_aggregates_out_of_range: bool,
    pub(crate) task_backoff: Duration,
    pub(crate) max_task_backoff: Duration,
    pub(crate) failure_policy: FailurePolicy,
    pub(crate) events: EventSink,
    pub(crate) slow_processor_after: Duration,
    pub(crate) stuck_after: Duration,
    pub(crate) seed: u64,
    pub(crate) clock: Clock,
}

impl ConsumerConfig {
    /// A configuration with the defaults of this crate.
    ///
    /// `application_name` names the group of workers that share the shards. `stream` is a stream name or ARN. `worker_id`
    /// must be unique among the workers that run at the same time.
    pub fn new(
        application_name: impl Into<Arc<str>>,
        stream: impl Into<Arc<str>>,
        worker_id: impl Into<Arc<str>>,
    ) -> Self {
        Self {
            application_name: application_name.into(),
            stream: stream.into(),
            streams: None,
            worker_id: WorkerId::new(worker_id),
            initial_position: InitialPosition::default(),
            failover_time: Duration::from_secs(10),
            lease_renewal_interval: None,
            lease_scan_interval: None,
            shard_sync_interval: Duration::from_mins(1),
            parent_shard_poll_interval: Duration::from_secs(10),
            max_leases_for_worker: usize::MAX,
            max_leases_to_steal_at_one_time: 1,
            max_records: 10_000,
            idle_time_between_reads: Duration::from_secs(1),
            retrieval_mode: RetrievalMode::default(),
            consumer_name: None,
            consumer_arn: None,
            subscription_silence_limit: Duration::from_secs(15),
            request_timeout: Duration::from_secs(30),
            max_prefetch_bytes: 256 * 1024 * 1024,
            call_process_records_even_for_empty_list: false,
            drop_aggregates_out_of_range: false,
            task_backoff: Duration::from_millis(500),
            max_task_backoff: Duration::from_secs(30),
            failure_policy: FailurePolicy::default(),
            events: EventSink::default(),
            slow_processor_after: Duration::from_secs(30),
            stuck_after: Duration::from_mins(2),
            // The one place where the operating system is asked: everything random descends from this number.
            seed: SmallRng::try_from_rng(&mut rand::rngs::SysRng).map_or(0, |mut rng| rng.random()),
            clock: Clock::default(),
        }
    }

    /// The same for an application of several streams, which may change while it runs.
    ///
    /// Its lease table cannot be shared with an application of one stream: the keys of the rows differ.
    pub fn multi_stream(
        application_name: impl Into<Arc<str>>,
        streams: StreamSet,
        worker_id: impl Into<Arc<str>>,
    ) -> Self {
        Self { streams: Some(streams), ..Self::new(application_name, "several streams", worker_id) }
    }

    /// Where shards without a checkpoint start. Default: [`InitialPosition::TrimHorizon`].
    #[must_use]
    pub fn with_initial_position(mut self, position: InitialPosition) -> Self {
        self.initial_position = position;
        self
    }

    /// How long a lease lives without a sign of life of its owner (KCL `failoverTimeMillis`). Default 10 s, 1 s to 1 h.
    ///
    /// All workers of one application should use the same value: a crashed worker's shards stand still for this long.
    #[must_use]
    pub fn with_failover_time(mut self, time: Duration) -> Self {
        self.failover_time = time;
        self
    }

    /// How long after a write of a lease it is renewed. Default: a third of the failover time less 25 ms, as the Java library.
    /// 10 ms to 60 % of the failover time.
    ///
    /// A checkpoint counts as a renewal, so a longer interval saves writes, and what is left of the failover time is for trying
    /// again. Beyond 60 % a call that hangs, which is given up after a fifth, would leave no time for another one. A longer
    /// interval also means that a lease which a Java worker takes outright is noticed later: use it in fleets without Java.
    #[must_use]
    pub fn with_lease_renewal_interval(mut self, interval: Duration) -> Self {
        self.lease_renewal_interval = Some(interval);
        self
    }

    /// How often a worker looks at another one, by reading one lease of it. Default 850 ms, but at most half the failover time.
    /// 50 ms to 1 h.
    ///
    /// A lease that was given up is seen this much later at most, and one whose owner died is taken this much later than after
    /// the failover time. The whole table is read every 3.3 failover times; but at this interval while leases move, and beside
    /// Java workers and with stores that keep no [`Stamp`](crate::lease::Stamp), then less often in tables of more than 85 leases, so
    /// that the cost stays level.
    #[must_use]
    pub fn with_lease_scan_interval(mut self, interval: Duration) -> Self {
        self.lease_scan_interval = Some(interval);
        self
    }

    /// How often the shards of the stream are compared with the leases. Default 60 s, 100 ms to 1 day.
    #[must_use]
    pub fn with_shard_sync_interval(mut self, interval: Duration) -> Self {
        self.shard_sync_interval = interval;
        self
    }

    /// How often a shard whose parents another worker still reads looks again. Default 10 s, 10 ms to 1 h.
    ///
    /// A parent that ends in this same process wakes its children at once.
    #[must_use]
    pub fn with_parent_shard_poll_interval(mut self, interval: Duration) -> Self {
        self.parent_shard_poll_interval = interval;
        self
    }

    /// How many shards this worker holds at most. Default unlimited, at least 1.
    #[must_use]
    pub fn with_max_leases_for_worker(mut self, count: usize) -> Self {
        self.max_leases_for_worker = count;
        self
    }

    /// How many leases one balancing pass may take from a busier worker. Default 1, at least 1.
    #[must_use]
    pub fn with_max_leases_to_steal_at_one_time(mut self, count: usize) -> Self {
        self.max_leases_to_steal_at_one_time = count;
        self
    }

    /// Kinesis records asked for in one GetRecords call. Default 10,000, 1 to 10,000 (the service's maximum).
    #[must_use]
    pub fn with_max_records(mut self, count: u32) -> Self {
        self.max_records = count;
        self
    }

    /// The pause between two reads of a shard that is caught up. Default 1 s, 200 ms to 1 h.
    ///
    /// The KCL waits 1.5 s, behind or not. Here a shard that is behind is read as fast as the service allows
    /// (5 calls and 2 MiB a second), so this is only the price of being up to date: latency against calls.
    #[must_use]
    pub fn with_idle_time_between_reads(mut self, time: Duration) -> Self {
        self.idle_time_between_reads = time;
        self
    }

    /// Whether shards are polled, or records are sent by enhanced fan-out. Default: [`RetrievalMode::Polling`].
    ///
    /// All workers of one application should use the same mode: two that read one shard at the time of a hand-over
    /// stand in each other's way least then. Nothing is lost or repeated if they differ.
    #[must_use]
    pub fn with_retrieval_mode(mut self, mode: RetrievalMode) -> Self {
        self.retrieval_mode = mode;
        self
    }

    /// The name under which the application is registered as a consumer for fan-out (KCL `consumerName`). Default: the
    /// application's name. 1 to 128 characters of `a-z A-Z 0-9 _ . -`.
    ///
    /// It is registered at the first start and never deregistered by a worker, as others may read through it; see
    /// [`deregister_stream_consumer`](crate::deregister_stream_consumer).
    #[must_use]
    pub fn with_consumer_name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.consumer_name = Some(name.into());
        self
    }

    /// A consumer that is registered already, by its ARN (KCL `consumerArn`). Nothing is registered then.
    #[must_use]
    pub fn with_consumer_arn(mut self, arn: impl Into<Arc<str>>) -> Self {
        self.consumer_arn = Some(arn.into());
        self
    }

    /// How long a subscription may bring nothing before it is given up for another. Default 15 s, 6 s to 5 min.
    ///
    /// While nothing is put, the service sends an empty event about every 5 s; three of them missing is a broken
    /// connection that nobody has noticed.
    #[must_use]
    pub fn with_subscription_silence_limit(mut self, limit: Duration) -> Self {
        self.subscription_silence_limit = limit;
        self
    }

    /// How long one call to Kinesis may take, if the client sets no limit itself. Default 30 s, 100 ms to 10 min.
    #[must_use]
    pub fn with_request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Memory for records over all shards of this process, bytes: received and not yet processed, unpacked members of
    /// aggregates and reads under way included. Default 256 MiB, 10 MiB to 1 TiB.
    ///
    /// Each shard may use an even share of one half, and what is left of the other half goes to those that are behind, so
    /// a shard that stands still keeps no other from reading. A shard that holds nothing may always read: with so many
    /// shards that half the budget divided by them is less than one answer (at most 10 MiB, mostly far less, as
    /// reads ask for what there is room for), the bound is one answer a shard.
    #[must_use]
    pub fn with_max_prefetch_bytes(mut self, bytes: usize) -> Self {
        self.max_prefetch_bytes = bytes;
        self
    }

    /// Whether `process_records` is called for reads that brought nothing. Default no.
    #[must_use]
    pub fn with_call_process_records_even_for_empty_list(mut self, call: bool) -> Self {
        self.call_process_records_even_for_empty_list = call;
        self
    }

    /// Whether an aggregate is dropped as a whole when one of its keys is outside the shard's range. Default no.
    ///
    /// The Java library always does this, silently, and relies on its producer to send such records again. Switched on
    /// here, each dropped aggregate is counted in [`ConsumerStats`](crate::ConsumerStats).
    #[must_use]
    pub fn with_drop_aggregates_out_of_range(mut self, drop: bool) -> Self {
        self.drop_aggregates_out_of_range = drop;
        self
    }

    /// The first pause after a failed step or call (KCL `taskBackoffTimeMillis`). Default 500 ms, 1 ms to 1 h.
    ///
    /// It doubles up to [`with_max_task_backoff`](Self::with_max_task_backoff).
    #[must_use]
    pub fn with_task_backoff(mut self, pause: Duration) -> Self {
        self.task_backoff = pause;
        self
    }

    /// The longest pause after failures. Default 30 s, 1 ms to 1 h, not below the first pause.
    #[must_use]
    pub fn with_max_task_backoff(mut self, pause: Duration) -> Self {
        self.max_task_backoff = pause;
        self
    }

    /// What to do with a batch that cannot be processed. Default: [`FailurePolicy::RetryForever`].
    #[must_use]
    pub fn with_failure_policy(mut self, policy: FailurePolicy) -> Self {
        self.failure_policy = policy;
        self
    }

    /// Where the events of this worker go, besides the log. Default: nowhere.
    #[must_use]
    pub fn with_events(mut self, sink: EventSink) -> Self {
        self.events = sink;
        self
    }

    /// From when on a call of the processor counts as slow (KCL `logWarningForTaskAfterMillis`). Default 30 s, 100 ms to
    /// 1 day.
    ///
    /// Off in the KCL. On here, as a call that never returns is otherwise seen only by what does not happen.
    #[must_use]
    pub fn with_slow_processor_after(mut self, time: Duration) -> Self {
        self.slow_processor_after = time;
        self
    }

    /// From when on a shard without progress counts as stuck. Default 2 min, 100 ms to 1 day.
    ///
    /// It is then told as an event, and [`Scheduler::health`](crate::Scheduler::health) names it. Nothing is stopped.
    #[must_use]
    pub fn with_stuck_after(mut self, time: Duration) -> Self {
        self.stuck_after = time;
        self
    }

    /// The number from which every random choice of this worker descends. Default: from the operating system.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The clock of this worker. Default: the runtime's. For tests in which workers' clocks run at different rates.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The application's name.
    pub fn application_name(&self) -> &str {
        &self.application_name
    }

    /// The stream's name or ARN; `several streams` if that is what there is.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// This worker's name.
    pub fn worker_id(&self) -> &WorkerId {
        &self.worker_id
    }

    /// The name under which this application subscribes.
    pub(crate) fn consumer_name(&self) -> &Arc<str> {
        self.consumer_name.as_ref().unwrap_or(&self.application_name)
    }
}
