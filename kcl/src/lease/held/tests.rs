use std::time::Duration;

use futures::FutureExt;
use kinesis_shard::{Clock, ShardId};

use super::*;
use crate::config::InitialPosition;
use crate::event::Events;
use crate::lease::tenure::Terms;
use crate::lease::test_support::{D, Listing, at, key, row, shard, worker};
use crate::lease::{Fault, LeaseCounter, LeaseStore, MemoryLeaseStore, NewLease};

struct Bench {
    store: MemoryLeaseStore,
    listing: Listing,
    ended: Arc<EndedLeases>,
    hands: Hands,
    clock: Clock,
}

impl Bench {
    fn new() -> Self {
        let (store, listing, clock) = (MemoryLeaseStore::new(), Listing::default(), Clock::default());
        let calls = Calls::new(Arc::new(store.clone()), clock.clone(), D / 5, 1);
        let syncs = Syncs::new(calls.clone(), Events::default(), false);
        syncs.follow("".into(), &"orders".into(), Arc::new(listing.clone()), InitialPosition::Latest);
        let ended = Arc::new(EndedLeases::default());
        let hands = Hands { worker: worker("ann"), calls, syncs: Arc::new(syncs), ended: Arc::clone(&ended) };
        Self { store, listing, ended, hands, clock }
    }

    fn terms() -> Terms {
        Terms { failover_time: D, renewal_interval: D / 3, clock_error_ppm: 10_000 }
    }

    /// A lease just taken, with this row.
    fn holds(&self, lease: Lease) -> HeldLease {
        self.store.put_row(lease.clone());
        let tenure = Tenure::taken(worker("ann"), Self::terms(), lease, self.clock.now());
        HeldLease::new(self.hands.clone(), tenure, 1)
    }

    fn held(&self) -> HeldLease {
        self.holds(row(1, "ann", 5))
    }

    /// The next holding of the lease as it stands.
    fn held_again(&self) -> HeldLease {
        let tenure =
            Tenure::taken(worker("ann"), Self::terms(), self.store.row(&key(1)).unwrap(), self.clock.now());
        let held = HeldLease::new(self.hands.clone(), tenure, 2);
        assert_eq!(held.tenure(), 2);
        held
    }

    fn counter(&self) -> u64 {
        self.store.row(&key(1)).unwrap().counter.get()
    }

    fn writes(&self, operation: &str) -> u64 {
        self.store.writes().get(operation).copied().unwrap_or(0)
    }
}

fn is_lost(result: &Result<(), HeldLeaseError>) -> bool {
    matches!(result, Err(HeldLeaseError::Lost { .. }))
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_is_written_and_spares_the_renewal() {
    let bench = Bench::new();
    let held = bench.held();
    tokio::time::advance(D / 4).await;
    held.checkpoint(at(7)).await.unwrap();
    tokio::time::advance(D / 4).await;
    held.renew().await.unwrap();
    assert_eq!((bench.writes("checkpoint"), bench.writes("renew")), (1, 0));
    tokio::time::advance(D / 4).await;
    held.renew().await.unwrap();
    assert_eq!(bench.writes("renew"), 1);
    assert!(held.is_valid(bench.clock.now()));
}

#[tokio::test(start_paused = true)]
async fn one_fault_of_any_kind_costs_no_lease_and_at_most_two_calls() {
    for fault in [Fault::LoseAnswer, Fault::LoseRequest, Fault::Throttle, Fault::Hang, Fault::HangAfter] {
        for checkpoints in [false, true] {
            let bench = Bench::new();
            let held = bench.held();
            tokio::time::advance(D / 3).await;
            bench.store.fail_next(fault);
            let before = bench.store.calls();
            if checkpoints {
                held.checkpoint(at(7)).await.unwrap();
                assert_eq!(bench.store.row(&key(1)).unwrap().checkpoint, at(7), "{fault:?}");
            } else {
                held.renew().await.unwrap();
            }
            let extra = bench.store.calls() - before - 1;
            assert!(extra <= 2, "{fault:?}, {checkpoints}: {extra} extra calls");
            assert!(held.is_valid(bench.clock.now()), "{fault:?}");
            assert!(held.renew_at() > bench.clock.now(), "{fault:?}: belief was confirmed");
            assert!(bench.ended.take_all().is_empty());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_that_landed_twice_in_doubt_is_still_one() {
    let bench = Bench::new();
    let held = bench.held();
    bench.store.fail_next(Fault::LoseAnswer);
    bench.store.fail_next(Fault::LoseRequest);
    held.checkpoint(at(7)).await.unwrap();
    assert_eq!(bench.writes("checkpoint"), 1);
    assert_eq!(bench.counter(), 7, "the checkpoint and the renewal that confirmed it");
}

#[tokio::test(start_paused = true)]
async fn after_a_checkpoint_in_doubt_a_lower_one_is_refused() {
    let bench = Bench::new();
    let held = bench.held();
    bench.store.fail_by(|_| Some(Fault::LoseRequest));
    assert!(matches!(held.checkpoint(at(9)).await, Err(HeldLeaseError::Store(_))));
    bench.store.heal();
    let lower = held.checkpoint(at(8)).await;
    assert!(matches!(lower, Err(HeldLeaseError::Backwards { floor, .. }) if floor == at(9)), "{lower:?}");
    held.checkpoint(at(9)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_moved_is_lost_with_the_news_who_has_it() {
    let bench = Bench::new();
    let held = bench.held();
    assert!(bench.store.take(&key(1), LeaseCounter::new(5), &worker("bob")).await.unwrap().is_applied());
    let result = held.checkpoint(at(7)).await;
    assert!(
        matches!(&result, Err(HeldLeaseError::Lost { moved_to: Some(bob), .. }) if bob.as_str() == "bob"),
        "{result:?}"
    );
    held.lost().await;
    assert!(!held.is_valid(bench.clock.now()));
    assert_eq!(bench.ended.take_all(), [(key(1), 1)]);
    assert!(is_lost(&held.checkpoint(at(8)).await));
    assert_eq!(bench.ended.take_all(), [], "announced once");
    assert_eq!(bench.store.row(&key(1)).unwrap().checkpoint, Checkpoint::TrimHorizon);
}

#[tokio::test(start_paused = true)]
async fn a_row_deleted_by_hand_ends_the_tenure() {
    let bench = Bench::new();
    let held = bench.held();
    bench.store.remove_row(&key(1));
    assert!(is_lost(&held.checkpoint(at(7)).await));
}

#[tokio::test(start_paused = true)]
async fn the_loss_is_told_when_belief_runs_out_though_nobody_renews() {
    let bench = Bench::new();
    let held = bench.held();
    let start = bench.clock.now();
    held.lost().await;
    let waited = bench.clock.now() - start;
    assert!(waited >= Bench::terms().belief() && waited < D, "{waited:?}");
    assert!(!held.is_valid(bench.clock.now()));
    assert_eq!(bench.ended.take_all().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_prolongs_the_wait_for_the_loss() {
    let bench = Bench::new();
    let held = bench.held();
    let waiter = held.clone();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { waiter.lost().await });
    for _ in 0..10 {
        bench.clock.sleep(D / 3).await;
        held.renew().await.unwrap();
        assert!(tasks.try_join_next().is_none());
    }
    held.release().await.unwrap();
    tasks.join_next().await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn belief_ends_before_the_row_is_given_away() {
    let bench = Bench::new();
    let held = bench.held();
    // The release hangs: the row still names this worker, which must not act for it any more.
    bench.store.fail_next(Fault::Hang);
    let releasing = held.clone();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { releasing.release().await });
    tokio::task::yield_now().await;
    assert!(!held.is_valid(bench.clock.now()));
    assert_eq!(bench.store.row(&key(1)).unwrap().owner, Some(worker("ann")));
    tasks.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(bench.store.row(&key(1)).unwrap().owner, None);
}

#[tokio::test(start_paused = true)]
async fn a_release_whose_answer_is_lost_is_made_once() {
    let bench = Bench::new();
    let held = bench.held();
    bench.store.fail_next(Fault::LoseAnswer);
    held.release().await.unwrap();
    assert_eq!((bench.writes("release"), bench.counter()), (1, 6));
    held.release().await.unwrap();
    assert_eq!(bench.writes("release"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_release_takes_in_a_renewal_that_landed_in_doubt() {
    let bench = Bench::new();
    let held = bench.held();
    // Somebody of our name, one ahead: our own late write.
    assert!(bench.store.renew(&key(1), LeaseCounter::new(5), false).await.unwrap().is_applied());
    held.release().await.unwrap();
    assert_eq!(bench.store.row(&key(1)).unwrap().owner, None);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_ran_out_is_given_back_and_the_others_are_told_unless_one_waits_for_it() {
    for asked in [false, true] {
        let bench = Bench::new();
        let held = bench.held();
        if asked {
            let mark = bench.store.start_handoff(&key(1), &worker("ann"), &worker("bob")).await;
            assert!(mark.unwrap().is_applied());
            held.checkpoint(at(7)).await.unwrap();
        }
        tokio::time::advance(if asked { D / 3 } else { D * 2 }).await;
        held.release().await.unwrap();
        let row = bench.store.row(&key(1)).unwrap();
        assert_eq!(row.owner, asked.then(|| worker("bob")));
        assert_eq!(bench.ended.take_freed(), !asked);
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_that_keeps_failing_says_so_after_four_attempts() {
    let bench = Bench::new();
    let held = bench.held();
    bench.store.fail_by(|_| Some(Fault::Throttle));
    let (before, began) = (bench.store.calls(), bench.clock.now());
    assert!(matches!(held.release().await, Err(HeldLeaseError::Store(error)) if error.is_retryable()));
    assert_eq!(bench.store.calls() - before, 4);
    assert!(bench.clock.now() > began, "with pauses between them");
    assert!(!bench.ended.take_freed());
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_throttled_is_made_again_after_a_pause() {
    let bench = Bench::new();
    let held = bench.held();
    bench.store.fail_next(Fault::Throttle);
    let began = bench.clock.now();
    held.checkpoint(at(7)).await.unwrap();
    assert!(bench.clock.now() > began);
}

#[tokio::test(start_paused = true)]
async fn the_first_note_of_what_latest_means_stays() {
    let bench = Bench::new();
    let held = bench.held();
    assert_eq!(held.pin_latest(1_000).await.unwrap(), Pinned { millis: 1_000, just_now: true });
    assert_eq!(bench.store.row(&key(1)).unwrap().latest_pinned_at, Some(1_000));
    // Again the same time, which may mean an earlier moment in that second; and another time.
    assert_eq!(held.pin_latest(1_000).await.unwrap(), Pinned { millis: 1_000, just_now: false });
    assert_eq!(
        bench.held_again().pin_latest(2_000).await.unwrap(),
        Pinned { millis: 1_000, just_now: false }
    );
}

#[tokio::test(start_paused = true)]
async fn a_release_leaves_a_lease_alone_that_is_somebody_elses() {
    let bench = Bench::new();
    let held = bench.held();
    assert!(bench.store.take(&key(1), LeaseCounter::new(5), &worker("bob")).await.unwrap().is_applied());
    held.release().await.unwrap();
    assert_eq!(bench.store.row(&key(1)).unwrap().owner, Some(worker("bob")));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_asked_for_is_kept_until_it_is_given_up() {
    for checkpoints in [false, true] {
        let bench = Bench::new();
        let held = bench.held();
        assert!(held.asked_for().now_or_never().is_none());
        assert!(
            bench.store.start_handoff(&key(1), &worker("ann"), &worker("bob")).await.unwrap().is_applied()
        );
        tokio::time::advance(D / 3).await;
        if checkpoints {
            held.checkpoint(at(7)).await.unwrap();
        } else {
            held.renew().await.unwrap();
        }
        assert_eq!(held.asked_for().await, worker("bob"));
        held.checkpoint(at(9)).await.unwrap();
        let row = bench.store.row(&key(1)).unwrap();
        assert_eq!((row.actual_owner(), row.checkpoint), (Some(&worker("ann")), at(9)));
        held.release().await.unwrap();
        let row = bench.store.row(&key(1)).unwrap();
        assert_eq!((row.owner, row.checkpoint_owner), (Some(worker("bob")), None));
        held.lost().await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_give_up_what_was_asked_for_loses_it_within_the_failover_time() {
    let bench = Bench::new();
    let held = bench.held();
    assert!(bench.store.start_handoff(&key(1), &worker("ann"), &worker("bob")).await.unwrap().is_applied());
    let marked_at = Clock::default().now();
    for _ in 0..3 {
        tokio::time::advance(D / 4).await;
        held.renew().await.unwrap();
    }
    held.lost().await;
    assert!(Clock::default().now() - marked_at < D, "the one who asked takes it after {D:?}");
}

#[tokio::test(start_paused = true)]
async fn after_the_shards_end_the_keeper_is_told_and_nothing_counts_as_loss() {
    let bench = Bench::new();
    let held = bench.held();
    held.checkpoint(Checkpoint::ShardEnd).await.unwrap();
    assert_eq!(bench.ended.take_all(), [(key(1), 1)]);
    let lost = tokio::time::timeout(D * 10, held.lost()).await;
    assert!(lost.is_err(), "a finished lease is not lost");
    held.release().await.unwrap();
    held.lost().await;
    assert_eq!(bench.writes("release"), 0, "nobody needs it");
}

#[tokio::test(start_paused = true)]
async fn parents_are_done_when_gone_or_at_their_end() {
    let bench = Bench::new();
    let mut lease = row(1, "ann", 5);
    lease.parents = vec![ShardId::from_index(8), ShardId::from_index(9)];
    let held = bench.holds(lease);
    assert!(held.parents_done().await.unwrap(), "no rows");
    let mut parent = row(8, "bob", 3);
    bench.store.put_row(parent.clone());
    assert!(!held.parents_done().await.unwrap(), "one is being read");
    parent.checkpoint = Checkpoint::ShardEnd;
    bench.store.put_row(parent);
    assert!(held.parents_done().await.unwrap(), "it ended");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_shard_creates_its_children_and_notes_them() {
    let bench = Bench::new();
    let held = bench.held();
    let children: Vec<_> =
        [2, 3].map(|index| NewLease::child(key(index), [ShardId::from_index(1)], None)).into();
    bench.store.fail_next(Fault::LoseAnswer);
    held.end_shard(&children).await.unwrap();
    held.end_shard(&children).await.unwrap();
    assert_eq!(bench.writes("create"), 2);
    let row = bench.store.row(&key(1)).unwrap();
    assert_eq!(row.children, [ShardId::from_index(2), ShardId::from_index(3)]);
    assert_eq!(row.checkpoint, Checkpoint::TrimHorizon, "the end itself is the caller's to write");
    assert_eq!(bench.store.row(&key(2)).unwrap().checkpoint, Checkpoint::TrimHorizon);
    assert_eq!(bench.listing.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_merge_creates_the_lease_of_its_unknown_parent_first() {
    let bench = Bench::new();
    let held = bench.held();
    bench.listing.set(vec![shard(1, &[], false), shard(4, &[], false), shard(5, &[1, 4], true)]);
    let child = NewLease::child(key(5), [1, 4].map(ShardId::from_index), None);
    held.end_shard(std::slice::from_ref(&child)).await.unwrap();
    assert_eq!(bench.store.row(&key(4)).unwrap().checkpoint, Checkpoint::Latest);
    assert!(bench.store.row(&key(5)).is_some());
    held.end_shard(&[child]).await.unwrap();
    assert_eq!(bench.listing.calls(), 1, "the child exists now");
}

/// Found by seed 33 of `random_splits_and_merges_lose_nothing`: the child was read before its other parent was begun.
#[tokio::test(start_paused = true)]
async fn a_merge_waits_for_a_parent_whose_own_parent_is_still_being_read() {
    let bench = Bench::new();
    let held = bench.held();
    bench.store.put_row(row(3, "bob", 1));
    let merge = shard(5, &[1, 4], true);
    bench.listing.set(vec![shard(1, &[], false), shard(3, &[], false), shard(4, &[3], false), merge]);
    let child = [NewLease::child(key(5), [1, 4].map(ShardId::from_index), None)];
    assert!(matches!(held.end_shard(&child).await, Err(HeldLeaseError::Resharding)));
    assert!(bench.store.row(&key(5)).is_none(), "it would find no row of its parent, and begin");
    bench.store.put_row(row(4, "", 0)); // the end of shard 3 creates it
    held.end_shard(&child).await.unwrap();
    assert!(bench.store.row(&key(5)).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_merge_goes_on_without_a_parent_that_is_not_listed_any_more() {
    let bench = Bench::new();
    let held = bench.held();
    bench.listing.set(vec![shard(1, &[], false), shard(5, &[1, 4], true)]);
    let child = NewLease::child(key(5), [1, 4].map(ShardId::from_index), None);
    held.end_shard(&[child]).await.unwrap();
    assert!(bench.store.row(&key(4)).is_none());
    assert!(bench.store.row(&key(5)).is_some());
}

#[tokio::test(start_paused = true)]
async fn who_loses_the_lease_under_way_is_not_told_that_nothing_was_written() {
    for fault in [None, Some(Fault::LoseAnswer), Some(Fault::LoseRequest)] {
        let bench = Bench::new();
        let held = bench.held();
        let runs_out = held.clone();
        bench.store.fail_by(move |_| {
            runs_out.belief().finish_with(End::Expired);
            fault
        });
        let result = held.checkpoint(at(7)).await;
        match fault {
            None => result.unwrap(),
            Some(_) => assert!(
                matches!(&result, Err(HeldLeaseError::Store(error)) if error.may_have_been_written()),
                "{fault:?}: {result:?}"
            ),
        }
        bench.store.heal();
        assert!(is_lost(&held.checkpoint(at(8)).await), "the lease is lost all the same");
        held.lost().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_ends_no_shard() {
    let bench = Bench::new();
    let held = bench.held();
    tokio::time::advance(D + Duration::from_secs(1)).await;
    let result = held.end_shard(&[NewLease::child(key(2), [], None)]).await;
    assert!(is_lost(&result));
    assert!(bench.store.row(&key(2)).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_prepared_checkpoint_carries_the_applications_bytes() {
    let bench = Bench::new();
    let held = bench.held();
    held.prepare_checkpoint(at(7), Some(Bytes::from_static(b"mine"))).await.unwrap();
    let pending = bench.store.row(&key(1)).unwrap().pending_checkpoint.unwrap();
    assert_eq!((pending.checkpoint, pending.state.as_deref()), (at(7), Some(&b"mine"[..])));
}

#[test]
fn only_what_may_have_been_written_is_in_doubt() {
    assert_eq!(answer(Err(LeaseStoreError::Throttled { store: "a table".into() })), Answer::Failed);
    assert_eq!(answer(Err(LeaseStoreError::timed_out("a renewal"))), Answer::InDoubt);
}

#[test]
fn errors_say_what_happened_and_what_to_do() {
    let lost = HeldLeaseError::Lost { key: key(3), moved_to: Some(worker("worker-b")) };
    assert_eq!(
        lost.to_string(),
        "lease shardId-000000000003 moved to worker-b: stop processing, nothing was written"
    );
}
