//! Requests as bytes, straight to the engine.

use std::hint::black_box;
use std::time::Duration;

use bench::{Report, Row, allocations, thread_time};
use bytes::Bytes;
use kinesis_sim::{Answer, Encoding, Engine, EngineSettings, Limits, Request, Scope};

use crate::{MANY, PAGE, SHARDS, STREAM};

/// An engine with its stream, on a clock that is moved by hand.
pub(crate) struct Bare {
    engine: Engine,
    now: u64,
}

impl Bare {
    pub(crate) fn new(shards: u32) -> Self {
        let mut settings = EngineSettings::default();
        settings.limits = Limits::Off;
        settings.state_delay = Duration::ZERO;
        settings.trace_lines = 0;
        let mut bare = Self { engine: Engine::new(settings), now: 1_767_225_600_000 };
        bare.call("CreateStream", &format!(r#"{{"StreamName":"{STREAM}","ShardCount":{shards}}}"#));
        bare.now += 1;
        bare
    }

    pub(crate) fn call(&mut self, operation: &str, body: &str) -> Bytes {
        self.answer(&request(operation, body))
    }

    pub(crate) fn answer(&mut self, request: &Request) -> Bytes {
        let Answer::Reply(reply) = self.engine.call(self.now, request) else { panic!("no rule delays it") };
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
        reply.body
    }

    /// The iterator at the beginning of a shard.
    fn iterator(&mut self, shard: u32) -> String {
        let body = iterator_body(shard);
        iterator_in(&self.call("GetShardIterator", &body))
    }
}

fn request(operation: &str, body: &str) -> Request {
    Request {
        caller: "load".into(),
        scope: Scope::default(),
        operation: operation.to_owned(),
        encoding: Encoding::Json,
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

fn iterator_body(shard: u32) -> String {
    format!(
        r#"{{"StreamName":"{STREAM}","ShardId":"shardId-{shard:012}","ShardIteratorType":"TRIM_HORIZON"}}"#
    )
}

fn iterator_in(answer: &[u8]) -> String {
    let text = std::str::from_utf8(answer).unwrap();
    let (_, rest) = text.rsplit_once(r#"ShardIterator":""#).unwrap();
    rest.split('"').next().unwrap().to_owned()
}

/// A `PutRecords` of so many records of so many bytes; `seed` makes its keys its own.
pub(crate) fn put_records(seed: usize, records: usize, bytes: usize) -> Request {
    let data = base64_simd::STANDARD.encode_to_string(vec![b'A'; bytes]);
    let record =
        |number: usize| format!(r#"{{"Data":"{data}","PartitionKey":"key-{}"}}"#, seed * records + number);
    let entries: Vec<_> = (0..records).map(record).collect();
    request("PutRecords", &format!(r#"{{"StreamName":"{STREAM}","Records":[{}]}}"#, entries.join(",")))
}

pub(crate) fn run(report: &mut Report) {
    puts(report);
    reads(report);
    let mut bare = Bare::new(SHARDS);
    for (operation, body) in [
        ("ListShards", format!(r#"{{"StreamName":"{STREAM}"}}"#)),
        ("DescribeStreamSummary", format!(r#"{{"StreamName":"{STREAM}"}}"#)),
        ("GetShardIterator", iterator_body(3)),
    ] {
        let request = request(operation, &body);
        report.time(&format!("engine: {operation}"), "ns a call", 1.0, || {
            black_box(bare.answer(&request));
        });
    }
}

fn puts(report: &mut Report) {
    let one =
        format!(r#"{{"StreamName":"{STREAM}","PartitionKey":"key-1234","Data":"{}"}}"#, "QUFB".repeat(33));
    let requests: Vec<_> = (0..32).map(|seed| put_records(seed, MANY, 100)).collect();
    for (name, requests, records) in [
        ("engine: PutRecord", vec![request("PutRecord", &one)], 1),
        ("engine: PutRecords of 500", requests, MANY),
    ] {
        if report.wants(name) {
            report.row(stored(report, name, &requests, records));
        }
    }
}

/// So many records a round, an empty engine each.
pub(crate) fn stored(report: &Report, name: &str, requests: &[Request], records: usize) -> Row {
    let (mut rounds, mut allocated) = (Vec::new(), 0.0);
    for _ in 0..report.choose(2, 7) {
        let mut bare = Bare::new(SHARDS);
        let calls = report.choose(10_000, 200_000) / records;
        let (started, before) = (thread_time(), allocations());
        for request in requests.iter().cycle().take(calls) {
            black_box(bare.answer(request));
        }
        let items = (calls * records) as f64;
        rounds.push((thread_time() - started) as f64 / items);
        allocated = (allocations() - before) as f64 / items;
    }
    Row::new(name, "ns a record", rounds).also("allocations", allocated)
}

fn reads(report: &mut Report) {
    if !report.wants("engine: GetRecords of 1000") {
        return;
    }
    let mut bare = Bare::new(1);
    for seed in 0..200 {
        bare.answer(&put_records(seed, MANY, 100));
    }
    let first = bare.iterator(0);
    let (mut rounds, mut allocated) = (Vec::new(), 0.0);
    for _ in 0..report.choose(2, 15) {
        let (started, before) = (thread_time(), allocations());
        let (mut iterator, pages) = (first.clone(), 200 * MANY / PAGE);
        for _ in 0..pages {
            let body = format!(r#"{{"ShardIterator":"{iterator}","Limit":{PAGE}}}"#);
            let answer = bare.call("GetRecords", &body);
            iterator = iterator_in(&answer[answer.len() - 600..]);
        }
        let records = (pages * PAGE) as f64;
        rounds.push((thread_time() - started) as f64 / records);
        allocated = (allocations() - before) as f64 / records;
    }
    let row = Row::new("engine: GetRecords of 1000", "ns a record", rounds);
    report.row(row.also("allocations", allocated));
}
