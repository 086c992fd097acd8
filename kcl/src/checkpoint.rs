//! Checkpoints: only forward, only over what was handed over, only while the lease is ours.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use kinesis_shard::{Checkpoint, Clock, ExtendedSequenceNumber, ShardId};

use crate::board::Progress;
use crate::event::ConsumerEvent;
use crate::lease::held::{HeldLease, HeldLeaseError};
use crate::lease::{LeaseStoreError, WorkerId};
use crate::pauses::Pauses;
use crate::reports::Reports;

mod positions;

pub(crate) use positions::{Admitted, Asked, Positions, Refused};

/// Why a checkpoint was not written.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// Another worker has the lease, or this worker's time ran out.
    #[error("lease for {shard_id} {}: stop processing, this checkpoint was not written", moved(moved_to.as_ref()))]
    LeaseLost {
        /// The shard.
        shard_id: ShardId,
        /// Who has it now, if that is known.
        moved_to: Option<WorkerId>,
    },
    /// The position is before one that is stored already.
    #[error(
        "checkpoint of {shard_id} at {} is before {}, which is stored already: checkpoint at a later record",
        shown(*asked),
        shown(*stored)
    )]
    Behind {
        /// The shard.
        shard_id: ShardId,
        /// What was asked for.
        asked: Checkpoint,
        /// What is stored.
        stored: Checkpoint,
    },
    /// The position is after everything that was handed over.
    #[error(
        "checkpoint of {shard_id} at {} is after {}, the last record handed over: checkpoint at a record you were given",
        shown(*asked),
        shown(*delivered)
    )]
    NotDelivered {
        /// The shard.
        shard_id: ShardId,
        /// What was asked for.
        asked: Checkpoint,
        /// The greatest position allowed now.
        delivered: Checkpoint,
    },
    /// The lease store did not take it; [`may_have_been_written`](Self::may_have_been_written) tells whether it might.
    #[error("checkpoint of {shard_id} failed: {source}")]
    Store {
        /// The shard.
        shard_id: ShardId,
        /// What the store said.
        source: LeaseStoreError,
    },
}

impl CheckpointError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Store { source, .. } if source.is_retryable())
    }

    /// Whether the checkpoint may be stored although this error was returned.
    pub fn may_have_been_written(&self) -> bool {
        matches!(self, Self::Store { source, .. } if source.may_have_been_written())
    }
}

fn moved(to: Option<&WorkerId>) -> String {
    to.map_or_else(|| "was lost".to_owned(), |worker| format!("moved to {worker}"))
}

fn shown(checkpoint: Checkpoint) -> String {
    match checkpoint {
        Checkpoint::At(position) => {
            format!("{}/{}", position.sequence_number, position.sub_sequence_number)
        }
        sentinel => sentinel.sequence_text(),
    }
}

/// Writes down how far processing got. Cheap to clone; clones speak for the same tenure of the same lease.
///
/// It may be kept and used between calls, from other tasks too, until the lease is lost or given back.
///
/// **Cancel safety.** Dropping one of its futures leaves the write in doubt: it may be stored or not. Later checkpoints
/// are right in both cases.
#[derive(Clone)]
pub struct Checkpointer {
    shared: Arc<Shared>,
}

struct Shared {
    shard_id: ShardId,
    lease: HeldLease,
    notes: Notes,
    positions: Mutex<Positions>,
    /// Held over admit, write and note: two checkpoints at once must reach the store in the order of their positions.
    turn: tokio::sync::Mutex<()>,
}

/// Who is told of checkpoints.
#[derive(Debug)]
pub(crate) struct Notes {
    pub(crate) reports: Reports,
    pub(crate) progress: Arc<Progress>,
    pub(crate) clock: Clock,
    pub(crate) pauses: Arc<Pauses>,
}

impl Notes {
    fn written(&self, at: Checkpoint) {
        self.reports.stats.checkpoints_written.one();
        self.progress.checkpointed(at, self.clock.now());
    }

    fn failed(&self, error: &CheckpointError) {
        self.reports.stats.checkpoints_failed.one();
        // That the lease is gone is told once, by whoever finds it.
        if !matches!(error, CheckpointError::LeaseLost { .. }) {
            let shard = self.progress.shard().clone();
            let error = error.to_string().into();
            self.reports.events.emit(ConsumerEvent::CheckpointFailed { shard, error });
        }
    }
}

impl fmt::Debug for Checkpointer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Checkpointer")
            .field("shard_id", &self.shared.shard_id)
            .field("positions", &*self.positions())
            .finish_non_exhaustive()
    }
}

impl Checkpointer {
    pub(crate) fn new(lease: HeldLease, notes: Notes) -> Self {
        let shard_id = lease.key().shard_id();
        let positions = Mutex::new(Positions::new(lease.start().checkpoint));
        let turn = tokio::sync::Mutex::new(());
        Self { shared: Arc::new(Shared { shard_id, lease, notes, positions, turn }) }
    }

    /// The shard.
    pub fn shard_id(&self) -> &ShardId {
        &self.shared.shard_id
    }

    /// Lets this shard stand still, from after the running call on: no record of it is read or handed over until
    /// [`resume`](Self::resume). See [`Scheduler::pause`](crate::Scheduler::pause).
    pub fn pause(&self) {
        self.shared.notes.pauses.pause(self.shared.lease.key().clone());
    }

    /// Lets this shard go on. Any clone can do that, from any task.
    pub fn resume(&self) {
        self.shared.notes.pauses.resume(self.shared.lease.key());
    }

    /// Checkpoints at the last record handed over, the batch of the running call included.
    ///
    /// In `shard_ended` it stores the end of the shard. Without a new record it writes nothing.
    ///
    /// # Errors
    /// When the lease is lost, or the store fails.
    pub async fn checkpoint(&self) -> Result<(), CheckpointError> {
        self.write(Asked::Last).await
    }

    /// Checkpoints at a record, or at any position between the stored checkpoint and the last record handed over.
    ///
    /// After a restart the next record is the first one behind it, inside an aggregate too.
    ///
    /// # Errors
    /// When the position is outside those bounds, the lease is lost, or the store fails.
    pub async fn checkpoint_at(
        &self,
        position: impl Into<ExtendedSequenceNumber> + Send,
    ) -> Result<(), CheckpointError> {
        self.write(Asked::At(position.into())).await
    }

    /// Announces a checkpoint at the last record handed over: phase one of two.
    ///
    /// A later owner of the lease finds the position and `state` in its
    /// [`InitializationInput`](crate::InitializationInput) until phase two, or any other checkpoint, removes them.
    ///
    /// # Errors
    /// As [`checkpoint`](Self::checkpoint).
    pub async fn prepare_checkpoint(
        &self,
        state: Option<Bytes>,
    ) -> Result<PreparedCheckpoint, CheckpointError> {
        self.prepare(Asked::Last, state).await
    }

    /// Announces a checkpoint at a record: phase one of two. See [`prepare_checkpoint`](Self::prepare_checkpoint).
    ///
    /// # Errors
    /// As [`checkpoint_at`](Self::checkpoint_at).
    pub async fn prepare_checkpoint_at(
        &self,
        position: impl Into<ExtendedSequenceNumber> + Send,
        state: Option<Bytes>,
    ) -> Result<PreparedCheckpoint, CheckpointError> {
        self.prepare(Asked::At(position.into()), state).await
    }

    async fn write(&self, asked: Asked) -> Result<(), CheckpointError> {
        let _turn = self.shared.turn.lock().await;
        let admitted = self.positions().admit(asked).map_err(|refused| self.refused(refused))?;
        let Admitted::Write(to) = admitted else { return Ok(()) };
        self.positions().attempted(to);
        let result = self.shared.lease.checkpoint(to).await.map_err(|error| self.failed(error));
        result.inspect_err(|error| self.shared.notes.failed(error))?;
        self.shared.notes.written(to);
        self.positions().stored(to);
        Ok(())
    }

    async fn prepare(
        &self,
        asked: Asked,
        state: Option<Bytes>,
    ) -> Result<PreparedCheckpoint, CheckpointError> {
        let _turn = self.shared.turn.lock().await;
        let admitted = self.positions().admit(asked).map_err(|refused| self.refused(refused))?;
        if let Admitted::Write(to) = admitted {
            self.shared.lease.prepare_checkpoint(to, state).await.map_err(|error| self.failed(error))?;
        }
        Ok(PreparedCheckpoint { checkpointer: self.clone(), admitted })
    }

    /// A batch is about to be handed over.
    pub(crate) fn hand_over(&self, first: ExtendedSequenceNumber, last: ExtendedSequenceNumber) {
        self.positions().hand_over(first, last);
    }

    /// The call with the batch in hand returned.
    pub(crate) fn call_returned(&self, processed: bool) {
        self.positions().call_returned(processed);
    }

    /// Everything was handed over, and the children exist: the end may be stored.
    pub(crate) fn at_shard_end(&self) {
        self.positions().at_shard_end();
    }

    /// Whether the end of the shard is stored.
    pub(crate) fn is_finished(&self) -> bool {
        self.positions().is_finished()
    }

    fn positions(&self) -> MutexGuard<'_, Positions> {
        self.shared.positions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refused(&self, refused: Refused) -> CheckpointError {
        let shard_id = self.shared.shard_id.clone();
        match refused {
            Refused::Behind { asked, stored } => CheckpointError::Behind { shard_id, asked, stored },
            Refused::NotDelivered { asked, delivered } => {
                CheckpointError::NotDelivered { shard_id, asked, delivered }
            }
        }
    }

    fn failed(&self, error: HeldLeaseError) -> CheckpointError {
        let shard_id = self.shared.shard_id.clone();
        match error {
            HeldLeaseError::Lost { moved_to, .. } => CheckpointError::LeaseLost { shard_id, moved_to },
            HeldLeaseError::Backwards { asked, floor, .. } => {
                CheckpointError::Behind { shard_id, asked, stored: floor }
            }
            HeldLeaseError::Store(source) => CheckpointError::Store { shard_id, source },
            // Only the end of a shard looks at the stream, and that is no checkpoint.
            error @ (HeldLeaseError::Shards(_) | HeldLeaseError::Resharding) => {
                panic!("a checkpoint looked at the stream: {error}")
            }
        }
    }
}

/// A checkpoint that was announced; [`checkpoint`](Self::checkpoint) makes it.
#[derive(Debug, Clone)]
#[must_use = "phase one alone moves nothing: call checkpoint() to finish it"]
pub struct PreparedCheckpoint {
    checkpointer: Checkpointer,
    admitted: Admitted,
}

impl PreparedCheckpoint {
    /// Phase two: the announced position becomes the checkpoint.
    ///
    /// # Errors
    /// As [`Checkpointer::checkpoint_at`]; a later checkpoint made in between wins, and this one is refused.
    pub async fn checkpoint(self) -> Result<(), CheckpointError> {
        match self.admitted {
            Admitted::Covered => Ok(()),
            Admitted::Write(Checkpoint::At(position)) => self.checkpointer.write(Asked::At(position)).await,
            Admitted::Write(_) => self.checkpointer.write(Asked::Last).await,
        }
    }
}
