//! Several streams in one application: by fan-out, with shards paused, in each lease store.

use std::sync::Arc;
use std::time::Duration;

use kcl::lease::{DynamoDbLeaseStore, LeaseStore, SqliteLeaseStore};
use kcl::{RetrievalMode, ShardId, StreamSet};
use kinesis_sim::SimDynamoDb;

use crate::streams::{config, put, sorted, texts_of};
use crate::world::{World, texts};

const GRACE: Duration = Duration::from_secs(10);
const MODES: [RetrievalMode; 2] = [RetrievalMode::Polling, RetrievalMode::FanOut];

async fn consumers(world: &World, stream: &str) -> Vec<String> {
    let arn = format!("arn:aws:kinesis:us-east-1:000000000000:stream/{stream}");
    let answer = world.sim.client().list_stream_consumers().stream_arn(arn).send().await.unwrap();
    answer.consumers.unwrap_or_default().into_iter().map(|consumer| consumer.consumer_name).collect()
}

#[tokio::test(start_paused = true)]
async fn by_fan_out_each_stream_has_a_consumer_of_its_own() {
    let world = World::new(0);
    world.sim.create_stream("clicks", 2);
    world.sim.create_stream("orders", 1);
    world.sim.create_stream("refunds", 1);
    put(&world, "clicks", texts(0, 20)).await;
    put(&world, "orders", texts(20, 40)).await;
    put(&world, "refunds", texts(40, 50)).await;
    let set = StreamSet::new(["clicks", "orders"]);
    let fan_out = |name| config(&set, name).with_retrieval_mode(RetrievalMode::FanOut);
    let (a, b) = (world.configured(fan_out("a")).await, world.configured(fan_out("b")).await);
    world.until_delivered(40).await;
    world.until("an even share", |_| a.shards().len().abs_diff(b.shards().len()) == 1).await;
    // One more while they run, a split, and time for every subscription to be followed by another.
    set.add("refunds");
    world.sim.split_shard("clicks", ShardId::from_index(0));
    put(&world, "clicks", texts(50, 70)).await;
    world.until_delivered(70).await;
    tokio::time::sleep(Duration::from_mins(6)).await;
    put(&world, "orders", texts(70, 75)).await;
    world.until_delivered(75).await;
    a.shutdown(GRACE).await;
    put(&world, "clicks", texts(75, 80)).await;
    world.until_delivered(80).await;
    b.shutdown(GRACE).await;
    for stream in ["clicks", "orders", "refunds"] {
        assert_eq!(consumers(&world, stream).await, ["app"], "{stream}");
    }
    let calls = |name: &str| world.sim.trace().iter().filter(|line| line.contains(name)).count();
    assert_eq!((calls("GetRecords"), calls("GetShardIterator")), (0, 0));
    assert_eq!(world.sim.subscription_count(), 0);
    assert_eq!(sorted(texts_of(&world, "refunds")), texts(40, 50));
    world.check_order();
    assert_eq!(world.texts().len(), 80, "no duplicate");
}

#[tokio::test(start_paused = true)]
async fn a_shard_is_paused_by_the_name_of_its_lease_and_its_namesake_goes_on() {
    for mode in MODES {
        let world = World::new(0);
        world.sim.create_stream("clicks", 1);
        world.sim.create_stream("orders", 1);
        let set = StreamSet::new(["clicks", "orders"]);
        let worker = world.configured(config(&set, "a").with_retrieval_mode(mode)).await;
        put(&world, "clicks", texts(0, 5)).await;
        put(&world, "orders", texts(5, 10)).await;
        world.until_delivered(10).await;
        let shards = worker.health().shards;
        let clicks = shards.into_iter().find(|status| &*status.shard.stream == "clicks").unwrap().lease_key;
        assert!(worker.pause(clicks.clone()));
        // What was asked for before may still come.
        tokio::time::sleep(Duration::from_secs(20)).await;
        for round in 0..11 {
            put(&world, "clicks", texts(10 + round * 2, 11 + round * 2)).await;
            put(&world, "orders", texts(11 + round * 2, 12 + round * 2)).await;
            tokio::time::sleep(Duration::from_mins(1)).await;
        }
        assert_eq!(texts_of(&world, "orders").len(), 16, "{mode:?}: the shard of the same name goes on");
        assert!(texts_of(&world, "clicks").len() <= 6, "{mode:?}: the paused one stands still");
        assert_eq!(worker.shards().len(), 2, "{mode:?}");
        assert!(worker.resume(clicks));
        world.until_delivered(32).await;
        worker.shutdown(GRACE).await;
        world.check_order();
        assert_eq!(world.texts().len(), 32, "{mode:?}: no duplicate");
    }
}

/// Two workers, a split, a clean stop, a crash, a stream that is left and one that is deleted, on the given table.
async fn a_life_on(stores: impl Fn() -> Arc<dyn LeaseStore>) {
    let world = World::new(0);
    world.sim.create_stream("clicks", 2);
    world.sim.create_stream("orders", 1);
    put(&world, "clicks", texts(0, 20)).await;
    put(&world, "orders", texts(20, 40)).await;
    let set = StreamSet::new(["clicks", "orders"]);
    let a = world.on_store(config(&set, "a"), stores()).await;
    let b = world.on_store(config(&set, "b"), stores()).await;
    world.until_delivered(40).await;
    world.sim.split_shard("clicks", ShardId::from_index(1));
    put(&world, "clicks", texts(40, 60)).await;
    world.until_delivered(60).await;
    a.shutdown(GRACE).await;
    put(&world, "orders", texts(60, 65)).await;
    world.until_delivered(65).await;
    drop(b);
    put(&world, "orders", texts(65, 70)).await;
    let c = world.on_store(config(&set, "c"), stores()).await;
    world.until_delivered(70).await;
    world.sim.delete_stream("clicks");
    world.until("clicks is left", |_| c.shards().len() == 1).await;
    put(&world, "orders", texts(70, 75)).await;
    world.until_delivered(75).await;
    c.shutdown(GRACE).await;
    world.check_order();
    assert_eq!(sorted(texts_of(&world, "orders")), [texts(20, 40), texts(60, 75)].concat());
    let rows = stores().list().await.unwrap();
    let of = |stream: &str| rows.iter().filter(|row| row.key.as_str().contains(stream)).count();
    assert!(
        of("orders") == 1 && of("clicks") >= 3 && rows.iter().all(|row| row.owner.is_none()),
        "{rows:#?}"
    );
}

#[tokio::test(start_paused = true)]
async fn in_memory() {
    let store = kcl::MemoryLeaseStore::new();
    a_life_on(|| Arc::new(store.clone())).await;
}

#[tokio::test(start_paused = true)]
async fn in_one_sqlite_file_through_several_connections() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases.db");
    a_life_on(|| Arc::new(SqliteLeaseStore::open(&path, "app").unwrap())).await;
}

/// The table of the Java library, under the real SDK; `tests/interop/java-leases` has its own code read such rows.
#[tokio::test(start_paused = true)]
async fn in_a_dynamodb_table_under_javas_attributes() {
    let tables = SimDynamoDb::new(1);
    a_life_on(|| Arc::new(DynamoDbLeaseStore::new(&tables.client(), "app"))).await;
    for item in tables.items("app") {
        let text = |name: &str| item[name]["S"].as_str().unwrap_or_default().to_owned();
        let (key, stream, shard) = (text("leaseKey"), text("streamName"), text("shardId"));
        assert_eq!(key, format!("{stream}:{shard}"), "{item}");
        let fields: Vec<&str> = stream.split(':').collect();
        assert!(
            fields.len() == 3 && fields[0].len() == 12 && fields[2].parse::<u64>().unwrap() > 0,
            "{item}"
        );
    }
}
