//! Where each shard of this worker stands: written by the shards' tasks, read by `health()` and the watchdog.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kinesis_shard::{Checkpoint, ShardId};

use crate::event::{ProcessorCall, StreamShard};
use crate::lease::{LeaseKey, WorkerId};

// What one shard writes down.
mod progress;

pub(crate) use progress::{Progress, ReadState};

/// What the task of a shard is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ShardState {
    /// The shards that it follows are not processed to their end yet.
    WaitingForParents,
    /// `initialize` is called.
    Initializing,
    /// It reads, and has no records in hand.
    Reading,
    /// `process_records` is called, or waits for its next attempt.
    Processing,
    /// The end was reached: the leases of the children are being created.
    CreatingChildren,
    /// `shard_ended` is called, or waits for its next attempt.
    EndingShard,
    /// `shutdown_requested` is called.
    ShuttingDown,
    /// The lease is being given back, or its loss is told.
    Leaving,
}

impl fmt::Display for ShardState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::WaitingForParents => "waiting for its parents",
            Self::Initializing => "initializing",
            Self::Reading => "reading",
            Self::Processing => "processing",
            Self::CreatingChildren => "creating the leases of its children",
            Self::EndingShard => "ending",
            Self::ShuttingDown => "shutting down",
            Self::Leaving => "leaving",
        })
    }
}

/// What a shard waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StuckWhy {
    /// A call of the processor has not returned.
    InProcessor {
        /// Which call.
        call: ProcessorCall,
    },
    /// A call of the processor keeps failing.
    ProcessorFails {
        /// Attempts so far.
        attempts: u32,
        /// The last error or panic, as text.
        error: Arc<str>,
    },
    /// These shards come first, and are not at their end.
    WaitsForParents {
        /// All parents, ended or not.
        parents: Vec<ShardId>,
    },
    /// The shard's read limits are used up, by us or by another application.
    ReadThrottled,
    /// Reads fail.
    ReadFails {
        /// The last error.
        error: Arc<str>,
    },
    /// A read was sent and no answer came.
    ReadUnanswered,
    /// The lease store, or the list of shards, does not answer what the next step needs.
    StepFails {
        /// The last error.
        error: Arc<str>,
    },
    /// The lease is not believed in at the moment: its renewals do not get through.
    LeaseInDoubt,
}

impl fmt::Display for StuckWhy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InProcessor { call } => write!(formatter, "{call} has not returned"),
            Self::ProcessorFails { attempts, error } => {
                write!(formatter, "its processor failed {attempts} times, at last: {error}")
            }
            Self::WaitsForParents { parents } => {
                formatter.write_str("it waits for the end of")?;
                parents.iter().try_for_each(|parent| write!(formatter, " {parent}"))
            }
            Self::ReadThrottled => formatter.write_str("the shard's read limits are used up"),
            Self::ReadFails { error } => write!(formatter, "reading fails: {error}"),
            Self::ReadUnanswered => formatter.write_str("a read was sent and no answer came"),
            Self::StepFails { error } => write!(formatter, "the next step fails: {error}"),
            Self::LeaseInDoubt => formatter.write_str("renewals of its lease do not get through"),
        }
    }
}

/// Where one shard of this worker stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardStatus {
    /// The shard.
    pub shard: StreamShard,
    /// The name of its lease, by which it can be paused in an application of several streams too.
    pub lease_key: LeaseKey,
    /// Who has its lease: this worker.
    pub owner: WorkerId,
    /// What its task is doing.
    pub state: ShardState,
    /// For how long it has been doing that.
    pub state_for: Duration,
    /// The last record whose call returned `Ok`; before the first one, the checkpoint it started at.
    pub position: Checkpoint,
    /// The checkpoint as last stored.
    pub checkpoint: Checkpoint,
    /// How far behind the tip of the shard the last answer was, by the service's word; milliseconds.
    pub millis_behind_latest: Option<u64>,
    /// How long ago the service last answered a read.
    pub last_poll: Option<Duration>,
    /// How long ago a batch was last processed.
    pub last_delivery: Option<Duration>,
    /// How long ago a checkpoint was last stored.
    pub last_checkpoint: Option<Duration>,
    /// Attempts at the step in hand that failed; a count.
    pub failed_attempts: u32,
    /// What it waits for and for how long, if it has not moved since the last look of the watchdog or longer than that.
    pub waits: Option<(StuckWhy, Duration)>,
}

impl fmt::Display for ShardStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {} for {:?}", self.shard, self.state, self.state_for)?;
        if let Some(millis) = self.millis_behind_latest {
            write!(formatter, ", {millis} ms behind")?;
        }
        if let Some((why, waited)) = &self.waits {
            write!(formatter, ", waits for {waited:?}: {why}")?;
        }
        Ok(())
    }
}

/// All shards of a worker, and the signs of life of its keeper.
#[derive(Debug, Default)]
pub(crate) struct Board {
    shards: Mutex<BTreeMap<LeaseKey, Arc<Progress>>>,
    pulse: Mutex<Pulse>,
}

/// When the lease table and the list of shards were last read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pulse {
    pub(crate) scanned_at: Option<Instant>,
    pub(crate) synced_at: Option<Instant>,
}

impl Board {
    fn shards(&self) -> MutexGuard<'_, BTreeMap<LeaseKey, Arc<Progress>>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A shard is worked on from now on.
    pub(crate) fn enter(&self, key: LeaseKey, progress: Arc<Progress>) {
        self.shards().insert(key, progress);
    }

    /// A shard is not worked on any more.
    pub(crate) fn leave(&self, key: &LeaseKey) {
        self.shards().remove(key);
    }

    /// Every shard that is worked on, in the order of their keys.
    pub(crate) fn all(&self) -> Vec<(LeaseKey, Arc<Progress>)> {
        self.shards().iter().map(|(key, progress)| (key.clone(), Arc::clone(progress))).collect()
    }

    fn pulse_mut(&self) -> MutexGuard<'_, Pulse> {
        self.pulse.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn pulse(&self) -> Pulse {
        *self.pulse_mut()
    }

    /// The lease table was read.
    pub(crate) fn scanned(&self, now: Instant) {
        self.pulse_mut().scanned_at = Some(now);
    }

    /// The stream's shards were compared with the table.
    pub(crate) fn synced(&self, now: Instant) {
        self.pulse_mut().synced_at = Some(now);
    }
}
