//! The handle of a running worker, and the owner of all its tasks.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_kinesis::Client;
use futures::FutureExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::Instrument;

use crate::bell::Bell;
use crate::config::ConsumerConfig;
use crate::error::{StartError, WorkerError, panic_text};
use crate::event::StreamShard;
use crate::health::Health;
use crate::lease::held::HeldLease;
use crate::lease::keeper::{Keeper, KeeperError, KeeperSettings};
use crate::lease::{LeaseKey, LeaseStore};
use crate::processor::RecordProcessorFactory;
use crate::shard_consumer::End;
use crate::shard_task::{Context, ShardTask, Worker};
use crate::stats::ConsumerStats;
use crate::streams::{Follower, Listings, Readable};
use crate::transport::{SdkTransport, Transport};
use crate::watchdog::{Thresholds, Watchdog};

// Starts a task for each lease gained, and ends everything in order.
mod dispatcher;

use dispatcher::Dispatcher;

/// Leases that may wait to be started. The keeper waits when it is full; nothing is lost by that.
const GAINED_CAPACITY: usize = 16;
/// Commands to the keeper. One is dropped when it is full, which is right: the ones before it ask for the same.
const COMMAND_CAPACITY: usize = 8;

/// A running worker. It takes leases, reads their shards and calls the processors until it is shut down.
///
/// Dropping it aborts every task at once and tells nobody, as a crash would: other workers take the leases after the
/// failover time. [`shutdown`](Self::shutdown) is the polite way.
pub struct Scheduler {
    shared: Arc<Shared>,
}

struct Shared {
    worker: Arc<Worker>,
    readable: Arc<Readable>,
    /// Every task of this worker, so that one abort reaches them all.
    tasks: Mutex<JoinSet<Finished>>,
    book: Mutex<Book>,
    /// Rings once every shard and the keeper have ended.
    drained: Bell,
}

/// Which shards run, and how those that ended did.
#[derive(Debug, Default)]
struct Book {
    /// Shards with a task; one at a time, also when a lease is lost and gained again.
    running: BTreeMap<LeaseKey, u64>,
    /// Gained again before the task of the earlier tenure had ended.
    waiting: BTreeMap<LeaseKey, HeldLease>,
    report: ShutdownReport,
}

/// How a shutdown ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Shards whose processor was told and whose lease was given back: a successor can start at once.
    pub released: Vec<StreamShard>,
    /// Shards that reached their end, or whose lease was lost, while the worker shut down.
    pub ended: Vec<StreamShard>,
    /// Shards stopped by force when the grace was over: their leases expire after the failover time.
    pub forced: Vec<StreamShard>,
    /// What the worker had done in all.
    pub stats: ConsumerStats,
}

/// What a task hands back.
enum Finished {
    Shard { key: LeaseKey, tenure: u64, result: Result<End, String> },
    Keeper(Result<(), WorkerError>),
    Dispatcher,
    Aside,
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = &self.shared.worker.config;
        formatter
            .debug_struct("Scheduler")
            .field("application", &config.application_name)
            .field("stream", &config.stream)
            .field("worker_id", &config.worker_id)
            .finish_non_exhaustive()
    }
}

impl Scheduler {
    /// Starts a worker on the current tokio runtime.
    ///
    /// `client` brings region, credentials and connections; its retries are switched off, as this crate has its own.
    /// `store` is where the workers of the application meet. `factory` makes one processor per shard gained.
    ///
    /// # Errors
    /// When the configuration is not valid, the store cannot be used, its leases are of another stream, of an earlier one
    /// of the same name or of an application of another form (one stream, or several), or the stream does not exist or may not
    /// be read. What may pass by itself (throttling, a stream that
    /// is being created) is not an error: the worker waits. If the question which stream the leases are of could not be
    /// answered at the start, it is asked again before anything is read, and a refusal comes from [`wait`](Self::wait).
    ///
    /// # Panics
    /// Outside a tokio runtime with time enabled.
    pub async fn start(
        client: &Client,
        config: ConsumerConfig,
        store: Arc<dyn LeaseStore>,
        factory: impl RecordProcessorFactory + 'static,
    ) -> Result<Self, StartError> {
        config.validate()?;
        let config = Arc::new(config);
        let application = Arc::clone(&config.application_name);
        let prepared = store.prepare().await;
        if let Err(source) = prepared.clone()
            && !source.is_retryable()
        {
            return Err(StartError::Store { application, source });
        }
        let worker = Arc::new(Worker::new(Arc::clone(&config), Box::new(factory)));
        let settings = KeeperSettings { reports: worker.reports.clone(), ..settings(&config) };
        let readable = Arc::new(Readable::default());
        let mut keeper = if config.streams.is_some() {
            Keeper::of_several(store, config.clock.clone(), settings)
        } else {
            let transport = Arc::new(SdkTransport::new(client, &config));
            if let Err(error) = transport.shards().await
                && !error.is_retryable()
            {
                return Err(error.into());
            }
            transport.prepare(config.retrieval_mode).await?;
            let context = Context::new(Arc::clone(&worker), Arc::clone(&config), Arc::clone(&transport) as _);
            let context = Arc::new(context);
            readable.insert("".into(), Arc::clone(&context));
            let listings = Arc::new(Listings { transport, context });
            Keeper::new(store, listings, config.clock.clone(), settings)
        };
        if prepared.is_ok() {
            keeper.check().await.map_err(|error| match error {
                KeeperError::Store(source) => StartError::Store { application, source },
                KeeperError::Shards(error) => error.into(),
            })?;
        }
        let shared = Arc::new(Shared {
            worker,
            readable,
            tasks: Mutex::default(),
            book: Mutex::default(),
            drained: Bell::default(),
        });
        shared.launch(keeper, client);
        Ok(Self { shared })
    }

    /// Resolves when the worker cannot go on, with the reason; never while it is well.
    ///
    /// By then the shards are being handed back; call [`shutdown`](Self::shutdown) to wait for that. Cancel safe.
    pub async fn wait(&self) -> WorkerError {
        self.shared.worker.failure().await
    }

    /// The same as a future of its own.
    pub(crate) fn failure(&self) -> impl Future<Output = WorkerError> + Send + use<> {
        let worker = Arc::clone(&self.shared.worker);
        async move { worker.failure().await }
    }

    /// Lets a shard stand still: no record of it is read or handed over until [`resume`](Self::resume). A running call may
    /// finish. Whether it was not paused before.
    ///
    /// The lease is kept, so nobody else processes the shard; a shutdown, or the loss of the lease, is told to the processor
    /// as always. What is read already stays in memory, within the budget. A pause belongs to this worker: it holds for a
    /// shard that is gained later too, and ends with the worker. Records older than the stream's retention are gone when
    /// a pause lasted longer than that.
    ///
    /// A processor can do the same to its own shard: [`Checkpointer::pause`](crate::Checkpointer::pause).
    pub fn pause(&self, shard: impl Into<LeaseKey>) -> bool {
        self.shared.worker.pauses.pause(shard.into())
    }

    /// Lets a paused shard go on where it stood. Whether it was paused.
    pub fn resume(&self, shard: impl Into<LeaseKey>) -> bool {
        self.shared.worker.pauses.resume(&shard.into())
    }

    /// Counters since the start.
    pub fn stats(&self) -> ConsumerStats {
        self.shared.worker.stats.snapshot()
    }

    /// How the worker is: every shard with what it does and waits for, and one word for a liveness probe.
    pub fn health(&self) -> Health {
        let context = &self.shared.worker;
        let now = context.clock.now();
        Health::of(&context.config, &context.reports, now, context.shutdown.has_rung(), context.error())
    }

    /// The shards that this worker holds now, in order of their ids.
    pub fn shards(&self) -> Vec<StreamShard> {
        let events = &self.shared.worker.reports.events;
        self.shared.book().running.keys().map(|key| events.shard(key)).collect()
    }

    /// Stops the worker: no new leases; running calls finish; every processor gets `shutdown_requested` with a checkpointer;
    /// leases are given back in the store, so that a successor starts at once; all tasks end.
    ///
    /// What has not ended after `grace` is aborted, as a crash would be. Dropping the future aborts at once.
    pub async fn shutdown(self, grace: Duration) -> ShutdownReport {
        let context = &self.shared.worker;
        let deadline = context.clock.now() + grace;
        context.shutdown.ring();
        tokio::select! {
            // Ending is looked at before the clock, so that a grace of zero still sees what has ended.
            biased;
            () = self.shared.drained.rung() => {}
            () = context.clock.sleep_until(deadline) => tracing::warn!("the grace is over, what still runs is stopped by force"),
        }
        self.shared.tasks().abort_all();
        let mut book = self.shared.book();
        let mut report = std::mem::take(&mut book.report);
        report.forced = book.running.keys().map(|key| context.reports.events.shard(key)).collect();
        report.stats = context.stats.snapshot();
        report
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        // Also breaks the circle of tasks that hold what holds them.
        self.shared.tasks().abort_all();
    }
}

fn settings(config: &ConsumerConfig) -> KeeperSettings {
    let defaults = KeeperSettings::new(config.worker_id.clone(), config.failover_time, config.seed);
    KeeperSettings {
        renewal_interval: config.lease_renewal_interval.unwrap_or(defaults.renewal_interval),
        scan_interval: config.lease_scan_interval.unwrap_or(defaults.scan_interval),
        shard_sync_interval: config.shard_sync_interval,
        max_leases: config.max_leases_for_worker,
        max_leases_to_steal: config.max_leases_to_steal_at_one_time,
        initial_position: config.initial_position,
        ..defaults
    }
}

impl Shared {
    fn tasks(&self) -> MutexGuard<'_, JoinSet<Finished>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn launch(self: &Arc<Self>, keeper: Keeper, client: &Client) {
        let (gained_sender, gained) = mpsc::channel(GAINED_CAPACITY);
        let (commands, command_receiver) = mpsc::channel(COMMAND_CAPACITY);
        let config = &self.worker.config;
        let follower = config.streams.clone().map(|set| Follower {
            worker: Arc::clone(&self.worker),
            client: client.clone(),
            set,
            readable: Arc::clone(&self.readable),
            syncs: keeper.syncs(),
            keeper: commands.clone(),
        });
        let span = tracing::info_span!("worker", stream = %config.stream, worker_id = %config.worker_id);
        let keeper = async move {
            let ran = AssertUnwindSafe(keeper.run(gained_sender, command_receiver)).catch_unwind().await;
            Finished::Keeper(match ran {
                Ok(Ok(())) => Ok(()),
                Ok(Err(KeeperError::Store(error))) => Err(WorkerError::Store(error)),
                Ok(Err(KeeperError::Shards(error))) => Err(WorkerError::Stream(error)),
                Err(panic) => Err(WorkerError::Panicked { message: panic_text(&*panic).into() }),
            })
        };
        let dispatcher = Dispatcher { shared: Arc::clone(self), commands, gained };
        let watchdog = Arc::clone(self).watch();
        let mut tasks = self.tasks();
        tasks.spawn(watchdog.instrument(span.clone()));
        if let Some(follower) = follower {
            tasks.spawn(follower.run().map(|()| Finished::Aside).instrument(span.clone()));
        }
        tasks.spawn(keeper.instrument(span.clone()));
        tasks.spawn(dispatcher.run().instrument(span));
    }

    /// Looks at the shards again and again, until all of them have ended.
    async fn watch(self: Arc<Self>) -> Finished {
        let Worker { config, clock, reports, .. } = &*self.worker;
        let thresholds = Thresholds { slow: config.slow_processor_after, stuck: config.stuck_after };
        let mut watchdog = Watchdog::new(thresholds);
        loop {
            tokio::select! {
                // The first fires once, and then it is over.
                biased;
                () = self.drained.rung() => return Finished::Aside,
                () = clock.sleep(watchdog.interval()) => {
                    for event in watchdog.look(clock.now(), &reports.board.all()) {
                        reports.events.emit(event);
                    }
                }
            }
        }
    }

    /// Starts a shard, or lets it wait for the end of its earlier tenure.
    fn start(&self, lease: HeldLease) {
        let (key, tenure) = (lease.key().clone(), lease.tenure());
        let mut book = self.book();
        if book.running.contains_key(&key) {
            book.waiting.insert(key, lease);
            return;
        }
        book.running.insert(key.clone(), tenure);
        drop(book);
        let span = tracing::info_span!("shard", lease_key = %key, shard_id = %key.shard_id(), tenure);
        let Some(context) = self.readable.of(&key) else {
            self.give_back(key, tenure, lease, span);
            return;
        };
        let task = ShardTask::new(context, lease);
        let running = async move {
            let result = AssertUnwindSafe(task.run()).catch_unwind().await;
            Finished::Shard { key, tenure, result: result.map_err(|panic| panic_text(&*panic)) }
        };
        self.tasks().spawn(running.instrument(span));
    }

    /// Gives back a lease of a stream that was left while the lease was taken.
    fn give_back(&self, key: LeaseKey, tenure: u64, lease: HeldLease, span: tracing::Span) {
        let giving = async move {
            if let Err(error) = lease.release().await {
                tracing::info!(%error, "lease not given back, it expires");
            }
            Finished::Shard { key, tenure, result: Ok(End::Released) }
        };
        self.tasks().spawn(giving.instrument(span));
    }

    /// Writes down how a shard ended; the lease that waited for it, if there is one.
    fn ended(&self, key: &LeaseKey, tenure: u64, result: Result<End, String>) -> Option<HeldLease> {
        self.worker.reports.board.leave(key);
        let mut book = self.book();
        if book.running.get(key) == Some(&tenure) {
            book.running.remove(key);
        }
        if self.worker.shutdown.has_rung() {
            let shard = self.worker.reports.events.shard(key);
            match result {
                Ok(End::Released | End::GaveUp) => book.report.released.push(shard),
                Ok(End::Finished | End::LeaseLost) => book.report.ended.push(shard),
                Err(_) => book.report.forced.push(shard),
            }
        }
        let next = book.waiting.remove(key);
        drop(book);
        if let Err(message) = result {
            self.worker.fail(WorkerError::Panicked { message: message.into() });
        }
        next
    }
}
