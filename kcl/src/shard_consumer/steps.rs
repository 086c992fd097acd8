//! What the life of a shard asks of whoever drives it, and what it is told.

use std::time::Instant;

/// The one thing to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Ask the store whether every parent has ended; then `parents_checked`.
    CheckParents,
    /// Call `initialize`; then `initialized`.
    Initialize,
    /// Hand over the next batch with `batch_taken`, as soon as there is one.
    TakeBatch,
    /// Call `process_records` with the batch in hand; then `processed`.
    Process,
    /// Create the leases of the children; then `children_created`.
    CreateChildren,
    /// Call `shard_ended`; then `shard_ended`.
    ShardEnded,
    /// Call `shutdown_requested`; then `shutdown_notified`.
    ShutdownRequested,
    /// Call `lease_lost`; then `lease_lost_told`.
    LeaseLost,
    /// Give the lease back in the store; then `released`.
    Release,
    /// Nothing before this instant or an event.
    WaitUntil(Instant),
    /// Nothing before an event.
    Idle,
    /// It is over.
    Complete(End),
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The shard was read to its end and `SHARD_END` is stored.
    Finished,
    /// The lease went to someone else, or ran out.
    LeaseLost,
    /// The lease was given back: the worker shuts down, or another one asked for it.
    Released,
    /// The lease was given back because the processor kept failing.
    GaveUp,
}

/// What became of a call to the processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// It returned `Ok`.
    Done,
    /// It returned an error, or panicked.
    Failed,
    /// It was not made, as the lease was not believed in at that instant.
    NotBegun,
}

/// What is to become of the batch after a call of `process_records`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Processed {
    /// It is processed.
    Done,
    /// It is given up, and counts as processed: the user's policy says so.
    Skip,
    /// It will be handed over again, in this tenure or in another.
    Keep,
}
