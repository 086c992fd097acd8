//! What a request must look like, as tables, and the two checks that read them: types first, then constraints,
//! all of whose failures go into one message in the service's words.

use base64_simd::AsOut;
use bytes::{Bytes, BytesMut};

use crate::error::ServiceError;
use crate::wire::Value;

// The second of them.
mod constraints;

pub(crate) use constraints::{check_constraints, longer_than};

/// One member of a request or of a structure in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) required: bool,
    pub(crate) constraints: &'static [Constraint],
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Text,
    Integer,
    Boolean,
    Timestamp,
    Blob,
    List(&'static Member),
    Structure(&'static [Member]),
    /// Text to text.
    Map,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Constraint {
    Least(i64),
    Most(i64),
    Shortest(usize),
    Longest(usize),
    Pattern(&'static str, fn(&str) -> bool),
    OneOf(&'static [&'static str]),
    /// Lengths (most, least) of every text of a list.
    ItemLength(usize, usize),
    /// Every text of a list.
    ItemOneOf(&'static [&'static str]),
    /// Lengths (most, least) of every key.
    KeyLength(usize, usize),
    /// Lengths (most, least) of every value.
    ValueLength(usize, usize),
}

impl Member {
    pub(crate) const fn new(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, required: false, constraints: &[] }
    }

    pub(crate) const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    pub(crate) const fn with(mut self, constraints: &'static [Constraint]) -> Self {
        self.constraints = constraints;
        self
    }
}

/// Checks the types of all known members, and decodes blobs in place. Unknown members are ignored.
///
/// All blobs of a request go into one buffer of exactly their size: the log keeps it, and one allocation costs a
/// fraction of five hundred.
pub(crate) fn check_types(value: &mut Value<'_>, members: &[Member]) -> Result<(), ServiceError> {
    let mut blobs = BytesMut::with_capacity(blob_bytes(value, members));
    check_member_types(value, members, &mut blobs)
}

/// The size of all blobs once they are decoded, or a little more if some cannot be.
fn blob_bytes(value: &Value<'_>, members: &[Member]) -> usize {
    let of_kind = |value: &Value<'_>, kind: Kind| match (kind, value) {
        (Kind::Blob, Value::Text(text)) => {
            base64_simd::STANDARD.decoded_length(text.as_bytes()).unwrap_or_default()
        }
        (Kind::Blob, Value::Blob(bytes)) => bytes.len(),
        (Kind::Structure(members), value) => blob_bytes(value, members),
        _ => 0,
    };
    let of_member = |member: &Member| match (member.kind, value.get(member.name)) {
        (Kind::List(item), Some(Value::List(items))) => {
            items.iter().map(|value| of_kind(value, item.kind)).sum()
        }
        (kind, Some(value)) => of_kind(value, kind),
        (_, None) => 0,
    };
    members.iter().map(of_member).sum()
}

fn check_member_types(
    value: &mut Value<'_>,
    members: &[Member],
    blobs: &mut BytesMut,
) -> Result<(), ServiceError> {
    for member in members {
        if let Some(value) = value.get_mut(member.name) {
            check_type(value, member.kind, blobs)?;
        }
    }
    Ok(())
}

fn check_type(value: &mut Value<'_>, kind: Kind, blobs: &mut BytesMut) -> Result<(), ServiceError> {
    if let Some(text) = type_error(value, kind) {
        return Err(ServiceError::serialization(text));
    }
    match (kind, &mut *value) {
        (Kind::Blob, Value::Text(text)) => *value = Value::Blob(decode_blob(text, blobs)?),
        (Kind::Blob, Value::Blob(bytes)) => {
            // Out of the request's body, which must not outlive the request.
            blobs.extend_from_slice(bytes);
            *value = Value::Blob(blobs.split().freeze());
        }
        (Kind::List(item), Value::List(items)) => {
            for value in items.iter_mut().filter(|item| !matches!(item, Value::Null)) {
                check_type(value, item.kind, blobs)?;
            }
        }
        (Kind::Structure(members), value @ Value::Map(_)) => check_member_types(value, members, blobs)?,
        (Kind::Map, Value::Map(entries)) => {
            for (_, value) in entries.iter_mut().filter(|(_, value)| !matches!(value, Value::Null)) {
                check_type(value, Kind::Text, blobs)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn type_error(value: &Value<'_>, kind: Kind) -> Option<String> {
    let given = match (value, kind) {
        (Value::Null, _)
        | (Value::Text(_), Kind::Text | Kind::Blob)
        | (Value::Blob(_), Kind::Blob)
        | (Value::Integer(_) | Value::Decimal(_), Kind::Integer | Kind::Timestamp)
        | (Value::Millis(_), Kind::Timestamp)
        | (Value::Boolean(_), Kind::Boolean)
        | (Value::List(_), Kind::List(_))
        | (Value::Map(_), Kind::Structure(_) | Kind::Map) => return None,
        (Value::List(_), _) => return Some("Start of list found where not expected".to_owned()),
        (Value::Map(_), _) => return Some("Start of structure or map found where not expected.".to_owned()),
        (Value::Text(_), _) => "class java.lang.String",
        (Value::Boolean(_), _) => "class java.lang.Boolean",
        (Value::Blob(_), _) => "class java.nio.HeapByteBuffer",
        (Value::Millis(_), _) => "class java.util.Date",
        (Value::Integer(_) | Value::Decimal(_), _) => {
            "class com.amazon.coral.value.json.numbers.TruncatingBigNumber"
        }
    };
    Some(match kind {
        Kind::List(_) => "Expected list or null".to_owned(),
        Kind::Map => "Expected map or null".to_owned(),
        Kind::Structure(_) => "Expected null".to_owned(),
        Kind::Timestamp => format!("{given} can not be converted to milliseconds since epoch"),
        Kind::Blob => format!("{given} can not be converted to a Blob"),
        Kind::Text => format!("{given} can not be converted to an String"),
        Kind::Integer => format!("{given} can not be converted to an Integer"),
        Kind::Boolean => match value {
            Value::Text(text) => format!("'{text}' can not be converted to an Boolean"),
            _ => format!("{given} can not be converted to an Boolean"),
        },
    })
}

fn decode_blob(text: &str, blobs: &mut BytesMut) -> Result<Bytes, ServiceError> {
    let encoded = text.as_bytes();
    let decoded = base64_simd::STANDARD.decoded_length(encoded).and_then(|length| {
        blobs.resize(length, 0);
        base64_simd::STANDARD.decode(encoded, blobs.as_mut().as_out()).map(|_| ())
    });
    decoded.map(|()| blobs.split().freeze()).map_err(|_| {
        let reason = if !text.len().is_multiple_of(4) {
            format!("Base64 encoded length is expected a multiple of 4 bytes but found: {}", text.len())
        } else if let Some(character) = first_invalid(text) {
            format!("Invalid Base64 character: '{character}'")
        } else {
            "Invalid last non-pad Base64 character dectected".to_owned()
        };
        ServiceError::serialization(format!("'{text}' can not be converted to a Blob: {reason}"))
    })
}

/// The first character that is none of Base64's; padding only counts as such at the end.
fn first_invalid(text: &str) -> Option<char> {
    let bare = text.trim_end_matches('=');
    bare.chars().find(|letter| !(letter.is_ascii_alphanumeric() || matches!(letter, '+' | '/')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;
    use crate::operation::find;
    use crate::wire::json;

    fn outcome(operation: &str, body: &str) -> Result<(), (ErrorCode, String)> {
        let members = find(operation).unwrap().members;
        let mut value = json::read(body.as_bytes()).unwrap();
        check_types(&mut value, members)
            .and_then(|()| check_constraints(&value, members))
            .map_err(|error| (error.code, error.text.unwrap_or_default()))
    }

    fn validation(operation: &str, body: &str) -> String {
        let (code, text) = outcome(operation, body).unwrap_err();
        assert_eq!(code, ErrorCode::Validation);
        text
    }

    #[test]
    fn single_failures_in_the_services_words() {
        let cases = [
            (
                "GetRecords",
                "{}",
                "1 validation error detected: Value null at 'shardIterator' failed to satisfy constraint: Member must not be null",
            ),
            (
                "ListStreams",
                r#"{"Limit":0}"#,
                "1 validation error detected: Value '0' at 'limit' failed to satisfy constraint: Member must have value greater than or equal to 1",
            ),
            (
                "DeleteStream",
                r#"{"StreamName":"a b"}"#,
                "1 validation error detected: Value 'a b' at 'streamName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+",
            ),
        ];
        for (operation, body, expected) in cases {
            assert_eq!(validation(operation, body), expected);
        }
    }

    #[test]
    fn all_failures_of_a_request_are_in_one_message() {
        let text = validation("DeleteStream", r#"{"StreamName":""}"#);
        assert!(text.starts_with("2 validation errors detected: "), "{text}");
        assert!(text.contains("regular expression pattern"), "{text}");
        assert!(text.contains("length greater than or equal to 1"), "{text}");
    }

    #[test]
    fn members_of_lists_count_from_one() {
        let text = validation(
            "PutRecords",
            r#"{"StreamName":"s","Records":[{"Data":"","PartitionKey":"k"},{"PartitionKey":"","ExplicitHashKey":"01"}]}"#,
        );
        assert!(text.contains("Value null at 'records.2.member.data'"), "{text}");
        assert!(text.contains("Value '' at 'records.2.member.partitionKey'"), "{text}");
        assert!(text.contains("Value '01' at 'records.2.member.explicitHashKey'"), "{text}");
    }

    #[test]
    fn long_lists_are_not_echoed_and_at_most_ten_failures_are_listed() {
        let records = vec![r#"{"Data":"","PartitionKey":"k"}"#; 501].join(",");
        let text = validation("PutRecords", &format!(r#"{{"StreamName":"s","Records":[{records}]}}"#));
        assert_eq!(
            text,
            "1 validation error detected: Value at 'records' failed to satisfy constraint: Member must have length less than or equal to 500"
        );
        let records = vec!["{}"; 50].join(",");
        let text = validation("PutRecords", &format!(r#"{{"StreamName":"s","Records":[{records}]}}"#));
        assert!(text.starts_with("10 validation errors detected: "), "{text}");
    }

    #[test]
    fn wrong_types_are_told_before_constraints() {
        let cases = [
            (
                r#"{"StreamName":1}"#,
                "class com.amazon.coral.value.json.numbers.TruncatingBigNumber can not be converted to an String",
            ),
            (r#"{"StreamName":true}"#, "class java.lang.Boolean can not be converted to an String"),
            (r#"{"StreamName":[]}"#, "Start of list found where not expected"),
            (r#"{"StreamName":{}}"#, "Start of structure or map found where not expected."),
            (r#"{"Records":"x"}"#, "Expected list or null"),
            (r#"{"Records":["x"]}"#, "Expected null"),
            (
                r#"{"Records":[{"Data":"abc"}]}"#,
                "'abc' can not be converted to a Blob: Base64 encoded length is expected a multiple of 4 bytes but found: 3",
            ),
            (
                r#"{"Records":[{"Data":"=+}}"}]}"#,
                "'=+}}' can not be converted to a Blob: Invalid Base64 character: '='",
            ),
        ];
        for (body, expected) in cases {
            assert_eq!(
                outcome("PutRecords", body).unwrap_err(),
                (ErrorCode::Serialization, expected.to_owned())
            );
        }
        let (_, text) = outcome("GetShardIterator", r#"{"Timestamp":"x"}"#).unwrap_err();
        assert_eq!(text, "class java.lang.String can not be converted to milliseconds since epoch");
    }

    #[test]
    fn enums_name_their_values_in_the_services_order() {
        let text =
            validation("GetShardIterator", r#"{"StreamName":"s","ShardId":"0","ShardIteratorType":"X"}"#);
        assert!(
            text.ends_with("Member must satisfy enum value set: [AFTER_SEQUENCE_NUMBER, LATEST, AT_TIMESTAMP, AT_SEQUENCE_NUMBER, TRIM_HORIZON]"),
            "{text}"
        );
    }

    #[test]
    fn unknown_members_and_nulls_are_ignored() {
        assert_eq!(outcome("ListStreams", r#"{"Limit":null,"Colour":{"a":[1]}}"#), Ok(()));
    }

    #[test]
    fn tag_maps_check_keys_and_values() {
        let long = "k".repeat(129);
        let text = validation("CreateStream", &format!(r#"{{"StreamName":"s","Tags":{{"{long}":"v"}}}}"#));
        assert!(
            text.contains(
                "Map keys must satisfy constraint: [Member must have length less than or equal to 128"
            ),
            "{text}"
        );
    }
}
