//! The short way in: one closure over every record of a stream.

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use aws_sdk_kinesis::Client;
use futures::FutureExt;
use futures::future::{BoxFuture, pending};
use kinesis_shard::{Clock, ExtendedSequenceNumber, ShardId};

use crate::checkpoint::Checkpointer;
use crate::config::{ConsumerConfig, FailurePolicy, InitialPosition, RetrievalMode};
use crate::error::{BoxError, StartError, WorkerError, panic_text};
use crate::event::StreamShard;
use crate::lease::{LeaseStore, MemoryLeaseStore};
use crate::processor::{
    InitializationInput, LeaseLostInput, ProcessRecordsInput, RecordProcessor, ShardEndedInput,
    ShutdownRequestedInput,
};
use crate::scheduler::{Scheduler, ShutdownReport};
use crate::user_record::UserRecord;

// The same as a stream.
mod stream;

pub use stream::{RecordStream, StreamedRecord};

/// How long the running closures may take to finish when a scan ends.
const GRACE: Duration = Duration::from_secs(30);

/// Reads every record of a stream: all shards, across splits and merges, checkpointing as it goes.
///
/// `stream` is a name or an ARN. See [`Scan`] for what can be set, and [`Scan::run`] for what happens.
///
/// ```no_run
/// // Needs a stream and credentials; `client` is an `aws_sdk_kinesis::Client`.
/// # async fn example(client: aws_sdk_kinesis::Client) -> Result<(), kcl::ScanError> {
/// kcl::scan(&client, "orders")
///     .run(|record| async move {
///         println!("{} {}", record.shard_id(), record.partition_key());
///         Ok(())
///     })
///     .await?;
/// # Ok(())
/// # }
/// ```
pub fn scan(client: &Client, stream: impl Into<Arc<str>>) -> Scan {
    let stream = stream.into();
    let config = ConsumerConfig::new("scan", stream, "scan");
    let worker_id = format!("scan-{:016x}", config.seed);
    Scan {
        client: client.clone(),
        config: ConsumerConfig { worker_id: crate::WorkerId::new(worker_id), ..config },
        store: None,
        checkpoint_every: None,
        until: pending().boxed(),
    }
}

/// A scan that has not begun. Nothing happens before [`run`](Self::run).
#[must_use = "a scan does nothing until run() is awaited"]
pub struct Scan {
    client: Client,
    config: ConsumerConfig,
    store: Option<Arc<dyn LeaseStore>>,
    checkpoint_every: Option<Duration>,
    until: BoxFuture<'static, ()>,
}

impl fmt::Debug for Scan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Scan")
            .field("config", &self.config)
            .field("store", &self.store)
            .field("checkpoint_every", &self.checkpoint_every)
            .finish_non_exhaustive()
    }
}

impl Scan {
    /// Where shards without a checkpoint start. Default: the oldest record.
    pub fn from(mut self, position: InitialPosition) -> Self {
        self.config.initial_position = position;
        self
    }

    /// How records come: by polling, the default, or by enhanced fan-out. For fan-out the group is registered as a consumer
    /// of the stream, under its name.
    pub fn retrieval(mut self, mode: RetrievalMode) -> Self {
        self.config.retrieval_mode = mode;
        self
    }

    /// The group that this scan belongs to: scans with one name and one store share the shards. Default `scan`.
    pub fn application(mut self, name: impl Into<Arc<str>>) -> Self {
        self.config.application_name = name.into();
        self
    }

    /// Where checkpoints are kept; with one that lasts, the next scan goes on where this one ended. Default: memory.
    pub fn store(mut self, store: Arc<dyn LeaseStore>) -> Self {
        self.store = Some(store);
        self
    }

    /// Checkpoint once in this time, instead of after each batch. Zero means after each batch, the default.
    pub fn checkpoint_every(mut self, interval: Duration) -> Self {
        self.checkpoint_every = Some(interval).filter(|interval| !interval.is_zero());
        self
    }

    /// Ends the scan when this future resolves, for example on ctrl-c. Default: never.
    pub fn until<F>(mut self, end: F) -> Self
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.until = end.map(drop).boxed();
        self
    }

    /// Ends the scan on ctrl-c, with the record in hand finished and every shard checkpointed.
    ///
    /// A second ctrl-c is not caught by this crate: it ends the process as usual only if nothing else handles it.
    pub fn until_ctrl_c(self) -> Self {
        self.until(async {
            if let Err(error) = tokio::signal::ctrl_c().await {
                tracing::error!(%error, "ctrl-c cannot be waited for, the scan goes on without");
                pending::<()>().await;
            }
        })
    }

    /// Changes any other option of the worker; the scan sets application, position and failure policy itself.
    pub fn configure(mut self, change: impl FnOnce(ConsumerConfig) -> ConsumerConfig) -> Self {
        self.config = change(self.config);
        self
    }

    /// Calls `each` with every record: in order within a shard, shards side by side, until it returns an error, or what
    /// was given to [`until`](Self::until) resolves.
    ///
    /// The rule for errors: an `Err` (or a panic) stops the scan; that record is not checkpointed, and the error names it.
    ///
    /// At the end every shard is checkpointed behind its last successful record and its lease is given back. A record may
    /// come twice after a crash, or when another scan of the group takes a shard over. Dropping the future is a crash.
    ///
    /// # Errors
    /// What `each` returned, with the record's position; or why the scan could not start or go on.
    pub async fn run<F, Fut>(self, each: F) -> Result<ScanReport, ScanError>
    where
        F: Fn(UserRecord) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let each: Each = Box::new(move |record| each(record).boxed());
        self.run_boxed(each).await
    }

    async fn run_boxed(mut self, each: Each) -> Result<ScanReport, ScanError> {
        let store = self.store.unwrap_or_else(|| Arc::new(MemoryLeaseStore::new()));
        self.config.failure_policy = FailurePolicy::StopWorker { after_attempts: 1 };
        // With a timed checkpoint an idle shard needs a call, or its last records would wait for the next one.
        self.config.call_process_records_even_for_empty_list |= self.checkpoint_every.is_some();
        let shared = Arc::new(Shared {
            each,
            stopping: AtomicBool::new(false),
            records: AtomicU64::new(0),
            failure: Mutex::default(),
        });
        let for_factory = Arc::clone(&shared);
        let settings = Settings { clock: self.config.clock.clone(), checkpoint_every: self.checkpoint_every };
        let factory = move |_shard: StreamShard| ScanProcessor {
            shared: Arc::clone(&for_factory),
            marks: Marks::new(settings.clone()),
        };
        let scheduler = Scheduler::start(&self.client, self.config, store, factory).await?;
        let stopped = tokio::select! {
            // Each resolves once; a failure is the news that must not be missed.
            biased;
            error = scheduler.wait() => Some(error),
            () = &mut self.until => None,
        };
        shared.stopping.store(true, Ordering::SeqCst);
        let report = scheduler.shutdown(GRACE).await;
        let failure = shared.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (failure, stopped) {
            (Some(failure), _) => Err(failure.into()),
            (None, Some(error)) => Err(ScanError::Worker(error)),
            (None, None) => {
                Ok(ScanReport { records: shared.records.load(Ordering::SeqCst), shutdown: report })
            }
        }
    }
}

type Each = Box<dyn Fn(UserRecord) -> BoxFuture<'static, Result<(), BoxError>> + Send + Sync>;

/// How a scan ended that was asked to end.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScanReport {
    /// Calls of the closure that returned `Ok`; a count.
    pub records: u64,
    /// How the worker below ended.
    pub shutdown: ShutdownReport,
}

impl fmt::Display for ScanReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} records scanned", self.records)
    }
}

/// Why a scan stopped by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScanError {
    /// It could not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The closure returned an error, or panicked. Neither this record nor a later one of its shard is checkpointed.
    #[error(
        "the closure failed at record {}/{} of {shard_id}: {source}; scan again to start at that record",
        position.sequence_number, position.sub_sequence_number
    )]
    Record {
        /// The record's shard.
        shard_id: ShardId,
        /// The record's place in it.
        position: ExtendedSequenceNumber,
        /// What the closure returned.
        source: BoxError,
    },
    /// The worker below could not go on.
    #[error(transparent)]
    Worker(WorkerError),
}

struct Failure {
    shard_id: ShardId,
    position: ExtendedSequenceNumber,
    source: BoxError,
}

impl From<Failure> for ScanError {
    fn from(Failure { shard_id, position, source }: Failure) -> Self {
        Self::Record { shard_id, position, source }
    }
}

struct Shared {
    each: Each,
    stopping: AtomicBool,
    records: AtomicU64,
    /// The first failure of any shard.
    failure: Mutex<Option<Failure>>,
}

/// When to checkpoint.
#[derive(Debug, Clone)]
struct Settings {
    clock: Clock,
    checkpoint_every: Option<Duration>,
}

/// How far one shard is processed, and checkpointed.
#[derive(Debug)]
struct Marks {
    settings: Settings,
    /// The last record whose call succeeded.
    done: Option<ExtendedSequenceNumber>,
    checkpointed: Option<ExtendedSequenceNumber>,
    /// When the next timed checkpoint is due.
    due: Option<Instant>,
}

impl Marks {
    fn new(settings: Settings) -> Self {
        Self { settings, done: None, checkpointed: None, due: None }
    }

    async fn checkpoint(&mut self, checkpointer: &Checkpointer) -> Result<(), BoxError> {
        if let Some(done) = self.done.filter(|done| self.checkpointed != Some(*done)) {
            checkpointer.checkpoint_at(done).await?;
            self.checkpointed = Some(done);
        }
        Ok(())
    }

    /// A failed checkpoint costs repeats after a crash, never a record: the next one covers it.
    async fn try_checkpoint(&mut self, checkpointer: &Checkpointer) {
        if let Err(error) = self.checkpoint(checkpointer).await {
            tracing::warn!(shard_id = %checkpointer.shard_id(), %error, "checkpoint failed, the next one covers it");
        }
    }

    /// Whether a checkpoint is due after a batch.
    fn is_due(&mut self) -> bool {
        let Some(interval) = self.settings.checkpoint_every else { return true };
        let now = self.settings.clock.now();
        let due = *self.due.get_or_insert(now + interval);
        if now >= due {
            self.due = Some(now + interval);
        }
        now >= due
    }
}

/// Calls the closure for the records of one shard.
struct ScanProcessor {
    shared: Arc<Shared>,
    marks: Marks,
}

impl ScanProcessor {
    async fn call(&self, record: UserRecord) -> Result<(), Failure> {
        let (shard_id, position) = (record.shard_id().clone(), record.position());
        let result = AssertUnwindSafe(async { (self.shared.each)(record).await }).catch_unwind().await;
        let source = match result {
            Ok(Ok(())) => {
                self.shared.records.fetch_add(1, Ordering::SeqCst);
                return Ok(());
            }
            Ok(Err(error)) => error,
            Err(panic) => format!("panicked: {}", panic_text(&*panic)).into(),
        };
        Err(Failure { shard_id, position, source })
    }
}

#[async_trait]
impl RecordProcessor for ScanProcessor {
    async fn initialize(&mut self, _input: InitializationInput) -> Result<(), BoxError> {
        Ok(())
    }

    async fn process_records(&mut self, input: ProcessRecordsInput) -> Result<(), BoxError> {
        for record in input.records.iter() {
            if self.shared.stopping.load(Ordering::SeqCst) {
                // The rest of the batch is not processed, and is not checkpointed: only `done` ever is.
                break;
            }
            if let Err(failure) = self.call(record.clone()).await {
                self.shared.stopping.store(true, Ordering::SeqCst);
                let message = failure.source.to_string();
                self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
                self.marks.try_checkpoint(&input.checkpointer).await;
                return Err(message.into());
            }
            self.marks.done = Some(record.position());
        }
        if self.marks.is_due() {
            self.marks.try_checkpoint(&input.checkpointer).await;
        }
        Ok(())
    }

    async fn lease_lost(&mut self, _input: LeaseLostInput) {}

    async fn shard_ended(&mut self, input: ShardEndedInput) -> Result<(), BoxError> {
        if self.shared.stopping.load(Ordering::SeqCst) {
            // The last batch may have been cut short, so this is not the end for us.
            self.marks.checkpoint(&input.checkpointer).await?;
            return Err("the scan stops before the end of the shard".into());
        }
        Ok(input.checkpointer.checkpoint().await?)
    }

    async fn shutdown_requested(&mut self, input: ShutdownRequestedInput) -> Result<(), BoxError> {
        self.marks.checkpoint(&input.checkpointer).await
    }
}
