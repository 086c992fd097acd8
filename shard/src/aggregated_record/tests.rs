use proptest::prelude::*;

use super::{
    varint::{put_bytes, put_varint},
    *,
};
use crate::md5;

/// A user record as a test puts it.
type Put = (String, Option<HashKey>, Vec<u8>);

fn put(partition_key: &str, explicit_hash_key: Option<u128>, data: &[u8]) -> Put {
    (partition_key.to_owned(), explicit_hash_key.map(HashKey::new), data.to_vec())
}

fn hash(partition_key: &str) -> u64 {
    HashKey::of_partition_key(partition_key).low_64()
}

fn push_all(writer: &mut AggregatedRecordWriter, puts: &[Put]) {
    for (partition_key, explicit_hash_key, data) in puts {
        writer.push(partition_key, hash(partition_key), *explicit_hash_key, data);
    }
}

fn blob(puts: &[Put]) -> Bytes {
    let mut writer = AggregatedRecordWriter::new();
    push_all(&mut writer, puts);
    match writer.finish().payload {
        Payload::Aggregated(blob) => blob,
        Payload::Plain { .. } => panic!("two records or more are wrapped"),
    }
}

fn framed(message: &[u8]) -> Bytes {
    [&MAGIC[..], message, &md5(message)].concat().into()
}

fn records(data: &Bytes) -> Vec<Put> {
    match parse(data) {
        ParsedRecord::Aggregated(records) => records
            .into_iter()
            .map(|record| (record.partition_key.to_string(), record.explicit_hash_key, record.data.to_vec()))
            .collect(),
        ParsedRecord::Plain(reason) => panic!("plain: {reason}"),
    }
}

fn reason(data: &Bytes) -> PlainReason {
    match parse(data) {
        ParsedRecord::Plain(reason) => reason,
        ParsedRecord::Aggregated(records) => panic!("aggregated: {records:?}"),
    }
}

fn malformed(message: &[u8]) -> MalformedReason {
    match reason(&framed(message)) {
        PlainReason::Malformed(reason) => reason,
        other => panic!("not malformed: {other}"),
    }
}

/// The format once more, in the most direct way: what the writer must produce when no two keys share a slot.
fn encode_directly(puts: &[Put]) -> Vec<u8> {
    let (mut keys, mut explicit): (Vec<&str>, Vec<String>) = (Vec::new(), Vec::new());
    let mut records = Vec::new();
    for (key, explicit_hash_key, data) in puts {
        if !keys.contains(&key.as_str()) {
            keys.push(key);
        }
        let mut record = vec![0x08];
        put_varint(&mut record, keys.iter().position(|known| known == key).unwrap() as u64);
        if let Some(text) = explicit_hash_key.map(|key| key.to_string()) {
            if !explicit.contains(&text) {
                explicit.push(text.clone());
            }
            record.push(0x10);
            put_varint(&mut record, explicit.iter().position(|known| *known == text).unwrap() as u64);
        }
        put_bytes(&mut record, 0x1A, data);
        put_bytes(&mut records, 0x1A, &record);
    }
    let mut message = Vec::new();
    for key in keys {
        put_bytes(&mut message, 0x0A, key.as_bytes());
    }
    for text in explicit {
        put_bytes(&mut message, 0x12, text.as_bytes());
    }
    message.extend(records);
    framed(&message).to_vec()
}

// ---- Writer

#[test]
fn the_reference_vector_with_two_keys_is_written_byte_for_byte() {
    let expected = b"\xf3\x89\x9a\xc2\
        \x0a\x03pk1\x0a\x03pk2\x1a\x09\x08\x00\x1a\x05hello\x1a\x04\x08\x01\x1a\x00\
        \x26\xa5\x75\xc8\x27\x48\x34\x36\x5f\x9b\x55\x68\xff\x87\x74\x2a";
    let puts = [put("pk1", None, b"hello"), put("pk2", None, b"")];
    assert_eq!(blob(&puts), expected[..]);
    assert_eq!(records(&Bytes::from_static(expected)), puts);
}

#[test]
fn the_reference_vector_with_an_explicit_hash_key_is_written_byte_for_byte() {
    let expected = b"\xf3\x89\x9a\xc2\
        \x0a\x01a\x0a\x01b\x12\x03123\x1a\x05\x08\x00\x1a\x01x\x1a\x08\x08\x01\x10\x00\x1a\x02yz\x1a\x04\x08\x00\x1a\x00\
        \x50\xfb\x67\x61\xda\x66\xaa\x19\x6a\x30\x88\x4d\x63\x11\xe0\xd4";
    let puts = [put("a", None, b"x"), put("b", Some(123), b"yz"), put("a", None, b"")];
    assert_eq!(blob(&puts), expected[..]);
    assert_eq!(records(&Bytes::from_static(expected)), puts);
}

#[test]
fn a_single_record_is_not_wrapped() {
    let mut writer = AggregatedRecordWriter::new();
    push_all(&mut writer, &[put("schlüssel", Some(7), b"data")]);
    let sealed = writer.finish();
    assert_eq!(sealed.user_record_count, 1);
    let expected = Payload::Plain {
        partition_key: "schlüssel".to_owned(),
        explicit_hash_key: Some(HashKey::new(7)),
        data: Bytes::from_static(b"data"),
    };
    assert_eq!(sealed.payload, expected);
    assert_eq!(sealed.payload.charged_len(), "schlüssel".len() + 4);
}

#[test]
fn a_single_record_without_key_or_data_survives_too() {
    let mut writer = AggregatedRecordWriter::new();
    push_all(&mut writer, &[put("", None, b"")]);
    assert_eq!((writer.finish().payload.data().len(), writer.len()), (0, 0));
}

#[test]
fn an_aggregate_travels_under_a_short_key() {
    let payload = Payload::Aggregated(blob(&[put("k", None, b"1"), put("k", None, b"2")]));
    assert_eq!(payload.partition_key(), "a");
    assert_eq!(payload.charged_len(), payload.data().len() + 1);
}

#[test]
fn a_finished_writer_is_as_good_as_new() {
    let mut writer = AggregatedRecordWriter::new();
    let first = [put("k1", Some(1), b"1"), put("k2", Some(2), b"2"), put("k1", Some(1), b"3")];
    let second = [put("k2", Some(2), b"4"), put("k1", None, b"5")];
    push_all(&mut writer, &first);
    let sealed = writer.finish();
    assert_eq!((sealed.payload.data().clone(), sealed.user_record_count), (blob(&first), 3));
    assert!(writer.is_empty());
    assert_eq!(writer.encoded_len(), MAGIC.len() + DIGEST_BYTES);
    push_all(&mut writer, &second);
    assert_eq!(writer.finish().payload.data(), &blob(&second));
}

#[test]
#[should_panic(expected = "at least one pushed user record")]
fn finishing_an_empty_writer_is_a_bug() {
    AggregatedRecordWriter::new().finish();
}

#[test]
fn keys_that_share_a_slot_are_written_again_and_read_back_right() {
    // One hash for all keys: the worst that a caller's hash can be.
    let mut writer = AggregatedRecordWriter::new();
    let puts: Vec<Put> = (0..50).map(|index| put(["x", "y", "z"][index % 3], None, b"d")).collect();
    for (partition_key, explicit_hash_key, data) in &puts {
        let foretold = writer.encoded_len_with(partition_key, 0, *explicit_hash_key, data.len());
        writer.push(partition_key, 0, *explicit_hash_key, data);
        assert_eq!(writer.encoded_len(), foretold);
    }
    let encoded_len = writer.encoded_len();
    let Payload::Aggregated(blob) = writer.finish().payload else { panic!("wrapped") };
    assert_eq!(blob.len(), encoded_len);
    assert_eq!(records(&blob), puts);
}

#[test]
fn one_huge_record_does_not_hold_its_memory_for_ever() {
    let mut writer = AggregatedRecordWriter::new();
    let huge = vec![0; 8 << 20];
    push_all(&mut writer, &[put("k", None, &huge), put("k", None, b"")]);
    writer.finish();
    for _ in 0..2 {
        push_all(&mut writer, &[put("k", None, b"1"), put("k", None, b"2")]);
        writer.finish();
    }
    assert!(writer.buffered_capacity() <= 3 * 64 * 1024, "{}", writer.buffered_capacity());
}

#[test]
fn the_blob_is_allocated_at_exactly_its_size() {
    let blob = blob(&[put("k", None, &[1; 1000]), put("l", Some(3), &[2; 1000])]);
    let vec: Vec<u8> = blob.into();
    assert_eq!(vec.capacity(), vec.len());
}

#[test]
fn neither_payload_nor_user_record_shows_data_in_debug() {
    let payload = Payload::Aggregated(blob(&[put("k", None, b"secret"), put("k", None, b"secret")]));
    let ParsedRecord::Aggregated(records) = parse(payload.data()) else { panic!("ours") };
    assert_eq!(format!("{payload:?}"), "Aggregated { data_bytes: 47 }");
    assert!(format!("{records:?}").contains("data_bytes: 6"));
}

// ---- Reader: framing

#[test]
fn data_without_the_magic_is_plain_and_unsuspicious() {
    for data in [
        &b""[..],
        b"\xf3",
        b"\xf3\x89\x9a",
        b"hello, world, this is long enough to be one",
        b"\xf3\x89\x9a\xc3",
    ] {
        assert_eq!(reason(&Bytes::from_static(data)), PlainReason::NotAggregated);
    }
    assert!(!PlainReason::NotAggregated.is_suspicious());
}

#[test]
fn the_magic_needs_a_message_and_a_digest_behind_it() {
    assert_eq!(reason(&Bytes::from_static(&MAGIC)), PlainReason::TooShort);
    assert_eq!(reason(&Bytes::from([&MAGIC[..], &[0; 15]].concat())), PlainReason::TooShort);
    // An empty message with its right digest: the KCL takes it for a plain record.
    assert_eq!(reason(&framed(b"")), PlainReason::TooShort);
    assert!(PlainReason::TooShort.is_suspicious());
}

#[test]
fn a_single_flipped_bit_is_noticed() {
    let whole = blob(&[put("k", None, b"1"), put("l", Some(5), b"2")]);
    for bit in 32..whole.len() * 8 {
        let mut flipped = whole.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(reason(&flipped.into()), PlainReason::DigestMismatch, "bit {bit}");
    }
}

#[test]
fn an_aggregate_cut_short_is_noticed() {
    let whole = blob(&[put("k", None, b"1"), put("l", Some(5), b"2")]);
    for len in 4..whole.len() {
        assert!(reason(&whole.slice(..len)).is_suspicious(), "{len}");
    }
}

// ---- Reader: the message

#[test]
fn an_aggregate_of_nothing_is_handed_over_instead_of_vanishing() {
    assert_eq!(reason(&framed(b"\x0a\x01k")), PlainReason::Empty);
    assert!(PlainReason::Empty.is_suspicious());
}

#[test]
fn tables_may_stand_behind_the_records() {
    let message = b"\x1a\x07\x08\x01\x10\x00\x1a\x01x\x0a\x01a\x12\x0242\x0a\x01b";
    assert_eq!(records(&framed(message)), [put("b", Some(42), b"x")]);
}

#[test]
fn fields_of_a_record_may_come_in_any_order_and_the_last_one_counts() {
    let message = b"\x0a\x01a\x0a\x01b\x1a\x0d\x1a\x01x\x1a\x02yz\x08\x00\x10\x07\x08\x01\x12\x0242\x1a\x08\x08\x00\x10\x00\x10\x00\x1a\x00";
    // The first record's explicit hash key index is 7: remove it, it is the subject of another test.
    let message = [&message[..6], b"\x1a\x0b\x1a\x01x\x1a\x02yz\x08\x00\x08\x01", &message[21..]].concat();
    assert_eq!(records(&framed(&message)), [put("b", None, b"yz"), put("a", Some(42), b"")]);
}

#[test]
fn unknown_fields_and_tags_are_skipped() {
    let tag = b"\x22\x06\x0a\x01t\x12\x01v";
    let unknown = b"\x28\x01\x31\x01\x02\x03\x04\x05\x06\x07\x08\x3a\x02hi\x45\x01\x02\x03\x04";
    let record = [&b"\x08\x00"[..], tag, unknown, b"\x1a\x01x"].concat();
    let mut message = [&b"\x0a\x01a"[..], unknown].concat();
    put_bytes(&mut message, 0x1A, &record);
    assert_eq!(records(&framed(&message)), [put("a", None, b"x")]);
}

#[test]
fn a_known_number_with_another_wire_type_is_an_unknown_field() {
    // Field 1 of the message as an integer, field 3 as an integer.
    let message = b"\x08\x05\x18\x05\x0a\x01a\x1a\x05\x08\x00\x1a\x01x";
    assert_eq!(records(&framed(message)), [put("a", None, b"x")]);
    // Field 1 of the record as bytes: then the index is missing.
    assert_eq!(
        malformed(b"\x0a\x01a\x1a\x06\x0a\x01\x00\x1a\x01x"),
        MalformedReason::MissingPartitionKeyIndex
    );
}

#[test]
fn messages_that_are_none_say_why() {
    for (message, expected) in [
        (&b"\x0a\x05a"[..], MalformedReason::Truncated),
        (b"\x0b", MalformedReason::WireType),
        (b"\x0a\x01a\x0c", MalformedReason::WireType),
        (b"\x00\x00", MalformedReason::FieldNumber),
        (b"\x0a\x01a\x1a\x03\x1a\x01x", MalformedReason::MissingPartitionKeyIndex),
        (b"\x0a\x01a\x1a\x02\x08\x00", MalformedReason::MissingData),
        (b"\x0a\x01a\x1a\x00", MalformedReason::MissingPartitionKeyIndex),
        (b"\x0a\x01a\x1a\x08\x08\x00\x1a\x00\x22\x02\x12\x00", MalformedReason::MissingTagKey),
        (b"\x0a\x01a\x1a\x06\x08\x00\x1a\x05xx", MalformedReason::Truncated),
        (b"\x0a\x02\xff\xfe\x1a\x04\x08\x00\x1a\x00", MalformedReason::PartitionKeyNotUtf8),
        (
            b"\x0a\x01a\x1a\x0f\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x1a\x02ab",
            MalformedReason::VarintOverflow,
        ),
    ] {
        assert_eq!(malformed(message), expected, "{message:02x?}");
    }
}

#[test]
fn a_fault_in_the_last_record_takes_nothing_out_of_the_first() {
    // The KCL would deliver the first record and drop the second together with the blob.
    let message = b"\x0a\x01a\x1a\x05\x08\x00\x1a\x01x\x1a\x05\x08\x01\x1a\x01y";
    let expected =
        PlainReason::BadIndex { user_record: 1, table: TableKind::PartitionKeys, index: 1, table_len: 1 };
    assert_eq!(reason(&framed(message)), expected);
    assert_eq!(
        expected.to_string(),
        "user record 1 of an aggregate points at entry 1 of a partition key table of 1"
    );
}

#[test]
fn an_index_beyond_32_bits_does_not_wrap_around() {
    let message = b"\x0a\x01a\x1a\x08\x08\x80\x80\x80\x80\x10\x1a\x00";
    assert_eq!(
        reason(&framed(message)),
        PlainReason::BadIndex {
            user_record: 0,
            table: TableKind::PartitionKeys,
            index: 1 << 32,
            table_len: 1
        }
    );
}

#[test]
fn an_explicit_hash_key_index_needs_an_entry() {
    let message = b"\x0a\x01a\x1a\x06\x08\x00\x10\x00\x1a\x00";
    assert_eq!(
        reason(&framed(message)),
        PlainReason::BadIndex { user_record: 0, table: TableKind::ExplicitHashKeys, index: 0, table_len: 0 }
    );
}

#[test]
fn explicit_hash_keys_are_read_as_leniently_as_other_readers_do() {
    let read = |text: &[u8]| {
        let mut message = b"\x0a\x01a".to_vec();
        put_bytes(&mut message, 0x12, text);
        message.extend(b"\x1a\x06\x08\x00\x10\x00\x1a\x00");
        parse(&framed(&message))
    };
    for (text, value) in
        [("0", 0), ("007", 7), ("+7", 7), ("340282366920938463463374607431768211455", u128::MAX)]
    {
        let ParsedRecord::Aggregated(records) = read(text.as_bytes()) else { panic!("{text}") };
        assert_eq!(records[0].explicit_hash_key, Some(HashKey::new(value)), "{text}");
        assert_eq!(records[0].hash_key(), HashKey::new(value));
    }
    for text in ["", "+", "-1", "++7", "0x7", "7 ", "340282366920938463463374607431768211456", "\u{667}"] {
        let expected = ParsedRecord::Plain(PlainReason::BadExplicitHashKey { user_record: 0 });
        assert_eq!(read(text.as_bytes()), expected, "{text:?}");
    }
    assert_eq!(read(&[0xFF]), ParsedRecord::Plain(PlainReason::BadExplicitHashKey { user_record: 0 }));
}

#[test]
fn an_entry_that_nobody_points_at_may_be_anything() {
    let message = b"\x0a\x01a\x12\x03abc\x1a\x05\x08\x00\x1a\x01x";
    assert_eq!(records(&framed(message)), [put("a", None, b"x")]);
}

#[test]
fn data_is_a_slice_of_the_blob_and_not_a_copy() {
    let blob = blob(&[put("k", None, b"hello"), put("k", None, b"world")]);
    let ParsedRecord::Aggregated(records) = parse(&blob) else { panic!("ours") };
    let inside = blob.as_ptr_range();
    assert!(records.iter().all(|record| inside.contains(&record.data.as_ptr())));
    assert!(Arc::ptr_eq(&records[0].partition_key, &records[1].partition_key));
}

#[test]
fn without_an_explicit_hash_key_the_partition_key_decides() {
    let blob = blob(&[put("abcd", None, b""), put("abcd", Some(9), b"")]);
    let ParsedRecord::Aggregated(records) = parse(&blob) else { panic!("ours") };
    assert_eq!(records[0].hash_key(), HashKey::of_partition_key("abcd"));
    assert_eq!(records[1].hash_key(), HashKey::new(9));
}

// ---- Properties

/// Few keys, many keys, empty keys, keys of several bytes a character; with, without and with shared explicit keys.
fn any_puts(len: Range<usize>) -> impl Strategy<Value = Vec<Put>> {
    let key = prop_oneof![
        "[a-d]",
        "[a-z]{0,20}",
        "\\PC{0,12}",
        (0_u32..400).prop_map(|index| format!("key-{index}")),
        Just("k".repeat(200)),
    ];
    let explicit = prop_oneof![
        3 => Just(None),
        1 => (0_u128..5).prop_map(|value| Some(HashKey::new(value))),
        1 => any::<u128>().prop_map(|value| Some(HashKey::new(value))),
    ];
    let data = prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 0..40),
        1 => (0_usize..20_000).prop_map(|len| vec![0xA5; len]),
    ];
    proptest::collection::vec((key, explicit, data), len)
}

/// Whether no slot of the writer's key tables is wanted by two keys.
fn no_slot_is_shared(puts: &[Put]) -> bool {
    let mut slots = std::collections::BTreeMap::new();
    puts.iter().all(|(key, ..)| *slots.entry(hash(key) % 256).or_insert(key) == key)
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(puts in any_puts(2..400)) {
        prop_assert_eq!(records(&blob(&puts)), puts);
    }

    #[test]
    fn the_size_is_exact_after_every_push(puts in any_puts(2..120)) {
        let mut writer = AggregatedRecordWriter::new();
        for (count, (partition_key, explicit_hash_key, data)) in puts.iter().enumerate() {
            let foretold =
                writer.encoded_len_with(partition_key, hash(partition_key), *explicit_hash_key, data.len());
            writer.push(partition_key, hash(partition_key), *explicit_hash_key, data);
            prop_assert_eq!(writer.encoded_len(), foretold);
            if count > 0 && count % 10 == 1 {
                prop_assert_eq!(blob(&puts[..=count]).len(), foretold);
            }
        }
        let encoded_len = writer.encoded_len();
        prop_assert_eq!(writer.finish().payload.data().len(), encoded_len);
    }

    #[test]
    fn the_output_is_that_of_the_kpl_while_no_slot_is_shared(mut puts in any_puts(2..20)) {
        prop_assume!(no_slot_is_shared(&puts));
        // Explicit hash keys have slots of their own; the first few numbers do not meet there.
        for explicit in puts.iter_mut().filter_map(|(_, explicit, _)| explicit.as_mut()) {
            *explicit = HashKey::new(explicit.get() % 5);
        }
        prop_assert_eq!(&blob(&puts)[..], &encode_directly(&puts)[..]);
    }

    #[test]
    fn the_direct_encoding_is_read_back_too(puts in any_puts(1..60)) {
        prop_assert_eq!(records(&encode_directly(&puts).into()), puts);
    }

    #[test]
    fn a_single_record_comes_back_as_it_went_in(puts in any_puts(1..2)) {
        let mut writer = AggregatedRecordWriter::new();
        push_all(&mut writer, &puts);
        let Payload::Plain { partition_key, explicit_hash_key, data } = writer.finish().payload else {
            panic!("a single record is not wrapped")
        };
        prop_assert_eq!(&(partition_key, explicit_hash_key, data.to_vec()), &puts[0]);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        let _ = parse(&Bytes::from([&MAGIC[..], &bytes].concat()));
        let _ = parse(&framed(&bytes));
        let _ = parse(&bytes.into());
    }

    #[test]
    fn no_change_to_a_valid_message_makes_it_panic_or_lose_the_blob(
        puts in any_puts(2..12),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>(), 0_u8..3), 1..6),
    ) {
        let blob = blob(&puts);
        let mut message = blob[4..blob.len() - 16].to_vec();
        for (at, byte, kind) in changes {
            if message.is_empty() {
                break;
            }
            let position = at.index(message.len());
            match kind {
                0 => message[position] = byte,
                1 => message.insert(position, byte),
                _ => { message.remove(position); }
            }
        }
        // The digest is right again, so this reaches the parser.
        let data = framed(&message);
        match parse(&data) {
            ParsedRecord::Aggregated(records) => {
                prop_assert!(!records.is_empty());
                prop_assert!(records.iter().map(|record| record.data.len()).sum::<usize>() <= data.len());
            }
            ParsedRecord::Plain(reason) => prop_assert!(reason.is_suspicious()),
        }
    }

    #[test]
    fn many_at_once_are_what_each_is_alone(
        all_puts in proptest::collection::vec(any_puts(2..12), 0..6),
        others in proptest::collection::vec(any::<Vec<u8>>(), 0..6),
        broken in any::<proptest::sample::Index>(),
    ) {
        let mut blobs: Vec<Bytes> = all_puts.iter().map(|puts| blob(puts)).collect();
        blobs.extend(others.iter().flat_map(|bytes| [framed(bytes), bytes.clone().into(), [&MAGIC[..], bytes].concat().into()]));
        if !blobs.is_empty() {
            let at = broken.index(blobs.len());
            let mut bytes = blobs[at].to_vec();
            if let Some(last) = bytes.last_mut() { *last ^= 1; }
            blobs.push(bytes.into());
        }
        let alone: Vec<_> = blobs.iter().map(parse).collect();
        let in_place = parse_many_in_place(&blobs).zip(&blobs).map(|(members, blob)| match members {
            Err(reason) => ParsedRecord::Plain(reason),
            Ok(members) => ParsedRecord::Aggregated(members.into_iter().map(|member| AggregatedUserRecord {
                partition_key: str::from_utf8(&blob[member.partition_key]).unwrap().into(),
                explicit_hash_key: member.explicit_hash_key,
                data: blob.slice(member.data),
            }).collect()),
        });
        prop_assert_eq!(in_place.collect::<Vec<_>>(), alone.clone());
        prop_assert_eq!(parse_many(&blobs), alone);
    }
}
