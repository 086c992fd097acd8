//! Splits and merges while records flow: acknowledged records reach every KCL reader, parents come before children.

mod common;

use std::time::Duration;

use common::worker::{Plan, Policy};
use common::{World, for_each_seed};
use rand::RngExt;

async fn put_rounds(world: &World, producer: &kpl::Producer, rounds: usize, reshape: impl Fn(usize)) {
    let mut tickets = Vec::new();
    for round in 0..rounds {
        reshape(round);
        tickets.extend(world.put(producer, 40).await);
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    world.answers(tickets).await;
}

#[test]
fn a_split_in_full_flow_loses_and_reorders_nothing() {
    for_each_seed("a_split_in_full_flow_loses_and_reorders_nothing", |world: World| async move {
        let worker = world.worker("worker-a", Plan::default()).await;
        let producer = world.producer(|config| config);
        put_rounds(&world, &producer, 12, |round| {
            if round == 5 {
                world.split_widest();
            }
        })
        .await;
        world.until_delivered().await;
        worker.shutdown(Duration::from_secs(10)).await;
        world.assert_complete();
        assert_eq!(world.history.acknowledged().len(), 480);
        assert_eq!(world.history.shards_ended().len(), 1, "the parent was read to its end");
    });
}

#[test]
fn a_merge_waits_for_both_parents() {
    for_each_seed("a_merge_waits_for_both_parents", |seeded: World| async move {
        let world = World::with_shards(seeded.seed, 2);
        let first =
            world.worker("worker-a", Plan { work: Duration::from_millis(700), ..Plan::default() }).await;
        let second = world.worker("worker-b", Plan::default()).await;
        let producer = world.producer(|config| config);
        put_rounds(&world, &producer, 12, |round| {
            if round == 6 {
                assert!(world.merge_first());
            }
        })
        .await;
        world.until_delivered().await;
        first.shutdown(Duration::from_secs(10)).await;
        second.shutdown(Duration::from_secs(10)).await;
        world.assert_complete();
        assert_eq!(world.history.shards_ended().len(), 2);
    });
}

#[test]
fn random_splits_and_merges_lose_nothing() {
    for_each_seed("random_splits_and_merges_lose_nothing", |world: World| async move {
        let first = world.worker("worker-a", Plan { policy: Policy::MidBatch, ..Plan::default() }).await;
        let second =
            world.worker("worker-b", Plan { policy: Policy::EveryNthBatch(3), ..Plan::default() }).await;
        let producer = world.producer(|config| config.with_record_ttl(Duration::from_mins(1)));
        let rng = std::cell::RefCell::new(world.rng("reshape"));
        put_rounds(&world, &producer, 30, |round| {
            if round % 5 == 2 {
                if rng.borrow_mut().random_bool(0.5) {
                    world.split_widest();
                } else {
                    world.merge_first();
                }
            }
        })
        .await;
        world.until_delivered().await;
        first.shutdown(Duration::from_secs(10)).await;
        second.shutdown(Duration::from_secs(10)).await;
        world.assert_complete();
        assert_eq!(world.history.acknowledged().len(), 1_200);
    });
}

#[test]
fn a_shard_split_before_anyone_reads_it_is_read_from_its_start() {
    for_each_seed(
        "a_shard_split_before_anyone_reads_it_is_read_from_its_start",
        |seeded: World| async move {
            let world = World::with_shards(seeded.seed, 1);
            let producer = world.producer(|config| config);
            let tickets = world.put(&producer, 50).await;
            world.answers(tickets).await;
            world.split_widest();
            tokio::time::sleep(Duration::from_secs(5)).await;
            let tickets = world.put(&producer, 50).await;
            world.answers(tickets).await;
            let worker = world.worker("worker-a", Plan::default()).await;
            world.until_delivered().await;
            worker.shutdown(Duration::from_secs(10)).await;
            world.assert_complete();
            assert_eq!(world.history.most_repeated_position(), 1);
        },
    );
}
