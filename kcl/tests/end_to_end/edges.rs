//! Moments in which two things meet: an end and a start, a split and a first read, a hand-over and a wait.

use std::time::Duration;

use kcl::lease::{Fault, Operation, StoreCall};
use kcl::{Checkpoint, ConsumerEvent, InitialPosition, RetrievalMode, ShardId};
use kinesis_sim::{Rule, Verdict};

use crate::world::{Act, Kind, STREAM, World, texts};

const GRACE: Duration = Duration::from_secs(10);

const MODES: [RetrievalMode; 2] = [RetrievalMode::Polling, RetrievalMode::FanOut];

/// The shard closes without ever holding a record, while `initialize` is still running: no batch tells of the end.
#[tokio::test(start_paused = true)]
async fn an_empty_shard_that_ends_while_initialize_takes_its_time_ends_after_it() {
    for mode in MODES {
        // Shorter and longer than the lease lives.
        for takes in [Duration::from_secs(4), Duration::from_secs(25)] {
            let world = World::new(1);
            *world.initialize_takes.lock().unwrap() = takes;
            let worker = world.configured(World::config("a").with_retrieval_mode(mode)).await;
            world.until("initialize runs", |world| !world.life(0).is_empty()).await;
            world.sim.split_shard(STREAM, ShardId::from_index(0));
            let begun = |world: &World, shard: u64| !world.life(shard).is_empty();
            world.until("the children follow", |world| begun(world, 1) && begun(world, 2)).await;
            let whole = [Kind::Initialize(Checkpoint::TrimHorizon), Kind::ShardEnded];
            assert_eq!(world.life(0), whole, "{mode:?} {takes:?}: one call each");
            let at: Vec<_> = world
                .events()
                .iter()
                .filter(|event| event.shard.index() == Some(0))
                .map(|it| it.at)
                .collect();
            assert!(at[1] - at[0] >= takes, "{mode:?} {takes:?}: not while initialize runs");
            world.put(texts(0, 20)).await;
            world.until_delivered(20).await;
            worker.shutdown(GRACE + takes).await;
            world.check();
            assert_eq!(world.texts().len(), 20, "{mode:?} {takes:?}: no duplicate");
        }
    }
}

/// `LATEST` opens a shard that has been split since its lease was made: what the children hold is behind that, all of it.
#[tokio::test(start_paused = true)]
async fn a_latest_shard_that_is_split_before_its_first_read_leads_to_its_children() {
    for mode in MODES {
        for generations in 1..=2 {
            let world = World::new(1);
            world.put(texts(0, 5)).await;
            let opening = ["GetShardIterator", "SubscribeToShard"]
                .map(|name| world.sim.rule(Rule::operation(name).then(Verdict::Fail)));
            let config = World::config("a").with_initial_position(InitialPosition::Latest);
            let worker = world.configured(config.with_retrieval_mode(mode)).await;
            world.until("a lease at LATEST", |world| !world.store.rows().is_empty()).await;
            tokio::time::sleep(Duration::from_secs(3)).await;
            assert!(opening.iter().any(|rule| rule.hits() > 0), "{mode:?}: nothing was opened");
            world.sim.split_shard(STREAM, ShardId::from_index(0));
            world.put(texts(5, 15)).await;
            if generations == 2 {
                world.sim.split_shard(STREAM, ShardId::from_index(1));
                world.put(texts(15, 25)).await;
            }
            drop(opening);
            let count = 10 * generations;
            world.until_delivered(count as usize).await;
            worker.shutdown(GRACE).await;
            let mut delivered = world.texts();
            delivered.sort();
            assert_eq!(
                delivered,
                texts(5, 5 + count),
                "{mode:?} {generations}: all of it, once, and no more"
            );
            assert_eq!(world.life(1)[0], Kind::Initialize(Checkpoint::TrimHorizon));
            world.check_order();
        }
    }
}

/// The connection breaks in every tenth of a second around the one event that says that the shard has ended.
#[tokio::test(start_paused = true)]
async fn a_subscription_that_fails_around_the_last_event_of_its_shard_loses_neither_records_nor_children() {
    let (mut before, mut after) = (0, 0);
    for step in 0..16 {
        for cuts in [1, 3] {
            let world = World::new(1);
            // Two seconds into the subscription the shard is split.
            let cut = Verdict::CutSubscription { after: Duration::from_millis(1_400 + 100 * step) };
            let rule = world.sim.rule(
                Rule::operation("SubscribeToShard").shard("shardId-000000000000").times(cuts).then(cut),
            );
            let worker =
                world.configured(World::config("a").with_retrieval_mode(RetrievalMode::FanOut)).await;
            world.until("subscribed", |world| world.sim.subscription_count() == 1).await;
            tokio::time::sleep(Duration::from_millis(1_990)).await;
            world.put(texts(0, 10)).await;
            world.sim.split_shard(STREAM, ShardId::from_index(0));
            world.put(texts(10, 30)).await;
            world.until_delivered(30).await;
            world.until("the parent ended", |world| world.life(0).contains(&Kind::ShardEnded)).await;
            let cut = world.news().iter().any(|event| matches!(event, ConsumerEvent::SubscriptionCut { .. }));
            before += u32::from(cut);
            after += u32::from(!cut);
            assert!(rule.hits() > 0);
            worker.shutdown(GRACE).await;
            world.check();
            assert_eq!(world.texts().len(), 30, "cut at step {step}: no duplicate");
            assert_eq!(world.row(0).checkpoint, Checkpoint::ShardEnd);
            assert_eq!(world.row(0).children.len(), 2, "cut at step {step}");
        }
    }
    assert!(before >= 4 && after >= 4, "the cuts lie on both sides: {before} and {after}");
}

/// The parent's end is not acknowledged, so its children wait; another worker asks for one of them meanwhile.
#[tokio::test(start_paused = true)]
async fn a_shard_that_waits_for_its_parent_is_handed_over_without_a_call() {
    let mut handed_over_waiting = 0;
    for seed in 0..6 {
        let world = World::new(1);
        *world.unacknowledged_ends.lock().unwrap() = u32::MAX;
        world.put(texts(0, 10)).await;
        let old = world.worker("old").await;
        world.until_delivered(10).await;
        world.sim.split_shard(STREAM, ShardId::from_index(0));
        world.put(texts(10, 40)).await;
        world.until("all three leases are held", |_| old.shards().len() == 3).await;
        let new = world.configured(World::config("new").with_seed(seed)).await;
        world.until("the new worker has its share", |_| new.shards().len() == 1).await;
        let moved = new.shards()[0].shard_id.index().unwrap();
        if moved != 0 {
            handed_over_waiting += 1;
            tokio::time::sleep(Duration::from_secs(40)).await;
            assert!(world.life(moved).is_empty(), "seed {seed}: nobody is told of a shard that waits");
            assert_eq!(new.shards().len(), 1, "seed {seed}: it is not lost again");
        }
        *world.unacknowledged_ends.lock().unwrap() = 0;
        world.until_delivered(40).await;
        old.shutdown(GRACE).await;
        new.shutdown(GRACE).await;
        world.check();
        assert_eq!(world.texts().len(), 40, "seed {seed}: no duplicate");
        assert!(world.store.rows().iter().all(|row| row.checkpoint_owner.is_none()), "seed {seed}");
    }
    assert!(handed_over_waiting >= 2, "{handed_over_waiting} of 6 hand-overs were of a shard that waits");
}

/// The children have leases and the parent's end is not stored: the next owner ends it again, and they wait until then.
#[tokio::test(start_paused = true)]
async fn a_crash_between_the_children_and_the_end_of_their_parent_holds_the_children_back() {
    let world = World::new(1);
    world.put(texts(0, 10)).await;
    let first = world.worker("first").await;
    world.until_delivered(10).await;
    // The end is written by a checkpoint; the worker dies while that is under way.
    world.store.fail_by(|call| match call {
        StoreCall::Write(_, Operation::Checkpoint { update, .. })
            if update.checkpoint == Checkpoint::ShardEnd =>
        {
            Some(Fault::Hang)
        }
        _ => None,
    });
    world.sim.split_shard(STREAM, ShardId::from_index(0));
    world.put(texts(10, 30)).await;
    world.until("the end is told", |world| world.life(0).contains(&Kind::ShardEnded)).await;
    drop(first);
    world.store.heal();
    assert_eq!(world.store.rows().len(), 3, "the children have leases");
    assert_ne!(world.row(0).checkpoint, Checkpoint::ShardEnd);
    let second = world.worker("second").await;
    world.until_delivered(30).await;
    second.shutdown(GRACE).await;
    world.check();
    let ended = world.events().iter().rposition(|event| event.kind == Kind::ShardEnded).unwrap();
    let child = world.events().iter().position(|event| event.shard.index() != Some(0)).unwrap();
    assert!(ended < child, "a child began before its parent's end was told by the second worker");
    assert_eq!(world.texts().len(), 30, "all of the parent was checkpointed: no duplicate");
}

/// Members of each aggregate hash into both shards, as after a split that the writer did not know of.
#[tokio::test(start_paused = true)]
async fn aggregates_out_of_range_are_dropped_and_told_only_by_a_worker_that_is_asked_to() {
    for drops in [false, true] {
        let world = World::new(2);
        for round in 0..5 {
            let members: Vec<String> = (0..8).map(|member| format!("{round}-{member}")).collect();
            world.put_aggregate(&members.iter().map(String::as_str).collect::<Vec<_>>()).await;
        }
        world.put(texts(0, 20)).await;
        let worker = world.configured(World::config("a").with_drop_aggregates_out_of_range(drops)).await;
        // Plain records have nothing that could be out of range.
        let expected = if drops { 20 } else { 60 };
        world.until_delivered(expected).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        let stats = worker.shutdown(GRACE).await.stats;
        assert_eq!(world.texts().len(), expected, "drops: {drops}");
        let told: u64 = world
            .news()
            .iter()
            .map(
                |event| if let ConsumerEvent::AggregateOutOfRange { count, .. } = event { *count } else { 0 },
            )
            .sum();
        assert_eq!((told, stats.out_of_range_aggregates), if drops { (5, 5) } else { (0, 0) });
        if !drops {
            world.check();
        }
    }
}

/// The second starts while the first is alive, under its name: what both hand over may come twice, nothing is lost, and
/// in the end each shard is read by one of them.
#[tokio::test(start_paused = true)]
async fn two_whole_workers_of_one_name_lose_nothing_and_come_to_rest() {
    let world = World::with_script(4, |_| Ok(Act::CheckpointBatch));
    world.put(texts(0, 40)).await;
    let first = world.worker("twin").await;
    world.until_delivered(40).await;
    let second = world.configured(World::config("twin").with_seed(6)).await;
    // From the first moment on.
    for round in 0..60 {
        world.put(texts(40 + round * 4, 44 + round * 4)).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    world.until_delivered(280).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(first.shards().len() + second.shards().len(), 4, "each shard has one reader");
    let before = world.texts().len();
    world.put(texts(280, 320)).await;
    world.until_delivered(320).await;
    assert_eq!(world.texts().len() - before, 40, "nothing comes twice any more");
    first.shutdown(GRACE).await;
    second.shutdown(GRACE).await;
    world.check();
}
