//! Shard names.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

/// The service's own names have 20 bytes.
const SHORT_BYTES: usize = 22;

/// The name of a shard, `shardId-` and twelve digits; cloning is cheap.
///
/// Names order as text, which for the service's own names is the order of their indexes. A name of at most 22 bytes is kept
/// in place: cloning it counts no references, which threads would have to share, and comparing two of them looks nowhere else.
#[derive(Clone)]
pub struct ShardId(Text);

#[derive(Clone)]
enum Text {
    /// Padded with zeros.
    Short {
        len: u8,
        bytes: [u8; SHORT_BYTES],
    },
    Long(Arc<str>),
}

impl ShardId {
    /// A shard id from its text, which is taken as it is.
    pub fn new(text: impl AsRef<str>) -> Self {
        let text = text.as_ref();
        let mut bytes = [0; SHORT_BYTES];
        match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(place), Ok(len)) => {
                place.copy_from_slice(text.as_bytes());
                Self(Text::Short { len, bytes })
            }
            _ => Self(Text::Long(text.into())),
        }
    }

    /// The name that the service gives the shard of that index: `shardId-000000000012`.
    pub fn from_index(index: u64) -> Self {
        Self::new(format!("shardId-{index:012}"))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            // It was text when it was put in.
            Text::Short { .. } => str::from_utf8(self.as_bytes()).unwrap_or_default(),
            Text::Long(text) => text,
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Text::Short { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Text::Long(text) => text.as_bytes(),
        }
    }

    /// The number in the name; none when the name is not one of the service's.
    pub fn index(&self) -> Option<u64> {
        let digits = self.as_str().strip_prefix("shardId-")?;
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        digits.parse().ok()
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShardId({})", self.as_str())
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
        self.as_str()
    }
}

impl PartialEq for ShardId {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for ShardId {}

impl PartialOrd for ShardId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ShardId {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Text::Short { len: left_len, bytes: left }, Text::Short { len: right_len, bytes: right }) => {
                // Padding is below every byte and equal to none but a zero, which the lengths tell apart.
                words(left).cmp(&words(right)).then(left_len.cmp(right_len))
            }
            _ => self.as_bytes().cmp(other.as_bytes()),
        }
    }
}

/// As numbers that order like the text.
fn words(bytes: &[u8; SHORT_BYTES]) -> (u128, u64) {
    let (first, rest) = bytes.split_at(16);
    let mut last = [0; 8];
    for (last, byte) in last.iter_mut().zip(rest) {
        *last = *byte;
    }
    (first.try_into().map_or(0, u128::from_be_bytes), u64::from_be_bytes(last))
}

impl Hash for ShardId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn names_are_kept_and_order_as_text(left in "[a\\x000é]{0,30}", right in "[a\\x000é]{0,30}") {
            let (left_id, right_id) = (ShardId::new(&left), ShardId::new(&right));
            prop_assert_eq!(left_id.as_str(), &left);
            prop_assert_eq!(left_id.cmp(&right_id), left.cmp(&right));
            prop_assert_eq!(left_id == right_id, left == right);
            prop_assert_eq!(left_id.partial_cmp(&right_id), left.partial_cmp(&right));
            prop_assert_eq!(AsRef::<str>::as_ref(&left_id), &left);
        }
    }

    #[test]
    fn a_name_of_the_service_takes_no_more_room_than_a_string() {
        assert_eq!(size_of::<ShardId>(), size_of::<String>());
        assert_eq!(size_of::<Option<ShardId>>(), size_of::<String>());
    }

    #[test]
    fn names_that_differ_are_hashed_differently() {
        let hash = |text: &str| {
            let mut hasher = std::hash::DefaultHasher::new();
            ShardId::new(text).hash(&mut hasher);
            hasher.finish()
        };
        assert_eq!(hash("shardId-000000000012"), hash("shardId-000000000012"));
        assert_ne!(hash("shardId-000000000012"), hash("shardId-000000000013"));
    }

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
