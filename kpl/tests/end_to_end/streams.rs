//! Several streams by one producer: one memory bound, and nothing else in common.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

use kinesis_sim::{Rule, Sim, Verdict};
use kpl::{ConfigError, Ordering, ProducerConfig, PutErrorReason, UserRecord};

use crate::common::{SECOND, STREAM, all_delivered, answers, config, put_all, record, settled, sim, start};

const CLICKS: &str = "clicks";
const BOUND: usize = 1_100_000;

fn two_streams(seed: u64) -> Sim {
    let sim = sim(seed, 2);
    sim.create_stream(CLICKS, 1);
    sim
}

fn large(key: &str) -> UserRecord {
    UserRecord::new(key, vec![b'x'; 1_000_000])
}

#[tokio::test(start_paused = true)]
async fn streams_share_the_memory_bound_and_nothing_else() {
    let sim = two_streams(1);
    let _slow = sim.rule(Rule::operation("PutRecords").then(Verdict::Delay(SECOND / 5)));
    let orders = start(&sim, config().with_max_outstanding_bytes(BOUND));
    let clicks = orders.stream(CLICKS).expect("valid");
    let mut tickets = Vec::new();
    for number in 0..300 {
        let producer = if number % 3 == 0 { &orders } else { &clicks };
        let record = UserRecord::new(format!("k{number}"), vec![b'x'; 10_000]);
        tickets.push((record.clone(), producer.put(record).await.expect("accepted")));
        for producer in [&orders, &clicks] {
            assert!(producer.stats().outstanding_bytes <= BOUND as u64);
        }
    }
    all_delivered(&answers(tickets).await);
    assert_eq!((orders.stats().user_records_put, clicks.stats().user_records_put), (100, 200));
    assert!(sim.stored(STREAM).len() >= 2 && !sim.stored(CLICKS).is_empty());
    settled(&orders);
    settled(&clicks);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_asked_for_again_is_the_same_one() {
    let sim = two_streams(2);
    let orders = start(&sim, config());
    let (first, second) = (orders.stream(CLICKS).expect("valid"), orders.stream(CLICKS).expect("valid"));
    drop(first.put(record(1)).await.expect("accepted"));
    drop(second.put(record(2)).await.expect("accepted"));
    orders.stream(STREAM).expect("itself").put(record(3)).await.expect("accepted");
    orders.flush_all().await;
    assert_eq!((sim.stored(CLICKS).len(), sim.stored(STREAM).len()), (1, 1), "one aggregate of two");
    let names: Vec<_> = orders.streams().iter().map(|stream| stream.config().stream().to_owned()).collect();
    assert_eq!(names, [CLICKS, STREAM]);
    let again = orders.stream_with(ProducerConfig::new(CLICKS)).expect_err("in use");
    assert!(matches!(again, ConfigError::Contradiction(_)), "{again}");
}

#[tokio::test(start_paused = true)]
async fn closing_one_stream_refuses_its_waiting_puts_and_leaves_the_others_alone() {
    let sim = two_streams(3);
    let _slow = sim.rule(Rule::operation("PutRecords").then(Verdict::Delay(SECOND)));
    let orders = start(&sim, config().with_max_outstanding_bytes(BOUND));
    let clicks = orders.stream(CLICKS).expect("valid");
    clicks.ready().await.expect("listed");
    let first = orders.put(large("first")).await.expect("accepted");
    let mut on_clicks = pin!(clicks.put(large("second")));
    let mut on_orders = pin!(orders.put(large("third")));
    let mut context = Context::from_waker(Waker::noop());
    assert!(on_clicks.as_mut().poll(&mut context).is_pending());
    assert!(on_orders.as_mut().poll(&mut context).is_pending());
    assert_eq!(clicks.close(SECOND).await.left, 0);
    let error = on_clicks.await.expect_err("closed");
    assert_eq!((error.reason(), error.record()), (&PutErrorReason::Closed, Some(large("second"))));
    assert!(first.answer().is_none(), "refused at once, not when there was room");
    first.await.expect("delivered");
    on_orders.await.expect("accepted").await.expect("delivered");
    // A new one of that name works.
    let clicks = orders.stream(CLICKS).expect("valid");
    clicks.put(record(1)).await.expect("accepted").await.expect("delivered");
    settled(&orders);
}

#[tokio::test(start_paused = true)]
async fn each_stream_ends_with_its_own_last_handle() {
    let sim = two_streams(4);
    let orders = start(&sim, config());
    let clicks = orders.stream(CLICKS).expect("valid");
    let gone = clicks.put(record(1)).await.expect("accepted");
    let kept = orders.put(record(2)).await.expect("accepted");
    drop(clicks);
    assert_eq!(gone.answer().expect("answered").expect_err("dropped").reason(), &PutErrorReason::Closed);
    assert!(kept.answer().is_none());
    kept.await.expect("delivered");
    let clicks = orders.stream(CLICKS).expect("valid");
    drop(orders);
    clicks.put(record(3)).await.expect("the other went").await.expect("delivered");
    settled(&clicks);
}

#[tokio::test(start_paused = true)]
async fn a_stream_may_have_its_own_configuration_and_be_named_by_its_arn() {
    let sim = two_streams(5);
    let orders = start(&sim, config().with_max_outstanding_bytes(BOUND));
    let arn = format!("arn:aws:kinesis:us-east-1:000000000000:stream/{CLICKS}");
    let config = ProducerConfig::new(arn).with_ordering(Ordering::PerShard).with_aggregation_enabled(false);
    let clicks = orders.stream_with(config).expect("valid");
    all_delivered(&answers(put_all(&clicks, 0..20).await).await);
    all_delivered(&answers(put_all(&orders, 0..20).await).await);
    assert_eq!(sim.stored(CLICKS).len(), 20, "not aggregated");
    assert_eq!(clicks.config().max_outstanding_bytes(), BOUND, "shared");
    assert!(orders.stream("").is_err());
}

#[tokio::test(start_paused = true)]
async fn closing_all_reports_the_sum() {
    let sim = two_streams(6);
    let _stuck = sim.rule(Rule::operation("PutRecords").stream(CLICKS).then(Verdict::Delay(20 * SECOND)));
    let orders = start(&sim, config());
    let clicks = orders.stream(CLICKS).expect("valid");
    let _kept = (put_all(&orders, 0..10).await, put_all(&clicks, 0..7).await);
    let report = orders.close_all(5 * SECOND).await;
    assert_eq!((report.delivered, report.failed, report.left), (10, 0, 7));
    assert!(orders.streams().is_empty());
}
