//! Memory is bounded, waiting for it can be cancelled, and nothing is left behind.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use crate::common::{SECOND, all_delivered, answers, check, config, put_all, record, settled, sim, start};
use kinesis_sim::{Rule, Verdict};
use kpl::{PutErrorReason, TryPutError, UserRecord};
use tokio::time::timeout;

const BOUND: usize = 1_100_000;

#[tokio::test(start_paused = true)]
async fn p11_outstanding_bytes_never_exceed_the_bound_and_puts_wait_for_room() {
    let sim = sim(1, 2);
    let _slow = sim.rule(Rule::operation("PutRecords").then(Verdict::Delay(SECOND / 2)));
    let producer = start(&sim, config().with_max_outstanding_bytes(BOUND));
    let mut tickets = Vec::new();
    for number in 0..600 {
        let record = UserRecord::new(format!("key-{number}"), vec![b'x'; 5000]);
        tickets.push((record.clone(), producer.put(record).await.unwrap()));
        let stats = producer.stats();
        assert!(stats.outstanding_bytes <= BOUND as u64, "{}", stats.outstanding_bytes);
    }
    let answers = answers(tickets).await;
    all_delivered(&answers);
    settled(&producer);
}

#[tokio::test(start_paused = true)]
async fn try_put_hands_the_record_back_when_there_is_no_map_or_no_room() {
    let sim = sim(2, 1);
    let producer = start(&sim, config().with_max_outstanding_bytes(BOUND));
    let Err(TryPutError::NotReady(back)) = producer.try_put(record(1)) else { panic!("no map yet") };
    assert_eq!(back, record(1));
    producer.ready().await.unwrap();
    let large = || UserRecord::new("k", vec![b'x'; 1_000_000]);
    let ticket = producer.try_put(large()).unwrap();
    let Err(TryPutError::Full(back)) = producer.try_put(large()) else { panic!("no room") };
    assert_eq!(back, large());
    let Err(TryPutError::Refused(error)) = producer.try_put(UserRecord::new("", "")) else {
        panic!("no key")
    };
    assert_eq!(error.reason(), &PutErrorReason::KeyEmpty);
    ticket.await.unwrap();
    producer.try_put(large()).unwrap().await.unwrap();
    settled(&producer);
}

#[tokio::test(start_paused = true)]
async fn a_put_that_is_dropped_while_it_waits_for_the_first_map_holds_nothing() {
    let sim = sim(3, 1);
    let _slow = sim.rule(Rule::operation("ListShards").times(1).then(Verdict::Delay(SECOND)));
    let producer = start(&sim, config());
    {
        let mut put = pin!(producer.put(record(1)));
        assert!(put.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert!(producer.stats().outstanding_bytes > 0);
    }
    assert_eq!(producer.stats().outstanding_bytes, 0);
    let answers = answers(put_all(&producer, 2..3).await).await;
    all_delivered(&answers);
    assert_eq!(check(&sim, &answers), (1, 0), "the cancelled record was not put");
    settled(&producer);
}

#[tokio::test(start_paused = true)]
async fn a_put_that_is_dropped_while_it_waits_for_room_takes_none() {
    let sim = sim(4, 1);
    let producer = start(&sim, config().with_max_outstanding_bytes(BOUND));
    producer.ready().await.unwrap();
    let large = || UserRecord::new("k", vec![b'x'; 1_000_000]);
    let ticket = producer.put(large()).await.unwrap();
    {
        let mut put = pin!(producer.put(large()));
        assert!(put.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    ticket.await.unwrap();
    assert_eq!(sim.stored(crate::common::STREAM).len(), 1);
    settled(&producer);
    producer.put(large()).await.unwrap().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_large_record_that_waits_for_room_is_not_overtaken_for_ever() {
    let sim = sim(5, 2);
    let producer = start(&sim, config().with_max_outstanding_bytes(BOUND));
    producer.ready().await.unwrap();
    let _first = put_all(&producer, 0..1000).await;
    let large = async {
        let ticket = producer.put(UserRecord::new("large", vec![b'x'; 1_048_000])).await.unwrap();
        ticket.await.unwrap();
    };
    let small = async {
        for number in 1000.. {
            drop(producer.put(record(number)).await.unwrap());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        biased;
        () = large => {}
        () = small => {}
        () = tokio::time::sleep(5 * SECOND) => panic!("the large record starves"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_permit_holds_room_gives_back_what_is_not_used_and_submits_without_waiting() {
    let sim = sim(6, 1);
    let producer = start(&sim, config().with_max_outstanding_bytes(BOUND));
    let permit = producer.reserve(1000).await.unwrap();
    assert_eq!((permit.bytes(), producer.stats().outstanding_bytes), (1000, 1000));
    drop(permit);
    assert_eq!(producer.stats().outstanding_bytes, 0);
    let permit = producer.reserve(1000).await.unwrap();
    let ticket = permit.submit(record(1)).unwrap();
    assert_eq!(producer.stats().outstanding_bytes, record(1).outstanding_bytes() as u64);
    ticket.await.unwrap();

    let permit = producer.reserve(10).await.unwrap();
    let error = permit.submit(record(2)).unwrap_err();
    assert!(matches!(error.reason(), PutErrorReason::PermitTooSmall { maximum: 10, .. }));
    assert_eq!(error.record(), Some(record(2)));
    let error = producer.reserve(BOUND + 1).await.unwrap_err();
    assert!(matches!(error.reason(), PutErrorReason::PermitTooSmall { .. }));
    settled(&producer);
}

#[tokio::test(start_paused = true)]
async fn tickets_may_be_dropped_and_the_records_are_delivered_all_the_same() {
    let sim = sim(7, 2);
    let producer = start(&sim, config());
    drop(put_all(&producer, 0..500).await);
    producer.flush().await;
    assert_eq!(crate::common::read(&sim).len(), 500);
    settled(&producer);
}

#[tokio::test(start_paused = true)]
async fn requests_in_flight_are_bounded() {
    let sim = sim(8, 8);
    let _slow = sim.rule(Rule::operation("PutRecords").then(Verdict::Delay(SECOND)));
    let producer = start(
        &sim,
        config().with_max_connections(3).with_collection_max_count(1).with_aggregation_enabled(false),
    );
    let _tickets = put_all(&producer, 0..50).await;
    for _ in 0..20 {
        tokio::time::sleep(SECOND / 4).await;
        assert!(producer.stats().requests_in_flight <= 3);
    }
    assert!(producer.stats().requests_in_flight == 3);
}

#[tokio::test(start_paused = true)]
async fn a_bulk_put_larger_than_the_bound_goes_through_in_parts() {
    let sim = sim(9, 4);
    let producer = start(&sim, config().with_max_outstanding_bytes(BOUND));
    let records: Vec<_> = (0..800).map(|n| UserRecord::new(format!("k{n}"), vec![b'x'; 4000])).collect();
    let tickets = timeout(60 * SECOND, producer.put_many(records)).await.unwrap().unwrap();
    for ticket in tickets {
        ticket.await.unwrap();
    }
    settled(&producer);
}
