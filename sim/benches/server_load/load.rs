//! The load: the same calls for every server.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::client::{Connection, Target, request};
use crate::server::{Started, Subject};

pub(crate) const CONNECTIONS: usize = 4;
pub(crate) const RECORDS_PER_CALL: usize = 500;
pub(crate) const PAYLOAD_BYTES: usize = 100;
pub(crate) const SHARDS: usize = 32;
pub(crate) const RECORDS_PER_GET: usize = 1000;
const STREAM: &str = "load";

/// Name, unit, and value of everything that one run measured.
pub(crate) type Measures = Vec<(&'static str, f64)>;

/// One run against one server: started, loaded, stopped.
pub(crate) fn run(subject: &Subject, duration: Duration) -> Measures {
    let server = Started::new(subject);
    let mut measures = vec![
        ("start to first answer, ms", millis(server.start)),
        ("idle, MiB", server.usage().resident_bytes / 1_048_576.0),
    ];
    create_stream(&server.target);
    add_rules(&server.target, subject.rules);
    let one = Load { connections: 1, duration: duration / 2, is_limited: subject.is_limited };
    let load = Load { connections: CONNECTIONS, duration, ..one };
    measures.push(("PutRecords on one connection, records/s", put_records(&server, one).per_second));
    let put = put_records(&server, load);
    measures.push(("PutRecords, records/s", put.per_second));
    measures.push(("PutRecords, server CPU a record, last fifth / first", put.last_to_first));
    measures.push(("PutRecords, us of server CPU a record", put.processor_us));
    measures.push(("memory, bytes a record", put.memory_bytes));
    if !subject.is_limited {
        get_records(&server, load, &mut measures);
        put_record(&server.target, duration, &mut measures);
    }
    measures.push(("peak, MiB", server.usage().peak_bytes / 1_048_576.0));
    measures
}

#[derive(Debug, Clone, Copy)]
struct Load {
    connections: usize,
    duration: Duration,
    /// Entries are refused.
    is_limited: bool,
}

/// Rules of which each call is asked and none is meant.
fn add_rules(target: &Target, count: usize) {
    let mut connection = Connection::to(target);
    for number in 0..count {
        let rule = format!(r#"{{"operation":"PutRecords","stream":"other-{number}","verdict":"throttle"}}"#);
        let request = String::from_utf8(request("PutRecords", &rule)).unwrap();
        connection.exchange(request.replacen("POST /", "POST /_sim/rules", 1).as_bytes());
    }
}

fn create_stream(target: &Target) {
    let mut connection = Connection::to(target);
    connection.call("CreateStream", &format!(r#"{{"StreamName":"{STREAM}","ShardCount":{SHARDS}}}"#));
    let describe = format!(r#"{{"StreamName":"{STREAM}"}}"#);
    let started = Instant::now();
    while !connection.call("DescribeStream", &describe).contains(r#""ACTIVE""#) {
        assert!(started.elapsed() < Duration::from_secs(30), "the stream does not become active");
        // Ten descriptions a second are allowed.
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn put_request(seed: usize, payload_bytes: usize, records: usize) -> Vec<u8> {
    let data = base64_simd::STANDARD.encode_to_string(vec![b'A'; payload_bytes]);
    let record =
        |number: usize| format!(r#"{{"Data":"{data}","PartitionKey":"key-{}"}}"#, seed * records + number);
    let records: Vec<_> = (0..records).map(record).collect();
    request("PutRecords", &format!(r#"{{"StreamName":"{STREAM}","Records":[{}]}}"#, records.join(",")))
}

/// Runs `work` on each connection until the time is over; `done` tells it.
fn on_all_connections(
    target: &Target,
    load: Load,
    work: impl Fn(usize, &mut Connection, &AtomicBool) + Sync,
    meanwhile: impl FnOnce(),
) -> Duration {
    let done = AtomicBool::new(false);
    let (done, work) = (&done, &work);
    let started = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..load.connections {
            scope.spawn(move || work(thread, &mut Connection::to(target), done));
        }
        meanwhile();
        std::thread::sleep(load.duration.saturating_sub(started.elapsed()));
        done.store(true, Ordering::Relaxed);
    });
    started.elapsed()
}

/// What came of putting for a while.
struct Put {
    per_second: f64,
    last_to_first: f64,
    processor_us: f64,
    memory_bytes: f64,
}

fn put_records(server: &Started, load: Load) -> Put {
    let calls = AtomicU64::new(0);
    let (before, calls) = (server.usage(), &calls);
    let put = |thread: usize, connection: &mut Connection, done: &AtomicBool| {
        let requests: Vec<_> =
            (0..8).map(|seed| put_request(thread * 8 + seed, PAYLOAD_BYTES, RECORDS_PER_CALL)).collect();
        for request in requests.iter().cycle() {
            if done.load(Ordering::Relaxed) {
                break;
            }
            let answer = connection.exchange(request);
            let is_complete = load.is_limited || is_complete(&connection.buffer[answer]);
            assert!(is_complete, "nothing is refused: limits are off");
            calls.fetch_add(1, Ordering::Relaxed);
        }
    };
    // First and last fifth, to see whether it slows as the log grows. In processor time, of which others take none.
    let mut fifths = Vec::new();
    let elapsed = on_all_connections(&server.target, load, put, || {
        for _ in 0..5 {
            let (at, before) = (server.usage().processor_seconds, calls.load(Ordering::Relaxed));
            std::thread::sleep(load.duration / 5);
            let calls = (calls.load(Ordering::Relaxed) - before).max(1);
            fifths.push((server.usage().processor_seconds - at) / calls as f64);
        }
    });
    let after = server.usage();
    let records = (calls.load(Ordering::Relaxed) * RECORDS_PER_CALL as u64) as f64;
    Put {
        per_second: records / elapsed.as_secs_f64(),
        last_to_first: fifths[4] / fifths[0].max(1e-6),
        processor_us: (after.processor_seconds - before.processor_seconds) * 1e6 / records,
        memory_bytes: (after.resident_bytes - before.resident_bytes) / records,
    }
}

fn is_complete(answer: &[u8]) -> bool {
    // Servers differ in whether it comes first or last, and in spaces.
    let (head, tail) = (&answer[..answer.len().min(80)], &answer[answer.len().saturating_sub(80)..]);
    [head, tail].iter().any(|part| {
        let text: String = String::from_utf8_lossy(part).split(' ').collect();
        text.contains(r#""FailedRecordCount":0"#)
    })
}

fn get_records(server: &Started, load: Load, measures: &mut Measures) {
    let records = AtomicU64::new(0);
    let (before, records) = (server.usage(), &records);
    let get = |thread: usize, connection: &mut Connection, done: &AtomicBool| {
        for shard in (thread..SHARDS).step_by(load.connections).cycle() {
            let body = format!(
                r#"{{"StreamName":"{STREAM}","ShardId":"shardId-{shard:012}","ShardIteratorType":"TRIM_HORIZON"}}"#
            );
            let mut iterator = iterator_in(connection.call("GetShardIterator", &body).as_bytes());
            loop {
                if done.load(Ordering::Relaxed) {
                    return;
                }
                let body = format!(r#"{{"ShardIterator":"{iterator}","Limit":{RECORDS_PER_GET}}}"#);
                let answer = connection.exchange(&request("GetRecords", &body));
                let answer = &connection.buffer[answer];
                // Records are the only objects within the answer.
                let count = memchr::memchr_iter(b'{', answer).count() - 1;
                records.fetch_add(count as u64, Ordering::Relaxed);
                if count < RECORDS_PER_GET {
                    break;
                }
                iterator = iterator_in(answer);
            }
        }
    };
    let elapsed = on_all_connections(&server.target, load, get, || {});
    let records = records.load(Ordering::Relaxed) as f64;
    let processor = server.usage().processor_seconds - before.processor_seconds;
    measures.push(("GetRecords, records/s", records / elapsed.as_secs_f64()));
    measures.push(("GetRecords, us of server CPU a record", processor * 1e6 / records));
}

/// The iterator in an answer: at its beginning or its end, as servers differ.
fn iterator_in(answer: &[u8]) -> String {
    let find = |part: &[u8]| {
        let text = String::from_utf8_lossy(part).into_owned();
        let (_, rest) = text.split_once(r#"ShardIterator""#)?;
        Some(rest.split('"').nth(1)?.to_owned())
    };
    let tail = &answer[answer.len().saturating_sub(600)..];
    find(tail).or_else(|| find(answer)).expect("an open shard has a next iterator")
}

fn put_record(target: &Target, duration: Duration, measures: &mut Measures) {
    let mut connection = Connection::to(target);
    let body = format!(r#"{{"StreamName":"{STREAM}","PartitionKey":"k","Data":"aGVsbG8="}}"#);
    let request = request("PutRecord", &body);
    let began = Instant::now();
    let mut times = Vec::new();
    while times.len() < 20_000 && began.elapsed() < duration {
        let started = Instant::now();
        connection.exchange(&request);
        times.push(started.elapsed());
    }
    times.sort_unstable();
    measures.push(("PutRecord, ms p50", millis(times[times.len() / 2])));
    measures.push(("PutRecord, ms p99", millis(times[times.len() * 99 / 100])));
}

/// What a record costs in memory, by its size: payload bytes (data and key) and bytes of memory, each a record.
pub(crate) fn memory(subject: &Subject) -> Vec<(f64, f64)> {
    [(100, 500), (1_000, 500), (10_000, 100), (100_000, 20)]
        .into_iter()
        .map(|(payload, records)| {
            let server = Started::new(subject);
            create_stream(&server.target);
            let mut connection = Connection::to(&server.target);
            // So that what the first large request takes is not counted.
            connection.exchange(&put_request(0, payload, records));
            let before = server.usage().resident_bytes;
            let calls = (128 << 20) / (payload * records);
            for seed in 0..calls {
                connection.exchange(&put_request(seed % 16, payload, records));
            }
            let count = (calls * records) as f64;
            let key = "key-1234".len();
            ((payload + key) as f64, (server.usage().resident_bytes - before) / count)
        })
        .collect()
}

pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
