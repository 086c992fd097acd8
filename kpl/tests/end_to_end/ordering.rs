//! `Ordering::PerShard`: the first copies of records of one key are in the order of their puts, whatever fails and however the stream is
//! resharded.

use std::collections::BTreeMap;
use std::time::Duration;

use kinesis_shard::{SequenceNumber, ShardId};
use kinesis_sim::{EntryError, Rule, Sim, Verdict};
use kpl::{Ordering, UserRecord};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::common::{Read, SECOND, STREAM, all_delivered, answers, check, config, read, settled, sim, start};
use crate::resharding::reshard;

/// One of a few keys, with a number that grows.
fn numbered(number: usize) -> UserRecord {
    UserRecord::new(format!("key-{}", number % 13), format!("uid-{number:08}"))
}

/// Where and when a copy was stored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    millis: u64,
    position: (SequenceNumber, u64),
    shard_id: ShardId,
}

/// Sequence numbers say nothing across shards: a copy that a reshard overtook lies on a sibling of its own shard. Time does.
fn is_before(first: &Place, second: &Place) -> bool {
    if first.shard_id == second.shard_id {
        first.position < second.position
    } else {
        first.millis <= second.millis
    }
}

/// For each key, first copies in the order in which they were stored, over all shards.
fn check_order(sim: &Sim, seed: u64) {
    let arrivals: BTreeMap<(ShardId, SequenceNumber), u64> = sim
        .stored(STREAM)
        .into_iter()
        .map(|stored| ((stored.shard_id, stored.sequence_number), stored.arrived_at_millis))
        .collect();
    let mut first: BTreeMap<(String, String), Place> = BTreeMap::new();
    for Read { shard_id, position: (number, sub), record, .. } in read(sim) {
        let number: SequenceNumber = number.parse().expect("a number");
        let uid = String::from_utf8(record.data().to_vec()).expect("text");
        let millis = *arrivals.get(&(shard_id.clone(), number)).expect("it was stored");
        let place = Place { millis, position: (number, sub), shard_id };
        let known = first.entry((record.partition_key().to_owned(), uid)).or_insert_with(|| place.clone());
        if is_before(&place, known) {
            *known = place;
        }
    }
    let mut last: BTreeMap<String, Place> = BTreeMap::new();
    // By key, then by uid: the order of the puts.
    for ((key, uid), place) in first {
        if let Some(before) = last.insert(key.clone(), place.clone()) {
            assert!(
                is_before(&before, &place),
                "{uid} of {key} was stored before its predecessor (SIM_SEED={seed})"
            );
        }
    }
}

async fn storm(seed: u64) {
    let sim = sim(seed, 1 + u32::try_from(seed % 3).expect("small"));
    let mut rng = SmallRng::seed_from_u64(seed);
    let late = Duration::from_millis(rng.random_range(0..200));
    let _late = sim.rule(Rule::operation("PutRecords").probability(0.5).then(Verdict::Delay(late)));
    let _lag = sim.rule(Rule::operation("ListShards").probability(0.5).then(Verdict::Delay(late * 2)));
    let fails = Verdict::FailEntries { probability: 0.3, error: EntryError::Internal };
    let _fails = sim.rule(Rule::operation("PutRecords").probability(0.4).then(fails));
    let throttles = Verdict::FailEntries { probability: 0.3, error: EntryError::Throttled };
    let _throttles = sim.rule(Rule::operation("PutRecords").probability(0.2).then(throttles));
    let _lost = sim.rule(Rule::operation("PutRecords").probability(0.05).then(Verdict::LoseAnswer));
    let config = config().with_seed(seed).with_ordering(Ordering::PerShard);
    let producer = start(&sim, config.with_aggregation_max_size(300).with_record_ttl(600 * SECOND));
    let (mut tickets, mut next) = (Vec::new(), 0);
    for _ in 0..8 {
        for _ in 0..rng.random_range(1..60) {
            tickets.push((numbered(next), producer.put(numbered(next)).await.expect("accepted")));
            next += 1;
        }
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..300))).await;
        if rng.random_bool(0.6) {
            reshard(&sim, &mut rng);
        }
    }
    let answers = answers(tickets).await;
    all_delivered(&answers);
    assert_eq!(check(&sim, &answers).0, next, "SIM_SEED={seed}");
    check_order(&sim, seed);
    settled(&producer);
}

#[tokio::test(start_paused = true)]
async fn p7b_in_ordered_mode_each_key_keeps_the_order_of_its_puts_across_retries_splits_and_merges() {
    let seeds = match std::env::var("SIM_SEED") {
        Ok(seed) => seed.parse().map(|seed| seed..seed + 1).expect("SIM_SEED is a number"),
        Err(_) => 0..80,
    };
    for seed in seeds {
        storm(seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn p7b_a_refused_entry_goes_first_and_nothing_of_its_shard_overtakes_it() {
    let sim = sim(1, 1);
    let refuse = Verdict::FailEntries { probability: 1.0, error: EntryError::Internal };
    let guard = sim.rule(Rule::operation("PutRecords").times(3).then(refuse));
    let config = config().with_ordering(Ordering::PerShard).with_aggregation_enabled(false);
    let producer = start(&sim, config);
    let mut tickets = Vec::new();
    for number in 0..50 {
        tickets.push((numbered(number), producer.put(numbered(number)).await.unwrap()));
    }
    let answers = answers(tickets).await;
    all_delivered(&answers);
    assert_eq!(guard.hits(), 3);
    check_order(&sim, 1);
    let stored: Vec<_> = sim.stored(STREAM).into_iter().map(|stored| stored.data).collect();
    assert!(stored.is_sorted(), "one shard, one order");
    // One record on its way at a time: the three refusals hit the first one alone.
    assert_eq!(answers[0].1.as_ref().unwrap().attempts.len(), 4);
    assert!(answers[1..].iter().all(|(_, answer)| answer.as_ref().unwrap().attempts.len() == 1));
}

#[tokio::test(start_paused = true)]
async fn ordered_shards_do_not_wait_for_each_other() {
    let sim = sim(2, 4);
    let _slow = sim.rule(Rule::operation("PutRecords").then(Verdict::Delay(SECOND)));
    let config = config().with_ordering(Ordering::PerShard).with_record_max_buffered_time(Duration::ZERO);
    let producer = start(&sim, config);
    producer.ready().await.unwrap();
    for number in 0..13 {
        drop(producer.put(numbered(number)).await.unwrap());
    }
    tokio::time::sleep(SECOND / 2).await;
    let queue = producer.stats().queue;
    assert_eq!(queue.in_flight, 4, "one for each shard: {queue}");
    producer.flush().await;
    check_order(&sim, 2);
}
