//! The writer: its output is byte for byte what the KPL's C++ runtime writes (see `docs/decisions/0003-aggregate-layout.md`).

use std::fmt;

use bytes::Bytes;

use super::{
    DIGEST_BYTES, MAGIC, TAG_DATA, TAG_EXPLICIT_HASH_KEY, TAG_EXPLICIT_HASH_KEY_INDEX, TAG_PARTITION_KEY,
    TAG_PARTITION_KEY_INDEX, TAG_RECORD,
    digests::write_digests,
    key_table::KeyTable,
    sealed::{Payload, Sealed},
    varint::{len_len, put_bytes, put_varint, varint_len},
};
use crate::{HashKey, prefetch::append_soon};

/// Bytes that a buffer keeps from one aggregate to the next even if it was hardly used.
const KEPT_CAPACITY_BYTES: usize = 64 * 1024;

/// Collects user records of one shard and writes them as one Kinesis record; reusable, one per shard.
///
/// Records are encoded as they are pushed, each byte copied once, and once more into the blob when it is finished.
/// Sizes are exact at every moment and cost no look at the records.
pub struct AggregatedRecordWriter {
    /// The partition key table as it will stand in the blob.
    partition_keys: Vec<u8>,
    /// The user records, likewise.
    records: Vec<u8>,
    partition_key_table: KeyTable,
    /// Made when the first explicit hash key comes: most producers have none. Elsewhere, because a producer with many shards has many
    /// writers, and what it looks at of each should be little.
    explicit_hash_keys: Option<Box<ExplicitHashKeys>>,
    /// What is needed to give the first record back unwrapped if it stays alone.
    first: First,
    len: usize,
}

/// How long key and data of the first record are.
#[derive(Debug, Clone, Copy, Default)]
struct First {
    partition_key_len: usize,
    data_len: usize,
}

/// The table of explicit hash keys, and which are in it.
struct ExplicitHashKeys {
    written: Vec<u8>,
    table: KeyTable,
}

impl AggregatedRecordWriter {
    /// An empty writer.
    pub fn new() -> Self {
        Self {
            partition_keys: Vec::new(),
            records: Vec::new(),
            partition_key_table: KeyTable::new(),
            explicit_hash_keys: None,
            first: First::default(),
            len: 0,
        }
    }

    /// Whether no user record was pushed since the last [`finish`](Self::finish).
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many user records were pushed since the last [`finish`](Self::finish).
    pub fn len(&self) -> usize {
        self.len
    }

    /// How many bytes the aggregate has; exact, and known without looking at the records.
    ///
    /// With two records or more this is the length of what [`finish`](Self::finish) returns. A single record is not
    /// wrapped, so it comes out shorter: as its data alone. An empty writer has the 20 bytes of the frame.
    pub fn encoded_len(&self) -> usize {
        MAGIC.len()
            + self.partition_keys.len()
            + self.explicit_hash_keys.as_ref().map_or(0, |keys| keys.written.len())
            + self.records.len()
            + DIGEST_BYTES
    }

    /// What [`encoded_len`](Self::encoded_len) would be after that [`push`](Self::push); changes nothing.
    pub fn encoded_len_with(
        &self,
        partition_key: &str,
        key_hash: u64,
        explicit_hash_key: Option<HashKey>,
        data_len: usize,
    ) -> usize {
        let explicit = explicit_hash_key.map(Decimal::new);
        self.encoded_len() + self.plan(partition_key, key_hash, explicit.as_ref(), data_len).growth
    }

    /// Adds a user record.
    ///
    /// `key_hash` is any hash of the partition key, the same for equal keys; [`HashKey::low_64`] of the key's MD5
    /// costs nothing more. A poor one makes the aggregate longer, never wrong. Records are written as they come:
    /// it is the caller who sees to it that all belong to one shard, since readers may drop the aggregate otherwise.
    pub fn push(
        &mut self,
        partition_key: &str,
        key_hash: u64,
        explicit_hash_key: Option<HashKey>,
        data: &[u8],
    ) {
        self.push_within(usize::MAX, partition_key, key_hash, explicit_hash_key, data);
    }

    /// Adds a user record unless the aggregate would become longer than `max_bytes`; says whether it was added.
    ///
    /// The same as asking [`encoded_len_with`](Self::encoded_len_with) before each [`push`](Self::push), at half the cost.
    #[expect(clippy::too_many_arguments, reason = "the limit, and what `push` takes")]
    pub fn push_within(
        &mut self,
        max_bytes: usize,
        partition_key: &str,
        key_hash: u64,
        explicit_hash_key: Option<HashKey>,
        data: &[u8],
    ) -> bool {
        let explicit = explicit_hash_key.map(Decimal::new);
        let plan = self.plan(partition_key, key_hash, explicit.as_ref(), data.len());
        if plan.growth > max_bytes.saturating_sub(self.encoded_len()) {
            return false;
        }
        if plan.partition_key.is_new {
            let key = partition_key.as_bytes();
            self.partition_key_table.add(key_hash, self.partition_keys.len());
            put_bytes(&mut self.partition_keys, TAG_PARTITION_KEY, key);
            append_soon(&self.partition_keys, 1);
        }
        if let (Some(explicit), Some(entry)) = (&explicit, &plan.explicit_hash_key)
            && entry.is_new
        {
            let keys = self.explicit_hash_keys.get_or_insert_with(|| {
                Box::new(ExplicitHashKeys { written: Vec::new(), table: KeyTable::new() })
            });
            keys.table.add(explicit.hash, keys.written.len());
            put_bytes(&mut keys.written, TAG_EXPLICIT_HASH_KEY, explicit.digits());
        }
        // Room once, not byte by byte.
        self.records.reserve(field_len(plan.inner_len));
        self.records.push(TAG_RECORD);
        put_varint(&mut self.records, plan.inner_len as u64);
        self.records.push(TAG_PARTITION_KEY_INDEX);
        put_varint(&mut self.records, plan.partition_key.index);
        if let Some(entry) = plan.explicit_hash_key {
            self.records.push(TAG_EXPLICIT_HASH_KEY_INDEX);
            put_varint(&mut self.records, entry.index);
        }
        put_bytes(&mut self.records, TAG_DATA, data);
        append_soon(&self.records, 3);
        if self.len == 0 {
            self.first = First { partition_key_len: partition_key.len(), data_len: data.len() };
        }
        self.len += 1;
        true
    }

    /// Says that a record whose key has this hash will soon be pushed: a hint to the processor, worth its while where a caller knows
    /// a few records ahead and fills many writers in turns.
    #[inline]
    pub fn push_soon(&self, key_hash: u64) {
        self.partition_key_table.find_soon(key_hash);
        append_soon(&self.partition_keys, 0);
        append_soon(&self.records, 2);
    }

    /// Seals what was pushed into one Kinesis record, and empties the writer for the next.
    ///
    /// The blob is one allocation of exactly its size; the writer keeps its buffers.
    ///
    /// # Panics
    ///
    /// If the writer is empty: there is no such thing as an aggregate of nothing.
    pub fn finish(&mut self) -> Sealed {
        let mut sealed = self.finish_without_digest();
        if let Payload::Aggregated(blob) = &mut sealed.payload {
            write_digests(&mut [blob]);
        }
        sealed
    }

    /// [`finish`](Self::finish) with zeros for the digest of an aggregate: [`write_digests`] is far cheaper for many at once.
    ///
    /// # Panics
    ///
    /// If the writer is empty.
    pub fn finish_without_digest(&mut self) -> Sealed {
        let user_record_count = self.len;
        assert!(user_record_count > 0, "finish needs at least one pushed user record");
        let payload = if user_record_count == 1 { self.plain() } else { Payload::Aggregated(self.blob()) };
        self.partition_key_table.clear();
        if let Some(keys) = &mut self.explicit_hash_keys {
            keys.table.clear();
            reuse(&mut keys.written);
        }
        self.len = 0;
        reuse(&mut self.partition_keys);
        reuse(&mut self.records);
        Sealed { payload, user_record_count }
    }

    /// Bytes of memory held for the next aggregate.
    #[cfg(test)]
    pub(super) fn buffered_capacity(&self) -> usize {
        let explicit = self.explicit_hash_keys.as_ref().map_or(0, |keys| keys.written.capacity());
        self.partition_keys.capacity() + explicit + self.records.capacity()
    }

    fn blob(&self) -> Bytes {
        let mut blob = Vec::with_capacity(self.encoded_len());
        blob.extend_from_slice(&MAGIC);
        blob.extend_from_slice(&self.partition_keys);
        blob.extend_from_slice(self.explicit_hash_keys.as_ref().map_or(&[], |keys| &keys.written));
        blob.extend_from_slice(&self.records);
        blob.extend_from_slice(&[0; DIGEST_BYTES]);
        blob.into()
    }

    /// The first record as it was pushed: its key ends the key table, its data ends the records.
    fn plain(&self) -> Payload {
        let First { partition_key_len, data_len } = self.first;
        let tail = |bytes: &[u8], len: usize| bytes.split_at(bytes.len() - len).1.to_vec();
        let partition_key = tail(&self.partition_keys, partition_key_len);
        Payload::Plain {
            partition_key: String::from_utf8(partition_key).expect("it was pushed as a string"),
            explicit_hash_key: self.only_explicit_hash_key(),
            data: tail(&self.records, data_len).into(),
        }
    }

    /// Of a single record; none if nothing is written.
    fn only_explicit_hash_key(&self) -> Option<HashKey> {
        // Tag and length take a byte each: there are 39 digits at most.
        let digits = self.explicit_hash_keys.as_ref()?.written.get(2..)?;
        str::from_utf8(digits).ok().and_then(|digits| HashKey::parse_explicit(digits).ok())
    }

    /// What pushing would write: the one place where sizes are computed.
    fn plan(&self, partition_key: &str, key_hash: u64, explicit: Option<&Decimal>, data_len: usize) -> Plan {
        let key = partition_key.as_bytes();
        let found = self.partition_key_table.find(key, key_hash, &self.partition_keys);
        let partition_key = Entry::new(found, self.partition_key_table.next_index());
        let mut growth = if partition_key.is_new { field_len(key.len()) } else { 0 };
        let mut inner_len = 1 + varint_len(partition_key.index) + field_len(data_len);
        let explicit_hash_key = explicit.map(|explicit| {
            let keys = self.explicit_hash_keys.as_ref();
            let found =
                keys.and_then(|keys| keys.table.find(explicit.digits(), explicit.hash, &keys.written));
            let entry = Entry::new(found, keys.map_or(0, |keys| keys.table.next_index()));
            growth += if entry.is_new { field_len(explicit.digits().len()) } else { 0 };
            inner_len += 1 + varint_len(entry.index);
            entry
        });
        growth += field_len(inner_len);
        Plan { partition_key, explicit_hash_key, inner_len, growth }
    }
}

impl Default for AggregatedRecordWriter {
    fn default() -> Self {
        Self::new()
    }
}

/// Shows counts and sizes, never keys or data.
impl fmt::Debug for AggregatedRecordWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AggregatedRecordWriter")
            .field("len", &self.len)
            .field("encoded_len", &self.encoded_len())
            .finish_non_exhaustive()
    }
}

/// What pushing a record would write.
struct Plan {
    partition_key: Entry,
    explicit_hash_key: Option<Entry>,
    /// Bytes of the record's own message.
    inner_len: usize,
    /// Bytes by which the aggregate grows.
    growth: usize,
}

struct Entry {
    index: u64,
    is_new: bool,
}

impl Entry {
    fn new(found: Option<u64>, next: u64) -> Self {
        Self { index: found.unwrap_or(next), is_new: found.is_none() }
    }
}

/// Bytes of a field with one-byte tag and `len` bytes of content.
const fn field_len(len: usize) -> usize {
    1 + len_len(len) + len
}

/// An explicit hash key in decimal, without an allocation.
struct Decimal {
    /// Right-aligned; 39 digits are the most.
    digits: [u8; 39],
    start: usize,
    hash: u64,
}

impl Decimal {
    fn new(key: HashKey) -> Self {
        let mut digits = [b'0'; 39];
        let mut rest = key.get();
        let mut start = digits.len();
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + u8::try_from(rest % 10).expect("a remainder of ten fits a byte");
            rest /= 10;
            start -= 1;
            if rest == 0 {
                break;
            }
        }
        // Chosen keys are often small or evenly spaced: both halves, spread over all bits.
        let high = HashKey::new(key.get() >> 64).low_64();
        let mixed = (key.low_64() ^ high.rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Self { digits, start, hash: mixed ^ (mixed >> 32) }
    }

    fn digits(&self) -> &[u8] {
        self.digits.split_at(self.start).1
    }
}

/// Empties a buffer and keeps its memory, unless one huge record made it far larger than what is usual.
fn reuse(buffer: &mut Vec<u8>) {
    let used = buffer.len();
    buffer.clear();
    if buffer.capacity() > KEPT_CAPACITY_BYTES && buffer.capacity() / 4 > used {
        buffer.shrink_to(KEPT_CAPACITY_BYTES.max(used * 2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_taken_up_to_the_last_byte_of_the_limit() {
        let key_hash = HashKey::of_partition_key("k").low_64();
        let mut writer = AggregatedRecordWriter::new();
        assert!(writer.is_empty());
        writer.push("k", key_hash, None, b"first");
        let with_it = writer.encoded_len_with("k", key_hash, None, 6);
        for (max_bytes, taken) in [(with_it - 1, false), (with_it - 2, false), (0, false), (with_it, true)] {
            assert_eq!(writer.push_within(max_bytes, "k", key_hash, None, b"second"), taken, "{max_bytes}");
            assert_eq!((writer.len(), writer.is_empty()), (1 + usize::from(taken), false));
        }
        assert_eq!(writer.encoded_len(), with_it);
        let mut roomy = AggregatedRecordWriter::new();
        assert!(roomy.push_within(with_it * 2, "k", key_hash, None, b"first"), "less than the limit too");
    }

    #[test]
    fn a_buffer_keeps_its_memory_unless_it_was_hardly_used() {
        const KIB: usize = 1024;
        // Capacity, bytes used, capacity afterwards.
        let cases = [
            (64 * KIB, 0, 64 * KIB),
            (64 * KIB, 10, 64 * KIB),
            (200 * KIB, 10, 64 * KIB),
            (200 * KIB, 48 * KIB, 96 * KIB),
            (200 * KIB, 50 * KIB, 200 * KIB),
            (200 * KIB, 150 * KIB, 200 * KIB),
        ];
        for (capacity, used, expected) in cases {
            let mut buffer = Vec::with_capacity(capacity);
            assert_eq!(buffer.capacity(), capacity, "what the allocator gives is what was asked for");
            buffer.resize(used, 0);
            reuse(&mut buffer);
            assert_eq!((buffer.len(), buffer.capacity()), (0, expected), "{capacity} with {used} used");
        }
    }
}
