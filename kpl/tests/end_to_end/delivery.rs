//! Records arrive where their tickets say: in quiet, under partial failures, throttling and lost messages.

use std::time::Duration;

use crate::common::{
    SECOND, STREAM, Stopwatch, all_delivered, answers, check, config, put_all, read, record, settled, sim,
    start,
};
use kinesis_sim::{EntryError, Rule, Verdict};
use kpl::{HashKey, PutErrorReason, UserRecord, WaitedIn};

#[tokio::test(start_paused = true)]
async fn p1_p5_in_quiet_every_record_is_stored_once_where_its_ticket_says() {
    let sim = sim(1, 4);
    let producer = start(&sim, config());
    let answers = answers(put_all(&producer, 0..5000).await).await;
    all_delivered(&answers);
    assert_eq!(check(&sim, &answers), (5000, 0));
    settled(&producer);
    let stats = producer.stats();
    assert_eq!((stats.user_records_put, stats.retries), (5000, 0));
    assert!(stats.kinesis_records_put <= 12, "well aggregated: {}", stats.kinesis_records_put);
}

#[tokio::test(start_paused = true)]
async fn in_quiet_records_of_one_key_are_stored_in_the_order_of_their_puts() {
    let sim = sim(2, 2);
    let producer = start(&sim, config().with_aggregation_max_size(2000));
    let mut tickets = Vec::new();
    for number in 0..500 {
        let record = UserRecord::new("one-key", format!("{number:05}{}", "x".repeat(number % 300)));
        tickets.push((record.clone(), producer.put(record).await.unwrap()));
    }
    all_delivered(&answers(tickets).await);
    let stored: Vec<_> = read(&sim).into_iter().map(|read| read.record.data().slice(..5)).collect();
    assert_eq!(stored.len(), 500);
    assert!(stored.is_sorted());
}

#[tokio::test(start_paused = true)]
async fn p10_a_single_record_is_stored_plain_within_the_buffered_time() {
    let sim = sim(3, 1);
    let producer = start(&sim, config());
    producer.ready().await.unwrap();
    let began = Stopwatch::start();
    let ticket = producer.put(UserRecord::new("alone", "data")).await.unwrap();
    let delivered = ticket.await.unwrap();
    assert!(began.elapsed() <= Duration::from_millis(101), "{:?}", began.elapsed());
    assert!(delivered.attempts[0].started <= Duration::from_millis(101));
    let stored = sim.stored(STREAM);
    assert_eq!(stored.len(), 1);
    assert_eq!((stored[0].partition_key.as_str(), stored[0].explicit_hash_key), ("alone", None));
    assert_eq!(&stored[0].data[..], b"data");
}

#[tokio::test(start_paused = true)]
async fn explicit_hash_keys_route_and_are_kept() {
    let sim = sim(4, 2);
    let producer = start(&sim, config());
    let mut tickets = Vec::new();
    for (number, hash_key) in
        [HashKey::MIN, HashKey::MAX, HashKey::new(7), HashKey::MAX].into_iter().enumerate()
    {
        let record = record(number).with_explicit_hash_key(hash_key);
        tickets.push((record.clone(), producer.put(record).await.unwrap()));
    }
    let answers = answers(tickets).await;
    check(&sim, &answers);
    let shards: Vec<_> =
        answers.iter().map(|(_, answer)| answer.as_ref().unwrap().shard_id.as_str()).collect();
    let (low, high) = ("shardId-000000000000", "shardId-000000000001");
    assert_eq!(shards, [low, high, low, high]);
}

#[tokio::test(start_paused = true)]
async fn large_records_go_alone_and_small_ones_around_them_keep_their_order() {
    let sim = sim(5, 1);
    let producer = start(&sim, config());
    let mut tickets = Vec::new();
    for (number, bytes) in [(0, 10), (1, 10), (2, 200_000), (3, 10), (4, 60_000), (5, 10)] {
        let record = UserRecord::new("k", format!("{number}{}", "x".repeat(bytes)));
        tickets.push((record.clone(), producer.put(record).await.unwrap()));
    }
    let answers = answers(tickets).await;
    all_delivered(&answers);
    assert_eq!(check(&sim, &answers), (6, 0));
    let order: Vec<_> = read(&sim).iter().map(|read| read.record.data()[0]).collect();
    assert_eq!(order, b"012345");
}

#[tokio::test(start_paused = true)]
async fn put_many_gives_tickets_in_the_order_of_the_records() {
    let sim = sim(6, 8);
    let producer = start(&sim, config());
    let records: Vec<_> = (0..3000).map(record).collect();
    let (one_by_one, together) = records.split_at(1500);
    let tickets = producer.put_many(one_by_one.to_vec()).await.unwrap();
    let mut answers = answers(one_by_one.iter().cloned().zip(tickets).collect()).await;
    let tickets = producer.put_many(together.to_vec()).await.unwrap();
    answers.extend(together.iter().cloned().zip(tickets.await));
    all_delivered(&answers);
    assert_eq!(check(&sim, &answers), (3000, 0));
}

#[tokio::test(start_paused = true)]
async fn put_many_accepts_what_comes_before_a_bad_record_and_hands_back_the_rest() {
    let sim = sim(7, 2);
    let producer = start(&sim, config());
    let mut records: Vec<_> = (0..10).map(record).collect();
    records[6] = UserRecord::new("", "no key");
    let error = producer.put_many(records.clone()).await.unwrap_err();
    assert_eq!((error.accepted.len(), error.rest.len()), (6, 4));
    assert_eq!(error.error.reason(), &PutErrorReason::KeyEmpty);
    assert_eq!(error.rest[0], records[6]);
    let answers = answers(records.into_iter().zip(error.accepted).collect()).await;
    all_delivered(&answers);
    assert_eq!(check(&sim, &answers), (6, 0));
}

#[tokio::test(start_paused = true)]
async fn without_aggregation_each_record_is_one_kinesis_record() {
    let sim = sim(8, 2);
    let producer = start(&sim, config().with_aggregation_enabled(false));
    let answers = answers(put_all(&producer, 0..200).await).await;
    assert_eq!(check(&sim, &answers), (200, 0));
    assert_eq!(sim.stored(STREAM).len(), 200);
}

#[tokio::test(start_paused = true)]
async fn p12_refused_entries_are_sent_again_and_the_others_are_not() {
    let sim = sim(9, 4);
    let refuse = Verdict::FailEntries { probability: 0.3, error: EntryError::Internal };
    let guard = sim.rule(Rule::operation("PutRecords").then(refuse));
    let producer = start(&sim, config().with_aggregation_max_size(500));
    let answers = answers(put_all(&producer, 0..3000).await).await;
    all_delivered(&answers);
    assert!(guard.hits() > 0);
    // Not one copy too many: what was stored was not sent again.
    assert_eq!(check(&sim, &answers), (3000, 0));
    let stats = producer.stats();
    assert_eq!(stats.retries, stats.errors_by_code["InternalFailure"]);
    assert!(stats.retries > 10);
}

#[tokio::test(start_paused = true)]
async fn p5_answers_that_are_lost_cost_copies_and_nothing_else() {
    let sim = sim(10, 2);
    let _guard = sim.rule(Rule::operation("PutRecords").times(3).then(Verdict::LoseAnswer));
    let producer = start(&sim, config());
    let answers = answers(put_all(&producer, 0..400).await).await;
    all_delivered(&answers);
    let (acknowledged, copies) = check(&sim, &answers);
    assert_eq!(acknowledged, 400);
    assert!(copies > 0, "a stored record whose answer was lost is sent again");
    for (_, answer) in &answers {
        let attempts = &answer.as_ref().unwrap().attempts;
        assert!(attempts.len() >= 2 && attempts[0].error_code.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_lost_are_sent_again() {
    let sim = sim(11, 2);
    let _guard = sim.rule(Rule::operation("PutRecords").times(4).then(Verdict::LoseRequest));
    let producer = start(&sim, config());
    let answers = answers(put_all(&producer, 0..400).await).await;
    all_delivered(&answers);
    assert_eq!(check(&sim, &answers), (400, 0));
}

#[tokio::test(start_paused = true)]
async fn a_request_without_an_answer_is_given_up_after_request_timeout() {
    let sim = sim(12, 1);
    let _guard = sim.rule(Rule::operation("PutRecords").times(1).then(Verdict::Delay(9 * SECOND)));
    let producer = start(&sim, config().with_request_timeout(2 * SECOND));
    let answers = answers(put_all(&producer, 0..3).await).await;
    all_delivered(&answers);
    let attempts = &answers[0].1.as_ref().unwrap().attempts;
    assert_eq!(attempts[0].error_code.as_deref(), Some("RequestTimeout"));
    assert_eq!(attempts[0].duration.as_secs(), 2);
    // The late request takes effect all the same.
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(check(&sim, &answers).0, 3);
}

#[tokio::test(start_paused = true)]
async fn over_the_shards_limit_everything_arrives_at_the_shards_rate() {
    let sim = sim(13, 1);
    let producer = start(&sim, config().with_aggregation_enabled(false).with_rate_limit(300));
    producer.ready().await.unwrap();
    let began = Stopwatch::start();
    let answers = answers(put_all(&producer, 0..6000).await).await;
    all_delivered(&answers);
    assert_eq!(check(&sim, &answers), (6000, 0));
    let took = began.elapsed();
    // 1,000 records a second are allowed; throttling must not cost more than half of that.
    assert!(took >= 4 * SECOND && took <= 12 * SECOND, "{took:?}");
    let stats = producer.stats();
    assert!(stats.throttled > 0, "300 % of the limit must be throttled");
    assert!(stats.retries < 6000, "no storm: {} retries", stats.retries);
}

#[tokio::test(start_paused = true)]
async fn a_throttled_shard_does_not_hold_up_the_others() {
    let sim = sim(14, 2);
    let hot = "shardId-000000000000";
    let _guard = sim.rule(Rule::operation("PutRecords").shard(hot).then(Verdict::Throttle));
    let producer = start(&sim, config().with_record_ttl(5 * SECOND));
    producer.ready().await.unwrap();
    let began = Stopwatch::start();
    let tickets = put_all(&producer, 0..1000).await;
    let mut delivered = 0;
    let mut expired = 0;
    for (_, ticket) in tickets {
        match ticket.await {
            Ok(delivered_at) => {
                assert_ne!(delivered_at.shard_id.as_str(), hot);
                assert_eq!(delivered_at.attempts.len(), 1);
                assert!(delivered_at.attempts[0].started < SECOND / 4);
                delivered += 1;
            }
            Err(error) => {
                let PutErrorReason::Expired { waited, last_error, .. } = error.reason() else {
                    panic!("{error}")
                };
                assert!(*waited >= 5 * SECOND);
                assert_eq!(last_error.as_deref(), Some("ProvisionedThroughputExceededException"));
                assert!(!error.may_have_been_written(), "throttled is refused");
                expired += 1;
            }
        }
    }
    assert_eq!(delivered + expired, 1000);
    assert!(delivered > 300 && expired > 300);
    assert!(began.elapsed() < 6 * SECOND);
    settled(&producer);
}

#[tokio::test(start_paused = true)]
async fn p2_p12_when_nothing_gets_through_records_expire_and_the_attempts_decay() {
    let sim = sim(15, 1);
    let guard = sim.rule(Rule::operation("PutRecords").then(Verdict::Fail));
    let producer = start(&sim, config());
    let tickets = put_all(&producer, 0..10).await;
    let answers = answers(tickets).await;
    for (record, answer) in &answers {
        let error = answer.as_ref().unwrap_err();
        assert!(matches!(error.reason(), PutErrorReason::Expired { waited_in: WaitedIn::Backoff, .. }));
        assert_eq!(error.record().as_ref(), Some(record), "handed back");
        assert!(error.is_retryable());
    }
    assert!(guard.hits() <= 20, "{} calls in 30 s", guard.hits());
    assert_eq!(check(&sim, &answers), (0, 0));
    settled(&producer);
    assert_eq!(producer.stats().user_records_expired, 10);
}

#[tokio::test(start_paused = true)]
async fn one_record_over_the_streams_limit_fails_alone() {
    let sim = sim(16, 1);
    // The stream allows 1 MiB; the producer was told 2.
    let producer = start(&sim, config().with_max_record_size(2 << 20));
    let mut tickets = put_all(&producer, 0..5).await;
    let large = UserRecord::new("large", vec![b'x'; (1 << 20) + 1]);
    tickets.push((large.clone(), producer.put(large).await.unwrap()));
    let mut answers = answers(tickets).await;
    let (_, last) = answers.pop().unwrap();
    assert!(matches!(last.unwrap_err().reason(), PutErrorReason::Rejected { .. }));
    all_delivered(&answers);
    assert_eq!(check(&sim, &answers), (5, 0));
}

#[tokio::test(start_paused = true)]
async fn p4_p8_records_at_every_limit_are_accepted_by_the_service() {
    let sim = sim(17, 2);
    let producer = start(&sim, config());
    let keys = ["k".to_owned(), "k".repeat(256), "é".repeat(256), "\u{10FFFF}".repeat(256)];
    let mut tickets = Vec::new();
    for key in keys {
        let room = 1_048_576 - key.len();
        for bytes in [0, 1, room] {
            let record = UserRecord::new(key.clone(), vec![b'x'; bytes]);
            tickets.push((record.clone(), producer.put(record).await.unwrap()));
        }
        let error = producer.put(UserRecord::new(key, vec![b'x'; room + 1])).await.unwrap_err();
        assert!(matches!(error.reason(), PutErrorReason::RecordTooLarge { bytes: 1_048_577, .. }));
    }
    let answers = answers(tickets).await;
    all_delivered(&answers);
    assert_eq!(check(&sim, &answers).0, 12);
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_makes_the_same_calls_at_the_same_times() {
    let mut traces = Vec::new();
    for _ in 0..2 {
        let sim = sim(18, 3);
        let refuse = Verdict::FailEntries { probability: 0.2, error: EntryError::Throttled };
        let _guard = sim.rule(Rule::operation("PutRecords").then(refuse));
        let producer = start(&sim, config().with_aggregation_max_size(1000).with_collection_max_count(5));
        let answers = answers(put_all(&producer, 0..1000).await).await;
        all_delivered(&answers);
        producer.close(SECOND).await;
        traces.push(sim.trace());
    }
    assert!(traces[0].len() > 5);
    assert_eq!(traces[0], traces[1]);
}
