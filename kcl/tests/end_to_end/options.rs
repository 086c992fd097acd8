//! Options have an effect: for each that no other test is about, a worker with it and one without.
//!
//! | option | shown in |
//! | --- | --- |
//! | `initial_position` | `resharding.rs`, `latest.rs` |
//! | `max_leases_for_worker` | `leases.rs` |
//! | `retrieval_mode`, `consumer_arn`, `subscription_silence_limit` | `fan_out.rs` |
//! | `max_records`, `call_process_records_even_for_empty_list`, `failure_policy` | `processing.rs` |
//! | `max_prefetch_bytes` | `delivery.rs` |
//! | `drop_aggregates_out_of_range` | `edges.rs` |
//! | `events` | every test that asks for news |
//! | `seed`, `clock` | `tests/world.rs` of the workspace, the runs by seed |
//! | all others | here |

use std::time::Duration;

use kcl::{ConsumerConfig, ConsumerEvent, RetrievalMode, ShardId};
use kinesis_sim::{Rule, Verdict};
use tokio::time::Instant;

use crate::world::{Act, Kind, STREAM, World, texts};

const GRACE: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);

fn config() -> ConsumerConfig {
    World::config("a")
}

fn calls(world: &World, operation: &str) -> usize {
    world.sim.trace().iter().filter(|line| line.contains(operation)).count()
}

fn near(found: Duration, expected: Duration, slack: Duration) -> bool {
    found >= expected && found <= expected + slack
}

/// A worker of two idle shards, for five minutes.
async fn idle(config: ConsumerConfig) -> World {
    let world = World::new(2);
    let worker = world.configured(config).await;
    tokio::time::sleep(Duration::from_mins(5)).await;
    drop(worker);
    world
}

#[tokio::test(start_paused = true)]
async fn the_failover_time_decides_when_a_dead_workers_shard_goes_on() {
    for failover in [4 * SECOND, 10 * SECOND, 40 * SECOND] {
        let world = World::new(1);
        let first = world.configured(config().with_failover_time(failover)).await;
        world.until("initialized", |world| !world.life(0).is_empty()).await;
        let second = world.configured(World::config("b").with_failover_time(failover)).await;
        tokio::time::sleep(5 * SECOND).await;
        drop(first);
        let died = Instant::now();
        world.until("taken over", |world| world.life(0).len() == 2).await;
        // The last sign of life is up to a third of the time old, and seen a moment later.
        let (least, most) = (failover / 2, failover + SECOND);
        assert!((least..=most).contains(&died.elapsed()), "{failover:?}: {:?}", died.elapsed());
        second.shutdown(GRACE).await;
    }
}

#[tokio::test(start_paused = true)]
async fn leases_are_renewed_at_the_renewal_interval() {
    for interval in [2 * SECOND, 5 * SECOND] {
        let world = idle(config().with_lease_renewal_interval(interval)).await;
        let expected = 2 * 300 / interval.as_secs();
        let found = world.store.writes()["renew"];
        assert!(found.abs_diff(expected) * 50 <= expected, "{interval:?}: {found} instead of {expected}");
    }
}

/// In a store whose rows are looked at one by one, each look is a call.
#[tokio::test(start_paused = true)]
async fn other_workers_are_looked_at_at_the_scan_interval() {
    let looks = async |interval| {
        let world = World::new(2);
        let a = world.configured(config().with_lease_scan_interval(interval)).await;
        let b = world.configured(World::config("b").with_lease_scan_interval(interval)).await;
        world.until("shared", |_| a.shards().len() == 1 && b.shards().len() == 1).await;
        tokio::time::sleep(Duration::from_mins(1)).await;
        let writes = |world: &World| world.store.writes().values().sum::<u64>();
        let (calls, written) = (world.store.calls(), writes(&world));
        tokio::time::sleep(Duration::from_mins(10)).await;
        let (calls, written) = (world.store.calls() - calls, writes(&world) - written);
        drop((a, b));
        calls - written
    };
    let (often, seldom) = (looks(SECOND / 2).await, looks(4 * SECOND).await);
    // Two workers for ten minutes, and the whole table twice a minute each.
    assert!((2_400..2_600).contains(&often) && (300..400).contains(&seldom), "{often} and {seldom}");
}

#[tokio::test(start_paused = true)]
async fn shards_are_listed_at_the_sync_interval() {
    for (interval, expected) in [(10 * SECOND, 30), (Duration::from_mins(2), 2)] {
        let listings = calls(&idle(config().with_shard_sync_interval(interval)).await, "ListShards");
        // And what the start asks for.
        assert!((expected..=expected + 3).contains(&listings), "{interval:?}: {listings}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_shard_whose_parent_another_worker_reads_looks_at_the_parent_poll_interval() {
    for interval in [2 * SECOND, 25 * SECOND] {
        let world = World::new(1);
        *world.unacknowledged_ends.lock().unwrap() = u32::MAX;
        let with = |name| World::config(name).with_parent_shard_poll_interval(interval);
        let old = world.configured(with("old")).await;
        world.until("initialized", |world| !world.life(0).is_empty()).await;
        world.sim.split_shard(STREAM, ShardId::from_index(0));
        world.until("all three leases are held", |_| old.shards().len() == 3).await;
        let new = world.configured(with("new")).await;
        world.until("the new worker has its share", |_| new.shards().len() == 1).await;
        let moved = new.shards()[0].shard_id.index().unwrap();
        assert_ne!(moved, 0, "this seed moves a child");
        tokio::time::sleep(60 * SECOND).await;
        *world.unacknowledged_ends.lock().unwrap() = 0;
        let ended = |world: &World| world.row(0).checkpoint == kcl::Checkpoint::ShardEnd;
        world.until("the end is acknowledged", ended).await;
        let began = Instant::now();
        world.until("the child begins", |world| !world.life(moved).is_empty()).await;
        let waited = began.elapsed();
        assert!(waited <= interval + SECOND, "{interval:?}: {waited:?}");
        if interval > 20 * SECOND {
            assert!(waited > 2 * SECOND, "{waited:?}: it was not looking every two seconds");
        }
        drop((old, new));
    }
}

#[tokio::test(start_paused = true)]
async fn more_leases_are_asked_for_at_one_time_if_that_is_allowed() {
    let times = async |count| {
        let world = World::new(16);
        let old = world.configured(config().with_max_leases_to_steal_at_one_time(count)).await;
        world.until("all are held", |_| old.shards().len() == 16).await;
        let new = world.configured(World::config("b").with_max_leases_to_steal_at_one_time(count)).await;
        let began = Instant::now();
        world.until("an even share", |_| new.shards().len() == 8).await;
        drop((old, new));
        began.elapsed()
    };
    let (one, eight) = (times(1).await, times(8).await);
    assert!(eight * 3 < one, "one at a time took {one:?}, eight {eight:?}");
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_is_caught_up_is_read_at_the_idle_time() {
    for (idle_time, expected) in [(SECOND / 4, 2 * 1_200), (SECOND, 2 * 300), (10 * SECOND, 2 * 30)] {
        let reads = calls(&idle(config().with_idle_time_between_reads(idle_time)).await, "GetRecords");
        assert!(reads.abs_diff(expected) * 20 <= expected, "{idle_time:?}: {reads} reads");
    }
}

#[tokio::test(start_paused = true)]
async fn the_application_is_registered_under_the_consumer_name() {
    for (name, expected) in [(None, "app"), (Some("night-shift"), "night-shift")] {
        let world = World::new(1);
        let config = config().with_retrieval_mode(RetrievalMode::FanOut);
        let config = if let Some(name) = name { config.with_consumer_name(name) } else { config };
        let worker = world.configured(config).await;
        world.put(texts(0, 5)).await;
        world.until_delivered(5).await;
        let client = world.sim.client();
        let summary = client.describe_stream_summary().stream_name(STREAM).send().await.unwrap();
        let arn = summary.stream_description_summary.unwrap().stream_arn;
        let consumers = client.list_stream_consumers().stream_arn(arn).send().await.unwrap();
        let names: Vec<_> =
            consumers.consumers().iter().map(aws_sdk_kinesis::types::Consumer::consumer_name).collect();
        assert_eq!(names, [expected]);
        worker.shutdown(GRACE).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_without_an_answer_is_given_up_after_the_request_timeout() {
    for timeout in [SECOND, 7 * SECOND] {
        let world = World::new(1);
        world.put(texts(0, 5)).await;
        let hangs = world
            .sim
            .rule(Rule::operation("GetRecords").times(1).then(Verdict::Delay(Duration::from_hours(1))));
        let began = Instant::now();
        let worker = world.configured(config().with_request_timeout(timeout)).await;
        world.until_delivered(5).await;
        assert_eq!(hangs.hits(), 1);
        assert!(near(began.elapsed(), timeout, 2 * SECOND), "{timeout:?}: {:?}", began.elapsed());
        worker.shutdown(GRACE).await;
        world.check();
    }
}

/// The pauses between the attempts at one batch.
async fn pauses(config: ConsumerConfig) -> Vec<Duration> {
    let world = World::with_script(1, |_| Err("never".into()));
    world.put(texts(0, 1)).await;
    let worker = world.configured(config).await;
    let attempts = |world: &World| world.texts().len();
    world.until("eight attempts", |world| attempts(world) >= 8).await;
    drop(worker);
    let at: Vec<_> = world
        .events()
        .iter()
        .filter(|event| matches!(event.kind, Kind::Record { .. }))
        .map(|event| event.at)
        .collect();
    at.iter().zip(at.iter().skip(1)).map(|(before, after)| *after - *before).collect()
}

#[tokio::test(start_paused = true)]
async fn pauses_after_failures_begin_at_the_task_backoff_and_end_at_the_longest() {
    for (first, longest) in [(SECOND / 10, SECOND), (2 * SECOND, 2 * SECOND), (SECOND, 8 * SECOND)] {
        let pauses = pauses(config().with_task_backoff(first).with_max_task_backoff(longest)).await;
        // Up to half of each is drawn.
        assert!((first / 2..=first).contains(&pauses[0]), "{first:?}: {pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= longest), "{longest:?}: {pauses:?}");
        assert!(pauses[6] >= longest / 2, "{longest:?}: {pauses:?}");
    }
}

/// When a call that never returns is first told to be slow, and its shard to be stuck.
async fn told_after(config: ConsumerConfig) -> (Duration, Duration) {
    let world = World::with_script(1, |_| Ok(Act::NeverReturn));
    world.put(texts(0, 1)).await;
    let worker = world.configured(config).await;
    world.until_delivered(1).await;
    let began = Instant::now();
    let (mut slow, mut stuck) = (None, None);
    while slow.is_none() || stuck.is_none() {
        tokio::time::sleep(SECOND / 20).await;
        for event in world.news() {
            match event {
                ConsumerEvent::ProcessorSlow { .. } => slow = slow.or(Some(began.elapsed())),
                ConsumerEvent::ShardStuck { .. } => stuck = stuck.or(Some(began.elapsed())),
                _ => {}
            }
        }
        assert!(began.elapsed() < Duration::from_mins(10), "slow {slow:?}, stuck {stuck:?}");
    }
    drop(worker);
    slow.zip(stuck).unwrap()
}

#[tokio::test(start_paused = true)]
async fn slow_calls_and_stuck_shards_are_told_when_the_options_say() {
    for (slow_after, stuck_after) in [(5 * SECOND, 20 * SECOND), (60 * SECOND, 10 * SECOND)] {
        let config = config().with_slow_processor_after(slow_after).with_stuck_after(stuck_after);
        let (slow, stuck) = told_after(config).await;
        assert!(near(slow, slow_after, 5 * SECOND), "{slow:?} instead of {slow_after:?}");
        assert!(near(stuck, stuck_after, 5 * SECOND), "{stuck:?} instead of {stuck_after:?}");
    }
}
