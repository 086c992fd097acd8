//! A stream that is deleted and made again under a running worker: same name, same shard ids, another stream.

use std::time::Duration;

use kcl::{ConsumerEvent, InitialPosition, RetrievalMode, StreamSet, WorkerError};

use crate::streams::{config, parts, put, texts_of};
use crate::world::{Kind, STREAM, World, texts};

const GRACE: Duration = Duration::from_secs(10);
const MODES: [RetrievalMode; 2] = [RetrievalMode::Polling, RetrievalMode::FanOut];

async fn make_again(world: &World, stream: &str, shards: u32) {
    world.sim.delete_stream(stream);
    // The creation is told in whole seconds.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    world.sim.create_stream(stream, shards);
}

fn count(world: &World, wanted: impl Fn(&ConsumerEvent) -> bool) -> usize {
    world.news().iter().filter(|event| wanted(event)).count()
}

fn is_gone(event: &ConsumerEvent) -> bool {
    matches!(event, ConsumerEvent::StreamReplaced { .. } | ConsumerEvent::StreamVanished { .. })
}

fn calls(world: &World) -> usize {
    world.sim.trace().iter().filter(|line| line.contains("clicks") && !line.contains("GetRecords")).count()
}

async fn until_reading(world: &World, shards: usize) {
    let begun = |world: &World| {
        world.events().iter().filter(|event| matches!(event.kind, Kind::Initialize(_))).count()
    };
    world.until("reading", |world| begun(world) >= shards).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
}

#[tokio::test(start_paused = true)]
async fn it_is_read_from_its_first_record_under_leases_of_its_own() {
    for mode in MODES {
        for (position, shards) in [
            (InitialPosition::TrimHorizon, 2),
            (InitialPosition::Latest, 2),
            (InitialPosition::Latest, 4),
            (InitialPosition::TrimHorizon, 1),
        ] {
            let world = World::new(0);
            world.sim.create_stream("clicks", 2);
            world.sim.create_stream("orders", 1);
            let set = StreamSet::new(["clicks", "orders"]);
            let config = config(&set, "a").with_retrieval_mode(mode).with_initial_position(position);
            let worker = world.configured(config).await;
            until_reading(&world, 3).await;
            put(&world, "clicks", texts(0, 10)).await;
            put(&world, "orders", texts(10, 15)).await;
            world.until_delivered(15).await;
            make_again(&world, "clicks", shards).await;
            // Nobody has noticed yet.
            put(&world, "clicks", texts(15, 35)).await;
            put(&world, "orders", texts(35, 40)).await;
            world.until_delivered(40).await;
            assert_eq!(
                parts(&world).len(),
                3,
                "{mode:?} {position:?}: leases of both, and of the other stream"
            );
            assert_eq!(count(&world, is_gone), 1, "{:#?}", world.told());
            let followed = |event: &ConsumerEvent| matches!(event, ConsumerEvent::StreamFollowed { .. });
            assert_eq!(count(&world, followed), 3, "each stream once: {:#?}", world.told());
            // What was read of the new one under leases of the old is at most read again.
            assert!(texts_of(&world, "orders").len() == 10, "the other stream is not touched");
            let before = calls(&world);
            tokio::time::sleep(Duration::from_mins(20)).await;
            let later = calls(&world) - before;
            assert!(later <= 25 + 8 * shards as usize, "a listing a minute, and no loop: {later}");
            assert!(!world.events().iter().any(|event| event.kind == Kind::ShardEnded), "no shard has ended");
            assert_eq!(worker.shards().len(), 1 + shards as usize);
            assert!(worker.health().is_alive());
            worker.shutdown(GRACE).await;
            world.check_order();
        }
    }
}

/// Without a record there is no number to compare: the listing of the shards gives it away.
#[tokio::test(start_paused = true)]
async fn one_of_which_nothing_was_read_is_noticed_within_a_sync() {
    for mode in MODES {
        let world = World::new(0);
        world.sim.create_stream("clicks", 1);
        let worker =
            world.configured(config(&StreamSet::new(["clicks"]), "a").with_retrieval_mode(mode)).await;
        until_reading(&world, 1).await;
        let began = tokio::time::Instant::now();
        make_again(&world, "clicks", 1).await;
        world.until("noticed", |world| parts(world).len() == 2).await;
        assert!(began.elapsed() < Duration::from_secs(75), "{mode:?}: {:?}", began.elapsed());
        put(&world, "clicks", texts(0, 5)).await;
        world.until_delivered(5).await;
        assert_eq!(count(&world, is_gone), 1, "{:#?}", world.told());
        worker.shutdown(GRACE).await;
        world.check_order();
    }
}

/// A worker that holds no shard of it must not go on with the old leases when its turn comes.
#[tokio::test(start_paused = true)]
async fn a_worker_without_a_share_of_it_notices_too() {
    let world = World::new(0);
    world.sim.create_stream("clicks", 1);
    world.sim.create_stream("orders", 1);
    let set = StreamSet::new(["clicks", "orders"]);
    let (a, b) = (world.configured(config(&set, "a")).await, world.configured(config(&set, "b")).await);
    world.until("shared", |_| a.shards().len() == 1 && b.shards().len() == 1).await;
    put(&world, "clicks", texts(0, 5)).await;
    world.until_delivered(5).await;
    make_again(&world, "clicks", 1).await;
    tokio::time::sleep(Duration::from_secs(75)).await;
    let (reader, other) = if &*a.shards()[0].stream == "clicks" { (a, b) } else { (b, a) };
    drop(reader);
    put(&world, "clicks", texts(5, 10)).await;
    world.until_delivered(10).await;
    assert_eq!(count(&world, is_gone), 2, "each worker says it once: {:#?}", world.told());
    assert_eq!(other.shards().len(), 2);
    other.shutdown(GRACE).await;
    world.check_order();
}

#[tokio::test(start_paused = true)]
async fn it_ends_the_worker_of_an_application_of_one_stream() {
    for mode in MODES {
        for put_before in [true, false] {
            let world = World::new(1);
            let worker = world.configured(World::config("a").with_retrieval_mode(mode)).await;
            until_reading(&world, 1).await;
            if put_before {
                world.put(texts(0, 5)).await;
                world.until_delivered(5).await;
            }
            make_again(&world, STREAM, 1).await;
            world.put(texts(5, 10)).await;
            let error = tokio::time::timeout(Duration::from_mins(2), worker.wait()).await.expect("noticed");
            assert!(matches!(error, WorkerError::StreamReplaced { .. }), "{error:?}");
            assert!(error.to_string().contains("delete its leases"), "{error}");
            worker.shutdown(GRACE).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_deleted_stream_ends_also_a_worker_that_held_nothing_of_it() {
    let world = World::new(1);
    let (a, b) = (world.worker("a").await, world.worker("b").await);
    world.until("read", |_| a.shards().len() + b.shards().len() == 1).await;
    world.sim.delete_stream(STREAM);
    for worker in [a, b] {
        let error = tokio::time::timeout(Duration::from_mins(10), worker.wait()).await.expect("it ends");
        assert!(matches!(error, WorkerError::StreamGone { .. }), "{error:?}");
        worker.shutdown(GRACE).await;
    }
}
