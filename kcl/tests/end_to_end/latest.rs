//! What `LATEST` means is written down before anything behind it is read; the answer to that may get lost.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use kcl::lease::{Fault, Operation, StoreCall};
use kcl::{ConsumerEvent, InitialPosition, RetrievalMode};

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
        let start = std::time::SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
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
