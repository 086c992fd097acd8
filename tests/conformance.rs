//! What a client may rely on, asked of a service over its own protocol: of the engine by default, of any other endpoint on request.
//!
//! ```text
//! cargo test --test conformance                                             the engine, over HTTP on loopback
//! KINESIS_ENDPOINT=http://127.0.0.1:4567 cargo test --test conformance      a server or an emulator
//! KINESIS_ENDPOINT=aws cargo test --test conformance -- --test-threads 1    the service itself, in the region of the environment
//! ```
//!
//! Elsewhere region and credentials come from the environment, as every AWS tool takes them. Each case makes a stream of its
//! own, named `conformance-...`, and deletes it; on the service that costs a few cents. What needs virtual time or faults is in
//! `sim/tests`, for the engine alone: iterators that expire, retention that passes, exact rates.
#![expect(
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and another endpoint lives in real time"
)]

/// Streams come, are described, and go.
#[path = "conformance/streams.rs"]
mod streams;

/// Records in.
#[path = "conformance/writing.rs"]
mod writing;

/// Records out.
#[path = "conformance/reading.rs"]
mod reading;

/// Splits and merges.
#[path = "conformance/resharding.rs"]
mod resharding;

use std::future::Future;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_config::BehaviorVersion;
use aws_config::retry::RetryConfig;
use aws_credential_types::Credentials;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::operation::get_shard_iterator::builders::GetShardIteratorFluentBuilder;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{Record, Shard, ShardIteratorType, StreamStatus};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use futures::FutureExt;
use kinesis_sim::{Limits, Server, Sim};

const ENDPOINT: &str = "KINESIS_ENDPOINT";

/// How long a stream may take to be created, split or deleted.
const PATIENCE: Duration = Duration::from_mins(3);

/// A stream of one case, and the way to it.
struct Subject {
    client: Client,
    stream: String,
    /// Ends with the case; none if the endpoint is somebody else's.
    _server: Option<Server>,
}

/// Runs a case on a stream of its own and deletes the stream, also if the case fails.
async fn on_a_stream<F: Future<Output = ()> + Send>(
    case: &str,
    shards: i32,
    body: impl FnOnce(Arc<Subject>) -> F + Send,
) {
    let subject = Arc::new(Subject::new(case).await);
    let create = subject.client.create_stream().stream_name(&subject.stream).shard_count(shards);
    create.send().await.expect("the stream is created");
    subject.until_active().await;
    let outcome = AssertUnwindSafe(body(Arc::clone(&subject))).catch_unwind().await;
    let deleted = subject.client.delete_stream().stream_name(&subject.stream).send().await;
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
    deleted.expect("the stream is deleted");
}

impl Subject {
    async fn new(case: &str) -> Self {
        // Distinct also if the suite runs twice at one time.
        let stream = format!("conformance-{case}-{}", std::process::id());
        let (client, server) = if let Ok(endpoint) = std::env::var(ENDPOINT) {
            (elsewhere(&endpoint).await, None)
        } else {
            let (client, server) = engine().await;
            (client, Some(server))
        };
        Self { client, stream, _server: server }
    }

    /// Waits until the stream is as it was asked to be.
    async fn until_active(&self) {
        let began = Instant::now();
        while self.status().await != Some(StreamStatus::Active) {
            assert!(began.elapsed() < PATIENCE, "{} is not ACTIVE after {PATIENCE:?}", self.stream);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn status(&self) -> Option<StreamStatus> {
        let described = self.client.describe_stream_summary().stream_name(&self.stream).send().await.ok()?;
        Some(described.stream_description_summary?.stream_status)
    }

    async fn shards(&self) -> Vec<Shard> {
        self.client
            .list_shards()
            .stream_name(&self.stream)
            .send()
            .await
            .expect("listed")
            .shards
            .unwrap_or_default()
    }

    /// Puts a record; where it is.
    async fn put(&self, key: &str, data: &str) -> (String, String) {
        let put = self.client.put_record().stream_name(&self.stream).partition_key(key);
        let put = put.data(Blob::new(data)).send().await.expect("put");
        (put.shard_id, put.sequence_number)
    }

    fn iterator(&self, shard: &str, kind: ShardIteratorType) -> GetShardIteratorFluentBuilder {
        self.client.get_shard_iterator().stream_name(&self.stream).shard_id(shard).shard_iterator_type(kind)
    }

    async fn get(&self, iterator: &str) -> GetRecordsOutput {
        self.client.get_records().shard_iterator(iterator).send().await.expect("read")
    }

    /// Reads on until the answer says that nothing is left, or the shard has ended; and the last answer.
    async fn read_on(&self, from: GetShardIteratorFluentBuilder) -> (Vec<Record>, GetRecordsOutput) {
        let mut iterator = from.send().await.expect("opened").shard_iterator.expect("an iterator");
        let mut records = Vec::new();
        // An answer may be empty although there is more: the service says how far behind it is.
        for _ in 0..50 {
            let mut answer = self.get(&iterator).await;
            records.append(&mut answer.records);
            let caught_up = answer.millis_behind_latest == Some(0);
            match answer.next_shard_iterator.clone() {
                Some(next) if !caught_up => iterator = next,
                _ => return (records, answer),
            }
            // Five reads a second and shard.
            tokio::time::sleep(Duration::from_millis(220)).await;
        }
        panic!("the shard has no end");
    }
}

fn texts(records: &[Record]) -> Vec<String> {
    let text = |record: &Record| String::from_utf8(record.data.as_ref().to_vec()).expect("text");
    records.iter().map(text).collect()
}

/// Sequence numbers are compared as numbers.
fn number(text: &str) -> kinesis_shard::SequenceNumber {
    text.parse().expect("a sequence number")
}

/// The engine over HTTP, with the service's limits, in real time.
async fn engine() -> (Client, Server) {
    let sim = Sim::builder().limits(Limits::Aws).state_delay(Duration::from_millis(100)).wall_clock().build();
    let server = sim.serve(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port");
    let config = aws_sdk_kinesis::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(aws_sdk_kinesis::config::Region::new("us-east-1"))
        .credentials_provider(Credentials::new("any", "any", None, None, "test"))
        .endpoint_url(format!("http://{}", server.addr()))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    (Client::from_conf(config), server)
}

/// Somebody else's.
async fn elsewhere(endpoint: &str) -> Client {
    let https =
        aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    // Streams are made at five a second there, and shared accounts are throttled.
    let loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(https)
        .retry_config(RetryConfig::standard().with_max_attempts(8));
    let loader = if endpoint == "aws" { loader } else { loader.endpoint_url(endpoint) };
    Client::new(&loader.load().await)
}
