//! Where the time of a Kinesis record goes.

use std::fmt;
use std::time::{Duration, Instant};

/// Where a record spent the end of its life when it expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitedIn {
    /// Its open aggregate, for company.
    Aggregation,
    /// The queue of its shard: more is put than the shard takes, or no request was free.
    Limiter,
    /// A request that was being filled.
    Collector,
    /// The pause before a retry: attempts kept failing.
    Backoff,
    /// The queue for a shard map that would say where it belongs.
    ShardMap,
    /// A request: the last attempt ended after the time to live.
    Request,
}

impl fmt::Display for WaitedIn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Aggregation => "its open aggregate",
            Self::Limiter => "the rate limiter of its shard",
            Self::Collector => "a request that was being filled",
            Self::Backoff => "the pause before a retry",
            Self::ShardMap => "the queue for a new shard map",
            Self::Request => "a request",
        })
    }
}

/// How long a record was where, from the acceptance of the oldest user record in its aggregate on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TimeSpent {
    /// In its open aggregate.
    pub aggregation: Duration,
    /// In the queue of its shard, for the shard's rate or for a free request.
    pub limiter: Duration,
    /// In a request that was being filled.
    pub collector: Duration,
    /// In requests.
    pub request: Duration,
    /// In pauses before retries.
    pub backoff: Duration,
    /// Waiting for a shard map.
    pub shard_map: Duration,
}

impl TimeSpent {
    fn of(&mut self, place: WaitedIn) -> &mut Duration {
        match place {
            WaitedIn::Aggregation => &mut self.aggregation,
            WaitedIn::Limiter => &mut self.limiter,
            WaitedIn::Collector => &mut self.collector,
            WaitedIn::Request => &mut self.request,
            WaitedIn::Backoff => &mut self.backoff,
            WaitedIn::ShardMap => &mut self.shard_map,
        }
    }
}

/// The places with their share, the largest first; what is below a tenth of a second is left out.
impl fmt::Display for TimeSpent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shares = [
            (self.aggregation, "aggregating"),
            (self.limiter, "queued for the shard"),
            (self.collector, "collecting"),
            (self.request, "in requests"),
            (self.backoff, "pausing before retries"),
            (self.shard_map, "waiting for a shard map"),
        ];
        shares.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
        let shown = shares.iter().filter(|(time, _)| *time >= Duration::from_millis(100));
        for (index, (time, place)) in shown.enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(formatter, "{comma}{:.1} s {place}", time.as_secs_f64())?;
        }
        Ok(())
    }
}

/// The time of one record so far, and where it is now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeline {
    place: WaitedIn,
    since: Instant,
    spent: TimeSpent,
}

impl Timeline {
    pub(crate) fn opened(at: Instant) -> Self {
        Self { place: WaitedIn::Aggregation, since: at, spent: TimeSpent::default() }
    }

    /// It is here from now on.
    pub(crate) fn moved(&mut self, now: Instant, place: WaitedIn) {
        *self.spent.of(self.place) += now.saturating_duration_since(self.since);
        (self.place, self.since) = (place, now);
    }

    pub(crate) fn place(&self) -> WaitedIn {
        self.place
    }

    /// Everything up to now.
    pub(crate) fn spent(mut self, now: Instant) -> TimeSpent {
        self.moved(now, self.place);
        self.spent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::start;

    #[test]
    fn every_moment_is_charged_to_one_place() {
        let at = |millis| start() + Duration::from_millis(millis);
        let mut timeline = Timeline::opened(at(0));
        timeline.moved(at(80), WaitedIn::Limiter);
        timeline.moved(at(1080), WaitedIn::Request);
        timeline.moved(at(7080), WaitedIn::Backoff);
        timeline.moved(at(7180), WaitedIn::Limiter);
        let spent = timeline.spent(at(30_000));
        assert_eq!(spent.limiter, Duration::from_millis(1000 + 22_820));
        assert_eq!(
            spent.aggregation + spent.limiter + spent.request + spent.backoff,
            Duration::from_secs(30)
        );
        assert_eq!(
            spent.to_string(),
            "23.8 s queued for the shard, 6.0 s in requests, 0.1 s pausing before retries"
        );
        assert_eq!(timeline.place(), WaitedIn::Limiter);
    }
}
