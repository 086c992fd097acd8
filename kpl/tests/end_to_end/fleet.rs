//! A thousand producers see the same split: the service is asked a bounded number of times, spread over time.

use std::collections::BTreeMap;
use std::time::Duration;

use kpl::ProducerConfig;
use tokio::task::JoinSet;

use crate::common::{SECOND, STREAM, config, record, sim, start};

const PRODUCERS: usize = 1000;

/// Each producer puts two records, the stream is split, each puts two more. How many questions each has asked, and the most calls of
/// one second.
async fn split_seen_by_all(config: ProducerConfig) -> (Vec<u64>, usize) {
    let sim = sim(1, 1);
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|number| {
            start(&sim, config.clone().with_seed(number as u64).with_max_outstanding_bytes(1_100_000))
        })
        .collect();
    let put = |rest: usize| {
        let mut tasks = JoinSet::new();
        for (number, producer) in producers.iter().enumerate() {
            let producer = producer.clone();
            tasks.spawn(async move {
                let records = vec![record(number * 4 + rest), record(number * 4 + rest + 1)];
                for ticket in producer.put_many(records).await.expect("accepted") {
                    ticket.await.expect("delivered");
                }
            });
        }
        tasks.join_all()
    };
    put(0).await;
    tokio::time::sleep(60 * SECOND).await;
    let quiet = sim.trace().len();
    sim.split_shard(STREAM, "shardId-000000000000");
    put(2).await;
    tokio::time::sleep(60 * SECOND).await;
    let mut seconds: BTreeMap<u64, usize> = BTreeMap::new();
    for line in sim.trace().iter().skip(quiet).filter(|line| line.contains("ListShards")) {
        let millis: u64 = line.split_whitespace().next().and_then(|time| time.parse().ok()).expect("a time");
        *seconds.entry(millis / 1000).or_default() += 1;
    }
    let asked = producers.iter().map(|producer| producer.stats().shard_map_questions).collect();
    (asked, seconds.into_values().max().unwrap_or_default())
}

#[tokio::test(start_paused = true)]
async fn a_thousand_producers_that_see_one_split_ask_a_bounded_number_of_times() {
    // Who does not know of its fleet asks at once, is throttled, and comes back at some time of the next seconds.
    let patient = config().with_record_ttl(Duration::from_mins(5));
    for (fleet, most_each, most_in_a_second) in [(1, 5, 1800), (1000, 4, 1000)] {
        let (asked, busiest) = split_seen_by_all(patient.clone().with_fleet_size(fleet)).await;
        let (total, worst) = (asked.iter().sum::<u64>(), asked.iter().max().copied().unwrap_or_default());
        assert!(worst <= most_each, "fleet {fleet}: one asked {worst} times");
        assert!(total <= 4 * PRODUCERS as u64, "fleet {fleet}: {total} questions in all");
        assert!(busiest <= most_in_a_second, "fleet {fleet}: {busiest} calls in one second");
    }
}
