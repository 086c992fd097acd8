//! Hash keys: the 128-bit numbers that the service routes by.

use std::{fmt, str::FromStr};

use md5::{Digest, Md5};

use crate::md5_lanes::md5_short;

/// Inclusive ranges of hash keys.
mod range;

pub use range::{HashKeyRange, HashKeyRangeError};

/// A 128-bit hash key: the MD5 of a partition key, or one that the caller chose.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashKey(u128);

impl HashKey {
    /// The least hash key, 0.
    pub const MIN: Self = Self(0);

    /// The greatest hash key, 2^128 - 1.
    pub const MAX: Self = Self(u128::MAX);

    /// A hash key from its value.
    pub const fn new(value: u128) -> Self {
        Self(value)
    }

    /// Its value.
    pub const fn get(self) -> u128 {
        self.0
    }

    /// The low 64 bits: for an MD5 they are as good a table hash as any, and cost nothing.
    ///
    /// This is what [`AggregatedRecordWriter::push`](crate::AggregatedRecordWriter::push) wants as `key_hash`.
    #[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
    pub const fn low_64(self) -> u64 {
        self.0 as u64
    }

    /// What the service computes from a partition key: the MD5 of its UTF-8 bytes as a big-endian number.
    pub fn of_partition_key(partition_key: &str) -> Self {
        let bytes = partition_key.as_bytes();
        Self(u128::from_be_bytes(md5_short(bytes).unwrap_or_else(|| md5(bytes))))
    }

    /// Reads an explicit hash key the way the service does: decimal digits, `0` or no leading zero, below 2^128.
    ///
    /// # Errors
    ///
    /// [`ParseHashKeyError`] says which of these rules the text breaks.
    pub fn parse_explicit(text: &str) -> Result<Self, ParseHashKeyError> {
        if text.is_empty() {
            return Err(ParseHashKeyError::Empty);
        }
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ParseHashKeyError::NotDecimal);
        }
        if text.len() > 1 && text.starts_with('0') {
            return Err(ParseHashKeyError::LeadingZero);
        }
        // Only digits are left, so the one thing that can still go wrong is the size.
        text.parse().map(Self).map_err(|_| ParseHashKeyError::TooLarge)
    }
}

/// The canonical decimal form, which is what the service and the aggregated record want.
impl fmt::Display for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Hexadecimal and of fixed width, so that neighbours can be compared by eye.
impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HashKey({:#034x})", self.0)
    }
}

impl FromStr for HashKey {
    type Err = ParseHashKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse_explicit(text)
    }
}

impl From<u128> for HashKey {
    fn from(value: u128) -> Self {
        Self(value)
    }
}

impl From<HashKey> for u128 {
    fn from(key: HashKey) -> Self {
        key.0
    }
}

/// Why a text is not an explicit hash key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseHashKeyError {
    /// The text is empty.
    #[error("explicit hash key is empty: give a decimal number from 0 to 2^128-1, or none")]
    Empty,
    /// There is something other than the digits 0 to 9 in it.
    #[error("explicit hash key has a character that is not a digit: give a decimal number from 0 to 2^128-1")]
    NotDecimal,
    /// It starts with a zero and is longer than that zero.
    #[error("explicit hash key has a leading zero: the service takes the canonical decimal form only")]
    LeadingZero,
    /// It is 2^128 or more.
    #[error(
        "explicit hash key is too large: the greatest is 340282366920938463463374607431768211455 (2^128-1)"
    )]
    TooLarge,
}

/// The MD5 digest of `bytes`; the one door to MD5 in this workspace.
pub fn md5(bytes: &[u8]) -> [u8; 16] {
    Md5::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn partition_keys_hash_as_the_kpls_own_test_says() {
        assert_eq!(HashKey::of_partition_key("abcd").get(), 0xE2FC_714C_4727_EE93_95F3_24CD_2E7F_331F);
        assert_eq!(u128::from(HashKey::new(7)), 7);
    }

    #[test]
    fn partition_keys_hash_to_the_outer_keys_of_the_reference_vectors() {
        assert_eq!(HashKey::of_partition_key("pk1").to_string(), "329398341438914906102347661116985167824");
        assert_eq!(HashKey::of_partition_key("a").to_string(), "16955237001963240173058271559858726497");
    }

    #[test]
    fn md5_of_nothing_is_the_published_digest() {
        assert_eq!(u128::from_be_bytes(md5(b"")), 0xd41d_8cd9_8f00_b204_e980_0998_ecf8_427e);
    }

    #[test]
    fn explicit_hash_keys_follow_the_services_pattern() {
        for (text, expected) in [
            ("0", Ok(0)),
            ("7", Ok(7)),
            ("340282366920938463463374607431768211455", Ok(u128::MAX)),
            ("", Err(ParseHashKeyError::Empty)),
            ("+7", Err(ParseHashKeyError::NotDecimal)),
            ("-1", Err(ParseHashKeyError::NotDecimal)),
            (" 7", Err(ParseHashKeyError::NotDecimal)),
            ("٧", Err(ParseHashKeyError::NotDecimal)),
            ("007", Err(ParseHashKeyError::LeadingZero)),
            ("00", Err(ParseHashKeyError::LeadingZero)),
            ("340282366920938463463374607431768211456", Err(ParseHashKeyError::TooLarge)),
            ("9999999999999999999999999999999999999999", Err(ParseHashKeyError::TooLarge)),
        ] {
            assert_eq!(HashKey::parse_explicit(text), expected.map(HashKey::new), "{text:?}");
        }
    }

    #[test]
    fn debug_shows_hexadecimal_of_fixed_width() {
        assert_eq!(format!("{:?}", HashKey::new(255)), "HashKey(0x000000000000000000000000000000ff)");
    }

    proptest! {
        #[test]
        fn display_and_parse_are_inverse(value: u128) {
            let key = HashKey::new(value);
            prop_assert_eq!(key.to_string().parse::<HashKey>(), Ok(key));
        }

        #[test]
        fn parsing_never_panics(text in ".*") {
            if let Ok(key) = HashKey::parse_explicit(&text) {
                prop_assert_eq!(key.to_string(), text);
            }
        }
    }
}
