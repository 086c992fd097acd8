//! How fast one shard is read: token buckets of the service, shared with whoever else reads the shard.

use std::time::{Duration, Instant};

use kinesis_shard::limits;

/// The part of the limits that is used at most. A reader at the very limit is never refused, and whoever comes later
/// never gets a call through; with a twentieth left free newcomers do, and from then on refusals even the shares out.
const MOST_SHARE: f64 = 0.95;
/// The service takes five reads a second for one shard; evenly spaced, so that no burst starves another application.
const CALL_SPACING: Duration = Duration::from_millis(1_000 / limits::SHARD_READ_CALLS_PER_SECOND);
/// The least part of the shard's limits that is used, however many others there are: twenty readers behind at once.
const LEAST_SHARE: f64 = 0.05;
/// What the time between two calls at the full rate adds to the share. Slow, against halving: so that readers who know nothing of
/// each other come to equal shares.
const STEP: f64 = 0.02;

/// Two buckets, of calls and of bytes, that are filled at our share of the shard's limits.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    idle_time: Duration,
    /// Part of the limits that is ours, as far as refusals tell: additive increase, multiplicative decrease.
    share: f64,
}

impl Pace {
    pub(super) fn new(idle_time: Duration) -> Self {
        Self { idle_time, share: MOST_SHARE }
    }

    /// When the next read may be sent, after one that was sent at `began` and answered with so many bytes.
    pub(super) fn answered(&mut self, began: Instant, caught_up: bool, bytes: usize) -> Instant {
        #[expect(clippy::cast_precision_loss, reason = "bytes of one answer")]
        let seconds = bytes as f64 / limits::SHARD_READ_BYTES_PER_SECOND as f64;
        // What it takes at the full rate.
        let cost = Duration::from_secs_f64(seconds).max(CALL_SPACING);
        // The share grows with time, not with reads: the few large reads of a small share would keep it small for a minute. Paid at
        // a rate that grows evenly from one share to the other, the cost is their mean times the pause.
        let from = self.share;
        let steps = cost.div_duration_f64(CALL_SPACING);
        self.share = (from * from + 2.0 * STEP * steps).sqrt().min(MOST_SHARE);
        let pause = cost.div_f64(f64::midpoint(from, self.share));
        began + pause.max(if caught_up { self.idle_time } else { Duration::ZERO })
    }

    /// A read was refused because of the limits: others take their part. The least pause before the next one.
    pub(super) fn refused(&mut self) -> Duration {
        self.share = (self.share / 2.0).max(LEAST_SHARE);
        CALL_SPACING.div_f64(self.share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[expect(clippy::disallowed_methods, reason = "an arbitrary instant to count from")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn alone_it_reads_at_the_limits_of_the_shard_and_at_the_idle_time_when_caught_up() {
        let (mut pace, began) = (Pace::new(SECOND), start());
        for (bytes, limit) in [(100, SECOND / 5), (1024 * 1024, SECOND / 2), (10 * 1024 * 1024, 5 * SECOND)] {
            let spacing = pace.answered(began, false, bytes) - began;
            assert_eq!(spacing, limit.div_f64(MOST_SHARE));
        }
        assert_eq!(pace.answered(began, true, 0) - began, SECOND);
        assert_eq!(Pace::new(SECOND * 3_600).answered(began, true, 0) - began, 3_600 * SECOND);
    }

    /// Readers that know nothing of each other, behind, at one shard: calls that each got through in ten minutes, the
    /// first one as long before the others as given.
    fn share_out(readers: u32, head_start: Duration) -> Vec<usize> {
        let began = start();
        let (mut tokens, mut filled) = (5.0_f64, began);
        let mut paces: Vec<_> = (0..readers).map(|_| Pace::new(SECOND)).collect();
        let mut due: Vec<_> = (0..readers)
            .map(|reader| if reader == 0 { began } else { began + head_start + reader * SECOND / 7 })
            .collect();
        let mut calls = vec![0; readers as usize];
        loop {
            let (reader, now) = due.iter().copied().enumerate().min_by_key(|(_, due)| *due).unwrap();
            if now > began + head_start + 600 * SECOND {
                return calls;
            }
            tokens = (tokens + 5.0 * (now - filled).as_secs_f64()).min(5.0);
            filled = now;
            due[reader] = if tokens >= 1.0 {
                tokens -= 1.0;
                calls[reader] += usize::from(now > began + head_start);
                paces[reader].answered(now, false, 1_000)
            } else {
                now + paces[reader].refused()
            };
        }
    }

    #[test]
    fn several_applications_behind_share_the_shard_evenly_and_use_it_up() {
        for readers in 2..=5 {
            for head_start in [Duration::ZERO, 60 * SECOND] {
                let calls = share_out(readers, head_start);
                let (least, most) = (calls.iter().min().unwrap(), calls.iter().max().unwrap());
                let total: usize = calls.iter().sum();
                assert!(*least * 2 >= *most, "{readers} readers: {calls:?}");
                assert!(
                    total >= 3_000 * 95 / 100,
                    "{readers} readers use up {total} of 3,000 calls: {calls:?}"
                );
            }
        }
    }

    #[test]
    fn a_share_comes_back_when_the_others_have_gone() {
        let (mut pace, began) = (Pace::new(SECOND), start());
        for _ in 0..10 {
            pace.refused();
        }
        assert_eq!(pace.refused(), 4 * SECOND, "twenty readers leave a twentieth");
        for bytes in [1_000, 1024 * 1024, 10 * 1024 * 1024] {
            let (mut pace, mut now) = (pace.clone(), began);
            while pace.share < MOST_SHARE {
                now = pace.answered(now, false, bytes);
            }
            assert!(now - began < 15 * SECOND, "{bytes} bytes a read: {:?}", now - began);
        }
    }

    #[test]
    fn a_share_grows_evenly_with_time_however_large_the_reads_are() {
        for bytes in [1_000, 1024 * 1024, 4 * 1024 * 1024] {
            let (mut pace, began) = (Pace::new(SECOND), start());
            for _ in 0..4 {
                pace.refused();
            }
            let before = pace.share;
            let pause = pace.answered(began, false, bytes) - began;
            let expected = before + STEP * pause.div_duration_f64(CALL_SPACING);
            assert!((pace.share - expected).abs() < 1e-6, "{bytes}: {} instead of {expected}", pace.share);
        }
    }
}
