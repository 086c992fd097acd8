//! Leases: who reads which shard, how far it got, and the store in which workers agree on it.
//!
//! One row per shard. Its owner raises the counter with every write; everybody else watches the counter, and takes a
//! row whose counter stood still for the failover time. No clock of one machine is ever compared with another's.
//!
//! ```text
//! ListShards -> sync -> create, delete --.
//!                                        v
//!               keeper <- list ---- LeaseStore  (DynamoDB, SQLite, memory, or any database through CompareAndSet)
//!                 |                      ^
//!  assign: what to take                  |
//!                 v                      |
//!             HeldLease -- renew, checkpoint, release (one at a time per lease, judged by tenure)
//! ```
//!
//! A store is used through [`LeaseStore`]: one call for each operation of the protocol, each with its own condition.
//! What an operation demands of the row and makes of it is written once, in [`rules`]. A database that can replace a
//! value only if it is still the one that was read needs the few functions of [`CompareAndSet`] and nothing else.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use kinesis_shard::{Checkpoint, HashKeyRange, ShardId};

// The store in which workers agree: its contract.
mod store;

// What each operation demands of a row and makes of it: pure.
pub mod rules;

// Whether the table is of this stream: pure.
pub(crate) mod identity;

// Which leases to create for the listed shards, and which to delete: pure.
pub(crate) mod sync;

// Which leases to take or to ask for: pure.
pub(crate) mod assign;

// When a row was last written, by its writer's clock: pure.
mod stamp;

// Whom to watch, and whether anything is going on: pure.
pub(crate) mod outlook;

// What one worker believes about one lease that it holds: pure.
pub(crate) mod tenure;

// A lease in the hands of a worker: its writes, one at a time.
pub(crate) mod held;

// The one that scans, takes, renews and syncs at the intervals.
pub(crate) mod keeper;

// All operations for any database that can replace a value conditionally.
mod compare_and_set;

// The store for tests and for programs of one process.
mod memory;

// The store in one file.
#[cfg(feature = "sqlite")]
mod sqlite;

// The store in DynamoDB, in the table of the Java library.
#[cfg(feature = "dynamodb")]
mod dynamodb;

// The suite that every store passes.
#[cfg(feature = "conformance")]
pub mod conformance;

// Calls to the store, each given up after its time.
pub(crate) mod calls;

// What can go wrong with a store.
mod error;

// What the tests of this side share.
#[cfg(test)]
pub(crate) mod test_support;

// Two workers and a bad network: random interleavings of the pure rules.
#[cfg(test)]
mod model_tests;

// Small worlds, searched to the last state.
#[cfg(test)]
mod models;

pub use compare_and_set::{CompareAndSet, CompareAndSetStore};
#[cfg(feature = "dynamodb")]
#[doc(hidden)]
pub use dynamodb::fuzzing;
#[cfg(feature = "dynamodb")]
pub use dynamodb::{Billing, DynamoDbLeaseStore};
pub use error::LeaseStoreError;
pub use memory::{Fault, MemoryLeaseStore, StoreCall};
pub use rules::Operation;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteLeaseStore;
pub use stamp::Stamp;
pub use store::{LeaseStore, Write};

/// The name of a lease: the shard's id, or in the multi-stream form `<account>:<stream>:<epoch>:<shard id>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseKey(Arc<str>);

impl LeaseKey {
    /// A key from its text.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text, as it stands in the table.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The shard: what stands after the last colon, because stream names hold none and the other parts do.
    pub fn shard_id(&self) -> ShardId {
        ShardId::new(self.0.rsplit(':').next().unwrap_or(&self.0))
    }

    /// In the multi-stream form what stands before the shard, `<account>:<stream>:<epoch>`; none in the other.
    pub fn stream_identifier(&self) -> Option<&str> {
        self.0.rsplit_once(':').map(|(stream, _)| stream)
    }

    /// The same, empty where there is none.
    pub(crate) fn stream_part(&self) -> &str {
        self.stream_identifier().unwrap_or_default()
    }

    /// The key of a shard: in the multi-stream form if the stream part is not empty.
    pub(crate) fn of_stream(part: &str, shard: &ShardId) -> Self {
        if part.is_empty() { Self::from(shard) } else { Self::new(format!("{part}:{shard}")) }
    }

    /// The key of another shard of the same stream.
    #[must_use]
    pub fn sibling(&self, shard: &ShardId) -> Self {
        match self.0.rsplit_once(':') {
            Some((stream, _)) => Self::new(format!("{stream}:{shard}")),
            None => Self::from(shard),
        }
    }
}

impl fmt::Display for LeaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&ShardId> for LeaseKey {
    fn from(shard: &ShardId) -> Self {
        Self::new(shard.as_str())
    }
}

/// The name of a worker; it must be unique among the workers that run at the same time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(Arc<str>);

impl WorkerId {
    /// A worker's name.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text, as it stands in the table.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A lease's counter: heart-beat and fence in one. Every write of an owner raises it by exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LeaseCounter(u64);

impl LeaseCounter {
    /// What a row is created with.
    pub const ZERO: Self = Self(0);

    /// A counter as read from a table.
    pub fn new(value: u64) -> Self {
        Self(value)
    }

    /// The number.
    pub fn get(self) -> u64 {
        self.0
    }

    /// The counter after one more write.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for LeaseCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A checkpoint announced but not made yet, and what the application wants to find with it.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Hash))]
pub struct PendingCheckpoint {
    /// Where the checkpoint will be.
    pub checkpoint: Checkpoint,
    /// The application's own bytes, if it gave any.
    pub state: Option<Bytes>,
}

impl fmt::Debug for PendingCheckpoint {
    // The state is the application's: its size may be shown, its bytes never.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingCheckpoint")
            .field("checkpoint", &self.checkpoint)
            .field("state_bytes", &self.state.as_ref().map(Bytes::len))
            .finish()
    }
}

/// The two owner fields of a row, as somebody read them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(test, derive(Hash))]
pub struct Owners {
    /// Who owns the lease, or will own it once a hand-over is done.
    pub owner: Option<WorkerId>,
    /// During a hand-over: who still may renew and checkpoint.
    pub checkpoint_owner: Option<WorkerId>,
}

impl Owners {
    /// As [`Lease::actual_owner`].
    pub(crate) fn actual(&self) -> Option<&WorkerId> {
        self.checkpoint_owner.as_ref().or(self.owner.as_ref())
    }
}

/// One row of the lease table.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(test, derive(Hash))]
pub struct Lease {
    /// Its name.
    pub key: LeaseKey,
    /// Who owns it, or will own it once a hand-over is done; `None`: free to take.
    pub owner: Option<WorkerId>,
    /// Raised by every write of an owner.
    pub counter: LeaseCounter,
    /// How far processing got.
    pub checkpoint: Checkpoint,
    /// The first phase of a checkpoint in two phases.
    pub pending_checkpoint: Option<PendingCheckpoint>,
    /// How often the owner changed since the last checkpoint; a count.
    pub owner_switches_since_checkpoint: u64,
    /// The shards that must end before this one starts; sorted.
    pub parents: Vec<ShardId>,
    /// The shards that follow this one, known from its end on; sorted.
    pub children: Vec<ShardId>,
    /// Which hash keys the shard takes, if known.
    pub hash_key_range: Option<HashKeyRange>,
    /// During a hand-over: the old owner, who still may renew and checkpoint.
    pub checkpoint_owner: Option<WorkerId>,
    /// What the checkpoint `LATEST` or `AT_TIMESTAMP` means for this lease, milliseconds since the epoch of the service's
    /// clock: when its first iterator was opened, or the time that was configured when the lease was made.
    pub latest_pinned_at: Option<u64>,
    /// Which stream it is of: ARN and creation, `<arn>@<seconds since the epoch>`, if a worker of this library wrote it down.
    pub stream: Option<Arc<str>>,
    /// When the row was last written by an owner that leaves stamps; see [`written`](Self::written).
    pub stamp: Option<Stamp>,
    /// How often somebody asked whoever looks at this row to read the whole table; a count.
    pub nudges: u64,
}

impl Lease {
    /// The row that creation makes: counter 0, no owner.
    pub fn created(new: NewLease) -> Self {
        Self {
            key: new.key,
            owner: None,
            counter: LeaseCounter::ZERO,
            checkpoint: new.checkpoint,
            pending_checkpoint: None,
            owner_switches_since_checkpoint: 0,
            parents: new.parents,
            children: Vec::new(),
            hash_key_range: new.hash_key_range,
            checkpoint_owner: None,
            latest_pinned_at: new.pinned_at,
            stream: new.stream,
            stamp: None,
            nudges: 0,
        }
    }

    /// Both owner fields.
    pub fn owners(&self) -> Owners {
        Owners { owner: self.owner.clone(), checkpoint_owner: self.checkpoint_owner.clone() }
    }

    /// Who may renew and checkpoint now: the old owner while a hand-over lasts, else the owner.
    pub fn actual_owner(&self) -> Option<&WorkerId> {
        self.checkpoint_owner.as_ref().or(self.owner.as_ref())
    }

    /// When the row got its counter, on the clock of the process that wrote it; `None` if that process leaves no stamps.
    pub fn written(&self) -> Option<Stamp> {
        self.stamp.filter(|stamp| stamp.counter == self.counter)
    }

    /// Whether the shard was processed to its end.
    pub fn is_finished(&self) -> bool {
        self.checkpoint == Checkpoint::ShardEnd
    }
}

/// What a lease is created from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Hash))]
pub struct NewLease {
    /// Its name.
    pub key: LeaseKey,
    /// Where processing starts.
    pub checkpoint: Checkpoint,
    /// The shards that must end first; sorted.
    pub parents: Vec<ShardId>,
    /// Which hash keys the shard takes, if known.
    pub hash_key_range: Option<HashKeyRange>,
    /// Which stream it is of; workers fill it in.
    pub stream: Option<Arc<str>>,
    /// What `AT_TIMESTAMP` means for it, milliseconds since the epoch: [`Lease::latest_pinned_at`]. Workers fill it in.
    pub pinned_at: Option<u64>,
}

impl NewLease {
    /// The lease of a shard that came out of a split or a merge: from its first record, as its parents were read.
    pub fn child(
        key: LeaseKey,
        parents: impl IntoIterator<Item = ShardId>,
        range: Option<HashKeyRange>,
    ) -> Self {
        let mut parents: Vec<_> = parents.into_iter().collect();
        parents.sort();
        parents.dedup();
        let late = kinesis_shard::planted("a child is read from its newest record");
        let checkpoint = if late { Checkpoint::Latest } else { Checkpoint::TrimHorizon };
        Self { key, checkpoint, parents, hash_key_range: range, stream: None, pinned_at: None }
    }
}

/// What a checkpoint writes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Hash))]
pub struct CheckpointUpdate {
    /// The checkpoint from now on.
    pub checkpoint: Checkpoint,
    /// The pending checkpoint from now on; `None` removes it.
    pub pending: Option<PendingCheckpoint>,
}

/// What may be noted on a row without owning it. What is `None` stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(test, derive(Hash))]
pub struct MetaUpdate {
    /// The shards that follow this one.
    pub children: Option<Vec<ShardId>>,
    /// Which hash keys the shard takes.
    pub hash_key_range: Option<HashKeyRange>,
    /// What `LATEST` or `AT_TIMESTAMP` means, in milliseconds since the epoch. The first note stays: a later one would skip
    /// records.
    pub latest_pinned_at: Option<u64>,
    /// Which stream the lease is of. The first note stays: a table belongs to one stream.
    pub stream: Option<Arc<str>>,
    /// Counts one nudge more: whoever looks at this row is to read the whole table.
    pub nudge: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shard_stands_after_the_last_colon_of_a_key() {
        let cases = [
            ("shardId-000000000012", "shardId-000000000012"),
            ("123456789012:orders:1700000000:shardId-000000000003", "shardId-000000000003"),
        ];
        for (key, shard) in cases {
            assert_eq!(LeaseKey::new(key).shard_id().as_str(), shard);
        }
    }

    #[test]
    fn a_sibling_keeps_the_stream_part_of_the_key() {
        let shard = ShardId::new("shardId-000000000004");
        let multi = LeaseKey::new("123456789012:orders:1700000000:shardId-000000000003");
        assert_eq!(multi.sibling(&shard).as_str(), "123456789012:orders:1700000000:shardId-000000000004");
        assert_eq!(LeaseKey::new("shardId-000000000003").sibling(&shard).as_str(), "shardId-000000000004");
        for key in [multi, LeaseKey::new("shardId-000000000003")] {
            assert_eq!(LeaseKey::of_stream(key.stream_part(), &key.shard_id()), key);
        }
    }

    #[test]
    fn the_applications_bytes_are_not_shown() {
        let pending =
            PendingCheckpoint { checkpoint: Checkpoint::Latest, state: Some(Bytes::from_static(b"secret")) };
        let shown = format!("{pending:?}");
        assert!(!shown.contains("secret") && shown.contains('6'), "{shown}");
    }

    #[test]
    fn during_a_handover_the_old_owner_is_the_actual_one() {
        let mut lease = Lease::created(NewLease::child(LeaseKey::new("s"), [], None));
        assert_eq!(lease.actual_owner(), None);
        lease.owner = Some(WorkerId::new("new"));
        assert_eq!(lease.actual_owner().map(WorkerId::as_str), Some("new"));
        lease.checkpoint_owner = Some(WorkerId::new("old"));
        assert_eq!(lease.actual_owner().map(WorkerId::as_str), Some("old"));
    }
}
