//! Whether a shard has really ended: only the stream's own list of shards says so.

use kinesis_shard::{SequenceNumber, Shard, ShardId};

use super::{ChildShard, FetchEvent, Gone, Listing};

/// Listings in a row that must agree before a shard or stream is believed to be gone: a list may lag.
const CONFIRMATIONS: u32 = 3;

/// What listing the shards showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is closed, and these go on.
    Ended(Vec<ChildShard>),
    /// It has left the list, so what it held was trimmed; these go on.
    Gone(Vec<ChildShard>),
    StreamGone(Gone),
    /// It is listed: read on.
    StillThere,
    /// Look again.
    Undecided,
}

/// Why the shards are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// The service does not know the shard, or the stream.
    Missing,
    /// Its last answer looked like the end of the shard, not like an error.
    AtEnd,
    /// It does not take the position: that was trimmed, or the stream is another one.
    Refused,
}

/// Judges listings of one shard's stream.
#[derive(Debug)]
pub(crate) struct Confirmation {
    shard: ShardId,
    missing_count: u32,
}

impl Confirmation {
    pub(crate) fn new(shard: ShardId) -> Self {
        Self { shard, missing_count: 0 }
    }

    /// A read succeeded, so it is there.
    pub(crate) fn seen(&mut self) {
        self.missing_count = 0;
    }

    /// `read_to`: the newest sequence number of the shard that is known, of a record or of a checkpoint.
    pub(crate) fn judge(
        &mut self,
        doubt: Doubt,
        read_to: Option<SequenceNumber>,
        listing: Listing,
    ) -> (Verdict, Option<FetchEvent>) {
        match listing {
            Listing::Failed(message) => (Verdict::Undecided, Some(FetchEvent::ListingFailed(message))),
            Listing::StreamNotFound => {
                let gone = Verdict::StreamGone(Gone::Deleted);
                (if self.missing() { gone } else { Verdict::Undecided }, None)
            }
            Listing::Shards(shards) => self.listed(doubt, read_to, &shards),
        }
    }

    fn listed(
        &mut self,
        doubt: Doubt,
        read_to: Option<SequenceNumber>,
        shards: &[Shard],
    ) -> (Verdict, Option<FetchEvent>) {
        let children = self.children(shards);
        if let Some(shard) = shards.iter().find(|shard| shard.id == self.shard) {
            // No record lies before its shard began: this is the shard of that name in another stream.
            if read_to.is_some_and(|number| number < shard.starting_sequence_number) {
                return (Verdict::StreamGone(Gone::Replaced), None);
            }
            self.missing_count = 0;
            let ended = doubt == Doubt::AtEnd && !shard.is_open() && !children.is_empty();
            (if ended { Verdict::Ended(children) } else { Verdict::StillThere }, None)
        } else if !self.missing() {
            (Verdict::Undecided, None)
        } else if !shards.is_empty() && shards.iter().all(|shard| shard.id.index() < self.shard.index()) {
            // The shards that go on where one has ended have higher numbers: these are of another, smaller stream.
            (Verdict::StreamGone(Gone::Replaced), None)
        } else {
            (Verdict::Gone(children), Some(FetchEvent::ShardGone))
        }
    }

    /// Counts one listing without it; whether that is enough.
    fn missing(&mut self) -> bool {
        self.missing_count += 1;
        self.missing_count >= CONFIRMATIONS
    }

    fn children(&self, shards: &[Shard]) -> Vec<ChildShard> {
        let is_child = |shard: &&Shard| shard.parents().any(|parent| *parent == self.shard);
        let child = |shard: &Shard| ChildShard {
            id: shard.id.clone(),
            parents: shard.parents().cloned().collect(),
            hash_key_range: Some(shard.hash_key_range),
        };
        shards.iter().filter(is_child).map(child).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinesis_shard::HashKeyRange;

    fn shard(id: u64, parent: Option<u64>, open: bool) -> Shard {
        let number = "1".parse().unwrap();
        Shard {
            id: ShardId::from_index(id),
            parent: parent.map(ShardId::from_index),
            adjacent_parent: None,
            hash_key_range: HashKeyRange::FULL,
            starting_sequence_number: number,
            ending_sequence_number: (!open).then_some(number),
        }
    }

    fn ids(children: &[ChildShard]) -> Vec<ShardId> {
        children.iter().map(|child| child.id.clone()).collect()
    }

    #[test]
    fn only_a_closed_shard_with_children_has_ended_and_only_if_it_looked_so() {
        let split = vec![shard(0, None, false), shard(1, Some(0), true), shard(2, Some(0), true)];
        let childless = vec![shard(0, None, false)];
        let open = vec![shard(0, None, true)];
        for (doubt, shards, ends) in [
            (Doubt::AtEnd, split.clone(), true),
            (Doubt::Missing, split.clone(), false),
            (Doubt::Refused, split, false),
            (Doubt::AtEnd, childless, false),
            (Doubt::AtEnd, open, false),
        ] {
            let (verdict, event) =
                Confirmation::new(ShardId::from_index(0)).judge(doubt, None, Listing::Shards(shards));
            match verdict {
                Verdict::Ended(children) if ends => {
                    assert_eq!(ids(&children), [ShardId::from_index(1), ShardId::from_index(2)]);
                }
                verdict => assert!(!ends && verdict == Verdict::StillThere, "{verdict:?}"),
            }
            assert_eq!(event, None);
        }
    }

    #[test]
    fn gone_is_believed_after_three_listings_in_a_row() {
        let without = || Listing::Shards(vec![shard(1, Some(0), true)]);
        let mut confirmation = Confirmation::new(ShardId::from_index(0));
        for interruption in [Listing::Shards(vec![shard(0, None, true)]), without()] {
            assert_eq!(confirmation.judge(Doubt::Missing, None, without()).0, Verdict::Undecided);
            assert_eq!(confirmation.judge(Doubt::Missing, None, without()).0, Verdict::Undecided);
            let failed = confirmation.judge(Doubt::Missing, None, Listing::Failed("no answer".into()));
            assert_eq!(failed.0, Verdict::Undecided, "a listing that failed says nothing");
            let (verdict, event) = confirmation.judge(Doubt::Missing, None, interruption);
            match verdict {
                Verdict::StillThere => assert_eq!(event, None),
                Verdict::Gone(children) => {
                    assert_eq!(ids(&children), [ShardId::from_index(1)]);
                    assert_eq!(event, Some(FetchEvent::ShardGone));
                }
                verdict => panic!("{verdict:?}"),
            }
        }
    }

    #[test]
    fn a_stream_is_gone_after_three_listings_unless_a_read_succeeds_between() {
        let mut confirmation = Confirmation::new(ShardId::from_index(0));
        let judge = |confirmation: &mut Confirmation| {
            confirmation.judge(Doubt::Missing, None, Listing::StreamNotFound).0
        };
        assert_eq!(judge(&mut confirmation), Verdict::Undecided);
        assert_eq!(judge(&mut confirmation), Verdict::Undecided);
        confirmation.seen();
        let verdicts: Vec<_> = (0..3).map(|_| judge(&mut confirmation)).collect();
        let gone = Verdict::StreamGone(Gone::Deleted);
        assert_eq!(verdicts, [Verdict::Undecided, Verdict::Undecided, gone]);
    }

    #[test]
    fn a_shard_that_began_behind_what_was_read_of_it_is_of_another_stream() {
        let number = |value: u64| Some(SequenceNumber::from(u128::from(value)));
        for doubt in [Doubt::Missing, Doubt::AtEnd, Doubt::Refused] {
            // The shards of these tests begin at 1.
            for (read_to, verdict) in [
                (None, Verdict::StillThere),
                (number(1), Verdict::StillThere),
                (number(7), Verdict::StillThere),
                (number(0), Verdict::StreamGone(Gone::Replaced)),
            ] {
                let listing = Listing::Shards(vec![shard(0, None, true)]);
                let judged = Confirmation::new(ShardId::from_index(0)).judge(doubt, read_to, listing);
                assert_eq!(judged, (verdict, None), "{doubt:?} {read_to:?}");
            }
        }
    }

    #[test]
    fn a_shard_above_all_that_are_listed_is_of_another_stream_and_has_not_ended() {
        let mut confirmation = Confirmation::new(ShardId::from_index(3));
        let fewer = || Listing::Shards(vec![shard(0, None, true), shard(1, None, true)]);
        assert_eq!(confirmation.judge(Doubt::Missing, None, fewer()), (Verdict::Undecided, None));
        assert_eq!(confirmation.judge(Doubt::Missing, None, fewer()), (Verdict::Undecided, None));
        let judged = confirmation.judge(Doubt::Missing, None, fewer());
        assert_eq!(judged, (Verdict::StreamGone(Gone::Replaced), None));
    }
}
