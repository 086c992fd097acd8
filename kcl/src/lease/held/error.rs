//! Why a held lease could not be written.

use kinesis_shard::{Checkpoint, ListShardsError};

use crate::lease::keeper::SyncError;
use crate::lease::{LeaseKey, LeaseStoreError, WorkerId};

/// Why a held lease could not be written.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum HeldLeaseError {
    /// The lease is not ours any more. Nothing was written.
    #[error("lease {key} {}: stop processing, nothing was written", lost_to(moved_to.as_ref()))]
    Lost {
        /// Which lease.
        key: LeaseKey,
        /// Who has it now, if that is known.
        moved_to: Option<WorkerId>,
    },
    /// The checkpoint lies before one that was written, or tried, since the lease was gained. Nothing was written.
    #[error("checkpoint {asked:?} of lease {key} lies before {floor:?}: a checkpoint never goes back")]
    Backwards {
        /// Which lease.
        key: LeaseKey,
        /// What was asked for.
        asked: Checkpoint,
        /// The largest checkpoint tried.
        floor: Checkpoint,
    },
    /// The lease store did not do it.
    #[error(transparent)]
    Store(#[from] LeaseStoreError),
    /// The shards could not be listed, which the end of a merged shard needs.
    #[error(transparent)]
    Shards(#[from] ListShardsError),
    /// The shards were listed in the middle of a reshard: the same call may succeed later.
    #[error("the listed shards do not fit together: a reshard is under way, try again later")]
    Resharding,
}

impl From<SyncError> for HeldLeaseError {
    fn from(error: SyncError) -> Self {
        match error {
            SyncError::Store(error) => Self::Store(error),
            SyncError::Shards(error) => Self::Shards(error),
            // A lease of a stream that was made again is being given back.
            SyncError::Inconsistent | SyncError::Replaced => Self::Resharding,
        }
    }
}

fn lost_to(moved_to: Option<&WorkerId>) -> String {
    moved_to.map_or_else(|| "is not held any more".to_owned(), |worker| format!("moved to {worker}"))
}
