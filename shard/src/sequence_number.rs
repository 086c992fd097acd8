//! Sequence numbers: positions in a shard. Always compared as numbers, never as text.

use std::{fmt, str::FromStr};

/// Where reading starts or resumes: a position or a sentinel.
mod checkpoint;
/// How they are written.
mod decimal;
/// What the service packs into its sequence numbers.
mod layout;

pub use checkpoint::{Checkpoint, ExtendedSequenceNumber, ParseCheckpointError};
pub use decimal::Decimal;
pub use layout::SequenceNumberLayout;

/// 10^19: the greatest power of ten that fits 64 bits.
const CHUNK: u64 = 10_000_000_000_000_000_000;
const CHUNK_DIGITS: usize = 19;

/// A sequence number of up to 256 bits (the service issues 186), ordered as a number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SequenceNumber {
    // The derived order compares fields in this order, which makes it the order of the numbers.
    high: u128,
    low: u128,
}

impl SequenceNumber {
    /// The least sequence number. The service issues none this low.
    pub const ZERO: Self = Self { high: 0, low: 0 };

    /// The greatest that this type holds, 2^256 - 1.
    pub const MAX: Self = Self { high: u128::MAX, low: u128::MAX };

    /// The number right above, or none after the greatest.
    pub fn checked_next(self) -> Option<Self> {
        let (low, carry) = self.low.overflowing_add(1);
        let high = if carry { self.high.checked_add(1)? } else { self.high };
        Some(Self { high, low })
    }

    /// What the service packed into the number; none unless it is a valid version 2 number.
    ///
    /// Two fields do not come back: the copy of the shard index's low nibble and eight bits of unknown meaning.
    /// The service does not check them either.
    pub fn layout(self) -> Option<SequenceNumberLayout> {
        SequenceNumberLayout::unpack(self)
    }

    /// The number that the service would issue for these fields.
    ///
    /// Bits above a field's width (36 for the times, 63 for the index) are cut off.
    pub fn from_layout(layout: SequenceNumberLayout) -> Self {
        layout.pack()
    }

    /// Times `factor` plus `addend`; none when that is too large.
    fn checked_mul_add(self, factor: u64, addend: u64) -> Option<Self> {
        let mut carry = u128::from(addend);
        let mut digits = self.to_digits();
        for digit in digits.iter_mut().rev() {
            let product = u128::from(*digit) * u128::from(factor) + carry;
            *digit = low_half(product);
            carry = product >> 64;
        }
        (carry == 0).then(|| Self::from_digits(digits))
    }

    /// The number as text, as the service writes it, without an allocation.
    pub fn decimal(self) -> Decimal {
        Decimal::of(self)
    }

    /// Four digits of 64 bits, most significant first.
    fn to_digits(self) -> [u64; 4] {
        [low_half(self.high >> 64), low_half(self.high), low_half(self.low >> 64), low_half(self.low)]
    }

    fn from_digits([a, b, c, d]: [u64; 4]) -> Self {
        let join = |high: u64, low: u64| (u128::from(high) << 64) | u128::from(low);
        Self { high: join(a, b), low: join(c, d) }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
const fn low_half(value: u128) -> u64 {
    value as u64
}

impl From<u64> for SequenceNumber {
    fn from(value: u64) -> Self {
        Self { high: 0, low: u128::from(value) }
    }
}

impl From<u128> for SequenceNumber {
    fn from(value: u128) -> Self {
        Self { high: 0, low: value }
    }
}

/// Decimal, as the service writes it.
impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad_integral(true, "", self.decimal().as_str())
    }
}

impl fmt::Debug for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SequenceNumber({self})")
    }
}

/// Reads decimal digits as the service takes them: `0`, or no leading zero.
impl FromStr for SequenceNumber {
    type Err = ParseSequenceNumberError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(ParseSequenceNumberError::Empty);
        }
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ParseSequenceNumberError::NotDecimal);
        }
        if text.len() > 1 && text.starts_with('0') {
            return Err(ParseSequenceNumberError::LeadingZero);
        }
        text.as_bytes().chunks(CHUNK_DIGITS).try_fold(Self::ZERO, |number, chunk| {
            let (value, scale) = chunk.iter().fold((0_u64, 1_u64), |(value, scale), digit| {
                (value * 10 + u64::from(digit - b'0'), scale * 10)
            });
            number.checked_mul_add(scale, value).ok_or(ParseSequenceNumberError::TooLarge)
        })
    }
}

/// Why a text is not a sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseSequenceNumberError {
    /// The text is empty.
    #[error("sequence number is empty: pass it on exactly as the service gave it")]
    Empty,
    /// There is something other than the digits 0 to 9 in it.
    #[error("sequence number has a character that is not a digit: pass it on exactly as the service gave it")]
    NotDecimal,
    /// It starts with a zero and is longer than that zero.
    #[error("sequence number has a leading zero: pass it on exactly as the service gave it")]
    LeadingZero,
    /// It is 2^256 or more.
    #[error(
        "sequence number is above 2^256-1, the service issues numbers below 2^187: check where it came from"
    )]
    TooLarge,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX_TEXT: &str = "115792089237316195423570985008687907853269984665640564039457584007913129639935";

    fn any_number() -> impl Strategy<Value = SequenceNumber> {
        // Numbers of every length, not only those that fill the type.
        (any::<u128>(), any::<u128>(), 0_u32..128, any::<bool>()).prop_map(|(high, low, shift, short)| {
            SequenceNumber {
                high: if short { 0 } else { high >> shift },
                low: if short { low >> shift } else { low },
            }
        })
    }

    #[test]
    fn texts_that_are_no_sequence_numbers_are_refused_with_the_reason() {
        let above_max = format!("{}6", &MAX_TEXT[..MAX_TEXT.len() - 1]);
        let longest = "9".repeat(129);
        for (text, expected) in [
            ("", ParseSequenceNumberError::Empty),
            ("-1", ParseSequenceNumberError::NotDecimal),
            ("+1", ParseSequenceNumberError::NotDecimal),
            ("1 ", ParseSequenceNumberError::NotDecimal),
            ("LATEST", ParseSequenceNumberError::NotDecimal),
            ("01", ParseSequenceNumberError::LeadingZero),
            (above_max.as_str(), ParseSequenceNumberError::TooLarge),
            (longest.as_str(), ParseSequenceNumberError::TooLarge),
        ] {
            assert_eq!(text.parse::<SequenceNumber>(), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn the_edges_of_the_type_are_read_and_written() {
        assert_eq!(MAX_TEXT.parse(), Ok(SequenceNumber::MAX));
        assert_eq!(SequenceNumber::MAX.to_string(), MAX_TEXT);
        assert_eq!("0".parse(), Ok(SequenceNumber::ZERO));
        assert_eq!(SequenceNumber::ZERO.to_string(), "0");
        assert_eq!("18446744073709551616".parse(), Ok(SequenceNumber { high: 0, low: 1 << 64 }));
        assert_eq!("340282366920938463463374607431768211456".parse(), Ok(SequenceNumber { high: 1, low: 0 }));
    }

    #[test]
    fn order_is_that_of_the_numbers_not_of_the_texts() {
        let number = |text: &str| text.parse::<SequenceNumber>().unwrap();
        assert!(number("9") < number("10"));
        assert!(number("18446744073709551615") < number("18446744073709551616"));
        assert!(
            number("340282366920938463463374607431768211455")
                < number("340282366920938463463374607431768211456")
        );
    }

    #[test]
    fn the_next_number_carries_and_ends_at_the_greatest() {
        assert_eq!(SequenceNumber::ZERO.checked_next(), Some(SequenceNumber::from(1_u64)));
        assert_eq!(SequenceNumber::from(u128::MAX).checked_next(), Some(SequenceNumber { high: 1, low: 0 }));
        assert_eq!(SequenceNumber::MAX.checked_next(), None);
    }

    #[test]
    fn display_honours_width() {
        assert_eq!(format!("{:>4}|", SequenceNumber::from(7_u64)), "   7|");
    }

    proptest! {
        #[test]
        fn text_and_number_are_inverse(number in any_number()) {
            let text = number.to_string();
            prop_assert!(text == "0" || !text.starts_with('0'));
            prop_assert_eq!(text.parse::<SequenceNumber>(), Ok(number));
        }

        #[test]
        fn small_numbers_print_as_the_standard_library_prints_them(value: u128) {
            prop_assert_eq!(SequenceNumber::from(value).to_string(), value.to_string());
        }

        #[test]
        fn order_is_by_length_of_text_then_text(a in any_number(), b in any_number()) {
            // For canonical decimals these are the same order, by an independent definition.
            let (x, y) = (a.to_string(), b.to_string());
            prop_assert_eq!(a.cmp(&b), (x.len(), x).cmp(&(y.len(), y)));
        }

        #[test]
        fn the_next_number_is_above_and_nothing_lies_between(number in any_number(), other in any_number()) {
            if let Some(next) = number.checked_next() {
                prop_assert!(number < next);
                prop_assert!(!(number < other && other < next));
            }
        }

        #[test]
        fn parsing_never_panics(text in "[0-9]{0,140}|.*") {
            if let Ok(number) = text.parse::<SequenceNumber>() {
                prop_assert_eq!(number.to_string(), text);
            }
        }
    }
}
