//! Records that the stream's retention trims before they are read.

use std::time::Duration;

use kcl::{ConsumerEvent, RetrievalMode, Scheduler, SequenceNumber, ShardId};

use crate::world::{Kind, STREAM, World, texts};

const GRACE: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_hours(1);
const MODES: [RetrievalMode; 2] = [RetrievalMode::Polling, RetrievalMode::FanOut];

fn overtaken(world: &World) -> Vec<(Duration, Option<SequenceNumber>, Option<SequenceNumber>)> {
    let told = |event| match event {
        ConsumerEvent::OvertakenByRetention { lost, after, first, .. } => Some((lost, after, first)),
        _ => None,
    };
    world.news().into_iter().filter_map(told).collect()
}

/// The sequence numbers handed over, in order.
fn numbers(world: &World) -> Vec<SequenceNumber> {
    let number = |event: crate::world::Event| match event.kind {
        Kind::Record { position, .. } => Some(position.sequence_number),
        _ => None,
    };
    world.events().into_iter().filter_map(number).collect()
}

/// A shard that stands still for thirty hours, with a record put at each.
async fn thirty_hours_late(world: &World, mode: RetrievalMode) -> Scheduler {
    let worker = world.configured(World::config("a").with_retrieval_mode(mode)).await;
    world.put(texts(0, 5)).await;
    world.until_delivered(5).await;
    tokio::time::sleep(Duration::from_secs(7)).await;
    worker.pause(&ShardId::from_index(0));
    // What was asked for before may still come.
    tokio::time::sleep(Duration::from_secs(20)).await;
    for hour in 0..30 {
        world.put(texts(5 + hour, 6 + hour)).await;
        tokio::time::sleep(HOUR).await;
    }
    worker.resume(&ShardId::from_index(0));
    world.until("the last one", |world| world.texts().last() == texts(34, 35).last()).await;
    worker
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_is_overtaken_is_told_how_much_it_lost() {
    for mode in MODES {
        let world = World::new(1);
        let worker = thirty_hours_late(&world, mode).await;
        let came = world.texts();
        // The first of them may have been on its way when the shard was paused.
        let lost = 35 - came.len();
        assert!(lost == 5 || lost == 6, "{mode:?}: {came:?}");
        assert_eq!(came[came.len() - 24..], texts(11, 35), "{mode:?}");
        let told = overtaken(&world);
        let [(time, after, first)] = told[..] else { panic!("{mode:?}: {told:?}") };
        assert!(time.abs_diff(HOUR * 6) < Duration::from_mins(1), "{mode:?}: {time:?}");
        let numbers = numbers(&world);
        let last_before = numbers[numbers.len() - 25];
        assert!(after.is_some_and(|after| after >= last_before && after < numbers[numbers.len() - 24]));
        assert!(first.is_none_or(|first| first == numbers[numbers.len() - 24]), "{mode:?}");
        let line = world.told().into_iter().find(|line| line.contains("too slowly")).unwrap();
        assert!(line.contains(&format!("{STREAM}/shardId-000000000000")), "{line}");
        assert_eq!(worker.stats().gaps, 1);
        worker.shutdown(GRACE).await;
        world.check_order();
    }
}

#[tokio::test(start_paused = true)]
async fn a_longer_retention_loses_nothing_and_tells_nothing() {
    for mode in MODES {
        let world = World::new(1);
        let client = world.sim.client_named("operator");
        let longer = client.increase_stream_retention_period().stream_name(STREAM).retention_period_hours(48);
        longer.send().await.unwrap();
        let worker = thirty_hours_late(&world, mode).await;
        worker.shutdown(GRACE).await;
        assert_eq!((overtaken(&world), world.texts()), (vec![], texts(0, 35)), "{mode:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_is_caught_up_with_an_idle_stream_has_lost_nothing() {
    for mode in MODES {
        let world = World::new(1);
        let config = World::config("a").with_retrieval_mode(mode);
        let worker = world.configured(config.with_idle_time_between_reads(Duration::from_mins(4))).await;
        world.put(texts(0, 5)).await;
        world.until_delivered(5).await;
        tokio::time::sleep(HOUR * 26).await;
        world.put(texts(5, 10)).await;
        world.until_delivered(10).await;
        worker.shutdown(GRACE).await;
        assert_eq!((overtaken(&world), world.texts()), (vec![], texts(0, 10)), "{mode:?}");
    }
}
