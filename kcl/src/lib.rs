//! Amazon Kinesis Client Library, native: reads a stream with any number of workers.
//!
//! **What it does.** Workers of one application share the shards of a stream through leases; each shard is read by one of
//! them at a time, in order, parents before children across splits and merges. Records put by a producer library are taken
//! out of their aggregates. Processing is at least once: it goes on at the last checkpoint after a crash, a hand-over or a
//! lost answer, and a failing processor is given the same batch again, never the next one.
//!
//! **What it does not do.** It does not make processing exactly once, run processors of other languages, or put records.
//!
//! Reading is by polling (`GetRecords`), or by enhanced fan-out (`SubscribeToShard`): [`RetrievalMode`].
//!
//! ```text
//! ListShards -> lease/sync -> LeaseStore
//!                                 |
//!                 lease/keeper: takes, renews, gives back
//!                                 | one shard_task per lease: shard_consumer decides
//! GetRecords or
//! SubscribeToShard --- fetch      v
//!     '-> user_record -> RecordProcessor::process_records
//!                                 |
//!         Checkpointer -> LeaseStore, only while the lease is ours
//! ```
//!
//! # The short ways
//! [`scan`] calls one closure for each record; [`Scan::stream`] gives the records as a stream.
//!
//! # The whole way
//! A [`RecordProcessor`] per shard, run by a [`Scheduler`]:
//!
//! ```no_run
//! // Needs a stream and credentials; `client` is an `aws_sdk_kinesis::Client`.
//! use std::{sync::Arc, time::Duration};
//! use kcl::{
//!     BoxError, ConsumerConfig, InitializationInput, LeaseLostInput, MemoryLeaseStore, ProcessRecordsInput,
//!     RecordProcessor, Scheduler, ShardEndedInput, ShutdownRequestedInput,
//! };
//!
//! struct Printer;
//!
//! #[kcl::async_trait]
//! impl RecordProcessor for Printer {
//!     async fn initialize(&mut self, _: InitializationInput) -> Result<(), BoxError> {
//!         Ok(())
//!     }
//!     async fn process_records(&mut self, input: ProcessRecordsInput) -> Result<(), BoxError> {
//!         for record in input.records.iter() {
//!             println!("{} {:?}", record.partition_key(), record.data());
//!         }
//!         Ok(input.checkpointer.checkpoint().await?)
//!     }
//!     async fn lease_lost(&mut self, _: LeaseLostInput) {}
//!     async fn shard_ended(&mut self, input: ShardEndedInput) -> Result<(), BoxError> {
//!         Ok(input.checkpointer.checkpoint().await?)
//!     }
//!     async fn shutdown_requested(&mut self, input: ShutdownRequestedInput) -> Result<(), BoxError> {
//!         Ok(input.checkpointer.checkpoint().await?)
//!     }
//! }
//!
//! # async fn example(client: aws_sdk_kinesis::Client) -> Result<(), kcl::StartError> {
//! let config = ConsumerConfig::new("billing", "orders", "worker-a");
//! let store = Arc::new(MemoryLeaseStore::new());
//! let scheduler = Scheduler::start(&client, config, store, |_shard| Printer).await?;
//! // ... until it is time to stop:
//! let report = scheduler.shutdown(Duration::from_secs(30)).await;
//! println!("{} shards handed back", report.released.len());
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//! - `dynamodb`, on by default: `DynamoDbLeaseStore`, the lease table of the Java library (the DynamoDB client of the AWS SDK).
//! - `sqlite`: `SqliteLeaseStore`, one file shared by the processes of one machine (rusqlite with its SQLite).
//! - `conformance`: the suite that every lease store passes, for the tests of a store of your own.

// What a worker may be told.
mod config;

// What the user implements, and is given.
mod processor;

// Several streams in one application.
mod streams;

// The worker: starts, stops, owns every task.
mod scheduler;

// One closure over every record.
mod scan;

// Who reads which shard, and how far it got.
pub mod lease;

// The life of one shard.
mod shard_consumer;

// What to read next, and when.
mod fetch;

// User records out of Kinesis records.
mod user_record;

// How far processing got, and how far it may say so.
mod checkpoint;

// Runs one shard.
mod shard_task;

// Shards that stand still by the application's wish.
mod pauses;

// News for many tasks.
mod bell;

// The calls to the service.
mod transport;

// What happens, as values, and where it is told.
mod event;

// Where each shard stands.
mod board;

// Which shards make no progress, and why.
mod watchdog;

// Counters under the KCL's metric names.
mod stats;

// Events, board and counters in one hand.
mod reports;

// Whether the worker is well.
mod health;

// Errors of a whole worker.
mod error;

// What benches drive.
#[doc(hidden)]
pub mod benching;

/// For implementing [`RecordProcessor`] and [`LeaseStore`].
pub use async_trait::async_trait;
pub use board::{ShardState, ShardStatus, StuckWhy};
pub use checkpoint::{CheckpointError, Checkpointer, PreparedCheckpoint};
pub use config::{ConsumerConfig, FailurePolicy, InitialPosition, RetrievalMode};
pub use error::{BoxError, ConfigError, StartError, StreamConsumerError, WorkerError};
pub use event::{ConsumerEvent, EventReceiver, EventSink, ProcessorCall, Severity, StreamShard};
pub use health::{Health, HealthState};
#[cfg(feature = "dynamodb")]
pub use lease::DynamoDbLeaseStore;
pub use lease::{Lease, LeaseCounter, LeaseKey, LeaseStore, LeaseStoreError, MemoryLeaseStore, WorkerId};
pub use processor::{
    InitializationInput, LeaseLostInput, ProcessRecordsInput, RecordProcessor, RecordProcessorFactory,
    ShardEndedInput, ShutdownRequestedInput,
};
pub use scan::{RecordStream, Scan, ScanError, ScanReport, StreamedRecord, scan};
pub use scheduler::{Scheduler, ShutdownReport};
pub use stats::{CallTimes, ConsumerStats, LeaseStats};
pub use streams::StreamSet;
pub use transport::deregister_stream_consumer;
pub use user_record::UserRecord;

/// Positions and shards, as the whole workspace names them.
pub use kinesis_shard::{Checkpoint, ExtendedSequenceNumber, HashKey, SequenceNumber, ShardId};
