//! Runs one [`ShardConsumer`]: reads, delivers, and carries its steps out. It decides nothing.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures::future::{BoxFuture, FutureExt, pending};
use kinesis_shard::{Checkpoint, ShardId};

use crate::board::{Progress, ReadState, ShardState};
use crate::checkpoint::{self, Checkpointer};
use crate::event::{ConsumerEvent, ProcessorCall, StreamShard};
use crate::fetch::{ChildShard, FetchAnswer, FetchStep, Fetched, Fetcher, Pushed, ReadFrom};
use crate::lease::NewLease;
use crate::lease::held::HeldLease;
use crate::processor::{
    InitializationInput, LeaseLostInput, RecordProcessor, ShardEndedInput, ShutdownRequestedInput,
};
use crate::shard_consumer::{Call, End, Processed, ShardConsumer, ShardConsumerSettings, Step};
use crate::transport::EventStream;
use crate::user_record::{Unpacker, UserRecord};

// What is handed over in one call.
mod batch;

// Calls of the user's code: belief checked, panics caught.
mod call;

// What all shards of a worker share.
mod context;

// The bytes that all shards hold.
mod budget;

// The fetcher that the configuration asks for.
mod retrieval;

// Calls to the service.
mod read;

use batch::Batch;
use budget::Holding;
use call::{Called, Invocation};
pub(crate) use context::{Context, Worker};
use read::Read;

/// One tenure of one shard. Dropping its future is a crash: nothing is told to anyone.
pub(crate) struct ShardTask {
    context: Arc<Context>,
    shard_id: ShardId,
    lease: HeldLease,
    checkpointer: Checkpointer,
    consumer: ShardConsumer,
    progress: Arc<Progress>,
    /// `None`: the shard was finished before.
    fetcher: Option<Box<dyn Fetcher>>,
    unpacker: Unpacker,
    processor: Option<Box<dyn RecordProcessor>>,
    batch: Option<Batch>,
    children: Vec<NewLease>,
    holding: Holding,
    /// The open subscription, while no event of it is waited for.
    subscription: Option<Box<dyn EventStream>>,
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
        let seed = context.child_seed(lease.key(), lease.tenure());
        let settings = ShardConsumerSettings {
            parent_poll_interval: config.parent_shard_poll_interval,
            backoff: config.task_backoff,
            max_backoff: config.max_task_backoff,
            failure_policy: config.failure_policy,
            seed,
        };
        let pinned =
            start.latest_pinned_at.map(|millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis));
        let from = ReadFrom::start(start.checkpoint, pinned, config.initial_position);
        let fetcher =
            from.map(|from| retrieval::fetcher(config, shard_id.clone(), from, seed.wrapping_add(1)));
        let after = match start.checkpoint {
            Checkpoint::At(position) => Some(position),
            _ => None,
        };
        let range = config.drop_aggregates_out_of_range.then_some(start.hash_key_range).flatten();
        let consumer = match from {
            Some(_) => ShardConsumer::new(settings),
            None => ShardConsumer::finished(settings),
        };
        let progress = Arc::new(Progress::new(
            context.reports.events.shard(lease.key()),
            config.worker_id.clone(),
            start.parents.clone(),
            start.checkpoint,
            context.clock.now(),
        ));
        let notes = checkpoint::Notes {
            reports: context.reports.clone(),
            progress: Arc::clone(&progress),
            clock: context.clock.clone(),
            pauses: Arc::clone(&context.pauses),
        };
        Self {
            checkpointer: Checkpointer::new(lease.clone(), notes),
            progress,
            unpacker: Unpacker::new(shard_id.clone(), after, range),
            consumer,
            fetcher,
            shard_id,
            lease,
            processor: None,
            batch: None,
            children: Vec::new(),
            holding: Holding::new(Arc::clone(&context.budget)),
            subscription: None,
            reading: None,
            step: None,
            last_failure: "no failure".into(),
            context,
        }
    }

    /// Until the shard has ended, the lease is gone, or the worker has shut down.
    pub(crate) async fn run(mut self) -> End {
        let (context, lease) = (Arc::clone(&self.context), self.lease.clone());
        let lost = lease.lost();
        let asked = lease.asked_for();
        tokio::pin!(lost, asked);
        let (mut watch_lease, mut watch_asked, mut watch_shutdown) = (true, true, true);
        let mut parents_seen = context.parents.rings();
        let mut pauses_seen = context.pauses.changed.rings();
        self.look_at_pauses();
        context.stats.lag(self.shard(), 0);
        context.reports.board.enter(lease.key().clone(), Arc::clone(&self.progress));
        loop {
            let now = context.clock.now();
            let read_at = self.start_reading(now);
            let wake_at = match self.start_step(now) {
                Next::Again => continue,
                Next::Over(end) => return self.over(end),
                Next::Wait(step_at) => step_at.into_iter().chain(read_at).min(),
            };
            tokio::select! {
                // Nothing starves: the first three fire once; a step and a read answer once each and are started again
                // only by this loop; the timer comes last, and when it is all that is ready, it runs.
                biased;
                () = &mut lost, if watch_lease => {
                    watch_lease = false;
                    self.reading = None;
                    self.consumer.lease_lost();
                }
                by = &mut asked, if watch_asked => {
                    watch_asked = false;
                    self.tell(ConsumerEvent::LeaseAskedFor { shard: self.shard().clone(), by });
                    // Another worker is to have this shard: as in a shutdown, of this one.
                    self.reading = None;
                    self.consumer.shutdown();
                }
                () = context.left(), if watch_shutdown => {
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
                seen = context.pauses.changed.beyond(pauses_seen) => {
                    pauses_seen = seen;
                    self.look_at_pauses();
                }
                seen = context.parents.beyond(parents_seen), if self.consumer.waits_on_parents() => {
                    parents_seen = seen;
                    self.consumer.parent_may_have_ended();
                }
                () = sleep(&context, wake_at), if wake_at.is_some() => {}
            }
        }
    }

    fn look_at_pauses(&mut self) {
        let paused = self.context.pauses.contains(self.lease.key());
        if self.consumer.set_paused(paused) {
            self.progress.paused(paused, self.context.clock.now());
        }
    }

    /// Starts the next read if there is one to start; returns when to look again.
    fn start_reading(&mut self, now: Instant) -> Option<Instant> {
        let fetcher = self.fetcher.as_mut().filter(|_| self.consumer.reads() && self.reading.is_none())?;
        match fetcher.next(now, self.holding.room()) {
            FetchStep::WaitUntil(instant) => Some(instant),
            FetchStep::Idle => None,
            FetchStep::StreamGone(gone) => {
                self.context.stream_gone(gone);
                None
            }
            step => {
                if let FetchStep::GetRecords { expected_bytes, .. }
                | FetchStep::NextEvent { expected_bytes, .. } = step
                {
                    self.holding.expect(expected_bytes);
                }
                if !matches!(step, FetchStep::NextEvent { .. }) {
                    self.progress.read(ReadState::Sent, now);
                }
                let (context, lease) = (Arc::clone(&self.context), self.lease.clone());
                let subscription = self.subscription.take();
                self.reading = Some(if fetcher.is_far_behind(now) {
                    read::read_far_behind(context, lease, step, subscription).boxed()
                } else {
                    read::read(context, lease, step, subscription).boxed()
                });
                None
            }
        }
    }

    /// Carries out what the consumer says.
    fn start_step(&mut self, now: Instant) -> Next {
        let step = self.consumer.next(now);
        if let Some(state) = state_of(step) {
            self.progress.state(state, now);
        }
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
                if let Some(call) = call_of(step) {
                    self.progress.call_began(call, now);
                }
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
        let (stream, checkpointer) = (Arc::clone(&self.shard().stream), self.checkpointer.clone());
        match (step, &self.batch) {
            (Step::Process, Some(batch)) => {
                Invocation::ProcessRecords(batch.input(self.shard().clone(), now, attempt, checkpointer))
            }
            (Step::ShardEnded, _) => {
                Invocation::ShardEnded(ShardEndedInput { stream, shard_id, attempt, checkpointer })
            }
            (Step::ShutdownRequested, _) => Invocation::ShutdownRequested(ShutdownRequestedInput {
                stream,
                shard_id,
                attempt,
                checkpointer,
            }),
            (Step::LeaseLost, _) => Invocation::LeaseLost(LeaseLostInput {
                stream,
                shard_id,
                worker_id: self.context.config.worker_id.clone(),
            }),
            (Step::Initialize, _) => Invocation::Initialize(InitializationInput {
                stream,
                shard_id,
                checkpoint: self.lease.start().checkpoint,
                pending_checkpoint: self.lease.start().pending_checkpoint.clone(),
            }),
            (step, _) => panic!("{step:?} calls no processor, or has no batch to hand over"),
        }
    }

    /// Unpacks a batch and hands it to the consumer.
    fn take(&mut self, fetched: Fetched) {
        let was_empty = fetched.records.is_empty();
        let (records, found) = self.unpacker.unpack(fetched.records);
        let stats = &self.context.stats;
        stats.suspicious_aggregates.add(found.suspicious_count);
        stats.out_of_range_aggregates.add(found.out_of_range_count);
        let shard = || self.shard().clone();
        if found.suspicious_count > 0 {
            self.tell(ConsumerEvent::BrokenAggregate { shard: shard(), count: found.suspicious_count });
        }
        if found.out_of_range_count > 0 {
            self.tell(ConsumerEvent::AggregateOutOfRange { shard: shard(), count: found.out_of_range_count });
        }
        let empty_call = self.context.config.call_process_records_even_for_empty_list
            && was_empty
            && fetched.ended.is_none();
        // A member of an aggregate is small, what describes it is not: unpacked, a batch may take several times its payload.
        let unpacked_bytes = records.len() * size_of::<UserRecord>();
        self.holding.add(unpacked_bytes);
        let memory_bytes = fetched.memory_bytes + unpacked_bytes;
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
                memory_bytes,
            });
        } else {
            self.holding.remove(memory_bytes);
        }
        self.consumer.batch_taken(deliver, ends_shard);
    }

    /// A child's lease, from its first record: its parents were being read, so nothing of it may be missed.
    fn new_lease(&self, child: ChildShard) -> NewLease {
        NewLease::child(self.lease.key().sibling(&child.id), child.parents, child.hash_key_range)
    }

    fn read(&mut self, now: Instant, read: Read) {
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

    fn ended(&mut self, now: Instant, ended: Ended) {
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

    fn called(&mut self, now: Instant, step: Step, called: Called) {
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
    fn processed(&mut self, now: Instant, processed: Processed, attempts: u32) {
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

    fn shard(&self) -> &StreamShard {
        self.progress.shard()
    }

    fn tell(&self, event: ConsumerEvent) {
        self.context.reports.events.emit(event);
    }

    fn over(self, end: End) -> End {
        let shard = self.shard().clone();
        let of = shard.clone();
        match end {
            End::Finished => {
                let children = self.children.iter().map(|child| child.key.shard_id()).collect();
                self.tell(ConsumerEvent::ShardEnded { shard, children });
            }
            End::GaveUp => {
                self.tell(ConsumerEvent::ShardGivenUp { shard, error: Arc::clone(&self.last_failure) });
            }
            End::LeaseLost | End::Released => {}
        }
        self.context.over(&of, end, &self.last_failure);
        end
    }
}

/// What a step is called in a status; `None`: it goes on with what it was doing.
fn state_of(step: Step) -> Option<ShardState> {
    Some(match step {
        Step::CheckParents => ShardState::WaitingForParents,
        Step::Initialize => ShardState::Initializing,
        Step::TakeBatch => ShardState::Reading,
        Step::Process => ShardState::Processing,
        Step::CreateChildren => ShardState::CreatingChildren,
        Step::ShardEnded => ShardState::EndingShard,
        Step::ShutdownRequested => ShardState::ShuttingDown,
        Step::LeaseLost | Step::Release => ShardState::Leaving,
        Step::WaitUntil(_) | Step::Idle | Step::Complete(_) => return None,
    })
}

fn call_of(step: Step) -> Option<ProcessorCall> {
    Some(match step {
        Step::Initialize => ProcessorCall::Initialize,
        Step::Process => ProcessorCall::ProcessRecords,
        Step::ShardEnded => ProcessorCall::ShardEnded,
        Step::ShutdownRequested => ProcessorCall::ShutdownRequested,
        Step::LeaseLost => ProcessorCall::LeaseLost,
        _ => return None,
    })
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
