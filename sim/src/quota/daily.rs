//! How often something was done within the last 24 hours.

use std::collections::VecDeque;

const DAY_MILLIS: u64 = 86_400_000;

/// The times of what counts against a limit per rolling 24 hours; it holds no more of them than the limit.
#[derive(Debug, Clone, Default)]
pub(crate) struct DayLog {
    times: VecDeque<u64>,
}

impl DayLog {
    /// Whether it may be done once more now. A limit of zero stands for none.
    pub(crate) fn allows(&mut self, now: u64, most: usize) -> bool {
        while self.times.front().is_some_and(|time| now.saturating_sub(*time) >= DAY_MILLIS) {
            self.times.pop_front();
        }
        most == 0 || self.times.len() < most
    }

    /// Counts what is done now.
    pub(crate) fn note(&mut self, now: u64) {
        self.times.push_back(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_rolls() {
        let mut log = DayLog::default();
        for time in [0, 1000] {
            assert!(log.allows(time, 2));
            log.note(time);
        }
        assert!(!log.allows(DAY_MILLIS - 1, 2));
        assert!(log.allows(DAY_MILLIS, 2), "the first is a day old");
        log.note(DAY_MILLIS);
        assert!(!log.allows(DAY_MILLIS + 999, 2));
        assert!(log.allows(DAY_MILLIS + 1000, 2));
    }

    #[test]
    fn zero_is_no_limit() {
        let mut log = DayLog::default();
        (0..100).for_each(|time| log.note(time));
        assert!(log.allows(100, 0));
    }
}
