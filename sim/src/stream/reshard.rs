//! How the shards of a stream come to be: evenly at creation, by split, by merge.

use std::num::NonZeroU32;

use kinesis_shard::{HashKey, HashKeyRange, ShardId};

use super::Stream;
use crate::error::ServiceError;
use crate::shard_log::{Place, ShardLog};

/// The index in a shard id, read as leniently as the service does: the digits after the first dash, or the
/// whole text.
pub(crate) fn parse_shard_id(text: &str) -> Option<u32> {
    let digits = match text.split('-').nth(1) {
        Some(digits) if !digits.is_empty() => digits,
        _ => text,
    };
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    // The range is that of a signed 32-bit number.
    all_digits.then(|| digits.parse::<i32>().ok()).flatten().map(i32::unsigned_abs)
}

impl Stream {
    pub(super) fn open_initial(&mut self, shard_count: u32) {
        let count = NonZeroU32::new(shard_count).unwrap_or(NonZeroU32::MIN);
        for range in HashKeyRange::even(count) {
            let place = self.place(range, self.created_at / 1000, self.created_at);
            self.open_shard(ShardLog::new(place, self.rates));
        }
    }

    /// The shard that a reshard names, if it may be resharded.
    pub(crate) fn find_open(&self, text: &str) -> Result<usize, ServiceError> {
        let place = self.find_for_reshard(text)?;
        match self.shards.get(place) {
            Some(shard) if !shard.is_open() => Err(ServiceError::shard_not_eligible(self.named(), &shard.id)),
            _ => Ok(place),
        }
    }

    fn find_for_reshard(&self, text: &str) -> Result<usize, ServiceError> {
        let index = parse_shard_id(text).ok_or_else(|| ServiceError::shard_not_found(self.named(), text))?;
        let place = usize::try_from(index).unwrap_or(usize::MAX);
        if place < self.shards.len() {
            Ok(place)
        } else {
            Err(ServiceError::shard_not_found(self.named(), ShardId::from_index(u64::from(index))))
        }
    }

    /// Whether the upper child may start here: strictly inside, and the lower child must keep two keys.
    pub(crate) fn check_split(
        &self,
        shard: usize,
        new_starting: HashKey,
        text: &str,
    ) -> Result<(), ServiceError> {
        let Some(log) = self.shards.get(shard) else { return Ok(()) };
        let (start, end) = (log.place.range.start(), log.place.range.end());
        if new_starting.get() > start.get().saturating_add(1) && new_starting < end {
            return Ok(());
        }
        let stream = &self.name;
        let account = &self.scope.account;
        Err(ServiceError::invalid_argument(format!(
            "NewStartingHashKey {text} used in SplitShard() on shard {} in stream {stream} under account {account} \
             is not both greater than one plus the shard's StartingHashKey {start} and less than the shard's \
             EndingHashKey {end}.",
            log.id
        )))
    }

    /// Whether the first shard ends right before the second begins.
    pub(crate) fn check_merge(&self, first: usize, second: usize) -> Result<(), ServiceError> {
        let (Some(one), Some(two)) = (self.shards.get(first), self.shards.get(second)) else { return Ok(()) };
        if one.place.range.precedes(two.place.range) {
            return Ok(());
        }
        let (stream, account) = (&self.name, &self.scope.account);
        Err(ServiceError::invalid_argument(format!(
            "Shards {} and {} in stream {stream} under account {account} are not an adjacent pair of shards \
             eligible for merging",
            one.id, two.id
        )))
    }

    pub(super) fn split(&mut self, now: u64, shard: usize, new_starting: HashKey) {
        let Some((parent, range, created)) = self.close_shard(now, shard) else { return };
        let Ok((mut lower, upper)) = range.split_at(new_starting) else { return };
        if kinesis_shard::planted("a split leaves a key to nobody")
            && let Ok((less, _)) = lower.split_at(lower.end())
        {
            lower = less;
        }
        for range in [lower, upper] {
            let place = Place { parent: Some(parent.clone()), ..self.place(range, created, now) };
            self.open_shard(ShardLog::new(place, self.rates));
        }
    }

    pub(super) fn merge(&mut self, now: u64, first: usize, second: usize) {
        let Some((parent, lower, one_created)) = self.close_shard(now, first) else { return };
        let Some((adjacent, upper, two_created)) = self.close_shard(now, second) else { return };
        let Ok(range) = lower.join(upper) else { return };
        let place = Place {
            parent: Some(parent),
            adjacent_parent: Some(adjacent),
            ..self.place(range, one_created.max(two_created), now)
        };
        self.open_shard(ShardLog::new(place, self.rates));
    }

    /// Closes a shard; what its children need of it: id, range, and their creation second, exactly one after
    /// the parent's end.
    fn close_shard(&mut self, now: u64, shard: usize) -> Option<(ShardId, HashKeyRange, u64)> {
        let log = self.shards.get_mut(shard)?;
        log.close(now);
        let mut second = log.closing_second()?;
        if kinesis_shard::planted("the numbers of children begin before those of their parents") {
            second = second.saturating_sub(1_000);
        }
        Some((log.id.clone(), log.place.range, second + 1))
    }

    fn place(&self, range: HashKeyRange, created_seconds: u64, opened_at: u64) -> Place {
        let index = u32::try_from(self.shards.len()).unwrap_or(u32::MAX);
        Place { index, parent: None, adjacent_parent: None, range, created_seconds, opened_at }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Change, NewRecord, default_scope};
    use super::*;

    pub(crate) fn stream(shard_count: u32) -> Stream {
        let mut stream = Stream::new("orders", default_scope(), 1_000_000_000, 1);
        stream.apply(1_000_000_000, Change::Create { shard_count });
        stream
    }

    fn record() -> NewRecord<'static> {
        NewRecord { partition_key: "k", explicit_hash_key: None, data: b"" }
    }

    #[test]
    fn shard_ids_are_read_leniently() {
        for text in ["shardId-000000000000", "shardId-0", "x-000", "-00", "0"] {
            assert_eq!(parse_shard_id(text), Some(0), "{text}");
        }
        assert_eq!(parse_shard_id("shardId-2147483647"), Some(2_147_483_647));
        for text in
            ["", "-", "shardId", "shardId-", "shardId-2147483648", "shardId-1x", "a-b-0", "shardId--1"]
        {
            assert_eq!(parse_shard_id(text), None, "{text}");
        }
    }

    #[test]
    fn every_key_has_one_open_shard_before_and_after_resharding() {
        let mut stream = stream(3);
        let keys = [0, 1, u128::MAX / 3, u128::MAX / 3 * 2 + 7, u128::MAX];
        let check = |stream: &Stream| {
            for key in keys {
                let place = stream.open_shard_of(HashKey::new(key)).unwrap();
                let shard = &stream.shards[place];
                assert!(shard.is_open() && shard.place.range.contains(HashKey::new(key)));
            }
        };
        check(&stream);
        let at = stream.shards[1].place.range.midpoint();
        stream.apply(1_000_005_000, Change::Split { shard: 1, new_starting: at });
        assert_eq!((stream.shards.len(), stream.open_count()), (5, 4));
        check(&stream);
        stream.apply(1_000_006_000, Change::Merge { first: 4, second: 2 });
        assert_eq!((stream.shards.len(), stream.open_count()), (6, 3));
        check(&stream);
        assert_eq!(stream.shards[5].place.parent, Some(ShardId::from_index(4)));
        assert_eq!(stream.shards[5].place.adjacent_parent, Some(ShardId::from_index(2)));
    }

    #[test]
    fn children_start_a_second_after_the_parents_end_even_at_once_again() {
        let mut stream = stream(1);
        let now = 1_000_005_123;
        stream.apply(now, Change::Split { shard: 0, new_starting: HashKey::new(1 << 127) });
        stream.apply(now, Change::Split { shard: 1, new_starting: HashKey::new(1 << 126) });
        let second = |place: usize| stream.shards[place].place.created_seconds;
        assert_eq!(stream.shards[0].closing_second(), Some(1_000_005));
        assert_eq!((second(1), second(2)), (1_000_006, 1_000_006));
        assert_eq!(stream.shards[1].closing_second(), Some(1_000_006));
        assert_eq!((second(3), second(4)), (1_000_007, 1_000_007));
        assert!(
            stream.shards[1].ending_sequence_number() < Some(stream.shards[3].starting_sequence_number())
        );
    }

    #[test]
    fn five_neighbours_share_one_counter() {
        let mut stream = stream(6);
        let index = |stream: &mut Stream, shard: usize| {
            stream.append(shard, 1_000_000_000, record(), None).unwrap().layout().unwrap().index
        };
        assert_eq!(index(&mut stream, 0), 1);
        assert_eq!(index(&mut stream, 1), 2);
        assert_eq!(index(&mut stream, 4), 3);
        assert_eq!(index(&mut stream, 5), 1);
    }

    #[test]
    fn split_bounds_leave_the_lower_child_two_keys() {
        let stream = stream(1);
        assert!(stream.check_split(0, HashKey::new(1), "1").is_err());
        assert!(stream.check_split(0, HashKey::new(2), "2").is_ok());
        assert!(stream.check_split(0, HashKey::new(u128::MAX - 1), "").is_ok());
        let error = stream.check_split(0, HashKey::MAX, "340").unwrap_err();
        assert_eq!(
            error.text.unwrap(),
            format!(
                "NewStartingHashKey 340 used in SplitShard() on shard shardId-000000000000 in stream orders under \
                 account 000000000000 is not both greater than one plus the shard's StartingHashKey 0 and less \
                 than the shard's EndingHashKey {}.",
                u128::MAX
            )
        );
    }
}
