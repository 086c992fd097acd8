//! The engine through the real SDK client, on virtual time.
#![expect(
    clippy::unwrap_used,
    clippy::let_underscore_must_use,
    reason = "tests fail by panicking, and some outcomes are not their subject"
)]

mod faults;
mod reading;
mod resharding;
mod streams;
mod writing;

use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::operation::get_shard_iterator::builders::GetShardIteratorFluentBuilder;
use aws_sdk_kinesis::operation::put_records::PutRecordsOutput;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, ShardIteratorType};
use kinesis_sim::{Limits, Sim};

/// A simulation without rates and without delays of state changes, with one stream `orders`.
fn simple(shard_count: u32) -> (Sim, Client) {
    let sim = Sim::builder().seed(7).limits(Limits::Off).state_delay(Duration::ZERO).build();
    sim.create_stream("orders", shard_count);
    let client = sim.client();
    (sim, client)
}

/// The same with the service's rates.
fn limited(shard_count: u32) -> (Sim, Client) {
    let sim = Sim::new(7);
    sim.create_stream("orders", shard_count);
    let client = sim.client();
    (sim, client)
}

async fn put(client: &Client, key: &str, data: &[u8]) -> (String, String) {
    let put = client.put_record().stream_name("orders").partition_key(key).data(Blob::new(data));
    let answer = put.send().await.unwrap();
    (answer.shard_id().to_owned(), answer.sequence_number().to_owned())
}

fn entry(key: &str, data: Vec<u8>) -> PutRecordsRequestEntry {
    PutRecordsRequestEntry::builder().partition_key(key).data(Blob::new(data)).build().unwrap()
}

async fn put_many(client: &Client, count: usize, bytes: usize) -> PutRecordsOutput {
    let entries = (0..count).map(|index| entry(&index.to_string(), vec![7; bytes])).collect();
    client.put_records().stream_name("orders").set_records(Some(entries)).send().await.unwrap()
}

fn at(client: &Client, shard: &str, kind: ShardIteratorType) -> GetShardIteratorFluentBuilder {
    client.get_shard_iterator().stream_name("orders").shard_id(shard).shard_iterator_type(kind)
}

async fn iterator(client: &Client, shard: &str, kind: ShardIteratorType) -> String {
    at(client, shard, kind).send().await.unwrap().shard_iterator.unwrap()
}

async fn get(client: &Client, iterator: &str) -> GetRecordsOutput {
    client.get_records().shard_iterator(iterator).send().await.unwrap()
}

fn payloads(answer: &GetRecordsOutput) -> Vec<String> {
    answer
        .records()
        .iter()
        .map(|record| String::from_utf8(record.data().as_ref().to_vec()).unwrap())
        .collect()
}

async fn sleep_ms(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}
