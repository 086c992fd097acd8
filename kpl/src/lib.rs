//! A producer for Amazon Kinesis Data Streams: aggregates user records, batches them, retries what fails, and answers each one once.
//!
//! What it promises: every accepted record is answered exactly once, delivered or failed, with the history of its attempts; a record is
//! acknowledged only where a KCL reader will find it, also while the stream is resharded; memory is bounded in bytes, and waiting for
//! room is an `await`; a flush covers exactly what was accepted before it.
//!
//! What it does not do: it creates no stream, finds no credentials (you pass a ready client), persists nothing, and does not remove
//! duplicates: delivery is at least once.
//!
//! ```text
//! Producer::put(UserRecord)  waits for bytes
//!    | hash the key, find the shard, append to its open aggregate       in the caller's thread
//!    v                                                           Ticket <---------------.
//! sealed aggregates --> limiter --> collector --> PutRecords --> retrier --> delivered --'
//!                       per shard   500 entries                     '--> again, slower, elsewhere, or failed
//! ```
//!
//! `docs/producer.md` in the repository has every knob, the errors with what to do, and tuning; `docs/coming-from-the-java-kpl.md` is for
//! those who come from there, or from a loop around `PutRecords`.
//!
//! # Ways in
//!
//! [`Producer::put`] waits for room and gives a [`Ticket`]; [`Producer::put_many`] is cheaper for batches; [`Producer::try_put`] never
//! waits, for callers that are not async; [`Producer::reserve`] waits before there is a record; [`Producer::sink`] is a
//! `futures::Sink`. [`Producer::stream`] gives the same for another stream, within one memory bound.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//!
//! use kinesis_sim::Sim;
//! use kpl::{Producer, ProducerConfig, UserRecord};
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
//! # runtime.block_on(async {
//! // The simulated engine; against AWS, any `aws_sdk_kinesis::Client` will do.
//! let sim = Sim::new(7);
//! sim.create_stream("orders", 2);
//!
//! let producer = Producer::start(&sim.client(), ProducerConfig::new("orders"))?;
//! let ticket = producer.put(UserRecord::new("customer-17", "one espresso")).await?;
//! let delivered = ticket.await?;
//! println!("in {} at {}", delivered.shard_id, delivered.sequence_number);
//!
//! let report = producer.close(Duration::from_secs(30)).await;
//! assert_eq!(report.left, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! - `serde` (off): [`ProducerConfig`] can be loaded from any serde format. Brings serde.
//!
//! `bench` is for this crate's own benchmark and no interface.

/// How a producer behaves.
mod config;

/// User records in; where they were delivered out.
mod user_record;

/// The handle: put, flush, close.
mod producer;

/// Where callers and the driver meet: open aggregates, sealed ones.
mod intake;

/// One completion for all records of an aggregate; tickets.
mod batch;

/// What was learned of the stream: its limit, and whether it goes by keys.
mod stream_facts;

/// Bytes and batches that are accepted and not answered.
mod outstanding;

/// Limiter, collector and retrier on sealed Kinesis records.
mod pipeline;

/// The one task.
mod driver;

/// PutRecords, ListShards and DescribeStreamSummary through the SDK.
mod transport;

/// Counters and gauges.
mod stats;

/// What can go wrong.
mod error;

#[cfg(test)]
mod testing;

/// For this crate's own benchmark; not an interface.
#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;

pub use batch::{Answers, Ticket, Tickets};
pub use config::{IgnoredKnob, Ordering, ProducerConfig};
pub use error::{ConfigError, PutError, PutErrorReason, PutManyError, TimeSpent, TryPutError, WaitedIn};
/// What records and answers are made of, so that users need no second crate.
pub use kinesis_shard::{HashKey, ParseHashKeyError, SequenceNumber, ShardId};
pub use producer::{CloseReport, Permit, Producer, ProducerSink};
pub use stats::{Distribution, Metric, ProducerStats, QueueStatus, Sample, TimeStats};
pub use user_record::{Attempt, Attempts, Delivered, UserRecord};
