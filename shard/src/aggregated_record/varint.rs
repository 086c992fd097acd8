//! The part of protobuf's encoding that the aggregated record needs.

use std::ops::Range;

use super::MalformedReason;

/// Bytes of `value` as a base-128 integer: 1 to 10.
pub(super) const fn varint_len(value: u64) -> usize {
    // Seven bits a byte; `| 1` makes zero take one byte. At most 64 bits, so the result is at most 10.
    ((value | 1).ilog2() / 7 + 1) as usize
}

/// [`varint_len`] of a length in memory.
pub(super) const fn len_len(len: usize) -> usize {
    varint_len(len as u64)
}

/// Appends `value` as a base-128 integer.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7F) as u8);
}

/// Appends a tag, the length of `bytes`, and `bytes`.
pub(super) fn put_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// One field of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) number: u32,
    pub(super) value: Value,
}

/// Its value, as far as the wire tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Varint(u64),
    /// Where its bytes lie, as an offset into the bytes that [`Fields`] was made for.
    Bytes(Range<usize>),
    /// Four or eight bytes: no field of ours, so only skipped.
    Fixed,
}

/// The fields of a message one by one; ends after the first error.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a> {
    bytes: &'a [u8],
    position: usize,
    end: usize,
}

impl<'a> Fields<'a> {
    /// The fields of the message at `range` of `bytes`.
    pub(super) fn new(bytes: &'a [u8], range: Range<usize>) -> Self {
        Self { bytes, position: range.start, end: range.end.min(bytes.len()) }
    }

    fn byte(&mut self) -> Result<u8, MalformedReason> {
        let byte = self.bytes.get(self.position).filter(|_| self.position < self.end);
        self.position += 1;
        byte.copied().ok_or(MalformedReason::Truncated)
    }

    fn varint(&mut self) -> Result<u64, MalformedReason> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            // The tenth byte has room for one bit.
            if shift == 63 && bits > 1 {
                return Err(MalformedReason::VarintOverflow);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(MalformedReason::VarintOverflow)
    }

    fn skip(&mut self, len: u64) -> Result<Range<usize>, MalformedReason> {
        let start = self.position;
        let len = usize::try_from(len).map_err(|_| MalformedReason::Truncated)?;
        let end = start.checked_add(len).filter(|end| *end <= self.end).ok_or(MalformedReason::Truncated)?;
        self.position = end;
        Ok(start..end)
    }

    fn field(&mut self) -> Result<Field, MalformedReason> {
        let tag = u32::try_from(self.varint()?).map_err(|_| MalformedReason::FieldNumber)?;
        let number = tag >> 3;
        if number == 0 {
            return Err(MalformedReason::FieldNumber);
        }
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.skip(8).map(|_| Value::Fixed)?,
            2 => {
                let len = self.varint()?;
                Value::Bytes(self.skip(len)?)
            }
            5 => self.skip(4).map(|_| Value::Fixed)?,
            _ => return Err(MalformedReason::WireType),
        };
        Ok(Field { number, value })
    }
}

impl Iterator for Fields<'_> {
    type Item = Result<Field, MalformedReason>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.position >= self.end {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.position = self.end;
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(bytes: &[u8]) -> Result<Vec<Field>, MalformedReason> {
        Fields::new(bytes, 0..bytes.len()).collect()
    }

    #[test]
    fn a_field_that_goes_on_behind_its_message_is_cut_off() {
        // A member inside a message: what follows belongs to the one around it.
        for (bytes, end) in [(&[0x08, 0x01][..], 1), (&[0x08, 0x80, 0x01], 2), (&[0x80, 0x01, 0x01], 1)] {
            let found: Result<Vec<Field>, _> = Fields::new(bytes, 0..end).collect();
            assert!(matches!(found, Err(MalformedReason::Truncated)), "{bytes:?}: {found:?}");
        }
    }

    #[test]
    fn lengths_step_at_every_seven_bits() {
        for (value, len) in [
            (0, 1),
            (127, 1),
            (128, 2),
            (16_383, 2),
            (16_384, 3),
            ((1 << 63) - 1, 9),
            (1 << 63, 10),
            (u64::MAX, 10),
        ] {
            assert_eq!(varint_len(value), len, "{value}");
        }
    }

    #[test]
    fn ten_bytes_are_the_most_and_hold_64_bits() {
        let mut greatest = vec![0x08];
        put_varint(&mut greatest, u64::MAX);
        assert_eq!(fields(&greatest), Ok(vec![Field { number: 1, value: Value::Varint(u64::MAX) }]));
        *greatest.last_mut().unwrap() = 2;
        assert_eq!(fields(&greatest), Err(MalformedReason::VarintOverflow));
        let eleven = [&[0x08][..], &[0xFF; 10], &[0]].concat();
        assert_eq!(fields(&eleven), Err(MalformedReason::VarintOverflow));
    }

    #[test]
    fn fields_that_cannot_be_are_told_apart() {
        for (bytes, reason) in [
            (&[0x00, 0x00][..], MalformedReason::FieldNumber),
            (&[0x02, 0x00], MalformedReason::FieldNumber),
            (&[0x88, 0x80, 0x80, 0x80, 0x10, 0x00], MalformedReason::FieldNumber),
            (&[0x0B], MalformedReason::WireType),
            (&[0x0C], MalformedReason::WireType),
            (&[0x0E], MalformedReason::WireType),
            (&[0x0F], MalformedReason::WireType),
            (&[0x08], MalformedReason::Truncated),
            (&[0x08, 0x80], MalformedReason::Truncated),
            (&[0x0A, 0x01], MalformedReason::Truncated),
            (&[0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], MalformedReason::Truncated),
            (&[0x09, 1, 2, 3, 4, 5, 6, 7], MalformedReason::Truncated),
            (&[0x0D, 1, 2, 3], MalformedReason::Truncated),
        ] {
            assert_eq!(fields(bytes), Err(reason), "{bytes:02x?}");
        }
    }

    #[test]
    fn a_field_does_not_reach_past_its_message() {
        let bytes = [0x0A, 0x02, 0x61, 0x62];
        assert_eq!(Fields::new(&bytes, 0..3).next(), Some(Err(MalformedReason::Truncated)));
        assert_eq!(Fields::new(&bytes, 0..1).next(), Some(Err(MalformedReason::Truncated)));
    }

    #[test]
    fn the_fields_end_after_an_error() {
        let bytes = [0x0B, 0x08, 0x01];
        assert_eq!(Fields::new(&bytes, 0..3).count(), 1);
    }

    proptest! {
        #[test]
        fn integers_round_trip_in_the_length_foretold(value: u64) {
            let mut bytes = vec![0x08];
            put_varint(&mut bytes, value);
            prop_assert_eq!(bytes.len() - 1, varint_len(value));
            prop_assert_eq!(fields(&bytes), Ok(vec![Field { number: 1, value: Value::Varint(value) }]));
        }

        #[test]
        fn no_bytes_panic_and_every_range_lies_inside(bytes: Vec<u8>, start: usize, end: usize) {
            for field in Fields::new(&bytes, 0..bytes.len()).flatten() {
                if let Value::Bytes(range) = field.value {
                    prop_assert!(bytes.get(range).is_some());
                }
            }
            prop_assert!(Fields::new(&bytes, start..end).count() <= bytes.len());
        }
    }
}
