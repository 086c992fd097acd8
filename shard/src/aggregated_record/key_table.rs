//! Which keys an open aggregate already holds.
//!
//! A direct-mapped table of 256 slots instead of a map: one slot is looked at, nothing is allocated, and clearing
//! it is one addition. When two keys want one slot the newer one gets it; the older, if it comes again, is written
//! a second time, which the format allows.

const SLOTS: usize = 256;

/// What a slot remembers: the entry is valid only in the generation that wrote it.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    generation: u32,
    tag: u32,
    /// Where the key's bytes lie in the written table.
    start: u32,
    len: u32,
    index: u32,
}

/// The table.
#[derive(Debug, Clone)]
pub(super) struct KeyTable {
    slots: Box<[Slot]>,
    generation: u32,
    /// Entries written in this generation, repeated keys included.
    count: u32,
}

impl KeyTable {
    pub(super) fn new() -> Self {
        // Generation 0 is that of empty slots, which are made when the first key comes: many writers never see one.
        Self { slots: Box::default(), generation: 1, count: 0 }
    }

    /// The index of the entry with this key, if it is remembered. `written` are the bytes written so far.
    pub(super) fn find(&self, key: &[u8], hash: u64, written: &[u8]) -> Option<u64> {
        let slot = self.slots.get(slot_of(hash))?;
        // The tag spares most of the looks into `written`, which is usually not in the nearest cache.
        if slot.generation != self.generation || slot.tag != tag_of(hash) {
            return None;
        }
        let (start, len) = (slot.start as usize, slot.len as usize);
        (written.get(start..start + len)? == key).then_some(u64::from(slot.index))
    }

    /// The index that the next entry gets.
    pub(super) fn next_index(&self) -> u64 {
        u64::from(self.count)
    }

    /// Remembers the entry that was just written, whose key is the last `len` of `written_len` bytes.
    pub(super) fn add(&mut self, hash: u64, len: usize, written_len: usize) {
        let index = self.count;
        self.count += 1;
        if self.slots.is_empty() {
            self.slots = vec![Slot::default(); SLOTS].into();
        }
        let Some(slot) = self.slots.get_mut(slot_of(hash)) else { return };
        // Past 4 GiB there is no aggregate; were there one, its keys would merely not be found again.
        let (Ok(start), Ok(len)) = (u32::try_from(written_len - len), u32::try_from(len)) else { return };
        *slot = Slot { generation: self.generation, tag: tag_of(hash), start, len, index };
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
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the low bits choose the slot, the high bits tell keys apart"
)]
const fn slot_of(hash: u64) -> usize {
    hash as usize % SLOTS
}

const fn tag_of(hash: u64) -> u32 {
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(table: &mut KeyTable, written: &mut Vec<u8>, key: &[u8], hash: u64) {
        written.extend_from_slice(key);
        table.add(hash, key.len(), written.len());
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
    fn slots_of_a_generation_long_gone_do_not_come_back() {
        let (mut table, mut written) = (KeyTable::new(), Vec::new());
        add(&mut table, &mut written, b"first", 7);
        table.generation = u32::MAX;
        table.clear();
        assert_eq!(table.generation, 1);
        assert_eq!(table.find(b"first", 7, &written), None);
    }
}
