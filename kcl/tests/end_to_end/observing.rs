//! What a worker tells about itself: events, health, statuses.

use std::time::Duration;

use kcl::{ConsumerEvent, HealthState, ProcessorCall, ShardId, ShardState, StuckWhy};
use kinesis_sim::{Rule, Verdict};

use crate::world::{Act, Kind, STREAM, World, texts};

const GRACE: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn the_life_of_a_shard_is_told_in_order() {
    let world = World::new(1);
    world.put(texts(0, 5)).await;
    let worker = world.worker("a").await;
    world.until_delivered(5).await;
    world.sim.split_shard(STREAM, ShardId::from_index(0));
    world.put(texts(5, 10)).await;
    world.until_delivered(10).await;
    worker.shutdown(GRACE).await;
    let told = world.told();
    let expected = [
        "lease of orders/shardId-000000000000 taken at TRIM_HORIZON",
        "orders/shardId-000000000000 is read behind TRIM_HORIZON",
        "orders/shardId-000000000000 is processed to its end, 2 shards follow",
        "lease of orders/shardId-000000000001 taken at TRIM_HORIZON",
        "orders/shardId-000000000001 is read behind TRIM_HORIZON",
        "lease of orders/shardId-000000000001 given back",
    ];
    let mut rest = told.iter();
    for line in expected {
        assert!(rest.any(|told| told == line), "{line:?} is missing, or out of order: {told:#?}");
    }
    assert!(world.news().iter().all(|event| event.severity() == kcl::Severity::Info), "{told:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_processor_that_never_returns_is_named_and_the_others_go_on() {
    let world = World::with_script(2, |input| {
        let stuck = input.shard_id.index() == Some(0);
        Ok(if stuck { Act::NeverReturn } else { Act::CheckpointBatch })
    });
    world.put(texts(0, 40)).await;
    let worker = world.worker("a").await;
    world.until_delivered(40).await;
    assert_eq!(worker.health().state, HealthState::Healthy);
    tokio::time::sleep(Duration::from_mins(3)).await;
    let health = worker.health();
    assert_eq!((health.state, health.is_alive()), (HealthState::Degraded, true));
    let stuck: Vec<_> = health.stuck().collect();
    assert_eq!(
        (stuck.len(), stuck[0].shard.shard_id.index(), stuck[0].state),
        (1, Some(0), ShardState::Processing)
    );
    let call = ProcessorCall::ProcessRecords;
    assert!(matches!(&stuck[0].waits, Some((StuckWhy::InProcessor { call: of }, _)) if *of == call));
    let well = health.shards.iter().find(|shard| shard.shard.shard_id.index() == Some(1)).unwrap();
    assert_eq!(
        (well.state, well.position, &well.waits),
        (ShardState::Reading, world.row(1).checkpoint, &None)
    );
    assert!(well.last_poll.unwrap() <= Duration::from_secs(2) && well.last_checkpoint.is_some());
    let slow: Vec<_> = world
        .news()
        .into_iter()
        .filter_map(|event| match event {
            ConsumerEvent::ProcessorSlow { running_for, .. } => Some(running_for.as_secs() / 10 * 10),
            _ => None,
        })
        .collect();
    assert_eq!(slow, [30, 60, 120], "at the threshold and at each doubling");
    let is_stuck = |event: &ConsumerEvent| matches!(event, ConsumerEvent::ShardStuck { .. });
    assert_eq!(world.news().iter().filter(|event| is_stuck(event)).count(), 1);
    let report = worker.shutdown(GRACE).await;
    assert_eq!((report.released.len(), report.forced.len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_throttled_shard_is_named_until_it_moves_again() {
    let world = World::new(1);
    let throttled = world.sim.rule(Rule::operation("GetRecords").caller("a").then(Verdict::Throttle));
    world.put(texts(0, 5)).await;
    let worker = world.worker("a").await;
    tokio::time::sleep(Duration::from_mins(4)).await;
    let health = worker.health();
    let why = health.stuck().next().map(|shard| shard.waits.as_ref().unwrap().0.clone());
    assert_eq!((health.state, why), (HealthState::Degraded, Some(StuckWhy::ReadThrottled)));
    drop(throttled);
    world.until_delivered(5).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(worker.health().state, HealthState::Healthy);
    let moves =
        world.news().iter().filter(|event| matches!(event, ConsumerEvent::ShardMovesAgain { .. })).count();
    assert_eq!(moves, 1);
    worker.shutdown(GRACE).await;
    world.check();
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_waits_for_its_parent_says_so_and_is_no_illness() {
    let world = World::with_script(1, |input| {
        if input.shard_id.index() == Some(0) { Err("not yet".into()) } else { Ok(Act::CheckpointBatch) }
    });
    world.put(texts(0, 5)).await;
    world.sim.split_shard(STREAM, ShardId::from_index(0));
    // The children have leases, and their parent does not end.
    for child in [1, 2] {
        let key = kcl::LeaseKey::from(&ShardId::from_index(child));
        let lease = kcl::lease::NewLease::child(key, [ShardId::from_index(0)], None);
        kcl::LeaseStore::create_if_absent(&world.store, lease).await.unwrap();
    }
    let key = kcl::LeaseKey::from(&ShardId::from_index(0));
    kcl::LeaseStore::create_if_absent(&world.store, kcl::lease::NewLease::child(key, [], None))
        .await
        .unwrap();
    let worker = world.worker("a").await;
    tokio::time::sleep(Duration::from_mins(5)).await;
    let health = worker.health();
    let stuck: Vec<_> = health.stuck().map(|shard| shard.shard.shard_id.index()).collect();
    assert_eq!(stuck, [Some(0)], "the parent is what to look at: {health}");
    let child = health.shards.iter().find(|shard| shard.shard.shard_id.index() == Some(1)).unwrap();
    assert_eq!(child.state, ShardState::WaitingForParents);
    assert!(child.to_string().contains("it waits for the end of shardId-000000000000"), "{child}");
    assert!(!world.life(1).contains(&Kind::Initialize(kcl::Checkpoint::TrimHorizon)));
    worker.shutdown(GRACE).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_vanishes_is_told_and_ends_the_worker() {
    let world = World::new(1);
    world.put(texts(0, 3)).await;
    let worker = world.worker("a").await;
    world.until_delivered(3).await;
    let client = world.sim.client_named("operator");
    client.delete_stream().stream_name(STREAM).send().await.unwrap();
    let error = tokio::time::timeout(Duration::from_mins(5), worker.wait()).await.unwrap();
    assert!(error.to_string().contains("no longer exists"), "{error}");
    assert_eq!(worker.health().state, HealthState::Failed);
    worker.shutdown(GRACE).await;
    let gone =
        world.news().iter().filter(|event| matches!(event, ConsumerEvent::StreamVanished { .. })).count();
    assert_eq!(gone, 1, "{:#?}", world.told());
    assert_ne!(
        world.row(0).checkpoint,
        kcl::Checkpoint::ShardEnd,
        "a stream that vanished is not a shard that ended"
    );
}

#[tokio::test(start_paused = true)]
async fn broken_aggregates_are_told_and_handed_over_whole() {
    let world = World::new(1);
    let mut broken = vec![0xF3, 0x89, 0x9A, 0xC2];
    broken.extend([7; 40]);
    let client = world.sim.client_named("producer");
    let put = client.put_record().stream_name(STREAM).partition_key("a");
    put.data(aws_sdk_kinesis::primitives::Blob::new(broken)).send().await.unwrap();
    let worker = world.worker("a").await;
    world.until_delivered(1).await;
    worker.shutdown(GRACE).await;
    let told = world.told();
    assert!(
        told.contains(&"1 broken aggregates of orders/shardId-000000000000 are handed over whole".to_owned()),
        "{told:#?}"
    );
    world.check();
}

/// Times and lease counts, against what the store and the processors saw.
#[tokio::test(start_paused = true)]
async fn times_and_leases_are_counted_under_the_names_of_the_java_library() {
    let world = World::with_script(4, |_| Ok(Act::Take(Duration::from_millis(300))));
    let slow = Rule::operation("GetRecords");
    let _slow = world.sim.rule(slow.then(Verdict::Delay(Duration::from_millis(80))));
    let a = world.worker("a").await;
    world.until("all four", |_| a.shards().len() == 4).await;
    world.put(texts(0, 40)).await;
    world.until_delivered(40).await;
    let b = world.worker("b").await;
    world.until("shared", |_| b.shards().len() == 2).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    let stats = a.stats();
    let calls = stats.process_records_success;
    assert!(calls >= 4);
    assert_eq!(stats.process_records_time.count, calls);
    assert!(stats.process_records_time.total >= Duration::from_millis(300) * u32::try_from(calls).unwrap());
    assert!(stats.process_records_time.longest < Duration::from_millis(400));
    let reads = stats.get_records_time;
    assert!(
        reads.count >= stats.get_records_success && reads.total >= Duration::from_millis(80) * 100,
        "{reads:?}"
    );
    assert_eq!((stats.initialize_time.count, stats.shutdown_time.count), (4, 2));
    let other = b.stats().leases;
    let written = world.store.writes();
    assert_eq!(stats.leases.renewed + other.renewed, written["renew"]);
    assert_eq!(
        (stats.leases.taken + other.taken, stats.leases.created + other.created),
        (written["take"], 4)
    );
    assert_eq!((other.taken, other.total, other.workers), (2, 4, 2));
    assert_eq!((other.needed, other.expired, other.very_old, other.spillover), (0, 0, 0, 0));
    // Few: while nothing changes hands the table is hardly read (docs/decisions/0010).
    assert!(stats.leases.listed >= 5 && stats.leases.synced >= 1, "{:?}", stats.leases);
    let metrics = stats.kcl_metrics();
    let metric = |wanted: &str| metrics.iter().find(|(name, _)| *name == wanted).unwrap().1;
    assert_eq!(metric("RenewLease.Success"), stats.leases.renewed);
    assert_eq!(metric("TotalLeases"), 4);
    assert!(metric("RecordProcessor.processRecords.Time") >= 300 * calls);
    assert!(metric("KinesisDataFetcher.getRecords.Time") >= 8_000);
    a.shutdown(GRACE).await;
    b.shutdown(GRACE).await;
}

/// Writes the spans down that are opened on this thread, with their fields as text.
#[derive(Clone, Default)]
struct Spans(std::sync::Arc<std::sync::Mutex<Vec<String>>>);

struct Fields<'a>(&'a mut String);

impl tracing::field::Visit for Fields<'_> {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        use std::fmt::Write;
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

impl tracing::Subscriber for Spans {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.is_span() && metadata.target().starts_with("kcl")
    }
    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        let mut text = span.metadata().name().to_owned();
        span.record(&mut Fields(&mut text));
        let mut spans = self.0.lock().unwrap();
        spans.push(text);
        tracing::span::Id::from_u64(spans.len() as u64)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn each_call_of_a_processor_has_a_span_with_shard_and_size_and_nothing_of_the_records() {
    let spans = Spans::default();
    // With one subscriber in the process, whoever meets a span first decides for all threads whether anyone listens: also
    // the test beside this one, where nobody does. With two each of them is asked.
    let _second = tracing::Dispatch::new(Spans::default());
    let _until_the_end = tracing::subscriber::set_default(spans.clone());
    let world = World::new(1);
    world.put(texts(0, 7)).await;
    let worker = world.worker("a").await;
    world.until_delivered(7).await;
    world.sim.split_shard(STREAM, ShardId::from_index(0));
    world.until("the children", |_| worker.shards().len() == 2).await;
    worker.shutdown(GRACE).await;
    let spans = spans.0.lock().unwrap().clone();
    let (shard, key) = ("shard_id=shardId-000000000000", "lease_key=shardId-000000000000");
    for wanted in [
        format!("initialize {shard} {key}"),
        format!("process_records {shard} {key} records=7 attempt=1"),
        format!("shard_ended {shard} {key} attempt=1"),
    ] {
        assert_eq!(spans.iter().filter(|span| **span == wanted).count(), 1, "{wanted}: {spans:#?}");
    }
    assert!(spans.iter().any(|span| span.starts_with("shutdown_requested shard_id=shardId-000000000001")));
    assert!(!spans.iter().any(|span| span.contains("uid-")), "payload or partition key in {spans:#?}");
}
