//! The same through the SDK's client on virtual time: both sides are counted.

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{
    ConsumerStatus, PutRecordsRequestEntry, ShardIteratorType, StartingPosition, SubscribeToShardEventStream,
};
use bench::{Report, Row, allocations, thread_time};
use kinesis_sim::{Limits, Sim};
use std::time::Duration;

use crate::{MANY, PAGE, SHARDS, STREAM};

pub(crate) fn run(report: &mut Report) {
    on_virtual_time(async {
        let sim = sim(SHARDS);
        let client = sim.client();
        let (calls, rounds) = report.choose((20, 2), (400, 7));
        for (name, records) in [("sdk: PutRecord", 1), ("sdk: PutRecords of 500", MANY)] {
            if report.wants(name) {
                let row = rounds_of(name, "ns a record", rounds, calls * records, async || {
                    for number in 0..calls {
                        put(&client, number, records).await;
                    }
                });
                report.row(row.await);
            }
        }
        if report.wants("sdk: ListShards") {
            let row = rounds_of("sdk: ListShards", "ns a call", rounds, calls, async || {
                for _ in 0..calls {
                    let listed = client.list_shards().stream_name(STREAM).send().await.unwrap();
                    assert_eq!(listed.shards().len(), SHARDS as usize);
                }
            });
            report.row(row.await);
        }
    });
    on_virtual_time(async {
        let sim = sim(1);
        let client = sim.client();
        let records = report.choose(20 * MANY, 200 * MANY);
        for number in 0..records / MANY {
            put(&client, number, MANY).await;
        }
        let rounds = report.choose(2, 7);
        if report.wants("sdk: GetRecords of 1000") {
            let row = rounds_of("sdk: GetRecords of 1000", "ns a record", rounds, records, async || {
                assert_eq!(read(&client).await, records);
            });
            report.row(row.await);
        }
        if report.wants("sdk: SubscribeToShard") {
            let consumer = registered(&client).await;
            let row = rounds_of("sdk: SubscribeToShard", "ns a record", rounds, records, async || {
                // One subscription in 5 s is allowed to a consumer and shard.
                tokio::time::sleep(Duration::from_secs(6)).await;
                assert_eq!(subscribe(&client, &consumer, records).await, records);
            });
            report.row(row.await);
        }
    });
}

fn on_virtual_time<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap().block_on(future)
}

fn sim(shards: u32) -> Sim {
    let sim = Sim::builder().limits(Limits::Off).state_delay(Duration::ZERO).trace_lines(0).build();
    sim.create_stream(STREAM, shards);
    sim
}

async fn rounds_of(
    name: &str,
    unit: &'static str,
    rounds: usize,
    items: usize,
    mut round: impl AsyncFnMut(),
) -> Row {
    let (mut nanos, mut allocated) = (Vec::new(), 0.0);
    for _ in 0..rounds {
        let (started, before) = (thread_time(), allocations());
        round().await;
        nanos.push((thread_time() - started) as f64 / items as f64);
        allocated = (allocations() - before) as f64 / items as f64;
    }
    Row::new(name, unit, nanos).also("allocations", allocated)
}

async fn put(client: &Client, number: usize, records: usize) {
    let key = |record: usize| format!("key-{}", number * records + record);
    let data = Blob::new([b'A'; 100]);
    if records == 1 {
        let call = client.put_record().stream_name(STREAM).partition_key(key(0)).data(data);
        call.send().await.unwrap();
        return;
    }
    let entry = |record| {
        PutRecordsRequestEntry::builder().partition_key(key(record)).data(data.clone()).build().unwrap()
    };
    let entries = (0..records).map(entry).collect();
    let answer = client.put_records().stream_name(STREAM).set_records(Some(entries)).send().await.unwrap();
    assert_eq!(answer.failed_record_count(), Some(0));
}

/// Everything in the one shard.
async fn read(client: &Client) -> usize {
    let open = client.get_shard_iterator().stream_name(STREAM).shard_id("shardId-000000000000");
    let open = open.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await.unwrap();
    let (mut iterator, mut count) = (open.shard_iterator, 0);
    loop {
        let call = client.get_records().set_shard_iterator(iterator).limit(i32::try_from(PAGE).unwrap());
        let page = call.send().await.unwrap();
        count += page.records().len();
        if page.millis_behind_latest() == Some(0) {
            return count;
        }
        iterator = page.next_shard_iterator;
    }
}

async fn registered(client: &Client) -> String {
    let stream = client.describe_stream_summary().stream_name(STREAM).send().await.unwrap();
    let arn = stream.stream_description_summary().unwrap().stream_arn().to_owned();
    let call = client.register_stream_consumer().stream_arn(&arn).consumer_name("bench");
    let consumer = call.send().await.unwrap().consumer.unwrap().consumer_arn;
    loop {
        let described = client.describe_stream_consumer().consumer_arn(&consumer).send().await.unwrap();
        if described.consumer_description.unwrap().consumer_status == ConsumerStatus::Active {
            return consumer;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn subscribe(client: &Client, consumer: &str, records: usize) -> usize {
    let from = StartingPosition::builder().r#type(ShardIteratorType::TrimHorizon).build().unwrap();
    let call = client.subscribe_to_shard().consumer_arn(consumer).shard_id("shardId-000000000000");
    let mut events = call.starting_position(from).send().await.unwrap().event_stream;
    let mut count = 0;
    while count < records {
        if let Some(SubscribeToShardEventStream::SubscribeToShardEvent(event)) = events.recv().await.unwrap()
        {
            count += event.records().len();
        }
    }
    count
}
