//! Each promise of `docs/guarantees.md` that no other file has under its number.

use std::collections::BTreeMap;
use std::time::Duration;

use kinesis_shard::SequenceNumber;
use kinesis_sim::{EntryError, Rule, Verdict};
use kpl::{HashKey, Producer, PutErrorReason, UserRecord};

use crate::common::{
    SECOND, STREAM, Stopwatch, all_delivered, answers, check, config, put_all, record, settled, sim, start,
};
use crate::spoiling::{Spoiled, client};

#[tokio::test(start_paused = true)]
async fn p2_every_submission_is_answered_in_time_whatever_is_wrong() {
    let verdicts = [
        Verdict::Fail,
        Verdict::Throttle,
        Verdict::LoseRequest,
        Verdict::LoseAnswer,
        Verdict::Delay(100 * SECOND),
        Verdict::FailEntries { probability: 1.0, error: EntryError::Internal },
    ];
    for verdict in verdicts {
        let sim = sim(1, 2);
        let _guard = sim.rule(Rule::operation("PutRecords").then(verdict));
        let ttl = 8 * SECOND;
        let producer = start(&sim, config().with_record_ttl(ttl).with_request_timeout(2 * SECOND));
        producer.ready().await.expect("the shards are listed");
        let began = Stopwatch::start();
        for (_, answer) in answers(put_all(&producer, 0..500).await).await {
            assert!(answer.is_err(), "{verdict:?}");
        }
        let bound = ttl + 2 * SECOND + 10 * SECOND;
        assert!(began.elapsed() <= bound, "{verdict:?} took {:?}", began.elapsed());
        settled(&producer);
    }
}

#[tokio::test(start_paused = true)]
async fn p2_records_expire_on_time_while_every_request_is_taken() {
    let sim = sim(2, 1);
    let client = client(&sim, |operation, _| match operation {
        "PutRecords" => Spoiled::Hangs,
        _ => Spoiled::No,
    });
    let config =
        config().with_max_connections(1).with_request_timeout(100 * SECOND).with_record_ttl(5 * SECOND);
    let config = config.with_aggregation_enabled(false).with_collection_max_count(1);
    let producer = Producer::start(&client, config).expect("the configuration is valid");
    producer.ready().await.expect("the shards are listed");
    let began = Stopwatch::start();
    let mut tickets = put_all(&producer, 0..20).await;
    let (_, in_flight) = tickets.remove(0);
    for (_, ticket) in tickets {
        let error = ticket.await.expect_err("never sent");
        assert!(matches!(error.reason(), PutErrorReason::Expired { .. }), "{error}");
        assert!(!error.may_have_been_written());
        assert!(began.elapsed() <= 5 * SECOND + Duration::from_millis(10), "{:?}", began.elapsed());
    }
    let error = in_flight.await.expect_err("the one request timed out");
    assert!(error.may_have_been_written() && began.elapsed() >= 100 * SECOND);
    let PutErrorReason::Expired { time_spent, .. } = error.reason() else { panic!("{error}") };
    assert!(time_spent.request >= 99 * SECOND, "{time_spent}");
}

#[tokio::test(start_paused = true)]
async fn p3_a_failure_says_whether_the_record_may_have_been_written() {
    // (what the service does, whether that may have written the record)
    let cases = [
        (Verdict::Throttle, false),
        (Verdict::Fail, true),
        (Verdict::LoseRequest, true),
        (Verdict::LoseAnswer, true),
        (Verdict::FailEntries { probability: 1.0, error: EntryError::Throttled }, false),
        (Verdict::FailEntries { probability: 1.0, error: EntryError::Internal }, true),
    ];
    for (verdict, in_doubt) in cases {
        let sim = sim(3, 1);
        let _guard = sim.rule(Rule::operation("PutRecords").then(verdict));
        let producer = start(&sim, config().with_record_ttl(3 * SECOND));
        let answers = answers(put_all(&producer, 0..10).await).await;
        for (record, answer) in &answers {
            let error = answer.as_ref().expect_err("nothing gets through");
            assert_eq!(error.may_have_been_written(), in_doubt, "{verdict:?}");
            assert_eq!(error.record().as_ref(), Some(record), "handed back");
        }
        // And where it says no, the stream holds nothing.
        check(&sim, &answers);
    }
}

#[tokio::test(start_paused = true)]
async fn p7a_positions_are_unique_and_a_reader_meets_them_in_their_order() {
    let sim = sim(4, 3);
    let refuse = Verdict::FailEntries { probability: 0.3, error: EntryError::Internal };
    let _guard = sim.rule(Rule::operation("PutRecords").times(20).then(refuse));
    let producer = start(&sim, config().with_aggregation_max_size(400));
    let answers = answers(put_all(&producer, 0..2000).await).await;
    all_delivered(&answers);
    let mut positions: Vec<(SequenceNumber, u64)> = answers
        .iter()
        .filter_map(|(_, answer)| answer.as_ref().ok())
        .map(|delivered| (delivered.sequence_number, delivered.sub_sequence_number))
        .collect();
    positions.sort_unstable();
    positions.dedup();
    assert_eq!(positions.len(), 2000);
    // `check` finds each at its position; within a shard, positions as read grow.
    assert_eq!(check(&sim, &answers).0, 2000);
    let mut last: BTreeMap<_, (SequenceNumber, u64)> = BTreeMap::new();
    for read in crate::common::read(&sim) {
        let position = (read.position.0.parse().expect("a number"), read.position.1);
        let before = last.insert(read.shard_id.clone(), position);
        assert!(before.is_none_or(|before| before < position), "{read:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn p13_no_shard_is_sent_more_than_its_rate_a_burst_and_one_record() {
    let sim = kinesis_sim::Sim::builder().seed(5).limits(kinesis_sim::Limits::Off).build();
    sim.create_stream(STREAM, 2);
    let producer = start(&sim, config().with_aggregation_enabled(false).with_rate_limit(50));
    producer.ready().await.expect("the shards are listed");
    all_delivered(&answers(put_all(&producer, 0..4000).await).await);
    let mut arrivals: BTreeMap<_, Vec<u64>> = BTreeMap::new();
    for stored in sim.stored(STREAM) {
        arrivals.entry(stored.shard_id).or_default().push(stored.arrived_at_millis);
    }
    for (shard, times) in arrivals {
        for (first, from) in times.iter().enumerate() {
            for (count, to) in (1_u64..).zip(&times[first..]) {
                // 500 records a second and 100 ms of that at once; what was collected before leaves up to 20 ms later.
                let allowed = (to - from + 100 + 20) / 2 + 1;
                assert!(count <= allowed, "{shard}: {count} records in {} ms", to - from);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p14_a_stream_created_anew_between_two_puts_is_not_judged_by_the_old_ranges() {
    let sim = sim(6, 1);
    let producer = start(&sim, config());
    all_delivered(&answers(put_all(&producer, 0..50).await).await);
    // Nothing is put meanwhile, so no error tells. Number 0 used to cover every key, and now covers a quarter of them.
    sim.delete_stream(STREAM);
    tokio::time::sleep(60 * SECOND).await;
    sim.create_stream(STREAM, 4);
    tokio::time::sleep(60 * SECOND).await;
    // The first one routes the aggregate, to number 0: by its name alone that is the shard of before.
    let first = record(50).with_explicit_hash_key(HashKey::MIN);
    let mut tickets = vec![(first.clone(), producer.put(first).await.expect("accepted"))];
    tickets.extend(put_all(&producer, 51..400).await);
    let again = answers(tickets).await;
    all_delivered(&again);
    assert_eq!(check(&sim, &again).0, 350);
    settled(&producer);
}

#[tokio::test(start_paused = true)]
async fn a_hot_shard_costs_the_others_less_than_a_twentieth() {
    let mut took = Vec::new();
    for hot in [false, true] {
        let sim = sim(7, 8);
        let rule = Rule::operation("PutRecords").shard("shardId-000000000000").then(Verdict::Throttle);
        let _guard = hot.then(|| sim.rule(rule));
        let producer = start(&sim, config().with_aggregation_enabled(false).with_rate_limit(90));
        producer.ready().await.expect("the shards are listed");
        let began = Stopwatch::start();
        let tickets = put_all(&producer, 0..20_000).await;
        let lower = HashKey::new(u128::MAX / 8);
        let mut last = Duration::ZERO;
        for (record, ticket) in tickets {
            if record.hash_key() > lower {
                ticket.await.expect("the others go on");
                last = began.elapsed();
            }
        }
        took.push(last);
    }
    let [cold, hot] = took[..] else { panic!("two runs") };
    assert!(hot <= cold + cold / 20, "{hot:?} beside a hot shard, {cold:?} without");
}

#[tokio::test(start_paused = true)]
async fn p4_nothing_that_is_stored_was_not_put() {
    let sim = sim(8, 2);
    let _lost = sim.rule(Rule::operation("PutRecords").times(5).then(Verdict::LoseAnswer));
    let producer = start(&sim, config().with_aggregation_max_size(700));
    let mut tickets = put_all(&producer, 0..500).await;
    let odd = UserRecord::new("\u{0}é\u{10FFFF}", vec![0xF3, 0x89, 0x9A, 0xC2]);
    tickets.push((odd.clone(), producer.put(odd).await.expect("accepted")));
    let answers = answers(tickets).await;
    all_delivered(&answers);
    assert_eq!(check(&sim, &answers).0, 501, "and every byte is as it was put");
    assert!(record(0).data().starts_with(b"uid"));
}
