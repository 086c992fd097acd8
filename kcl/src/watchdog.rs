//! Names shards that make no progress, and calls that do not return.
//!
//! Pure: it is shown what each shard waits for, and says what is news. Nothing is told twice for the same age: the first
//! time at the threshold, then each time the age has doubled, so that an outage of a night is a dozen lines and not ten
//! thousand.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::board::{Progress, StuckWhy};
use crate::event::{ConsumerEvent, ProcessorCall};
use crate::lease::LeaseKey;

/// From when on something is told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Thresholds {
    /// A call of a processor.
    pub(crate) slow: Duration,
    /// A shard.
    pub(crate) stuck: Duration,
}

/// Remembers what was told.
#[derive(Debug)]
pub(crate) struct Watchdog {
    thresholds: Thresholds,
    shards: BTreeMap<LeaseKey, Told>,
}

#[derive(Debug, Default)]
struct Told {
    slow: Option<(Instant, Duration)>,
    stuck: Option<(Instant, Duration)>,
}

/// Whether an age is news: at the threshold, and whenever it has doubled since it was last told.
fn is_news(
    told: &mut Option<(Instant, Duration)>,
    since: Instant,
    age: Duration,
    threshold: Duration,
) -> bool {
    let before = told.filter(|(told_since, _)| *told_since == since).map(|(_, age)| age);
    let due = before.map_or(threshold, |before| before * 2);
    if age < due {
        return false;
    }
    *told = Some((since, age));
    true
}

impl Watchdog {
    pub(crate) fn new(thresholds: Thresholds) -> Self {
        Self { thresholds, shards: BTreeMap::new() }
    }

    /// How long until the next look, so that nothing is told much later than its threshold.
    pub(crate) fn interval(&self) -> Duration {
        (self.thresholds.slow.min(self.thresholds.stuck) / 4).max(Duration::from_millis(100))
    }

    /// What is news now. Shards that are not shown any more are forgotten.
    pub(crate) fn look(
        &mut self,
        now: Instant,
        shards: &[(LeaseKey, std::sync::Arc<Progress>)],
    ) -> Vec<ConsumerEvent> {
        let mut before = std::mem::take(&mut self.shards);
        let mut news = Vec::new();
        for (key, progress) in shards {
            let mut told = before.remove(key).unwrap_or_default();
            self.slow(now, progress, &mut told, &mut news);
            self.stuck(now, progress, &mut told, &mut news);
            self.shards.insert(key.clone(), told);
        }
        news
    }

    fn slow(&self, now: Instant, progress: &Progress, told: &mut Told, news: &mut Vec<ConsumerEvent>) {
        let Some((call, since)) = progress.call() else {
            told.slow = None;
            return;
        };
        let running_for = now.saturating_duration_since(since);
        if is_news(&mut told.slow, since, running_for, self.thresholds.slow) {
            news.push(slow_event(progress, call, running_for));
        }
    }

    fn stuck(&self, now: Instant, progress: &Progress, told: &mut Told, news: &mut Vec<ConsumerEvent>) {
        let waits: Option<(StuckWhy, Instant)> = progress.waits();
        let since = waits.as_ref().map(|(_, since)| *since);
        if let Some((told_since, _)) = told.stuck
            && since != Some(told_since)
        {
            told.stuck = None;
            let stuck_for = now.saturating_duration_since(told_since);
            news.push(ConsumerEvent::ShardMovesAgain { shard: progress.shard().clone(), stuck_for });
        }
        let Some((why, since)) = waits else { return };
        let stuck_for = now.saturating_duration_since(since);
        if is_news(&mut told.stuck, since, stuck_for, self.thresholds.stuck) {
            news.push(ConsumerEvent::ShardStuck { shard: progress.shard().clone(), why, stuck_for });
        }
    }
}

fn slow_event(progress: &Progress, call: ProcessorCall, running_for: Duration) -> ConsumerEvent {
    ConsumerEvent::ProcessorSlow { shard: progress.shard().clone(), call, running_for }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kinesis_shard::{Checkpoint, ShardId};

    use super::*;
    use crate::board::{ReadState, ShardState};
    use crate::event::StreamShard;
    use crate::lease::WorkerId;
    use crate::lease::test_support::{key, now};

    const SLOW: Duration = Duration::from_secs(10);
    const STUCK: Duration = Duration::from_mins(1);

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn watched(now: Instant) -> (Watchdog, Arc<Progress>) {
        let shard = StreamShard { stream: "orders".into(), shard_id: ShardId::from_index(0) };
        let progress = Progress::new(shard, WorkerId::new("ann"), vec![], Checkpoint::TrimHorizon, now);
        progress.state(ShardState::Reading, now);
        (Watchdog::new(Thresholds { slow: SLOW, stuck: STUCK }), Arc::new(progress))
    }

    /// At which seconds something was told, looking each second.
    fn told(dog: &mut Watchdog, progress: &Arc<Progress>, start: Instant, until: u64) -> Vec<(u64, String)> {
        let mut told = Vec::new();
        for second in 0..=until {
            let news = dog.look(start + secs(second), &[(key(0), Arc::clone(progress))]);
            told.extend(news.into_iter().map(|event| (second, event.to_string())));
        }
        told
    }

    #[test]
    fn an_age_is_told_at_the_threshold_and_at_each_doubling() {
        let start = now();
        let (mut dog, progress) = watched(start);
        progress.state(ShardState::Processing, start);
        progress.call_began(ProcessorCall::ProcessRecords, start);
        let told = told(&mut dog, &progress, start, 200);
        let slow: Vec<_> =
            told.iter().filter(|(_, text)| text.contains("running")).map(|(at, _)| *at).collect();
        let stuck: Vec<_> =
            told.iter().filter(|(_, text)| text.contains("progress")).map(|(at, _)| *at).collect();
        assert_eq!((slow, stuck), (vec![10, 20, 40, 80, 160], vec![60, 120]));
    }

    #[test]
    fn a_stuck_shard_that_moves_again_is_told_once() {
        let start = now();
        let (mut dog, progress) = watched(start);
        progress.read(ReadState::Throttled, start);
        assert_eq!(told(&mut dog, &progress, start, 70).len(), 1);
        progress.polled(None, start + secs(71));
        let later = told(&mut dog, &progress, start + secs(72), 500);
        assert_eq!(later, [(0, "orders/shardId-000000000000 makes progress again after 72s".to_owned())]);
    }

    #[test]
    fn a_quiet_shard_is_not_stuck() {
        let start = now();
        let (mut dog, progress) = watched(start);
        assert_eq!(told(&mut dog, &progress, start, 5_000), []);
    }

    #[test]
    fn another_call_begins_anew() {
        let start = now();
        let (mut dog, progress) = watched(start);
        for round in 0..3 {
            let at = start + secs(round * 100);
            progress.state(ShardState::Processing, at);
            progress.call_began(ProcessorCall::ProcessRecords, at);
            assert_eq!(told(&mut dog, &progress, at, 15).len(), 1);
            progress.call_returned(None);
            progress.state(ShardState::Reading, at + secs(16));
        }
    }
}
