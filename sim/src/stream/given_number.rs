//! Sequence numbers as callers give them: in today's layout or in one of the two older ones, which the service still
//! reads but issues no more.

use kinesis_shard::SequenceNumber;

/// The leading digit of version 0; left off of small numbers.
const LEADING: u128 = 1 << 124;
/// Creation times from here on are refused.
const CREATED_SECONDS_END: u64 = 16_025_175_000;

/// What a number says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GivenNumber {
    pub(crate) version: u8,
    pub(crate) created_seconds: u64,
    /// Signed on the wire; no shard has a negative index.
    pub(crate) shard_index: i32,
    /// 0 in the older versions: below every record of today's.
    pub(crate) index: u64,
    /// 0 where the version has none.
    pub(crate) arrived_seconds: u64,
}

impl GivenNumber {
    /// `None`: no sequence number of any version.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let number: SequenceNumber = text.parse().ok()?;
        Self::read_current(number).or_else(|| Self::read_first(number)).or_else(|| Self::read_zeroth(text))
    }

    fn read_current(number: SequenceNumber) -> Option<Self> {
        let layout = number.layout()?;
        Some(Self {
            version: 2,
            created_seconds: layout.shard_created_seconds,
            shard_index: layout.shard_index.cast_signed(),
            index: layout.index,
            arrived_seconds: layout.arrived_seconds,
        })
    }

    /// Version 1 differs in the last digit, and in what stands between the creation time and the shard index: 8
    /// bits, 36 bits of arrival time, a random part.
    fn read_first(number: SequenceNumber) -> Option<Self> {
        let layout = number.checked_next()?.layout()?;
        Some(Self {
            version: 1,
            created_seconds: layout.shard_created_seconds,
            shard_index: layout.shard_index.cast_signed(),
            index: 0,
            arrived_seconds: layout.index >> 20 & ((1 << 36) - 1),
        })
    }

    /// Version 0 has 32 hexadecimal digits: `1`, the creation time in nine, a random part, the shard index in four.
    fn read_zeroth(text: &str) -> Option<Self> {
        let number: u128 = text.parse().ok()?;
        let number = if number < LEADING { number + LEADING } else { number };
        let created_seconds = u64::try_from((number - LEADING) >> 88).ok()?;
        (number >> 125 == 0 && created_seconds < CREATED_SECONDS_END).then_some(Self {
            version: 0,
            created_seconds,
            shard_index: i32::try_from(number & 0xFFFF).ok()?,
            index: 0,
            arrived_seconds: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(u8, u64, i32, u64)> {
        GivenNumber::read(text).map(|number| {
            (number.version, number.created_seconds, number.shard_index, number.arrived_seconds)
        })
    }

    #[test]
    fn each_version_is_told_by_its_digits() {
        let cases = [
            // A real number.
            (
                "49594189147623985939251953501666965394405037144469929986",
                Some((2, 1_553_568_712, 0, 1_553_568_735)),
            ),
            // The same with a last digit of 1.
            (
                "49594189147623985939251953501666965394405037144469929985",
                Some((1, 1_553_568_712, 0, 0xc3 >> 20)),
            ),
            ("0", Some((0, 0, 0, 0))),
            ("5", Some((0, 0, 5, 0))),
            // 0x13bb2cc3d8 followed by zeros: a creation time that is too large.
            ("26227199374822427428162556223570313216", None),
            // 2^125 and 2^128: between the versions.
            ("42535295865117307932921825928971026432", None),
            ("340282366920938463463374607431768211456", None),
            ("", None),
            ("x", None),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text), expected, "{text:?}");
        }
    }

    #[test]
    fn shard_indexes_are_signed() {
        let number = SequenceNumber::from_layout(kinesis_shard::SequenceNumberLayout {
            shard_created_seconds: 0,
            index: 0,
            arrived_seconds: 0,
            shard_index: 1 << 31,
        });
        assert_eq!(read(&number.to_string()), Some((2, 0, i32::MIN, 0)));
    }
}
