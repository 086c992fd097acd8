//! The service's layout of a sequence number, version 2.
//!
//! 47 hexadecimal digits, most significant first:
//!
//! | hex digits | bits | meaning |
//! | --- | --- | --- |
//! | 0 | 184..188 | constant 2 |
//! | 1-9 | 148..184 | creation time of the shard, seconds since 1970 |
//! | 10 | 144..148 | low nibble of the shard index |
//! | 11-26 | 80..144 | index of the record, top bit 0 |
//! | 27-28 | 72..80 | 0, of unknown meaning |
//! | 29-37 | 36..72 | arrival time, seconds since 1970 |
//! | 38-45 | 4..36 | shard index |
//! | 46 | 0..4 | version, 2 |
//!
//! Nothing in the service's contract promises this. It is used to issue numbers in the simulated engine and to
//! check which shard a number belongs to, never to order them.

use super::{SequenceNumber, low_half};

const VERSION: u128 = 2;
const LEADING: u128 = 2;
const SECONDS_BITS: u32 = 36;
/// Creation times from here on are refused by the service.
const CREATED_SECONDS_END: u64 = 16_025_175_000;

/// The fields of a version 2 sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceNumberLayout {
    /// When the shard was created, in seconds since 1970; 36 bits, below 16,025,175,000.
    pub shard_created_seconds: u64,
    /// Which record it is; 63 bits. 0 at the start of a shard, all ones at its end.
    pub index: u64,
    /// When the record arrived, in seconds since 1970; 36 bits.
    pub arrived_seconds: u64,
    /// The index of the shard, the number in its name; below 2^31 on the service.
    pub shard_index: u32,
}

impl SequenceNumberLayout {
    /// The index that the service puts into the ending sequence number of a closed shard.
    pub const LAST_INDEX: u64 = u64::MAX >> 1;

    pub(super) fn pack(self) -> SequenceNumber {
        let created = u128::from(self.shard_created_seconds) & ones(SECONDS_BITS);
        let index = u128::from(self.index & Self::LAST_INDEX);
        let arrived = u128::from(self.arrived_seconds) & ones(SECONDS_BITS);
        let shard_index = u128::from(self.shard_index);
        // Bits 80..144 lie across the two halves.
        let high = (LEADING << 56) | (created << 20) | ((shard_index & ones(4)) << 16) | (index >> 48);
        let low = (index << 80) | (arrived << 36) | (shard_index << 4) | VERSION;
        SequenceNumber { high, low }
    }

    pub(super) fn unpack(number: SequenceNumber) -> Option<Self> {
        let SequenceNumber { high, low } = number;
        let index = low_half(((high & ones(16)) << 48) | (low >> 80));
        let layout = Self {
            shard_created_seconds: low_half((high >> 20) & ones(SECONDS_BITS)),
            index,
            arrived_seconds: low_half((low >> 36) & ones(SECONDS_BITS)),
            shard_index: u32::try_from((low >> 4) & ones(32)).ok()?,
        };
        let valid = high >> 56 == LEADING
            && low & ones(4) == VERSION
            && index <= Self::LAST_INDEX
            && layout.shard_created_seconds < CREATED_SECONDS_END;
        valid.then_some(layout)
    }
}

const fn ones(bits: u32) -> u128 {
    (1 << bits) - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WORKED_EXAMPLE: &str = "49594189147623985939251953501666965394405037144469929986";

    fn example() -> SequenceNumberLayout {
        SequenceNumberLayout {
            shard_created_seconds: 0x5c99_93c8,
            index: 0xc3,
            arrived_seconds: 0x5c99_93df,
            shard_index: 0,
        }
    }

    fn any_layout() -> impl Strategy<Value = SequenceNumberLayout> {
        (0..CREATED_SECONDS_END, 0..=SequenceNumberLayout::LAST_INDEX, 0_u64..1 << 36, any::<u32>()).prop_map(
            |(shard_created_seconds, index, arrived_seconds, shard_index)| SequenceNumberLayout {
                shard_created_seconds,
                index,
                arrived_seconds,
                shard_index,
            },
        )
    }

    #[test]
    fn a_real_number_reads_as_published() {
        let layout = WORKED_EXAMPLE.parse::<SequenceNumber>().unwrap().layout().unwrap();
        assert_eq!(layout, example());
        // 2019-03-26 02:51:52Z and 02:52:15Z.
        assert_eq!((layout.shard_created_seconds, layout.arrived_seconds), (1_553_568_712, 1_553_568_735));
        assert_eq!((layout.index, layout.shard_index), (195, 0));
    }

    #[test]
    fn its_fields_write_the_same_number() {
        assert_eq!(SequenceNumber::from_layout(example()).to_string(), WORKED_EXAMPLE);
    }

    #[test]
    fn shards_created_together_differ_by_the_nibble_and_the_index_field() {
        let shard =
            |shard_index| SequenceNumber::from_layout(SequenceNumberLayout { shard_index, ..example() });
        let (first, second) = (shard(0), shard(1));
        assert_eq!(second.high - first.high, 0x1_0000);
        assert_eq!(second.low - first.low, 0x10);
    }

    #[test]
    fn numbers_that_the_service_refuses_have_no_layout() {
        let number = SequenceNumber::from_layout(example());
        for wrong in [
            SequenceNumber::ZERO,
            SequenceNumber::MAX,
            SequenceNumber { low: number.low ^ 3, ..number },
            SequenceNumber { high: number.high ^ (1 << 56), ..number },
            SequenceNumber { high: number.high | (1 << 15), ..number },
            SequenceNumber::from_layout(SequenceNumberLayout {
                shard_created_seconds: CREATED_SECONDS_END,
                ..example()
            }),
        ] {
            assert_eq!(wrong.layout(), None, "{wrong}");
        }
    }

    #[test]
    fn the_end_of_a_shard_is_above_all_its_records() {
        let last = SequenceNumberLayout { index: SequenceNumberLayout::LAST_INDEX, ..example() };
        assert!(SequenceNumber::from_layout(last) > SequenceNumber::from_layout(example()));
        assert_eq!(SequenceNumber::from_layout(last).layout(), Some(last));
    }

    proptest! {
        #[test]
        fn fields_and_number_are_inverse(layout in any_layout()) {
            let number = SequenceNumber::from_layout(layout);
            prop_assert_eq!(number.layout(), Some(layout));
            prop_assert_eq!(number.to_string().len(), 56);
        }

        #[test]
        fn within_a_shard_numbers_order_by_index(layout in any_layout(), other in 0..=SequenceNumberLayout::LAST_INDEX) {
            let number = |index| SequenceNumber::from_layout(SequenceNumberLayout { index, ..layout });
            prop_assert_eq!(number(layout.index).cmp(&number(other)), layout.index.cmp(&other));
        }

        #[test]
        fn no_number_makes_reading_the_fields_panic(high: u128, low: u128) {
            let number = SequenceNumber { high, low };
            if let Some(layout) = number.layout() {
                prop_assert_eq!(SequenceNumber::from_layout(layout).layout(), Some(layout));
            }
        }
    }
}
