//! What each piece of shared work costs, beside what a machine needs for the work that format and protocol force on everyone.
//!
//! ```text
//! cargo bench -p kinesis-shard --bench codecs [-- WORD...] [--quick] [--json FILE]
//! ```
//!
//! CPU time of one thread. Records have 100 bytes under keys of 20, aggregates 400 of them.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a measuring program: it reads the clock, and stops at the first surprise"
)]

mod limits;

use std::hint::black_box;
use std::num::NonZeroU32;

use bench::{Report, Row, thread_time};
use bytes::Bytes;
use kinesis_shard::{
    AggregatedRecordWriter, HashKey, HashKeyRange, ParsedRecord, Payload, SequenceNumber, Shard, ShardId,
    ShardMap, md5_many, parse_aggregated, parse_many_in_place,
};

#[global_allocator]
static COUNTING: bench::Counting = bench::Counting;

/// Members of an aggregate.
const MEMBERS: usize = 400;
const DATA: [u8; 100] = [7; 100];

fn main() {
    let mut report = Report::from_arguments();
    hash(&mut report);
    predict(&mut report);
    aggregate(&mut report);
    sequence_numbers(&mut report);
    limits::run(&mut report);
    report.finish();
}

fn keys(count: usize) -> Vec<String> {
    (0..count).map(|item| format!("customer-{:011}", item * 7_919 % count)).collect()
}

fn hash(report: &mut Report) {
    let keys = keys(1_024);
    let slices: Vec<&[u8]> = keys.iter().map(String::as_bytes).collect();
    report.time("hash: a key", "ns", 1024.0, || {
        for key in &keys {
            black_box(HashKey::of_partition_key(black_box(key)));
        }
    });
    let mut digests = vec![[0; 16]; 1024];
    report.time("hash: a key of many", "ns", 1024.0, || md5_many(black_box(&slices), &mut digests));
}

fn map(shards: u32) -> ShardMap {
    let ranges = HashKeyRange::even(NonZeroU32::new(shards).unwrap());
    let shard = |(index, hash_key_range)| Shard {
        id: ShardId::from_index(index),
        parent: None,
        adjacent_parent: None,
        hash_key_range,
        starting_sequence_number: SequenceNumber::ZERO,
        ending_sequence_number: None,
    };
    ShardMap::new((0..).zip(ranges).map(shard)).unwrap()
}

fn predict(report: &mut Report) {
    let keys: Vec<HashKey> = keys(16_384).iter().map(|key| HashKey::of_partition_key(key)).collect();
    for shards in [1, 10, 100, 1_000, 10_000] {
        let name = format!("predict: one of {shards} shards");
        if !report.wants(&name) {
            continue;
        }
        let map = map(shards);
        let rounds = (0..report.choose(3, 15))
            .map(|_| {
                let started = thread_time();
                for key in &keys {
                    black_box(map.open_index_of(black_box(*key)));
                }
                (thread_time() - started) as f64 / keys.len() as f64
            })
            .collect();
        report.row(Row::new(name, "ns", rounds).at("predict", "hash key to shard", f64::from(shards)));
    }
}

fn written(keys: &[String], hash_keys: &[HashKey]) -> Payload {
    let mut writer = AggregatedRecordWriter::new();
    for (key, hash_key) in keys.iter().zip(hash_keys) {
        writer.push(key, hash_key.low_64(), None, &DATA);
    }
    writer.finish().payload
}

fn aggregate(report: &mut Report) {
    let keys = keys(MEMBERS);
    let hash_keys: Vec<HashKey> = keys.iter().map(|key| HashKey::of_partition_key(key)).collect();
    report.time("aggregate: write, digest included", "ns a record", MEMBERS as f64, || {
        black_box(written(black_box(&keys), &hash_keys));
    });
    let Payload::Aggregated(blob) = written(&keys, &hash_keys) else { panic!("they are many") };
    report.time("aggregate: read one, digest checked", "ns a record", MEMBERS as f64, || {
        let parsed = parse_aggregated(black_box(&blob));
        assert!(matches!(parsed, ParsedRecord::Aggregated(records) if records.len() == MEMBERS));
    });
    let many: Vec<Bytes> = vec![blob; 32];
    report.time("aggregate: read many, digests in lanes", "ns a record", (32 * MEMBERS) as f64, || {
        for members in parse_many_in_place(black_box(&many)) {
            assert!(members.is_ok_and(|members| members.len() == MEMBERS));
        }
    });
}

fn sequence_numbers(report: &mut Report) {
    let numbers: Vec<SequenceNumber> =
        (0..1_024_u32).map(|index| format!("4967{index:052}").parse().unwrap()).collect();
    report.time("sequence number: to decimal", "ns", 1024.0, || {
        for number in &numbers {
            black_box(black_box(number).decimal().as_str());
        }
    });
    let texts: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    report.time("sequence number: from decimal", "ns", 1024.0, || {
        for text in &texts {
            black_box(black_box(text).parse::<SequenceNumber>().unwrap());
        }
    });
}
