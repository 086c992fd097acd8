//! Retry intervals: exponential with equal jitter. The only file that names the `backon` crate.

use std::{fmt, time::Duration};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// Odd and close to 2^64 divided by the golden ratio: consecutive multiples are far apart.
const SEED_STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// An endless series of growing delays, each drawn from the upper half of its bound (equal jitter).
///
/// The bound of the n-th delay is `min * factor^n`, at most `max`; the delay itself lies between half the bound
/// and the bound. Half is certain, so that a fleet never hammers; half is drawn, so that it spreads out.
/// The draw depends on the seed alone: the same seed gives the same delays.
pub struct Backoff {
    min: Duration,
    max: Duration,
    factor: f32,
    seed: u64,
    delays: ExponentialBackoff,
}

impl Backoff {
    /// Delays that grow from `min` by `factor` up to `max`.
    ///
    /// A `max` below `min` counts as `min`; a `factor` below 1 or not finite counts as 1. With a `min` of zero
    /// there is no delay at all.
    pub fn new(min: Duration, max: Duration, factor: f32, seed: u64) -> Self {
        let max = max.max(min);
        let factor = if factor.is_finite() { factor.max(1.0) } else { 1.0 };
        Self { min, max, factor, seed, delays: delays(min, max, factor, seed) }
    }

    /// The next delay, and one step further.
    pub fn next_delay(&mut self) -> Duration {
        // The series has no last element; were there one, the greatest delay is the safe answer.
        self.delays.next().unwrap_or(self.max).min(self.max)
    }

    /// Starts again from `min`, after a success. The jitter goes on with fresh draws.
    pub fn reset(&mut self) {
        self.seed = self.seed.wrapping_add(SEED_STEP);
        self.delays = delays(self.min, self.max, self.factor, self.seed);
    }
}

/// `backon` draws between a delay and its double, hence the halves.
fn delays(min: Duration, max: Duration, factor: f32, seed: u64) -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(min / 2)
        .with_max_delay(max / 2)
        .with_factor(factor)
        .with_jitter()
        .with_jitter_seed(seed)
        .without_max_times()
        .build()
}

impl fmt::Debug for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backoff")
            .field("min", &self.min)
            .field("max", &self.max)
            .field("factor", &self.factor)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIN: Duration = Duration::from_millis(100);
    const MAX: Duration = Duration::from_secs(5);

    fn first(backoff: &mut Backoff, count: usize) -> Vec<Duration> {
        (0..count).map(|_| backoff.next_delay()).collect()
    }

    #[test]
    fn each_delay_lies_in_the_upper_half_of_its_bound() {
        let mut backoff = Backoff::new(MIN, MAX, 2.0, 7);
        let slack = Duration::from_micros(10);
        for bound_ms in [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000] {
            let bound = Duration::from_millis(bound_ms);
            let delay = backoff.next_delay();
            assert!(delay + slack >= bound / 2 && delay <= bound + slack, "{delay:?} for {bound:?}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_delays_and_another_seed_others() {
        let series = |seed| first(&mut Backoff::new(MIN, MAX, 1.5, seed), 20);
        assert_eq!(series(1), series(1));
        assert_ne!(series(1), series(2));
    }

    #[test]
    fn reset_starts_small_again_with_fresh_draws() {
        let mut backoff = Backoff::new(MIN, MAX, 2.0, 3);
        let before = first(&mut backoff, 10);
        backoff.reset();
        let after = first(&mut backoff, 10);
        assert!(after[0] <= MIN);
        assert_ne!(before, after);
    }

    #[test]
    fn a_maximum_below_the_minimum_counts_as_the_minimum() {
        let mut backoff = Backoff::new(MIN, Duration::ZERO, 2.0, 0);
        assert!(first(&mut backoff, 50).iter().all(|delay| (MIN / 2..=MIN).contains(delay)));
    }

    #[test]
    fn a_minimum_of_zero_never_waits() {
        let mut backoff = Backoff::new(Duration::ZERO, MAX, 2.0, 0);
        assert!(first(&mut backoff, 50).iter().all(Duration::is_zero));
    }

    proptest! {
        #[test]
        fn never_panics_and_never_exceeds_the_maximum(min: u64, max: u64, factor: f32, seed: u64) {
            let (min, max) = (Duration::from_nanos(min), Duration::from_nanos(max));
            let mut backoff = Backoff::new(min, max, factor, seed);
            for delay in first(&mut backoff, 100) {
                prop_assert!(delay <= min.max(max));
            }
        }

        #[test]
        fn survives_the_longest_durations(seed: u64) {
            let mut backoff = Backoff::new(Duration::MAX, Duration::MAX, 2.0, seed);
            prop_assert!(first(&mut backoff, 10).iter().all(|delay| *delay >= Duration::MAX / 4));
        }
    }
}
