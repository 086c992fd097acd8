//! A simulated Amazon Kinesis Data Streams: under the unmodified AWS SDK in your process, on virtual time, or
//! as a local HTTP server for any client.
//!
//! It answers what the service would answer: sequence numbers in the service's layout, child shards at a
//! shard's end, iterators that expire, rates per shard, partial failures, the service's error texts. Faults
//! are injected by [`Rule`]s; the same seed and the same calls give the same bytes.
//!
//! It does not persist anything, does not check signatures or policies, encrypts nothing, and does not scale on-demand
//! streams on its own. Operations on queues and channels answer `UnknownOperationException`.
//!
//! ```text
//!  aws_sdk_kinesis::Client --SimHttpClient--+                        +--> stream: shards, states, retention
//!                                           +--> door --> Engine ----+--> shard_log: records, rates
//!  any client --HTTP/1.1, h2, TLS--server---+    (time)   (pure)     +--> rule: faults
//!                                                                    +--> operation/*: one file each
//! ```
//!
//! Operations: the forty of streams, shards, records, consumers, tags, policies, accounts, encryption and monitoring, one
//! file each in `operation/`. Limits are the service's, switchable ([`Limits`]) and settable ([`ServiceLimits`]).
//!
//! # Example
//!
//! A program's own test, through the real SDK, in virtual time (an ordinary test would say
//! `#[tokio::test(start_paused = true)]`):
//!
//! ```
//! use aws_sdk_kinesis::primitives::Blob;
//! use aws_sdk_kinesis::types::ShardIteratorType;
//! use kinesis_sim::{Rule, Sim, Verdict};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
//! # runtime.block_on(async {
//! let sim = Sim::new(7);
//! sim.create_stream("orders", 2);
//! let client = sim.client_named("shop");
//!
//! // The first put is throttled, as a busy shard would.
//! let busy = sim.rule(Rule::operation("PutRecord").caller("shop").times(1).then(Verdict::Throttle));
//! let put = || client.put_record().stream_name("orders").partition_key("k").data(Blob::new("one tea"));
//! let error = put().send().await.unwrap_err().into_service_error();
//! assert!(error.is_provisioned_throughput_exceeded_exception());
//! let answer = put().send().await?;
//! assert_eq!(busy.hits(), 1);
//!
//! // What was put is there, seen directly ...
//! assert_eq!(sim.stored("orders")[0].data.as_ref(), b"one tea");
//!
//! // ... and through the service's own calls.
//! let iterator = client
//!     .get_shard_iterator()
//!     .stream_name("orders")
//!     .shard_id(answer.shard_id())
//!     .shard_iterator_type(ShardIteratorType::TrimHorizon)
//!     .send()
//!     .await?;
//! let page = client.get_records().set_shard_iterator(iterator.shard_iterator).send().await?;
//! assert_eq!(page.records()[0].sequence_number(), answer.sequence_number());
//! assert_eq!(sim.trace()[0], "0 shop PutRecord orders ProvisionedThroughputExceededException");
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! Whether the program lost anything is what a [`History`] judges. `docs/simulator.md` is the page for people who test
//! their own applications.
//!
//! # Features
//!
//! | feature | default | adds | pulls in |
//! | --- | --- | --- | --- |
//! | `dynamodb` | off | `SimDynamoDb`: DynamoDB as a lease store calls it, under its SDK client, with the same faults | aws-sdk-dynamodb |
//! | `server` | off | `Sim::serve`: HTTP, HTTPS, faults for any language under `/_sim`; the binary `kinesis-sim` | hyper, hyper-util, rcgen, tokio-rustls (ring), clap, tokio's net and signal |

/// Settings, clients, direct access: the handle of a simulation.
mod sim;

/// Faults by rule.
mod rule;

/// A request and the time in, an answer out.
mod engine;

/// One file per API operation.
mod operation;

/// What requests must look like.
mod validation;

/// Requests and answers as bytes.
mod wire;

/// Enhanced fan-out: what is pushed to a consumer, and when.
mod subscription;

/// Events as frames.
mod event_stream;

/// All streams, and the changes that are due.
mod stream_table;

/// One stream: shards, state, retention.
mod stream;

/// One shard: records and rates.
mod shard_log;

/// Token buckets.
mod quota;

/// Positions as self-contained texts.
mod iterator;

/// The form of those texts.
mod token;

/// Refusals, in the service's words.
mod error;

/// One line per call.
mod trace;

/// What an application did, and whether it lost anything.
mod history;

/// What both doors share.
mod door;

/// The door under the SDK.
mod in_process;

/// The tables in which consumers keep their leases.
#[cfg(feature = "dynamodb")]
mod dynamodb;

/// What fuzzing drives.
#[doc(hidden)]
pub mod fuzzing;

/// The door on a socket.
#[cfg(feature = "server")]
mod server;

#[cfg(feature = "dynamodb")]
pub use dynamodb::{SimDynamoDb, SimDynamoDbHttpClient, TableUsage, TableWrite};
pub use engine::{Answer, Engine, EngineSettings, Loss, Reply, Request};
pub use history::{History, Judgement};
pub use in_process::SimHttpClient;
pub use quota::{Limits, ServiceLimits, ShardRates};
pub use rule::{EntryError, Rule, RuleGuard, Verdict};
#[cfg(feature = "server")]
pub use server::{ControlAccess, ServeError, ServeOptions, Server};
pub use sim::{Sim, SimBuilder, StoredRecord};
pub use stream_table::Scope;
pub use wire::Encoding;

/// The code of the page for users compiles and runs.
#[cfg(all(doctest, feature = "server"))]
#[doc = include_str!("../../docs/simulator.md")]
struct SimulatorPage;
