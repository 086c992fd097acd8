//! `UpdateShardCount`: which shards split and merge until the stream has as many as wanted.
//!
//! ```text
//! up:    split every open shard while that is not too many; then split all once more and merge neighbours
//! down:  merge neighbours, from the lowest keys up
//! ```
//!
//! This is the plan that was observed of the service: 4 shards to 5 makes 15 in all (4 closed, 8 of which 6 closed, 3).

use super::Stream;

impl Stream {
    /// Splits and merges until `target` shards are open, or as near as ranges that cannot be split allow.
    pub(super) fn scale(&mut self, now: u64, target: u32) {
        let target = target as usize;
        while self.open_count() < target {
            let before = self.open_count();
            self.split_all(now);
            if self.open_count() == before {
                return;
            }
        }
        while self.open_count() > target.max(1) {
            self.merge_neighbours(now, self.open_count() - target.max(1));
        }
    }

    fn split_all(&mut self, now: u64) {
        for shard in self.open.clone() {
            let Some(range) = self.shards.get(shard).map(|log| log.place.range) else { continue };
            let at = range.midpoint();
            if self.check_split(shard, at, "").is_ok() {
                self.split(now, shard, at);
            }
        }
        self.sort_open();
    }

    /// Merges so many pairs, each shard once at most.
    fn merge_neighbours(&mut self, now: u64, count: usize) {
        let open = self.open.clone();
        for pair in open.chunks_exact(2).take(count) {
            if let [first, second] = pair {
                self.merge(now, *first, *second);
            }
        }
        self.sort_open();
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Change, default_scope};
    use super::*;
    use kinesis_shard::HashKeyRange;
    use proptest::prelude::*;

    const START: u64 = 1_000_000_000;

    fn stream(shard_count: u32) -> Stream {
        let mut stream = Stream::new("orders", default_scope(), START, 1);
        stream.apply(START, Change::Create { shard_count });
        stream
    }

    fn scaled(from: u32, to: u32) -> Stream {
        let mut stream = stream(from);
        stream.apply(START + 10_000, Change::Scale { target: to });
        stream
    }

    fn open_ranges(stream: &Stream) -> Vec<HashKeyRange> {
        stream.open.iter().map(|place| stream.shards[*place].place.range).collect()
    }

    #[test]
    fn totals_are_those_observed_of_the_service() {
        for (from, to, total) in [
            (2, 4, 6),
            (4, 5, 15),
            (10, 13, 37),
            (4, 2, 6),
            (5, 3, 7),
            (1, 2, 3),
            (2, 1, 3),
            (3, 4, 11),
            (7, 7, 7),
            (100, 200, 300),
        ] {
            let stream = scaled(from, to);
            assert_eq!((stream.open_count(), stream.shards.len()), (to as usize, total), "{from} to {to}");
        }
    }

    #[test]
    fn an_even_layout_that_doubles_or_halves_stays_even() {
        for (from, to) in [(4, 8), (8, 4), (1, 2), (16, 8)] {
            let sizes: Vec<u128> = open_ranges(&scaled(from, to))
                .iter()
                .map(|range| range.end().get() - range.start().get())
                .collect();
            assert!(sizes.iter().all(|size| *size == sizes[0]), "{from} to {to}: {sizes:?}");
        }
    }

    #[test]
    fn children_name_their_parents_and_start_after_them() {
        let stream = scaled(4, 5);
        for log in stream.shards.iter().skip(4) {
            let parents: Vec<_> =
                [&log.place.parent, &log.place.adjacent_parent].into_iter().flatten().collect();
            assert!(!parents.is_empty());
            for parent in parents {
                let parent = stream.shards.iter().find(|shard| shard.id == *parent).unwrap();
                assert!(!parent.is_open());
                assert!(parent.ending_sequence_number().unwrap() < log.starting_sequence_number());
            }
        }
    }

    #[test]
    fn ten_thousand_shards_are_reached_in_steps() {
        let mut stream = stream(2_500);
        for target in [5_000, 10_000] {
            stream.apply(START, Change::Scale { target });
        }
        assert_eq!(stream.open_count(), 10_000);
    }

    proptest! {
        #[test]
        fn any_target_is_reached_and_tiles_all_keys(from in 1_u32..40, to in 1_u32..80) {
            let stream = scaled(from, to);
            prop_assert_eq!(stream.open_count(), to as usize);
            let joined = open_ranges(&stream).into_iter().reduce(|one, two| one.join(two).unwrap());
            prop_assert_eq!(joined, Some(HashKeyRange::FULL));
        }
    }
}
