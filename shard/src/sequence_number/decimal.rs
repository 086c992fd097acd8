//! Decimal digits of sequence numbers: written once for each record that is stored or read, so nothing is allocated
//! and nothing divides.

use std::fmt;

use super::{CHUNK, CHUNK_DIGITS, SequenceNumber, low_half};

/// Digits of the greatest number, up to a multiple of a chunk's.
const MOST_DIGITS: usize = 5 * CHUNK_DIGITS;

/// What [`div_rem`] multiplies with: the reciprocal of a chunk, without the bit above these that all such have.
const RECIPROCAL: u64 = low_half(u128::MAX / CHUNK as u128);

/// A sequence number as text, on the stack.
#[derive(Clone, Copy)]
pub struct Decimal {
    digits: [u8; MOST_DIGITS],
    first: usize,
}

impl Decimal {
    pub(super) fn of(number: SequenceNumber) -> Self {
        let mut digits = [b'0'; MOST_DIGITS];
        let mut rest = number.to_digits();
        for place in digits.rchunks_exact_mut(CHUNK_DIGITS) {
            let chunk = div_rem_chunk(&mut rest);
            place.copy_from_slice(&nineteen_digits(chunk));
            if rest == [0; 4] {
                break;
            }
        }
        let first = digits.iter().position(|digit| *digit != b'0').unwrap_or(MOST_DIGITS - 1);
        Self { digits, first }
    }

    /// The digits, without a leading zero.
    pub fn as_str(&self) -> &str {
        self.digits.get(self.first..).and_then(|digits| std::str::from_utf8(digits).ok()).unwrap_or_default()
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Decimal({})", self.as_str())
    }
}

/// Divides four digits of 64 bits by a chunk in place and returns the remainder.
fn div_rem_chunk(digits: &mut [u64; 4]) -> u64 {
    let mut remainder = 0;
    for digit in digits {
        if remainder == 0 && *digit == 0 {
            continue;
        }
        (*digit, remainder) = div_rem(remainder, *digit);
    }
    remainder
}

/// Two digits of 64 bits by a chunk, by multiplication with its reciprocal (Möller and Granlund, "Improved division by
/// invariant integers", algorithm 4). The high digit is below a chunk, and a chunk has its top bit set.
fn div_rem(high: u64, low: u64) -> (u64, u64) {
    let dividend = (u128::from(high) << 64) | u128::from(low);
    let estimate = (u128::from(RECIPROCAL) * u128::from(high)).wrapping_add(dividend);
    let mut quotient = low_half(estimate >> 64).wrapping_add(1);
    let mut remainder = low.wrapping_sub(quotient.wrapping_mul(CHUNK));
    if remainder > low_half(estimate) {
        quotient = quotient.wrapping_sub(1);
        remainder = remainder.wrapping_add(CHUNK);
    }
    if remainder >= CHUNK {
        quotient = quotient.wrapping_add(1);
        remainder -= CHUNK;
    }
    (quotient, remainder)
}

fn nineteen_digits(value: u64) -> [u8; CHUNK_DIGITS] {
    const EIGHT: u64 = 100_000_000;
    let (high, low) = (value / (EIGHT * EIGHT), value % (EIGHT * EIGHT));
    let mut digits = [0; CHUNK_DIGITS];
    let (first, rest) = digits.split_at_mut(3);
    let (middle, last) = rest.split_at_mut(8);
    let [.., a, b, c] = eight_digits(high);
    first.copy_from_slice(&[a, b, c]);
    middle.copy_from_slice(&eight_digits(low / EIGHT));
    last.copy_from_slice(&eight_digits(low % EIGHT));
    digits
}

/// All digits at once, in lanes of one word: two of four digits, then four of two, then eight of one.
fn eight_digits(value: u64) -> [u8; 8] {
    let fours = (value / 10_000) | ((value % 10_000) << 32);
    let hundreds = ((fours * 10_486) >> 20) & 0x0000_007F_0000_007F;
    let twos = hundreds | ((fours - hundreds * 100) << 16);
    let tens = ((twos * 103) >> 10) & 0x000F_000F_000F_000F;
    let ones = tens | ((twos - tens * 10) << 8);
    (ones | 0x3030_3030_3030_3030).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn division_by_a_chunk_is_division(high in 0..CHUNK, low: u64) {
            let dividend = (u128::from(high) << 64) | u128::from(low);
            let chunk = u128::from(CHUNK);
            prop_assert_eq!(div_rem(high, low), (low_half(dividend / chunk), low_half(dividend % chunk)));
        }

        #[test]
        fn eight_digits_are_those_of_the_standard_library(value in 0_u64..100_000_000) {
            prop_assert_eq!(eight_digits(value).to_vec(), format!("{value:08}").into_bytes());
        }
    }

    #[test]
    fn the_edges_of_the_division_hold() {
        // The last two are among the few whose first quotient is one too small.
        let edges =
            [(0, 0), (0, u64::MAX), (CHUNK - 1, u64::MAX), (CHUNK - 1, 0), (1, 0), (0, CHUNK)].into_iter();
        for (high, low) in edges.chain([(CHUNK - 1_997, u64::MAX), (CHUNK - 1_984, u64::MAX - 1)]) {
            let dividend = (u128::from(high) << 64) | u128::from(low);
            let chunk = u128::from(CHUNK);
            assert_eq!(div_rem(high, low), (low_half(dividend / chunk), low_half(dividend % chunk)));
        }
    }

    #[test]
    fn zeros_inside_a_number_are_divided_too() {
        let powers = [
            ([0, 0, 1, 0], "18446744073709551616"),
            ([0, 1, 0, 0], "340282366920938463463374607431768211456"),
            ([1, 0, 0, 0], "6277101735386680763835789423207666416102355444464034512896"),
        ];
        for (digits, text) in powers {
            assert_eq!(SequenceNumber::from_digits(digits).decimal().as_str(), text);
        }
    }
}
