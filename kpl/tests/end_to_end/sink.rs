//! `ProducerSink`: records by the stream, errors that do not get lost.

use futures::{SinkExt, StreamExt, stream};
use kinesis_sim::{Rule, Verdict};
use kpl::{PutErrorReason, UserRecord};

use crate::common::{SECOND, STREAM, config, read, record, settled, sim, start};

#[tokio::test(start_paused = true)]
async fn a_stream_is_forwarded_and_its_end_means_everything_is_delivered() {
    let sim = sim(1, 4);
    let producer = start(&sim, config());
    let records = stream::iter((0..5000).map(record).map(Ok));
    records.forward(producer.sink()).await.expect("all delivered");
    assert_eq!(read(&sim).len(), 5000);
    settled(&producer);
    producer.put(record(1)).await.expect("the producer stays open").await.expect("delivered");
}

#[tokio::test(start_paused = true)]
async fn a_sink_waits_for_room() {
    let sim = sim(2, 1);
    let _slow = sim.rule(Rule::operation("PutRecords").then(Verdict::Delay(SECOND / 10)));
    let producer = start(&sim, config().with_max_outstanding_bytes(1_100_000));
    let mut sink = producer.sink();
    for number in 0..300 {
        let record = UserRecord::new(format!("k{number}"), vec![b'x'; 20_000]);
        sink.feed(record).await.expect("accepted");
        assert!(producer.stats().outstanding_bytes <= 1_100_000);
    }
    sink.close().await.expect("all delivered");
    assert_eq!((sink.pending(), read(&sim).len()), (0, 300));
}

#[tokio::test(start_paused = true)]
async fn a_record_that_was_not_delivered_is_said_once_and_the_sink_goes_on() {
    let sim = sim(3, 1);
    let producer = start(&sim, config());
    let mut sink = producer.sink();
    sink.send(record(0)).await.expect("delivered");
    let error = sink.send(UserRecord::new("", "no key")).await.expect_err("refused");
    assert_eq!(error.reason(), &PutErrorReason::KeyEmpty);
    sim.delete_stream(STREAM);
    sink.feed(record(1)).await.expect("accepted");
    let error = sink.flush().await.expect_err("there is no stream");
    assert_eq!(error.reason(), &PutErrorReason::StreamNotFound);
    assert_eq!(error.record(), Some(record(1)));
    sink.flush().await.expect("said once");
    sim.create_stream(STREAM, 1);
    sink.send(record(2)).await.expect("delivered");
}
