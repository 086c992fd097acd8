//! How fast one shard is sent to: two token buckets that say *when*, and a rate that falls when the service throttles.

use std::time::{Duration, Instant};

/// How much a bucket holds: this long of its rate.
const BURST: Duration = Duration::from_millis(100);
/// What throttling leaves of the rate, in thousandths; and never less than the floor of the full rate.
const DECREASE: u64 = 700;
const FLOOR: u64 = 50;
const FULL: u64 = 1000;
/// What a second without throttling gives back, in thousandths of the full rate.
const INCREASE_PER_SECOND: u64 = 50;

/// What one shard is sent, at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) records_per_second: u64,
    pub(crate) bytes_per_second: u64,
    /// Producers that share it evenly.
    pub(crate) shared_by: u32,
}

impl Rate {
    fn records(self, share: u64) -> Duration {
        self.cost(1, self.records_per_second, share)
    }

    fn bytes(self, bytes: usize, share: u64) -> Duration {
        self.cost(widen(bytes), self.bytes_per_second, share)
    }

    /// How long our part of the rate takes to yield this much. Rounded up: never faster than the rate.
    fn cost(self, amount: u64, per_second: u64, share: u64) -> Duration {
        let nanos = u128::from(amount) * 1_000_000_000 * u128::from(FULL) * u128::from(self.shared_by.max(1));
        let per_second = u128::from(per_second.max(1)) * u128::from(share.max(1));
        Duration::from_nanos(u64::try_from(nanos.div_ceil(per_second)).unwrap_or(u64::MAX))
    }
}

/// Each kind of token is kept as the instant at which its bucket will be full again, so nothing needs to tick and nothing is rounded
/// away. A record may go when the bucket holds what it costs, or is full: one larger than the bucket runs into debt.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    rate: Rate,
    records_full_at: Instant,
    bytes_full_at: Instant,
    /// Thousandths of the rate, as they were at the instant beside.
    share: u64,
    share_since: Instant,
}

impl Bucket {
    pub(crate) fn full(rate: Rate, now: Instant) -> Self {
        Self { rate, records_full_at: now, bytes_full_at: now, share: FULL, share_since: now }
    }

    /// When a record of this size may be sent.
    pub(crate) fn ready_at(&self, now: Instant, bytes: usize) -> Instant {
        if kinesis_shard::planted("a shard has no limit") {
            return now;
        }
        let share = self.share(now);
        let ready = |full_at: Instant, cost: Duration| {
            let needed = cost.min(BURST);
            full_at.checked_sub(BURST.saturating_sub(needed)).unwrap_or(full_at)
        };
        ready(self.records_full_at, self.rate.records(share))
            .max(ready(self.bytes_full_at, self.rate.bytes(bytes, share)))
    }

    /// A record of this size is sent.
    pub(crate) fn take(&mut self, now: Instant, bytes: usize) {
        let share = self.share(now);
        self.records_full_at = self.records_full_at.max(now) + self.rate.records(share);
        self.bytes_full_at = self.bytes_full_at.max(now) + self.rate.bytes(bytes, share);
    }

    /// What was sent then was throttled. Answers to what was sent before the last decrease say nothing new; true if this one did.
    pub(crate) fn throttled(&mut self, now: Instant, sent: Instant) -> bool {
        if self.share < FULL && sent < self.share_since {
            return false;
        }
        self.share = (self.share(now) * DECREASE / FULL).max(FLOOR);
        self.share_since = now;
        true
    }

    pub(crate) fn is_slowed(&self, now: Instant) -> bool {
        self.share(now) < FULL
    }

    fn share(&self, now: Instant) -> u64 {
        let elapsed =
            u64::try_from(now.saturating_duration_since(self.share_since).as_millis()).unwrap_or(u64::MAX);
        self.share.saturating_add(elapsed.saturating_mul(INCREASE_PER_SECOND) / 1000).min(FULL)
    }
}

fn widen(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::start;

    const RATE: Rate = Rate { records_per_second: 1500, bytes_per_second: 1_572_864, shared_by: 1 };

    #[test]
    fn throttling_takes_three_tenths_at_once_and_gives_five_hundredths_back_a_second() {
        let mut bucket = Bucket::full(RATE, start());
        assert!(bucket.throttled(start(), start()));
        let (moment, mut twice) = (start() + Duration::from_millis(1), bucket.clone());
        assert!(twice.throttled(moment, start()), "sent at the rate that it has since");
        assert!(!twice.throttled(moment, start()), "sent before");
        assert_eq!(bucket.share(start()), 700);
        assert_eq!(bucket.share(start() + Duration::from_secs(2)), 800);
        assert!(!bucket.is_slowed(start() + Duration::from_secs(6)));
        for second in 1..100 {
            let now = start() + Duration::from_millis(second);
            bucket.throttled(now, now);
        }
        assert_eq!(bucket.share(start() + Duration::from_millis(99)), FLOOR);
    }

    #[test]
    fn a_fleet_shares_the_rate() {
        let taken = |shared_by| {
            let mut bucket = Bucket::full(Rate { shared_by, ..RATE }, start());
            (0..10).for_each(|_| bucket.take(start(), 100_000));
            bucket.bytes_full_at - start()
        };
        assert!(taken(1000) >= taken(1) * 999);
    }

    #[test]
    fn answers_to_what_was_sent_before_the_last_decrease_do_not_decrease_again() {
        let mut bucket = Bucket::full(RATE, start());
        let sent = start() + Duration::from_millis(1);
        let answered = start() + Duration::from_millis(20);
        assert!(bucket.throttled(answered, sent));
        assert!(!bucket.throttled(answered, sent));
        assert!(bucket.throttled(answered + Duration::from_millis(20), answered));
    }

    proptest! {
        /// In any window: rate x window + 100 ms of rate + one record.
        #[test]
        fn no_window_holds_more_than_the_rate_the_burst_and_one_record(
            sizes in prop::collection::vec(1_usize..400_000, 1..60),
            gaps in prop::collection::vec(0_u64..300, 60),
        ) {
            let mut bucket = Bucket::full(RATE, start());
            let mut now = start();
            let mut sent: Vec<(Instant, u64)> = Vec::new();
            for (size, gap) in sizes.into_iter().zip(gaps) {
                now = (now + Duration::from_millis(gap)).max(bucket.ready_at(now, size));
                bucket.take(now, size);
                sent.push((now, widen(size)));
            }
            for (first, (from, _)) in sent.iter().enumerate() {
                let mut bytes = 0;
                for (to, size) in &sent[first..] {
                    bytes += size;
                    let window = (*to - *from + BURST).as_secs_f64();
                    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
                    let (allowed, bytes) = (RATE.bytes_per_second as f64 * window + 400_000.0, bytes as f64);
                    prop_assert!(bytes <= allowed + 1.0, "{bytes} bytes in a window that allows {allowed}");
                }
            }
        }
    }
}
