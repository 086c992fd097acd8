//! What an account has agreed to: a minimum of throughput that it pays for, which on-demand streams need before they
//! can be kept warm.

/// Once begun, it lasts at least so long.
const LEAST_MILLIS: u64 = 86_400_000;

/// The billing commitment of one account in one region. Times in milliseconds since the epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Commitment {
    started_at: Option<u64>,
    /// In the future: it ends then.
    ended_at: Option<u64>,
}

impl Commitment {
    pub(crate) fn is_in_force(self, now: u64) -> bool {
        self.started_at.is_some() && self.ended_at.is_none_or(|end| end > now)
    }

    pub(crate) fn status(self, now: u64) -> &'static str {
        match self.ended_at {
            _ if !self.is_in_force(now) => "DISABLED",
            Some(_) => "ENABLED_UNTIL_EARLIEST_ALLOWED_END",
            None => "ENABLED",
        }
    }

    pub(crate) fn started_at(self) -> Option<u64> {
        self.started_at
    }

    /// When it ended, or will.
    pub(crate) fn ended_at(self) -> Option<u64> {
        self.ended_at
    }

    pub(crate) fn earliest_end(self) -> Option<u64> {
        self.started_at.map(|start| start.saturating_add(LEAST_MILLIS))
    }

    /// Begins it, or takes back the announcement of its end.
    pub(crate) fn enable(&mut self, now: u64) {
        if !self.is_in_force(now) {
            self.started_at = Some(now);
        }
        self.ended_at = None;
    }

    /// Ends it as soon as it may.
    pub(crate) fn disable(&mut self, now: u64) {
        if let Some(earliest) = self.earliest_end().filter(|_| self.is_in_force(now)) {
            self.ended_at = Some(earliest.max(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_within_the_first_day_waits_for_it() {
        let mut commitment = Commitment::default();
        assert_eq!(commitment.status(5), "DISABLED");
        commitment.disable(5);
        assert_eq!(commitment, Commitment::default());
        commitment.enable(10);
        assert_eq!((commitment.status(10), commitment.earliest_end()), ("ENABLED", Some(10 + LEAST_MILLIS)));
        commitment.disable(20);
        assert_eq!(commitment.status(20), "ENABLED_UNTIL_EARLIEST_ALLOWED_END");
        commitment.enable(30);
        assert_eq!((commitment.status(30), commitment.started_at()), ("ENABLED", Some(10)));
        commitment.disable(40);
        assert_eq!(commitment.status(10 + LEAST_MILLIS), "DISABLED");
        assert_eq!(commitment.ended_at(), Some(10 + LEAST_MILLIS));
    }

    #[test]
    fn after_the_first_day_it_ends_at_once_and_can_begin_again() {
        let mut commitment = Commitment::default();
        commitment.enable(10);
        commitment.disable(20 + LEAST_MILLIS);
        assert_eq!(commitment.status(20 + LEAST_MILLIS), "DISABLED");
        commitment.enable(30 + LEAST_MILLIS);
        assert_eq!(commitment.started_at(), Some(30 + LEAST_MILLIS));
    }
}
