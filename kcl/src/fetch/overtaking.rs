//! Whether the stream's retention has overtaken a reader, so that records were trimmed before they were read.
//!
//! The service says nothing: it goes on at the first record that it still has. But each answer says how far behind the tip it
//! ends, so what had arrived by then is read. What arrived since grows old while nobody reads; what is older than the retention
//! at the next read is gone. No clock is needed but our own, for the time between two answers.

use std::time::{Duration, Instant};

use kinesis_shard::limits;

/// A reader that stays at the trim horizon loses a little with every read: what it loses is told together.
const TELL_EVERY: Duration = Duration::from_mins(1);

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Overtaking {
    /// When the last answer came, and how far behind the tip it ended.
    read_to: Option<(Instant, Duration)>,
    retention: Option<Duration>,
    untold: Duration,
    told_at: Option<Instant>,
}

impl Overtaking {
    fn lag(&self, now: Instant) -> Duration {
        self.read_to.map_or(Duration::ZERO, |(at, behind)| now.saturating_duration_since(at) + behind)
    }

    /// Whether a read now might find that records are gone: whether it does depends on the retention, of at least a day.
    pub(crate) fn is_possible(&self, now: Instant) -> bool {
        self.lag(now) > limits::RETENTION_MIN
    }

    /// The stream's retention, if it could be found out. Nothing is told without it.
    pub(crate) fn retention(&mut self, retention: Option<Duration>) {
        self.retention = retention;
    }

    /// Takes in an answer to what was sent at `sent_at`. For how long records arrived that are gone, if that is to be told.
    pub(crate) fn answered(
        &mut self,
        sent_at: Instant,
        now: Instant,
        millis_behind: Option<u64>,
    ) -> Option<Duration> {
        if let Some(retention) = self.retention.filter(|_| self.is_possible(sent_at)) {
            self.untold += self.lag(sent_at).saturating_sub(retention);
        }
        self.read_to = millis_behind.map(|millis| (now, Duration::from_millis(millis)));
        let due = self.told_at.is_none_or(|at| now.saturating_duration_since(at) >= TELL_EVERY);
        (due && !self.untold.is_zero()).then(|| {
            self.told_at = Some(now);
            std::mem::take(&mut self.untold)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::test_support::now;

    const HOUR: Duration = Duration::from_hours(1);

    fn at(hours: u32) -> Instant {
        now() + HOUR * hours
    }

    #[test]
    fn what_arrived_and_grew_too_old_between_two_reads_is_lost() {
        // Behind at the first read, hours until the next one, retention; hours lost.
        let cases = [
            (0, 23, Some(24), None),
            (0, 24, Some(24), None),
            (0, 30, Some(24), Some(6)),
            (20, 10, Some(24), Some(6)),
            (20, 10, Some(48), None),
            (0, 30, None, None),
            (160, 20, Some(168), Some(12)),
        ];
        for (behind, pause, retention, lost) in cases {
            let began = at(0);
            let mut overtaking = Overtaking::default();
            assert_eq!(overtaking.answered(began, began, Some(behind * 3_600_000)), None, "the first read");
            let next = began + HOUR * pause;
            assert_eq!(overtaking.is_possible(next), behind + u64::from(pause) > 24);
            overtaking.retention(retention.map(|hours| HOUR * hours));
            let found = overtaking.answered(next, next, Some(0));
            assert_eq!(found, lost.map(|hours| HOUR * hours), "{behind} {pause} {retention:?}");
            assert!(!overtaking.is_possible(next), "caught up");
        }
    }

    #[test]
    fn an_answer_that_does_not_say_how_far_behind_it_is_proves_nothing() {
        let (began, mut overtaking) = (at(0), Overtaking::default());
        overtaking.retention(Some(HOUR * 24));
        overtaking.answered(began, began, None);
        assert_eq!(overtaking.answered(began + HOUR * 30, began + HOUR * 30, Some(0)), None);
    }

    #[test]
    fn a_reader_that_stays_at_the_horizon_is_told_once_a_minute_and_of_all_of_it() {
        let (mut now, mut overtaking) = (at(0), Overtaking::default());
        let day = 24 * 3_600_000;
        overtaking.retention(Some(HOUR * 24));
        overtaking.answered(now, now, Some(day));
        let mut told = Vec::new();
        for _ in 0..600 {
            now += Duration::from_secs(1);
            told.extend(overtaking.answered(now, now, Some(day)));
        }
        assert_eq!(told.len(), 10, "{told:?}");
        let sum: Duration = told.iter().sum();
        assert!(sum > Duration::from_secs(500) && sum <= Duration::from_mins(10), "{sum:?}");
    }
}
