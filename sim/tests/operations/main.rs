//! The engine as a pure function: a request and the time in, an answer out. A few through the SDK at the end.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]
#![expect(clippy::needless_pass_by_value, reason = "bodies are written where they are used")]

mod accounts;
mod data_plane;
mod encryption;
mod limits;
mod modes;
mod monitoring;
mod policies;
mod scaling;
mod sdk;
mod streams;
mod tags;

use kinesis_sim::{Answer, Engine, EngineSettings, Limits, Request, Scope, ServiceLimits};
use serde_json::{Value, json};

/// How long state changes take here.
const DELAY: u64 = 500;
const DAY: u64 = 86_400_000;
const ARN: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/orders";

/// An engine and the time.
struct World {
    engine: Engine,
    now: u64,
}

impl World {
    /// Without limits, with one stream `orders`.
    fn with_stream(shard_count: u32) -> Self {
        let mut world = Self::new(Limits::Off, ServiceLimits::default());
        world.create("orders", shard_count);
        world
    }

    /// The same under the service's limits.
    fn limited(shard_count: u32) -> Self {
        let mut world = Self::new(Limits::Aws, ServiceLimits::default());
        world.create("orders", shard_count);
        world
    }

    /// On-demand, with the account's commitment in force.
    fn on_demand() -> Self {
        let mut world = Self::new(Limits::Off, ServiceLimits::default());
        world.ok(
            "UpdateAccountSettings",
            json!({"MinimumThroughputBillingCommitment": {"Status": "ENABLED"}}),
        );
        world.ok("CreateStream", json!({"StreamName": "orders"}));
        world.wait(DELAY);
        world
    }

    fn new(limits: Limits, service_limits: ServiceLimits) -> Self {
        let mut settings = EngineSettings::default();
        settings.limits = limits;
        settings.service_limits = service_limits;
        Self { engine: Engine::new(settings), now: 1_800_000_000_000 }
    }

    fn wait(&mut self, millis: u64) {
        self.now += millis;
    }

    fn create(&mut self, name: &str, shard_count: u32) {
        self.ok("CreateStream", json!({"StreamName": name, "ShardCount": shard_count}));
        self.wait(DELAY);
    }

    fn call(&mut self, operation: &str, body: &Value) -> (u16, Value) {
        let request = Request {
            caller: "test".into(),
            scope: Scope::default(),
            operation: operation.to_owned(),
            encoding: kinesis_sim::Encoding::Json,
            body: body.to_string().into(),
        };
        match self.engine.call(self.now, &request) {
            Answer::Reply(reply) if reply.body.is_empty() => (reply.status, Value::Null),
            Answer::Reply(reply) => (reply.status, serde_json::from_slice(&reply.body).unwrap()),
            answer => panic!("{operation}: {answer:?}"),
        }
    }

    #[track_caller]
    fn ok(&mut self, operation: &str, body: Value) -> Value {
        let (status, answer) = self.call(operation, &body);
        assert_eq!(status, 200, "{operation} {body}: {answer}");
        answer
    }

    /// Code and text of a refusal.
    #[track_caller]
    fn refused(&mut self, operation: &str, body: Value) -> (String, String) {
        let (status, answer) = self.call(operation, &body);
        assert_eq!(status, 400, "{operation} {body}: {answer}");
        let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        let message = if answer["message"].is_null() { text("Message") } else { text("message") };
        (text("__type"), message)
    }

    #[track_caller]
    fn code(&mut self, operation: &str, body: Value) -> String {
        self.refused(operation, body).0
    }

    #[track_caller]
    fn text(&mut self, operation: &str, body: Value) -> String {
        self.refused(operation, body).1
    }

    fn summary(&mut self) -> Value {
        self.ok("DescribeStreamSummary", json!({"StreamName": "orders"}))["StreamDescriptionSummary"].clone()
    }

    fn status(&mut self) -> String {
        self.summary()["StreamStatus"].as_str().unwrap().to_owned()
    }

    fn shards(&mut self) -> Vec<Value> {
        let answer = self.ok("ListShards", json!({"StreamName": "orders"}));
        answer["Shards"].as_array().unwrap().clone()
    }

    fn put(&mut self, key: &str) -> Value {
        self.ok("PutRecord", json!({"StreamName": "orders", "PartitionKey": key, "Data": "QQ=="}))
    }

    /// All records of a shard.
    fn records(&mut self, shard: u32) -> Vec<Value> {
        let iterator = self.ok(
            "GetShardIterator",
            json!({"StreamName": "orders", "ShardId": shard.to_string(), "ShardIteratorType": "TRIM_HORIZON"}),
        );
        let answer = self.ok("GetRecords", json!({"ShardIterator": iterator["ShardIterator"]}));
        answer["Records"].as_array().unwrap().clone()
    }
}
