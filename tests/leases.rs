//! Workers that come, go and die: every lease finds a new owner, and nobody overlaps more than a zombie may.

mod common;

use std::time::Duration;

use common::worker::{Plan, Policy};
use common::{World, for_each_seed};
use rand::RngExt;

#[test]
fn a_dead_workers_shards_are_taken_over_within_the_failover_time() {
    for_each_seed(
        "a_dead_workers_shards_are_taken_over_within_the_failover_time",
        |world: World| async move {
            let victim = world.worker("worker-a", Plan::default()).await;
            let producer = world.producer(|config| config);
            let tickets = world.put(&producer, 100).await;
            world.answers(tickets).await;
            world.until_delivered().await;
            drop(victim);
            let died = world.now_millis();
            let heir = world.worker("worker-b", Plan::default()).await;
            let tickets = world.put(&producer, 100).await;
            world.answers(tickets).await;
            world.until_delivered().await;
            let took = world.now_millis() - died;
            assert!(took < 22_000, "the successor needed {took} ms with a failover time of 10 s");
            heir.shutdown(Duration::from_secs(10)).await;
            world.assert_complete();
        },
    );
}

#[test]
fn crashes_at_random_moments_lose_nothing() {
    for_each_seed("crashes_at_random_moments_lose_nothing", |world: World| async move {
        let mut rng = world.rng("crashes");
        let producer = world.producer(|config| config);
        let steady = world.worker("worker-a", Plan { policy: Policy::MidBatch, ..Plan::default() }).await;
        let mut tickets = Vec::new();
        for round in 0..6 {
            let plan =
                Plan { policy: Policy::EveryNthBatch(2), work: Duration::from_millis(50), ..Plan::default() };
            let victim = world.worker(&format!("worker-b{round}"), plan).await;
            for _ in 0..10 {
                tickets.extend(world.put(&producer, 5).await);
                tokio::time::sleep(Duration::from_millis(rng.random_range(0..4_000))).await;
            }
            if rng.random_bool(0.3) {
                world.split_widest();
            }
            drop(victim);
        }
        world.answers(tickets).await;
        world.until_delivered().await;
        steady.shutdown(Duration::from_secs(10)).await;
        world.assert_complete();
    });
}

#[test]
fn lost_answers_of_the_lease_store_cost_no_record() {
    for_each_seed("lost_answers_of_the_lease_store_cost_no_record", |world: World| async move {
        let store = world.store.clone();
        let mut rng = world.rng("store");
        store.fail_by(move |_| common::worker::drawn_store_fault(&mut rng, 0.05));
        let first = world.worker("worker-a", Plan::default()).await;
        let second = world.worker("worker-b", Plan { policy: Policy::MidBatch, ..Plan::default() }).await;
        let producer = world.producer(|config| config);
        for _ in 0..15 {
            let tickets = world.put(&producer, 20).await;
            world.answers(tickets).await;
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        world.store.heal();
        world.until_delivered().await;
        first.shutdown(Duration::from_secs(10)).await;
        second.shutdown(Duration::from_secs(10)).await;
        world.assert_complete();
    });
}

#[test]
fn a_call_longer_than_the_failover_time_overlaps_at_most_once() {
    for_each_seed("a_call_longer_than_the_failover_time_overlaps_at_most_once", |seeded: World| async move {
        let world = World::with_shards(seeded.seed, 1);
        let slow = world.worker("worker-a", Plan { work: Duration::from_secs(25), ..Plan::default() }).await;
        let producer = world.producer(|config| config);
        let tickets = world.put(&producer, 20).await;
        world.answers(tickets).await;
        world.until_delivered().await;
        slow.shutdown(Duration::from_mins(1)).await;
        world.assert_complete();
        assert_eq!(world.history.most_repeated_position(), 1, "the keeper renews while a call runs");
    });
}
