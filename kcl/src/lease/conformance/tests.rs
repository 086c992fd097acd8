//! The suite must fail a store that breaks a rule: each planted bug is caught by a check that is named for it.

use std::collections::BTreeSet;

use super::*;
use crate::lease::MemoryLeaseStore;
use crate::lease::compare_and_set::lease_store_by_operation;
use crate::lease::rules::{self, Verdict};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    ForgetsTheCounter,
    RaisesByTwo,
    RenewsDuringHandoff,
    ForgetsSwitches,
    KeepsTheMark,
    CreatesOverARow,
    CreatesOnTake,
    LosesPendingBytes,
    LosesSubSequence,
    LosesChildren,
    ReleaseForgetsOwners,
    ReleaseKeepsTheOwner,
    AssignsToAnyone,
    RefusesWithoutRow,
    ForgetsRows,
    DeletesAnyway,
    MovesThePin,
    CountsMetaWrites,
    StampsWithoutWriting,
    CountsNudgesTwice,
    CountsHandovers,
}

const BUGS: [(Bug, &str); 21] = [
    (Bug::ForgetsTheCounter, "take_is_conditional"),
    (Bug::RaisesByTwo, "renew_raises"),
    (Bug::RenewsDuringHandoff, "renew_sees_handoff"),
    (Bug::ForgetsSwitches, "take_counts_switches"),
    (Bug::KeepsTheMark, "take_ends_handoff"),
    (Bug::CreatesOverARow, "creates_once"),
    (Bug::CreatesOnTake, "unknown_rows_are_refused"),
    (Bug::LosesPendingBytes, "pending_comes_back"),
    (Bug::LosesSubSequence, "checkpoints_keep_every_digit"),
    (Bug::LosesChildren, "checkpoint_keeps_the_notes"),
    (Bug::ReleaseForgetsOwners, "release_is_conditional"),
    (Bug::ReleaseKeepsTheOwner, "release_frees"),
    (Bug::AssignsToAnyone, "assign_checks_owners"),
    (Bug::RefusesWithoutRow, "renew_is_conditional"),
    (Bug::ForgetsRows, "lists_everything"),
    (Bug::DeletesAnyway, "delete_is_conditional"),
    (Bug::MovesThePin, "first_pin_stays"),
    (Bug::CountsMetaWrites, "notes_keep_the_counter"),
    (Bug::StampsWithoutWriting, "stamps_come_with_the_write"),
    (Bug::CountsNudgesTwice, "nudges_are_counted"),
    (Bug::CountsHandovers, "release_completes_handoff"),
];

/// A store with one bug.
#[derive(Debug)]
struct Broken {
    rows: MemoryLeaseStore,
    bug: Bug,
}

impl Broken {
    #[expect(clippy::unused_async, reason = "one shape for every store behind the macro")]
    async fn prepare_table(&self) -> Result<(), LeaseStoreError> {
        Ok(())
    }

    #[expect(clippy::unused_async, reason = "one shape for every store behind the macro")]
    async fn load_all(&self) -> Result<Vec<Lease>, LeaseStoreError> {
        let shown = if self.bug == Bug::ForgetsRows { 5 } else { usize::MAX };
        Ok(self.rows.rows().into_iter().take(shown).collect())
    }

    #[expect(clippy::unused_async, reason = "one shape for every store behind the macro")]
    async fn load(&self, key: &LeaseKey) -> Result<Option<Lease>, LeaseStoreError> {
        Ok(self.rows.row(key))
    }

    #[expect(clippy::unused_async, reason = "one shape for every store behind the macro")]
    async fn execute(
        &self,
        key: &LeaseKey,
        operation: Operation,
        stamp: Option<&Stamp>,
    ) -> Result<Write, LeaseStoreError> {
        let before = self.rows.row(key);
        let after = match rules::apply(before.as_ref(), &self.laxer(operation.clone(), before.as_ref())) {
            Verdict::Refused => {
                if let (Bug::StampsWithoutWriting, Some(row)) = (self.bug, &before) {
                    let stamp = stamp.map(|stamp| Stamp { counter: row.counter, ..*stamp });
                    self.rows.put_row(rules::stamped(row.clone(), stamp.as_ref()));
                }
                let shown = before.filter(|_| self.bug != Bug::RefusesWithoutRow);
                return Ok(Write::Refused(shown));
            }
            Verdict::Deleted => {
                self.rows.remove_row(key);
                return Ok(Write::Applied(before.unwrap()));
            }
            Verdict::Becomes(after) => rules::stamped(self.spoilt(after, before.as_ref(), &operation), stamp),
        };
        self.rows.put_row(after.clone());
        Ok(Write::Applied(after))
    }

    /// The operation with its condition made to hold.
    fn laxer(&self, mut operation: Operation, row: Option<&Lease>) -> Operation {
        let Some(row) = row else {
            let creates = self.bug == Bug::CreatesOnTake && matches!(operation, Operation::Take { .. });
            return if creates { Operation::Create(NewLease::child(key(), [], None)) } else { operation };
        };
        match (self.bug, &mut operation) {
            (Bug::ForgetsTheCounter, Operation::Take { expected, .. })
            | (Bug::DeletesAnyway, Operation::Delete { expected }) => *expected = row.counter,
            (Bug::RenewsDuringHandoff, Operation::Renew { during_handoff, .. }) => *during_handoff = true,
            (Bug::ReleaseForgetsOwners, Operation::Release { expected, .. })
            | (Bug::AssignsToAnyone, Operation::Assign { expected, .. }) => *expected = row.owners(),
            (Bug::CreatesOverARow, Operation::Create(_)) => {
                return Operation::Take { expected: row.counter, worker: ann() };
            }
            _ => {}
        }
        operation
    }

    /// The row after the operation, with something wrong.
    fn spoilt(&self, mut after: Lease, before: Option<&Lease>, operation: &Operation) -> Lease {
        let Some(before) = before else { return after };
        match (self.bug, operation) {
            (Bug::RaisesByTwo, Operation::Renew { .. })
            | (Bug::CountsMetaWrites, Operation::UpdateMeta(_)) => after.counter = after.counter.next(),
            (Bug::ForgetsSwitches, Operation::Take { .. }) => {
                after.owner_switches_since_checkpoint = before.owner_switches_since_checkpoint;
            }
            (Bug::KeepsTheMark, Operation::Take { .. }) => {
                after.checkpoint_owner.clone_from(&before.checkpoint_owner);
            }
            (Bug::LosesPendingBytes, Operation::Checkpoint { .. }) => {
                if let Some(pending) = &mut after.pending_checkpoint {
                    pending.state = None;
                }
            }
            (Bug::LosesSubSequence, Operation::Checkpoint { .. }) => {
                if let kinesis_shard::Checkpoint::At(position) = &mut after.checkpoint {
                    position.sub_sequence_number = 0;
                }
            }
            (Bug::LosesChildren, Operation::Checkpoint { .. }) => after.children.clear(),
            (Bug::ReleaseKeepsTheOwner, Operation::Release { .. }) => after.owner.clone_from(&before.owner),
            (Bug::CountsHandovers, Operation::Release { .. }) => {
                after.owner_switches_since_checkpoint += u64::from(before.checkpoint_owner.is_some());
            }
            (Bug::CountsNudgesTwice, Operation::UpdateMeta(update)) => {
                after.nudges += u64::from(update.nudge);
            }
            (Bug::MovesThePin, Operation::UpdateMeta(update)) => {
                after.latest_pinned_at = update.latest_pinned_at.or(before.latest_pinned_at);
            }
            _ => {}
        }
        after
    }
}

lease_store_by_operation!([] Broken);

#[tokio::test]
async fn every_planted_bug_fails_the_check_that_is_named_for_it() {
    for (bug, check) in BUGS {
        let fresh =
            || async move { Arc::new(Broken { rows: MemoryLeaseStore::new(), bug }) as Arc<dyn LeaseStore> };
        let failures = run(fresh).await;
        let names: Vec<_> = failures.iter().map(|failure| failure.name).collect();
        assert!(names.contains(&check), "{bug:?} was noticed by {names:?}");
    }
}

#[tokio::test]
async fn a_store_whose_takes_race_fails() {
    /// Reads, lets others run, then writes without looking again.
    #[derive(Debug)]
    struct Racing(MemoryLeaseStore);

    impl Racing {
        #[expect(clippy::unused_async, reason = "one shape for every store behind the macro")]
        async fn prepare_table(&self) -> Result<(), LeaseStoreError> {
            Ok(())
        }

        #[expect(clippy::unused_async, reason = "one shape for every store behind the macro")]
        async fn load_all(&self) -> Result<Vec<Lease>, LeaseStoreError> {
            Ok(self.0.rows())
        }

        #[expect(clippy::unused_async, reason = "one shape for every store behind the macro")]
        async fn load(&self, key: &LeaseKey) -> Result<Option<Lease>, LeaseStoreError> {
            Ok(self.0.row(key))
        }

        async fn execute(
            &self,
            key: &LeaseKey,
            operation: Operation,
            stamp: Option<&Stamp>,
        ) -> Result<Write, LeaseStoreError> {
            let before = self.0.row(key);
            let Verdict::Becomes(after) = rules::apply(before.as_ref(), &operation) else {
                return Ok(Write::Refused(before));
            };
            tokio::task::yield_now().await;
            let after = rules::stamped(after, stamp);
            self.0.put_row(after.clone());
            Ok(Write::Applied(after))
        }
    }

    lease_store_by_operation!([] Racing);

    let failures = run(|| async { Arc::new(Racing(MemoryLeaseStore::new())) as Arc<dyn LeaseStore> }).await;
    let names: BTreeSet<_> = failures.iter().map(|failure| failure.name).collect();
    assert!(names.contains("one_taker_wins") && names.contains("one_creator_wins"), "{names:?}");
}

#[test]
fn names_and_sentences_are_distinct() {
    let checks = checks();
    let names: BTreeSet<_> = checks.iter().map(Check::name).collect();
    let sentences: BTreeSet<_> = checks.iter().map(Check::sentence).collect();
    assert_eq!((names.len(), sentences.len()), (checks.len(), checks.len()));
}
