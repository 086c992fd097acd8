//! Hash ranges with a record on its way, in ordered mode.

use std::collections::BTreeMap;

use kinesis_shard::{HashKey, HashKeyRange};

/// Disjoint: a record goes only into a range that touches no other.
#[derive(Debug, Default)]
pub(crate) struct Holds(BTreeMap<HashKey, HashKeyRange>);

impl Holds {
    pub(crate) fn hold(&mut self, range: HashKeyRange) {
        let previous = self.0.insert(range.start(), range);
        debug_assert!(previous.is_none(), "two records are on their way into one range");
    }

    pub(crate) fn release(&mut self, range: HashKeyRange) {
        self.0.remove(&range.start());
    }

    /// Whether any held range has a key in common with this one.
    pub(crate) fn touch(&self, range: HashKeyRange) -> bool {
        self.0.range(..=range.end()).next_back().is_some_and(|(_, held)| held.end() >= range.start())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_touch_when_they_share_a_key() {
        let range = |start: u128, end: u128| HashKeyRange::new(start.into(), end.into()).unwrap();
        let mut holds = Holds::default();
        holds.hold(range(10, 19));
        holds.hold(range(40, 49));
        let cases = [
            (range(0, 9), false),
            (range(0, 10), true),
            (range(12, 13), true),
            (range(19, 30), true),
            (range(20, 39), false),
            (range(0, 100), true),
            (range(50, 60), false),
        ];
        for (range, touches) in cases {
            assert_eq!(holds.touch(range), touches, "{range:?}");
        }
        holds.release(range(10, 19));
        assert!(!holds.touch(range(0, 39)));
    }
}
