//! Ends: clean stops hand over at once, drops answer everything, nothing is left behind.

mod common;

use std::time::Duration;

use common::worker::Plan;
use common::{World, for_each_seed};

#[test]
fn after_a_clean_stop_the_leases_are_free() {
    for_each_seed("after_a_clean_stop_the_leases_are_free", |world: World| async move {
        use kcl::lease::LeaseStore;
        let worker = world.worker("worker-a", Plan::default()).await;
        tokio::time::sleep(Duration::from_secs(15)).await;
        let owned =
            world.store.list().await.expect("the store answers").iter().filter(|l| l.owner.is_some()).count();
        assert!(owned > 0, "the worker never took a lease");
        worker.shutdown(Duration::from_secs(10)).await;
        for lease in world.store.list().await.expect("the store answers") {
            assert_eq!(lease.owner, None, "{} still has an owner", lease.key);
        }
    });
}

#[test]
fn the_successor_of_a_clean_stop_starts_long_before_the_leases_would_expire() {
    for_each_seed(
        "the_successor_of_a_clean_stop_starts_long_before_the_leases_would_expire",
        |world: World| async move {
            let first = world.worker("worker-a", Plan::default()).await;
            tokio::time::sleep(Duration::from_secs(30)).await;
            first.shutdown(Duration::from_secs(10)).await;
            let stopped = world.now_millis();
            let producer = world.producer(|config| config);
            let tickets = world.put(&producer, 50).await;
            world.answers(tickets).await;
            let second = world.worker("worker-b", Plan::default()).await;
            world.until_delivered().await;
            let gap = world.now_millis() - stopped;
            assert!(gap < 4_000, "the gap was {gap} ms");
            second.shutdown(Duration::from_secs(10)).await;
            world.assert_complete();
        },
    );
}

#[test]
fn close_answers_every_ticket_and_reports_what_is_left() {
    for_each_seed("close_answers_every_ticket_and_reports_what_is_left", |world: World| async move {
        let producer = world.producer(|config| config);
        let tickets = world.put(&producer, 100).await;
        let report = producer.close(Duration::from_secs(30)).await;
        assert!(report.is_complete(), "{report}");
        world.answers(tickets).await;
        world.assert_sound();
        assert_eq!(world.history.acknowledged().len(), 100);
    });
}

#[test]
fn dropping_the_producer_answers_every_ticket() {
    for_each_seed("dropping_the_producer_answers_every_ticket", |world: World| async move {
        let producer = world.producer(|config| config);
        let tickets = world.put(&producer, 100).await;
        drop(producer);
        world.answers(tickets).await;
        world.assert_sound();
        assert_eq!(world.history.submitted().len(), 100);
        assert_eq!(world.history.acknowledged().len() + world.history.refused().len(), 100);
    });
}

#[test]
fn a_flush_covers_what_was_accepted_before_it() {
    for_each_seed("a_flush_covers_what_was_accepted_before_it", |world: World| async move {
        let producer = world.producer(|config| config.with_record_max_buffered_time(Duration::from_secs(20)));
        let tickets = world.put(&producer, 100).await;
        producer.flush().await;
        let millis = world.now_millis();
        assert!(millis < 5_000, "the flush took {millis} ms");
        assert_eq!(world.stored().len(), 100, "everything is stored once the flush is over");
        world.answers(tickets).await;
        world.assert_sound();
    });
}
