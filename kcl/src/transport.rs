//! `GetShardIterator`, `GetRecords`, `SubscribeToShard` and `ListShards`: the seam between this crate and the service.
//!
//! Retries of the SDK are switched off: what to try again, when and from where is decided in [`fetch`](crate::fetch), and
//! the SDK's own jitter could not be repeated by seed.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{ChildShard as SdkChildShard, Record, ShardIteratorType};
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use bytes::Bytes;
use kinesis_shard::{
    HashKey, HashKeyRange, ListShardsError, Shard, ShardFilter, ShardId, StreamName, list_shards,
};

use crate::config::{ConsumerConfig, InitialPosition, RetrievalMode};
use crate::error::StreamConsumerError;
use crate::fetch::{ChildShard, GetRecordsAnswer, KinesisRecord, ReadError, ReadFrom, ShardIterator};
use crate::lease::identity;
use crate::lease::keeper::{ListShards, WhichShards};

// Consumers of fan-out and their subscriptions.
mod consumer;

pub(crate) use consumer::EventStream;
// The service's clock.
mod service_date;

use consumer::StreamConsumer;
pub use consumer::deregister_stream_consumer;
use service_date::ServiceDate;

/// Something that was opened, and when by the service's clock (rounded down), if the answer told.
#[derive(Debug)]
pub(crate) struct Opened<T> {
    pub(crate) what: T,
    pub(crate) at: Option<SystemTime>,
}

/// The calls that reading a stream needs. Each is one attempt.
#[async_trait]
pub(crate) trait Transport: Send + Sync + Debug {
    /// Opens an iterator.
    async fn open(&self, shard: &ShardId, from: ReadFrom) -> Result<Opened<ShardIterator>, ReadError>;

    /// Reads up to `limit` Kinesis records.
    async fn read(&self, iterator: &ShardIterator, limit: u32) -> Result<GetRecordsAnswer, ReadError>;

    /// Opens a subscription, as a consumer that is registered if need be.
    async fn subscribe(
        &self,
        shard: &ShardId,
        from: ReadFrom,
    ) -> Result<Opened<Box<dyn EventStream>>, ReadError>;

    /// For how long the stream keeps its records; none if that cannot be found out.
    async fn retention(&self) -> Option<Duration>;

    /// Every shard that the stream still lists.
    async fn shards(&self) -> Result<Vec<Shard>, ListShardsError>;
}

/// The AWS SDK's client.
#[derive(Debug)]
pub(crate) struct SdkTransport {
    client: Client,
    stream: StreamName,
    initial_position: InitialPosition,
    consumer: StreamConsumer,
}

impl SdkTransport {
    /// Reads the configured stream. The configured time-out bounds one call, unless the client has a limit of its own.
    pub(crate) fn new(client: &Client, config: &ConsumerConfig) -> Self {
        let stream = StreamName::new(Arc::clone(&config.stream));
        let client = without_retries(client, config);
        let consumer = StreamConsumer::new(client.clone(), stream.clone(), config);
        Self { client, stream, initial_position: config.initial_position, consumer }
    }

    /// Makes sure, as far as no waiting is needed, that what the mode of retrieval asks for can be used.
    pub(crate) async fn prepare(&self, mode: RetrievalMode) -> Result<(), StreamConsumerError> {
        match mode {
            RetrievalMode::Polling => Ok(()),
            RetrievalMode::FanOut => self.consumer.prepare().await,
        }
    }

    fn name(&self) -> Option<String> {
        (!self.stream.is_arn()).then(|| self.stream.as_str().to_owned())
    }

    fn arn(&self) -> Option<String> {
        self.stream.is_arn().then(|| self.stream.as_str().to_owned())
    }
}

#[async_trait]
impl Transport for SdkTransport {
    async fn open(&self, shard: &ShardId, from: ReadFrom) -> Result<Opened<ShardIterator>, ReadError> {
        let request = self
            .client
            .get_shard_iterator()
            .set_stream_name(self.name())
            .set_stream_arn(self.arn())
            .shard_id(shard.as_str());
        let request = match from {
            ReadFrom::TrimHorizon => request.shard_iterator_type(ShardIteratorType::TrimHorizon),
            ReadFrom::Latest => request.shard_iterator_type(ShardIteratorType::Latest),
            ReadFrom::AtTimestamp(time) => {
                request.shard_iterator_type(ShardIteratorType::AtTimestamp).timestamp(DateTime::from(time))
            }
            ReadFrom::At(number) => request
                .shard_iterator_type(ShardIteratorType::AtSequenceNumber)
                .starting_sequence_number(number.to_string()),
            ReadFrom::After(number) => request
                .shard_iterator_type(ShardIteratorType::AfterSequenceNumber)
                .starting_sequence_number(number.to_string()),
        };
        let date = ServiceDate::default();
        let call = request.customize().interceptor(date.clone());
        let answer = call.send().await.map_err(|error| read_error(&error))?;
        let text = answer.shard_iterator.ok_or_else(|| ReadError::Malformed("no iterator in it".into()))?;
        Ok(Opened { what: ShardIterator::new(text), at: date.read() })
    }

    async fn read(&self, iterator: &ShardIterator, limit: u32) -> Result<GetRecordsAnswer, ReadError> {
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        let request = self.client.get_records().shard_iterator(iterator.as_str()).limit(limit);
        let answer = request.set_stream_arn(self.arn()).send().await.map_err(|error| read_error(&error))?;
        answer_from_sdk(answer)
    }

    async fn subscribe(
        &self,
        shard: &ShardId,
        from: ReadFrom,
    ) -> Result<Opened<Box<dyn EventStream>>, ReadError> {
        self.consumer.subscribe(shard, from).await
    }

    async fn retention(&self) -> Option<Duration> {
        let call = self.client.describe_stream_summary();
        match call.set_stream_name(self.name()).set_stream_arn(self.arn()).send().await {
            Ok(answer) => {
                let hours = answer.stream_description_summary?.retention_period_hours;
                u64::try_from(hours).ok().map(Duration::from_hours)
            }
            Err(error) => {
                let error = DisplayErrorContext(&error);
                tracing::warn!(stream = %self.stream, %error, "far behind, and the stream's retention is not known: what it trims unread will not be told");
                None
            }
        }
    }

    async fn shards(&self) -> Result<Vec<Shard>, ListShardsError> {
        list_shards(&self.client, &self.stream, ShardFilter::All).await
    }
}

#[async_trait]
impl ListShards for SdkTransport {
    async fn list_shards(&self, which: WhichShards) -> Result<Vec<Shard>, ListShardsError> {
        let filter = match (which, self.initial_position) {
            (WhichShards::All, _) => ShardFilter::All,
            (WhichShards::AtInitialPosition, InitialPosition::TrimHorizon) => ShardFilter::AtTrimHorizon,
            (WhichShards::AtInitialPosition, InitialPosition::Latest) => ShardFilter::AtLatest,
            (WhichShards::AtInitialPosition, InitialPosition::AtTimestamp(time)) => {
                ShardFilter::AtTimestamp(time)
            }
        };
        list_shards(&self.client, &self.stream, filter).await
    }

    async fn identity(&self) -> Result<Option<Arc<str>>, ListShardsError> {
        let call = self.client.describe_stream_summary();
        match call.set_stream_name(self.name()).set_stream_arn(self.arn()).send().await {
            Ok(answer) => Ok(answer.stream_description_summary.map(|summary| {
                identity::of_stream(&summary.stream_arn, summary.stream_creation_timestamp.secs())
            })),
            Err(error) if error.code() == Some("AccessDeniedException") => {
                tracing::info!(
                    "without the permission kinesis:DescribeStreamSummary the leases cannot be told from those of an earlier stream"
                );
                Ok(None)
            }
            Err(error) if error.code() == Some("ResourceNotFoundException") => {
                Err(ListShardsError::NotFound { stream: self.stream.clone() })
            }
            Err(error) => Err(ListShardsError::Other {
                stream: self.stream.clone(),
                retryable: true,
                message: format!("DescribeStreamSummary: {}", DisplayErrorContext(&error)),
                source: Arc::new(error),
            }),
        }
    }
}

/// The client without retries of its own, and with the configured time-out unless it has one.
fn without_retries(client: &Client, config: &ConsumerConfig) -> Client {
    let given = client.config();
    let timeouts = given.timeout_config().cloned().unwrap_or_else(TimeoutConfig::disabled);
    let limited = timeouts.operation_timeout().is_some() || timeouts.operation_attempt_timeout().is_some();
    let mut builder = given.to_builder().retry_config(RetryConfig::disabled());
    if !limited {
        builder =
            builder.timeout_config(timeouts.to_builder().operation_timeout(config.request_timeout).build());
    }
    Client::from_conf(builder.build())
}

fn read_error<E, R>(error: &SdkError<E, R>) -> ReadError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: Debug + Send + Sync + 'static,
{
    let text = || -> Arc<str> { error.message().unwrap_or("no message").into() };
    match error.code() {
        Some(
            "ProvisionedThroughputExceededException"
            | "LimitExceededException"
            | "ThrottlingException"
            | "KMSThrottlingException",
        ) => ReadError::Throttled,
        Some("ExpiredIteratorException") => ReadError::ExpiredIterator,
        Some("InvalidArgumentException" | "ValidationException") => ReadError::InvalidArgument(text()),
        Some("ResourceInUseException") => ReadError::InUse(text()),
        Some("ResourceNotFoundException") => ReadError::NotFound,
        Some("AccessDeniedException" | "KMSAccessDeniedException" | "UnrecognizedClientException") => {
            ReadError::AccessDenied(text())
        }
        _ => ReadError::Unavailable(DisplayErrorContext(error).to_string().into()),
    }
}

fn answer_from_sdk(answer: GetRecordsOutput) -> Result<GetRecordsAnswer, ReadError> {
    let records = answer.records.into_iter().map(record_from_sdk).collect::<Result<_, _>>()?;
    let children = answer.child_shards.unwrap_or_default();
    Ok(GetRecordsAnswer {
        records,
        next: answer.next_shard_iterator.map(ShardIterator::new),
        millis_behind_latest: answer.millis_behind_latest.and_then(|millis| u64::try_from(millis).ok()),
        children: children.into_iter().map(child_from_sdk).collect(),
    })
}

fn record_from_sdk(record: Record) -> Result<KinesisRecord, ReadError> {
    let sequence_number = record
        .sequence_number
        .parse()
        .map_err(|_| ReadError::Malformed(format!("sequence number {:?}", record.sequence_number).into()))?;
    Ok(KinesisRecord {
        sequence_number,
        partition_key: record.partition_key.unwrap_or_default().into(),
        data: Bytes::from(record.data.into_inner()),
        arrived_at: record.approximate_arrival_timestamp.and_then(|time| SystemTime::try_from(time).ok()),
    })
}

fn child_from_sdk(child: SdkChildShard) -> ChildShard {
    let range = child.hash_key_range.and_then(|range| {
        let start = HashKey::parse_explicit(&range.starting_hash_key).ok()?;
        let end = HashKey::parse_explicit(&range.ending_hash_key).ok()?;
        HashKeyRange::new(start, end).ok()
    });
    ChildShard {
        id: ShardId::new(child.shard_id),
        parents: child.parent_shards.into_iter().map(ShardId::new).collect(),
        // A range that cannot be read only means that the row has none; it decides nothing here.
        hash_key_range: range,
    }
}
