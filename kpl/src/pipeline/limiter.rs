//! Stage 2: one queue and one token bucket per shard, for records and for bytes.
//!
//! Records leave in the order in which they were sealed, retried ones first. A throttled shard slows down alone. In ordered mode a
//! shard lets one record go and waits for its answer; what it waits for is a hash range, so that the wait survives a new shard map.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use kinesis_shard::{HashKeyRange, Shard, ShardId};

use crate::config::Ordering;
use crate::error::WaitedIn;
use crate::pipeline::bucket::{Bucket, Rate};
use crate::pipeline::holds::Holds;
use crate::pipeline::kinesis_record::KinesisRecord;

/// What the limiter lets go.
#[derive(Debug)]
pub(crate) enum Released {
    /// To be sent, towards the shard at this index.
    Send(usize, KinesisRecord),
    /// Its time to live passed in the queue.
    Expired(KinesisRecord),
}

#[derive(Debug)]
pub(crate) struct Limiter {
    rate: Rate,
    ttl: Duration,
    lanes: Vec<Lane>,
    /// When to look at which lane; each lane with something queued is in here once. The turn makes lanes that are due together
    /// take turns.
    due: BTreeSet<(Instant, u64, usize)>,
    /// When the first record of each lane expires.
    expiring: BTreeSet<(Instant, usize)>,
    turn: u64,
    queued: usize,
    /// Ranges with a record on its way, in ordered mode.
    holds: Option<Holds>,
}

#[derive(Debug)]
struct Lane {
    shard_id: ShardId,
    range: HashKeyRange,
    queue: VecDeque<KinesisRecord>,
    bucket: Bucket,
    paused_until: Option<Instant>,
    /// Throttled answers since the last delivered one.
    throttles: u32,
    due: Option<(Instant, u64)>,
    expires: Option<Instant>,
}

impl Lane {
    /// Puts a record in its place by number. Records of one number keep the order in which they came.
    fn insert(&mut self, record: KinesisRecord) {
        if kinesis_shard::planted("a retried record goes to the end of its queue") {
            return self.queue.push_back(record);
        }
        let place = if self.queue.back().is_none_or(|last| last.number <= record.number) {
            self.queue.len()
        } else {
            self.queue.partition_point(|queued| queued.number <= record.number)
        };
        self.queue.insert(place, record);
    }

    fn ready_at(&self, now: Instant, bytes: usize) -> Instant {
        let ready = self.bucket.ready_at(now, bytes);
        self.paused_until.map_or(ready, |until| until.max(ready))
    }
}

impl Limiter {
    pub(crate) fn new(rate: Rate, ttl: Duration, ordering: Ordering) -> Self {
        Self {
            rate,
            ttl,
            lanes: Vec::new(),
            due: BTreeSet::new(),
            expiring: BTreeSet::new(),
            turn: 0,
            queued: 0,
            holds: (ordering == Ordering::PerShard).then(Holds::default),
        }
    }

    /// Kinesis records in all queues.
    pub(crate) fn queued(&self) -> usize {
        self.queued
    }

    /// Takes over a new set of shards and hands back everything queued, to be routed anew. A shard that stays keeps its bucket.
    pub(crate) fn reshape(&mut self, now: Instant, shards: &[Shard]) -> Vec<KinesisRecord> {
        let drained = self.drain();
        let mut old: Vec<Lane> = std::mem::take(&mut self.lanes);
        old.sort_by(|a, b| a.shard_id.cmp(&b.shard_id));
        self.lanes = shards
            .iter()
            .map(|shard| {
                let known = old.binary_search_by(|lane| lane.shard_id.cmp(&shard.id)).ok();
                let known = known.and_then(|index| old.get(index));
                Lane {
                    shard_id: shard.id.clone(),
                    range: shard.hash_key_range,
                    queue: VecDeque::new(),
                    bucket: known.map_or_else(|| Bucket::full(self.rate, now), |lane| lane.bucket.clone()),
                    paused_until: known.and_then(|lane| lane.paused_until),
                    throttles: known.map_or(0, |lane| lane.throttles),
                    due: None,
                    expires: None,
                }
            })
            .collect();
        drained
    }

    /// Everything queued, by shard and in order.
    pub(crate) fn drain(&mut self) -> Vec<KinesisRecord> {
        self.due.clear();
        self.expiring.clear();
        self.queued = 0;
        let mut drained = Vec::new();
        for lane in &mut self.lanes {
            (lane.due, lane.expires) = (None, None);
            drained.extend(lane.queue.drain(..));
        }
        drained
    }

    pub(crate) fn push(&mut self, now: Instant, lane: usize, mut record: KinesisRecord) {
        record.moved(now, WaitedIn::Limiter);
        let queue = self.lanes.get_mut(lane).expect("the map and the lanes are changed together");
        queue.insert(record);
        self.queued += 1;
        self.schedule(now, lane);
    }

    /// Lets one record go if one may.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Released> {
        loop {
            let (at, _, index) = *self.due.first()?;
            if at > now {
                return None;
            }
            let lane = self.lanes.get_mut(index).expect("the map and the lanes are changed together");
            let front = lane.queue.front().expect("a lane is due while something is queued");
            let expired = front.expires(self.ttl) <= now;
            let bytes = front.entry_bytes();
            if !expired && lane.ready_at(now, bytes) > now {
                // It was due for something that is gone: a record before it, or a pause that grew.
                self.schedule(now, index);
                continue;
            }
            let mut record = lane.queue.pop_front().expect("there is a front");
            self.queued -= 1;
            if !expired {
                lane.bucket.take(now, bytes);
                record.lane = index;
                if let Some(holds) = &mut self.holds
                    && !kinesis_shard::planted("order holds nothing back")
                {
                    holds.hold(lane.range);
                    record.held = Some(lane.range);
                }
            }
            self.schedule(now, index);
            return Some(if expired { Released::Expired(record) } else { Released::Send(index, record) });
        }
    }

    /// When to ask again.
    pub(crate) fn wake(&self) -> Option<Instant> {
        self.due.first().map(|(at, _, _)| *at)
    }

    /// A record at the head of its queue whose time to live is over. Needs no request.
    pub(crate) fn expired(&mut self, now: Instant) -> Option<KinesisRecord> {
        let (at, index) = *self.expiring.first()?;
        if at > now {
            return None;
        }
        let record = self.lanes.get_mut(index)?.queue.pop_front();
        self.queued -= usize::from(record.is_some());
        self.schedule(now, index);
        record
    }

    /// When the next record expires.
    pub(crate) fn expires(&self) -> Option<Instant> {
        self.expiring.first().map(|(at, _)| *at)
    }

    /// In ordered mode: what held this range is answered or back in its queue. The shards in it go on.
    pub(crate) fn release(&mut self, now: Instant, range: HashKeyRange) {
        let Some(holds) = &mut self.holds else { return };
        holds.release(range);
        let first = self.lanes.partition_point(|lane| lane.range.end() < range.start());
        let count =
            self.lanes.iter().skip(first).take_while(|lane| lane.range.start() <= range.end()).count();
        for lane in first..first + count {
            self.schedule(now, lane);
        }
    }

    /// Kinesis records queued for the shard with most of them, and its name.
    pub(crate) fn longest(&self) -> Option<(usize, &ShardId)> {
        let longest = self.lanes.iter().max_by_key(|lane| lane.queue.len())?;
        (!longest.queue.is_empty()).then_some((longest.queue.len(), &longest.shard_id))
    }

    /// When the oldest record at the head of a queue was accepted.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.lanes.iter().filter_map(|lane| lane.queue.front()).map(|record| record.opened).min()
    }

    /// The service throttled a record that was sent to this shard then: less from now on, and nothing for a while.
    pub(crate) fn throttled(&mut self, now: Instant, lane: usize, sent: Instant, pause: Duration) {
        let Some(throttled) = self.lanes.get_mut(lane) else { return };
        if throttled.bucket.throttled(now, sent) {
            throttled.throttles += 1;
            throttled.paused_until = Some(now + pause);
            self.schedule(now, lane);
        }
    }

    /// For models: what waits, by lane.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> impl Iterator<Item = (usize, &KinesisRecord)> {
        self.lanes
            .iter()
            .enumerate()
            .flat_map(|(lane, one)| one.queue.iter().map(move |record| (lane, record)))
    }

    /// How often in a row this shard was throttled.
    pub(crate) fn throttles(&self, lane: usize) -> u32 {
        self.lanes.get(lane).map_or(0, |lane| lane.throttles)
    }

    pub(crate) fn delivered(&mut self, lane: usize) {
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.throttles = 0;
        }
    }

    /// Shards that send less than their full rate now.
    pub(crate) fn throttled_shards(&self, now: Instant) -> usize {
        self.lanes.iter().filter(|lane| lane.bucket.is_slowed(now)).count()
    }

    /// Puts a lane where it belongs in `due`.
    fn schedule(&mut self, now: Instant, index: usize) {
        let Some(lane) = self.lanes.get_mut(index) else { return };
        if let Some((at, turn)) = lane.due.take() {
            self.due.remove(&(at, turn, index));
        }
        if let Some(expires) = lane.expires.take() {
            self.expiring.remove(&(expires, index));
        }
        let Some(front) = lane.queue.front() else { return };
        let expires = front.expires(self.ttl);
        lane.expires = Some(expires);
        self.expiring.insert((expires, index));
        if self.holds.as_ref().is_some_and(|holds| holds.touch(lane.range)) {
            // Its turn comes with the release.
            return;
        }
        let at = lane.ready_at(now, front.entry_bytes()).min(expires);
        self.turn += 1;
        lane.due = Some((at, self.turn));
        self.due.insert((at, self.turn, index));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{plain_of_bytes, shards, start};

    const TTL: Duration = Duration::from_secs(30);

    fn limiter(count: u32) -> Limiter {
        let mut limiter = Limiter::new(
            Rate { records_per_second: 1000, bytes_per_second: 1_000_000, shared_by: 1 },
            TTL,
            Ordering::Relaxed,
        );
        assert!(limiter.reshape(start(), &shards(count)).is_empty());
        limiter
    }

    fn push(limiter: &mut Limiter, lane: usize, number: u64, bytes: usize) {
        let mut record = plain_of_bytes(bytes);
        record.number = number;
        limiter.push(start(), lane, record);
    }

    fn released(limiter: &mut Limiter, now: Instant) -> Vec<(usize, u64)> {
        std::iter::from_fn(|| limiter.next(now))
            .map(|released| match released {
                Released::Send(lane, record) => (lane, record.number),
                Released::Expired(record) => (usize::MAX, record.number),
            })
            .collect()
    }

    #[test]
    fn a_burst_is_100_ms_of_rate_and_the_rest_follows_at_the_rate() {
        let mut limiter = limiter(1);
        for number in 0..300 {
            push(&mut limiter, 0, number, 10);
        }
        assert_eq!(released(&mut limiter, start()).len(), 100);
        assert_eq!(limiter.wake(), Some(start() + Duration::from_millis(1)));
        assert_eq!(released(&mut limiter, start() + Duration::from_millis(50)).len(), 50);
        assert_eq!(limiter.queued(), 150);
    }

    #[test]
    fn shards_that_may_send_take_turns() {
        let mut limiter = limiter(2);
        for number in 0..4 {
            for lane in 0..2 {
                push(&mut limiter, lane, number, 10);
            }
        }
        let lanes: Vec<_> = released(&mut limiter, start()).into_iter().map(|(lane, _)| lane).collect();
        assert_eq!(lanes, [0, 1, 0, 1, 0, 1, 0, 1]);
    }

    #[test]
    fn bytes_are_limited_too_and_a_record_above_the_burst_waits_for_a_full_bucket() {
        let mut limiter = limiter(1);
        push(&mut limiter, 0, 0, 60_000);
        push(&mut limiter, 0, 1, 400_000);
        push(&mut limiter, 0, 2, 10);
        assert_eq!(released(&mut limiter, start()), [(0, 0)]);
        assert_eq!(limiter.wake(), Some(start() + Duration::from_millis(60)));
        assert_eq!(released(&mut limiter, start() + Duration::from_millis(60)), [(0, 1)]);
        // 400,000 bytes are 400 ms of rate, of which 100 ms were there.
        assert_eq!(limiter.wake(), Some(start() + Duration::from_micros(360_010)));
    }

    #[test]
    fn lanes_that_are_due_together_take_turns() {
        let mut limiter = limiter(2);
        for number in 0..3 {
            push(&mut limiter, 0, number, 10);
        }
        for number in 3..6 {
            push(&mut limiter, 1, number, 10);
        }
        let lanes: Vec<_> = released(&mut limiter, start()).into_iter().map(|(lane, _)| lane).collect();
        assert_eq!(lanes, [0, 1, 0, 1, 0, 1]);
    }

    #[test]
    fn a_retried_record_returns_to_its_place() {
        let mut limiter = limiter(1);
        for number in [5, 7, 9, 6, 5, 1] {
            push(&mut limiter, 0, number, 10);
        }
        let numbers: Vec<_> = released(&mut limiter, start()).into_iter().map(|(_, number)| number).collect();
        assert_eq!(numbers, [1, 5, 5, 6, 7, 9]);
    }

    #[test]
    fn a_throttled_shard_pauses_and_slows_down_alone() {
        let mut limiter = limiter(2);
        for number in 0..300 {
            push(&mut limiter, 0, number, 10);
            push(&mut limiter, 1, number, 10);
        }
        released(&mut limiter, start());
        let now = start() + Duration::from_millis(10);
        limiter.throttled(now, 0, start(), Duration::from_millis(40));
        assert_eq!(limiter.throttles(0), 1);
        // A second answer about the same moment does not count again.
        limiter.throttled(now, 0, start(), Duration::from_millis(90));
        assert_eq!(limiter.throttles(0), 1);
        let sent = released(&mut limiter, now);
        assert!(sent.iter().all(|(lane, _)| *lane == 1), "the throttled shard is paused");
        assert_eq!(sent.len(), 10);
        let later = now + Duration::from_millis(40);
        let of_throttled = released(&mut limiter, later).iter().filter(|(lane, _)| *lane == 0).count();
        assert!((25..50).contains(&of_throttled), "50 at the full rate, here {of_throttled}");
        assert_eq!(limiter.throttled_shards(later), 1);
        limiter.delivered(0);
        assert_eq!(limiter.throttles(0), 0);
    }

    #[test]
    fn in_ordered_mode_a_shard_waits_for_its_record_across_a_split() {
        let rate = Rate { records_per_second: 1000, bytes_per_second: 1_000_000, shared_by: 1 };
        let mut limiter = Limiter::new(rate, TTL, Ordering::PerShard);
        limiter.reshape(start(), &shards(1));
        for number in 0..3 {
            push(&mut limiter, 0, number, 10);
        }
        let Some(Released::Send(_, first)) = limiter.next(start()) else { panic!("the first may go") };
        assert!(limiter.next(start()).is_none());
        assert_eq!(limiter.expires(), Some(start() + TTL), "what waits may expire");
        // Both children lie in the range that is held.
        assert_eq!(limiter.reshape(start(), &shards(2)).len(), 2);
        push(&mut limiter, 0, 1, 10);
        push(&mut limiter, 1, 2, 10);
        assert!(released(&mut limiter, start()).is_empty());
        limiter.release(start(), first.held.unwrap());
        let mut children = released(&mut limiter, start());
        children.sort_unstable();
        assert_eq!(children, [(0, 1), (1, 2)]);
    }

    #[test]
    fn records_expire_without_a_free_request() {
        let mut limiter = limiter(2);
        push(&mut limiter, 0, 0, 10);
        push(&mut limiter, 1, 1, 10);
        assert!(limiter.expired(start() + TTL / 2).is_none());
        let expired: Vec<_> = std::iter::from_fn(|| limiter.expired(start() + TTL)).collect();
        assert_eq!((expired.len(), limiter.queued(), limiter.wake()), (2, 0, None));
    }

    #[test]
    fn records_expire_in_the_queue_on_time() {
        let mut limiter = limiter(1);
        push(&mut limiter, 0, 0, 10_000_000);
        push(&mut limiter, 0, 1, 10);
        assert_eq!(released(&mut limiter, start()), [(0, 0)]);
        limiter.throttled(start(), 0, start(), Duration::from_mins(1));
        assert_eq!(limiter.wake(), Some(start() + TTL));
        assert_eq!(released(&mut limiter, start() + TTL), [(usize::MAX, 1)]);
        assert_eq!(limiter.wake(), None);
    }

    #[test]
    fn a_new_map_hands_the_queue_back_and_keeps_the_buckets_of_shards_that_stay() {
        let mut limiter = limiter(2);
        for number in 0..101 {
            push(&mut limiter, 0, number, 10);
        }
        released(&mut limiter, start());
        let drained = limiter.reshape(start(), &shards(2));
        assert_eq!(drained.len(), 1);
        assert_eq!((limiter.queued(), limiter.wake()), (0, None));
        push(&mut limiter, 0, 1, 10);
        assert!(released(&mut limiter, start()).is_empty(), "the bucket of the first shard is still empty");
        push(&mut limiter, 1, 2, 10);
        assert_eq!(released(&mut limiter, start()), [(1, 2)]);
    }
}
