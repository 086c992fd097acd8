//! Rates: token buckets that are given the time.

pub(crate) mod call_rates;

pub(crate) mod daily;

mod service_limits;

pub use self::service_limits::{ServiceLimits, ShardRates};

/// Whether the service's limits are enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Limits {
    /// As the service has them, or as [`ServiceLimits`] says.
    #[default]
    Aws,
    /// No rates and no counts; sizes of records and requests are still checked.
    Off,
}

/// A bucket that holds one second's worth and is refilled continuously, in whole milliseconds.
///
/// Levels count thousandths of a token, so that a refill per millisecond stays an integer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    per_second: i64,
    level: i64,
    refilled_at: u64,
}

impl Bucket {
    pub(crate) const fn new(per_second: u64) -> Self {
        #[expect(clippy::cast_possible_wrap, reason = "rates are constants far below the bound")]
        let per_second = per_second as i64;
        Self { per_second, level: per_second * 1000, refilled_at: 0 }
    }

    /// Whether `amount` may be taken now. More than a second's worth may be taken from a full bucket only.
    pub(crate) fn allows(&mut self, now: u64, amount: u64) -> bool {
        self.refill(now);
        let wanted = i64::try_from(amount).unwrap_or(i64::MAX).min(self.per_second);
        self.level >= wanted * 1000
    }

    /// Takes `amount`, into debt if need be.
    pub(crate) fn take(&mut self, now: u64, amount: u64) {
        self.refill(now);
        self.level =
            self.level.saturating_sub(i64::try_from(amount).unwrap_or(i64::MAX).saturating_mul(1000));
    }

    /// Whether anything may be taken before its size is known: reads are charged afterwards.
    pub(crate) fn is_positive(&mut self, now: u64) -> bool {
        self.refill(now);
        self.level > 0
    }

    /// Charges a read. One that is larger than a second's worth costs its full time, whatever was saved up:
    /// the service refuses calls for 5 s after an answer of 10 MiB.
    pub(crate) fn charge(&mut self, now: u64, amount: u64) {
        self.refill(now);
        if i64::try_from(amount).unwrap_or(i64::MAX) > self.per_second {
            self.level = self.level.min(0);
        }
        self.take(now, amount);
    }

    /// Whether nothing is missing: a new bucket would be the same.
    pub(crate) fn is_full(&mut self, now: u64) -> bool {
        self.refill(now);
        self.level >= self.per_second * 1000
    }

    fn refill(&mut self, now: u64) {
        let elapsed = now.saturating_sub(self.refilled_at);
        if elapsed == 0 {
            return;
        }
        self.refilled_at = now;
        let gained = i64::try_from(elapsed).unwrap_or(i64::MAX).saturating_mul(self.per_second);
        self.level = self.level.saturating_add(gained).min(self.per_second * 1000);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(bucket: &mut Bucket, now: u64, amount: u64) -> bool {
        let allowed = bucket.allows(now, amount);
        if allowed {
            bucket.take(now, amount);
        }
        allowed
    }

    #[test]
    fn a_full_bucket_gives_one_second_and_then_its_rate() {
        let mut bucket = Bucket::new(1000);
        assert_eq!((0..1500).filter(|_| takes(&mut bucket, 10, 1)).count(), 1000);
        assert!(!takes(&mut bucket, 10, 1));
        assert!(takes(&mut bucket, 11, 1), "one millisecond refills one of a thousand");
        assert!(!takes(&mut bucket, 11, 1));
        assert_eq!((0..1500).filter(|_| takes(&mut bucket, 5000, 1)).count(), 1000, "never more than full");
    }

    #[test]
    fn more_than_a_second_is_allowed_from_full_only_and_leaves_a_debt() {
        let mut bucket = Bucket::new(100);
        assert!(takes(&mut bucket, 0, 250));
        assert!(!takes(&mut bucket, 1499, 1));
        assert!(!takes(&mut bucket, 1500, 1), "the debt is just paid");
        assert!(takes(&mut bucket, 1510, 1));
        assert!(!takes(&mut bucket, 2000, 250), "not full");
    }

    #[test]
    fn a_read_of_five_seconds_worth_blocks_for_five_seconds() {
        let mut bucket = Bucket::new(2 << 20);
        assert!(bucket.is_positive(1000));
        bucket.charge(1000, 10 << 20);
        assert!(!bucket.is_positive(5999));
        assert!(!bucket.is_positive(6000));
        assert!(bucket.is_positive(6001));
    }

    #[test]
    fn a_clock_that_steps_back_refills_nothing() {
        let mut bucket = Bucket::new(10);
        assert!(takes(&mut bucket, 5000, 10));
        assert!(!takes(&mut bucket, 4000, 1));
        assert!(takes(&mut bucket, 5100, 1));
    }
}
