//! Options have an effect: for each that no other test is about, a producer with it and one without.
//!
//! | option | shown in |
//! | --- | --- |
//! | `aggregation_enabled`, `aggregation_max_size`, `collection_max_count`, `request_timeout` | `delivery.rs` |
//! | `aggregation_on_auto`, `max_record_size`, `rate_limit` | `stream_facts.rs`, `promises.rs` |
//! | `max_user_record_size` | `bad_input.rs` |
//! | `record_max_buffered_time` | `lifecycle.rs` |
//! | `record_ttl` | `promises.rs` |
//! | `ordering` | `ordering.rs` |
//! | `fleet_size` | `fleet.rs` |
//! | `max_connections`, `max_outstanding_bytes` | `bounds.rs` |
//! | `metrics_hook` | `observability.rs` |
//! | all others | here |

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{HttpClient, HttpConnectorSettings, SharedHttpConnector};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use kinesis_shard::{Clock, ParsedRecord, parse_aggregated};
use kinesis_sim::{Rule, Sim, SimHttpClient, Verdict};
use kpl::{Producer, ProducerConfig, PutErrorReason, UserRecord};

use crate::common::{
    SECOND, STREAM, Stopwatch, all_delivered, answers, check, config, put_all, record, sim, start,
};

/// How many members each stored aggregate has; plain records count as one.
fn members(sim: &Sim) -> Vec<usize> {
    let count = |data: &bytes::Bytes| match parse_aggregated(data) {
        ParsedRecord::Aggregated(members) => members.len(),
        ParsedRecord::Plain(_) => 1,
    };
    sim.stored(STREAM).iter().map(|record| count(&record.data)).collect()
}

#[tokio::test(start_paused = true)]
async fn no_aggregate_has_more_members_than_the_count_allows() {
    for (count, aggregates) in [(None, 1), (Some(100), 3), (Some(7), 43)] {
        let sim = sim(1, 1);
        let config =
            if let Some(count) = count { config().with_aggregation_max_count(count) } else { config() };
        let producer = start(&sim, config);
        let answers = answers(put_all(&producer, 0..300).await).await;
        all_delivered(&answers);
        let members = members(&sim);
        assert_eq!(members.len(), aggregates, "{count:?}: {members:?}");
        assert!(members.iter().all(|members| *members <= count.unwrap_or(u32::MAX) as usize));
        assert_eq!(check(&sim, &answers), (300, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn no_request_has_more_bytes_than_the_size_allows() {
    for (size, requests) in [(None, 1), (Some(200_000), 3)] {
        let sim = sim(2, 8);
        let config = config().with_aggregation_enabled(false);
        let config = if let Some(size) = size { config.with_collection_max_size(size) } else { config };
        let producer = start(&sim, config);
        producer.ready().await.unwrap();
        let mut tickets = Vec::new();
        for number in 0..50 {
            let record = UserRecord::new(format!("key-{number}"), vec![b'x'; 10_000]);
            tickets.push((record.clone(), producer.put(record).await.unwrap()));
        }
        all_delivered(&answers(tickets).await);
        assert_eq!(producer.stats().put_records_calls, requests, "{size:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_throttled_record_fails_at_once_only_if_that_is_asked_for() {
    for fails in [false, true] {
        let sim = sim(3, 1);
        let producer = start(&sim, config().with_fail_if_throttled(fails));
        producer.ready().await.unwrap();
        let throttled = sim.rule(Rule::operation("PutRecords").times(1).then(Verdict::Throttle));
        let began = Stopwatch::start();
        let answer = producer.put(record(1)).await.unwrap().await;
        assert_eq!(throttled.hits(), 1);
        match answer {
            Err(error) if fails => {
                assert!(matches!(error.reason(), PutErrorReason::Throttled), "{error}");
                assert!(!error.may_have_been_written() && began.elapsed() < SECOND, "{error}");
            }
            Ok(delivered) if !fails => assert_eq!(delivered.attempts.len(), 2),
            answer => panic!("fails: {fails}: {answer:?}"),
        }
    }
}

/// Writes down what the SDK is told about connections.
#[derive(Debug, Clone)]
struct Noting {
    inner: SimHttpClient,
    seen: Arc<Mutex<Vec<Option<Duration>>>>,
}

impl HttpClient for Noting {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        self.seen.lock().expect("nobody panicked").push(settings.connect_timeout());
        self.inner.http_connector(settings, components)
    }
}

/// Connecting itself is the HTTP client's; that it is told for how long is ours.
#[tokio::test(start_paused = true)]
async fn the_http_client_is_told_the_connect_timeout() {
    for timeout in [None, Some(3 * SECOND)] {
        let sim = sim(4, 1);
        let seen = Arc::<Mutex<Vec<_>>>::default();
        let http = Noting { inner: sim.http_client("producer"), seen: Arc::clone(&seen) };
        let client = sim.client().config().to_builder().http_client(http).build();
        let client = aws_sdk_kinesis::Client::from_conf(client);
        let config =
            if let Some(timeout) = timeout { config().with_connect_timeout(timeout) } else { config() };
        let producer = Producer::start(&client, config).unwrap();
        producer.put(record(1)).await.unwrap().await.unwrap();
        let seen = seen.lock().unwrap().clone();
        assert!(!seen.is_empty() && seen.iter().all(|seen| *seen == timeout), "{timeout:?}: {seen:?}");
    }
}

/// How long a record that nothing gets through for is kept, in true time.
async fn kept_for(config: ProducerConfig) -> Duration {
    let sim = sim(5, 1);
    let _down = sim.rule(Rule::operation("PutRecords").then(Verdict::Fail));
    let producer = start(&sim, config.with_record_ttl(10 * SECOND));
    let began = Stopwatch::start();
    producer.put(record(1)).await.expect("accepted").await.expect_err("nothing gets through");
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn time_is_what_the_clock_says() {
    let (usual, fast) =
        (kept_for(config()).await, kept_for(config().with_clock(Clock::with_rate(2.0))).await);
    assert!(usual >= 10 * SECOND && usual < 11 * SECOND, "{usual:?}");
    assert!(fast >= 5 * SECOND && fast < 6 * SECOND, "{fast:?}");
}

/// One line a call, with its time: retries come when the seed says.
async fn trace(seed: u64) -> Vec<String> {
    let sim = sim(6, 2);
    let _faults = sim.rule(Rule::operation("PutRecords").probability(0.7).then(Verdict::Fail));
    let producer = start(&sim, config().with_seed(seed));
    all_delivered(&answers(put_all(&producer, 0..20).await).await);
    sim.trace()
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_calls_at_the_same_times_and_another_gives_others() {
    let first = trace(1).await;
    assert!(first.len() > 3, "{first:#?}");
    assert_eq!(first, trace(1).await);
    assert_ne!(first, trace(2).await);
}
