//! Requests and answers as bytes: one tree for what comes in, one writer for what goes out. Operations know
//! neither JSON nor CBOR.

pub(crate) mod json;

pub(crate) mod cbor;

pub(crate) mod writer;

use std::borrow::Cow;

use bytes::Bytes;

/// How deep lists and maps may lie within each other. Requests of the service need four levels.
const MOST_DEPTH: usize = 127;

/// How many values a request may hold: a tree takes up to forty times the bytes that it was read from. The
/// largest requests of the service hold about 2,000.
const MOST_VALUES: usize = 200_000;

/// How the bodies of a request and its answer are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// AWS JSON 1.1: what nearly all clients speak.
    #[default]
    Json,
    /// AWS CBOR 1.1: what the Java SDKs speak.
    Cbor,
}

impl Encoding {
    /// The content type of requests and answers.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/x-amz-json-1.1",
            Self::Cbor => "application/x-amz-cbor-1.1",
        }
    }
}

/// Decodes a request body; `None` if it is not one well-formed object.
pub(crate) fn read(encoding: Encoding, body: &Bytes) -> Option<Value<'_>> {
    match encoding {
        Encoding::Json => json::read(body),
        Encoding::Cbor => cbor::read(body),
    }
}

/// A decoded request, or a part of it. Text is borrowed from the body wherever it held no escapes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Boolean(bool),
    /// Beyond 64 bits: clamped, which is what the service's own range checks do.
    Integer(i64),
    Decimal(f64),
    /// A time as CBOR has it: milliseconds since the epoch.
    Millis(i64),
    Text(Cow<'a, str>),
    Blob(Bytes),
    List(Vec<Value<'a>>),
    Map(Vec<(Cow<'a, str>, Value<'a>)>),
}

impl Value<'_> {
    /// The member of a map; `null` counts as absent.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        let Self::Map(members) = self else { return None };
        let (_, value) = members.iter().find(|(key, _)| key == name)?;
        (!matches!(value, Self::Null)).then_some(value)
    }

    /// As [`get`](Self::get), to normalise the member in place.
    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut Self> {
        let Self::Map(members) = self else { return None };
        let (_, value) = members.iter_mut().find(|(key, _)| key == name)?;
        (!matches!(value, Self::Null)).then_some(value)
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.get(name) {
            Some(Self::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn integer(&self, name: &str) -> Option<i64> {
        match self.get(name)? {
            Self::Integer(value) => Some(*value),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "out of range saturates, which is what is wanted"
            )]
            Self::Decimal(value) => Some(*value as i64),
            _ => None,
        }
    }

    /// Absent is false.
    pub(crate) fn boolean(&self, name: &str) -> bool {
        matches!(self.get(name), Some(Self::Boolean(true)))
    }

    /// A count that the constraints have found to lie in its range.
    pub(crate) fn count(&self, name: &str) -> Option<usize> {
        self.integer(name).and_then(|value| usize::try_from(value).ok())
    }

    /// A timestamp in whole milliseconds since the epoch.
    pub(crate) fn timestamp(&self, name: &str) -> Option<u64> {
        match self.get(name)? {
            Self::Millis(millis) => Some(u64::try_from(*millis).unwrap_or(0)),
            Self::Integer(seconds) => u64::try_from(seconds.saturating_mul(1000)).ok(),
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "rounded first; times before the epoch become the epoch"
            )]
            Self::Decimal(seconds) => Some((seconds * 1000.0).round() as u64),
            _ => None,
        }
    }

    pub(crate) fn blob(&self, name: &str) -> Option<&Bytes> {
        match self.get(name) {
            Some(Self::Blob(bytes)) => Some(bytes),
            _ => None,
        }
    }

    pub(crate) fn list(&self, name: &str) -> &[Self] {
        match self.get(name) {
            Some(Self::List(items)) => items,
            _ => &[],
        }
    }
}
