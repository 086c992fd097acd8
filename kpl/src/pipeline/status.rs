//! Where the records are, and whether any of them moves.

use std::time::{Duration, Instant};

use crate::pipeline::Pipeline;
use crate::stats::{ProducerStats, QueueStatus, Sample};

/// With records to deliver and none answered for so long, the producer says why; then every minute until one is.
const STUCK_AFTER: Duration = Duration::from_secs(10);
const REPORT_EVERY: Duration = Duration::from_mins(1);

/// Since when nothing was answered.
#[derive(Debug, Default)]
pub(super) struct Progress {
    since: Option<Instant>,
    report_at: Option<Instant>,
}

impl Progress {
    /// Something was answered.
    pub(super) fn moved(&mut self, now: Instant) {
        (self.since, self.report_at) = (Some(now), Some(now + STUCK_AFTER));
    }

    /// Whether a report is due; nothing is while there is nothing to answer.
    fn is_report_due(&mut self, now: Instant, busy: bool) -> bool {
        if !busy {
            *self = Self::default();
            return false;
        }
        let report_at = *self.report_at.get_or_insert(now + STUCK_AFTER);
        self.since.get_or_insert(now);
        let due = report_at <= now;
        if due {
            self.report_at = Some(now + REPORT_EVERY);
        }
        due
    }
}

impl Pipeline {
    /// The queue status, when nothing has moved for too long.
    pub(super) fn stuck(&mut self, now: Instant) -> Option<QueueStatus> {
        let busy = self.has_work();
        self.progress.is_report_due(now, busy).then(|| self.queue_status(now))
    }

    /// When a report is due if nothing moves.
    pub(super) fn reports_at(&self) -> Option<Instant> {
        self.progress.report_at
    }

    pub(crate) fn stats(&self, now: Instant) -> ProducerStats {
        let mut stats = self.counters.stats();
        stats.queue = self.queue_status(now);
        stats.kinesis_records_queued = stats.queue.queued();
        stats.requests_in_flight = stats.queue.requests_in_flight;
        stats.throttled_shards = stats.queue.throttled_shards;
        stats.shard_map_questions = self.watch.asked();
        stats
    }

    /// What came since the last time, for a hook.
    pub(crate) fn take_samples(&mut self) -> Vec<Sample> {
        self.counters.take_samples()
    }

    /// Whether anything was sealed and not answered.
    pub(crate) fn has_work(&self) -> bool {
        !self.in_flight.is_empty()
            || self.limiter.queued() + self.collector.len() + self.retrier.len() + self.parked.len() > 0
    }

    fn queue_status(&self, now: Instant) -> QueueStatus {
        let flights = || self.in_flight.values();
        let records = || {
            flights()
                .flat_map(|flight| &flight.records)
                .chain(self.parked.values().map(|parked| &parked.record))
        };
        let oldest = [
            self.limiter.oldest(),
            self.collector.oldest(),
            self.retrier.oldest(),
            records().map(|record| record.opened).min(),
        ];
        let age = |since: Instant| now.saturating_duration_since(since);
        QueueStatus {
            in_limiter: self.limiter.queued(),
            in_collector: self.collector.len(),
            in_backoff: self.retrier.len(),
            waiting_for_shard_map: self.parked.len(),
            in_flight: flights().map(|flight| flight.records.len()).sum(),
            requests_in_flight: self.in_flight.len(),
            request_is_free: self.may_send(),
            throttled_shards: self.limiter.throttled_shards(now),
            longest_queue: self.limiter.longest().map(|(count, shard)| (count, shard.clone())),
            oldest_record: oldest.into_iter().flatten().min().map(age),
            oldest_request: flights().map(|flight| flight.started).min().map(age),
            stuck_for: if self.has_work() { self.progress.since.map(age) } else { None },
            last_error: self.last_error.clone(),
            map_error: self.map_error.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::start;

    #[test]
    fn a_report_comes_after_ten_seconds_without_an_answer_and_then_every_minute() {
        let at = |seconds| start() + Duration::from_secs(seconds);
        let mut progress = Progress::default();
        assert!(!progress.is_report_due(at(0), false));
        assert!(!progress.is_report_due(at(5), true));
        assert!(!progress.is_report_due(at(14), true));
        assert!(progress.is_report_due(at(15), true));
        assert!(!progress.is_report_due(at(74), true));
        assert!(progress.is_report_due(at(75), true));
        progress.moved(at(76));
        assert!(!progress.is_report_due(at(85), true));
        assert!(progress.is_report_due(at(86), true));
        assert!(!progress.is_report_due(at(200), false));
        assert!(!progress.is_report_due(at(201), true), "a new wait begins");
    }
}
