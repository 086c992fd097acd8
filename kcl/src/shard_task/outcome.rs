use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use kinesis_shard::Checkpoint;

use super::call::Called;
use super::read::Read;
use super::{Ended, ShardTask, call_of};
use crate::event::ConsumerEvent;
use crate::fetch::{FetchAnswer, Pushed};
use crate::shard_consumer::{Call, Processed, Step};
use crate::user_record::UserRecord;

impl ShardTask {
    pub(super) fn read(&mut self, now: Instant, read: Read) {
        let Some(fetcher) = self.fetcher.as_mut() else { return };
        let stats = &self.context.stats;
        match &read.answer {
            FetchAnswer::Records(Ok(_)) => stats.get_records_success.one(),
            FetchAnswer::Subscribed(Ok(())) => stats.subscriptions_opened.one(),
            FetchAnswer::Pushed(Pushed::Event(_)) => stats.subscription_events.one(),
            _ => {}
        }
        if let Some(millis_behind) = read.millis_behind_latest() {
            stats.lag(self.progress.shard(), millis_behind);
            self.progress.polled(Some(millis_behind), now);
        } else if matches!(read.answer, FetchAnswer::Subscribed(Ok(()))) {
            self.progress.polled(None, now);
        }
        self.subscription = read.subscription;
        if let Some(at) = read.pinned {
            fetcher.pin(at);
        }
        if read.retention.is_some() {
            fetcher.retention(read.retention);
        }
        self.holding.settle(fetcher.answered(now, read.answer));
        for event in fetcher.take_events() {
            self.context.note(&self.progress, event);
        }
    }

    pub(super) fn ended(&mut self, now: Instant, ended: Ended) {
        let progress = &self.progress;
        let noted = |what: &'static str, error: Option<&String>| {
            let failure = error.map(|error| -> Arc<str> { format!("{what}: {error}").into() });
            if let Some(error) = &failure {
                tracing::warn!(%error, "a step failed, it is tried again");
            }
            progress.step_ended(failure);
        };
        match ended {
            Ended::Parents(result) => {
                noted("looking up parents", result.as_ref().err());
                self.consumer.parents_checked(now, result.map_err(drop));
            }
            Ended::Children(result) => {
                noted("creating leases of children", result.as_ref().err());
                self.consumer.children_created(now, result.map_err(drop));
            }
            Ended::Released(result) => {
                noted("giving the lease back", result.as_ref().err());
                self.consumer.released(now, result.map_err(drop));
            }
            Ended::Called(step, called) => self.called(now, step, called),
        }
    }

    pub(super) fn called(&mut self, now: Instant, step: Step, called: Called) {
        self.processor = called.processor;
        let failure = called.failure.or_else(|| self.not_acknowledged(step, called.call));
        match called.call {
            Call::NotBegun => self.progress.call_not_made(),
            _ => self.progress.call_returned(failure.clone()),
        }
        if let Some(error) = failure {
            self.context.stats.processor_failures.one();
            self.tell_failure(step, &error);
            self.last_failure = error;
        }
        match step {
            Step::Initialize => {
                if called.call == Call::Done {
                    let checkpoint = self.lease.start().checkpoint;
                    self.tell(ConsumerEvent::ShardStarted { shard: self.shard().clone(), checkpoint });
                    self.tell_of_another_start();
                }
                self.consumer.initialized(now, called.call);
            }
            Step::Process => {
                let attempts = self.consumer.attempt();
                let processed = self.consumer.processed(now, called.call);
                self.processed(now, processed, attempts);
            }
            Step::ShardEnded => {
                self.consumer.shard_ended(now, called.call, self.checkpointer.is_finished());
            }
            Step::ShutdownRequested => self.consumer.shutdown_notified(now, called.call),
            _ => self.consumer.lease_lost_told(),
        }
    }

    /// The configured start is another one than the lease was made with, and no checkpoint has come in between.
    fn tell_of_another_start(&self) {
        let (row, configured) = (self.lease.start(), self.context.config.initial_position);
        let Some(millis) = row.latest_pinned_at.filter(|_| row.checkpoint == Checkpoint::AtTimestamp) else {
            return;
        };
        if configured.start_millis() != Some(millis) {
            let begins_at = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
            self.tell(ConsumerEvent::StartTimeStays { shard: self.shard().clone(), begins_at, configured });
        }
    }

    /// What a call of `shard_ended` did wrong that returned `Ok` without having stored the end.
    fn not_acknowledged(&self, step: Step, call: Call) -> Option<Arc<str>> {
        (step == Step::ShardEnded && call == Call::Done && !self.checkpointer.is_finished())
            .then(|| "returned without checkpoint()".into())
    }

    fn tell_failure(&self, step: Step, error: &Arc<str>) {
        let (shard, attempt) = (self.shard().clone(), self.consumer.attempt());
        let Some(call) = call_of(step) else { return };
        if self.not_acknowledged(step, Call::Done).is_some() && **error == *"returned without checkpoint()" {
            return self.tell(ConsumerEvent::EndNotAcknowledged { shard, attempt });
        }
        let batch = self.batch.as_ref().filter(|_| step == Step::Process);
        let first = batch.and_then(|batch| batch.records.first()).map(UserRecord::position);
        self.tell(ConsumerEvent::ProcessorFailed { shard, call, attempt, first, error: Arc::clone(error) });
    }

    /// The batch in hand was processed, or given up.
    pub(super) fn processed(&mut self, now: Instant, processed: Processed, attempts: u32) {
        let over = matches!(processed, Processed::Done | Processed::Skip);
        self.checkpointer.call_returned(over);
        let Some(batch) = self.batch.take_if(|_| over) else { return };
        self.holding.remove(batch.memory_bytes);
        let ends = batch.records.first().zip(batch.records.last());
        if let Some((first, last)) = ends.map(|(first, last)| (first.position(), last.position())) {
            self.progress.delivered(Checkpoint::At(last), now);
            if processed == Processed::Skip {
                self.context.stats.records_skipped.add(batch.records.len() as u64);
                self.tell(ConsumerEvent::BatchSkipped {
                    shard: self.shard().clone(),
                    first,
                    last,
                    record_count: batch.records.len(),
                    attempts,
                    error: Arc::clone(&self.last_failure),
                });
            }
        }
        if processed == Processed::Done {
            self.context.stats.process_records_success.one();
            self.context.stats.records_processed.add(batch.records.len() as u64);
            self.context.stats.data_bytes_processed.add(batch.data_bytes);
        }
    }
}
