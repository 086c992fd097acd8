//! Several streams in one application.

use std::time::Duration;

use aws_sdk_kinesis::primitives::Blob;
use kcl::{Checkpoint, ConsumerConfig, ConsumerEvent, HealthState, InitialPosition, StreamSet};

use crate::world::{Act, Kind, World, texts};

const GRACE: Duration = Duration::from_secs(10);

pub(crate) fn config(set: &StreamSet, worker: &str) -> ConsumerConfig {
    ConsumerConfig::multi_stream("app", set.clone(), worker).with_seed(5)
}

pub(crate) async fn put(world: &World, stream: &str, texts: Vec<String>) {
    let client = world.sim.client_named("producer");
    for text in texts {
        let put = client.put_record().stream_name(stream).partition_key(text.as_str());
        put.data(Blob::new(text.clone())).send().await.unwrap();
    }
}

/// The texts that processors of one stream were given, in order of the calls.
pub(crate) fn texts_of(world: &World, stream: &str) -> Vec<String> {
    let text = |event: crate::world::Event| match event.kind {
        Kind::Record { text, .. } if *event.stream == *stream => Some(text),
        _ => None,
    };
    world.events().into_iter().filter_map(text).collect()
}

pub(crate) fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}

/// The stream parts of the rows' keys.
pub(crate) fn parts(world: &World) -> Vec<String> {
    let mut parts: Vec<_> =
        world.store.rows().iter().map(|row| row.key.stream_identifier().unwrap().to_owned()).collect();
    parts.dedup();
    parts
}

#[tokio::test(start_paused = true)]
async fn two_workers_share_the_shards_of_two_streams_under_java_keys() {
    let world = World::new(0);
    world.sim.create_stream("clicks", 2);
    world.sim.create_stream("orders", 2);
    put(&world, "clicks", texts(0, 30)).await;
    put(&world, "orders", texts(30, 60)).await;
    let set = StreamSet::new(["clicks", "orders"]);
    let (a, b) = (world.configured(config(&set, "a")).await, world.configured(config(&set, "b")).await);
    world.until("an even share", |_| a.shards().len() == 2 && b.shards().len() == 2).await;
    world.until_delivered(60).await;
    assert_eq!(sorted(texts_of(&world, "clicks")), texts(0, 30));
    assert_eq!(sorted(texts_of(&world, "orders")), texts(30, 60));
    let parts = parts(&world);
    assert_eq!(parts.len(), 2);
    for (part, stream) in parts.iter().zip(["clicks", "orders"]) {
        let fields: Vec<&str> = part.split(':').collect();
        assert_eq!((fields.len(), fields[0].len(), fields[1]), (3, 12, stream), "{part}");
        assert!(fields[2].parse::<u64>().unwrap() > 0, "{part}");
    }
    let health = a.health();
    assert_eq!((health.state, health.shards.len()), (HealthState::Healthy, 2));
    a.shutdown(GRACE).await;
    b.shutdown(GRACE).await;
    assert!(world.store.rows().iter().all(|row| row.owner.is_none()));
    world.check_order();
}

#[tokio::test(start_paused = true)]
async fn a_split_in_one_stream_leaves_the_other_alone() {
    let world = World::new(0);
    world.sim.create_stream("clicks", 1);
    world.sim.create_stream("orders", 1);
    put(&world, "clicks", texts(0, 10)).await;
    let worker = world.configured(config(&StreamSet::new(["clicks", "orders"]), "a")).await;
    world.until_delivered(10).await;
    world.sim.split_shard("clicks", kcl::ShardId::from_index(0));
    put(&world, "clicks", texts(10, 40)).await;
    put(&world, "orders", texts(40, 60)).await;
    world.until_delivered(60).await;
    // The row of the split shard goes once its children were begun; the same shard of the other stream stays.
    let rows =
        |stream: &str| world.store.rows().iter().filter(|row| row.key.as_str().contains(stream)).count();
    world.until("the parent's row is deleted", |_| rows("clicks") == 2).await;
    assert_eq!(rows("orders"), 1);
    worker.shutdown(GRACE).await;
    world.check_order();
    assert_eq!(world.texts().len(), 60, "no duplicate");
}

#[tokio::test(start_paused = true)]
async fn the_set_may_change_while_the_worker_runs() {
    let world = World::new(0);
    world.sim.create_stream("clicks", 1);
    world.sim.create_stream("orders", 1);
    put(&world, "clicks", texts(0, 5)).await;
    put(&world, "orders", texts(5, 10)).await;
    let set = StreamSet::new(["clicks"]);
    let worker = world.configured(config(&set, "a")).await;
    world.until_delivered(5).await;
    assert!(texts_of(&world, "orders").is_empty());
    assert!(set.add("orders") && !set.add("orders"));
    world.until_delivered(10).await;
    let removed_at = tokio::time::Instant::now();
    assert!(set.remove("clicks"));
    world.until("left", |_| worker.shards().len() == 1).await;
    assert!(removed_at.elapsed() < Duration::from_secs(5));
    put(&world, "clicks", texts(10, 15)).await;
    put(&world, "orders", texts(15, 20)).await;
    world.until_delivered(15).await;
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert_eq!(texts_of(&world, "clicks").len(), 5, "it is not taken again");
    let rows = world.store.rows();
    let row = rows.iter().find(|row| row.key.stream_identifier().unwrap().contains("clicks")).unwrap();
    assert!(
        row.owner.is_none() && matches!(row.checkpoint, Checkpoint::At(_)),
        "given back at its checkpoint"
    );
    set.add("clicks");
    world.until_delivered(20).await;
    worker.shutdown(GRACE).await;
    assert_eq!(texts_of(&world, "clicks").len(), 10, "it went on where it was left");
    let told = world.told();
    for line in ["stream \"orders\" is read from now on", "stream \"clicks\" is not read any more"] {
        assert!(told.contains(&line.to_owned()), "{told:#?}");
    }
    world.check_order();
}

#[tokio::test(start_paused = true)]
async fn each_stream_has_its_own_initial_position() {
    let world = World::new(0);
    world.sim.create_stream("clicks", 1);
    world.sim.create_stream("orders", 1);
    put(&world, "clicks", texts(0, 5)).await;
    put(&world, "orders", texts(5, 10)).await;
    let set = StreamSet::new(["clicks"]);
    set.add_from("orders", InitialPosition::Latest);
    let worker = world.configured(config(&set, "a")).await;
    world
        .until("both are read", |world| {
            world.events().iter().filter(|event| matches!(event.kind, Kind::Initialize(_))).count() == 2
        })
        .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    put(&world, "orders", texts(10, 12)).await;
    world.until_delivered(7).await;
    worker.shutdown(GRACE).await;
    assert_eq!((texts_of(&world, "clicks"), texts_of(&world, "orders")), (texts(0, 5), texts(10, 12)));
}

#[tokio::test(start_paused = true)]
async fn a_deleted_stream_is_left_without_a_loop_and_begins_anew_when_made_again() {
    let world = World::new(0);
    world.sim.create_stream("clicks", 1);
    world.sim.create_stream("orders", 1);
    put(&world, "clicks", texts(0, 5)).await;
    let set = StreamSet::new(["clicks", "orders"]);
    let worker = world.configured(config(&set, "a")).await;
    world.until_delivered(5).await;
    let client = world.sim.client_named("operator");
    client.delete_stream().stream_name("clicks").send().await.unwrap();
    world.until("left", |_| worker.shards().len() == 1).await;
    let calls = |world: &World| world.sim.trace().iter().filter(|line| line.contains("clicks")).count();
    tokio::time::sleep(Duration::from_mins(1)).await;
    let before = calls(&world);
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert!(calls(&world) - before <= 12, "looked for once a minute: {}", calls(&world) - before);
    let vanished = |event: &&ConsumerEvent| matches!(event, ConsumerEvent::StreamVanished { .. });
    assert_eq!(world.news().iter().filter(vanished).count(), 1, "{:#?}", world.told());
    assert!(worker.health().is_alive());
    put(&world, "orders", texts(5, 10)).await;
    world.until_delivered(10).await;
    // The same name again is another stream: another creation time, other leases.
    world.sim.create_stream("clicks", 1);
    put(&world, "clicks", texts(10, 15)).await;
    world.until_delivered(15).await;
    assert_eq!(parts(&world).len(), 3);
    worker.shutdown(GRACE).await;
    world.check_order();
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_not_there_yet_holds_up_no_other() {
    let world = World::with_script(0, |_| Ok(Act::CheckpointBatch));
    world.sim.create_stream("orders", 1);
    put(&world, "orders", texts(0, 5)).await;
    let worker = world.configured(config(&StreamSet::new(["clicks", "orders"]), "a")).await;
    world.until_delivered(5).await;
    world.sim.create_stream("clicks", 1);
    put(&world, "clicks", texts(5, 10)).await;
    world.until_delivered(10).await;
    assert!(world.began.elapsed() < Duration::from_mins(3), "{:?}", world.began.elapsed());
    worker.shutdown(GRACE).await;
}
