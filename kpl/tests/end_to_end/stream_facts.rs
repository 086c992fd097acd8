//! What the stream itself allows, and who decides where records go: learned from the service, or configured.

use aws_sdk_kinesis::types::{RecordDistributionStrategy, StreamMode, StreamModeDetails};
use kinesis_sim::{Limits, Rule, Sim, Verdict};
use kpl::{Ordering, Producer, ProducerConfig, PutErrorReason, TryPutError, UserRecord};

use crate::common::{
    SECOND, STREAM, Stopwatch, all_delivered, answers, check, config, put_all, read, record, settled, sim,
    start,
};

const MIB: usize = 1 << 20;

fn large(bytes: usize) -> UserRecord {
    UserRecord::new("k", vec![b'x'; bytes - 1])
}

/// Raises the stream's own limit.
async fn raise_limit(sim: &Sim, kib: i32) {
    let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/orders";
    let call = sim.client().update_max_record_size().stream_arn(arn).max_record_size_in_kib(kib);
    call.send().await.expect("the limit is raised");
}

async fn distribute(sim: &Sim, strategy: RecordDistributionStrategy) {
    let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/orders";
    let call = sim.client().update_stream_record_distribution_strategy().stream_arn(arn);
    call.record_distribution_strategy(strategy).send().await.expect("the distribution is changed");
}

/// An on-demand stream that ignores keys.
async fn auto(seed: u64) -> Sim {
    let sim = Sim::builder().seed(seed).limits(Limits::Aws).build();
    let on_demand = StreamModeDetails::builder().stream_mode(StreamMode::OnDemand).build();
    let on_demand = on_demand.expect("the mode is given");
    let call = sim.client().create_stream().stream_name(STREAM).stream_mode_details(on_demand);
    call.send().await.expect("the stream is created");
    tokio::time::sleep(60 * SECOND).await;
    distribute(&sim, RecordDistributionStrategy::Auto).await;
    sim
}

#[tokio::test(start_paused = true)]
async fn the_streams_own_record_limit_is_learned_before_a_large_record_is_refused() {
    let sim = sim(1, 1);
    raise_limit(&sim, 3 * 1024).await;
    tokio::time::sleep(60 * SECOND).await;
    let producer = start(&sim, config());
    let Err(TryPutError::NotReady(_)) = producer.try_put(large(3 * MIB)) else { panic!("not known yet") };
    let ticket = producer.put(large(3 * MIB)).await.unwrap();
    ticket.await.unwrap();
    assert_eq!(producer.stats().max_record_size, 3 * MIB);
    let error = producer.put(large(3 * MIB + 1)).await.unwrap_err();
    let too_large = PutErrorReason::RecordTooLarge { bytes: 3 * MIB + 1, maximum: 3 * MIB };
    assert_eq!(error.reason(), &too_large);
    let Err(TryPutError::Refused(_)) = producer.try_put(large(3 * MIB + 1)) else { panic!("known now") };
    settled(&producer);
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_raised_later_is_noticed_after_a_record_did_not_fit() {
    let sim = sim(2, 1);
    let producer = start(&sim, config());
    producer.put(record(1)).await.unwrap().await.unwrap();
    let error = producer.put_many(vec![record(2), large(2 * MIB)]).await.unwrap_err();
    assert_eq!((error.accepted.len(), error.rest.len()), (1, 1));
    tokio::time::sleep(60 * SECOND).await;
    raise_limit(&sim, 2 * 1024).await;
    tokio::time::sleep(60 * SECOND).await;
    assert!(producer.put(large(2 * MIB)).await.is_err(), "asked for in the background");
    tokio::time::sleep(60 * SECOND).await;
    producer.put(large(2 * MIB)).await.unwrap().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_may_not_be_described_has_the_services_default_limit_and_works() {
    let sim = sim(3, 2);
    let denied = sim.rule(Rule::operation("DescribeStreamSummary").then(Verdict::Fail));
    let producer = start(&sim, config());
    let error = producer.put(large(MIB + 1)).await.unwrap_err();
    assert_eq!(error.reason(), &PutErrorReason::RecordTooLarge { bytes: MIB + 1, maximum: MIB });
    all_delivered(&answers(put_all(&producer, 0..100).await).await);
    tokio::time::sleep(600 * SECOND).await;
    assert!(denied.hits() <= 7, "{} calls: it is not asked for ever", denied.hits());
}

#[tokio::test(start_paused = true)]
async fn a_configured_limit_stands() {
    let sim = sim(4, 1);
    let producer = start(&sim, config().with_max_record_size(500_000));
    let error = producer.put(large(500_001)).await.unwrap_err();
    assert_eq!(error.reason(), &PutErrorReason::RecordTooLarge { bytes: 500_001, maximum: 500_000 });
    producer.put(large(500_000)).await.unwrap().await.unwrap();
    let stats = producer.stats();
    assert_eq!(stats.max_record_size, 500_000);
}

#[tokio::test(start_paused = true)]
async fn where_the_service_ignores_keys_records_go_alone_and_no_reader_drops_any() {
    let sim = auto(5).await;
    let producer = start(&sim, config());
    let answers = answers(put_all(&producer, 0..400).await).await;
    all_delivered(&answers);
    assert_eq!(check(&sim, &answers).0, 400);
    // Known now: nothing is aggregated, nothing surprises, all shards are used.
    let before = producer.stats();
    let more = crate::common::answers(put_all(&producer, 400..800).await).await;
    all_delivered(&more);
    let after = producer.stats();
    assert_eq!(after.kinesis_records_sent - before.kinesis_records_sent, 400);
    assert_eq!((after.wrong_shard, after.retries), (before.wrong_shard, before.retries));
    assert!(read(&sim).iter().filter(|read| !read.dropped).count() >= 800);
    settled(&producer);
}

#[tokio::test(start_paused = true)]
async fn where_the_service_ignores_keys_one_hot_key_gets_the_rate_of_all_shards() {
    let sim = auto(9).await;
    let producer = start(&sim, config().with_rate_limit(90));
    producer.ready().await.unwrap();
    tokio::time::sleep(SECOND).await;
    let began = Stopwatch::start();
    let mut tickets = Vec::new();
    for number in 0..8000 {
        let record = UserRecord::new("hot", format!("uid-{number:08}"));
        tickets.push(producer.put(record).await.unwrap());
    }
    for ticket in tickets {
        ticket.await.unwrap();
    }
    // Four shards take 3,600 a second; one would take 900.
    assert!(began.elapsed() < 4 * SECOND, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn who_has_readers_that_take_whole_aggregates_may_aggregate_there_too() {
    let sim = auto(6).await;
    let producer = start(&sim, config().with_aggregation_on_auto(true));
    producer.put(record(0)).await.unwrap().await.unwrap();
    tokio::time::sleep(2 * SECOND).await;
    let before = producer.stats();
    let answers = answers(put_all(&producer, 1..1000).await).await;
    all_delivered(&answers);
    let after = producer.stats();
    assert!(after.kinesis_records_sent - before.kinesis_records_sent < 30, "aggregated");
    assert_eq!((after.wrong_shard, after.retries), (0, 0), "delivered wherever they land");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_begins_to_ignore_keys_is_noticed_and_one_that_heeds_them_again_too() {
    let sim = auto(7).await;
    distribute(&sim, RecordDistributionStrategy::UserPartitionKey).await;
    let producer = start(&sim, config());
    all_delivered(&answers(put_all(&producer, 0..200).await).await);
    distribute(&sim, RecordDistributionStrategy::Auto).await;
    let answers = answers(put_all(&producer, 200..600).await).await;
    all_delivered(&answers);
    tokio::time::sleep(60 * SECOND).await;
    let alone = producer.stats().kinesis_records_sent;
    all_delivered(&crate::common::answers(put_all(&producer, 600..700).await).await);
    assert_eq!(producer.stats().kinesis_records_sent - alone, 100, "not aggregated any more");
    distribute(&sim, RecordDistributionStrategy::UserPartitionKey).await;
    tokio::time::sleep(600 * SECOND).await;
    let before = producer.stats().kinesis_records_sent;
    all_delivered(&crate::common::answers(put_all(&producer, 700..900).await).await);
    assert!(producer.stats().kinesis_records_sent - before < 20, "aggregated again");
}

#[tokio::test(start_paused = true)]
async fn order_on_a_stream_that_ignores_keys_is_refused_with_a_sentence() {
    let sim = auto(8).await;
    let config = ProducerConfig::new(STREAM).with_ordering(Ordering::PerShard);
    let producer = Producer::start(&sim.client(), config).unwrap();
    producer.ready().await.unwrap();
    tokio::time::sleep(SECOND).await;
    let error = producer.put(record(1)).await.unwrap_err();
    assert_eq!(error.reason(), &PutErrorReason::OrderImpossible);
    assert_eq!(error.record(), Some(record(1)));
}
