//! Runs one [`ShardConsumer`]: reads, delivers, and carries its steps out. It decides nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use futures::future::{BoxFuture, FutureExt, pending};
use kinesis_shard::{Checkpoint, ShardId};
use tokio::sync::OwnedSemaphorePermit;

use crate::checkpoint::Checkpointer;
use crate::error::WorkerError;
use crate::fetch::polling::{Polling, PollingSettings};
use crate::fetch::{ChildShard, FetchStep, Fetched, Fetcher, ReadFrom};
use crate::lease::NewLease;
use crate::lease::held::HeldLease;
use crate::processor::{
    InitializationInput, LeaseLostInput, RecordProcessor, ShardEndedInput, ShutdownRequestedInput,
};
use crate::shard_consumer::{Call, End, ShardConsumer, ShardConsumerSettings, Step};
use crate::user_record::Unpacker;

// What is handed over in one call.
mod batch;

// Calls of the user's code: belief checked, panics caught.
mod call;

// What all shards of a worker share.
mod context;

// Calls to the service, within the byte budget.
mod read;

use batch::Batch;
use call::{Called, Invocation};
pub(crate) use context::Context;
use read::Read;

/// One tenure of one shard. Dropping its future is a crash: nothing is told to anyone.
pub(crate) struct ShardTask {
    context: Arc<Context>,
    shard_id: ShardId,
    lease: HeldLease,
    checkpointer: Checkpointer,
    consumer: ShardConsumer,
    /// `None`: the shard was finished before.
    fetcher: Option<Box<dyn Fetcher>>,
    unpacker: Unpacker,
    processor: Option<Box<dyn RecordProcessor>>,
    batch: Option<Batch>,
    children: Vec<NewLease>,
    /// Memory of the batches that wait in the fetcher, oldest first.
    holds: VecDeque<Option<OwnedSemaphorePermit>>,
    reading: Option<BoxFuture<'static, Read>>,
    step: Option<BoxFuture<'static, Ended>>,
    last_failure: Arc<str>,
}

/// A step that ended.
enum Ended {
    Parents(Result<bool, String>),
    Called(Step, Called),
    Children(Result<(), String>),
    Released(Result<(), String>),
}

/// What the loop does next.
enum Next {
    Again,
    Wait(Option<Instant>),
    Over(End),
}

impl ShardTask {
    pub(crate) fn new(context: Arc<Context>, lease: HeldLease) -> Self {
        let start = lease.start();
        let (shard_id, config) = (lease.key().shard_id(), &context.config);
        let seed = context.child_seed(&shard_id, lease.tenure());
        let settings = ShardConsumerSettings {
            parent_poll_interval: config.parent_shard_poll_interval,
            backoff: config.task_backoff,
            max_backoff: config.max_task_backoff,
            failure_policy: config.failure_policy,
            seed,
        };
        let from = ReadFrom::start(start.checkpoint, config.initial_position);
        let fetcher = from.map(|from| -> Box<dyn Fetcher> {
            let settings = PollingSettings {
                max_records: config.max_records,
                idle_time: config.idle_time_between_reads,
                keep_empty: config.call_process_records_even_for_empty_list,
                backoff: config.task_backoff,
                max_backoff: config.max_task_backoff,
                seed: seed.wrapping_add(1),
            };
            Box::new(Polling::new(shard_id.clone(), from, settings))
        });
        let after = match start.checkpoint {
            Checkpoint::At(position) => Some(position),
            _ => None,
        };
        let range = config.drop_aggregates_out_of_range.then_some(start.hash_key_range).flatten();
        let consumer = match from {
            Some(_) => ShardConsumer::new(settings),
            None => ShardConsumer::finished(settings),
        };
        Self {
            checkpointer: Checkpointer::new(lease.clone(), Arc::clone(&context.stats)),
            unpacker: Unpacker::new(shard_id.clone(), after, range),
            consumer,
            fetcher,
            context,
            shard_id,
            lease,
            processor: None,
            batch: None,
            children: Vec::new(),
            holds: VecDeque::new(),
            reading: None,
            step: None,
            last_failure: "no failure".into(),
        }
    }

    /// Until the shard has ended, the lease is gone, or the worker has shut down.
    pub(crate) async fn run(mut self) -> End {
        let (context, lease) = (Arc::clone(&self.context), self.lease.clone());
        let lost = lease.lost();
        tokio::pin!(lost);
        let (mut watch_lease, mut watch_shutdown) = (true, true);
        let mut parents_seen = context.parents.rings();
        context.stats.lag(&self.shard_id, 0);
        loop {
            let now = context.clock.now();
            let read_at = self.start_reading(now);
            let wake_at = match self.start_step(now) {
                Next::Again => continue,
                Next::Over(end) => return self.over(end),
                Next::Wait(step_at) => step_at.into_iter().chain(read_at).min(),
            };
            tokio::select! {
                // Nothing starves: the first two fire once; a step and a read answer once each and are started again
                // only by this loop; the timer comes last, and when it is all that is ready, it runs.
                biased;
                () = &mut lost, if watch_lease => {
                    watch_lease = false;
                    self.reading = None;
                    self.consumer.lease_lost();
                }
                () = context.shutdown.rung(), if watch_shutdown => {
                    watch_shutdown = false;
                    self.reading = None;
                    self.consumer.shutdown();
                }
                ended = ready(&mut self.step) => {
                    self.step = None;
                    self.ended(context.clock.now(), ended);
                }
                read = ready(&mut self.reading) => {
                    self.reading = None;
                    self.read(context.clock.now(), read);
                }
                seen = context.parents.beyond(parents_seen), if self.consumer.waits_on_parents() => {
                    parents_seen = seen;
                    self.consumer.parent_may_have_ended();
                }
                () = sleep(&context, wake_at), if wake_at.is_some() => {}
            }
        }
    }

    /// Starts the next read if there is one to start; returns when to look again.
    fn start_reading(&mut self, now: Instant) -> Option<Instant> {
        let fetcher = self.fetcher.as_mut().filter(|_| self.consumer.reads() && self.reading.is_none())?;
        match fetcher.next(now, self.context.budget.allows_read_ahead()) {
            FetchStep::WaitUntil(instant) => Some(instant),
            FetchStep::Idle => None,
            FetchStep::StreamGone => {
                self.context
                    .fail(WorkerError::StreamGone { stream: Arc::clone(&self.context.config.stream) });
                None
            }
            step => {
                self.reading = Some(read::read(&self.context, self.shard_id.clone(), step).boxed());
                None
            }
        }
    }

    /// Carries out what the consumer says.
    fn start_step(&mut self, now: Instant) -> Next {
        let step = self.consumer.next(now);
        let ended = match step {
            Step::Complete(end) => return Next::Over(end),
            Step::WaitUntil(instant) => return Next::Wait(Some(instant)),
            Step::Idle => return Next::Wait(None),
            Step::TakeBatch => {
                let Some(fetched) = self.fetcher.as_mut().and_then(|fetcher| fetcher.take()) else {
                    return Next::Wait(None);
                };
                self.take(fetched);
                return Next::Again;
            }
            Step::CheckParents => {
                let lease = self.lease.clone();
                async move { Ended::Parents(lease.parents_done().await.map_err(|error| error.to_string())) }
                    .boxed()
            }
            Step::CreateChildren => {
                let (lease, children) = (self.lease.clone(), self.children.clone());
                async move {
                    Ended::Children(lease.end_shard(&children).await.map_err(|error| error.to_string()))
                }
                .boxed()
            }
            Step::Release => {
                let lease = self.lease.clone();
                async move { Ended::Released(lease.release().await.map_err(|error| error.to_string())) }
                    .boxed()
            }
            Step::Initialize
            | Step::Process
            | Step::ShardEnded
            | Step::ShutdownRequested
            | Step::LeaseLost => {
                let called = call::call(
                    Arc::clone(&self.context),
                    self.lease.clone(),
                    self.processor.take(),
                    self.invocation(step, now),
                );
                async move { Ended::Called(step, called.await) }.boxed()
            }
        };
        self.step = Some(ended);
        Next::Wait(None)
    }

    fn invocation(&self, step: Step, now: Instant) -> Invocation {
        let (shard_id, attempt) = (self.shard_id.clone(), self.consumer.attempt());
        let checkpointer = self.checkpointer.clone();
        match (step, &self.batch) {
            (Step::Process, Some(batch)) => {
                Invocation::ProcessRecords(batch.input(shard_id, now, attempt, checkpointer))
            }
            (Step::ShardEnded, _) => {
                Invocation::ShardEnded(ShardEndedInput { shard_id, attempt, checkpointer })
            }
            (Step::ShutdownRequested, _) => {
                Invocation::ShutdownRequested(ShutdownRequestedInput { shard_id, attempt, checkpointer })
            }
            (Step::LeaseLost, _) => Invocation::LeaseLost(LeaseLostInput {
                shard_id,
                worker_id: self.context.config.worker_id.clone(),
            }),
            (Step::Initialize, _) => Invocation::Initialize(InitializationInput {
                shard_id,
                checkpoint: self.lease.start().checkpoint,
                pending_checkpoint: self.lease.start().pending_checkpoint.clone(),
            }),
            (step, _) => panic!("{step:?} calls no processor, or has no batch to hand over"),
        }
    }

    /// Unpacks a batch and hands it to the consumer.
    fn take(&mut self, fetched: Fetched) {
        let hold = self.holds.pop_front().flatten();
        let was_empty = fetched.records.is_empty();
        let (records, found) = self.unpacker.unpack(fetched.records);
        let stats = &self.context.stats;
        stats.suspicious_aggregates.add(found.suspicious_count);
        stats.out_of_range_aggregates.add(found.out_of_range_count);
        if found.suspicious_count > 0 {
            tracing::warn!(shard_id = %self.shard_id, count = found.suspicious_count, "broken aggregates are handed over whole");
        }
        let empty_call = self.context.config.call_process_records_even_for_empty_list
            && was_empty
            && fetched.ended.is_none();
        let deliver = !records.is_empty() || empty_call;
        let ends_shard = fetched.ended.is_some();
        let child_shards =
            fetched.ended.as_ref().map(|children| children.iter().map(|child| child.id.clone()).collect());
        if let Some(children) = fetched.ended {
            self.children = children.into_iter().map(|child| self.new_lease(child)).collect();
        }
        if deliver {
            self.batch = Some(Batch {
                data_bytes: records.iter().map(|record| record.data().len() as u64).sum(),
                records: records.into(),
                millis_behind_latest: fetched.millis_behind_latest,
                received_at: fetched.received_at,
                child_shards,
                hold,
            });
        }
        self.consumer.batch_taken(deliver, ends_shard);
    }

    /// A child's lease, from its first record: its parents were being read, so nothing of it may be missed.
    fn new_lease(&self, child: ChildShard) -> NewLease {
        NewLease::child(self.lease.key().sibling(&child.id), child.parents, child.hash_key_range)
    }

    fn read(&mut self, now: Instant, read: Read) {
        let Some(fetcher) = self.fetcher.as_mut() else { return };
        if let Some(millis_behind) = read.millis_behind_latest() {
            self.context.stats.get_records_success.one();
            self.context.stats.lag(&self.shard_id, millis_behind);
        }
        if fetcher.answered(now, read.answer) {
            self.holds.push_back(read.hold);
        }
        for event in fetcher.take_events() {
            self.context.note(&self.shard_id, &event);
        }
    }

    fn ended(&mut self, now: Instant, ended: Ended) {
        let shard_id = &self.shard_id;
        let logged = |what: &'static str, error: String| {
            tracing::warn!(%shard_id, error, "{what} failed, it is tried again");
        };
        match ended {
            Ended::Parents(result) => {
                self.consumer
                    .parents_checked(now, result.map_err(|error| logged("looking up parents", error)));
            }
            Ended::Children(result) => {
                self.consumer.children_created(
                    now,
                    result.map_err(|error| logged("creating leases of children", error)),
                );
            }
            Ended::Released(result) => {
                self.consumer.released(now, result.map_err(|error| logged("giving the lease back", error)));
            }
            Ended::Called(step, called) => self.called(now, step, called),
        }
    }

    fn called(&mut self, now: Instant, step: Step, called: Called) {
        self.processor = called.processor;
        if let Some(message) = called.failure {
            self.context.stats.processor_failures.one();
            let attempt = self.consumer.attempt();
            tracing::warn!(shard_id = %self.shard_id, attempt, error = %message, "the processor failed in {step:?}");
            self.last_failure = message;
        }
        match step {
            Step::Initialize => self.consumer.initialized(now, called.call),
            Step::Process => {
                self.checkpointer.call_returned(called.call == Call::Done);
                if called.call == Call::Done
                    && let Some(batch) = self.batch.take()
                {
                    self.context.stats.process_records_success.one();
                    self.context.stats.records_processed.add(batch.records.len() as u64);
                    self.context.stats.data_bytes_processed.add(batch.data_bytes);
                }
                self.consumer.processed(now, called.call);
            }
            Step::ShardEnded => {
                let acknowledged = self.checkpointer.is_finished();
                if called.call == Call::Done && !acknowledged {
                    tracing::warn!(shard_id = %self.shard_id, "shard_ended returned without checkpoint(): it is called again");
                }
                self.consumer.shard_ended(now, called.call, acknowledged);
            }
            Step::ShutdownRequested => self.consumer.shutdown_notified(now, called.call),
            _ => self.consumer.lease_lost_told(),
        }
    }

    fn over(self, end: End) -> End {
        self.context.over(&self.shard_id, end, &self.last_failure);
        end
    }
}

/// The outcome of what is under way; never, when nothing is. Dropping it leaves what is under way where it was.
async fn ready<T>(slot: &mut Option<BoxFuture<'static, T>>) -> T {
    match slot {
        Some(future) => future.await,
        None => pending().await,
    }
}

async fn sleep(context: &Context, until: Option<Instant>) {
    if let Some(until) = until {
        context.clock.sleep_until(until).await;
    }
}
