//! The far end of the real SDK client: takes the signed request, and answers at once.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_credential_types::Credentials;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::config::timeout::TimeoutConfig;
use aws_sdk_kinesis::config::{BehaviorVersion, Region, StalledStreamProtectionConfig};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bench::thread_time;
use kinesis_shard::{HashKey, ShardMap};
use memchr::memmem;

#[derive(Debug, Clone)]
pub(crate) struct Connector(Arc<Far>);

#[derive(Debug)]
struct Far {
    map: ShardMap,
    /// Spent on making answers: the service's work, not the producer's.
    nanos: AtomicU64,
    body_bytes: AtomicU64,
}

impl Connector {
    pub(crate) fn new(shards: u32) -> Self {
        let map = kpl::bench::even_shards(shards);
        Self(Arc::new(Far { map, nanos: AtomicU64::new(0), body_bytes: AtomicU64::new(0) }))
    }

    pub(crate) fn client(&self) -> Client {
        Client::from_conf(
            aws_sdk_kinesis::Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::from_static("us-east-1"))
                .credentials_provider(Credentials::from_keys("measured", "measured", None))
                .endpoint_url("http://kinesis.bench")
                .retry_config(RetryConfig::disabled())
                .timeout_config(TimeoutConfig::disabled())
                .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
                .http_client(self.clone())
                .build(),
        )
    }

    /// CPU time spent on answers so far, in nanoseconds.
    pub(crate) fn time(&self) -> u64 {
        self.0.nanos.load(Ordering::Relaxed)
    }

    pub(crate) fn body_bytes(&self) -> u64 {
        self.0.body_bytes.load(Ordering::Relaxed)
    }
}

impl Far {
    fn answer(&self, target: &str, body: &[u8]) -> String {
        if target.ends_with("ListShards") {
            return self.list_shards();
        }
        self.body_bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
        let mut records = String::new();
        // An entry ends with its partition key; an explicit hash key stands right before it. Data are base64, which has no quotes.
        for (number, found) in memmem::find_iter(body, br#""PartitionKey":""#).enumerate() {
            let before = &body[found.saturating_sub(70)..found];
            let explicit = after(before, br#""ExplicitHashKey":""#);
            let key = explicit.map_or_else(
                || HashKey::of_partition_key(after(&body[found..], br#""PartitionKey":""#).unwrap()),
                |digits| HashKey::parse_explicit(digits).unwrap(),
            );
            let shard = &self.map.shard_of(key).id;
            let comma = if number > 0 { "," } else { "" };
            write!(records, r#"{comma}{{"SequenceNumber":"495903383177{number:044}","ShardId":"{shard}"}}"#)
                .unwrap();
        }
        format!(r#"{{"FailedRecordCount":0,"Records":[{records}]}}"#)
    }

    fn list_shards(&self) -> String {
        let shards: Vec<String> = self
            .map
            .open()
            .iter()
            .map(|shard| {
                let (id, range) = (&shard.id, shard.hash_key_range);
                let (start, end) = (range.start(), range.end());
                format!(
                    r#"{{"ShardId":"{id}","HashKeyRange":{{"StartingHashKey":"{start}","EndingHashKey":"{end}"}},"SequenceNumberRange":{{"StartingSequenceNumber":"1"}}}}"#
                )
            })
            .collect();
        format!(r#"{{"Shards":[{}]}}"#, shards.join(","))
    }
}

/// The text between this and the next quote.
fn after<'a>(bytes: &'a [u8], tag: &[u8]) -> Option<&'a str> {
    let rest = &bytes[memmem::find(bytes, tag)? + tag.len()..];
    std::str::from_utf8(&rest[..memchr::memchr(b'"', rest)?]).ok()
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let started = thread_time();
        assert!(request.headers().get("authorization").is_some(), "the request is signed");
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let body = request.body().bytes().expect("the body is in memory");
        let answer = self.0.answer(target, body);
        let response = http::Response::builder().status(200).body(SdkBody::from(answer)).unwrap();
        let response = HttpResponse::try_from(response).unwrap();
        self.0.nanos.fetch_add(thread_time() - started, Ordering::Relaxed);
        HttpConnectorFuture::ready(Ok(response))
    }
}

impl HttpClient for Connector {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}
