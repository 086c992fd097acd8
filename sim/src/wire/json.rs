//! JSON requests into [`Value`] trees.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{MOST_VALUES, Value};

/// Decodes a request body. `None`: not JSON, not an object, nested more than 127 levels, of too many values, or
/// followed by more.
pub(crate) fn read(body: &[u8]) -> Option<Value<'_>> {
    let left = Cell::new(MOST_VALUES);
    // Its own bound of depth is 127.
    // Checked as text once, not string by string.
    let mut deserializer = serde_json::Deserializer::from_str(std::str::from_utf8(body).ok()?);
    let value = ValueSeed { left: &left }.deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    matches!(value, Value::Map(_)).then_some(value)
}

/// Reads one value, and counts it.
#[derive(Clone, Copy)]
struct ValueSeed<'a> {
    left: &'a Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value<'de>, D::Error> {
        let left = self.left.get().checked_sub(1).ok_or_else(|| D::Error::custom("too many values"))?;
        self.left.set(left);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value<'de>, E> {
        Ok(Value::Boolean(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value<'de>, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value<'de>, E> {
        Ok(Value::Integer(i64::try_from(value).unwrap_or(i64::MAX)))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value<'de>, E> {
        Ok(Value::Decimal(value))
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value<'de>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value<'de>, A::Error> {
        // Most maps are records: a payload and a key.
        let mut members = Vec::with_capacity(2);
        while let Some(Key(key)) = access.next_key()? {
            members.push((key, access.next_value_seed(self)?));
        }
        Ok(Value::Map(members))
    }
}

/// A member name, borrowed if it held no escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(KeyVisitor)
    }
}

struct KeyVisitor;

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = Key<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member name")
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Borrowed(value)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Owned(value.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_without_escapes_is_borrowed() {
        let value = read(br#"{"StreamName":"orders","Limit":5,"When":1700000000.123,"None":null}"#).unwrap();
        assert!(matches!(value.get("StreamName"), Some(Value::Text(Cow::Borrowed("orders")))));
        assert_eq!(value.integer("Limit"), Some(5));
        assert_eq!(value.timestamp("When"), Some(1_700_000_000_123));
        assert_eq!(value.get("None"), None);
        assert_eq!(read(br#"{"a":"\u0062"}"#).unwrap().text("a"), Some("b"));
    }

    #[test]
    fn what_is_not_one_object_is_refused() {
        for body in ["", "[]", "1", "{", r#"{"a":1}x"#, r#"{"a":"#, "\u{feff}{}", r#"{"a":tru}"#] {
            assert_eq!(read(body.as_bytes()), None, "{body:?}");
        }
        let deep = format!("{}{}", r#"{"a":"#.repeat(200_000), "}".repeat(200_000));
        assert_eq!(read(deep.as_bytes()), None);
        assert_eq!(read(b"{\"a\":\"\xff\"}"), None, "invalid UTF-8");
    }

    #[test]
    fn a_request_of_too_many_values_is_refused() {
        let list = |count: usize| format!(r#"{{"a":[{}1]}}"#, "1,".repeat(count));
        assert!(read(list(1_000).as_bytes()).is_some());
        assert_eq!(read(list(MOST_VALUES).as_bytes()), None);
    }

    #[test]
    fn oversized_integers_are_clamped() {
        assert_eq!(read(br#"{"a":18446744073709551615}"#).unwrap().integer("a"), Some(i64::MAX));
        assert_eq!(read(br#"{"a":1e300}"#).unwrap().integer("a"), Some(i64::MAX));
    }

    proptest! {
        #[test]
        fn never_panics_on_any_bytes(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _value = read(&body);
        }
    }
}
