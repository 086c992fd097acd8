//! Enhanced fan-out through the real SDK client: on virtual time in process, and over real sockets.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod ending;
mod events;
mod faults;
mod registration;
#[cfg(feature = "server")]
mod sockets;
mod starting;

use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::operation::subscribe_to_shard::builders::SubscribeToShardFluentBuilder;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::primitives::event_stream::EventReceiver;
use aws_sdk_kinesis::types::error::SubscribeToShardEventStreamError;
use aws_sdk_kinesis::types::{
    ShardIteratorType, StartingPosition, SubscribeToShardEvent, SubscribeToShardEventStream,
};
use kinesis_sim::{Limits, Sim};

const SHARD: &str = "shardId-000000000000";
const STREAM_ARN: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/orders";

/// A simulation without rates and without delays of state changes, with one stream `orders`, and the ARN of its
/// consumer `app`.
async fn simple(shard_count: u32) -> (Sim, Client, String) {
    let sim = Sim::builder().seed(7).limits(Limits::Off).state_delay(Duration::ZERO).build();
    sim.create_stream("orders", shard_count);
    let client = sim.client();
    let consumer = register(&client, "app").await;
    (sim, client, consumer)
}

async fn register(client: &Client, name: &str) -> String {
    let request = client.register_stream_consumer().stream_arn(STREAM_ARN).consumer_name(name);
    request.send().await.unwrap().consumer.unwrap().consumer_arn
}

fn start(kind: ShardIteratorType) -> StartingPosition {
    StartingPosition::builder().r#type(kind).build().unwrap()
}

fn after(number: &str) -> StartingPosition {
    let position = StartingPosition::builder().r#type(ShardIteratorType::AfterSequenceNumber);
    position.sequence_number(number).build().unwrap()
}

fn subscribing(
    client: &Client,
    consumer: &str,
    shard: &str,
    start: StartingPosition,
) -> SubscribeToShardFluentBuilder {
    client.subscribe_to_shard().consumer_arn(consumer).shard_id(shard).starting_position(start)
}

type Ended = SdkError<SubscribeToShardEventStreamError, aws_smithy_types::event_stream::RawMessage>;

/// One subscription, as a program reads it.
struct Reader {
    events: EventReceiver<SubscribeToShardEventStream, SubscribeToShardEventStreamError>,
}

impl Reader {
    async fn open(client: &Client, consumer: &str, shard: &str, start: StartingPosition) -> Self {
        let answer = subscribing(client, consumer, shard, start).send().await.unwrap();
        Self { events: answer.event_stream }
    }

    async fn try_next(&mut self) -> Result<Option<SubscribeToShardEvent>, Box<Ended>> {
        let event = self.events.recv().await?;
        Ok(event.map(|event| match event {
            SubscribeToShardEventStream::SubscribeToShardEvent(event) => event,
            other => panic!("{other:?}"),
        }))
    }

    async fn next(&mut self) -> SubscribeToShardEvent {
        self.try_next().await.unwrap().expect("the stream has ended")
    }

    /// The next records, over as many events as they take.
    async fn records(&mut self, count: usize) -> Vec<String> {
        let mut seen = Vec::new();
        while seen.len() < count {
            seen.extend(payloads(&self.next().await));
        }
        seen
    }

    /// Everything up to a normal end.
    async fn rest(&mut self) -> Vec<SubscribeToShardEvent> {
        let mut seen = Vec::new();
        while let Some(event) = self.try_next().await.unwrap() {
            seen.push(event);
        }
        seen
    }

    /// The exception that ends the stream.
    async fn refusal(&mut self) -> SubscribeToShardEventStreamError {
        loop {
            match self.try_next().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("ended normally"),
                Err(error) => return error.into_service_error(),
            }
        }
    }
}

fn payloads(event: &SubscribeToShardEvent) -> Vec<String> {
    let text =
        |record: &aws_sdk_kinesis::types::Record| String::from_utf8(record.data().as_ref().to_vec()).unwrap();
    event.records().iter().map(text).collect()
}

async fn put(client: &Client, key: &str, data: &[u8]) -> String {
    let put = client.put_record().stream_name("orders").partition_key(key).data(Blob::new(data));
    put.send().await.unwrap().sequence_number
}

async fn sleep_ms(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

fn code(error: &impl ProvideErrorMetadata) -> &str {
    error.code().unwrap_or_default()
}

fn text(error: &impl ProvideErrorMetadata) -> &str {
    error.message().unwrap_or_default()
}
