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

/// Splits of splits and a merge of theirs, all between two polls of one shard.
#[tokio::test(start_paused = true)]
async fn reshards_nested_inside_one_poll_are_followed_generation_by_generation() {
    let world = World::new(1);
    world.put(texts(0, 20)).await;
    let worker = world.worker("a").await;
    world.until_delivered(20).await;
    let split = |shard: u64| {
        world.sim.split_shard(STREAM, ShardId::from_index(shard));
    };
    split(0);
    world.put(texts(20, 40)).await;
    split(1);
    split(2);
    world.put(texts(40, 60)).await;
    world.sim.merge_shards(STREAM, ShardId::from_index(4), ShardId::from_index(5));
    split(3);
    world.put(texts(60, 90)).await;
    world.until_delivered(90).await;
    // Shards 7, 6, 8, 9 are open: every one of them is read in the end.
    let read = |shard: u64| world.life(shard).first() == Some(&Kind::Initialize(Checkpoint::TrimHorizon));
    world.until("all generations", |_| (0..10).all(read)).await;
    worker.shutdown(GRACE).await;
    world.check();
    check_parents_first(&world);
    assert_eq!(world.texts().len(), 90, "no duplicate");
}

#[tokio::test(start_paused = true)]
async fn a_closed_shard_without_a_record_ends_at_once() {
    let world = World::new(2);
    // Nothing was ever put into either: both end with the first read.
    world.sim.split_shard(STREAM, ShardId::from_index(0));
    world.sim.merge_shards(STREAM, ShardId::from_index(3), ShardId::from_index(1));
    let worker = world.worker("a").await;
    let begun = |world: &World, shard: u64| !world.life(shard).is_empty();
    world.until("the open shards are read", |world| begun(world, 2) && begun(world, 4)).await;
    assert!(world.began.elapsed() < Duration::from_secs(20), "{:?}", world.began.elapsed());
    for shard in [0, 1, 3] {
        assert_eq!(
            world.life(shard),
            [Kind::Initialize(Checkpoint::TrimHorizon), Kind::ShardEnded],
            "{shard}"
        );
    }
    world.put(texts(0, 20)).await;
    world.until_delivered(20).await;
    worker.shutdown(GRACE).await;
    world.check();
    check_parents_first(&world);
}

/// C9: the leases of the children exist before the end is told, and before it is stored.
#[tokio::test(start_paused = true)]
async fn the_end_is_told_only_once_the_children_have_leases() {
    let world = World::new(1);
    world.put(texts(0, 5)).await;
    let worker = world.worker("a").await;
    world.until_delivered(5).await;
    world.sim.split_shard(STREAM, ShardId::from_index(0));
    // Creations fail for a while.
    let began = world.began;
    world.store.fail_by(move |call| match call {
        kcl::lease::StoreCall::Write(_, kcl::lease::Operation::Create(_))
            if began.elapsed() < Duration::from_mins(1) =>
        {
            Some(kcl::lease::Fault::LoseRequest)
        }
        _ => None,
    });
    let store = world.store.clone();
    world.until("an end", |world| world.life(0).contains(&Kind::ShardEnded)).await;
    assert!(world.began.elapsed() >= Duration::from_mins(1));
    assert_eq!(store.rows().len(), 3);
    world
        .until("the children are read", |world| !world.life(1).is_empty() && !world.life(2).is_empty())
        .await;
    worker.shutdown(GRACE).await;
    assert_eq!(world.row(0).checkpoint, Checkpoint::ShardEnd);
    world.check();
}

/// C10: whatever made the hole, the next sync fills it, and what was processed does not come again.
#[tokio::test(start_paused = true)]
async fn a_missing_lease_behind_a_finished_shard_is_made_again() {
    let world = World::new(1);
    world.put(texts(0, 20)).await;
    world.sim.split_shard(STREAM, ShardId::from_index(0));
    world.put(texts(20, 60)).await;
    // A worker of another kind finished the parent and created one child only.
    let finished = |row: kcl::Lease| {
        let mut row = row;
        row.checkpoint = Checkpoint::ShardEnd;
        row.children = vec![ShardId::from_index(1), ShardId::from_index(2)];
        row
    };
    let lease = |shard: u64, parents: Vec<ShardId>| {
        kcl::lease::NewLease::child(kcl::LeaseKey::from(&ShardId::from_index(shard)), parents, None)
    };
    world.store.put_row(finished(kcl::Lease::created(lease(0, vec![]))));
    world.store.put_row(kcl::Lease::created(lease(1, vec![ShardId::from_index(0)])));
    let worker = world.worker("a").await;
    let of_children =
        world.sim.stored(STREAM).iter().filter(|record| record.shard_id.index() != Some(0)).count();
    world.until_delivered(of_children).await;
    worker.shutdown(GRACE).await;
    let hole =
        "lease of orders/shardId-000000000002 was missing behind a finished parent, created at TRIM_HORIZON";
    assert!(world.told().contains(&hole.to_owned()), "{:#?}", world.told());
    assert_eq!(world.texts().len(), of_children, "no duplicate");
    assert!(world.life(0).is_empty(), "the finished shard is not read again");
}

/// C11: rows go last, one generation after the other, and never so that something is read again.
#[tokio::test(start_paused = true)]
async fn finished_leases_are_deleted_once_their_children_have_begun() {
    let world = World::new(1);
    world.put(texts(0, 10)).await;
    let worker = world.worker("a").await;
    world.until_delivered(10).await;
    world.sim.split_shard(STREAM, ShardId::from_index(0));
    world
        .until("the children are read", |world| !world.life(1).is_empty() && !world.life(2).is_empty())
        .await;
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert!(
        world.store.rows().iter().any(|row| row.key.shard_id().index() == Some(0)),
        "no child has a checkpoint"
    );
    world.put(texts(10, 60)).await;
    world.until_delivered(60).await;
    let gone = |world: &World, shard: u64| {
        !world.store.rows().iter().any(|row| row.key.shard_id().index() == Some(shard))
    };
    world.until("the parent's row is deleted", |world| gone(world, 0)).await;
    world.sim.split_shard(STREAM, ShardId::from_index(1));
    world.put(texts(60, 120)).await;
    world.until_delivered(120).await;
    world.until("the next one too", |world| gone(world, 1)).await;
    tokio::time::sleep(Duration::from_mins(10)).await;
    let left: Vec<_> = world.store.rows().iter().map(|row| row.key.shard_id().index().unwrap()).collect();
    assert_eq!(left, [2, 3, 4]);
    worker.shutdown(GRACE).await;
    world.check();
    assert_eq!(world.texts().len(), 120, "nothing was read again");
}

/// A child of a shard that was trimmed away while nobody ran starts at its first record, in a LATEST application too.
#[tokio::test(start_paused = true)]
async fn children_of_a_trimmed_parent_are_not_begun_at_latest() {
    let world = World::new(1);
    let latest = || World::config("a").with_initial_position(InitialPosition::Latest);
    let worker = world.configured(latest()).await;
    world.until("initialized", |world| !world.life(0).is_empty()).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.put(texts(0, 5)).await;
    world.until_delivered(5).await;
    worker.shutdown(GRACE).await;
    world.sim.split_shard(STREAM, ShardId::from_index(0));
    // The parent closed more than a retention ago; the children's records are young.
    tokio::time::sleep(Duration::from_hours(30)).await;
    world.put(texts(5, 25)).await;
    let worker = world.configured(latest()).await;
    world.until_delivered(25).await;
    worker.shutdown(GRACE).await;
    for child in [1, 2] {
        assert_eq!(world.life(child)[0], Kind::Initialize(Checkpoint::TrimHorizon));
    }
}
