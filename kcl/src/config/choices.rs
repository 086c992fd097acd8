use std::time::SystemTime;

/// Where reading starts in a shard for which no checkpoint exists yet.
///
/// It applies to the shards found when the application first meets the stream. Children of a split or merge are
/// always read from their first record, whatever this says: their parents were being read, so nothing may be missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum InitialPosition {
    /// The oldest record that the stream still holds. The default, as nothing can be missed.
    #[default]
    TrimHorizon,
    /// Only records put after the first iterator of the shard was opened.
    Latest,
    /// The first record that arrived at this time of the service's clock, or later.
    ///
    /// It is written down with each lease: whoever reads the shard first starts there, whatever is configured by then.
    AtTimestamp(SystemTime),
}

impl InitialPosition {
    /// The time to start at, if it is one: milliseconds since the epoch, as a lease has it.
    pub(crate) fn start_millis(self) -> Option<u64> {
        let Self::AtTimestamp(time) = self else { return None };
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Some(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

/// How the records of a shard come to the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RetrievalMode {
    /// `GetRecords`, again and again. The default: no consumer to register and pay for. All applications that read a shard
    /// share its 2 MiB and five calls a second; a record waits up to
    /// [`idle_time_between_reads`](crate::ConsumerConfig::with_idle_time_between_reads).
    ///
    /// The KCL's default is fan-out, which costs money for each shard-hour and each gigabyte.
    #[default]
    Polling,
    /// Enhanced fan-out (`SubscribeToShard`): the service sends records as they come, 2 MiB a second and shard for this
    /// application alone. The application is registered as a consumer of the stream, if it is not yet.
    FanOut,
}

/// What happens when [`RecordProcessor::process_records`](crate::RecordProcessor::process_records) keeps failing.
///
/// Until the limit is reached the same batch is handed over again after a growing pause. Nothing is skipped but by
/// [`SkipBatch`](Self::SkipBatch).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum FailurePolicy {
    /// Try the same batch for ever. The default: a shard stands still rather than lose a record.
    #[default]
    RetryForever,
    /// After this many attempts give the lease back; another worker (or this one) starts again at the checkpoint.
    StopShard {
        /// Attempts for one batch, the first one included; 1 to 1,000,000.
        after_attempts: u32,
    },
    /// After this many attempts go on behind the batch, tell it as
    /// [`ConsumerEvent::BatchSkipped`](crate::ConsumerEvent::BatchSkipped) and count its records. Whoever chooses this
    /// wants to put them somewhere else: the event names the first and the last.
    SkipBatch {
        /// Attempts for one batch, the first one included; 1 to 1,000,000.
        after_attempts: u32,
    },
    /// After this many attempts shut the whole worker down; [`Scheduler::wait`](crate::Scheduler::wait) tells why.
    StopWorker {
        /// Attempts for one batch, the first one included; 1 to 1,000,000.
        after_attempts: u32,
    },
}

impl FailurePolicy {
    /// How many attempts one batch gets, if that is limited.
    pub(crate) fn limit(self) -> Option<u32> {
        match self {
            Self::RetryForever => None,
            Self::StopShard { after_attempts }
            | Self::SkipBatch { after_attempts }
            | Self::StopWorker { after_attempts } => Some(after_attempts),
        }
    }
}
