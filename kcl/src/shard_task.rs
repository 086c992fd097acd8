//! Runs one [`ShardConsumer`]: reads, delivers, and carries its steps out. It decides nothing.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures::future::{BoxFuture, FutureExt, pending};
use kinesis_shard::{Checkpoint, ShardId};

use crate::board::{Progress, ReadState, ShardState};
use crate::checkpoint::{self, Checkpointer};
use crate::event::{ConsumerEvent, ProcessorCall, StreamShard};
use crate::fetch::{FetchStep, Fetcher, ReadFrom};
use crate::lease::NewLease;
use crate::lease::held::HeldLease;
use crate::processor::{
    InitializationInput, LeaseLostInput, RecordProcessor, ShardEndedInput, ShutdownRequestedInput,
};
use crate::shard_consumer::{End, ShardConsumer, ShardConsumerSettings, Step};
use crate::transport::EventStream;
use crate::user_record::Unpacker;

// What is handed over in one call, and how it is made of what was fetched.
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

// What came of a read, a call or another step.
mod outcome;

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
