//! Checkpoints: only what was handed over, never back, exact inside an aggregate, and the next one goes on right there.

mod common;

use std::time::Duration;

use common::history::Event;
use common::worker::{Plan, Policy};
use common::{World, for_each_seed};
use kinesis_shard::Checkpoint;

#[test]
fn a_restart_goes_on_in_the_middle_of_an_aggregate() {
    for_each_seed("a_restart_goes_on_in_the_middle_of_an_aggregate", |seeded: World| async move {
        let world = World::with_shards(seeded.seed, 1);
        let producer = world.producer(|config| config);
        let tickets = world.put(&producer, 60).await;
        world.answers(tickets).await;
        let first = world.worker("worker-a", Plan { policy: Policy::MidBatch, ..Plan::default() }).await;
        world.until_delivered().await;
        first.shutdown(Duration::from_secs(10)).await;
        let second = world.worker("worker-b", Plan::default()).await;
        tokio::time::sleep(Duration::from_secs(20)).await;
        second.shutdown(Duration::from_secs(10)).await;
        world.assert_complete();
        let inside = world.history.events().into_iter().any(|(_, event)| {
            matches!(event, Event::Started { from: Checkpoint::At(position), .. } if position.sub_sequence_number > 0)
        });
        assert!(inside, "no tenure started inside an aggregate");
        let repeated = world.history.deliveries().values().filter(|times| **times > 1).count();
        assert!(
            repeated > 0 && repeated < 60,
            "only what is behind the checkpoint comes again, not {repeated}"
        );
    });
}

#[test]
fn without_a_checkpoint_everything_comes_again() {
    for_each_seed("without_a_checkpoint_everything_comes_again", |world: World| async move {
        let producer = world.producer(|config| config);
        let tickets = world.put(&producer, 30).await;
        world.answers(tickets).await;
        let never = Plan { policy: Policy::Never, ..Plan::default() };
        for name in ["worker-a", "worker-b"] {
            let worker = world.worker(name, never).await;
            tokio::time::sleep(Duration::from_secs(30)).await;
            worker.shutdown(Duration::from_secs(10)).await;
        }
        world.assert_complete();
        assert!(
            world.history.deliveries().values().all(|times| *times == 2),
            "{:?}",
            world.history.deliveries()
        );
    });
}

#[test]
fn after_a_clean_stop_nothing_comes_again() {
    for_each_seed("after_a_clean_stop_nothing_comes_again", |world: World| async move {
        let producer = world.producer(|config| config);
        for round in 0..4 {
            let tickets = world.put(&producer, 30).await;
            world.answers(tickets).await;
            let worker = world.worker(&format!("worker-{round}"), Plan::default()).await;
            world.until_delivered().await;
            worker.shutdown(Duration::from_secs(10)).await;
        }
        world.assert_complete();
        assert_eq!(world.history.most_repeated_position(), 1);
    });
}
