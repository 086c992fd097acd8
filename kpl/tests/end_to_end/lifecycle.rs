//! Flush, close and drop: exact barriers, exact reports, and never a ticket without an answer.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use crate::common::{
    SECOND, STREAM, Stopwatch, all_delivered, answers, check, config, put_all, record, settled, sim, start,
};
use kinesis_sim::{Rule, Sim, Verdict};
use kpl::{ConfigError, Producer, ProducerConfig, PutErrorReason, WaitedIn};
use tokio::time::timeout;

#[tokio::test(start_paused = true)]
async fn a_flush_sends_at_once_and_waits_until_all_before_it_is_answered() {
    let sim = sim(1, 4);
    let producer = start(&sim, config().with_record_max_buffered_time(20 * SECOND));
    producer.ready().await.unwrap();
    let tickets = put_all(&producer, 0..500).await;
    let began = Stopwatch::start();
    producer.flush().await;
    assert!(began.elapsed() < Duration::from_millis(10), "{:?}", began.elapsed());
    assert!(tickets.iter().all(|(_, ticket)| ticket.answer().is_some()));
    assert_eq!(producer.stats().put_records_calls, 1, "one request for all shards");
    producer.flush().await;
}

#[tokio::test(start_paused = true)]
async fn p9_later_puts_cannot_postpone_a_flush() {
    let sim = sim(2, 1);
    let _slow = sim.rule(Rule::operation("PutRecords").then(Verdict::Delay(SECOND)));
    let producer = start(&sim, config());
    producer.ready().await.unwrap();
    let before = put_all(&producer, 0..10).await;
    let flush = producer.flush();
    let puts = async {
        for number in 10.. {
            drop(producer.put(record(number)).await.unwrap());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        biased;
        () = flush => {}
        () = puts => {}
        () = tokio::time::sleep(2 * SECOND) => panic!("the flush was postponed"),
    }
    assert!(before.iter().all(|(_, ticket)| ticket.answer().is_some()));
    assert!(producer.stats().outstanding_records > 0, "the later ones are not waited for");
}

#[tokio::test(start_paused = true)]
async fn concurrent_flushes_and_a_dropped_one_all_end() {
    let sim = sim(3, 2);
    let producer = start(&sim, config());
    let tickets = put_all(&producer, 0..100).await;
    {
        let mut dropped = pin!(producer.flush());
        assert!(dropped.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    let flushes = futures::future::join_all((0..5).map(|_| producer.flush()));
    timeout(SECOND, flushes).await.expect("all end");
    assert!(tickets.iter().all(|(_, ticket)| ticket.answer().is_some()));
}

#[tokio::test(start_paused = true)]
async fn a_flush_waits_for_retries_too() {
    let sim = sim(4, 1);
    let _guard = sim.rule(Rule::operation("PutRecords").times(3).then(Verdict::Fail));
    let producer = start(&sim, config());
    let tickets = put_all(&producer, 0..10).await;
    producer.flush().await;
    let answers = answers(tickets).await;
    all_delivered(&answers);
    assert_eq!(answers[0].1.as_ref().unwrap().attempts.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_flush_with_nothing_to_do_ends_at_once() {
    let sim = sim(5, 1);
    let producer = start(&sim, config());
    timeout(Duration::from_millis(1), producer.flush()).await.expect("nothing to wait for");
}

#[tokio::test(start_paused = true)]
async fn p15_close_delivers_what_is_left_and_refuses_what_comes_later() {
    let sim = sim(6, 2);
    let producer = start(&sim, config());
    let tickets = put_all(&producer, 0..300).await;
    let other = producer.clone();
    let report = producer.close(10 * SECOND).await;
    assert_eq!((report.delivered, report.failed, report.left), (300, 0, 0));
    let answers = answers(tickets).await;
    all_delivered(&answers);
    assert_eq!(check(&sim, &answers), (300, 0));
    let error = other.put(record(1)).await.unwrap_err();
    assert_eq!(error.reason(), &PutErrorReason::Closed);
    assert_eq!(error.record(), Some(record(1)));
    assert!(!error.may_have_been_written());
    let error = other.put_many(vec![record(1), record(2)]).await.unwrap_err();
    assert_eq!((error.accepted.len(), error.rest.len()), (0, 2));
    assert_eq!(other.reserve(10).await.unwrap_err().reason(), &PutErrorReason::Closed);
    assert_eq!(other.close(SECOND).await.left, 0, "closing twice does no harm");
    settled(&other);
}

#[tokio::test(start_paused = true)]
async fn close_keeps_its_deadline_and_says_what_is_left() {
    let sim = sim(7, 1);
    let _stuck = sim.rule(Rule::operation("PutRecords").then(Verdict::Delay(9 * SECOND)));
    let producer = start(&sim, config());
    producer.ready().await.unwrap();
    let sent = put_all(&producer, 0..10).await;
    tokio::time::sleep(SECOND).await;
    let began = Stopwatch::start();
    let report = producer.close(SECOND).await;
    assert_eq!(began.elapsed().as_secs(), 1);
    assert_eq!((report.delivered, report.failed, report.left), (0, 0, 10));
    for (record, ticket) in sent {
        let error = ticket.await.unwrap_err();
        assert_eq!(error.reason(), &PutErrorReason::Closed);
        assert!(error.may_have_been_written(), "it was in flight");
        assert_eq!(error.record(), Some(record));
    }
    settled(&producer);
}

#[tokio::test(start_paused = true)]
async fn p15_no_task_is_left_after_a_close_or_a_drop() {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let sim = sim(10, 2);
    for closes in [true, false] {
        let before = tasks();
        let producer = start(&sim, config());
        producer.ready().await.unwrap();
        let sent = put_all(&producer, 0..50).await;
        assert!(tasks() > before);
        if closes {
            assert!(producer.close(5 * SECOND).await.is_complete());
        } else {
            drop(producer);
        }
        drop(sent);
        tokio::time::sleep(SECOND).await;
        assert_eq!(tasks(), before, "closed: {closes}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_in_a_storm_of_throttles_ends_on_time_and_answers_everything() {
    let sim = sim(9, 4);
    let storm = sim.rule(Rule::operation("PutRecords").then(Verdict::Throttle));
    let producer = start(&sim, config());
    producer.ready().await.unwrap();
    let sent = put_all(&producer, 0..200).await;
    tokio::time::sleep(2 * SECOND).await;
    let began = Stopwatch::start();
    let report = producer.close(3 * SECOND).await;
    assert_eq!(began.elapsed().as_secs(), 3);
    assert!(storm.hits() > 1, "it was tried again");
    assert_eq!((report.delivered, report.failed, report.left), (0, 0, 200));
    for (record, ticket) in sent {
        let error = ticket.await.unwrap_err();
        assert_eq!(error.reason(), &PutErrorReason::Closed);
        assert!(!error.may_have_been_written(), "every attempt was refused");
        assert_eq!(error.record(), Some(record));
    }
    assert_eq!(sim.stored(STREAM).len(), 0);
    settled(&producer);
}

#[tokio::test(start_paused = true)]
async fn a_put_that_waits_for_room_is_refused_by_close() {
    let sim = sim(8, 1);
    let _stuck = sim.rule(Rule::operation("PutRecords").then(Verdict::Delay(3 * SECOND)));
    let producer = start(&sim, config().with_max_outstanding_bytes(1_100_000));
    producer.ready().await.unwrap();
    let large = || kpl::UserRecord::new("k", vec![b'x'; 1_000_000]);
    let first = producer.put(large()).await.unwrap();
    let closing = async {
        tokio::time::sleep(SECOND).await;
        producer.close(10 * SECOND).await
    };
    let (waiting, report) = futures::future::join(producer.put(large()), closing).await;
    assert_eq!(waiting.unwrap_err().reason(), &PutErrorReason::Closed);
    assert_eq!((report.delivered, report.left), (1, 0));
    first.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_close_that_is_dropped_leaves_the_producer_closed_and_delivering() {
    let sim = sim(9, 1);
    let producer = start(&sim, config());
    let tickets = put_all(&producer, 0..20).await;
    {
        let mut close = pin!(producer.close(SECOND));
        assert!(close.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    assert_eq!(producer.put(record(99)).await.unwrap_err().reason(), &PutErrorReason::Closed);
    all_delivered(&answers(tickets).await);
}

#[tokio::test(start_paused = true)]
async fn p15_dropping_the_last_handle_answers_every_ticket_at_once() {
    let sim = sim(10, 2);
    let _slow = sim.rule(Rule::operation("PutRecords").then(Verdict::Delay(SECOND)));
    let producer = start(&sim, config());
    let sent = put_all(&producer, 0..20).await;
    tokio::time::sleep(SECOND / 2).await;
    let open = put_all(&producer, 20..40).await;
    let other = producer.clone();
    drop(producer);
    assert!(open[0].1.answer().is_none(), "a clone keeps it alive");
    drop(other);
    // No await in between: no task ran.
    for (_, ticket) in &sent {
        let error = ticket.answer().expect("answered").unwrap_err();
        assert!(error.reason() == &PutErrorReason::Closed && error.may_have_been_written());
    }
    for (record, ticket) in &open {
        let error = ticket.answer().expect("answered").unwrap_err();
        assert!(error.reason() == &PutErrorReason::Closed && !error.may_have_been_written());
        assert_eq!(error.record().as_ref(), Some(record));
    }
    tokio::time::sleep(5 * SECOND).await;
    let calls = sim.trace().iter().filter(|line| line.contains("PutRecords")).count();
    assert_eq!(calls, 1, "the driver is gone");
}

#[test]
fn the_end_of_the_runtime_answers_every_ticket() {
    let runtime =
        || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let first = runtime();
    let (producer, tickets) = first.block_on(async {
        let sim = sim(11, 1);
        let producer = start(&sim, config());
        let tickets = put_all(&producer, 0..10).await;
        (producer, tickets)
    });
    drop(first);
    for (_, ticket) in tickets {
        assert_eq!(ticket.answer().expect("answered").unwrap_err().reason(), &PutErrorReason::Closed);
    }
    let late = runtime().block_on(producer.put(record(1)));
    assert_eq!(late.unwrap_err().reason(), &PutErrorReason::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_missing_stream_is_said_by_put_and_found_when_it_is_created() {
    let sim = Sim::new(12);
    let producer = start(&sim, config());
    let error = producer.put(record(1)).await.unwrap_err();
    assert_eq!(error.reason(), &PutErrorReason::StreamNotFound);
    assert_eq!(
        error.to_string(),
        "put to stream \"orders\": stream not found: create it or check the client's region"
    );
    assert_eq!(error.record(), Some(record(1)));
    settled(&producer);
    sim.create_stream(STREAM, 1);
    producer.put(record(1)).await.unwrap().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn puts_into_a_missing_stream_do_not_storm_the_service() {
    let sim = Sim::new(13);
    let producer = start(&sim, config());
    let began = Stopwatch::start();
    while began.elapsed() < 10 * SECOND {
        assert!(producer.put(record(1)).await.is_err());
    }
    let calls = sim.trace().iter().filter(|line| line.contains("ListShards")).count();
    assert!(calls < 15, "{calls} calls in 10 s");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_cannot_be_reached_is_said_after_record_ttl() {
    let sim = sim(14, 1);
    let _down = sim.rule(Rule::operation("ListShards").then(Verdict::LoseRequest));
    let producer = start(&sim, config().with_record_ttl(20 * SECOND));
    let began = Stopwatch::start();
    let error = producer.put(record(1)).await.unwrap_err();
    assert_eq!(began.elapsed().as_secs(), 20);
    let PutErrorReason::Expired { waited_in: WaitedIn::ShardMap, last_error: Some(last), .. } =
        error.reason()
    else {
        panic!("{error}")
    };
    assert!(last.contains("listing the shards") || last.contains("ListShards"), "{last}");
    assert!(!error.may_have_been_written());
}

#[tokio::test(start_paused = true)]
async fn a_bad_configuration_is_refused_before_anything_starts() {
    let sim = sim(15, 1);
    let error = Producer::start(&sim.client(), ProducerConfig::new("")).unwrap_err();
    assert!(matches!(error, ConfigError::OutOfRange { name: "stream length", .. }));
    let runtime_less = std::thread::spawn(move || Producer::start(&sim.client(), config()).unwrap_err());
    assert_eq!(runtime_less.join().unwrap(), ConfigError::NoRuntime);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_threads_share_one_producer() {
    let sim = Sim::builder().seed(16).limits(kinesis_sim::Limits::Off).build();
    sim.create_stream(STREAM, 8);
    let producer =
        start(&sim, config().with_aggregation_max_size(2000).with_record_max_buffered_time(Duration::ZERO));
    let mut tasks = tokio::task::JoinSet::new();
    for thread in 0..4 {
        let producer = producer.clone();
        tasks.spawn(async move {
            let tickets = put_all(&producer, thread * 1000..(thread + 1) * 1000).await;
            if thread % 2 == 0 {
                producer.flush().await;
            }
            answers(tickets).await
        });
    }
    let answers: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    all_delivered(&answers);
    assert_eq!(check(&sim, &answers), (4000, 0));
    assert_eq!(producer.close(SECOND).await.left, 0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_can_be_named_by_its_arn() {
    let sim = sim(17, 1);
    let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/orders";
    let producer = start(&sim, ProducerConfig::new(arn));
    producer.put(record(1)).await.unwrap().await.unwrap();
    assert_eq!(sim.stored(STREAM).len(), 1);
}
