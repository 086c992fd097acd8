//! What holds for any bytes: shared by the fuzz targets and by `tests/fuzz_corpus.rs`, which runs them without a fuzzer.
//! Each says whether its bytes were anything, so that a test can tell that a corpus is not all rubbish.

use bytes::Bytes;
use kinesis_shard::aggregated_record::{AggregatedRecordWriter, MAGIC, ParsedRecord, parse};
use kinesis_shard::{Checkpoint, HashKey, SequenceNumber, ShardId, md5};

pub(crate) use kcl::lease::fuzzing::lease_item;
pub(crate) use kinesis_sim::fuzzing::{cbor, event_stream, json, router};

/// The bytes as a record, and as the messages of an aggregate with a right magic number and digest, which no fuzzer finds.
///
/// What is read holds no more than there was, and survives being written and read again.
pub(crate) fn aggregate(bytes: &[u8]) -> bool {
    let _as_it_is = parse(&Bytes::copy_from_slice(bytes));
    let framed = [MAGIC.as_slice(), bytes, md5(bytes).as_slice()].concat();
    let ParsedRecord::Aggregated(records) = parse(&framed.into()) else { return false };
    let held: usize = records.iter().map(|record| record.data.len()).sum();
    assert!(held <= bytes.len(), "{held} bytes of data out of {}", bytes.len());
    let mut writer = AggregatedRecordWriter::new();
    for record in &records {
        let key_hash = HashKey::of_partition_key(&record.partition_key).low_64();
        writer.push(&record.partition_key, key_hash, record.explicit_hash_key, &record.data);
    }
    let sealed = writer.finish();
    if let [only] = records.as_slice() {
        assert_eq!(sealed.payload.data(), &only.data, "one record is not wrapped");
    } else {
        assert_eq!(parse(sealed.payload.data()), ParsedRecord::Aggregated(records));
    }
    true
}

/// The bytes as a sequence number, and as what else stands where one does. What is read is written as it was.
pub(crate) fn sequence_number(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    if let Ok(key) = HashKey::parse_explicit(text) {
        assert_eq!(key.to_string(), text);
    }
    let _index = ShardId::from(text).index();
    if let Ok(checkpoint) = Checkpoint::parse(text, 7) {
        assert_eq!(checkpoint.sequence_text(), text);
    }
    let Ok(number) = text.parse::<SequenceNumber>() else { return false };
    assert_eq!((number.to_string().as_str(), number.decimal().as_str()), (text, text));
    if let Some(layout) = number.layout() {
        assert_eq!(SequenceNumber::from_layout(layout).layout(), Some(layout));
    }
    if let Some(next) = number.checked_next() {
        assert!(next > number);
    }
    true
}
