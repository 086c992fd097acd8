//! Everything that was put arrives, in order, whatever the service answers.

use std::time::{Duration, SystemTime};

use kcl::{Checkpoint, InitialPosition, RetrievalMode};
use kinesis_sim::{Rule, Verdict};

use crate::world::{Act, Kind, World, texts};

const GRACE: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn a_quiet_run_delivers_every_record_exactly_once_in_order() {
    let world = World::new(4);
    world.put(texts(0, 200)).await;
    let worker = world.worker("a").await;
    world.until_delivered(200).await;
    world.put(texts(200, 300)).await;
    world.until_delivered(300).await;
    assert_eq!(worker.shards().len(), 4);
    let report = worker.shutdown(GRACE).await;
    world.check();
    assert_eq!(world.texts().len(), 300, "no duplicate");
    assert_eq!(report.released.len(), 4);
    assert_eq!(report.stats.records_processed, 300);
    assert_eq!((report.stats.lost_leases, report.stats.processor_failures, report.stats.gaps), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn aggregates_are_taken_apart_in_order() {
    let world = World::new(1);
    world.put_aggregate(&["a0", "a1", "a2"]).await;
    world.put(["b".to_owned()]).await;
    world.put_aggregate(&["c0", "c1"]).await;
    let worker = world.worker("a").await;
    world.until_delivered(6).await;
    worker.shutdown(GRACE).await;
    world.check();
    assert_eq!(world.texts(), ["a0", "a1", "a2", "b", "c0", "c1"]);
}

#[tokio::test(start_paused = true)]
async fn a_new_worker_resumes_inside_an_aggregate_behind_the_checkpoint() {
    let world = World::with_script(1, |_| Ok(Act::CheckpointAt(1)));
    world.put_aggregate(&["a0", "a1", "a2", "a3"]).await;
    let first = world.worker("a").await;
    world.until_delivered(4).await;
    world.until("the checkpoint", |world| matches!(world.row(0).checkpoint, Checkpoint::At(_))).await;
    drop(first);
    let second = world.scripted(|_| Ok(Act::CheckpointBatch));
    let worker = second.worker("b").await;
    second.until("the rest came again", |world| world.texts_of("b").len() == 2).await;
    let report = worker.shutdown(GRACE).await;
    assert_eq!(world.texts_of("b"), ["a2", "a3"]);
    assert_eq!(report.stats.records_processed, 2, "what lies before the checkpoint does not count");
    world.check();
}

#[tokio::test(start_paused = true)]
async fn faults_of_reading_neither_skip_nor_repeat() {
    let faults = [
        ("GetRecords", Verdict::ExpireIterator),
        ("GetRecords", Verdict::Throttle),
        ("GetRecords", Verdict::Fail),
        ("GetRecords", Verdict::LoseRequest),
        ("GetRecords", Verdict::LoseAnswer),
        ("GetShardIterator", Verdict::Throttle),
        ("GetShardIterator", Verdict::Fail),
        ("GetShardIterator", Verdict::LoseAnswer),
    ];
    for (operation, verdict) in faults {
        let world = World::new(2);
        world.put(texts(0, 40)).await;
        let fault = world.sim.rule(Rule::operation(operation).caller("a").times(2).then(verdict));
        let worker = world.worker("a").await;
        world.until_delivered(40).await;
        // A second batch on both shards, so that an iterator used after the fault is proved good.
        world.put(texts(40, 80)).await;
        world.until_delivered(80).await;
        assert_eq!(fault.hits(), 2, "{operation} {verdict:?}");
        worker.shutdown(GRACE).await;
        world.check();
        assert_eq!(world.texts().len(), 80, "{operation} {verdict:?}: no duplicate");
    }
}

#[tokio::test(start_paused = true)]
async fn half_of_all_reads_failing_costs_time_only() {
    let world = World::new(2);
    world.put(texts(0, 60)).await;
    let failing = world.sim.rule(Rule::operation("GetRecords").probability(0.5).then(Verdict::LoseAnswer));
    let expiring =
        world.sim.rule(Rule::operation("GetRecords").probability(0.2).then(Verdict::ExpireIterator));
    let worker = world.worker("a").await;
    for from in (60..120).step_by(20) {
        world.until_delivered(from as usize).await;
        world.put(texts(from, from + 20)).await;
    }
    world.until_delivered(120).await;
    drop((failing, expiring));
    worker.shutdown(GRACE).await;
    world.check();
    assert_eq!(world.texts().len(), 120);
}

#[tokio::test(start_paused = true)]
async fn latest_starts_behind_what_is_there() {
    let world = World::new(1);
    world.put(texts(0, 5)).await;
    let config = World::config("a").with_initial_position(InitialPosition::Latest);
    let worker = world.configured(config).await;
    world.until("initialized", |world| !world.life(0).is_empty()).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.put(texts(5, 8)).await;
    world.until_delivered(3).await;
    worker.shutdown(GRACE).await;
    assert_eq!(world.texts(), texts(5, 8));
    assert_eq!(world.life(0)[0], Kind::Initialize(Checkpoint::Latest));
}

#[tokio::test(start_paused = true)]
async fn at_timestamp_starts_at_the_first_record_that_arrived_since() {
    let world = World::new(1);
    world.put(texts(0, 5)).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    let since = SystemTime::UNIX_EPOCH + Duration::from_millis(world.sim.now_millis());
    world.put(texts(5, 8)).await;
    let config = World::config("a").with_initial_position(InitialPosition::AtTimestamp(since));
    let worker = world.configured(config).await;
    world.until_delivered(3).await;
    worker.shutdown(GRACE).await;
    assert_eq!(world.texts(), texts(5, 8));
}

#[tokio::test(start_paused = true)]
async fn a_timestamp_in_the_future_is_told_and_waited_for() {
    let world = World::new(1);
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(world.sim.now_millis());
    let start = now + Duration::from_mins(10);
    let config = World::config("a").with_initial_position(InitialPosition::AtTimestamp(start));
    let worker = world.configured(config).await;
    tokio::time::sleep(Duration::from_mins(5)).await;
    world.put(texts(0, 3)).await;
    let refused = "cannot be greater than the currentTimestampInMillis";
    assert!(world.told().iter().any(|told| told.contains(refused)), "{:#?}", world.told());
    assert_eq!(worker.health().stuck().count(), 1);
    tokio::time::sleep(Duration::from_mins(6)).await;
    world.put(texts(3, 6)).await;
    world.until_delivered(3).await;
    worker.shutdown(GRACE).await;
    assert_eq!(world.texts(), texts(3, 6), "from that time on, and nothing before it");
}

#[tokio::test(start_paused = true)]
async fn an_idle_shard_is_read_once_a_second() {
    let world = World::new(1);
    let worker = world.worker("a").await;
    world.until("initialized", |world| !world.life(0).is_empty()).await;
    let reads = || world.sim.trace().iter().filter(|line| line.contains("GetRecords")).count();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = reads();
    tokio::time::sleep(Duration::from_mins(1)).await;
    let count = reads() - before;
    assert!((59..=61).contains(&count), "{count} reads in a minute");
    worker.shutdown(GRACE).await;
}

#[tokio::test(start_paused = true)]
async fn a_stalled_processor_stops_the_reads_of_its_shard() {
    let world = World::with_script(1, |_| Ok(Act::NeverReturn));
    world.put(texts(0, 10)).await;
    let config = World::config("a").with_max_records(1);
    let worker = world.configured(config).await;
    let reads = || world.sim.trace().iter().filter(|line| line.contains("GetRecords")).count();
    tokio::time::sleep(Duration::from_mins(1)).await;
    let before = reads();
    assert!(before <= 6, "one batch in hand, four waiting, one more at most: {before}");
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!(reads(), before);
    drop(worker);
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_makes_the_same_calls() {
    async fn run() -> Vec<String> {
        let world = World::new(3);
        world.put(texts(0, 30)).await;
        let _faults =
            world.sim.rule(Rule::operation("GetRecords").probability(0.3).then(Verdict::LoseAnswer));
        let worker = world.worker("a").await;
        world.until_delivered(30).await;
        worker.shutdown(GRACE).await;
        world.sim.trace()
    }
    let (first, second) = (run().await, run().await);
    assert!(first.len() > 30);
    assert_eq!(first, second);
}

/// Workers that crash before their first checkpoint: what was put after the first of them opened `LATEST` is read.
#[tokio::test(start_paused = true)]
async fn latest_means_the_same_to_every_later_owner() {
    for mode in [RetrievalMode::Polling, RetrievalMode::FanOut] {
        let world = World::new(1);
        world.put(texts(0, 5)).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let latest = |name: &str| {
            let config = World::config(name).with_initial_position(InitialPosition::Latest);
            config.with_retrieval_mode(mode)
        };
        let opened = world.configured(latest("a")).await;
        world.until("pinned", |world| world.pin().is_some()).await;
        let pinned = world.row(0).latest_pinned_at;
        drop(opened);
        world.put(texts(5, 8)).await;
        let second = world.scripted(|_| Ok(Act::Nothing));
        let crashes = second.configured(latest("b")).await;
        world.until_delivered(3).await;
        drop(crashes);
        world.put(texts(8, 10)).await;
        let worker = world.configured(latest("c")).await;
        world.until_delivered(5).await;
        let report = worker.shutdown(GRACE).await;
        assert_eq!(world.texts_of("c"), texts(5, 10), "{mode:?}");
        assert_eq!(world.row(0).latest_pinned_at, pinned, "{mode:?}: the first note stays");
        assert_eq!(report.stats.gaps, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_latest_shard_whose_iterator_expires_misses_nothing() {
    let world = World::new(1);
    world.put(texts(0, 5)).await;
    // The service tells its time in whole seconds: what was put in the same one before may come too.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let config = World::config("a").with_initial_position(InitialPosition::Latest);
    let worker = world.configured(config).await;
    world.until("pinned", |world| world.pin().is_some()).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let failing = world.sim.rule(Rule::operation("GetRecords").then(Verdict::Fail));
    world.put(texts(5, 8)).await;
    tokio::time::sleep(Duration::from_mins(7)).await;
    drop(failing);
    world.until_delivered(3).await;
    let report = worker.shutdown(GRACE).await;
    assert_eq!(world.texts(), texts(5, 8));
    assert!(report.stats.expired_iterator > 0);
    assert_eq!(report.stats.gaps, 0);
}

#[tokio::test(start_paused = true)]
async fn a_start_time_in_the_future_is_waited_for() {
    for mode in [RetrievalMode::Polling, RetrievalMode::FanOut] {
        let world = World::new(1);
        world.put(texts(0, 5)).await;
        let start = Duration::from_millis(world.sim.now_millis()) + Duration::from_mins(10);
        let position = InitialPosition::AtTimestamp(SystemTime::UNIX_EPOCH + start);
        let config = World::config("a").with_initial_position(position).with_retrieval_mode(mode);
        let worker = world.configured(config).await;
        tokio::time::sleep(Duration::from_mins(5)).await;
        world.put(texts(5, 10)).await;
        tokio::time::sleep(Duration::from_mins(6)).await;
        world.put(texts(10, 15)).await;
        world.until_delivered(5).await;
        worker.shutdown(GRACE).await;
        assert_eq!(world.texts(), texts(10, 15), "{mode:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_older_than_the_retention_goes_on_at_the_oldest_record_and_names_the_gap() {
    for mode in [RetrievalMode::Polling, RetrievalMode::FanOut] {
        let world = World::new(1);
        world.put(texts(0, 5)).await;
        let first = world.worker("a").await;
        world.until_delivered(5).await;
        first.shutdown(GRACE).await;
        world.put(texts(5, 10)).await;
        tokio::time::sleep(Duration::from_hours(25)).await;
        world.put(texts(10, 15)).await;
        let config = World::config("b").with_retrieval_mode(mode);
        let worker = world.configured(config).await;
        world.until_delivered(10).await;
        let report = worker.shutdown(GRACE).await;
        assert_eq!(world.texts_of("b"), texts(10, 15), "{mode:?}");
        assert_eq!(report.stats.gaps, 1, "{mode:?}");
        let told = world.news();
        let gap = told.iter().find(|event| matches!(event, kcl::ConsumerEvent::GapBelowRetention { .. }));
        let Some(kcl::ConsumerEvent::GapBelowRetention { checkpoint, first, .. }) = gap else {
            panic!("{mode:?}: no event names the gap: {told:#?}")
        };
        assert!(first.is_none_or(|first| first > *checkpoint));
    }
}

#[tokio::test(start_paused = true)]
async fn broken_aggregates_are_handed_over_whole_among_sound_ones_and_told() {
    let world = World::new(1);
    let client = world.sim.client_named("producer");
    let magic = [0xF3, 0x89, 0x9A, 0xC2];
    let broken: Vec<Vec<u8>> =
        vec![magic.to_vec(), [&magic[..], &[0; 40]].concat(), [&magic[..], b"ordinary text"].concat()];
    for data in &broken {
        world.put_aggregate(&["a", "b"]).await;
        let put = client.put_record().stream_name(crate::world::STREAM).partition_key("k");
        put.data(aws_sdk_kinesis::primitives::Blob::new(data.clone())).send().await.unwrap();
    }
    let worker = world.worker("a").await;
    world.until("all delivered", |world| world.texts().len() == 9).await;
    let report = worker.shutdown(GRACE).await;
    let whole = |data: &Vec<u8>| String::from_utf8_lossy(data).into_owned();
    let expected: Vec<String> =
        broken.iter().flat_map(|data| ["a".to_owned(), "b".to_owned(), whole(data)]).collect();
    assert_eq!(world.texts(), expected);
    assert_eq!(report.stats.suspicious_aggregates, 3);
}

#[tokio::test(start_paused = true)]
async fn shards_that_stand_still_do_not_keep_another_from_reading() {
    let world = World::with_script(8, |input| {
        let stuck = input.checkpointer.shard_id() != &kcl::ShardId::from_index(7);
        Ok(if stuck { Act::NeverReturn } else { Act::CheckpointBatch })
    });
    let client = world.sim.client_named("producer");
    let put = async |shard: u64, text: String| {
        let shards = world.sim.shards(crate::world::STREAM);
        let key = shards[usize::try_from(shard).unwrap()].hash_key_range.start().to_string();
        let put = client.put_record().stream_name(crate::world::STREAM).partition_key("k");
        let mut data = text.into_bytes();
        data.resize(900_000, b' ');
        put.explicit_hash_key(key).data(aws_sdk_kinesis::primitives::Blob::new(data)).send().await.unwrap();
    };
    for round in 0..6 {
        for shard in 0..8 {
            put(shard, format!("{round}-{shard}")).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // Less than the stuck shards alone could fill.
    let worker = world.configured(World::config("a").with_max_prefetch_bytes(10 * 1024 * 1024)).await;
    world
        .until("the last shard is read to its end", |world| {
            world.texts().iter().filter(|text| text.contains("-7")).count() == 6
        })
        .await;
    drop(worker);
}
