use std::collections::BTreeMap;

use kinesis_shard::{SequenceNumber, Shard, ShardId};

/// Listings in a row that must not find a stream before it is believed to be gone: one may lag.
const CONFIRMATIONS: u32 = 3;

/// What became of a stream that is not there any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gone {
    /// It was deleted.
    Deleted,
    /// It was deleted, and another one has its name.
    Replaced,
}

/// Compares each listing of a stream with those before it. A stream that was made again has shards of the same names, which
/// begin at other sequence numbers; so no call is needed but those that look for new shards anyway.
#[derive(Debug, Default)]
pub(crate) struct StreamWatch {
    beginnings: BTreeMap<ShardId, SequenceNumber>,
    missing_count: u32,
}

impl StreamWatch {
    /// Takes in a listing. Once a stream was replaced, every later listing says so too.
    pub(crate) fn listed(&mut self, shards: &[Shard]) -> Option<Gone> {
        self.missing_count = 0;
        let another = |shard: &Shard| {
            self.beginnings.get(&shard.id).is_some_and(|number| *number != shard.starting_sequence_number)
        };
        if shards.iter().any(another) {
            return Some(Gone::Replaced);
        }
        self.beginnings =
            shards.iter().map(|shard| (shard.id.clone(), shard.starting_sequence_number)).collect();
        None
    }

    /// The service did not know the stream.
    pub(crate) fn not_found(&mut self) -> Option<Gone> {
        self.missing_count += 1;
        (self.missing_count >= CONFIRMATIONS).then_some(Gone::Deleted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::test_support::shard;

    fn begins(index: u64, number: u64) -> Shard {
        Shard { starting_sequence_number: number.into(), ..shard(index, &[], true) }
    }

    #[test]
    fn a_shard_that_begins_elsewhere_gives_another_stream_away_for_good() {
        let mut watch = StreamWatch::default();
        for listed in
            [vec![begins(0, 10), begins(1, 11)], vec![begins(1, 11), begins(2, 20)], vec![begins(2, 20)]]
        {
            assert_eq!(watch.listed(&listed), None, "shards come and go: {listed:?}");
        }
        assert_eq!(watch.listed(&[begins(0, 99)]), None, "nothing to compare with");
        assert_eq!(watch.listed(&[begins(0, 100), begins(1, 101)]), Some(Gone::Replaced));
        assert_eq!(watch.listed(&[begins(0, 100)]), Some(Gone::Replaced));
    }

    #[test]
    fn a_stream_is_deleted_after_three_listings_in_a_row_without_it() {
        let mut watch = StreamWatch::default();
        assert_eq!((watch.not_found(), watch.not_found()), (None, None));
        assert_eq!(watch.listed(&[begins(0, 10)]), None);
        assert_eq!((watch.not_found(), watch.not_found()), (None, None));
        assert_eq!(watch.not_found(), Some(Gone::Deleted));
    }
}
