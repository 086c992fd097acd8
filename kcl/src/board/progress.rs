use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kinesis_shard::{Checkpoint, ShardId};

use super::{ShardState, ShardStatus, StuckWhy};
use crate::event::{ProcessorCall, StreamShard};
use crate::lease::{LeaseKey, WorkerId};

/// What became of the last read, or what the present one waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReadState {
    /// Nothing is to be read now: there is enough in hand, or the pause between two reads.
    Resting,
    /// It was sent.
    Sent,
    /// The last one was refused because of the shard's limits.
    Throttled,
    /// The last one failed.
    Failed(Arc<str>),
}

/// What one shard writes down about itself. Cheap: one short lock for each step, none for each record.
#[derive(Debug)]
pub(crate) struct Progress {
    shard: StreamShard,
    owner: WorkerId,
    parents: Vec<ShardId>,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    state: ShardState,
    state_since: Instant,
    /// When anything last went forward: a step, an answer to a read, a batch.
    moved_at: Instant,
    position: Checkpoint,
    checkpoint: Checkpoint,
    millis_behind_latest: Option<u64>,
    last_poll: Option<Instant>,
    last_delivery: Option<Instant>,
    last_checkpoint: Option<Instant>,
    /// The call of the processor that is under way.
    call: Option<(ProcessorCall, Instant)>,
    failed_attempts: u32,
    last_error: Option<Arc<str>>,
    in_doubt: bool,
    paused: bool,
    read: ReadState,
    /// Since when a read has been wanted that was not answered with records or with none.
    read_since: Option<Instant>,
}

impl Written {
    fn note_result(&mut self, failure: Option<Arc<str>>) {
        self.failed_attempts = if failure.is_some() { self.failed_attempts.saturating_add(1) } else { 0 };
        self.last_error = failure;
    }
}

impl Progress {
    pub(crate) fn new(
        shard: StreamShard,
        owner: WorkerId,
        parents: Vec<ShardId>,
        checkpoint: Checkpoint,
        now: Instant,
    ) -> Self {
        let written = Written {
            state: ShardState::WaitingForParents,
            state_since: now,
            moved_at: now,
            position: checkpoint,
            checkpoint,
            millis_behind_latest: None,
            last_poll: None,
            last_delivery: None,
            last_checkpoint: None,
            call: None,
            failed_attempts: 0,
            last_error: None,
            in_doubt: false,
            paused: false,
            read: ReadState::Resting,
            read_since: None,
        };
        Self { shard, owner, parents, written: Mutex::new(written) }
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn shard(&self) -> &StreamShard {
        &self.shard
    }

    /// The task is doing this now.
    pub(crate) fn state(&self, state: ShardState, now: Instant) {
        let mut written = self.written();
        if written.state != state {
            written.state = state;
            written.state_since = now;
            written.moved_at = now;
            written.failed_attempts = 0;
            written.last_error = None;
        }
    }

    /// A call of the processor begins.
    pub(crate) fn call_began(&self, call: ProcessorCall, now: Instant) {
        self.written().call = Some((call, now));
    }

    /// It was not made, because the lease is in doubt.
    pub(crate) fn call_not_made(&self) {
        let mut written = self.written();
        written.call = None;
        written.in_doubt = true;
    }

    /// It returned; the error, if it is to be made again.
    pub(crate) fn call_returned(&self, failure: Option<Arc<str>>) {
        let mut written = self.written();
        written.call = None;
        written.in_doubt = false;
        written.note_result(failure);
    }

    /// A step that is no call ended; the error, if it is tried again.
    pub(crate) fn step_ended(&self, failure: Option<Arc<str>>) {
        self.written().note_result(failure);
    }

    /// A batch was processed up to this position.
    pub(crate) fn delivered(&self, to: Checkpoint, now: Instant) {
        let mut written = self.written();
        written.position = to;
        written.last_delivery = Some(now);
        written.moved_at = now;
        written.failed_attempts = 0;
        written.last_error = None;
    }

    /// A checkpoint was stored.
    pub(crate) fn checkpointed(&self, at: Checkpoint, now: Instant) {
        let mut written = self.written();
        written.checkpoint = at;
        written.last_checkpoint = Some(now);
    }

    /// The service answered a read.
    pub(crate) fn polled(&self, millis_behind_latest: Option<u64>, now: Instant) {
        let mut written = self.written();
        written.millis_behind_latest = millis_behind_latest.or(written.millis_behind_latest);
        written.last_poll = Some(now);
        written.read = ReadState::Resting;
        written.read_since = None;
    }

    /// What the next read waits for, or what became of the last one.
    pub(crate) fn read(&self, read: ReadState, now: Instant) {
        let mut written = self.written();
        written.read = read;
        written.read_since.get_or_insert(now);
    }

    /// Reading was paused, or goes on, by the application's wish.
    pub(crate) fn paused(&self, paused: bool, now: Instant) {
        let mut written = self.written();
        written.paused = paused;
        written.moved_at = now;
    }

    /// The call that is under way, and since when.
    pub(crate) fn call(&self) -> Option<(ProcessorCall, Instant)> {
        self.written().call
    }

    /// What the shard waits for, and since when: the same instant until it moves. `None`: nothing is known to be amiss.
    pub(crate) fn waits(&self) -> Option<(StuckWhy, Instant)> {
        let written = self.written();
        let why = match &*written {
            Written { call: Some((call, _)), .. } => StuckWhy::InProcessor { call: *call },
            Written { in_doubt: true, .. } => StuckWhy::LeaseInDoubt,
            Written { state: ShardState::WaitingForParents, last_error: None, .. } => {
                StuckWhy::WaitsForParents { parents: self.parents.clone() }
            }
            Written { state: ShardState::Reading, paused: true, .. } => return None,
            Written { state: ShardState::Reading, read, .. } => match read {
                ReadState::Resting => return None,
                ReadState::Sent => StuckWhy::ReadUnanswered,
                ReadState::Throttled => StuckWhy::ReadThrottled,
                ReadState::Failed(error) => StuckWhy::ReadFails { error: Arc::clone(error) },
            },
            Written { state, failed_attempts, last_error: Some(error), .. } => {
                let error = Arc::clone(error);
                match state {
                    ShardState::Initializing
                    | ShardState::Processing
                    | ShardState::EndingShard
                    | ShardState::ShuttingDown => {
                        StuckWhy::ProcessorFails { attempts: *failed_attempts, error }
                    }
                    _ => StuckWhy::StepFails { error },
                }
            }
            _ => return None,
        };
        let since = match written.state {
            // Not since the last answer: the pause between two reads may be an hour.
            ShardState::Reading => written.read_since.unwrap_or(written.moved_at),
            _ => written.moved_at,
        };
        Some((why, since))
    }

    pub(crate) fn status(&self, lease_key: LeaseKey, now: Instant) -> ShardStatus {
        let age = |at: Instant| now.saturating_duration_since(at);
        let waits = self.waits().map(|(why, since)| (why, age(since)));
        let written = self.written();
        ShardStatus {
            shard: self.shard.clone(),
            lease_key,
            owner: self.owner.clone(),
            state: written.state,
            state_for: age(written.state_since),
            position: written.position,
            checkpoint: written.checkpoint,
            millis_behind_latest: written.millis_behind_latest,
            last_poll: written.last_poll.map(age),
            last_delivery: written.last_delivery.map(age),
            last_checkpoint: written.last_checkpoint.map(age),
            failed_attempts: written.failed_attempts,
            waits: waits.filter(|(_, waited)| *waited >= Duration::from_secs(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::test_support::{key, now};

    fn progress(now: Instant) -> Progress {
        let shard = StreamShard { stream: "orders".into(), shard_id: ShardId::from_index(7) };
        let parents = vec![ShardId::from_index(3)];
        Progress::new(shard, WorkerId::new("ann"), parents, Checkpoint::TrimHorizon, now)
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn each_kind_of_waiting_has_its_name_and_its_beginning() {
        let start = now();
        let progress = progress(start);
        let parents = vec![ShardId::from_index(3)];
        assert_eq!(progress.waits(), Some((StuckWhy::WaitsForParents { parents }, start)));
        let at = start + secs(1);
        progress.state(ShardState::Reading, at);
        assert_eq!(progress.waits(), None, "it rests");
        let wanted_at = start + secs(3_600);
        for (read, why) in [
            (ReadState::Sent, StuckWhy::ReadUnanswered),
            (ReadState::Throttled, StuckWhy::ReadThrottled),
            (ReadState::Failed("no".into()), StuckWhy::ReadFails { error: "no".into() }),
        ] {
            progress.read(read, wanted_at);
            assert_eq!(progress.waits(), Some((why, wanted_at)), "since the first read that was wanted");
        }
        progress.polled(Some(5), start + secs(3_604));
        assert_eq!(progress.waits(), None);
    }

    #[test]
    fn a_failing_call_waits_since_its_batch_came_and_not_since_its_last_attempt() {
        let start = now();
        let progress = progress(start);
        progress.state(ShardState::Processing, start);
        progress.call_began(ProcessorCall::ProcessRecords, start);
        let call = ProcessorCall::ProcessRecords;
        assert_eq!(progress.waits(), Some((StuckWhy::InProcessor { call }, start)));
        progress.call_returned(Some("disk full".into()));
        let why = StuckWhy::ProcessorFails { attempts: 1, error: "disk full".into() };
        assert_eq!(progress.waits(), Some((why, start)));
        progress.call_began(call, start + secs(2));
        assert_eq!(progress.waits(), Some((StuckWhy::InProcessor { call }, start)));
        progress.call_not_made();
        assert_eq!(progress.waits(), Some((StuckWhy::LeaseInDoubt, start)));
        progress.call_returned(None);
        progress.delivered(Checkpoint::ShardEnd, start + secs(9));
        assert_eq!(progress.waits(), None);
    }

    #[test]
    fn a_status_counts_ages_from_now() {
        let start = now();
        let progress = progress(start);
        progress.state(ShardState::Reading, start + secs(10));
        progress.polled(Some(70), start + secs(11));
        progress.checkpointed(Checkpoint::TrimHorizon, start + secs(12));
        let status = progress.status(key(7), start + secs(15));
        assert_eq!(status.state_for, secs(5));
        assert_eq!((status.last_poll, status.last_delivery), (Some(secs(4)), None));
        assert_eq!((status.last_checkpoint, status.millis_behind_latest), (Some(secs(3)), Some(70)));
        assert_eq!(status.to_string(), "orders/shardId-000000000007: reading for 5s, 70 ms behind");
    }
}
