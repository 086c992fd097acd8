//! CBOR requests into [`Value`] trees: RFC 8949 as the service has it, where tag 1 counts milliseconds.
//!
//! ```text
//! head: major type (3 bits), argument (5 bits, or 1, 2, 4, 8 bytes more), 31: open-ended, until a break (ff)
//! 0, 1 integers | 2 blob | 3 text | 4 list | 5 map | 6 tag, then a value | 7 false, true, null, decimals
//! ```

use std::borrow::Cow;

use bytes::Bytes;

use super::{MOST_DEPTH, MOST_VALUES, Value};
use crate::validation::{Kind, Member};

/// The tag of a time.
const TIME: u64 = 1;

const BREAK: u8 = 0xFF;

/// Decodes a request body. `None`: not CBOR, not a map, nested or open-ended beyond bounds, of too many values,
/// or followed by more. Blobs and texts are not copied.
pub(crate) fn read(body: &Bytes) -> Option<Value<'_>> {
    let mut reader = Reader { body, rest: body, left: MOST_VALUES };
    let value = reader.value(MOST_DEPTH)?;
    (reader.rest.is_empty() && matches!(value, Value::Map(_))).then_some(value)
}

/// Takes bare integers for times where a time is expected: clients send either.
pub(crate) fn settle_times(value: &mut Value<'_>, members: &[Member]) {
    for member in members {
        let Some(value) = value.get_mut(member.name) else { continue };
        match (member.kind, &mut *value) {
            (Kind::Timestamp, Value::Integer(millis)) => *value = Value::Millis(*millis),
            (Kind::Structure(members), value) => settle_times(value, members),
            _ => {}
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Argument {
    Number(u64),
    OpenEnded,
}

struct Reader<'a> {
    body: &'a Bytes,
    rest: &'a [u8],
    left: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Option<Value<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (major, info, argument) = self.head()?;
        match (major, argument) {
            (0, Argument::Number(number)) => Some(Value::Integer(clamp(number))),
            (1, Argument::Number(number)) => Some(Value::Integer(-1 - clamp(number))),
            (2, argument) => self.blob(argument).map(Value::Blob),
            (3, argument) => self.text(argument).map(Value::Text),
            (4, argument) => self.list(argument, depth.checked_sub(1)?),
            (5, argument) => self.map(argument, depth.checked_sub(1)?),
            (6, Argument::Number(tag)) => {
                let value = self.value(depth.checked_sub(1)?)?;
                Some(if tag == TIME { time(value) } else { value })
            }
            (7, Argument::Number(number)) => simple(info, number),
            _ => None,
        }
    }

    fn list(&mut self, argument: Argument, depth: usize) -> Option<Value<'a>> {
        // Grows with what is there, never by what the head claims.
        let mut items = Vec::new();
        let mut left = argument;
        while self.goes_on(&mut left)? {
            items.push(self.value(depth)?);
        }
        Some(Value::List(items))
    }

    fn map(&mut self, argument: Argument, depth: usize) -> Option<Value<'a>> {
        let mut members = Vec::new();
        let mut left = argument;
        while self.goes_on(&mut left)? {
            let (3, _, argument) = self.head()? else { return None };
            let key = self.text(argument)?;
            members.push((key, self.value(depth)?));
        }
        Some(Value::Map(members))
    }

    /// Whether a list or map goes on; counts down, or takes the break.
    fn goes_on(&mut self, left: &mut Argument) -> Option<bool> {
        match left {
            Argument::Number(0) => Some(false),
            Argument::Number(count) => {
                *count -= 1;
                Some(true)
            }
            Argument::OpenEnded => self.has_more(),
        }
    }

    /// Whether something other than a break follows; takes the break.
    fn has_more(&mut self) -> Option<bool> {
        let (first, rest) = self.rest.split_first()?;
        if *first != BREAK {
            return Some(true);
        }
        self.rest = rest;
        Some(false)
    }

    fn blob(&mut self, argument: Argument) -> Option<Bytes> {
        match argument {
            Argument::Number(length) => Some(self.body.slice_ref(self.take(length)?)),
            Argument::OpenEnded => self.chunks(2).map(Bytes::from),
        }
    }

    fn text(&mut self, argument: Argument) -> Option<Cow<'a, str>> {
        match argument {
            Argument::Number(length) => std::str::from_utf8(self.take(length)?).ok().map(Cow::Borrowed),
            Argument::OpenEnded => String::from_utf8(self.chunks(3)?).ok().map(Cow::Owned),
        }
    }

    /// The chunks of an open-ended blob or text, joined.
    fn chunks(&mut self, wanted: u8) -> Option<Vec<u8>> {
        let mut whole = Vec::new();
        while self.has_more()? {
            let (major, _, Argument::Number(length)) = self.head()? else { return None };
            if major != wanted {
                return None;
            }
            whole.extend_from_slice(self.take(length)?);
        }
        Some(whole)
    }

    fn head(&mut self) -> Option<(u8, u8, Argument)> {
        let [first] = self.take_array()?;
        let (major, info) = (first >> 5, first & 31);
        let argument = match info {
            0..24 => Argument::Number(u64::from(info)),
            24 => Argument::Number(u64::from(u8::from_be_bytes(self.take_array()?))),
            25 => Argument::Number(u64::from(u16::from_be_bytes(self.take_array()?))),
            26 => Argument::Number(u64::from(u32::from_be_bytes(self.take_array()?))),
            27 => Argument::Number(u64::from_be_bytes(self.take_array()?)),
            31 => Argument::OpenEnded,
            _ => return None,
        };
        Some((major, info, argument))
    }

    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(usize::try_from(length).ok()?)?;
        self.rest = rest;
        Some(taken)
    }

    fn take_array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*taken)
    }
}

fn clamp(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn time(value: Value<'_>) -> Value<'_> {
    match value {
        Value::Integer(millis) => Value::Millis(millis),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "out of range saturates, which is what is wanted"
        )]
        Value::Decimal(millis) => Value::Millis(millis.round() as i64),
        value => value,
    }
}

fn simple<'a>(info: u8, number: u64) -> Option<Value<'a>> {
    match (info, number) {
        (20, _) => Some(Value::Boolean(false)),
        (21, _) => Some(Value::Boolean(true)),
        // Null, and undefined.
        (22 | 23, _) => Some(Value::Null),
        (25, bits) => u16::try_from(bits).ok().map(|bits| Value::Decimal(half(bits))),
        (26, bits) => u32::try_from(bits).ok().map(|bits| Value::Decimal(f64::from(f32::from_bits(bits)))),
        (27, bits) => Some(Value::Decimal(f64::from_bits(bits))),
        _ => None,
    }
}

/// A decimal of 16 bits: sign, 5 bits of exponent, 10 of fraction.
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 0x3FF));
    let value = match exponent {
        0 => fraction * 2_f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction / 1024.0) * 2_f64.powi(exponent - 15),
    };
    if bits >> 15 == 1 { -value } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Encoding;
    use crate::wire::writer::Writer;
    use proptest::prelude::*;

    /// `{"a": <hex>}`.
    fn member(hex: &str) -> Option<Value<'static>> {
        let bytes = |hex: &str| -> Vec<u8> {
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
        };
        let body = Bytes::from([vec![0xA1, 0x61, b'a'], bytes(hex)].concat());
        let Value::Map(mut members) = read(&body)? else { panic!("only maps are read") };
        Some(match members.remove(0).1 {
            Value::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
            Value::Blob(bytes) => Value::Blob(bytes),
            Value::Integer(number) => Value::Integer(number),
            Value::Decimal(number) => Value::Decimal(number),
            Value::Millis(millis) => Value::Millis(millis),
            Value::Boolean(boolean) => Value::Boolean(boolean),
            Value::Null => Value::Null,
            Value::List(items) => Value::Integer(i64::try_from(items.len()).unwrap()),
            Value::Map(members) => Value::Integer(i64::try_from(members.len()).unwrap()),
        })
    }

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        let cases = [
            ("00", Value::Integer(0)),
            ("1818", Value::Integer(24)),
            ("1a000f4240", Value::Integer(1_000_000)),
            ("1bffffffffffffffff", Value::Integer(i64::MAX)),
            ("3bffffffffffffffff", Value::Integer(i64::MIN)),
            ("20", Value::Integer(-1)),
            ("3903e7", Value::Integer(-1000)),
            ("f93c00", Value::Decimal(1.0)),
            ("f9c400", Value::Decimal(-4.0)),
            ("f97bff", Value::Decimal(65504.0)),
            ("f90001", Value::Decimal(5.960_464_477_539_063e-8)),
            ("fa47c35000", Value::Decimal(100_000.0)),
            ("fb3ff199999999999a", Value::Decimal(1.1)),
            ("f97c00", Value::Decimal(f64::INFINITY)),
            ("f4", Value::Boolean(false)),
            ("f5", Value::Boolean(true)),
            ("f6", Value::Null),
            ("f7", Value::Null),
            ("60", Value::Text("".into())),
            ("6449455446", Value::Text("IETF".into())),
            ("62c3bc", Value::Text("\u{fc}".into())),
            ("7f657374726561646d696e67ff", Value::Text("streaming".into())),
            ("40", Value::Blob(Bytes::new())),
            ("4401020304", Value::Blob(Bytes::from_static(&[1, 2, 3, 4]))),
            ("5f42010243030405ff", Value::Blob(Bytes::from_static(&[1, 2, 3, 4, 5]))),
            ("83010203", Value::Integer(3)),
            ("9f018202039f0405ffff", Value::Integer(3)),
            ("bf6346756ef563416d7421ff", Value::Integer(2)),
            ("d818456449455446", Value::Blob(Bytes::from_static(b"dIETF"))),
        ];
        for (hex, expected) in cases {
            assert_eq!(member(hex), Some(expected), "{hex}");
        }
    }

    #[test]
    fn times_are_milliseconds_tagged_or_not() {
        assert_eq!(member("c11b0000018bcfe5687b"), Some(Value::Millis(1_700_000_000_123)));
        assert_eq!(member("c1fb4278bcfe5687b000"), Some(Value::Millis(1_700_000_000_123)));
        let members = [Member::new("a", Kind::Timestamp), Member::new("b", Kind::Integer)];
        let mut value = Value::Map(vec![
            ("a".into(), Value::Integer(1_700_000_000_123)),
            ("b".into(), Value::Integer(5)),
        ]);
        settle_times(&mut value, &members);
        assert_eq!(value.timestamp("a"), Some(1_700_000_000_123));
        assert_eq!(value.integer("b"), Some(5));
        let mut nested = Value::Map(vec![("Filter".into(), value)]);
        settle_times(&mut nested, &[Member::new("Filter", Kind::Structure(&[]))]);
    }

    #[test]
    fn what_is_not_one_well_formed_map_is_refused() {
        let bodies: [&[u8]; 16] = [
            b"",
            b"\x80",
            b"\x01",
            b"\xA1",
            b"\xA1\x61",
            b"\xA1\x61a",
            b"\xA0\x00",
            b"\xBF",
            b"\xBF\x61a\xFF",
            b"\xA1\x01\x02",
            b"\xA1\x61a\x1C",
            b"\xA1\x61a\xFF",
            b"\xA1\x61a\x5F\x61b\xFF",
            b"\xA1\x61a\x5F\x5F\xFF\xFF",
            b"\xA1\x61a\x61\xFF",
            b"{\"StreamName\":\"a\"}",
        ];
        for body in bodies {
            assert_eq!(read(&Bytes::from_static(body)), None, "{body:?}");
        }
    }

    #[test]
    fn lengths_that_lie_allocate_nothing() {
        for hex in ["9bffffffffffffffff", "bbffffffffffffffff", "5bffffffffffffffff", "7b7fffffffffffffff"] {
            assert_eq!(member(hex), None, "{hex}");
        }
    }

    #[test]
    fn depth_and_count_are_bounded() {
        for opening in ["81", "9f", "a16161", "c1", "d9d9f7"] {
            assert_eq!(member(&opening.repeat(100_000)), None, "{opening}");
        }
        let nested = |levels: usize| member(&format!("{}00", "81".repeat(levels)));
        assert!(nested(MOST_DEPTH - 1).is_some());
        assert!(nested(MOST_DEPTH).is_none());
        let list = |count: usize| member(&format!("9f{}ff", "80".repeat(count)));
        assert!(list(1_000).is_some());
        assert!(list(MOST_VALUES).is_none());
    }

    #[test]
    fn blobs_and_texts_are_not_copied() {
        let body = Bytes::from_static(b"\xA2\x61a\x43xyz\x61b\x62hi");
        let value = read(&body).unwrap();
        assert_eq!(value.blob("a").unwrap().as_ptr(), body[4..].as_ptr());
        assert!(matches!(value.get("b"), Some(Value::Text(Cow::Borrowed("hi")))));
    }

    proptest! {
        #[test]
        fn never_panics_on_any_bytes(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _value = read(&Bytes::from(body));
        }

        #[test]
        fn what_the_writer_writes_is_read(
            text in ".*", blob in proptest::collection::vec(any::<u8>(), 0..70_000), number: u64,
            boolean: bool, millis in 0..1_u64 << 62
        ) {
            let mut out = Writer::new(Encoding::Cbor);
            out.begin_map();
            out.text_member("text", &text);
            out.plain_member("plain", number);
            out.integer_member("number", number);
            out.boolean_member("boolean", boolean);
            out.key("time");
            out.timestamp(millis);
            out.key("list");
            out.begin_list();
            out.blob(&blob);
            out.blob(b"");
            out.end_list();
            out.end_map();
            let body = Bytes::from(out.into_body());
            let value = read(&body).unwrap();
            prop_assert_eq!(value.text("text"), Some(text.as_str()));
            let digits = number.to_string();
            prop_assert_eq!(value.text("plain"), Some(digits.as_str()));
            prop_assert_eq!(value.integer("number"), Some(clamp(number)));
            prop_assert_eq!(value.get("boolean"), Some(&Value::Boolean(boolean)));
            prop_assert_eq!(value.timestamp("time"), Some(millis));
            prop_assert_eq!(value.list("list"), &[Value::Blob(blob.into()), Value::Blob(Bytes::new())][..]);
        }
    }
}
