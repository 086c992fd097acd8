//! Shards, and the map from hash keys to the open ones.

use std::collections::BTreeMap;

use crate::{HashKey, HashKeyRange, SequenceNumber};

/// The name of a shard.
mod shard_id;

pub use shard_id::ShardId;

/// One shard as the service lists it, open or closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// Its name.
    pub id: ShardId,
    /// The shard it was split from, or the first of the two it was merged from.
    pub parent: Option<ShardId>,
    /// The second of the two shards it was merged from.
    pub adjacent_parent: Option<ShardId>,
    /// The hash keys it takes.
    pub hash_key_range: HashKeyRange,
    /// Below every sequence number in it.
    pub starting_sequence_number: SequenceNumber,
    /// Above every sequence number in it; absent while it is open.
    pub ending_sequence_number: Option<SequenceNumber>,
}

impl Shard {
    /// Whether it takes writes.
    pub fn is_open(&self) -> bool {
        self.ending_sequence_number.is_none()
    }

    /// The shards it came from: none, one (split) or two (merge), whether or not they are still listed.
    pub fn parents(&self) -> impl Iterator<Item = &ShardId> {
        let adjacent =
            self.adjacent_parent.as_ref().filter(|adjacent| self.parent.as_ref() != Some(adjacent));
        self.parent.iter().chain(adjacent)
    }
}

/// The open shards by hash key, and every listed shard by name.
///
/// A map is a snapshot: the service may reshard at any time after it was listed. It is complete, however: the
/// open shards cover each hash key exactly once, so a lookup always has an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardMap {
    /// The open shards, ascending by range, then the closed ones in the order they were listed.
    shards: Vec<Shard>,
    /// The last hash key of each open shard.
    open_ends: Vec<HashKey>,
    lookup: Lookup,
    by_id: BTreeMap<ShardId, usize>,
}

impl ShardMap {
    /// Builds the map from the shards of one listing, in any order, closed ones included if they were listed.
    ///
    /// # Errors
    ///
    /// [`ShardMapError`] when the open shards do not cover each hash key exactly once, or a shard is listed twice.
    /// A listing made while the stream reshards can show that: list again.
    pub fn new(shards: impl IntoIterator<Item = Shard>) -> Result<Self, ShardMapError> {
        let (mut open, closed): (Vec<_>, Vec<_>) = shards.into_iter().partition(Shard::is_open);
        open.sort_by(|a, b| (a.hash_key_range, &a.id).cmp(&(b.hash_key_range, &b.id)));
        let mut by_id = BTreeMap::new();
        for (index, shard) in open.iter().chain(&closed).enumerate() {
            if by_id.insert(shard.id.clone(), index).is_some() {
                return Err(ShardMapError::Duplicate { shard: shard.id.clone() });
            }
        }
        check_tiling(&open)?;
        let open_ends: Vec<HashKey> = open.iter().map(|shard| shard.hash_key_range.end()).collect();
        let lookup = Lookup::new(&open_ends);
        let mut shards = open;
        shards.extend(closed);
        Ok(Self { shards, open_ends, lookup, by_id })
    }

    /// Which of the [`open`](Self::open) shards takes `key`, as an index into them.
    pub fn open_index_of(&self, key: HashKey) -> usize {
        self.lookup.find(&self.open_ends, key)
    }

    /// The open shards, ascending by range; never empty.
    pub fn open(&self) -> &[Shard] {
        self.shards.split_at(self.open_ends.len()).0
    }

    /// The open shard that takes `key`.
    pub fn shard_of(&self, key: HashKey) -> &Shard {
        #[expect(
            clippy::indexing_slicing,
            reason = "`new` checked that the open ranges end at the greatest key"
        )]
        let shard = &self.open()[self.open_index_of(key)];
        shard
    }

    /// The shard of that name, open or closed, if it was listed.
    pub fn get(&self, id: &ShardId) -> Option<&Shard> {
        self.by_id.get(id).and_then(|index| self.shards.get(*index))
    }

    /// Every listed shard: the open ones by range, then the closed ones.
    pub fn iter(&self) -> impl Iterator<Item = &Shard> {
        self.shards.iter()
    }

    /// How many shards are open; at least one.
    pub fn open_count(&self) -> usize {
        self.open_ends.len()
    }

    /// How many shards were listed, open and closed; at least one.
    #[expect(clippy::len_without_is_empty, reason = "a map without an open shard cannot be built")]
    pub fn len(&self) -> usize {
        self.shards.len()
    }
}

/// Where to begin to look: equal slices of all hash keys, several for each shard, so that most slices lie in one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Lookup {
    /// By how much a hash key is shifted to get its slice.
    shift: u32,
    /// The first shard of each slice, and once more the last one.
    first: Vec<u32>,
}

impl Lookup {
    /// 65,536 slices at most, 256 KiB.
    const MOST_BITS: u32 = 16;

    fn new(ends: &[HashKey]) -> Self {
        let bits = (ends.len().ilog2() + 3).min(Self::MOST_BITS);
        let shift = u128::BITS - bits;
        let first_at = |key: HashKey| ends.partition_point(|end| *end < key);
        let slices = (0..1_u128 << bits).map(|slice| first_at(HashKey::new(slice << shift)));
        let first = slices.chain([ends.len() - 1]);
        Self { shift, first: first.map(|index| u32::try_from(index).unwrap_or(u32::MAX)).collect() }
    }

    fn find(&self, ends: &[HashKey], key: HashKey) -> usize {
        let slice = usize::try_from(key.get() >> self.shift).unwrap_or(usize::MAX);
        let at = |slice: usize| self.first.get(slice).map_or(0, |first| *first as usize);
        let (first, last) = (at(slice), at(slice + 1));
        // The last shard needs no look: the key is in one of them.
        let candidates = ends.get(first..last).unwrap_or_default();
        first + candidates.partition_point(|end| *end < key)
    }
}

/// That shards sorted by range leave no key out and take none twice.
fn check_tiling(open: &[Shard]) -> Result<(), ShardMapError> {
    let (Some(first), Some(last)) = (open.first(), open.last()) else { return Err(ShardMapError::Empty) };
    if first.hash_key_range.start() != HashKey::MIN {
        return Err(ShardMapError::Hole { after: None, before: Some(first.id.clone()) });
    }
    for (lower, upper) in open.iter().zip(open.iter().skip(1)) {
        if upper.hash_key_range.start() <= lower.hash_key_range.end() {
            return Err(ShardMapError::Overlap { first: lower.id.clone(), second: upper.id.clone() });
        }
        if !lower.hash_key_range.precedes(upper.hash_key_range) {
            return Err(ShardMapError::Hole {
                after: Some(lower.id.clone()),
                before: Some(upper.id.clone()),
            });
        }
    }
    if last.hash_key_range.end() != HashKey::MAX {
        return Err(ShardMapError::Hole { after: Some(last.id.clone()), before: None });
    }
    Ok(())
}

/// Why a listing is not a shard map. All of them pass when the stream has finished resharding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShardMapError {
    /// No open shard was listed.
    #[error("no open shard was listed: wait until the stream is active, then list its shards again")]
    Empty,
    /// Some hash keys belong to no open shard.
    #[error(
        "hash keys after {} and before {} belong to no open shard: list the stream's shards again",
        after.as_ref().map_or("the least key", ShardId::as_str),
        before.as_ref().map_or("the greatest key", ShardId::as_str)
    )]
    Hole {
        /// The shard below the hole; none when the hole is at the bottom.
        after: Option<ShardId>,
        /// The shard above the hole; none when the hole is at the top.
        before: Option<ShardId>,
    },
    /// Some hash keys belong to two open shards.
    #[error("open shards {first} and {second} share hash keys: list the stream's shards again")]
    Overlap {
        /// The one that starts lower.
        first: ShardId,
        /// The one that starts inside the first.
        second: ShardId,
    },
    /// One shard was listed twice.
    #[error("shard {shard} was listed twice: list the stream's shards again")]
    Duplicate {
        /// The shard.
        shard: ShardId,
    },
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;

    fn shard(index: u64, hash_key_range: HashKeyRange) -> Shard {
        Shard {
            id: ShardId::from_index(index),
            parent: None,
            adjacent_parent: None,
            hash_key_range,
            starting_sequence_number: SequenceNumber::ZERO,
            ending_sequence_number: None,
        }
    }

    fn closed(index: u64, hash_key_range: HashKeyRange) -> Shard {
        Shard { ending_sequence_number: Some(SequenceNumber::ZERO), ..shard(index, hash_key_range) }
    }

    fn even(count: u32) -> Vec<Shard> {
        let ranges = HashKeyRange::even(NonZeroU32::new(count).unwrap());
        (0..).zip(ranges).map(|(index, range)| shard(index, range)).collect()
    }

    fn id(index: u64) -> ShardId {
        ShardId::from_index(index)
    }

    #[test]
    fn both_ends_of_a_range_go_to_its_shard() {
        let map = ShardMap::new(even(4)).unwrap();
        for shard in map.open() {
            assert_eq!(map.shard_of(shard.hash_key_range.start()).id, shard.id);
            assert_eq!(map.shard_of(shard.hash_key_range.end()).id, shard.id);
        }
        assert_eq!(map.shard_of(HashKey::MAX).id, id(3));
    }

    #[test]
    fn open_shards_come_out_by_range_whatever_the_order_in() {
        let mut shards = even(8);
        shards.reverse();
        let map = ShardMap::new(shards).unwrap();
        assert_eq!(map.open(), even(8));
    }

    #[test]
    fn closed_shards_are_found_by_name_but_take_no_key() {
        let mut shards = even(2);
        shards.push(closed(7, HashKeyRange::FULL));
        let map = ShardMap::new(shards).unwrap();
        assert_eq!((map.open_count(), map.len(), map.iter().count()), (2, 3, 3));
        assert_eq!(map.get(&id(7)).unwrap().hash_key_range, HashKeyRange::FULL);
        assert_eq!(map.get(&id(8)), None);
        assert_ne!(map.shard_of(HashKey::MIN).id, id(7));
    }

    #[test]
    fn without_an_open_shard_there_is_no_map() {
        assert_eq!(ShardMap::new([]), Err(ShardMapError::Empty));
        assert_eq!(ShardMap::new([closed(0, HashKeyRange::FULL)]), Err(ShardMapError::Empty));
    }

    #[test]
    fn a_hole_names_its_neighbours() {
        let without = |missing: usize| {
            let mut shards = even(4);
            shards.remove(missing);
            ShardMap::new(shards).unwrap_err()
        };
        assert_eq!(without(0), ShardMapError::Hole { after: None, before: Some(id(1)) });
        assert_eq!(without(2), ShardMapError::Hole { after: Some(id(1)), before: Some(id(3)) });
        assert_eq!(without(3), ShardMapError::Hole { after: Some(id(2)), before: None });
        assert_eq!(
            without(0).to_string(),
            "hash keys after the least key and before shardId-000000000001 belong to no open shard: \
             list the stream's shards again"
        );
    }

    #[test]
    fn an_overlap_names_both_shards() {
        let mut shards = even(2);
        shards.push(shard(9, shards[1].hash_key_range));
        assert_eq!(ShardMap::new(shards), Err(ShardMapError::Overlap { first: id(1), second: id(9) }));
        let parent_beside_children = even(2).into_iter().chain([shard(9, HashKeyRange::FULL)]);
        assert!(matches!(ShardMap::new(parent_beside_children), Err(ShardMapError::Overlap { .. })));
    }

    #[test]
    fn a_shard_listed_twice_is_refused() {
        let shards = even(2).into_iter().chain(even(1));
        assert_eq!(ShardMap::new(shards), Err(ShardMapError::Duplicate { shard: id(0) }));
    }

    #[test]
    fn parents_are_none_one_or_two() {
        let root = shard(0, HashKeyRange::FULL);
        assert_eq!(root.parents().count(), 0);
        let child = Shard { parent: Some(id(1)), ..root.clone() };
        assert_eq!(child.parents().collect::<Vec<_>>(), [&id(1)]);
        let merged = Shard { adjacent_parent: Some(id(2)), ..child.clone() };
        assert_eq!(merged.parents().collect::<Vec<_>>(), [&id(1), &id(2)]);
        let odd = Shard { adjacent_parent: Some(id(1)), ..child };
        assert_eq!(odd.parents().count(), 1);
    }

    proptest! {
        #[test]
        fn lookup_finds_what_a_linear_search_finds(
            mut points in proptest::collection::vec(1..=u128::MAX, 0..60),
            keys in proptest::collection::vec(any::<u128>(), 1..50),
        ) {
            points.sort_unstable();
            points.dedup();
            let mut rest = HashKeyRange::FULL;
            let mut ranges = Vec::new();
            for point in &points {
                let (lower, upper) = rest.split_at(HashKey::new(*point)).unwrap();
                ranges.push(lower);
                rest = upper;
            }
            ranges.push(rest);
            let map = ShardMap::new((0..).zip(ranges).map(|(index, range)| shard(index, range))).unwrap();
            let ends = points.iter().map(|point| point - 1);
            for key in keys.into_iter().chain(ends).chain(points.iter().copied()) {
                let key = HashKey::new(key);
                let linear = map.open().iter().position(|shard| shard.hash_key_range.contains(key));
                prop_assert_eq!(Some(map.open_index_of(key)), linear);
            }
        }
    }
}
