//! Which shards a listing shows.

use super::Stream;
use crate::shard_log::ShardLog;

/// The filters of `ListShards`; times in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filter {
    FromTrimHorizon,
    AtTrimHorizon,
    AtLatest,
    AtTimestamp(u64),
    FromTimestamp(u64),
    AfterShardId(u32),
}

impl Filter {
    pub(crate) const NAMES: [&'static str; 6] = [
        "AFTER_SHARD_ID",
        "AT_TRIM_HORIZON",
        "FROM_TRIM_HORIZON",
        "AT_LATEST",
        "AT_TIMESTAMP",
        "FROM_TIMESTAMP",
    ];

    /// Two numbers that stand for the filter in a page token.
    pub(crate) fn to_numbers(self) -> (u64, u64) {
        match self {
            Self::FromTrimHorizon => (0, 0),
            Self::AtTrimHorizon => (1, 0),
            Self::AtLatest => (2, 0),
            Self::AtTimestamp(at) => (3, at),
            Self::FromTimestamp(from) => (4, from),
            Self::AfterShardId(index) => (5, u64::from(index)),
        }
    }

    pub(crate) fn from_numbers(kind: u64, value: u64) -> Option<Self> {
        Some(match kind {
            0 => Self::FromTrimHorizon,
            1 => Self::AtTrimHorizon,
            2 => Self::AtLatest,
            3 => Self::AtTimestamp(value),
            4 => Self::FromTimestamp(value),
            5 => Self::AfterShardId(u32::try_from(value).ok()?),
            _ => return None,
        })
    }
}

impl Stream {
    /// A closed shard is gone from every listing, and can be read no more, once all its data has aged out.
    pub(crate) fn is_expired(&self, shard: &ShardLog, now: u64) -> bool {
        shard.closed_at.is_some_and(|closed_at| closed_at + self.retention() < now)
    }

    /// The shards that this filter shows, by index.
    pub(crate) fn listed(&self, now: u64, filter: Filter) -> impl Iterator<Item = &ShardLog> {
        let horizon = self.horizon(now);
        self.shards.iter().filter(move |shard| !self.is_expired(shard, now)).filter(move |shard| {
            // Half-open lives, so that the shards of any one moment tile the keys without overlap.
            let open_at = |time: u64| {
                shard.place.opened_at <= time && shard.closed_at.is_none_or(|closed_at| closed_at > time)
            };
            match filter {
                Filter::FromTrimHorizon => true,
                Filter::AtTrimHorizon => open_at(horizon),
                Filter::AtLatest => shard.is_open(),
                Filter::AtTimestamp(time) => open_at(time.max(horizon)),
                Filter::FromTimestamp(time) => {
                    shard.closed_at.is_none_or(|closed_at| closed_at >= time.max(horizon))
                }
                Filter::AfterShardId(index) => shard.place.index > index,
            }
        })
    }

    /// The shards that took over from this one.
    pub(crate) fn children_of(&self, parent: &ShardLog) -> impl Iterator<Item = &ShardLog> {
        self.shards.iter().filter(|shard| {
            shard.place.parent.as_ref() == Some(&parent.id)
                || shard.place.adjacent_parent.as_ref() == Some(&parent.id)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Change, default_scope};
    use super::*;
    use kinesis_shard::{HashKey, HashKeyRange};

    const START: u64 = 1_000_000_000;

    /// 0 splits into 1 and 2 after 10 s; 1 and 2 merge into 3 after 20 s.
    fn stream() -> Stream {
        let mut stream = Stream::new("orders", default_scope(), START, 1);
        stream.apply(START, Change::Create { shard_count: 1 });
        stream.apply(START + 10_000, Change::Split { shard: 0, new_starting: HashKey::new(1 << 127) });
        stream.apply(START + 20_000, Change::Merge { first: 1, second: 2 });
        stream
    }

    fn listed(stream: &Stream, now: u64, filter: Filter) -> Vec<u32> {
        stream.listed(now, filter).map(|shard| shard.place.index).collect()
    }

    #[test]
    fn each_filter_shows_its_shards() {
        let stream = stream();
        let now = START + 30_000;
        let cases: [(Filter, &[u32]); 9] = [
            (Filter::FromTrimHorizon, &[0, 1, 2, 3]),
            (Filter::AtTrimHorizon, &[0]),
            (Filter::AtLatest, &[3]),
            (Filter::AtTimestamp(START + 9_999), &[0]),
            (Filter::AtTimestamp(START + 10_000), &[1, 2]),
            (Filter::AtTimestamp(START + 20_000), &[3]),
            (Filter::FromTimestamp(START + 15_000), &[1, 2, 3]),
            (Filter::FromTimestamp(0), &[0, 1, 2, 3]),
            (Filter::AfterShardId(1), &[2, 3]),
        ];
        for (filter, expected) in cases {
            assert_eq!(listed(&stream, now, filter), expected, "{filter:?}");
        }
    }

    #[test]
    fn the_shards_of_any_moment_tile_all_keys() {
        let stream = stream();
        for time in (START - 2_000..START + 25_000).step_by(500) {
            let mut ranges: Vec<HashKeyRange> = stream
                .listed(START + 30_000, Filter::AtTimestamp(time))
                .map(|shard| shard.place.range)
                .collect();
            ranges.sort();
            let joined = ranges.into_iter().reduce(|one, two| one.join(two).unwrap());
            assert_eq!(joined, Some(HashKeyRange::FULL), "at {time}");
        }
    }

    #[test]
    fn closed_shards_leave_the_lists_when_their_data_has_aged_out() {
        let stream = stream();
        let day = 24 * 3_600_000;
        assert_eq!(listed(&stream, START + 10_000 + day, Filter::FromTrimHorizon), [0, 1, 2, 3]);
        assert_eq!(listed(&stream, START + 10_001 + day, Filter::FromTrimHorizon), [1, 2, 3]);
        assert_eq!(listed(&stream, START + 10_001 + day, Filter::AtTrimHorizon), [1, 2]);
        assert_eq!(listed(&stream, START + 20_001 + day, Filter::AtTrimHorizon), [3]);
    }

    #[test]
    fn a_merged_child_is_the_child_of_both() {
        let stream = stream();
        let children = |place: usize| -> Vec<u32> {
            stream.children_of(&stream.shards[place]).map(|shard| shard.place.index).collect()
        };
        assert_eq!(
            (children(0), children(1), children(2), children(3)),
            (vec![1, 2], vec![3], vec![3], vec![])
        );
    }

    #[test]
    fn filters_survive_a_page_token() {
        for filter in
            [Filter::AtLatest, Filter::AtTimestamp(7), Filter::AfterShardId(9), Filter::FromTimestamp(1)]
        {
            let (kind, value) = filter.to_numbers();
            assert_eq!(Filter::from_numbers(kind, value), Some(filter));
        }
    }
}
