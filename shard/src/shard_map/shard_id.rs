//! Shard names.

use std::{fmt, sync::Arc};

/// The name of a shard, `shardId-` and twelve digits; cloning is cheap.
///
/// Names order as text, which for the service's own names is the order of their indexes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(Arc<str>);

impl ShardId {
    /// A shard id from its text, which is taken as it is.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The name that the service gives the shard of that index: `shardId-000000000012`.
    pub fn from_index(index: u64) -> Self {
        Self(format!("shardId-{index:012}").into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number in the name; none when the name is not one of the service's.
    pub fn index(&self) -> Option<u64> {
        let digits = self.0.strip_prefix("shardId-")?;
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        digits.parse().ok()
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShardId({})", self.0)
    }
}

impl From<&str> for ShardId {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for ShardId {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl AsRef<str> for ShardId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_padded_to_twelve_digits() {
        assert_eq!(ShardId::from_index(12).as_str(), "shardId-000000000012");
        assert_eq!(ShardId::from_index(0).as_str(), "shardId-000000000000");
    }

    #[test]
    fn the_index_is_read_back_and_only_from_such_names() {
        for (text, expected) in [
            ("shardId-000000000012", Some(12)),
            ("shardId-0", Some(0)),
            ("shardId-", None),
            ("shardId-+12", None),
            ("shardId-12x", None),
            ("12", None),
            ("", None),
            ("shardId-99999999999999999999999", None),
        ] {
            assert_eq!(ShardId::from(text).index(), expected, "{text:?}");
        }
    }

    #[test]
    fn display_honours_width() {
        assert_eq!(format!("{:>22}|", ShardId::from_index(1)), "  shardId-000000000001|");
    }
}
