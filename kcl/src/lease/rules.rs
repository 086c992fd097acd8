//! What each operation of the lease protocol demands of a row and makes of it.
//!
//! Pure: a row and an operation in, the row after it out. Every store that evaluates conditions itself uses these, and
//! so do the models, so that the protocol is written once. The conditions are those of the Java library's table, with
//! two that are stricter: a release also checks the counter, and a delete is conditional.

use super::{CheckpointUpdate, Lease, LeaseCounter, MetaUpdate, NewLease, Owners, Stamp, WorkerId};

/// One operation on one row. See [`LeaseStore`](super::LeaseStore) for what each does.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Hash))]
pub enum Operation {
    /// Create the row.
    Create(NewLease),
    /// Raise the counter.
    Renew {
        /// The counter last known.
        expected: LeaseCounter,
        /// Renew although a hand-over was started: its mark is known.
        during_handoff: bool,
    },
    /// Become the owner.
    Take {
        /// The counter last known.
        expected: LeaseCounter,
        /// The new owner.
        worker: WorkerId,
    },
    /// Make somebody the owner.
    Assign {
        /// The owner fields last known.
        expected: Owners,
        /// The new owner.
        worker: WorkerId,
    },
    /// Ask the owner to hand over.
    StartHandoff {
        /// The owner last known.
        from: WorkerId,
        /// Who is to have it.
        to: WorkerId,
    },
    /// End a hand-over that will not take place.
    EndHandoff {
        /// The owner fields last known, with a hand-over.
        expected: Owners,
        /// Who owns the lease, as before.
        owner: WorkerId,
    },
    /// Give the lease up.
    Release {
        /// The owner fields last known.
        expected: Owners,
        /// The counter last known.
        counter: LeaseCounter,
    },
    /// Write checkpoint and pending checkpoint.
    Checkpoint {
        /// The counter last known.
        expected: LeaseCounter,
        /// What to write.
        update: CheckpointUpdate,
    },
    /// Note what is known about the shard.
    UpdateMeta(MetaUpdate),
    /// Delete the row.
    Delete {
        /// The counter last known.
        expected: LeaseCounter,
    },
}

impl Operation {
    /// A word for logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::Renew { .. } => "renew",
            Self::Take { .. } => "take",
            Self::Assign { .. } => "assign",
            Self::StartHandoff { .. } => "start handoff",
            Self::EndHandoff { .. } => "end handoff",
            Self::Release { .. } => "release",
            Self::Checkpoint { .. } => "checkpoint",
            Self::UpdateMeta(_) => "update meta",
            Self::Delete { .. } => "delete",
        }
    }

    /// The counter that the row must have, for operations that demand one.
    pub fn expected_counter(&self) -> Option<LeaseCounter> {
        match self {
            Self::Renew { expected, .. }
            | Self::Take { expected, .. }
            | Self::Checkpoint { expected, .. }
            | Self::Delete { expected }
            | Self::Release { counter: expected, .. } => Some(*expected),
            Self::Create(_)
            | Self::Assign { .. }
            | Self::StartHandoff { .. }
            | Self::EndHandoff { .. }
            | Self::UpdateMeta(_) => None,
        }
    }
}

/// What an operation makes of a row.
#[expect(clippy::large_enum_variant, reason = "short-lived, and nearly always the large variant")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The condition holds, and this is the row afterwards.
    Becomes(Lease),
    /// The condition holds, and the row is gone afterwards.
    Deleted,
    /// The condition does not hold.
    Refused,
}

/// Judges `operation` on `row`; `None`: there is no such row.
pub fn apply(row: Option<&Lease>, operation: &Operation) -> Verdict {
    let Some(row) = row else {
        return match operation {
            Operation::Create(new) => Verdict::Becomes(Lease::created(new.clone())),
            _ => Verdict::Refused,
        };
    };
    let unconditional = match operation {
        Operation::Take { .. } => kinesis_shard::planted("a take expects no counter"),
        Operation::Renew { .. } => kinesis_shard::planted("a renewal expects no counter"),
        Operation::Checkpoint { .. } => kinesis_shard::planted("a checkpoint expects no counter"),
        _ => false,
    };
    if !unconditional && operation.expected_counter().is_some_and(|expected| expected != row.counter) {
        return Verdict::Refused;
    }
    let after = match operation {
        Operation::Create(_) => None,
        Operation::Renew { during_handoff, .. } => {
            (*during_handoff || row.checkpoint_owner.is_none()).then(|| raised(row))
        }
        Operation::Take { worker, .. } => Some(owned_by(row, worker)),
        Operation::Assign { expected, worker } => (*expected == row.owners()).then(|| owned_by(row, worker)),
        Operation::StartHandoff { from, to } => handed(row, from, to),
        Operation::EndHandoff { expected, owner } => {
            (*expected == row.owners() && row.checkpoint_owner.is_some()).then(|| unmarked(row, owner))
        }
        Operation::Release { expected, .. } => (*expected == row.owners()).then(|| released(row)),
        Operation::Checkpoint { update, .. } => Some(checkpointed(row, update)),
        Operation::UpdateMeta(update) => Some(noted(row, update)),
        Operation::Delete { .. } => return Verdict::Deleted,
    };
    after.map_or(Verdict::Refused, Verdict::Becomes)
}

fn raised(row: &Lease) -> Lease {
    Lease { counter: row.counter.next(), ..row.clone() }
}

/// As the Java library counts: a switch is an owner that changed, or an old owner that gets a pending hand-over back.
fn owned_by(row: &Lease, worker: &WorkerId) -> Lease {
    let changed = row.owner.as_ref().is_some_and(|owner| owner != worker);
    let back = row.checkpoint_owner.as_ref() == Some(worker);
    Lease {
        owner: Some(worker.clone()),
        checkpoint_owner: None,
        owner_switches_since_checkpoint: row.owner_switches_since_checkpoint + u64::from(changed || back),
        ..raised(row)
    }
}

fn handed(row: &Lease, from: &WorkerId, to: &WorkerId) -> Option<Lease> {
    let free = row.owner.as_ref() == Some(from) && row.checkpoint_owner.is_none() && from != to;
    free.then(|| Lease { owner: Some(to.clone()), checkpoint_owner: Some(from.clone()), ..row.clone() })
}

fn unmarked(row: &Lease, owner: &WorkerId) -> Lease {
    Lease { owner: Some(owner.clone()), checkpoint_owner: None, ..row.clone() }
}

fn released(row: &Lease) -> Lease {
    // With a hand-over under way `owner` is the successor: dropping only the old owner's mark completes it.
    let owner = row.checkpoint_owner.as_ref().and(row.owner.clone());
    Lease { owner, checkpoint_owner: None, ..raised(row) }
}

fn checkpointed(row: &Lease, update: &CheckpointUpdate) -> Lease {
    Lease {
        checkpoint: update.checkpoint,
        pending_checkpoint: update.pending.clone(),
        owner_switches_since_checkpoint: 0,
        ..raised(row)
    }
}

fn noted(row: &Lease, update: &MetaUpdate) -> Lease {
    let mut after = row.clone();
    if let Some(children) = &update.children {
        after.children.clone_from(children);
        after.children.sort();
    }
    after.hash_key_range = update.hash_key_range.or(row.hash_key_range);
    after.latest_pinned_at = row.latest_pinned_at.or(update.latest_pinned_at);
    after.stream = row.stream.as_ref().or(update.stream.as_ref()).cloned();
    after.nudges += u64::from(update.nudge);
    after
}

/// The row with the stamp of the write that made it, if there is one.
#[must_use]
pub fn stamped(after: Lease, stamp: Option<&Stamp>) -> Lease {
    Lease { stamp: stamp.copied().or(after.stamp), ..after }
}

#[cfg(test)]
mod tests {
    use kinesis_shard::Checkpoint;
    use proptest::prelude::*;

    use super::*;
    use crate::lease::test_support::{at, key, row, worker};
    use crate::lease::{NewLease, PendingCheckpoint};

    fn becomes(row: &Lease, operation: &Operation) -> Lease {
        match apply(Some(row), operation) {
            Verdict::Becomes(after) => after,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_release_frees_the_row_or_completes_the_handover() {
        let mut before = row(1, "ann", 4);
        let release = |row: &Lease| Operation::Release { expected: row.owners(), counter: row.counter };
        assert_eq!(becomes(&before, &release(&before)).owner, None);
        before.owner = Some(worker("bob"));
        before.checkpoint_owner = Some(worker("ann"));
        let after = becomes(&before, &release(&before));
        assert_eq!((after.owner, after.checkpoint_owner), (Some(worker("bob")), None));
    }

    #[test]
    fn a_handover_that_is_ended_leaves_the_row_as_it_was_before_it() {
        let before = row(1, "ann", 4);
        let start = Operation::StartHandoff { from: worker("ann"), to: worker("bob") };
        let marked = becomes(&before, &start);
        let end = Operation::EndHandoff { expected: marked.owners(), owner: worker("ann") };
        assert_eq!(becomes(&marked, &end), before);
        assert_eq!(apply(Some(&before), &end), Verdict::Refused);
        let none = Operation::EndHandoff { expected: before.owners(), owner: worker("bob") };
        assert_eq!(apply(Some(&before), &none), Verdict::Refused, "there is none to be ended");
    }

    #[test]
    fn changes_of_the_owner_are_counted_since_the_last_checkpoint() {
        let taken = |row: &Lease, by: &str| {
            becomes(row, &Operation::Take { expected: row.counter, worker: worker(by) })
        };
        let free = Lease { owner: None, ..row(1, "ann", 4) };
        let ann = taken(&free, "ann");
        assert_eq!(ann.owner_switches_since_checkpoint, 0, "nobody had it");
        assert_eq!(taken(&ann, "ann").owner_switches_since_checkpoint, 0, "the same has it");
        let bob = taken(&ann, "bob");
        assert_eq!(bob.owner_switches_since_checkpoint, 1);
        let marked = becomes(&bob, &Operation::StartHandoff { from: worker("bob"), to: worker("ann") });
        assert_eq!(
            taken(&marked, "bob").owner_switches_since_checkpoint,
            2,
            "it takes back what it was to hand over"
        );
        assert_eq!(taken(&marked, "ann").owner_switches_since_checkpoint, 1, "who was to have it has it");
        let update = CheckpointUpdate { checkpoint: at(7), pending: None };
        let after = becomes(&bob, &Operation::Checkpoint { expected: bob.counter, update });
        assert_eq!(after.owner_switches_since_checkpoint, 0);
    }

    #[test]
    fn a_handover_from_a_worker_to_itself_is_refused() {
        let same = Operation::StartHandoff { from: worker("ann"), to: worker("ann") };
        assert_eq!(apply(Some(&row(1, "ann", 4)), &same), Verdict::Refused);
    }

    fn any_worker() -> impl Strategy<Value = WorkerId> + Clone {
        prop_oneof![Just(worker("ann")), Just(worker("bob")), Just(worker("cyd"))]
    }

    fn any_operation() -> impl Strategy<Value = Operation> {
        let counter = (0_u64..6).prop_map(LeaseCounter::new);
        let owners = (proptest::option::of(any_worker()), proptest::option::of(any_worker()))
            .prop_map(|(owner, checkpoint_owner)| Owners { owner, checkpoint_owner });
        let update = (0_u64..5, any::<bool>()).prop_map(|(position, pending)| CheckpointUpdate {
            checkpoint: at(position),
            pending: pending.then(|| PendingCheckpoint { checkpoint: Checkpoint::ShardEnd, state: None }),
        });
        prop_oneof![
            Just(Operation::Create(NewLease::child(key(1), [], None))),
            (counter.clone(), any::<bool>())
                .prop_map(|(expected, during_handoff)| Operation::Renew { expected, during_handoff }),
            (counter.clone(), any_worker())
                .prop_map(|(expected, worker)| Operation::Take { expected, worker }),
            (owners.clone(), any_worker())
                .prop_map(|(expected, worker)| Operation::Assign { expected, worker }),
            (any_worker(), any_worker()).prop_map(|(from, to)| Operation::StartHandoff { from, to }),
            (owners.clone(), any_worker())
                .prop_map(|(expected, owner)| Operation::EndHandoff { expected, owner }),
            (owners, counter.clone())
                .prop_map(|(expected, counter)| Operation::Release { expected, counter }),
            (counter.clone(), update)
                .prop_map(|(expected, update)| Operation::Checkpoint { expected, update }),
            Just(Operation::UpdateMeta(MetaUpdate { latest_pinned_at: Some(3), ..MetaUpdate::default() })),
            counter.prop_map(|expected| Operation::Delete { expected }),
        ]
    }

    proptest! {
        /// L1 and L2: what is written was expected, and the counter only grows, by one for each write of an owner.
        #[test]
        fn no_sequence_of_operations_breaks_the_counter(operations in prop::collection::vec(any_operation(), 1..40)) {
            let mut row: Option<Lease> = None;
            for operation in operations {
                let before = row.clone();
                match apply(row.as_ref(), &operation) {
                    Verdict::Refused => continue,
                    Verdict::Deleted => row = None,
                    Verdict::Becomes(after) => row = Some(after),
                }
                let (Some(before), Some(after)) = (before, &row) else { continue };
                if let Some(expected) = operation.expected_counter() {
                    prop_assert_eq!(expected, before.counter);
                }
                let keeps = matches!(
                    operation,
                    Operation::StartHandoff { .. } | Operation::EndHandoff { .. } | Operation::UpdateMeta(_)
                );
                let next = if keeps { before.counter } else { before.counter.next() };
                prop_assert_eq!(after.counter, next);
                prop_assert!(after.checkpoint_owner.is_none() || after.owner.is_some());
            }
        }
    }
}
