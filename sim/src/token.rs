//! Texts that carry their own state: shard iterators and page tokens. No table in the engine, so they survive it.
//!
//! ```text
//! base64( 00 00 00 00 00 00 00 01 | checksum, 8 bytes | masked: kind, fields, zeros )
//! ```
//!
//! The prefix and the length (152 bytes and a multiple of 16 more) are the service's; what is inside is ours.
//! The mask only keeps users from reading meaning into the text; the checksum rejects what we did not issue.

use crate::rule::mix;

const PREFIX: [u8; 8] = [0, 0, 0, 0, 0, 0, 0, 1];
const CHECKSUM: usize = 8;
const LEAST: usize = 152 - PREFIX.len() - CHECKSUM;
const STEP: usize = 16;

/// Collects the fields of a token.
#[derive(Debug)]
pub(crate) struct TokenWriter {
    inner: Vec<u8>,
}

impl TokenWriter {
    pub(crate) fn new(kind: u8) -> Self {
        Self { inner: vec![kind] }
    }

    pub(crate) fn number(mut self, value: u64) -> Self {
        self.inner.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// At most 65,535 bytes; names of ours have 128.
    pub(crate) fn text(mut self, text: &str) -> Self {
        let bytes = text.as_bytes().get(..usize::from(u16::MAX)).unwrap_or(text.as_bytes());
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        self.inner.extend_from_slice(&length.to_be_bytes());
        self.inner.extend_from_slice(bytes);
        self
    }

    pub(crate) fn seal(mut self) -> String {
        let padded = if self.inner.len() <= LEAST {
            LEAST
        } else {
            LEAST + (self.inner.len() - LEAST).div_ceil(STEP) * STEP
        };
        self.inner.resize(padded, 0);
        let checksum = checksum(&self.inner);
        mask(&mut self.inner, checksum);
        let mut bytes = Vec::with_capacity(PREFIX.len() + CHECKSUM + padded);
        bytes.extend_from_slice(&PREFIX);
        bytes.extend_from_slice(&checksum.to_be_bytes());
        bytes.extend_from_slice(&self.inner);
        base64_simd::STANDARD.encode_to_string(bytes)
    }
}

/// Gives the fields back, in the order in which they were written.
#[derive(Debug)]
pub(crate) struct TokenReader {
    inner: Vec<u8>,
    at: usize,
}

impl TokenReader {
    /// `None`: not a text that we issued for this kind.
    pub(crate) fn open(kind: u8, text: &str) -> Option<Self> {
        let bytes = base64_simd::STANDARD.decode_to_vec(text.as_bytes()).ok()?;
        // Only the one canonical spelling is ours.
        if base64_simd::STANDARD.encode_to_string(&bytes) != text {
            return None;
        }
        let (prefix, rest) = bytes.split_first_chunk::<8>()?;
        let (sum, inner) = rest.split_first_chunk::<CHECKSUM>()?;
        if *prefix != PREFIX || inner.len() < LEAST {
            return None;
        }
        let sum = u64::from_be_bytes(*sum);
        let mut inner = inner.to_vec();
        mask(&mut inner, sum);
        (checksum(&inner) == sum && inner.first() == Some(&kind)).then_some(Self { inner, at: 1 })
    }

    pub(crate) fn number(&mut self) -> Option<u64> {
        let (value, _) = self.inner.get(self.at..)?.split_first_chunk::<8>()?;
        self.at += 8;
        Some(u64::from_be_bytes(*value))
    }

    pub(crate) fn text(&mut self) -> Option<String> {
        let (length, rest) = self.inner.get(self.at..)?.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        let text = std::str::from_utf8(rest.get(..length)?).ok()?.to_owned();
        self.at += 2 + length;
        Some(text)
    }
}

fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0x6B69_6E65_7369_7331, |sum, byte| mix(sum ^ u64::from(*byte)))
}

fn mask(bytes: &mut [u8], key: u64) {
    for (block, bytes) in (0u64..).zip(bytes.chunks_mut(8)) {
        for (byte, key) in bytes.iter_mut().zip(mix(key ^ mix(block)).to_be_bytes()) {
            *byte ^= key;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_come_back_and_another_kind_is_refused() {
        let text = TokenWriter::new(3).number(7).text("orders").number(u64::MAX).seal();
        let mut token = TokenReader::open(3, &text).unwrap();
        assert_eq!(token.number(), Some(7));
        assert_eq!(token.text().as_deref(), Some("orders"));
        assert_eq!(token.number(), Some(u64::MAX));
        assert!(TokenReader::open(4, &text).is_none());
    }

    #[test]
    fn lengths_are_the_services() {
        for length in [1, 60, 128, 131, 200] {
            let text = TokenWriter::new(1).text(&"n".repeat(length)).seal();
            let bytes = base64_simd::STANDARD.decode_to_vec(&text).unwrap();
            assert_eq!(&bytes[..8], &PREFIX);
            assert_eq!((bytes.len() - 152) % 16, 0);
        }
    }

    proptest! {
        #[test]
        fn a_changed_text_is_refused(position in 0usize..200, letter in "[A-Za-z0-9+/]") {
            let text = TokenWriter::new(1).number(5).seal();
            let mut changed = text.clone();
            changed.replace_range(position..=position, &letter);
            prop_assert_eq!(TokenReader::open(1, &changed).is_some(), changed == text);
        }

        #[test]
        fn never_panics_on_any_text(text in ".*") {
            let _token = TokenReader::open(1, &text);
        }
    }
}
