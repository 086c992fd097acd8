//! Processors that fail.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use kcl::{ConsumerEvent, FailurePolicy, WorkerError};

use crate::world::{Act, Kind, World, text_of, texts};

const GRACE: Duration = Duration::from_secs(10);

/// The attempts at each text of a shard, in order.
fn attempts(world: &World) -> BTreeMap<String, Vec<u32>> {
    let mut attempts: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for event in world.events() {
        if let Kind::Record { text, attempt, .. } = event.kind {
            attempts.entry(text).or_default().push(attempt);
        }
    }
    attempts
}

#[tokio::test(start_paused = true)]
async fn a_failing_batch_comes_again_whole_and_the_next_one_waits() {
    let world = World::with_script(1, |input| match input.attempt {
        1..=3 => Err("no".into()),
        _ => Ok(Act::CheckpointBatch),
    });
    world.put(texts(0, 10)).await;
    let worker = world.worker("a").await;
    world.until("processed", |_| worker.stats().records_processed == 10).await;
    let stats = worker.shutdown(GRACE).await.stats;
    assert!(attempts(&world).values().all(|attempts| *attempts == [1, 2, 3, 4]), "{:?}", attempts(&world));
    assert_eq!((stats.processor_failures, stats.process_records_success), (3, 1));
    world.check();
}

#[tokio::test(start_paused = true)]
async fn a_panicking_processor_is_given_the_same_batch_again() {
    let world = World::with_script(1, |input| {
        assert!(input.attempt > 2, "a bug in the application");
        Ok(Act::CheckpointBatch)
    });
    world.put(texts(0, 5)).await;
    let worker = world.worker("a").await;
    world.until("processed", |_| worker.stats().records_processed == 5).await;
    worker.shutdown(GRACE).await;
    assert!(attempts(&world).values().all(|attempts| *attempts == [1, 2, 3]));
    world.check();
}

#[tokio::test(start_paused = true)]
async fn one_failing_shard_does_not_stop_the_others() {
    let world = World::with_script(2, |input| {
        if input.shard_id.index() == Some(0) { Err("never".into()) } else { Ok(Act::CheckpointBatch) }
    });
    world.put(texts(0, 40)).await;
    let worker = world.worker("a").await;
    world.until_delivered(40).await;
    world.put(texts(40, 80)).await;
    let of_one = |world: &World| {
        world.sim.stored("orders").iter().filter(|record| record.shard_id.index() == Some(1)).count() as u64
    };
    world.until("shard 1 goes on", |world| worker.stats().records_processed == of_one(world)).await;
    assert!(of_one(&world) > 20);
    worker.shutdown(GRACE).await;
}

#[tokio::test(start_paused = true)]
async fn a_processor_that_checkpoints_each_record_survives_a_repeated_batch() {
    let world = World::with_script(1, |_| Ok(Act::CheckpointEachRecord));
    world.put(texts(0, 6)).await;
    world.store.fail_by({
        // The third checkpoint fails for good, after two that were written.
        let mut checkpoints = 0;
        move |call| match call {
            kcl::lease::StoreCall::Write(_, kcl::lease::Operation::Checkpoint { .. }) => {
                checkpoints += 1;
                (3..=6).contains(&checkpoints).then_some(kcl::lease::Fault::LoseRequest)
            }
            _ => None,
        }
    });
    let worker = world.worker("a").await;
    world.put(texts(6, 12)).await;
    world.until_delivered(12).await;
    world
        .until("the last checkpoint", |world| {
            let last = world.sim.stored("orders").last().unwrap().sequence_number;
            matches!(world.row(0).checkpoint, kcl::Checkpoint::At(at) if at.sequence_number == last)
        })
        .await;
    assert_eq!(worker.stats().processor_failures, 1, "the batch did come again");
    worker.shutdown(GRACE).await;
    world.check();
}

#[tokio::test(start_paused = true)]
async fn stop_shard_gives_the_lease_back_and_it_is_taken_again_at_the_checkpoint() {
    let poison = "uid-00007";
    let world = World::with_script(1, move |input| {
        if input.attempt <= 2 && input.records.iter().any(|record| text_of(record) == poison) {
            return Err("poison".into());
        }
        Ok(Act::CheckpointBatch)
    });
    let config = World::config("a").with_failure_policy(FailurePolicy::StopShard { after_attempts: 2 });
    let worker = world.configured(config).await;
    world.put(texts(0, 5)).await;
    world.until_delivered(5).await;
    world.put(texts(5, 10)).await;
    world
        .until("a second tenure", |world| {
            world.life(0).iter().filter(|kind| matches!(kind, Kind::Initialize(_))).count() >= 2
        })
        .await;
    worker.shutdown(GRACE).await;
    let life = world.life(0);
    assert_eq!(life[1], Kind::LeaseLost);
    assert!(matches!(life[2], Kind::Initialize(kcl::Checkpoint::At(_))), "{life:?}");
    world.check_order();
}

#[tokio::test(start_paused = true)]
async fn stop_worker_hands_every_shard_back_and_tells_why() {
    let world = World::with_script(3, |input| {
        if input.shard_id.index() == Some(1) { Err("disk full".into()) } else { Ok(Act::CheckpointBatch) }
    });
    world.put(texts(0, 30)).await;
    let config = World::config("a").with_failure_policy(FailurePolicy::StopWorker { after_attempts: 3 });
    let worker = world.configured(config).await;
    let error = tokio::time::timeout(Duration::from_mins(1), worker.wait()).await.unwrap();
    assert!(matches!(error, WorkerError::Processor { attempts: 3, .. }), "{error}");
    assert!(
        error.to_string().contains("shardId-000000000001 failed 3 times on one batch: disk full"),
        "{error}"
    );
    worker.shutdown(GRACE).await;
    assert!(world.store.rows().iter().all(|row| row.owner.is_none()));
}

#[tokio::test(start_paused = true)]
async fn skip_batch_goes_on_behind_the_batch_and_names_what_was_skipped() {
    let poison = |text: &str| text == "uid-00007";
    let world = World::with_script(1, move |input| {
        if input.records.iter().any(|record| poison(&text_of(record))) {
            return Err("poison".into());
        }
        Ok(Act::CheckpointBatch)
    });
    let config = World::config("a")
        .with_failure_policy(FailurePolicy::SkipBatch { after_attempts: 3 })
        .with_max_records(5);
    world.put(texts(0, 20)).await;
    let worker = world.configured(config).await;
    world.until("the rest", |_| worker.stats().records_processed == 15).await;
    let stats = worker.shutdown(GRACE).await.stats;
    let stored = world.sim.stored("orders");
    let skipped: Vec<_> = world
        .news()
        .into_iter()
        .filter_map(|event| match event {
            ConsumerEvent::BatchSkipped { first, last, record_count, attempts, .. } => {
                Some((first.sequence_number, last.sequence_number, record_count, attempts))
            }
            _ => None,
        })
        .collect();
    assert_eq!(skipped, [(stored[5].sequence_number, stored[9].sequence_number, 5, 3)]);
    assert_eq!((stats.records_skipped, stats.processor_failures), (5, 3));
    assert_eq!(
        world.row(0).checkpoint,
        kcl::Checkpoint::At(kcl::ExtendedSequenceNumber::new(stored[19].sequence_number, 0))
    );
    world.check_order();
}

#[tokio::test(start_paused = true)]
async fn a_batch_longer_than_the_failover_time_keeps_its_lease() {
    let world = World::with_script(1, |_| Ok(Act::Take(Duration::from_secs(45))));
    world.put(texts(0, 5)).await;
    let worker = world.worker("a").await;
    let other = world.worker("b").await;
    world
        .until("processed", |_| worker.stats().records_processed + other.stats().records_processed == 5)
        .await;
    assert_eq!(world.texts(), texts(0, 5), "nobody else was given them");
    assert_eq!(worker.stats().lost_leases + other.stats().lost_leases, 0);
    worker.shutdown(GRACE).await;
    other.shutdown(GRACE).await;
}

#[tokio::test(start_paused = true)]
async fn empty_calls_come_only_when_asked_for() {
    let calls = std::sync::Arc::new(Mutex::new(0));
    let counted = std::sync::Arc::clone(&calls);
    let world = World::with_script(1, move |input| {
        assert!(input.records.is_empty());
        *counted.lock().unwrap() += 1;
        Ok(Act::Nothing)
    });
    let worker = world.worker("a").await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(*calls.lock().unwrap(), 0);
    worker.shutdown(GRACE).await;
    let config = World::config("b").with_call_process_records_even_for_empty_list(true);
    let worker = world.configured(config).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(*calls.lock().unwrap() > 20);
    worker.shutdown(GRACE).await;
}

/// Its calls last longer than an iterator lives, and while enough waits for it nothing is read.
#[tokio::test(start_paused = true)]
async fn an_iterator_that_expires_under_a_slow_application_skips_and_repeats_nothing() {
    let world = World::with_script(1, |_| Ok(Act::Take(Duration::from_mins(6))));
    let worker = world.worker("a").await;
    for round in 0..10 {
        world.put(texts(round * 5, round * 5 + 5)).await;
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
    tokio::time::sleep(Duration::from_mins(90)).await;
    assert!(worker.stats().expired_iterator > 0, "{:?}", worker.stats());
    assert_eq!(world.texts().len(), 50, "each once");
    worker.shutdown(Duration::from_secs(10)).await;
    world.check();
}
