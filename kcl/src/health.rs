//! Whether a worker is well: for a liveness probe, and for people.

use std::fmt;
use std::time::{Duration, Instant};

use crate::board::{ShardStatus, StuckWhy};
use crate::config::ConsumerConfig;
use crate::error::WorkerError;
use crate::reports::Reports;

/// How a worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum HealthState {
    /// It has not read the lease table yet.
    Starting,
    /// Every shard moves.
    Healthy,
    /// It works, but a shard is stuck or the lease table cannot be read: somebody should look.
    Degraded,
    /// It was told to shut down.
    ShuttingDown,
    /// It cannot go on, and gives its leases back.
    Failed,
}

/// How a worker is, with the reasons.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Health {
    /// In one word.
    pub state: HealthState,
    /// Why it cannot go on, if it cannot.
    pub error: Option<WorkerError>,
    /// Every shard that this worker holds, in order.
    pub shards: Vec<ShardStatus>,
    /// How long ago the lease table was last read; `None`: not yet.
    pub lease_table_read: Option<Duration>,
    /// How long ago the stream's shards were last compared with the table; `None`: not yet.
    pub shards_synced: Option<Duration>,
    /// Events that nobody had room for; a count.
    pub events_dropped: u64,
    /// From when on a shard counts as stuck.
    stuck_after: Duration,
}

impl Health {
    pub(crate) fn of(
        config: &ConsumerConfig,
        reports: &Reports,
        now: Instant,
        shutting_down: bool,
        error: Option<WorkerError>,
    ) -> Self {
        let age = |at: Instant| now.saturating_duration_since(at);
        let shards: Vec<ShardStatus> =
            reports.board.all().into_iter().map(|(key, progress)| progress.status(key, now)).collect();
        let pulse = reports.board.pulse();
        let mut health = Self {
            state: HealthState::Healthy,
            error,
            shards,
            lease_table_read: pulse.scanned_at.map(age),
            shards_synced: pulse.synced_at.map(age),
            events_dropped: reports.events.dropped_count(),
            stuck_after: config.stuck_after,
        };
        // A worker that holds every lease reads the table once in three failover times; after five, reads fail.
        let blind = health.lease_table_read.is_some_and(|age| age > config.failover_time * 5);
        health.state = if health.error.is_some() {
            HealthState::Failed
        } else if shutting_down {
            HealthState::ShuttingDown
        } else if health.lease_table_read.is_none() {
            HealthState::Starting
        } else if blind || health.stuck().next().is_some() {
            HealthState::Degraded
        } else {
            HealthState::Healthy
        };
        health
    }

    /// Whether a liveness probe should be content: the worker has not failed. One that waits for the stream or the lease
    /// table is alive; restarting it would not help.
    pub fn is_alive(&self) -> bool {
        self.state != HealthState::Failed
    }

    /// Shards without progress for longer than [`with_stuck_after`](ConsumerConfig::with_stuck_after). A shard that waits
    /// for its parents is not among them: its parents are, if they are stuck.
    pub fn stuck(&self) -> impl Iterator<Item = &ShardStatus> {
        self.shards.iter().filter(|shard| {
            shard.waits.as_ref().is_some_and(|(why, waited)| {
                *waited >= self.stuck_after && !matches!(why, StuckWhy::WaitsForParents { .. })
            })
        })
    }
}

impl fmt::Display for Health {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}, {} shards", self.state, self.shards.len())?;
        if let Some(error) = &self.error {
            write!(formatter, ": {error}")?;
        }
        self.stuck().try_for_each(|shard| write!(formatter, "\n{shard}"))
    }
}
