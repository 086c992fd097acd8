//! What `tests/fuzz` fuzzes, without a nightly compiler: every file of the corpus, and some thousand mutations of
//! them, from a seed. `FUZZ_SEED` and `FUZZ_RUNS` ask for others and for more.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use std::path::Path;

#[path = "fuzz/properties.rs"]
mod properties;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Name and bytes of each file.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    assert!(files.len() >= 7, "{target} has a corpus");
    files
}

/// Tokens that decoders and the router look for.
const TOKENS: [&[u8]; 24] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\u",
    b",",
    b":",
    b"null",
    b"1e999",
    b"\xFF",
    b"\xBF",
    b"\x9F",
    b"\x5F",
    b"\xC1",
    b"\x9B\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
    b"\x1B\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
    b"\xF9\x7E\x00",
    b"\n\n",
    b"\n====\n",
    b"StreamName",
    b"shardId-",
    b"-1",
    b"99999999999999999999",
];

fn mutated(bytes: &[u8], other: &[u8], rng: &mut StdRng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..rng.random_range(1..6) {
        let at = rng.random_range(0..=bytes.len());
        match rng.random_range(0..7) {
            0 if at < bytes.len() => bytes[at] = rng.random(),
            1 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            2 => bytes.truncate(at),
            3 => {
                let token = TOKENS[rng.random_range(0..TOKENS.len())];
                bytes.splice(at..at, token.iter().copied());
            }
            4 => {
                let end = rng.random_range(at..=bytes.len());
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            5 => {
                let end = (at + rng.random_range(0..8)).min(bytes.len());
                bytes.drain(at..end);
            }
            _ => {
                let from = rng.random_range(0..=other.len());
                bytes.splice(at.., other[from..].iter().copied());
            }
        }
        bytes.truncate(64 * 1024);
    }
    bytes
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number: {text:?}")))
}

fn drive(target: &str, count: u64, mut run: impl FnMut(&[u8])) {
    let files = corpus(target);
    for (_, bytes) in &files {
        run(bytes);
    }
    let mut rng = StdRng::seed_from_u64(number("FUZZ_SEED").unwrap_or(7));
    for _ in 0..number("FUZZ_RUNS").unwrap_or(count) {
        let bytes = &files[rng.random_range(0..files.len())].1;
        let other = &files[rng.random_range(0..files.len())].1;
        run(&mutated(bytes, other, &mut rng));
    }
}

#[test]
fn the_json_decoder_survives_the_corpus_and_its_mutations() {
    let mut read = 0;
    drive("json", 5_000, |bytes| read += usize::from(properties::json(bytes)));
    assert!(read > 100, "some mutations are still JSON: {read}");
}

#[test]
fn the_cbor_decoder_survives_the_corpus_and_its_mutations() {
    let mut read = 0;
    drive("cbor", 5_000, |bytes| read += usize::from(properties::cbor(bytes)));
    assert!(read > 100, "some mutations are still CBOR: {read}");
}

#[test]
fn aggregates_survive_being_read_and_written_again() {
    let mut read = 0;
    drive("aggregate", 5_000, |bytes| read += usize::from(properties::aggregate(bytes)));
    assert!(read > 100, "some mutations are still aggregates: {read}");
}

#[test]
fn frames_of_event_streams_come_back_whole_or_not_at_all() {
    let mut read = 0;
    drive("event_stream", 5_000, |bytes| read += usize::from(properties::event_stream(bytes)));
    assert!(read > 100, "some mutations are still frames: {read}");
}

#[test]
fn sequence_numbers_are_written_as_they_were_read() {
    let mut read = 0;
    drive("sequence_number", 20_000, |bytes| read += usize::from(properties::sequence_number(bytes)));
    assert!(read > 100, "some mutations are still sequence numbers: {read}");
}

#[test]
fn items_of_the_lease_table_are_leases_or_refused() {
    let mut read = 0;
    drive("lease_item", 10_000, |bytes| read += usize::from(properties::lease_item(bytes)));
    assert!(read > 100, "some mutations are still leases: {read}");
}

#[test]
fn the_router_survives_the_corpus_and_its_mutations() {
    let mut answered = std::collections::BTreeMap::<u16, usize>::new();
    drive("router", 2_000, |bytes| {
        for status in properties::router(bytes) {
            *answered.entry(status).or_default() += 1;
        }
    });
    for status in [200, 400, 403, 404, 500] {
        assert!(answered.contains_key(&status), "{answered:?}");
    }
}

#[test]
fn the_corpus_of_the_router_is_answered_as_meant() {
    let expected = [
        ("cbor", vec![200, 500, 400]),
        ("fan_out", vec![200, 200, 200]),
        ("forms", vec![403, 400, 400, 404, 400, 404, 400, 400]),
        ("preflight", vec![200]),
        ("put_and_read", vec![200, 200, 400, 200]),
        ("query_form", vec![200]),
        ("reshard", vec![200, 400, 200]),
    ];
    for ((name, bytes), (expected_name, statuses)) in corpus("router").iter().zip(expected) {
        assert_eq!(name, expected_name);
        let answered = properties::router(bytes);
        assert!(answered.starts_with(&statuses), "{name}: {answered:?} instead of {statuses:?}");
    }
}
