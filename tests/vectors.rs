//! Hashes, ranges and aggregated records against vectors that other implementations made.
//!
//! `kinesis-sim` and the libraries share `kinesis-shard`, so a mistake in it would not show between them. It shows
//! here. `tests/interop/vectors/run.sh` makes the foreign vectors again and lets the other implementations read ours.

use std::{env, fs, path::PathBuf};

use bytes::Bytes;
use kinesis_shard::{
    AggregatedRecordWriter, HashKey, HashKeyRange, ParsedRecord, Payload, ShardMap, parse_aggregated,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

#[derive(Deserialize)]
struct Cases {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    records: Vec<Record>,
    /// Whether our writer's bytes must be those of the others, not only what they mean.
    #[serde(default = "yes")]
    byte_identical: bool,
    /// Which packages cannot write this case.
    #[serde(default)]
    not_written_by: Vec<String>,
}

fn yes() -> bool {
    true
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Record {
    partition_key: String,
    explicit_hash_key: Option<String>,
    /// Hexadecimal.
    data: String,
}

#[derive(Serialize, Deserialize)]
struct Vectors {
    made_by: String,
    vectors: Vec<Vector>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Vector {
    name: String,
    /// Hexadecimal.
    blob: String,
}

#[derive(Deserialize)]
struct Reference {
    aggregates: Vec<ReferenceAggregate>,
}

#[derive(Deserialize)]
struct ReferenceAggregate {
    records: Vec<Record>,
    blob: String,
    outer_explicit_hash_key: String,
}

#[derive(Deserialize)]
struct StandardLibrary {
    hashes: Vec<Hash>,
    ranges: Vec<Ranges>,
}

#[derive(Deserialize)]
struct Hash {
    partition_key: String,
    hash_key: String,
}

#[derive(Deserialize)]
struct Ranges {
    count: u32,
    /// The last hash keys of all ranges, or of the last ones.
    ends: Vec<String>,
}

fn path(file: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "vectors", file].iter().collect()
}

fn load<T: DeserializeOwned>(file: &str) -> T {
    let text = fs::read_to_string(path(file)).expect("the vectors are checked in");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn unhex(text: &str) -> Bytes {
    assert!(text.len().is_multiple_of(2), "hexadecimal digits come in pairs");
    let byte = |at| u8::from_str_radix(text.get(at..at + 2).unwrap_or("not ASCII"), 16);
    (0..text.len()).step_by(2).map(|at| byte(at).expect("hexadecimal digits")).collect()
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from_digit(digit.into(), 16).expect("four bits are a digit")).collect()
}

/// What our writer makes of these records.
fn write(records: &[Record]) -> Bytes {
    let mut writer = AggregatedRecordWriter::new();
    for record in records {
        let key = &record.partition_key;
        let explicit =
            record.explicit_hash_key.as_ref().map(|text| text.parse().expect("an explicit hash key"));
        writer.push(key, HashKey::of_partition_key(key).low_64(), explicit, &unhex(&record.data));
    }
    let encoded_len = writer.encoded_len();
    let Payload::Aggregated(blob) = writer.finish().payload else { panic!("a case has two records or more") };
    assert_eq!(blob.len(), encoded_len, "the size was foretold");
    blob
}

/// What our reader makes of this blob.
fn read(blob: &Bytes) -> Vec<Record> {
    match parse_aggregated(blob) {
        ParsedRecord::Aggregated(records) => records
            .iter()
            .map(|record| Record {
                partition_key: record.partition_key.to_string(),
                explicit_hash_key: record.explicit_hash_key.map(|key| key.to_string()),
                data: hex(&record.data),
            })
            .collect(),
        ParsedRecord::Plain(reason) => panic!("not an aggregate: {reason}"),
    }
}

fn our_vectors() -> String {
    let Cases { cases } = load("cases.json");
    let vectors =
        cases.into_iter().map(|case| Vector { blob: hex(&write(&case.records)), name: case.name }).collect();
    let made = Vectors { made_by: "AggregatedRecordWriter of kinesis-shard".to_owned(), vectors };
    serde_json::to_string_pretty(&made).expect("strings serialize") + "\n"
}

/// Reads every aggregate that a package wrote, record for record, and writes the same bytes.
fn check_package(file: &str) {
    let Cases { cases } = load("cases.json");
    let Vectors { made_by, vectors } = load(file);
    let mut vectors = vectors.into_iter();
    for case in cases.iter().filter(|case| !case.not_written_by.contains(&made_by)) {
        let vector = vectors.next().unwrap_or_else(|| panic!("{file} lacks {}", case.name));
        assert_eq!(vector.name, case.name, "{file} follows the order of cases.json");
        let blob = unhex(&vector.blob);
        assert_eq!(read(&blob), case.records, "{made_by}, {}", case.name);
        if case.byte_identical {
            assert!(write(&case.records) == blob, "{made_by}, {}: our bytes differ", case.name);
        }
    }
    assert_eq!(vectors.next(), None, "{file} has more than cases.json");
}

#[test]
fn the_reference_aggregates_are_equal_byte_for_byte_in_both_directions() {
    let Reference { aggregates } = load("reference.json");
    assert_eq!(aggregates.len(), 2);
    for aggregate in aggregates {
        let blob = unhex(&aggregate.blob);
        assert_eq!(hex(&write(&aggregate.records)), aggregate.blob);
        assert_eq!(read(&blob), aggregate.records);
        let ParsedRecord::Aggregated(records) = parse_aggregated(&blob) else { panic!("read above") };
        assert_eq!(records[0].hash_key().to_string(), aggregate.outer_explicit_hash_key);
    }
}

#[test]
fn aggregates_of_the_python_package_are_read_record_for_record_and_written_byte_for_byte() {
    check_package("aws_kinesis_agg_python.json");
}

#[test]
fn aggregates_of_the_node_package_are_read_record_for_record_and_written_byte_for_byte() {
    check_package("aws_kinesis_agg_node.json");
}

#[test]
fn partition_keys_hash_as_in_pythons_standard_library() {
    let StandardLibrary { hashes, .. } = load("python_standard_library.json");
    assert!(hashes.len() >= 10);
    for Hash { partition_key, hash_key } in hashes {
        assert_eq!(HashKey::of_partition_key(&partition_key).to_string(), hash_key, "{partition_key:?}");
    }
}

#[test]
fn even_ranges_end_where_pythons_integers_say() {
    let StandardLibrary { ranges, .. } = load("python_standard_library.json");
    assert!(ranges.len() >= 10);
    for Ranges { count, ends } in ranges {
        let ours = HashKeyRange::even(count.try_into().expect("not zero"));
        let ours: Vec<String> = ours.iter().map(|range| range.end().to_string()).collect();
        assert!(ours.ends_with(&ends), "{count} shards");
        assert_eq!(ours.len(), count as usize);
    }
}

#[test]
fn keys_go_to_the_shard_whose_end_is_the_first_not_below_their_hash() {
    let StandardLibrary { hashes, ranges } = load("python_standard_library.json");
    for Ranges { count, ends } in ranges.iter().filter(|ranges| ranges.ends.len() == ranges.count as usize) {
        let shards = (0..).zip(HashKeyRange::even((*count).try_into().expect("not zero")));
        let map = ShardMap::new(shards.map(|(index, hash_key_range)| kinesis_shard::Shard {
            id: kinesis_shard::ShardId::from_index(index),
            parent: None,
            adjacent_parent: None,
            hash_key_range,
            starting_sequence_number: kinesis_shard::SequenceNumber::ZERO,
            ending_sequence_number: None,
        }))
        .expect("even ranges tile");
        for Hash { partition_key, hash_key } in &hashes {
            // Decimals of one length order as text: an independent way to compare them.
            let wide = |text: &str| format!("{text:0>39}");
            let expected =
                ends.iter().position(|end| wide(end) >= wide(hash_key)).expect("the last end is greatest");
            assert_eq!(map.open_index_of(HashKey::of_partition_key(partition_key)), expected);
        }
    }
}

#[test]
fn every_case_survives_our_writer_and_our_reader() {
    let Cases { cases } = load("cases.json");
    for case in cases {
        assert_eq!(read(&write(&case.records)), case.records, "{}", case.name);
    }
}

#[test]
fn the_checked_in_copy_of_our_vectors_is_what_the_writer_makes_today() {
    let checked_in = fs::read_to_string(path("ours.json")).expect("the vectors are checked in");
    assert!(
        our_vectors() == checked_in,
        "the writer's output changed: if that is meant, run \
         `WRITE_OUR_VECTORS=$PWD/tests/vectors/ours.json cargo test --test vectors write_our_vectors` \
         and tests/interop/vectors/run.sh"
    );
}

/// Writes the vectors where `WRITE_OUR_VECTORS` says, for the programs in `tests/interop/vectors`.
#[test]
fn write_our_vectors() {
    let Some(file) = env::var_os("WRITE_OUR_VECTORS") else { return };
    fs::write(file, our_vectors()).expect("the directory exists and is writable");
}
