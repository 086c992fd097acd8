//! The one door to AWS: `PutRecords`, `ListShards` and `DescribeStreamSummary` through the SDK. Errors are classified here and nowhere else.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::config::timeout::TimeoutConfig;
use aws_sdk_kinesis::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, PutRecordsResultEntry, RecordDistributionStrategy};
use futures::future::BoxFuture;
use kinesis_shard::limits::DEFAULT_MAX_RECORD_BYTES;
use kinesis_shard::{ListShardsError, ShardFilter, ShardId, ShardMap, StreamName, list_shards};

use crate::error::PutErrorReason;
use crate::pipeline::answer::{CallError, EntryAnswer, ErrorClass, PutRecordsAnswer};
use crate::pipeline::kinesis_record::Entry;
use crate::pipeline::summary::StreamSummary;

/// The calls that a producer makes. Another transport stands beside this one without the pipeline noticing.
pub(crate) trait Transport: fmt::Debug + Send + Sync {
    fn put_records(&self, entries: Vec<Entry>) -> BoxFuture<'_, PutRecordsAnswer>;
    fn list_shards(&self) -> BoxFuture<'_, Result<ShardMap, MapError>>;
    fn describe(&self) -> BoxFuture<'_, Result<StreamSummary, DescribeError>>;
}

/// Why the stream's summary is not known.
#[derive(Debug)]
pub(crate) struct DescribeError {
    /// Asking again will not help.
    pub(crate) hopeless: bool,
    pub(crate) message: String,
}

/// Why there is no shard map.
#[derive(Debug)]
pub(crate) struct MapError {
    /// What to tell callers when asking again will not help.
    pub(crate) hopeless: Option<PutErrorReason>,
    /// Too many ask.
    pub(crate) throttled: bool,
    pub(crate) message: Arc<str>,
}

impl MapError {
    /// One that another question may not meet.
    pub(crate) fn passing(message: impl Into<Arc<str>>) -> Self {
        Self { hopeless: None, throttled: false, message: message.into() }
    }
}

/// The caller's client with its retries switched off: ours are the only ones.
#[derive(Debug)]
pub(crate) struct SdkTransport {
    client: Client,
    stream: StreamName,
}

impl SdkTransport {
    pub(crate) fn new(client: &Client, stream: &Arc<str>, connect_timeout: Option<Duration>) -> Self {
        let mut config = client.config().to_builder().retry_config(RetryConfig::disabled());
        if let Some(connect_timeout) = connect_timeout {
            let known = client.config().timeout_config().map(TimeoutConfig::to_builder);
            config =
                config.timeout_config(known.unwrap_or_default().connect_timeout(connect_timeout).build());
        }
        Self { client: Client::from_conf(config.build()), stream: StreamName::new(Arc::clone(stream)) }
    }

    async fn summary(&self) -> Result<StreamSummary, DescribeError> {
        let call = self.client.describe_stream_summary();
        let call = if self.stream.is_arn() {
            call.stream_arn(self.stream.as_str())
        } else {
            call.stream_name(self.stream.as_str())
        };
        let output = call.send().await.map_err(|error| {
            let CallError { class, code, message, .. } = call_error(&error);
            let hopeless = matches!(class, ErrorClass::Permanent | ErrorClass::Invalid);
            DescribeError { hopeless, message: format!("{code}: {message}") }
        })?;
        let summary = output.stream_description_summary.ok_or_else(|| DescribeError {
            hopeless: false,
            message: "the answer holds no summary".to_owned(),
        })?;
        let limit = summary.max_record_size_in_kib.and_then(|kib| usize::try_from(kib).ok());
        Ok(StreamSummary {
            max_record_bytes: limit.filter(|kib| *kib > 0).map_or(DEFAULT_MAX_RECORD_BYTES, |kib| kib * 1024),
            auto: summary.record_distribution_strategy == Some(RecordDistributionStrategy::Auto),
        })
    }

    async fn put(&self, entries: Vec<Entry>) -> PutRecordsAnswer {
        let mut records = Vec::with_capacity(entries.len());
        for Entry { partition_key, explicit_hash_key, data } in entries {
            let entry = PutRecordsRequestEntry::builder()
                .partition_key(partition_key.into_owned())
                .set_explicit_hash_key(explicit_hash_key.map(|key| key.to_string()))
                // The SDK's blob owns its bytes: the one copy on this path.
                .data(Blob::new(Vec::from(data)))
                .build();
            match entry {
                Ok(entry) => records.push(entry),
                Err(error) => {
                    return PutRecordsAnswer::Failed(CallError::of_code(
                        "SerializationException",
                        &error.to_string(),
                    ));
                }
            }
        }
        let call = self.client.put_records().set_records(Some(records));
        let call = if self.stream.is_arn() {
            call.stream_arn(self.stream.as_str())
        } else {
            call.stream_name(self.stream.as_str())
        };
        match call.send().await {
            Ok(output) => PutRecordsAnswer::Entries(output.records.into_iter().map(entry_answer).collect()),
            Err(error) => PutRecordsAnswer::Failed(call_error(&error)),
        }
    }

    async fn list(&self) -> Result<ShardMap, MapError> {
        let shards =
            list_shards(&self.client, &self.stream, ShardFilter::AtLatest).await.map_err(map_error)?;
        // A listing made while the stream reshards may have holes: worth another question.
        ShardMap::new(shards).map_err(|error| MapError::passing(error.to_string()))
    }
}

impl Transport for SdkTransport {
    fn put_records(&self, entries: Vec<Entry>) -> BoxFuture<'_, PutRecordsAnswer> {
        Box::pin(self.put(entries))
    }

    fn list_shards(&self) -> BoxFuture<'_, Result<ShardMap, MapError>> {
        Box::pin(self.list())
    }

    fn describe(&self) -> BoxFuture<'_, Result<StreamSummary, DescribeError>> {
        Box::pin(self.summary())
    }
}

fn entry_answer(entry: PutRecordsResultEntry) -> EntryAnswer {
    match entry {
        PutRecordsResultEntry {
            shard_id: Some(shard),
            sequence_number: Some(number),
            error_code: None,
            ..
        } => match number.parse() {
            Ok(sequence_number) => EntryAnswer::Stored { shard_id: ShardId::new(shard), sequence_number },
            Err(_) => EntryAnswer::Malformed,
        },
        PutRecordsResultEntry { error_code: Some(code), error_message, sequence_number: None, .. } => {
            EntryAnswer::Refused { code: code.into(), message: error_message.unwrap_or_default().into() }
        }
        _ => EntryAnswer::Malformed,
    }
}

fn call_error<E, R>(error: &SdkError<E, R>) -> CallError
where
    E: ProvideErrorMetadata + Error + 'static,
    R: fmt::Debug,
{
    let text = || DisplayErrorContext(error).to_string();
    match error {
        SdkError::ServiceError(_) if error.code().is_some() => {
            CallError::of_code(error.code().unwrap_or_default(), error.message().unwrap_or_default())
        }
        SdkError::ConstructionFailure(_) => CallError::unanswered("ConstructionFailure", &text(), false),
        SdkError::DispatchFailure(failure) => {
            // Only a connection that was refused is known to have carried nothing.
            let refused = failure.as_connector_error().is_some_and(|error| is_refused(error));
            CallError::unanswered("DispatchFailure", &text(), !refused)
        }
        SdkError::TimeoutError(_) => CallError::unanswered("RequestTimeout", &text(), true),
        _ => CallError::unanswered("UnreadableAnswer", &text(), true),
    }
}

fn is_refused(error: &(dyn Error + 'static)) -> bool {
    let refused = error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused);
    refused || error.source().is_some_and(is_refused)
}

fn map_error(error: ListShardsError) -> MapError {
    let message: Arc<str> = error.to_string().into();
    let throttled = matches!(error, ListShardsError::Throttled { .. });
    let hopeless = match error {
        error if error.is_retryable() => None,
        ListShardsError::NotFound { .. } => Some(PutErrorReason::StreamNotFound),
        ListShardsError::AccessDenied { message, .. } => {
            Some(PutErrorReason::AccessDenied { code: "ListShards".into(), message: message.into() })
        }
        _ => Some(PutErrorReason::ShardsUnknown { message: Arc::clone(&message) }),
    };
    MapError { hopeless, throttled, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(shard: Option<&str>, number: Option<&str>, code: Option<&str>) -> EntryAnswer {
        entry_answer(
            PutRecordsResultEntry::builder()
                .set_shard_id(shard.map(Into::into))
                .set_sequence_number(number.map(Into::into))
                .set_error_code(code.map(Into::into))
                .build(),
        )
    }

    #[test]
    fn an_entry_is_stored_or_refused_or_malformed() {
        assert!(matches!(entry(Some("s"), Some("17"), None), EntryAnswer::Stored { .. }));
        assert!(matches!(entry(None, None, Some("InternalFailure")), EntryAnswer::Refused { .. }));
        for malformed in [
            entry(None, None, None),
            entry(Some("s"), None, None),
            entry(Some("s"), Some("not a number"), None),
            entry(Some("s"), Some("17"), Some("InternalFailure")),
        ] {
            assert!(matches!(malformed, EntryAnswer::Malformed), "{malformed:?}");
        }
    }

    #[test]
    fn only_a_refused_connection_is_known_to_have_carried_nothing() {
        #[derive(Debug, thiserror::Error)]
        #[error("tcp connect error")]
        struct ConnectError(#[source] std::io::Error);
        let error = |kind| ConnectError(std::io::Error::from(kind));
        assert!(is_refused(&error(std::io::ErrorKind::ConnectionRefused)));
        assert!(!is_refused(&error(std::io::ErrorKind::ConnectionReset)));
    }
}
