//! What `LATEST` and `AT_TIMESTAMP` mean is written down before anything behind it is read; the answer to that may get lost.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use kcl::lease::{Fault, Operation, StoreCall};
use kcl::{ConsumerConfig, ConsumerEvent, InitialPosition, RetrievalMode};

use crate::world::{World, texts};

const GRACE: Duration = Duration::from_secs(10);

/// The note is repeated a few times by itself; all of these answers are lost, and one more attempt's.
const LOST_ANSWERS: u32 = 5;

#[tokio::test(start_paused = true)]
async fn latest_is_where_it_was_first_opened_also_if_nobody_was_told_that_it_was_written_down() {
    for mode in [RetrievalMode::Polling, RetrievalMode::FanOut] {
        // The next attempt comes within the same second of the service's clock, and some seconds later.
        for pause in [Duration::from_millis(1), Duration::from_secs(4)] {
            let world = World::new(1);
            let lost = std::sync::Arc::new(AtomicU32::new(0));
            let count = std::sync::Arc::clone(&lost);
            world.store.fail_by(move |call| {
                let note = matches!(call, StoreCall::Write(_, Operation::UpdateMeta(note)) if note.latest_pinned_at.is_some());
                let fails = note && count.load(Ordering::Relaxed) < LOST_ANSWERS;
                count.fetch_add(u32::from(fails), Ordering::Relaxed);
                fails.then_some(Fault::LoseAnswer)
            });
            world.put(texts(0, 5)).await;
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            let config =
                World::config("a").with_initial_position(InitialPosition::Latest).with_retrieval_mode(mode);
            let worker = world.configured(config.with_task_backoff(pause).with_max_task_backoff(pause)).await;
            world.until("written down", |world| world.pin().is_some()).await;
            let pin = world.pin();
            // Behind what was opened first, before what is opened next.
            world.put(texts(5, 10)).await;
            world.until_delivered(5).await;
            world.put(texts(10, 15)).await;
            world.until_delivered(10).await;
            assert_eq!(lost.load(Ordering::Relaxed), LOST_ANSWERS, "{mode:?}");
            assert_eq!(world.pin(), pin, "the first note stays");
            worker.shutdown(GRACE).await;
            assert_eq!(
                world.texts(),
                texts(5, 15),
                "{mode:?} {pause:?}: all behind it, once, and nothing before it"
            );
            world.check_order();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_time_in_the_future_is_told_once_and_begins_there() {
    for mode in [RetrievalMode::Polling, RetrievalMode::FanOut] {
        let world = World::new(1);
        world.put(texts(0, 5)).await;
        let millis = world.sim.now_millis() + 3_600_000;
        let start = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        let config = World::config("a").with_initial_position(InitialPosition::AtTimestamp(start));
        let worker = world.configured(config.with_retrieval_mode(mode)).await;
        tokio::time::sleep(Duration::from_mins(59)).await;
        world.put(texts(5, 10)).await;
        tokio::time::sleep(Duration::from_mins(2)).await;
        world.put(texts(10, 15)).await;
        world.until_delivered(5).await;
        worker.shutdown(GRACE).await;
        assert_eq!(world.texts(), texts(10, 15), "{mode:?}");
        let told = |event: &&ConsumerEvent| matches!(event, ConsumerEvent::ReadFailed { .. });
        assert_eq!(world.news().iter().filter(told).count(), 1, "{mode:?}: {:#?}", world.told());
    }
}

/// The time of the simulation, as a place to start.
fn now(world: &World) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(world.sim.now_millis())
}

fn from(name: &str, mode: RetrievalMode, time: SystemTime) -> ConsumerConfig {
    World::config(name).with_retrieval_mode(mode).with_initial_position(InitialPosition::AtTimestamp(time))
}

fn starts_that_stay(world: &World) -> usize {
    world.news().iter().filter(|event| matches!(event, ConsumerEvent::StartTimeStays { .. })).count()
}

/// Each start of a worker computes its start time anew, as in "from an hour ago on"; what the lease was made with stays.
#[tokio::test(start_paused = true)]
async fn a_start_time_is_that_of_the_lease_whoever_reads_it_first() {
    for mode in [RetrievalMode::Polling, RetrievalMode::FanOut] {
        let world = World::new(2);
        world.put(texts(0, 10)).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let start = now(&world);
        // The first makes the leases and reads nothing.
        let opening = ["GetShardIterator", "SubscribeToShard"]
            .map(|name| world.sim.rule(kinesis_sim::Rule::operation(name).then(kinesis_sim::Verdict::Fail)));
        let first = world.configured(from("first", mode, start)).await;
        world.until("the leases are there", |world| world.store.rows().len() == 2).await;
        world.put(texts(10, 20)).await;
        tokio::time::sleep(Duration::from_secs(30)).await;
        drop((first, opening));
        assert_eq!(starts_that_stay(&world), 0, "{mode:?}: it is the configured one");
        let second = world.configured(from("second", mode, now(&world))).await;
        world.put(texts(20, 30)).await;
        world.until_delivered(20).await;
        second.shutdown(GRACE).await;
        let mut delivered = world.texts();
        delivered.sort();
        assert_eq!(delivered, texts(10, 30), "{mode:?}: all since the first start, once");
        assert_eq!(starts_that_stay(&world), 2, "{mode:?}: {:#?}", world.told());
        assert!(world.told().iter().any(|told| told.contains("begins at the time of its lease")), "{mode:?}");
    }
}

/// A Java worker made the lease, which does not say when it starts: the first of ours that reads it decides.
#[tokio::test(start_paused = true)]
async fn a_start_time_that_a_lease_does_not_say_is_written_down_by_its_first_reader() {
    for mode in [RetrievalMode::Polling, RetrievalMode::FanOut] {
        let world = World::new(1);
        world.put(texts(0, 10)).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let start = now(&world);
        let mut row = kcl::Lease::created(kcl::lease::NewLease::child(
            kcl::LeaseKey::from(&kcl::ShardId::from_index(0)),
            [],
            None,
        ));
        row.checkpoint = kcl::Checkpoint::AtTimestamp;
        world.store.put_row(row);
        // Nothing comes, and iterators and subscriptions end five minutes later: it is opened again, at the same place.
        let first = world.configured(from("first", mode, start)).await;
        tokio::time::sleep(Duration::from_mins(12)).await;
        assert_eq!(world.pin(), Some(world.sim.now_millis() - 12 * 60_000), "{mode:?}");
        drop(first);
        world.put(texts(10, 20)).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let second = world.configured(from("second", mode, now(&world))).await;
        world.until_delivered(10).await;
        second.shutdown(GRACE).await;
        assert_eq!(world.texts(), texts(10, 20), "{mode:?}: from the first reader's time on");
        assert_eq!(starts_that_stay(&world), 1, "{mode:?}");
    }
}
