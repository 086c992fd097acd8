//! Stats and hooks under the Java KPL's names, and what a stuck producer says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use kinesis_sim::{EntryError, Rule, Verdict};
use kpl::{Metric, Sample, ShardId};

use crate::common::{SECOND, STREAM, all_delivered, answers, config, put_all, record, settled, sim, start};

/// All samples, in the order in which they came.
fn recorder() -> (Arc<Mutex<Vec<Sample>>>, impl Fn(&Sample) + Send + Sync + 'static) {
    let samples: Arc<Mutex<Vec<Sample>>> = Arc::default();
    let hook = {
        let samples = Arc::clone(&samples);
        move |sample: &Sample| samples.lock().expect("no test panics in here").push(sample.clone())
    };
    (samples, hook)
}

#[tokio::test(start_paused = true)]
async fn every_metric_of_the_java_kpl_is_counted_and_sampled_under_its_name() {
    let sim = sim(1, 2);
    let refuse = Verdict::FailEntries { probability: 0.5, error: EntryError::Throttled };
    let _guard = sim.rule(Rule::operation("PutRecords").times(4).then(refuse));
    let (samples, hook) = recorder();
    let producer = start(&sim, config().with_aggregation_max_size(1000).with_metrics_hook(hook));
    let answers = answers(put_all(&producer, 0..2000).await).await;
    all_delivered(&answers);
    producer.flush().await;
    let stats = producer.stats();

    let sum = |metric| stats.metric(metric).sum;
    let bytes: usize = (0..2000).map(|n| record(n).data().len() + record(n).partition_key().len()).sum();
    assert_eq!(stats.metric(Metric::UserRecordsReceived).count, 2000);
    assert!((sum(Metric::UserRecordsPut) - 2000.0).abs() < 0.5);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let bytes = bytes as f64;
    assert!((sum(Metric::UserRecordsDataPut) - bytes).abs() < 1.0, "{}", sum(Metric::UserRecordsDataPut));
    let put = stats.metric(Metric::KinesisRecordsPut);
    let refused = stats.errors_by_code["ProvisionedThroughputExceededException"];
    assert_eq!(put.count, stats.kinesis_records_put + refused, "one sample an answer");
    assert_eq!(stats.metric(Metric::AllErrors).count, put.count);
    assert_eq!((stats.throttled, stats.retries), (refused, refused));
    assert_eq!(stats.metric(Metric::ErrorsByCode).count, refused);
    assert_eq!(stats.metric(Metric::RetriesPerRecord).count, 2000);
    assert!(stats.metric(Metric::RetriesPerRecord).max >= 1.0);
    assert_eq!(stats.metric(Metric::UserRecordsPerKinesisRecord).count, stats.kinesis_records_sent);
    assert_eq!(stats.metric(Metric::RequestTime).count, stats.put_records_calls);
    assert_eq!(stats.metric(Metric::KinesisRecordsPerPutRecordsRequest).count, stats.put_records_calls);
    assert_eq!(stats.metric(Metric::BufferingTime).count, stats.kinesis_records_sent);

    let shards: Vec<u64> = (0..2)
        .map(|index| stats.shard_metric(&ShardId::from_index(index), Metric::UserRecordsPut).count)
        .collect();
    assert_eq!(shards.iter().sum::<u64>(), 2000);
    assert!(shards.iter().all(|count| *count > 0));

    // The hook was told the same, sample by sample.
    let mut counted: BTreeMap<Metric, u64> = BTreeMap::new();
    for sample in samples.lock().unwrap().iter() {
        assert_eq!(&*sample.stream, STREAM);
        assert_eq!(sample.error_code.is_some(), sample.metric == Metric::ErrorsByCode);
        *counted.entry(sample.metric).or_default() += sample.count;
    }
    for (metric, shard, distribution) in stats.metrics() {
        if shard.is_none() && !metric.is_gauge() {
            assert_eq!(counted[&metric], distribution.count, "{metric}");
        }
    }
    settled(&producer);
}

#[tokio::test(start_paused = true)]
async fn gauges_come_while_it_is_busy_and_end_with_those_of_rest() {
    let sim = sim(2, 1);
    let _slow = sim.rule(Rule::operation("PutRecords").then(Verdict::Delay(SECOND)));
    let (samples, hook) = recorder();
    let producer = start(&sim, config().with_metrics_hook(hook));
    all_delivered(&answers(put_all(&producer, 0..100).await).await);
    tokio::time::sleep(SECOND).await;
    let samples = samples.lock().unwrap();
    for gauge in
        Metric::ALL.into_iter().filter(|metric| metric.is_gauge() && *metric != Metric::ThrottledShards)
    {
        let values: Vec<f64> =
            samples.iter().filter(|sample| sample.metric == gauge).map(|sample| sample.value).collect();
        assert!(
            values.len() >= 2 && values.last().is_some_and(|last| last.abs() < 0.5),
            "{gauge}: {values:?}"
        );
        if gauge != Metric::KinesisRecordsQueued {
            assert!(values.iter().any(|value| *value >= 1.0), "{gauge}: {values:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_queue_status_says_why_nothing_moves() {
    let sim = sim(3, 1);
    let guard = sim.rule(Rule::operation("PutRecords").then(Verdict::Fail));
    let producer = start(&sim, config());
    let tickets = put_all(&producer, 0..10).await;
    tokio::time::sleep(15 * SECOND).await;
    let queue = producer.stats().queue;
    assert!(queue.stuck_for.is_some_and(|time| time >= 10 * SECOND), "{queue:?}");
    assert!(queue.oldest_record.is_some_and(|age| age >= 14 * SECOND));
    assert_eq!(queue.last_error.as_deref(), Some("InternalFailure"));
    assert!(queue.to_string().contains("last error: InternalFailure"), "{queue}");
    drop(guard);
    all_delivered(&answers(tickets).await);
    let queue = producer.stats().queue;
    assert_eq!((queue.stuck_for, queue.oldest_record, queue.queued()), (None, None, 0));
}
