//! What `DescribeStreamSummary` says of the stream: its record size limit, and who decides where records go. Nothing depends on it: until
//! it is known, the service's defaults are assumed, and a wrong guess costs copies.

use std::time::{Duration, Instant};

use crate::pipeline::map_watch::{MapWatch, Pauses, Watch};

/// So often in a row the question may fail before it is given up until something surprises again.
const MAX_FAILURES: u32 = 3;
/// A stream that ignores keys shows no surprise when it begins to heed them, so it is asked again after so long.
const RECHECK: Duration = Duration::from_mins(5);

/// What the producer needs to know of the stream beside its shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamSummary {
    pub(crate) max_record_bytes: usize,
    /// The service picks shards itself and ignores keys.
    pub(crate) auto: bool,
}

#[derive(Debug)]
pub(crate) struct Summary {
    watch: MapWatch,
    known: Option<StreamSummary>,
    failures: u32,
    recheck: Option<Instant>,
}

impl Summary {
    pub(crate) fn new(seed: u64, fleet_size: u32) -> Self {
        let watch = MapWatch::new(seed, Pauses::summary(fleet_size));
        Self { watch, known: None, failures: 0, recheck: None }
    }

    pub(crate) fn want(&mut self, now: Instant) {
        self.watch.want(now);
    }

    /// Asked for once at the start, then when there is a reason.
    pub(crate) fn want_first(&mut self, now: Instant) {
        if self.watch.asked() == 0 {
            self.watch.want(now);
        }
    }

    pub(crate) fn next(&mut self, now: Instant) -> Watch {
        if self.recheck.is_some_and(|at| at <= now) {
            self.recheck = None;
            self.watch.want(now);
        }
        match self.watch.next(now) {
            Watch::Nothing => self.recheck.map_or(Watch::Nothing, Watch::WaitUntil),
            watch => watch,
        }
    }

    /// Whether the service ignores keys, as far as is known.
    pub(crate) fn auto(&self) -> bool {
        self.known.is_some_and(|known| known.auto)
    }

    /// Takes the answer. True if the distribution changed.
    pub(crate) fn answered(&mut self, now: Instant, summary: StreamSummary) -> bool {
        let was_auto = self.auto();
        self.watch.arrived(now, self.known != Some(summary));
        (self.known, self.failures) = (Some(summary), 0);
        self.recheck = summary.auto.then_some(now + RECHECK);
        was_auto != summary.auto
    }

    /// No answer. True if it is given up for now.
    pub(crate) fn failed(&mut self, now: Instant, hopeless: bool) -> bool {
        self.watch.failed(now);
        self.failures += 1;
        let gives_up = hopeless || self.failures >= MAX_FAILURES;
        if gives_up {
            self.failures = 0;
            self.watch.forget();
        }
        gives_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::start;

    const BY_KEY: StreamSummary = StreamSummary { max_record_bytes: 1 << 20, auto: false };

    fn asks(summary: &mut Summary, mut now: Instant) -> u32 {
        let mut asked = 0;
        for _ in 0..10 {
            match summary.next(now) {
                Watch::Ask => {
                    asked += 1;
                    summary.failed(now, false);
                }
                Watch::WaitUntil(at) => now = at,
                Watch::Nothing => break,
            }
        }
        asked
    }

    #[test]
    fn a_question_that_fails_is_given_up_after_three_times_and_asked_again_with_a_reason() {
        let mut summary = Summary::new(1, 1);
        summary.want_first(start());
        assert_eq!(asks(&mut summary, start()), 3);
        summary.want_first(start());
        assert_eq!(asks(&mut summary, start()), 0);
        summary.want(start());
        assert_eq!(asks(&mut summary, start()), 3);
    }

    #[test]
    fn a_stream_that_ignores_keys_is_asked_again_after_five_minutes() {
        let mut summary = Summary::new(1, 1);
        summary.want_first(start());
        assert_eq!(summary.next(start()), Watch::Ask);
        assert!(summary.answered(start(), StreamSummary { auto: true, ..BY_KEY }));
        assert!(summary.auto());
        assert_eq!(summary.next(start()), Watch::WaitUntil(start() + RECHECK));
        let now = start() + RECHECK;
        let Watch::WaitUntil(at) = summary.next(now) else { panic!("spread over the fleet") };
        assert_eq!(summary.next(at), Watch::Ask);
        assert!(summary.answered(at, BY_KEY));
        assert_eq!(summary.next(at + RECHECK), Watch::Nothing);
    }
}
