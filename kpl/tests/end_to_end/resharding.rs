//! Splits and merges while records are on their way: every acknowledged record is found by a reader that drops each aggregate with a
//! member outside its shard's range.

use std::time::Duration;

use crate::common::{SECOND, STREAM, all_delivered, answers, check, config, put_all, settled, sim, start};
use kinesis_sim::{EntryError, Rule, Sim, Verdict};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

/// Splits an open shard or merges two neighbours.
pub(crate) fn reshard(sim: &Sim, rng: &mut SmallRng) {
    let mut open: Vec<_> = sim.shards(STREAM).into_iter().filter(kinesis_shard::Shard::is_open).collect();
    open.sort_by_key(|shard| shard.hash_key_range);
    if open.len() < 2 || rng.random_bool(0.5) {
        let shard = open.choose(rng).expect("a shard is open");
        sim.split_shard(STREAM, &shard.id);
    } else {
        let neighbours: Vec<_> = open.iter().zip(open.iter().skip(1)).collect();
        let (lower, upper) = neighbours.choose(rng).expect("there are two");
        sim.merge_shards(STREAM, &lower.id, &upper.id);
    }
}

#[tokio::test(start_paused = true)]
async fn p6_a_split_that_overtakes_a_request_is_noticed_and_its_aggregates_are_cut() {
    let sim = sim(1, 1);
    let producer = start(&sim, config());
    producer.ready().await.unwrap();
    let guard = sim.rule(Rule::operation("PutRecords").times(1).then(Verdict::Delay(SECOND)));
    let tickets = put_all(&producer, 0..300).await;
    tokio::time::sleep(SECOND / 2).await;
    sim.split_shard(STREAM, "shardId-000000000000");
    let answers = answers(tickets).await;
    drop(guard);
    all_delivered(&answers);
    assert_eq!(check(&sim, &answers), (300, 0), "the copies on the wrong shard are dropped by readers");
    assert!(producer.stats().wrong_shard > 0);
    assert_eq!(producer.stats().errors_by_code["WrongShard"], producer.stats().wrong_shard);
    // The map is new: nothing lands wrong any more.
    let before = producer.stats().wrong_shard;
    let answers2 = crate::common::answers(put_all(&producer, 300..600).await).await;
    all_delivered(&answers2);
    assert_eq!(producer.stats().wrong_shard, before);
    settled(&producer);
}

#[tokio::test(start_paused = true)]
async fn a_merge_that_overtakes_a_request_costs_nothing() {
    let sim = sim(2, 2);
    let producer = start(&sim, config());
    producer.ready().await.unwrap();
    let _guard = sim.rule(Rule::operation("PutRecords").times(2).then(Verdict::Delay(SECOND)));
    let tickets = put_all(&producer, 0..300).await;
    tokio::time::sleep(SECOND / 2).await;
    sim.merge_shards(STREAM, "shardId-000000000000", "shardId-000000000001");
    let answers = answers(tickets).await;
    all_delivered(&answers);
    assert_eq!(check(&sim, &answers), (300, 0));
    assert!(
        answers
            .iter()
            .all(|(_, answer)| answer.as_ref().unwrap().shard_id.as_str() == "shardId-000000000002")
    );
    assert_eq!(producer.stats().wrong_shard, 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_still_buffered_when_the_map_changes_follows_it() {
    let sim = sim(3, 1);
    let producer = start(&sim, config().with_record_max_buffered_time(10 * SECOND));
    producer.ready().await.unwrap();
    // Learns of the split from a plain record of a minute ago.
    sim.split_shard(STREAM, "shardId-000000000000");
    let first = put_all(&producer, 0..1).await;
    producer.flush().await;
    let waiting = put_all(&producer, 1..100).await;
    tokio::time::sleep(SECOND).await;
    let stats = producer.stats();
    assert_eq!(stats.wrong_shard, 0);
    producer.flush().await;
    let answers = answers(first.into_iter().chain(waiting).collect()).await;
    all_delivered(&answers);
    assert_eq!(check(&sim, &answers), (100, 0));
    assert_eq!(producer.stats().wrong_shard, 0, "re-routed before it was sent");
}

#[tokio::test(start_paused = true)]
async fn the_old_map_stays_in_use_while_the_new_one_is_fetched() {
    let sim = sim(6, 4);
    let producer = start(&sim, config());
    producer.ready().await.unwrap();
    let _slow = sim.rule(Rule::operation("ListShards").then(Verdict::Delay(5 * SECOND)));
    sim.split_shard(STREAM, "shardId-000000000000");
    // What lands on a child makes the producer ask; the answer takes five seconds.
    let split = put_all(&producer, 0..400).await;
    tokio::time::sleep(SECOND).await;
    let began = crate::common::Stopwatch::start();
    let meanwhile = answers(
        put_all(&producer, 400..800)
            .await
            .into_iter()
            .filter(|(record, _)| {
                // The shards that were not split.
                record.hash_key() > kpl::HashKey::new(u128::MAX / 4)
            })
            .collect(),
    )
    .await;
    all_delivered(&meanwhile);
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    assert!(meanwhile.len() > 200);
    // They are aggregated as before: the old map still says where these shards' records go.
    let together: std::collections::BTreeSet<_> = meanwhile
        .iter()
        .map(|(_, answer)| {
            let delivered = answer.as_ref().unwrap();
            (delivered.shard_id.clone(), delivered.sequence_number)
        })
        .collect();
    assert!(together.len() <= 10, "{} records went out as {}", meanwhile.len(), together.len());
    all_delivered(&answers(split).await);
}

#[tokio::test(start_paused = true)]
async fn a_listing_of_many_pages_is_one_map() {
    let sim = Sim::builder().seed(7).limits(kinesis_sim::Limits::Off).build();
    sim.create_stream(STREAM, 2500);
    let producer = start(&sim, config());
    let answers = answers(put_all(&producer, 0..1000).await).await;
    all_delivered(&answers);
    assert_eq!(producer.stats().shard_map_questions, 1);
    assert_eq!(producer.stats().wrong_shard, 0);
    let pages = sim.trace().iter().filter(|line| line.contains("ListShards")).count();
    assert_eq!(pages, 3);
}

#[tokio::test(start_paused = true)]
async fn listings_that_fail_during_a_split_delay_and_lose_nothing() {
    let sim = sim(4, 1);
    let producer = start(&sim, config());
    producer.ready().await.unwrap();
    let guard = sim.rule(Rule::operation("ListShards").times(4).then(Verdict::Fail));
    sim.split_shard(STREAM, "shardId-000000000000");
    let answers = answers(put_all(&producer, 0..200).await).await;
    assert_eq!(guard.hits(), 4);
    all_delivered(&answers);
    assert_eq!(check(&sim, &answers).0, 200);
}

#[tokio::test(start_paused = true)]
async fn p14_a_stream_deleted_and_created_anew_is_recovered_from() {
    let sim = sim(5, 1);
    let producer = start(&sim, config());
    all_delivered(&answers(put_all(&producer, 0..50).await).await);
    sim.delete_stream(STREAM);
    let gone = answers(put_all(&producer, 50..60).await).await;
    for (_, answer) in &gone {
        assert_eq!(answer.as_ref().unwrap_err().reason(), &kpl::PutErrorReason::StreamNotFound);
    }
    sim.create_stream(STREAM, 4);
    let again = answers(put_all(&producer, 60..400).await).await;
    all_delivered(&again);
    assert_eq!(check(&sim, &again).0, 340);
}

/// One run: puts in bursts while shards split and merge, requests are late, and some entries fail.
async fn storm(seed: u64) {
    let sim = sim(seed, 1 + u32::try_from(seed % 4).expect("small"));
    let mut rng = SmallRng::seed_from_u64(seed);
    let late = Duration::from_millis(rng.random_range(0..200));
    let _late = sim.rule(Rule::operation("PutRecords").probability(0.5).then(Verdict::Delay(late)));
    let _lag = sim.rule(Rule::operation("ListShards").probability(0.5).then(Verdict::Delay(late * 2)));
    let fails = Verdict::FailEntries { probability: 0.1, error: EntryError::Internal };
    let _fails = sim.rule(Rule::operation("PutRecords").probability(0.3).then(fails));
    let _lost = sim.rule(Rule::operation("PutRecords").probability(0.05).then(Verdict::LoseAnswer));
    let size = *[200, 2000, 51_200].choose(&mut rng).expect("not empty");
    let producer = start(&sim, config().with_seed(seed).with_aggregation_max_size(size));
    let (mut tickets, mut next) = (Vec::new(), 0);
    for _ in 0..12 {
        let count = rng.random_range(1..120);
        tickets.extend(put_all(&producer, next..next + count).await);
        next += count;
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..300))).await;
        if rng.random_bool(0.6) {
            reshard(&sim, &mut rng);
        }
        if rng.random_bool(0.2) {
            producer.flush().await;
        }
    }
    let answers = answers(tickets).await;
    all_delivered(&answers);
    assert_eq!(check(&sim, &answers).0, next, "SIM_SEED={seed}");
    settled(&producer);
}

#[tokio::test(start_paused = true)]
async fn p6_over_random_splits_and_merges_every_acknowledged_record_is_found() {
    let seeds = match std::env::var("SIM_SEED") {
        Ok(seed) => seed.parse().map(|seed| seed..seed + 1).expect("SIM_SEED is a number"),
        Err(_) => 0..60,
    };
    for seed in seeds {
        eprintln!("repeat with: SIM_SEED={seed} cargo test -p kpl --test end_to_end p6_over_random");
        storm(seed).await;
    }
}
