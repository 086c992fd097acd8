//! More load than the stream takes: everything waits its turn, memory stays bounded, nobody starves.

mod common;

use std::time::Duration;

use common::worker::Plan;
use common::{World, for_each_seed};
use kinesis_sim::{EntryError, Rule, Verdict};

#[test]
fn a_burst_above_the_shards_limit_drains_at_its_rate_and_loses_nothing() {
    for_each_seed(
        "a_burst_above_the_shards_limit_drains_at_its_rate_and_loses_nothing",
        |seeded: World| async move {
            let world = World::with_shards(seeded.seed, 1);
            let producer = world.producer(|config| {
                config.with_aggregation_enabled(false).with_record_ttl(Duration::from_mins(2))
            });
            let tickets = world.put(&producer, 5_000).await;
            world.answers(tickets).await;
            world.assert_sound();
            assert_eq!(world.history.acknowledged().len(), 5_000);
            assert_eq!(world.stored().len(), 5_000);
            let millis = world.now_millis();
            assert!((3_000..20_000).contains(&millis), "5,000 records at 1,000 records/s took {millis} ms");
        },
    );
}

#[test]
fn the_bytes_held_never_exceed_the_bound() {
    for_each_seed("the_bytes_held_never_exceed_the_bound", |seeded: World| async move {
        const BOUND: u64 = 300_000;
        let world = World::with_shards(seeded.seed, 1);
        let producer = world.producer(|config| {
            config
                .with_max_outstanding_bytes(300_000)
                .with_max_record_size(100_000)
                .with_record_ttl(Duration::from_mins(2))
        });
        let mut tickets = Vec::new();
        let mut greatest = 0_u64;
        for number in 0..200 {
            tickets.push(world.put_one(&producer, format!("key-{number}"), 20_000).await);
            greatest = greatest.max(producer.stats().outstanding_bytes);
        }
        assert!(greatest > BOUND / 2, "the bound was never near: {greatest}");
        assert!(greatest <= BOUND, "{greatest} bytes were held");
        world.answers(tickets).await;
        world.assert_sound();
        assert_eq!(world.history.acknowledged().len(), 200);
        assert_eq!(producer.stats().outstanding_bytes, 0);
    });
}

#[test]
fn a_hot_shard_leaves_the_others_alone() {
    for_each_seed("a_hot_shard_leaves_the_others_alone", |seeded: World| async move {
        let world = World::with_shards(seeded.seed, 4);
        let hot = world.sim.shards(common::STREAM)[0].clone();
        let _rule = world.sim.rule(
            Rule::operation("PutRecords")
                .shard(hot.id.clone())
                .window(Duration::ZERO..Duration::from_secs(20))
                .then(Verdict::FailEntries { probability: 1.0, error: EntryError::Throttled }),
        );
        let producer = world.producer(|config| config.with_record_ttl(Duration::from_mins(1)));
        let (mut cold, mut all) = (Vec::new(), Vec::new());
        for number in 0..400 {
            let key = format!("key-{number}");
            let is_hot = hot.hash_key_range.contains(common::hash_of(&key));
            let put = world.put_one(&producer, key, 100).await;
            if is_hot { all.push(put) } else { cold.push(put) }
        }
        world.answers(cold).await;
        let millis = world.now_millis();
        assert!(millis < 3_000, "records of other shards waited {millis} ms for the hot one");
        world.answers(all).await;
        world.assert_sound();
        assert_eq!(world.history.acknowledged().len(), 400);
    });
}

#[test]
fn a_throttled_reader_catches_up() {
    for_each_seed("a_throttled_reader_catches_up", |world: World| async move {
        let rule = world.sim.rule(
            Rule::operation("GetRecords")
                .window(Duration::ZERO..Duration::from_secs(15))
                .then(Verdict::Throttle),
        );
        let worker = world.worker("worker-a", Plan::default()).await;
        let producer = world.producer(|config| config);
        let tickets = world.put(&producer, 200).await;
        world.answers(tickets).await;
        world.until_delivered().await;
        assert!(rule.hits() > 0, "the fault never struck");
        worker.shutdown(Duration::from_secs(10)).await;
        world.assert_complete();
        assert_eq!(world.history.most_repeated_position(), 1);
    });
}
