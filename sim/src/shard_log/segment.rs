//! Records as they lie in memory: keys and payloads end to end in one buffer, and 24 bytes beside it for each.

use kinesis_shard::HashKey;

/// A stored record, where it lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogRecord<'a> {
    pub(crate) index: u64,
    /// Milliseconds since the epoch.
    pub(crate) arrived_at: u64,
    pub(crate) partition_key: &'a str,
    pub(crate) explicit_hash_key: Option<HashKey>,
    pub(crate) data: &'a [u8],
}

impl LogRecord<'_> {
    /// What counts against rates and sizes.
    pub(crate) fn len(&self) -> usize {
        self.data.len() + self.partition_key.len()
    }

    fn stored_len(&self) -> usize {
        self.len() + self.explicit_hash_key.map_or(0, |_| EXPLICIT_BYTES)
    }
}

const EXPLICIT_BYTES: usize = 16;

/// A run of records. It takes more until it is full, and never moves what it holds.
#[derive(Debug)]
pub(super) struct Segment {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// How many of the first entries have been dropped.
    dropped: usize,
}

/// The sequence number is not stored: index, time and shard give it.
#[derive(Debug, Clone, Copy)]
struct Entry {
    index: u64,
    arrived_at: u64,
    /// Where the record ends in the buffer; it begins where the one before ends.
    end: u32,
    key_bytes: u16,
    has_explicit_hash_key: bool,
}

impl Segment {
    /// Room for so many bytes, and for this record in any case.
    pub(super) fn for_bytes(bytes: usize, record: &LogRecord<'_>) -> Self {
        let bytes = Vec::with_capacity(bytes.max(record.stored_len()));
        Self { bytes, entries: Vec::new(), dropped: 0 }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the record fits without moving what is there.
    pub(super) fn has_room_for(&self, record: &LogRecord<'_>) -> bool {
        self.bytes.len() + record.stored_len() <= self.bytes.capacity()
    }

    pub(super) fn append(&mut self, record: &LogRecord<'_>) {
        self.bytes.extend_from_slice(record.partition_key.as_bytes());
        if let Some(key) = record.explicit_hash_key {
            self.bytes.extend_from_slice(&key.get().to_ne_bytes());
        }
        self.bytes.extend_from_slice(record.data);
        self.entries.push(Entry {
            index: record.index,
            arrived_at: record.arrived_at,
            end: u32::try_from(self.bytes.len())
                .expect("a record has at most 10 MiB, and a large one a segment"),
            key_bytes: u16::try_from(record.partition_key.len()).expect("a key has at most 256 characters"),
            has_explicit_hash_key: record.explicit_hash_key.is_some(),
        });
    }

    /// Gives back what it has reserved and does not need.
    pub(super) fn seal(&mut self) {
        self.bytes.shrink_to_fit();
        self.entries.shrink_to_fit();
    }

    pub(super) fn first_arrival(&self) -> Option<u64> {
        self.entries.get(self.dropped).map(|entry| entry.arrived_at)
    }

    pub(super) fn last_arrival(&self) -> Option<u64> {
        self.entries.last().map(|entry| entry.arrived_at)
    }

    pub(super) fn last_index(&self) -> Option<u64> {
        self.entries.last().map(|entry| entry.index)
    }

    /// Drops what arrived before the horizon; its memory is freed with the whole segment.
    pub(super) fn trim(&mut self, horizon: u64) {
        self.dropped = self.dropped.max(self.entries.partition_point(|entry| entry.arrived_at < horizon));
    }

    #[cfg(test)]
    pub(super) fn reserved(&self) -> usize {
        self.bytes.capacity()
    }

    fn place_of(&self, position: u64) -> usize {
        self.entries.partition_point(|entry| entry.index < position).max(self.dropped)
    }

    /// Where the record at this place begins in the buffer.
    fn start_of(&self, place: usize) -> usize {
        place.checked_sub(1).and_then(|before| self.entries.get(before)).map_or(0, end_of)
    }

    /// How many records lie there from `position` on, `most` at most, and their bytes.
    pub(super) fn ahead(&self, position: u64, most: usize) -> (usize, usize) {
        let first = self.place_of(position);
        let end = self.entries.len().min(first.saturating_add(most));
        (end.saturating_sub(first), self.start_of(end).saturating_sub(self.start_of(first)))
    }

    /// The records whose index is at least `position`.
    pub(super) fn records_from(&self, position: u64) -> impl Iterator<Item = LogRecord<'_>> {
        let first = self.place_of(position);
        let mut start = self.start_of(first);
        self.entries.get(first..).unwrap_or_default().iter().map(move |entry| {
            let bytes = self.bytes.get(start..end_of(entry)).unwrap_or_default();
            start = end_of(entry);
            entry.read(bytes)
        })
    }

    /// The index of the first record that arrived at `time` or later.
    pub(super) fn index_at_time(&self, time: u64) -> Option<u64> {
        let at = self.entries.partition_point(|entry| entry.arrived_at < time).max(self.dropped);
        self.entries.get(at).map(|entry| entry.index)
    }
}

fn end_of(entry: &Entry) -> usize {
    usize::try_from(entry.end).unwrap_or(usize::MAX)
}

impl Entry {
    fn read<'a>(&self, bytes: &'a [u8]) -> LogRecord<'a> {
        let (key, rest) = bytes.split_at_checked(usize::from(self.key_bytes)).unwrap_or_default();
        let explicit =
            if self.has_explicit_hash_key { rest.split_first_chunk::<EXPLICIT_BYTES>() } else { None };
        LogRecord {
            index: self.index,
            arrived_at: self.arrived_at,
            partition_key: std::str::from_utf8(key).unwrap_or_default(),
            explicit_hash_key: explicit.map(|(key, _)| HashKey::new(u128::from_ne_bytes(*key))),
            data: explicit.map_or(rest, |(_, data)| data),
        }
    }
}
