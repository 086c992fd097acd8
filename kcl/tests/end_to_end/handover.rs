//! One worker after another: crashes, clean stops, successors.

use std::collections::BTreeSet;
use std::time::Duration;

use kcl::{Checkpoint, ConsumerEvent};

use crate::world::{Act, Kind, World, texts};

const GRACE: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn a_crash_is_taken_over_from_the_checkpoint_within_the_failover_time() {
    let world = World::new(2);
    world.put(texts(0, 40)).await;
    let first = world.worker("a").await;
    world.until_delivered(40).await;
    let b = world.worker("b").await;
    world.until("shared", |_| b.shards().len() == 1 && first.shards().len() == 1).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let crashed_at = tokio::time::Instant::now();
    drop(first);
    world.put(texts(40, 80)).await;
    world.until_delivered(80).await;
    let took = crashed_at.elapsed();
    assert!(took < Duration::from_secs(13), "{took:?}");
    b.shutdown(GRACE).await;
    world.check();
    assert_eq!(world.texts().len(), 80, "everything before the crash was checkpointed");
}

#[tokio::test(start_paused = true)]
async fn what_a_crashed_worker_did_not_checkpoint_comes_again() {
    let world = World::with_script(1, |_| Ok(Act::Nothing));
    world.put(texts(0, 20)).await;
    let first = world.worker("a").await;
    world.until_delivered(20).await;
    drop(first);
    let before = world.events().len();
    let b = world.worker("b").await;
    world.until("again", |world| world.texts_of("b").len() == 20).await;
    assert!(world.events()[before..].iter().all(|event| event.worker == "b"), "the dead are silent");
    b.shutdown(GRACE).await;
    assert_eq!(world.texts_of("b"), texts(0, 20));
    world.check();
}

#[tokio::test(start_paused = true)]
async fn dropping_a_worker_talks_to_nobody() {
    let world = World::new(3);
    let worker = world.worker("a").await;
    world.until("initialized", |_| worker.shards().len() == 3).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (store_calls, service_calls) = (world.store.calls(), world.sim.trace().len());
    drop(worker);
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!((world.store.calls(), world.sim.trace().len()), (store_calls, service_calls));
    assert!(world.store.rows().iter().all(|row| row.owner.is_some()), "leases are left to expire");
}

#[tokio::test(start_paused = true)]
async fn a_clean_stop_hands_over_within_two_seconds_without_a_duplicate() {
    let world = World::new(2);
    world.put(texts(0, 40)).await;
    let a = world.worker("a").await;
    world.until_delivered(40).await;
    let b = world.worker("b").await;
    world.until("shared", |_| b.shards().len() == 1 && a.shards().len() == 1).await;
    let report = a.shutdown(GRACE).await;
    let stopped_at = tokio::time::Instant::now();
    assert_eq!((report.released.len(), report.forced.len()), (1, 0));
    world.put(texts(40, 80)).await;
    world.until_delivered(80).await;
    assert!(stopped_at.elapsed() < Duration::from_millis(2_500), "{:?}", stopped_at.elapsed());
    b.shutdown(GRACE).await;
    world.check();
    assert_eq!(world.texts().len(), 80);
}

#[tokio::test(start_paused = true)]
async fn a_clean_stop_releases_every_lease_and_checkpoints_what_was_processed() {
    let world = World::with_script(3, |_| Ok(Act::Nothing));
    world.put(texts(0, 30)).await;
    let worker = world.worker("a").await;
    world.until_delivered(30).await;
    worker.shutdown(GRACE).await;
    for row in world.store.rows() {
        assert_eq!(row.owner, None, "{}", row.key);
    }
    for shard in 0..3 {
        assert!(matches!(world.row(shard).checkpoint, Checkpoint::At(_)), "shutdown_requested checkpointed");
        assert_eq!(world.life(shard), [Kind::Initialize(Checkpoint::TrimHorizon), Kind::ShutdownRequested]);
    }
    let again = world.worker("b").await;
    world.put(texts(30, 40)).await;
    world.until_delivered(40).await;
    again.shutdown(GRACE).await;
    assert_eq!(world.texts_of("b").into_iter().collect::<BTreeSet<_>>().len(), 10, "only what is new");
}

#[tokio::test(start_paused = true)]
async fn a_running_batch_finishes_before_the_lease_is_given_back() {
    let world = World::with_script(1, |_| Ok(Act::Take(Duration::from_secs(5))));
    world.put(texts(0, 10)).await;
    let worker = world.worker("a").await;
    world.until_delivered(10).await;
    let report = worker.shutdown(GRACE).await;
    assert_eq!(report.released.len(), 1);
    assert!(matches!(world.row(0).checkpoint, Checkpoint::At(_)));
}

#[tokio::test(start_paused = true)]
async fn a_processor_that_never_returns_is_stopped_by_force_at_the_end_of_the_grace() {
    let world = World::with_script(2, |input| {
        let stuck = input.shard_id.index() == Some(0);
        Ok(if stuck { Act::NeverReturn } else { Act::CheckpointBatch })
    });
    world.put(texts(0, 40)).await;
    let worker = world.worker("a").await;
    world.until_delivered(40).await;
    let begun = tokio::time::Instant::now();
    let report = worker.shutdown(GRACE).await;
    assert_eq!(begun.elapsed().as_secs(), 10);
    assert_eq!((report.released.len(), report.forced.len()), (1, 1));
    assert!(world.row(0).owner.is_some() && world.row(1).owner.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_before_the_first_lease_ends_at_once() {
    let world = World::new(4);
    let worker = world.worker("a").await;
    let begun = tokio::time::Instant::now();
    let report = worker.shutdown(GRACE).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(report.forced.is_empty());
    assert!(world.store.rows().iter().all(|row| row.owner.is_none()));
}

/// H1 and H2: the new owner begins after the old one's last call returned and its checkpoint was stored.
#[tokio::test(start_paused = true)]
async fn a_lease_that_is_asked_for_lets_its_processor_checkpoint_first() {
    // Nobody checkpoints but in the last call.
    let world = World::with_script(2, |_| Ok(Act::Nothing));
    world.put(texts(0, 40)).await;
    let a = world.worker("a").await;
    world.until_delivered(40).await;
    let b = world.worker("b").await;
    world.until("shared", |_| b.shards().len() == 1 && a.shards().len() == 1).await;
    world.put(texts(40, 80)).await;
    world.until_delivered(80).await;
    let moved = b.shards()[0].shard_id.index().unwrap();
    assert_eq!(world.texts().len(), 80, "nothing came twice");
    let life = world.life(moved);
    assert_eq!(life[..2], [Kind::Initialize(Checkpoint::TrimHorizon), Kind::ShutdownRequested]);
    assert!(matches!(life[2], Kind::Initialize(Checkpoint::At(_))), "{life:?}");
    let told = world.told();
    for line in ["b asks for the lease of orders/shardId-", "lease of orders/shardId-"] {
        assert!(told.iter().any(|told| told.starts_with(line)), "{told:#?}");
    }
    let handed = world.news().iter().any(
        |event| matches!(event, ConsumerEvent::LeaseHandedOver { to: Some(to), .. } if to.as_str() == "b"),
    );
    assert!(handed && a.stats().lost_leases == 0, "{told:#?}");
    a.shutdown(GRACE).await;
    b.shutdown(GRACE).await;
    world.check();
}

#[tokio::test(start_paused = true)]
async fn a_call_too_long_for_a_hand_over_ends_in_lease_lost_and_only_its_batch_comes_twice() {
    let world = World::with_script(2, |input| {
        let slow = input.records.iter().any(|record| crate::world::text_of(record).as_str() >= "uid-00040");
        Ok(if slow && input.checkpointer.shard_id().index() == Some(0) {
            Act::Take(Duration::from_secs(40))
        } else {
            Act::CheckpointBatch
        })
    });
    world.put(texts(0, 40)).await;
    let a = world.worker("a").await;
    world.until_delivered(40).await;
    world.put(texts(40, 80)).await;
    world.until_delivered(80).await;
    // Shard 0 is in its long call now; shard 1 may be asked for as well, whichever is drawn.
    let b = world.worker("b").await;
    world.until("shared", |_| b.shards().len() == 1).await;
    tokio::time::sleep(Duration::from_mins(3)).await;
    a.shutdown(GRACE).await;
    b.shutdown(GRACE).await;
    world.check();
    let lost = [0, 1].map(|shard| world.life(shard).contains(&Kind::LeaseLost));
    assert_eq!(
        lost.contains(&true),
        world.texts().len() > 80,
        "what came twice was in a call that lost its lease"
    );
}

/// The state that the first phase of a checkpoint left, as the next owner finds it.
#[tokio::test(start_paused = true)]
async fn a_prepared_checkpoint_and_its_state_reach_the_next_owner() {
    let world = World::with_script(1, |_| Ok(Act::Prepare));
    world.put(texts(0, 6)).await;
    let first = world.worker("a").await;
    let prepared = |world: &World| world.store.rows().iter().any(|row| row.pending_checkpoint.is_some());
    world.until("prepared", prepared).await;
    drop(first);
    let b = world.worker("b").await;
    world.until("again", |world| world.texts_of("b").len() == 6).await;
    let at = world.sim.stored("orders").last().unwrap().sequence_number;
    let found = world.pending_found();
    assert_eq!(found.len(), 1, "b alone was given one");
    let (checkpoint, state) = &found[0];
    assert!(matches!(checkpoint, Checkpoint::At(position) if position.sequence_number == at));
    assert_eq!(state.as_deref(), Some(&b"halfway"[..]));
    assert_eq!(world.row(0).checkpoint, Checkpoint::TrimHorizon, "phase one moved nothing");
    b.shutdown(GRACE).await;
    assert!(world.row(0).pending_checkpoint.is_none(), "the checkpoint of the shutdown removed it");
    world.check();
}

#[tokio::test(start_paused = true)]
async fn no_task_is_left_after_a_shutdown_clean_or_forced() {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    for stuck in [false, true] {
        let world =
            World::with_script(2, move |_| Ok(if stuck { Act::NeverReturn } else { Act::CheckpointBatch }));
        world.put(texts(0, 20)).await;
        let before = tasks();
        let worker = world.worker("a").await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(tasks() > before);
        let report = worker.shutdown(GRACE).await;
        assert_eq!(!report.forced.is_empty(), stuck, "{report:?}");
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(tasks(), before, "stuck: {stuck}");
    }
}
