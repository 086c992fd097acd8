//! The clock that drivers read: tokio's, so that tests can pause it and simulations can run on virtual time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How far ahead a timer is set when the instant asked for cannot be expressed: as good as never.
const FAR_AHEAD: Duration = Duration::from_hours(30 * 365 * 24);

/// Monotonic time, possibly running at another rate than the runtime's.
///
/// The default clock is the runtime's own. One with a rate stands for a worker whose oscillator is off: two
/// workers in one simulated world then disagree about how long something took, as they do in the field.
/// Pure code does not hold a clock; it takes `now` as an argument.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    drift: Option<Drift>,
    freezer: Option<Freezer>,
}

#[derive(Debug, Clone, Copy)]
struct Drift {
    origin: Instant,
    rate: f64,
}

impl Clock {
    /// A clock on which `rate` seconds pass for every second of the runtime, from now on.
    ///
    /// # Panics
    ///
    /// If `rate` is not a positive, finite number.
    pub fn with_rate(rate: f64) -> Self {
        assert!(rate.is_finite() && rate > 0.0, "a clock needs a positive, finite rate, not {rate}");
        Self { drift: Some(Drift { origin: runtime_now(), rate }), freezer: None }
    }

    /// The same clock for a process that `freezer` can stop: time goes on, but no timer fires before it thaws.
    #[must_use]
    pub fn frozen_by(mut self, freezer: &Freezer) -> Self {
        self.freezer = Some(freezer.clone());
        self
    }

    /// The time on this clock.
    pub fn now(&self) -> Instant {
        let now = runtime_now();
        let Some(Drift { origin, rate }) = self.drift else { return now };
        let elapsed = scale(now.saturating_duration_since(origin), rate);
        origin.checked_add(elapsed).unwrap_or(now)
    }

    /// Waits until this clock shows `deadline`; at once if it already does.
    ///
    /// When it returns, [`now`](Self::now) is at or after `deadline`. Cancel safe: dropping it leaves nothing behind.
    pub async fn sleep_until(&self, deadline: Instant) {
        let runtime_deadline = self.on_runtime(deadline);
        tokio::time::sleep_until(runtime_deadline.into()).await;
        if let Some(freezer) = &self.freezer {
            freezer.thawed().await;
        }
    }

    /// Waits for `duration` on this clock. Cancel safe.
    pub async fn sleep(&self, duration: Duration) {
        let now = self.now();
        self.sleep_until(now.checked_add(duration).unwrap_or(now + FAR_AHEAD)).await;
    }

    /// When the runtime's clock will be where this one shows `deadline`.
    fn on_runtime(&self, deadline: Instant) -> Instant {
        let Some(Drift { origin, rate }) = self.drift else { return deadline };
        let remaining = scale(deadline.saturating_duration_since(origin), rate.recip());
        // Scaling there and back rounds; waking a hair early would make drivers spin on a paused clock.
        let remaining = remaining.saturating_add(Duration::from_micros(1));
        origin.checked_add(remaining).unwrap_or(origin + FAR_AHEAD)
    }
}

/// Stops a simulated process for a while, as a paused machine or a stopped process is: everything that it waits for comes
/// late and all at once, while its clock shows that time has passed. Clones are one freezer.
///
/// It stops what waits on a [`Clock::frozen_by`] it; whoever simulates the world holds back answers with
/// [`thawed`](Self::thawed).
#[derive(Debug, Clone, Default)]
pub struct Freezer(Arc<Mutex<Option<Instant>>>);

impl Freezer {
    /// One that has stopped nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops the process for `duration` of the runtime's time from now; a longer stop that is under way stays.
    pub fn freeze(&self, duration: Duration) {
        let end = runtime_now() + duration.min(FAR_AHEAD);
        let mut until = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *until = Some(until.map_or(end, |until| until.max(end)));
    }

    /// Waits until the process runs. Cancel safe.
    pub async fn thawed(&self) {
        loop {
            let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match until {
                Some(until) if until > runtime_now() => tokio::time::sleep_until(until.into()).await,
                _ => return,
            }
        }
    }
}

fn scale(duration: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(duration.as_secs_f64() * factor).unwrap_or(FAR_AHEAD)
}

#[expect(clippy::disallowed_methods, reason = "this is the edge at which time enters")]
fn runtime_now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    #[tokio::test(start_paused = true)]
    async fn the_default_clock_is_the_runtimes() {
        let clock = Clock::default();
        let start = clock.now();
        tokio::time::advance(MINUTE).await;
        assert_eq!(clock.now() - start, MINUTE);
        clock.sleep_until(start + 2 * MINUTE).await;
        assert!(clock.now() >= start + 2 * MINUTE);
    }

    #[tokio::test(start_paused = true)]
    async fn clocks_with_different_rates_disagree_about_the_same_minute() {
        let (slow, fast) = (Clock::with_rate(0.5), Clock::with_rate(2.0));
        let (slow_start, fast_start) = (slow.now(), fast.now());
        tokio::time::advance(MINUTE).await;
        assert_eq!(slow.now() - slow_start, MINUTE / 2);
        assert_eq!(fast.now() - fast_start, 2 * MINUTE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sleep_is_over_when_this_clock_says_so_and_not_before() {
        for rate in [0.1, 0.333, 0.999, 1.0, 1.001, 1.7, 3.0] {
            let clock = Clock::with_rate(rate);
            let runtime = Clock::default();
            let (start, runtime_start) = (clock.now(), runtime.now());
            clock.sleep_until(start + MINUTE).await;
            assert!(clock.now() >= start + MINUTE, "{rate}");
            let expected = MINUTE.div_f64(rate);
            let took = runtime.now() - runtime_start;
            assert!(took + Duration::from_millis(1) >= expected, "{rate}: {took:?}");
            assert!(took <= expected + Duration::from_millis(2), "{rate}: {took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_in_the_past_is_over_at_once() {
        let clock = Clock::with_rate(2.0);
        let start = clock.now();
        tokio::time::advance(MINUTE).await;
        let before = clock.now();
        clock.sleep_until(start).await;
        assert_eq!(clock.now(), before);
    }

    #[tokio::test(start_paused = true)]
    async fn while_frozen_time_passes_and_no_timer_fires() {
        let freezer = Freezer::new();
        let clock = Clock::with_rate(2.0).frozen_by(&freezer);
        let start = clock.now();
        freezer.freeze(MINUTE);
        freezer.freeze(MINUTE / 2);
        clock.sleep(Duration::from_secs(1)).await;
        assert!(clock.now() - start >= 2 * MINUTE, "the longer stop holds, on the runtime's time");
        let thawed = clock.now();
        clock.sleep(Duration::from_secs(1)).await;
        assert!(clock.now() - thawed < MINUTE / 10);
    }

    #[tokio::test(start_paused = true)]
    async fn sleeping_for_ever_can_be_cancelled() {
        let clock = Clock::with_rate(0.001);
        let slept = tokio::time::timeout(MINUTE, clock.sleep(Duration::MAX)).await;
        assert!(slept.is_err());
    }

    #[test]
    #[should_panic(expected = "positive, finite rate")]
    fn a_clock_that_stands_still_is_refused() {
        let _never = Clock::with_rate(0.0);
    }
}
