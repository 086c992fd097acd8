//! Splits and merges: parents first, children from their first record, no hole.

use std::time::Duration;

use kcl::{Checkpoint, InitialPosition, ShardId};

use crate::world::{Event, Kind, STREAM, World, texts};

const GRACE: Duration = Duration::from_secs(10);

/// C8: no call for a child before every parent has ended.
fn check_parents_first(world: &World) {
    let events = world.events();
    for shard in world.sim.shards(STREAM) {
        let first = |wanted: &ShardId| events.iter().position(|event| event.shard == *wanted);
        let last = |wanted: &ShardId| events.iter().rposition(|event: &Event| event.shard == *wanted);
        for parent in shard.parents() {
            if let (Some(child_begins), Some(parent_ends)) = (first(&shard.id), last(parent)) {
                assert!(parent_ends < child_begins, "{} began before {parent} ended", shard.id);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_children_of_a_split_follow_their_parent() {
    let world = World::new(1);
    world.put(texts(0, 30)).await;
    let worker = world.worker("a").await;
    world.until_delivered(10).await;
    world.sim.split_shard(STREAM, ShardId::from_index(0));
    world.put(texts(30, 90)).await;
    world.until_delivered(90).await;
    worker.shutdown(GRACE).await;
    world.check();
    check_parents_first(&world);
    assert_eq!(world.life(0), [Kind::Initialize(Checkpoint::TrimHorizon), Kind::ShardEnded]);
    assert_eq!(world.row(0).checkpoint, Checkpoint::ShardEnd);
    assert_eq!(world.row(0).children.len(), 2);
    for child in [1, 2] {
        assert_eq!(world.life(child)[0], Kind::Initialize(Checkpoint::TrimHorizon));
    }
    assert_eq!(world.texts().len(), 90, "no duplicate");
}

#[tokio::test(start_paused = true)]
async fn children_start_soon_after_their_parent_in_the_same_worker() {
    let world = World::new(1);
    let worker = world.worker("a").await;
    world.until("initialized", |world| !world.life(0).is_empty()).await;
    world.sim.split_shard(STREAM, ShardId::from_index(0));
    world.until("both children run", |world| !world.life(1).is_empty() && !world.life(2).is_empty()).await;
    let at = |wanted: Kind, shard: u64| {
        let shard = ShardId::from_index(shard);
        world.events().into_iter().find(|event| event.shard == shard && event.kind == wanted).unwrap().at
    };
    let gap = at(Kind::Initialize(Checkpoint::TrimHorizon), 2) - at(Kind::ShardEnded, 0);
    assert!(gap < Duration::from_secs(5), "{gap:?}");
    worker.shutdown(GRACE).await;
}

#[tokio::test(start_paused = true)]
async fn a_merged_shard_waits_for_both_parents() {
    let world = World::new(2);
    world.put(texts(0, 40)).await;
    let worker = world.worker("a").await;
    world.until_delivered(40).await;
    world.sim.merge_shards(STREAM, ShardId::from_index(0), ShardId::from_index(1));
    world.put(texts(40, 80)).await;
    world.until_delivered(80).await;
    worker.shutdown(GRACE).await;
    world.check();
    check_parents_first(&world);
    assert_eq!(world.row(2).parents.len(), 2);
    assert_eq!(world.texts().len(), 80, "no duplicate");
}

#[tokio::test(start_paused = true)]
async fn reshards_before_the_first_read_are_read_from_the_oldest_shard_on() {
    let world = World::new(1);
    world.put(texts(0, 20)).await;
    world.sim.split_shard(STREAM, ShardId::from_index(0));
    world.put(texts(20, 40)).await;
    world.sim.merge_shards(STREAM, ShardId::from_index(1), ShardId::from_index(2));
    world.put(texts(40, 60)).await;
    let worker = world.worker("a").await;
    world.until_delivered(60).await;
    worker.shutdown(GRACE).await;
    world.check();
    check_parents_first(&world);
}

#[tokio::test(start_paused = true)]
async fn two_workers_follow_a_split_and_a_merge_without_loss() {
    let world = World::new(2);
    world.put(texts(0, 40)).await;
    let (a, b) = (world.worker("a").await, world.worker("b").await);
    world.until_delivered(40).await;
    world.sim.split_shard(STREAM, ShardId::from_index(0));
    world.put(texts(40, 80)).await;
    world.sim.merge_shards(STREAM, ShardId::from_index(3), ShardId::from_index(1));
    world.put(texts(80, 120)).await;
    world.until_delivered(120).await;
    a.shutdown(GRACE).await;
    b.shutdown(GRACE).await;
    world.check();
}

#[tokio::test(start_paused = true)]
async fn children_of_a_latest_application_start_at_their_first_record() {
    let world = World::new(1);
    let config = World::config("a").with_initial_position(InitialPosition::Latest);
    let worker = world.configured(config).await;
    world.until("initialized", |world| !world.life(0).is_empty()).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.sim.split_shard(STREAM, ShardId::from_index(0));
    world.put(texts(0, 20)).await;
    world.until_delivered(20).await;
    worker.shutdown(GRACE).await;
    world.check();
    assert_eq!(world.life(1)[0], Kind::Initialize(Checkpoint::TrimHorizon));
}

#[tokio::test(start_paused = true)]
async fn an_end_that_is_not_acknowledged_is_told_again_and_holds_the_children_back() {
    let world = World::new(1);
    *world.unacknowledged_ends.lock().unwrap() = 3;
    world.put(texts(0, 5)).await;
    let worker = world.worker("a").await;
    world.until_delivered(5).await;
    world.sim.split_shard(STREAM, ShardId::from_index(0));
    world.put(texts(5, 10)).await;
    world.until_delivered(10).await;
    worker.shutdown(GRACE).await;
    let events = world.events();
    let ends: Vec<_> =
        events.iter().filter(|event| event.kind == Kind::ShardEnded).map(|event| event.at).collect();
    assert_eq!(ends.len(), 4);
    for pair in ends.windows(2) {
        assert!(
            pair[1] - pair[0] >= Duration::from_millis(250),
            "told again after a pause, not at once: {ends:?}"
        );
    }
    let told = world.told();
    let unacknowledged = "returned without checkpoint() at attempt 3: it is called again, the children wait";
    assert!(told.iter().any(|told| told.ends_with(unacknowledged)), "{told:#?}");
    check_parents_first(&world);
    world.check();
}
