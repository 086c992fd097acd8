//! Which keys an open aggregate already holds.
//!
//! A direct-mapped table of 256 slots instead of a map: one slot is looked at, nothing is allocated, and clearing
//! it is one addition. When two keys want one slot the newer one gets it; the older, if it comes again, is written
//! a second time, which the format allows.

use crate::prefetch::read_soon;

const SLOTS: usize = 256;

/// What a slot remembers, in one number, so that a table takes 2 KiB: many open aggregates compete for the caches.
/// The entry is valid only in the generation that wrote it.
#[derive(Debug, Clone, Copy, Default)]
struct Slot(u64);

impl Slot {
    const START_BITS: u32 = 24;
    const INDEX_BITS: u32 = 20;
    const TAG_BITS: u32 = 12;

    /// None if a number is too large to be kept: in aggregates of over 16 MiB or a million keys, some are not found again.
    fn new(generation: u8, tag: u16, index: u32, start: usize) -> Option<Self> {
        let start = u64::try_from(start).ok().filter(|start| *start < 1 << Self::START_BITS)?;
        let index = Some(u64::from(index)).filter(|index| *index < 1 << Self::INDEX_BITS)?;
        let owner = u64::from(generation) << Self::TAG_BITS | u64::from(tag);
        Some(Self((owner << Self::INDEX_BITS | index) << Self::START_BITS | start))
    }

    fn is(self, generation: u8, tag: u16) -> bool {
        self.0 >> (Self::START_BITS + Self::INDEX_BITS)
            == u64::from(generation) << Self::TAG_BITS | u64::from(tag)
    }

    /// Where its field begins in the written table.
    fn start(self) -> usize {
        usize::try_from(self.0 & ((1 << Self::START_BITS) - 1)).unwrap_or(usize::MAX)
    }

    fn index(self) -> u64 {
        self.0 >> Self::START_BITS & ((1 << Self::INDEX_BITS) - 1)
    }
}

/// The table.
#[derive(Debug, Clone)]
pub(super) struct KeyTable {
    slots: Box<[Slot]>,
    /// Entries written in this generation, repeated keys included.
    count: u32,
    generation: u8,
}

impl KeyTable {
    pub(super) fn new() -> Self {
        // Generation 0 is that of empty slots, which are made when the first key comes: many writers never see one.
        Self { slots: Box::default(), generation: 1, count: 0 }
    }

    /// The index of the entry with this key, if it is remembered. `written` are the fields written so far.
    pub(super) fn find(&self, key: &[u8], hash: u64, written: &[u8]) -> Option<u64> {
        let slot = self.slots.get(slot_of(hash))?;
        // The tag spares most of the looks into `written`, which is usually not in the nearest cache.
        let known = slot.is(self.generation, tag_of(hash)) && holds(written.get(slot.start()..)?, key);
        known.then_some(slot.index())
    }

    /// The index that the next entry gets.
    pub(super) fn next_index(&self) -> u64 {
        u64::from(self.count)
    }

    /// Remembers the entry that is written next, as a field that begins at `start`.
    pub(super) fn add(&mut self, hash: u64, start: usize) {
        let index = self.count;
        self.count += 1;
        if self.slots.is_empty() {
            self.slots = vec![Slot::default(); SLOTS].into();
        }
        let new = Slot::new(self.generation, tag_of(hash), index, start);
        if let (Some(slot), Some(new)) = (self.slots.get_mut(slot_of(hash)), new) {
            *slot = new;
        }
    }

    /// Forgets every entry.
    pub(super) fn clear(&mut self) {
        self.count = 0;
        self.generation = self.generation.wrapping_add(1);
        if self.generation == 0 {
            self.slots.fill(Slot::default());
            self.generation = 1;
        }
    }

    /// A key with this hash will soon be looked for.
    pub(super) fn find_soon(&self, hash: u64) {
        if let Some(slot) = self.slots.get(slot_of(hash)) {
            read_soon(slot);
        }
    }
}

/// Whether the field that begins here is this key: a tag, the length, the bytes.
fn holds(fields: &[u8], key: &[u8]) -> bool {
    let Some(mut rest) = fields.get(1..) else { return false };
    let mut len = key.len();
    while len >= 0x80 {
        let [byte, after @ ..] = rest else { return false };
        if usize::from(*byte) != len & 0x7F | 0x80 {
            return false;
        }
        (len, rest) = (len >> 7, after);
    }
    let [byte, after @ ..] = rest else { return false };
    usize::from(*byte) == len && after.starts_with(key)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the low bits choose the slot, the high bits tell keys apart"
)]
const fn slot_of(hash: u64) -> usize {
    hash as usize % SLOTS
}

const fn tag_of(hash: u64) -> u16 {
    (hash >> (u64::BITS - Slot::TAG_BITS)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregated_record::varint::put_bytes;

    fn add(table: &mut KeyTable, written: &mut Vec<u8>, key: &[u8], hash: u64) {
        table.add(hash, written.len());
        put_bytes(written, 0x0A, key);
    }

    #[test]
    fn a_key_is_found_under_its_index_until_cleared() {
        let (mut table, mut written) = (KeyTable::new(), Vec::new());
        add(&mut table, &mut written, b"first", 1);
        add(&mut table, &mut written, b"second", 2);
        assert_eq!(table.find(b"first", 1, &written), Some(0));
        assert_eq!(table.find(b"second", 2, &written), Some(1));
        assert_eq!(table.next_index(), 2);
        table.clear();
        assert_eq!(table.find(b"first", 1, &written), None);
        assert_eq!(table.next_index(), 0);
    }

    #[test]
    fn keys_with_one_hash_are_told_apart_by_their_bytes() {
        let (mut table, mut written) = (KeyTable::new(), Vec::new());
        add(&mut table, &mut written, b"first", 7);
        assert_eq!(table.find(b"other", 7, &written), None);
        assert_eq!(table.find(b"firs", 7, &written), None);
        assert_eq!(table.find(b"", 7, &written), None);
    }

    #[test]
    fn the_newer_key_takes_the_slot() {
        let (mut table, mut written) = (KeyTable::new(), Vec::new());
        add(&mut table, &mut written, b"first", 7);
        add(&mut table, &mut written, b"other", 7 + (1 << 40));
        assert_eq!(table.find(b"first", 7, &written), None);
        assert_eq!(table.find(b"other", 7 + (1 << 40), &written), Some(1));
    }

    #[test]
    fn a_long_key_is_found_and_one_that_only_begins_like_it_is_not() {
        let (mut table, mut written) = (KeyTable::new(), Vec::new());
        let long = [b'k'; 300];
        add(&mut table, &mut written, &long, 7);
        assert_eq!(table.find(&long, 7, &written), Some(0));
        for len in [0, 1, 44, 127, 128, 172, 299] {
            assert_eq!(table.find(&long[..len], 7, &written), None, "{len} of 300 bytes");
        }
        add(&mut table, &mut written, &long[..44], 8);
        assert_eq!(table.find(&long[..44], 8, &written), Some(1));
        assert_eq!(table.find(&long, 8, &written), None);
    }

    #[test]
    fn what_a_slot_cannot_hold_is_not_remembered() {
        assert_eq!(Slot::new(1, 4095, (1 << 20) - 1, (1 << 24) - 1).map(Slot::index), Some((1 << 20) - 1));
        assert_eq!(Slot::new(255, 0, 3, (1 << 24) - 1).map(Slot::start), Some((1 << 24) - 1));
        assert!(Slot::new(1, 0, 1 << 20, 0).is_none());
        assert!(Slot::new(1, 0, 0, 1 << 24).is_none());
    }

    #[test]
    fn slots_of_a_generation_long_gone_do_not_come_back() {
        let (mut table, mut written) = (KeyTable::new(), Vec::new());
        add(&mut table, &mut written, b"first", 7);
        table.generation = u8::MAX;
        table.clear();
        assert_eq!(table.generation, 1);
        assert_eq!(table.find(b"first", 7, &written), None);
    }
}
