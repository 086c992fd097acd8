//! A fixed amount of work for each codec, so that its instructions can be counted: `tests/bench/instructions/run.sh`.
//!
//! ```text
//! codecs nothing|hash|hash-many|lookup|write|read
//! ```
//!
//! `nothing` makes the same inputs and does nothing with them; its count is taken off the others. Each does a thousand items.
#![expect(clippy::unwrap_used, reason = "a measuring program stops at the first surprise")]

use std::hint::black_box;
use std::num::NonZeroU32;

use kinesis_shard::{
    AggregatedRecordWriter, HashKey, HashKeyRange, ParsedRecord, Payload, SequenceNumber, Shard, ShardId,
    ShardMap, md5_many, parse_aggregated,
};

const ITEMS: usize = 1_000;

fn main() {
    let case = std::env::args().nth(1).expect("say which codec");
    let keys: Vec<String> = (0..ITEMS).map(|item| format!("customer-{:011}", item * 7_919 % 1_000)).collect();
    let slices: Vec<&[u8]> = keys.iter().map(String::as_bytes).collect();
    let hash_keys: Vec<HashKey> = keys.iter().map(|key| HashKey::of_partition_key(key)).collect();
    let data = [7; 100];
    let map = map();
    let blob = aggregate(&keys, &hash_keys, &data);
    match case.as_str() {
        "nothing" => {}
        "hash" => {
            for key in &keys {
                black_box(HashKey::of_partition_key(black_box(key)));
            }
        }
        "hash-many" => {
            let mut digests = vec![[0; 16]; ITEMS];
            md5_many(black_box(&slices), &mut digests);
            black_box(digests);
        }
        "lookup" => {
            for key in &hash_keys {
                black_box(map.open_index_of(black_box(*key)));
            }
        }
        "write" => drop(black_box(aggregate(black_box(&keys), &hash_keys, &data))),
        "read" => {
            let Payload::Aggregated(blob) = &blob else { unreachable!("a thousand records are wrapped") };
            let parsed = parse_aggregated(black_box(blob));
            assert!(matches!(parsed, ParsedRecord::Aggregated(records) if records.len() == ITEMS));
        }
        other => panic!("{other} is none of the codecs"),
    }
    black_box((&slices, &blob));
}

fn map() -> ShardMap {
    let ranges = HashKeyRange::even(NonZeroU32::new(64).unwrap());
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

fn aggregate(keys: &[String], hash_keys: &[HashKey], data: &[u8]) -> Payload {
    let mut writer = AggregatedRecordWriter::new();
    for (key, hash_key) in keys.iter().zip(hash_keys) {
        writer.push(key, hash_key.low_64(), None, data);
    }
    writer.finish().payload
}
