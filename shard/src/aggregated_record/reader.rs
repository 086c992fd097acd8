//! The reader: never panics, never drops, never copies data.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;

use super::{
    AggregateMember, AggregatedUserRecord, DIGEST_BYTES, MAGIC, MalformedReason, ParsedRecord, PlainReason,
    TableKind,
    varint::{Field, Fields, Value},
};
use crate::{HashKey, md5, md5_lanes::md5_many};

/// Takes the data of a Kinesis record apart into user records, if it is an aggregate.
///
/// Framing follows the Java KCL: what it passes through unchanged is [`ParsedRecord::Plain`] here. Where it drops
/// user records (an aggregate of none, a bad index, an explicit hash key that is no number) the answer is also
/// `Plain`, with that reason: the blob still reaches the processor, whole.
///
/// Never panics. Costs one MD5 of the data, and an allocation for the list and for each distinct partition key.
pub fn parse(data: &Bytes) -> ParsedRecord {
    let records = framed(data).and_then(|(message, digest)| {
        if md5(message) == *digest { user_records(data) } else { Err(PlainReason::DigestMismatch) }
    });
    records.map_or_else(ParsedRecord::Plain, ParsedRecord::Aggregated)
}

/// [`parse`] without a look at the digest: for what this process itself wrote, perhaps without one. Never panics.
pub fn parse_unchecked(data: &Bytes) -> ParsedRecord {
    let records = framed(data).and_then(|_| user_records(data));
    records.map_or_else(ParsedRecord::Plain, ParsedRecord::Aggregated)
}

/// [`parse`] of each, in order. The digests of all are computed together, several times cheaper than one by one.
pub fn parse_many<'a>(data: impl IntoIterator<Item = &'a Bytes>) -> Vec<ParsedRecord> {
    let parsed = sound(data).into_iter().map(|sound| sound.and_then(user_records));
    parsed.map(|records| records.map_or_else(ParsedRecord::Plain, ParsedRecord::Aggregated)).collect()
}

/// As [`parse_many`], but it says where the user records lie instead of making them: an allocation for each
/// aggregate, and none for a user record. An aggregate has one member at least. Each is taken apart when it is asked for,
/// so that what was found is still in the cache when it is used.
pub fn parse_many_in_place<'a>(
    data: impl IntoIterator<Item = &'a Bytes>,
) -> impl Iterator<Item = Result<Vec<AggregateMember>, PlainReason>> {
    let members = |data: &Bytes| {
        let member = |key: &Range<usize>, explicit_hash_key, data| AggregateMember {
            partition_key: key.clone(),
            explicit_hash_key,
            data,
        };
        read_message(data, |_, range| range, member)
    };
    sound(data).into_iter().map(move |sound| sound.and_then(members))
}

/// The aggregates among these whose digest is right.
fn sound<'a>(data: impl IntoIterator<Item = &'a Bytes>) -> Vec<Result<&'a Bytes, PlainReason>> {
    let framed: Vec<_> = data.into_iter().map(|data| (data, framed(data))).collect();
    let messages: Vec<&[u8]> =
        framed.iter().filter_map(|(_, framed)| framed.as_ref().ok().map(|(message, _)| *message)).collect();
    let mut digests = vec![[0; DIGEST_BYTES]; messages.len()];
    md5_many(&messages, &mut digests);
    let mut digests = digests.into_iter();
    let judged = |(data, framed): (&'a Bytes, Framed<'_>)| {
        framed.and_then(|(_, digest)| {
            if digests.next() == Some(*digest) { Ok(data) } else { Err(PlainReason::DigestMismatch) }
        })
    };
    framed.into_iter().map(judged).collect()
}

fn user_records(data: &Bytes) -> Result<Vec<AggregatedUserRecord>, PlainReason> {
    let record = |key: &Arc<str>, explicit_hash_key, range| AggregatedUserRecord {
        partition_key: Arc::clone(key),
        explicit_hash_key,
        data: data.slice(range),
    };
    read_message(data, |key, _| Arc::from(key), record)
}

/// Reads the message of a framed blob. `key` is made once for each partition key in the table, `record` for each user record.
fn read_message<K, R>(
    data: &Bytes,
    key: impl Fn(&str, Range<usize>) -> K,
    record: impl Fn(&K, Option<HashKey>, Range<usize>) -> R,
) -> Result<Vec<R>, PlainReason> {
    let message = MAGIC.len()..data.len().saturating_sub(DIGEST_BYTES);
    // Tables may stand behind the records that use them, so this takes two passes.
    let tables = Tables::read(data, message.clone(), key).map_err(PlainReason::Malformed)?;
    if tables.record_count == 0 {
        return Err(PlainReason::Empty);
    }
    // A message that is malformed anywhere is no message, while a bad index is the fault of one record in a sound
    // one. The reason should tell these apart, so a bad index is told when all is parsed.
    let mut records = Vec::with_capacity(tables.record_count);
    let (mut user_record, mut fault) = (0, None);
    for field in Fields::new(data, message) {
        if let Field { number: 3, value: Value::Bytes(range) } = field.map_err(PlainReason::Malformed)? {
            let raw = RawRecord::read(data, range).map_err(PlainReason::Malformed)?;
            match tables.resolve(user_record, &raw) {
                Ok((key, explicit_hash_key)) => records.push(record(key, explicit_hash_key, raw.data)),
                Err(reason) => fault = fault.or(Some(reason)),
            }
            user_record += 1;
        }
    }
    fault.map_or(Ok(records), Err)
}

/// The protobuf message and the digest that it should have.
type Framed<'a> = Result<(&'a [u8], &'a [u8; DIGEST_BYTES]), PlainReason>;

/// What stands behind the magic, if that is right.
fn framed(data: &[u8]) -> Framed<'_> {
    let framed = data.strip_prefix(&MAGIC).ok_or(PlainReason::NotAggregated)?;
    let (message, digest) = framed.split_last_chunk::<DIGEST_BYTES>().ok_or(PlainReason::TooShort)?;
    if message.is_empty() {
        return Err(PlainReason::TooShort);
    }
    Ok((message, digest))
}

/// The two tables, and how many records there are.
struct Tables<K> {
    partition_keys: Vec<K>,
    /// None where the text is not a hash key, which matters only if a record points there.
    explicit_hash_keys: Vec<Option<HashKey>>,
    record_count: usize,
}

impl<K> Tables<K> {
    fn read(
        data: &[u8],
        message: Range<usize>,
        make: impl Fn(&str, Range<usize>) -> K,
    ) -> Result<Self, MalformedReason> {
        let mut tables = Self { partition_keys: Vec::new(), explicit_hash_keys: Vec::new(), record_count: 0 };
        for field in Fields::new(data, message) {
            let Field { number, value: Value::Bytes(range) } = field? else { continue };
            let bytes = data.get(range.clone()).unwrap_or_default();
            match number {
                1 => {
                    let key = str::from_utf8(bytes).map_err(|_| MalformedReason::PartitionKeyNotUtf8)?;
                    tables.partition_keys.push(make(key, range));
                }
                2 => tables.explicit_hash_keys.push(explicit_hash_key(bytes)),
                3 => tables.record_count += 1,
                _ => {}
            }
        }
        Ok(tables)
    }

    /// The keys that a record points to.
    fn resolve(&self, user_record: usize, raw: &RawRecord) -> Result<(&K, Option<HashKey>), PlainReason> {
        let bad_index =
            |table, index, table_len| PlainReason::BadIndex { user_record, table, index, table_len };
        let partition_key = entry(&self.partition_keys, raw.partition_key_index).ok_or_else(|| {
            bad_index(TableKind::PartitionKeys, raw.partition_key_index, self.partition_keys.len())
        })?;
        let explicit_hash_key = match raw.explicit_hash_key_index {
            None => None,
            Some(index) => {
                let key = entry(&self.explicit_hash_keys, index).ok_or_else(|| {
                    bad_index(TableKind::ExplicitHashKeys, index, self.explicit_hash_keys.len())
                })?;
                Some(key.ok_or(PlainReason::BadExplicitHashKey { user_record })?)
            }
        };
        Ok((partition_key, explicit_hash_key))
    }
}

fn entry<T>(table: &[T], index: u64) -> Option<&T> {
    usize::try_from(index).ok().and_then(|index| table.get(index))
}

/// As lenient as the readers in use: they take a plus sign and leading zeros for the number they are.
fn explicit_hash_key(text: &[u8]) -> Option<HashKey> {
    let text = str::from_utf8(text).ok()?;
    let digits = text.strip_prefix('+').unwrap_or(text);
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().map(HashKey::new)
}

/// A user record with its indexes not yet looked up.
struct RawRecord {
    partition_key_index: u64,
    explicit_hash_key_index: Option<u64>,
    data: Range<usize>,
}

impl RawRecord {
    fn read(bytes: &[u8], range: Range<usize>) -> Result<Self, MalformedReason> {
        let (mut partition_key_index, mut explicit_hash_key_index, mut data) = (None, None, None);
        for field in Fields::new(bytes, range) {
            // A field that comes twice counts as it came last; one with another wire type is an unknown field.
            match field? {
                Field { number: 1, value: Value::Varint(index) } => partition_key_index = Some(index),
                Field { number: 2, value: Value::Varint(index) } => explicit_hash_key_index = Some(index),
                Field { number: 3, value: Value::Bytes(range) } => data = Some(range),
                Field { number: 4, value: Value::Bytes(range) } => check_tag(bytes, range)?,
                _ => {}
            }
        }
        Ok(Self {
            partition_key_index: partition_key_index.ok_or(MalformedReason::MissingPartitionKeyIndex)?,
            explicit_hash_key_index,
            data: data.ok_or(MalformedReason::MissingData)?,
        })
    }
}

/// Nobody uses tags, but a message with a broken one does not parse anywhere else either.
fn check_tag(bytes: &[u8], range: Range<usize>) -> Result<(), MalformedReason> {
    let mut has_key = false;
    for field in Fields::new(bytes, range) {
        has_key |= matches!(field?, Field { number: 1, value: Value::Bytes(_) });
    }
    if has_key { Ok(()) } else { Err(MalformedReason::MissingTagKey) }
}
