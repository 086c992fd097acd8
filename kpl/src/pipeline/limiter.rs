//! Stage 2: one queue and one token bucket per shard, for records and for bytes.
//!
//! Records leave in the order in which they were sealed, retried ones first. A throttled shard slows down alone.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use kinesis_shard::{Shard, ShardId};

use crate::pipeline::bucket::{Bucket, Rate};
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
    turn: u64,
    queued: usize,
}

#[derive(Debug)]
struct Lane {
    shard_id: ShardId,
    queue: VecDeque<KinesisRecord>,
    bucket: Bucket,
    paused_until: Option<Instant>,
    /// Throttled answers since the last delivered one.
    throttles: u32,
    due: Option<(Instant, u64)>,
}

impl Lane {
    /// Puts a record in its place by number. Records of one number keep the order in which they came.
    fn insert(&mut self, record: KinesisRecord) {
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
    pub(crate) fn new(rate: Rate, ttl: Duration) -> Self {
        Self { rate, ttl, lanes: Vec::new(), due: BTreeSet::new(), turn: 0, queued: 0 }
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
                    queue: VecDeque::new(),
                    bucket: known.map_or_else(|| Bucket::full(self.rate, now), |lane| lane.bucket.clone()),
                    paused_until: known.and_then(|lane| lane.paused_until),
                    throttles: known.map_or(0, |lane| lane.throttles),
                    due: None,
                }
            })
            .collect();
        drained
    }

    /// Everything queued, by shard and in order.
    pub(crate) fn drain(&mut self) -> Vec<KinesisRecord> {
        self.due.clear();
        self.queued = 0;
        let mut drained = Vec::new();
        for lane in &mut self.lanes {
            lane.due = None;
            drained.extend(lane.queue.drain(..));
        }
        drained
    }

    pub(crate) fn push(&mut self, now: Instant, lane: usize, record: KinesisRecord) {
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
            let record = lane.queue.pop_front().expect("there is a front");
            self.queued -= 1;
            if !expired {
                lane.bucket.take(now, bytes);
            }
            self.schedule(now, index);
            return Some(if expired { Released::Expired(record) } else { Released::Send(index, record) });
        }
    }

    /// When to ask again.
    pub(crate) fn wake(&self) -> Option<Instant> {
        self.due.first().map(|(at, _, _)| *at)
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
        let Some(front) = lane.queue.front() else { return };
        let at = lane.ready_at(now, front.entry_bytes()).min(front.expires(self.ttl));
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
        let mut limiter = Limiter::new(Rate { records_per_second: 1000, bytes_per_second: 1_000_000 }, TTL);
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
