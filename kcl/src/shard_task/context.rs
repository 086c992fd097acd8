use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kinesis_shard::{Clock, md5};

use super::budget::Budget;
use crate::bell::Bell;
use crate::board::{Progress, ReadState};
use crate::config::{ConsumerConfig, FailurePolicy};
use crate::error::WorkerError;
use crate::event::{ConsumerEvent, Events, StreamShard};
use crate::fetch::FetchEvent;
use crate::lease::LeaseKey;
use crate::pauses::Pauses;
use crate::processor::RecordProcessorFactory;
use crate::reports::Reports;
use crate::shard_consumer::End;
use crate::stats::Stats;
use crate::streams::Gone;
use crate::transport::Transport;

/// What all shards of a worker share.
pub(crate) struct Worker {
    pub(crate) config: Arc<ConsumerConfig>,
    pub(crate) clock: Clock,
    pub(crate) factory: Box<dyn RecordProcessorFactory>,
    pub(crate) reports: Reports,
    pub(crate) stats: Arc<Stats>,
    pub(super) budget: Arc<Budget>,
    /// Rings once: finish the running calls, tell the processors, give the leases back.
    pub(crate) shutdown: Bell,
    pub(crate) pauses: Arc<Pauses>,
    /// Rings when a shard has ended here, for the shards that wait for it.
    pub(crate) parents: Bell,
    /// Rings when a stream has vanished, in an application of several.
    pub(crate) streams: Bell,
    /// Rings once, after the error is in its place.
    failed: Bell,
    error: Mutex<Option<WorkerError>>,
}

/// What all shards of one stream share: the worker, and what is particular to the stream.
pub(crate) struct Context {
    worker: Arc<Worker>,
    /// With the name and the initial position of this stream.
    pub(crate) config: Arc<ConsumerConfig>,
    pub(crate) transport: Arc<dyn Transport>,
    /// Rings once: this stream is not read any more.
    pub(crate) leave: Bell,
    vanished: AtomicBool,
    /// When the stream's retention was asked for, and what it is. Held over the call: many shards ask at once.
    retention: tokio::sync::Mutex<Option<(Instant, Option<Duration>)>>,
}

/// A retention that was found out is believed for so long; it can be changed at any time.
const RETENTION_HOLDS_FOR: Duration = Duration::from_mins(10);

impl fmt::Debug for Context {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Context").field("stream", &self.config.stream).finish_non_exhaustive()
    }
}

impl Deref for Context {
    type Target = Worker;

    fn deref(&self) -> &Worker {
        &self.worker
    }
}

impl Context {
    pub(crate) fn new(
        worker: Arc<Worker>,
        config: Arc<ConsumerConfig>,
        transport: Arc<dyn Transport>,
    ) -> Self {
        let (leave, vanished) = (Bell::default(), AtomicBool::new(false));
        Self { worker, config, transport, leave, vanished, retention: tokio::sync::Mutex::default() }
    }

    /// The stream's retention, if that can be found out. Cancel safe.
    pub(super) async fn retention(&self) -> Option<Duration> {
        let mut known = self.retention.lock().await;
        let now = self.clock.now();
        if known.is_none_or(|(asked_at, _)| now.saturating_duration_since(asked_at) >= RETENTION_HOLDS_FOR) {
            *known = Some((now, self.transport.retention().await));
        }
        known.and_then(|(_, retention)| retention)
    }

    /// The stream is not there any more: the end of an application of one stream.
    pub(crate) fn stream_gone(&self, gone: Gone) {
        if self.vanished.swap(true, Ordering::SeqCst) {
            return;
        }
        let stream = Arc::clone(&self.config.stream);
        let (event, error) = match gone {
            Gone::Deleted => (
                ConsumerEvent::StreamVanished { stream: Arc::clone(&stream) },
                WorkerError::StreamGone { stream },
            ),
            Gone::Replaced => (
                ConsumerEvent::StreamReplaced { stream: Arc::clone(&stream) },
                WorkerError::StreamReplaced { stream },
            ),
        };
        self.reports.events.emit(event);
        if self.config.streams.is_some() {
            self.streams.ring();
        } else {
            self.fail(error);
        }
    }

    /// Resolves once the worker shuts down, or the stream is not read any more. Cancel safe.
    pub(super) async fn left(&self) {
        tokio::select! {
            // Either way the shard is given back.
            biased;
            () = self.shutdown.rung() => {}
            () = self.leave.rung() => {}
        }
    }

    /// Whether the stream is not there any more.
    pub(crate) fn has_vanished(&self) -> bool {
        self.vanished.load(Ordering::SeqCst)
    }
}

impl Worker {
    pub(crate) fn new(config: Arc<ConsumerConfig>, factory: Box<dyn RecordProcessorFactory>) -> Self {
        let stats = Arc::new(Stats::default());
        let events = Events::new(config.events.clone(), Arc::clone(&config.stream));
        Self {
            clock: config.clock.clone(),
            budget: Arc::new(Budget::new(config.max_prefetch_bytes)),
            config,
            factory,
            reports: Reports { events, board: Arc::default(), stats: Arc::clone(&stats) },
            stats,
            shutdown: Bell::default(),
            pauses: Arc::default(),
            parents: Bell::default(),
            streams: Bell::default(),
            failed: Bell::default(),
            error: Mutex::default(),
        }
    }

    /// The worker cannot go on. The first reason stands; every shard is handed back as in a shutdown.
    pub(crate) fn fail(&self, error: WorkerError) {
        let mut place = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        if place.is_none() {
            let text = error.to_string().into();
            *place = Some(error);
            drop(place);
            self.reports.events.emit(ConsumerEvent::WorkerFailed { error: text });
            self.failed.ring();
            self.shutdown.ring();
        }
    }

    /// Why the worker failed, if it did.
    pub(crate) fn error(&self) -> Option<WorkerError> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Resolves once the worker has failed. Cancel safe.
    pub(crate) async fn failure(&self) -> WorkerError {
        self.failed.rung().await;
        self.error().expect("the error is put in its place before the bell rings")
    }

    /// A seed of its own for each tenure of each shard, so that no draw of one shifts another's.
    pub(crate) fn child_seed(&self, key: &LeaseKey, tenure: u64) -> u64 {
        let text = format!("{}/{key}/{tenure}", self.config.seed);
        let digest = u128::from_be_bytes(md5(text.as_bytes()));
        #[expect(clippy::cast_possible_truncation, reason = "any 64 bits of the digest do")]
        let seed = digest as u64;
        seed
    }

    /// Counts what is no news but in a log; the event, if it is news.
    fn note_quietly(&self, progress: &Progress, event: FetchEvent) -> Option<FetchEvent> {
        let (stats, now) = (&self.stats, self.clock.now());
        match event {
            FetchEvent::ExpiredIterator => {
                stats.expired_iterator.one();
                tracing::debug!("iterator expired, another is opened at the same position");
            }
            FetchEvent::Throttled => {
                stats.get_records_throttled.one();
                progress.read(ReadState::Throttled, now);
                tracing::debug!("read limits of the shard are used up, reading slows down");
            }
            FetchEvent::StillTooEarly(error) => {
                progress.read(ReadState::Failed(error.to_string().into()), now);
            }
            FetchEvent::SubscriptionInUse => {
                stats.subscription_in_use.one();
                progress.read(ReadState::Throttled, now);
                tracing::debug!("another subscription of this consumer is in the way, it is tried again");
            }
            event => return Some(event),
        }
        None
    }

    /// Counts and tells what happened while reading.
    pub(super) fn note(&self, progress: &Progress, event: FetchEvent) {
        let Some(event) = self.note_quietly(progress, event) else { return };
        let stats = &self.stats;
        let shard = progress.shard().clone();
        let now = self.clock.now();
        let failed = |error: Arc<str>| {
            progress.read(ReadState::Failed(Arc::clone(&error)), now);
            ConsumerEvent::ReadFailed { shard: shard.clone(), error }
        };
        let told = match event {
            FetchEvent::ExpiredIterator
            | FetchEvent::Throttled
            | FetchEvent::StillTooEarly(_)
            | FetchEvent::SubscriptionInUse => return,
            FetchEvent::Failed(error) => {
                stats.get_records_failures.one();
                failed(error.to_string().into())
            }
            FetchEvent::InvalidAnswer(what) => {
                stats.get_records_failures.one();
                failed(format!("an answer with {what} is not believed").into())
            }
            FetchEvent::ListingFailed(error) => failed(format!("listing shards: {error}").into()),
            FetchEvent::LatestReopened => {
                stats.gaps.one();
                ConsumerEvent::LatestReopened { shard }
            }
            FetchEvent::CheckpointTrimmed { checkpoint, first } => {
                stats.gaps.one();
                ConsumerEvent::GapBelowRetention { shard, checkpoint, first }
            }
            FetchEvent::Overtaken { lost, after, first } => {
                stats.gaps.one();
                ConsumerEvent::OvertakenByRetention { shard, lost, after, first }
            }
            FetchEvent::SubscriptionCut(error) => {
                stats.subscription_cuts.one();
                ConsumerEvent::SubscriptionCut { shard, error: error.to_string().into() }
            }
            FetchEvent::SubscriptionSilent => {
                stats.subscription_cuts.one();
                let error = "it has sent nothing for too long, not even an empty event".into();
                ConsumerEvent::SubscriptionCut { shard, error }
            }
            FetchEvent::ShardGone => {
                stats.gaps.one();
                ConsumerEvent::ShardVanished { shard }
            }
        };
        self.reports.events.emit(told);
    }

    /// Counts how a shard ended, and tells whom it concerns.
    pub(super) fn over(&self, shard: &StreamShard, end: End, last_failure: &Arc<str>) {
        self.stats.left(shard);
        tracing::debug!(%shard, ?end, "done with the shard");
        match end {
            End::Finished => {
                self.stats.shards_ended.one();
                self.parents.ring();
            }
            End::LeaseLost => self.stats.lost_leases.one(),
            End::GaveUp => {
                if let FailurePolicy::StopWorker { after_attempts } = self.config.failure_policy {
                    self.fail(WorkerError::Processor {
                        shard_id: shard.shard_id.clone(),
                        attempts: after_attempts,
                        message: Arc::clone(last_failure),
                    });
                }
            }
            End::Released => {}
        }
    }
}
