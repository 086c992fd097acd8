//! Enhanced fan-out: records are sent, subscriptions come and go, and nothing is lost or repeated on the way.

use std::time::Duration;

use kcl::{
    Checkpoint, ConsumerConfig, InitialPosition, RetrievalMode, ShardId, StartError, StreamConsumerError,
    deregister_stream_consumer,
};
use kinesis_sim::{Rule, Verdict};

use crate::world::{Act, Kind, STREAM, World, texts};

const GRACE: Duration = Duration::from_secs(10);

fn config(worker: &str) -> ConsumerConfig {
    World::config(worker).with_retrieval_mode(RetrievalMode::FanOut)
}

fn calls(world: &World, operation: &str) -> usize {
    world.sim.trace().iter().filter(|line| line.contains(operation)).count()
}

fn cut(after: Duration) -> Verdict {
    Verdict::CutSubscription { after }
}

#[tokio::test(start_paused = true)]
async fn records_are_sent_as_they_come_and_no_call_asks_for_them() {
    let world = World::new(4);
    world.put(texts(0, 100)).await;
    let worker = world.configured(config("a")).await;
    world.until_delivered(100).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    for value in 100..120 {
        let put_at = tokio::time::Instant::now();
        world.put(texts(value, value + 1)).await;
        world.until_delivered(value as usize + 1).await;
        assert!(put_at.elapsed() < Duration::from_millis(50), "{:?}", put_at.elapsed());
    }
    let report = worker.shutdown(GRACE).await;
    world.check();
    assert_eq!(world.texts().len(), 120, "no duplicate");
    assert_eq!((calls(&world, "GetRecords"), calls(&world, "GetShardIterator")), (0, 0));
    assert_eq!((calls(&world, "RegisterStreamConsumer"), calls(&world, "SubscribeToShard")), (1, 4));
    assert_eq!(report.stats.subscriptions_opened, 4);
    assert_eq!(world.sim.subscription_count(), 0, "a worker that has stopped is not subscribed");
}

#[tokio::test(start_paused = true)]
async fn a_subscription_is_followed_by_the_next_after_five_minutes() {
    let world = World::new(1);
    let worker = world.configured(config("a")).await;
    for round in 0..33 {
        world.put(texts(round, round + 1)).await;
        tokio::time::sleep(Duration::from_secs(37)).await;
    }
    world.until_delivered(33).await;
    let report = worker.shutdown(GRACE).await;
    world.check();
    assert_eq!(world.texts().len(), 33, "no duplicate");
    assert_eq!(calls(&world, "SubscribeToShard"), 5, "20 minutes and a little");
    assert_eq!((report.stats.subscription_cuts, report.stats.gaps), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn cut_subscriptions_neither_skip_nor_repeat() {
    let world = World::new(2);
    let rules = [
        world.sim.rule(Rule::operation("SubscribeToShard").probability(0.2).then(Verdict::Throttle)),
        world.sim.rule(Rule::operation("SubscribeToShard").probability(0.2).then(Verdict::LoseAnswer)),
        world.sim.rule(Rule::operation("SubscribeToShard").probability(0.2).then(Verdict::Fail)),
        world.sim.rule(Rule::operation("SubscribeToShard").probability(0.2).then(cut(Duration::ZERO))),
        world.sim.rule(Rule::operation("SubscribeToShard").then(cut(Duration::from_millis(6_500)))),
    ];
    let worker = world.configured(config("a")).await;
    for round in 0..100 {
        world.put(texts(round * 3, round * 3 + 3)).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    for (index, rule) in rules.iter().enumerate() {
        assert!(rule.hits() > 0, "fault {index} never struck");
    }
    drop(rules);
    world.until_delivered(300).await;
    let report = worker.shutdown(GRACE).await;
    world.check();
    assert_eq!(world.texts().len(), 300, "no duplicate");
    assert!(report.stats.subscription_cuts > 0);
}

#[tokio::test(start_paused = true)]
async fn a_processor_slow_for_minutes_loses_neither_the_subscription_nor_memory() {
    let world = World::with_script(1, |_| Ok(Act::Take(Duration::from_secs(200))));
    world.put(texts(0, 1)).await;
    let worker = world.configured(config("a")).await;
    world.until_delivered(1).await;
    world.put(texts(1, 900)).await;
    tokio::time::sleep(Duration::from_secs(150)).await;
    assert_eq!(world.sim.subscription_count(), 1);
    let events = worker.stats().subscription_events;
    assert!(events < 80, "what does not fit is left to the connection: {events} events");
    world.until_delivered(900).await;
    assert_eq!(calls(&world, "SubscribeToShard"), 1, "the first one is still in use");
    worker.shutdown(Duration::from_mins(5)).await;
    world.check();
    assert_eq!(world.texts().len(), 900, "no duplicate");
}

#[tokio::test(start_paused = true)]
async fn a_processor_slower_than_a_subscription_lives_gets_everything_once() {
    let world = World::with_script(1, |_| Ok(Act::Take(Duration::from_mins(11))));
    world.put(texts(0, 10)).await;
    let worker = world.configured(config("a").with_max_records(5)).await;
    tokio::time::sleep(Duration::from_mins(2)).await;
    world.put(texts(10, 20)).await;
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_mins(1)).await;
    }
    assert_eq!(world.texts(), texts(0, 20));
    worker.shutdown(Duration::from_mins(12)).await;
    world.check();
}

#[tokio::test(start_paused = true)]
async fn a_cut_whose_successor_is_late_loses_nothing() {
    let world = World::new(1);
    let worker = world.configured(config("a")).await;
    world.put(texts(0, 5)).await;
    world.until_delivered(5).await;
    // The connection breaks, and the next one is answered only after the time that a silent one is given.
    let cut_off = world.sim.rule(Rule::operation("SubscribeToShard").times(1).then(cut(Duration::ZERO)));
    let late = world
        .sim
        .rule(Rule::operation("SubscribeToShard").times(1).then(Verdict::Delay(Duration::from_secs(100))));
    tokio::time::sleep(Duration::from_mins(5)).await;
    world.put(texts(5, 10)).await;
    world.until_delivered(10).await;
    drop((cut_off, late));
    worker.shutdown(GRACE).await;
    world.check();
}

/// The connection is open and no byte comes: not even the empty events that tell a quiet shard from a dead network.
#[tokio::test(start_paused = true)]
async fn a_subscription_that_falls_silent_is_given_up_for_another_and_nothing_is_lost() {
    let world = World::new(1);
    for after in [Duration::ZERO, Duration::from_millis(12_300)] {
        let stalls = world
            .sim
            .rule(Rule::operation("SubscribeToShard").times(1).then(Verdict::StallSubscription { after }));
        let (before, calls_before) = (world.texts().len(), calls(&world, "SubscribeToShard"));
        let limit = Duration::from_secs(20);
        let worker = world.configured(config("a").with_subscription_silence_limit(limit)).await;
        world.until("subscribed", |world| world.sim.subscription_count() == 1).await;
        tokio::time::sleep(after + Duration::from_secs(1)).await;
        let put_at = tokio::time::Instant::now();
        let first = u32::try_from(before).unwrap();
        world.put(texts(first, first + 10)).await;
        world.until_delivered(before + 10).await;
        // The silence began with the last event, which came up to five seconds before the stall.
        let waited = put_at.elapsed();
        assert!(waited > limit.saturating_sub(Duration::from_secs(7)) && waited <= limit, "{waited:?}");
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(
            (stalls.hits(), calls(&world, "SubscribeToShard") - calls_before),
            (1, 2),
            "once, not in a loop"
        );
        let report = worker.shutdown(GRACE).await;
        assert_eq!(report.stats.subscription_cuts, 1);
        let told = world.told();
        assert!(told.iter().any(|line| line.contains("has sent nothing for too long")), "{told:#?}");
    }
    world.check();
    assert_eq!(world.texts().len(), 20, "no duplicate");
}

#[tokio::test(start_paused = true)]
async fn the_children_of_splits_and_merges_follow_their_parents() {
    let world = World::new(2);
    world.put(texts(0, 40)).await;
    let worker = world.configured(config("a")).await;
    world.until_delivered(10).await;
    world.sim.split_shard(STREAM, ShardId::from_index(0));
    world.put(texts(40, 80)).await;
    world.until_delivered(80).await;
    let open: Vec<ShardId> = world
        .sim
        .shards(STREAM)
        .into_iter()
        .filter(kinesis_shard::Shard::is_open)
        .map(|shard| shard.id)
        .collect();
    assert_eq!(open.len(), 3);
    world.sim.merge_shards(STREAM, ShardId::from_index(2), ShardId::from_index(3));
    world.put(texts(80, 120)).await;
    world.until_delivered(120).await;
    let report = worker.shutdown(GRACE).await;
    world.check();
    assert_eq!(world.texts().len(), 120, "no duplicate");
    assert_eq!(report.stats.shards_ended, 3);
    assert_eq!(world.life(0), [Kind::Initialize(Checkpoint::TrimHorizon), Kind::ShardEnded]);
    assert_eq!(world.row(4).parents.len(), 2);
    assert_eq!(world.life(4)[0], Kind::Initialize(Checkpoint::TrimHorizon));
}

#[tokio::test(start_paused = true)]
async fn a_successor_waits_for_the_five_seconds_of_the_one_before_and_resumes_inside_an_aggregate() {
    let world = World::with_script(1, |_| Ok(Act::CheckpointAt(1)));
    world.put_aggregate(&["a0", "a1", "a2", "a3"]).await;
    let first = world.configured(config("a")).await;
    world.until_delivered(4).await;
    world.until("the checkpoint", |world| matches!(world.row(0).checkpoint, Checkpoint::At(_))).await;
    drop(first);
    let second = world.scripted(|_| Ok(Act::CheckpointBatch));
    let worker = second.configured(config("b")).await;
    second.until("the rest came again", |world| world.texts_of("b").len() == 2).await;
    worker.shutdown(GRACE).await;
    assert_eq!(world.texts_of("b"), ["a2", "a3"]);
    world.check();
}

#[tokio::test(start_paused = true)]
async fn another_program_that_subscribes_as_the_same_consumer_costs_time_only() {
    let world = World::new(1);
    let worker = world.configured(config("a")).await;
    world.put(texts(0, 5)).await;
    world.until_delivered(5).await;
    let client = world.sim.client_named("intruder");
    let consumers = client.list_stream_consumers().stream_arn(arn()).send().await.unwrap().consumers.unwrap();
    for round in 0..6 {
        tokio::time::sleep(Duration::from_secs(8)).await;
        let start = aws_sdk_kinesis::types::StartingPosition::builder()
            .r#type(aws_sdk_kinesis::types::ShardIteratorType::Latest)
            .build()
            .unwrap();
        let taken = client
            .subscribe_to_shard()
            .consumer_arn(&consumers[0].consumer_arn)
            .shard_id(ShardId::from_index(0).as_str())
            .starting_position(start)
            .send()
            .await;
        world.put(texts(5 + round, 6 + round)).await;
        tokio::time::sleep(Duration::from_secs(4)).await;
        drop(taken);
    }
    world.until_delivered(11).await;
    let report = worker.shutdown(GRACE).await;
    world.check();
    assert_eq!(world.texts().len(), 11, "no duplicate");
    assert!(report.stats.subscription_in_use > 0);
}

#[tokio::test(start_paused = true)]
async fn positions_other_than_a_checkpoint_are_subscribed_to_as_well() {
    let world = World::new(1);
    world.put(texts(0, 5)).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    let since = std::time::SystemTime::UNIX_EPOCH + Duration::from_millis(world.sim.now_millis());
    world.put(texts(5, 8)).await;
    let at_timestamp = config("a").with_initial_position(InitialPosition::AtTimestamp(since));
    let worker = world.configured(at_timestamp).await;
    world.until_delivered(3).await;
    worker.shutdown(GRACE).await;
    assert_eq!(world.texts(), texts(5, 8));

    let world = World::new(1);
    world.put(texts(0, 5)).await;
    let worker = world.configured(config("a").with_initial_position(InitialPosition::Latest)).await;
    world.until("subscribed", |world| world.sim.subscription_count() == 1).await;
    world.put(texts(5, 8)).await;
    world.until_delivered(3).await;
    worker.shutdown(GRACE).await;
    assert_eq!(world.texts(), texts(5, 8));
}

fn arn() -> String {
    format!("arn:aws:kinesis:us-east-1:000000000000:stream/{STREAM}")
}

#[tokio::test(start_paused = true)]
async fn the_consumer_is_registered_once_by_a_fleet_and_deregistered_only_when_asked() {
    let world = World::new(4);
    world.put(texts(0, 20)).await;
    let failing =
        world.sim.rule(Rule::operation("DescribeStreamConsumer").probability(0.3).then(Verdict::Throttle));
    let first = world.configured(config("a")).await;
    let second = world.configured(config("b")).await;
    world.until_delivered(20).await;
    drop(failing);
    first.shutdown(GRACE).await;
    second.shutdown(GRACE).await;
    let client = world.sim.client();
    let list = || async {
        let answer = client.list_stream_consumers().stream_arn(arn()).send().await.unwrap();
        answer.consumers.unwrap().into_iter().map(|consumer| consumer.consumer_name).collect::<Vec<_>>()
    };
    assert_eq!(list().await, ["app"], "it stays for the next start");
    assert!(deregister_stream_consumer(&client, &config("a")).await.unwrap());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(list().await.is_empty());
    assert!(!deregister_stream_consumer(&client, &config("a")).await.unwrap(), "there is none any more");
    world.check();
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_somebody_deregisters_is_registered_again() {
    let world = World::new(1);
    world.put(texts(0, 5)).await;
    let worker = world.configured(config("a")).await;
    world.until_delivered(5).await;
    assert!(deregister_stream_consumer(&world.sim.client(), &config("a")).await.unwrap());
    tokio::time::sleep(Duration::from_secs(20)).await;
    world.put(texts(5, 10)).await;
    world.until_delivered(10).await;
    worker.shutdown(GRACE).await;
    world.check();
    assert_eq!(calls(&world, "RegisterStreamConsumer orders ok"), 2);
    assert!(world.life(0).iter().all(|kind| *kind != Kind::ShardEnded), "not found is no end");
}

#[tokio::test(start_paused = true)]
async fn a_consumer_given_by_its_arn_is_used_as_it_is() {
    let world = World::new(1);
    let client = world.sim.client();
    let register = client.register_stream_consumer().stream_arn(arn()).consumer_name("mine").send();
    let consumer = register.await.unwrap().consumer.unwrap().consumer_arn;
    let worker = world.configured(config("a").with_consumer_arn(consumer)).await;
    world.put(texts(0, 5)).await;
    world.until_delivered(5).await;
    worker.shutdown(GRACE).await;
    world.check();
    assert_eq!((calls(&world, "RegisterStreamConsumer"), calls(&world, "a DescribeStreamConsumer")), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_vanishes_stops_the_worker_with_its_name() {
    let world = World::new(1);
    world.put(texts(0, 5)).await;
    let worker = world.configured(config("a")).await;
    world.until_delivered(5).await;
    world.sim.delete_stream(STREAM);
    let error = tokio::time::timeout(Duration::from_mins(10), worker.wait()).await.unwrap();
    assert!(error.to_string().contains(STREAM), "{error}");
    assert!(world.life(0).iter().all(|kind| *kind != Kind::ShardEnded), "not found is no end");
    worker.shutdown(GRACE).await;
}

#[tokio::test(start_paused = true)]
async fn a_missing_stream_is_told_at_the_start() {
    let world = World::new(0);
    let client = world.sim.client_named("a");
    let store = std::sync::Arc::new(world.store.clone());
    let started = kcl::Scheduler::start(&client, config("a"), store, |_| -> crate::world::Nobody {
        unreachable!("no shard, no processor")
    })
    .await;
    assert!(matches!(started, Err(StartError::Stream(_) | StartError::Consumer(_))), "{started:?}");
    let gone = deregister_stream_consumer(&client, &config("a")).await;
    assert!(matches!(gone, Err(StreamConsumerError::StreamNotFound { .. })), "{gone:?}");
}

#[tokio::test(start_paused = true)]
async fn a_scan_reads_by_fan_out_too() {
    let world = World::new(2);
    world.put(texts(0, 30)).await;
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let (sink, until) = (std::sync::Arc::clone(&seen), std::sync::Arc::clone(&seen));
    let report = kcl::scan(&world.sim.client_named("scan"), STREAM)
        .retrieval(RetrievalMode::FanOut)
        .configure(|config| config.with_seed(3))
        .until(async move {
            while until.lock().unwrap().len() < 30 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .run(move |record| {
            sink.lock().unwrap().push(crate::world::text_of(&record));
            async { Ok(()) }
        })
        .await
        .unwrap();
    assert_eq!(report.records, 30);
    assert_eq!(calls(&world, "GetRecords"), 0);
}

#[tokio::test(start_paused = true)]
async fn polling_and_fan_out_workers_of_one_application_hand_over_to_each_other() {
    let world = World::new(4);
    let mut workers = Vec::new();
    for round in 0..6_u32 {
        let name = format!("w{round}");
        let mode = if round % 2 == 0 { RetrievalMode::FanOut } else { RetrievalMode::Polling };
        workers.push(world.configured(World::config(&name).with_retrieval_mode(mode)).await);
        world.put(texts(round * 20, round * 20 + 20)).await;
        tokio::time::sleep(Duration::from_secs(15)).await;
        if workers.len() > 2 {
            workers.remove(0).shutdown(GRACE).await;
        }
    }
    world.until_delivered(120).await;
    for worker in workers {
        worker.shutdown(GRACE).await;
    }
    world.check();
    assert_eq!(world.texts().len(), 120, "clean hand-overs repeat nothing");
}
