//! Ranges of hash keys. Both ends are inclusive, as the service reports them.

use std::{fmt, num::NonZeroU32};

use super::HashKey;

/// A range of hash keys, both ends inclusive; never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashKeyRange {
    start: HashKey,
    end: HashKey,
}

impl HashKeyRange {
    /// Every hash key: 0 to 2^128 - 1.
    pub const FULL: Self = Self { start: HashKey::MIN, end: HashKey::MAX };

    /// The range from `start` to `end`, both inside.
    ///
    /// # Errors
    ///
    /// [`HashKeyRangeError::Reversed`] when `end` is below `start`.
    pub fn new(start: HashKey, end: HashKey) -> Result<Self, HashKeyRangeError> {
        if start > end {
            return Err(HashKeyRangeError::Reversed { start, end });
        }
        Ok(Self { start, end })
    }

    /// The least hash key inside.
    pub const fn start(self) -> HashKey {
        self.start
    }

    /// The greatest hash key inside.
    pub const fn end(self) -> HashKey {
        self.end
    }

    /// Whether `key` is inside.
    pub fn contains(self, key: HashKey) -> bool {
        self.start <= key && key <= self.end
    }

    /// Whether `other` begins right after the end of this range.
    pub fn precedes(self, other: Self) -> bool {
        self.end.get().checked_add(1) == Some(other.start.get())
    }

    /// Splits into the part below `new_starting` and the part from it on.
    ///
    /// This is arithmetic only. The service is stricter: it wants `new_starting` above `start + 1` and below `end`.
    ///
    /// # Errors
    ///
    /// [`HashKeyRangeError::SplitOutside`] when one of the parts would be empty.
    pub fn split_at(self, new_starting: HashKey) -> Result<(Self, Self), HashKeyRangeError> {
        let outside = HashKeyRangeError::SplitOutside { range: self, new_starting };
        if new_starting <= self.start || new_starting > self.end {
            return Err(outside);
        }
        let lower_end = new_starting.get().checked_sub(1).ok_or(outside)?;
        let lower = Self { start: self.start, end: HashKey::new(lower_end) };
        Ok((lower, Self { start: new_starting, end: self.end }))
    }

    /// This range and the one right after it as one.
    ///
    /// # Errors
    ///
    /// [`HashKeyRangeError::NotAdjacent`] unless this range [precedes](Self::precedes) `other`.
    pub fn join(self, other: Self) -> Result<Self, HashKeyRangeError> {
        if !self.precedes(other) {
            return Err(HashKeyRangeError::NotAdjacent { first: self, second: other });
        }
        Ok(Self { start: self.start, end: other.end })
    }

    /// The ranges that the service gives a new stream of `count` shards, ascending.
    ///
    /// Each is floor(2^128 / `count`) keys wide; the last takes what is left over.
    pub fn even(count: NonZeroU32) -> Vec<Self> {
        let count = u128::from(count.get());
        // floor(2^128 / count) from 2^128 - 1, which is the greatest number that fits.
        let carry = u128::from(u128::MAX % count == count - 1);
        let Some(step) = (u128::MAX / count).checked_add(carry) else { return vec![Self::FULL] };
        (0..count)
            .map(|index| {
                let start = index * step;
                let end = if index == count - 1 { u128::MAX } else { start + (step - 1) };
                Self { start: HashKey::new(start), end: HashKey::new(end) }
            })
            .collect()
    }

    /// Where an even split would start its upper half; equal to `start` for a range of one key.
    pub fn midpoint(self) -> HashKey {
        let distance = self.end.get() - self.start.get();
        HashKey::new(self.start.get() + (distance / 2 + distance % 2))
    }
}

impl fmt::Display for HashKeyRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..={}", self.start, self.end)
    }
}

/// Why there is no such range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HashKeyRangeError {
    /// The end lies below the start.
    #[error("hash key range ends at {end}, below its start {start}: swap the two")]
    Reversed {
        /// The start that was given.
        start: HashKey,
        /// The end that was given.
        end: HashKey,
    },
    /// A split there would leave one part empty.
    #[error(
        "hash key {new_starting} does not split {range}: choose one above its start and not above its end"
    )]
    SplitOutside {
        /// The range to split.
        range: HashKeyRange,
        /// Where the upper part was to start.
        new_starting: HashKey,
    },
    /// The second range does not begin right after the first.
    #[error("hash key range {first} is not followed by {second}: only neighbours join, the lower one first")]
    NotAdjacent {
        /// The range that was to be the lower part.
        first: HashKeyRange,
        /// The range that was to be the upper part.
        second: HashKeyRange,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(start: u128, end: u128) -> HashKeyRange {
        HashKeyRange::new(HashKey::new(start), HashKey::new(end)).unwrap()
    }

    fn even(count: u32) -> Vec<HashKeyRange> {
        HashKeyRange::even(NonZeroU32::new(count).unwrap())
    }

    fn assert_tiles(ranges: &[HashKeyRange]) {
        assert_eq!(ranges.first().unwrap().start(), HashKey::MIN);
        assert_eq!(ranges.last().unwrap().end(), HashKey::MAX);
        for pair in ranges.windows(2) {
            assert!(pair[0].precedes(pair[1]), "{} then {}", pair[0], pair[1]);
        }
    }

    #[test]
    fn even_ranges_are_the_boundaries_that_the_service_reports() {
        assert_eq!(even(1), [HashKeyRange::FULL]);
        assert_eq!(even(2), [range(0, (1 << 127) - 1), range(1 << 127, u128::MAX)]);
        // Three shards: 2^128 / 3, rounded down, as DescribeStream shows them.
        let three = even(3);
        assert_eq!(three[0].end().to_string(), "113427455640312821154458202477256070484");
        assert_eq!(three[1].start().to_string(), "113427455640312821154458202477256070485");
        assert_eq!(three[1].end().to_string(), "226854911280625642308916404954512140969");
        assert_eq!(three[2].start().to_string(), "226854911280625642308916404954512140970");
    }

    #[test]
    fn both_ends_are_inside() {
        let some = range(10, 20);
        assert!(some.contains(HashKey::new(10)) && some.contains(HashKey::new(20)));
        assert!(!some.contains(HashKey::new(9)) && !some.contains(HashKey::new(21)));
        assert!(HashKeyRange::FULL.contains(HashKey::MAX));
    }

    #[test]
    fn a_reversed_range_is_refused_and_a_single_key_is_not() {
        assert!(HashKeyRange::new(HashKey::new(2), HashKey::new(1)).is_err());
        assert!(HashKeyRange::new(HashKey::new(2), HashKey::new(2)).is_ok());
    }

    #[test]
    fn nothing_follows_the_greatest_key() {
        assert!(!HashKeyRange::FULL.precedes(HashKeyRange::FULL));
        assert!(!range(5, u128::MAX).precedes(range(0, 4)));
    }

    #[test]
    fn a_split_never_leaves_an_empty_part() {
        let some = range(10, 20);
        assert!(some.split_at(HashKey::new(10)).is_err());
        assert!(some.split_at(HashKey::new(21)).is_err());
        assert_eq!(some.split_at(HashKey::new(11)), Ok((range(10, 10), range(11, 20))));
        assert_eq!(some.split_at(HashKey::new(20)), Ok((range(10, 19), range(20, 20))));
        assert!(range(7, 7).split_at(HashKey::new(7)).is_err());
    }

    #[test]
    fn only_neighbours_join_and_in_order() {
        assert_eq!(range(0, 4).join(range(5, 9)), Ok(range(0, 9)));
        assert!(range(5, 9).join(range(0, 4)).is_err());
        assert!(range(0, 4).join(range(6, 9)).is_err());
        assert!(range(0, 5).join(range(5, 9)).is_err());
    }

    #[test]
    fn the_midpoint_of_everything_is_half_of_it() {
        assert_eq!(HashKeyRange::FULL.midpoint(), HashKey::new(1 << 127));
        assert_eq!(range(0, 9).midpoint(), HashKey::new(5));
        assert_eq!(range(0, 8).midpoint(), HashKey::new(4));
        assert_eq!(range(3, 3).midpoint(), HashKey::new(3));
    }

    proptest! {
        #[test]
        fn even_ranges_tile_and_have_the_service_width(count in 1_u32..5_000) {
            let ranges = even(count);
            prop_assert_eq!(ranges.len(), count as usize);
            assert_tiles(&ranges);
            let width = |range: &HashKeyRange| range.end().get() - range.start().get();
            for pair in ranges.windows(2) {
                prop_assert!(width(&pair[0]) <= width(&pair[1]));
            }
            prop_assert!(width(&ranges[count as usize - 1]) - width(&ranges[0]) < u128::from(count));
        }

        #[test]
        fn splits_and_merges_keep_partitioning_all_keys(
            steps in proptest::collection::vec((any::<bool>(), any::<proptest::sample::Index>(), any::<u128>()), 0..200),
            key: u128,
        ) {
            let mut ranges = vec![HashKeyRange::FULL];
            for (split, at, point) in steps {
                let index = at.index(ranges.len());
                if split {
                    if let Ok((lower, upper)) = ranges[index].split_at(HashKey::new(point)) {
                        ranges.splice(index..=index, [lower, upper]);
                    } else if let Ok((lower, upper)) = ranges[index].split_at(ranges[index].midpoint()) {
                        ranges.splice(index..=index, [lower, upper]);
                    }
                } else if index + 1 < ranges.len() {
                    let joined = ranges[index].join(ranges[index + 1]).unwrap();
                    ranges.splice(index..=index + 1, [joined]);
                }
                assert_tiles(&ranges);
            }
            let holders = ranges.iter().filter(|range| range.contains(HashKey::new(key))).count();
            prop_assert_eq!(holders, 1);
        }

        #[test]
        fn a_split_and_a_join_undo_each_other(start: u128, end: u128, point: u128) {
            let (start, end) = (start.min(end), start.max(end));
            let whole = range(start, end);
            if let Ok((lower, upper)) = whole.split_at(HashKey::new(point)) {
                prop_assert!(lower.precedes(upper));
                prop_assert_eq!(lower.join(upper), Ok(whole));
            }
        }

        #[test]
        fn the_midpoint_splits_every_range_of_two_keys_or_more(start: u128, end: u128) {
            let (start, end) = (start.min(end), start.max(end));
            prop_assume!(start < end);
            let (lower, upper) = range(start, end).split_at(range(start, end).midpoint()).unwrap();
            let width = |range: HashKeyRange| range.end().get() - range.start().get();
            prop_assert!(width(lower).abs_diff(width(upper)) <= 1);
        }
    }
}
