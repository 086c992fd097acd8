//! The calls that make an application a consumer of a stream, and its subscriptions.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::primitives::event_stream::EventReceiver;
use aws_sdk_kinesis::types::error::SubscribeToShardEventStreamError;
use aws_sdk_kinesis::types::{
    ConsumerStatus, ShardIteratorType, StartingPosition, SubscribeToShardEvent, SubscribeToShardEventStream,
};
use kinesis_shard::{Backoff, Clock, ShardId, StreamName};
use tokio::sync::Mutex;

use super::service_date::ServiceDate;
use super::{Opened, child_from_sdk, read_error, record_from_sdk, without_retries};
use crate::config::ConsumerConfig;
use crate::error::StreamConsumerError;
use crate::fetch::registration::{Described, Refusal, Registration, RegistrationStep};
use crate::fetch::{ReadError, ReadFrom, SubscriptionEvent};

/// One open subscription. Dropping it closes the connection.
#[async_trait]
pub(crate) trait EventStream: Send {
    /// The next event; `None`: the service closed the stream. Dropping the future loses what it had received.
    async fn next(&mut self) -> Result<Option<SubscriptionEvent>, ReadError>;
}

/// The consumer as which a worker subscribes; registered when it is first needed, by one task for all.
#[derive(Debug)]
pub(crate) struct StreamConsumer {
    client: Client,
    stream: StreamName,
    name: Arc<str>,
    clock: Clock,
    /// Held over the calls: a thousand shards that start together register once.
    registration: Mutex<Registration>,
}

impl StreamConsumer {
    /// `client` must not retry by itself.
    pub(crate) fn new(client: Client, stream: StreamName, config: &ConsumerConfig) -> Self {
        let backoff = Backoff::new(config.task_backoff, config.max_task_backoff, 2.0, config.seed);
        let stream_arn = stream.is_arn().then(|| stream.as_str().into());
        let registration = Registration::new(config.consumer_arn.clone(), stream_arn, backoff);
        Self {
            client,
            stream,
            name: Arc::clone(config.consumer_name()),
            clock: config.clock.clone(),
            registration: Mutex::new(registration),
        }
    }

    /// Goes as far as no waiting is needed, to find out early what waiting will not cure.
    pub(crate) async fn prepare(&self) -> Result<(), StreamConsumerError> {
        let mut registration = self.registration.lock().await;
        while self
            .step(&mut registration)
            .await?
            .is_some_and(|step| !matches!(step, RegistrationStep::WaitUntil(_) | RegistrationStep::Ready(_)))
        {
        }
        Ok(())
    }

    /// The ARN to subscribe with, once it can be used. Cancel safe.
    async fn arn(&self) -> Result<Arc<str>, StreamConsumerError> {
        let mut registration = self.registration.lock().await;
        loop {
            match self.step(&mut registration).await? {
                Some(RegistrationStep::Ready(arn)) => return Ok(arn),
                Some(RegistrationStep::WaitUntil(until)) => self.clock.sleep_until(until).await,
                _ => {}
            }
        }
    }

    /// One step: makes the call it asks for, if any, and says what it was.
    async fn step(
        &self,
        registration: &mut Registration,
    ) -> Result<Option<RegistrationStep>, StreamConsumerError> {
        let step = registration.next(self.clock.now());
        let (operation, outcome) = match &step {
            RegistrationStep::WaitUntil(_) | RegistrationStep::Ready(_) => return Ok(Some(step)),
            RegistrationStep::DescribeStream => {
                let call = self.client.describe_stream_summary().stream_name(self.stream.as_str());
                let answer = call.send().await;
                let arn = answer.as_ref().ok().and_then(|answer| answer.stream_description_summary.as_ref());
                let arn = arn.map(|summary| summary.stream_arn.as_str().into());
                let (result, message) = judged(&answer);
                let result = result.and_then(|()| arn.ok_or(Refusal::Later));
                ("DescribeStreamSummary", (registration.stream_described(self.clock.now(), result), message))
            }
            RegistrationStep::DescribeConsumer { stream_arn } => {
                let call = self.client.describe_stream_consumer().stream_arn(&**stream_arn);
                let answer = call.consumer_name(&*self.name).send().await;
                let described = answer.as_ref().ok().and_then(|answer| answer.consumer_description.as_ref());
                let described = described.map(|consumer| Described {
                    arn: consumer.consumer_arn.as_str().into(),
                    active: consumer.consumer_status == ConsumerStatus::Active,
                });
                let (result, message) = judged(&answer);
                let result = result.and_then(|()| described.ok_or(Refusal::Later));
                let next = registration.consumer_described(self.clock.now(), result);
                ("DescribeStreamConsumer", (next, message))
            }
            RegistrationStep::Register { stream_arn } => {
                let call = self.client.register_stream_consumer().stream_arn(&**stream_arn);
                let (result, message) = judged(&call.consumer_name(&*self.name).send().await);
                tracing::info!(stream = %self.stream, consumer = %self.name, ?result, "registering the application as a consumer");
                ("RegisterStreamConsumer", (registration.registered(self.clock.now(), result), message))
            }
        };
        let (next, message) = outcome;
        if let Some(message) = &message {
            tracing::debug!(stream = %self.stream, consumer = %self.name, operation, %message, "a call of the registration failed");
        }
        match next {
            Ok(()) => Ok(Some(step)),
            Err(refusal) => Err(self.error(operation, &refusal, message)),
        }
    }

    fn error(
        &self,
        operation: &'static str,
        refusal: &Refusal,
        message: Option<Arc<str>>,
    ) -> StreamConsumerError {
        let (stream, consumer) = (Arc::from(self.stream.as_str()), Arc::clone(&self.name));
        match refusal {
            Refusal::NotFound => StreamConsumerError::StreamNotFound { stream, consumer },
            _ => StreamConsumerError::Refused {
                stream,
                consumer,
                operation,
                message: message.unwrap_or_else(|| "no message".into()),
            },
        }
    }

    /// Subscribes to a shard.
    pub(crate) async fn subscribe(
        &self,
        shard: &ShardId,
        from: ReadFrom,
    ) -> Result<Opened<Box<dyn EventStream>>, ReadError> {
        let arn = self.arn().await.map_err(|error| match error {
            StreamConsumerError::StreamNotFound { .. } => ReadError::NotFound,
            error => ReadError::AccessDenied(error.to_string().into()),
        })?;
        let call = self.client.subscribe_to_shard().consumer_arn(&*arn).shard_id(shard.as_str());
        let date = ServiceDate::default();
        let call = call.starting_position(starting_position(from)).customize().interceptor(date.clone());
        let answer = call.send().await;
        let answer = match answer.map_err(|error| read_error(&error)) {
            Ok(answer) => answer,
            Err(error) => {
                if error == ReadError::NotFound {
                    self.registration.lock().await.not_found(&arn);
                }
                return Err(error);
            }
        };
        Ok(Opened { what: Box::new(SdkEvents { events: answer.event_stream }), at: date.read() })
    }
}

/// What a call's outcome means for the registration, and its text if it failed.
fn judged<O, E>(answer: &Result<O, SdkError<E>>) -> (Result<(), Refusal>, Option<Arc<str>>)
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let Err(error) = answer else { return (Ok(()), None) };
    let refusal = match error.code() {
        Some("ResourceNotFoundException") => Refusal::NotFound,
        Some("ResourceInUseException") => Refusal::InUse,
        Some(
            "AccessDeniedException"
            | "InvalidArgumentException"
            | "ValidationException"
            | "UnrecognizedClientException",
        ) => Refusal::Permanent,
        _ => Refusal::Later,
    };
    let text = error.message().map_or_else(|| DisplayErrorContext(error).to_string(), str::to_owned);
    (Err(refusal), Some(text.into()))
}

fn starting_position(from: ReadFrom) -> StartingPosition {
    let position = StartingPosition::builder();
    let position = match from {
        ReadFrom::TrimHorizon => position.r#type(ShardIteratorType::TrimHorizon),
        ReadFrom::Latest => position.r#type(ShardIteratorType::Latest),
        ReadFrom::AtTimestamp(time) => {
            position.r#type(ShardIteratorType::AtTimestamp).timestamp(DateTime::from(time))
        }
        ReadFrom::At(number) => {
            position.r#type(ShardIteratorType::AtSequenceNumber).sequence_number(number.to_string())
        }
        ReadFrom::After(number) => {
            position.r#type(ShardIteratorType::AfterSequenceNumber).sequence_number(number.to_string())
        }
    };
    position.build().expect("every position has a type")
}

struct SdkEvents {
    events: EventReceiver<SubscribeToShardEventStream, SubscribeToShardEventStreamError>,
}

#[async_trait]
impl EventStream for SdkEvents {
    async fn next(&mut self) -> Result<Option<SubscriptionEvent>, ReadError> {
        loop {
            match self.events.recv().await {
                Ok(Some(SubscribeToShardEventStream::SubscribeToShardEvent(event))) => {
                    return event_from_sdk(event).map(Some);
                }
                // A kind of event that this version does not know carries no records that it could.
                Ok(Some(_)) => {}
                Ok(None) => return Ok(None),
                Err(error) => return Err(cut(&error)),
            }
        }
    }
}

/// Errors in the stream have no code, only a type.
fn cut<R: Debug + Send + Sync + 'static>(error: &SdkError<SubscribeToShardEventStreamError, R>) -> ReadError {
    use SubscribeToShardEventStreamError as InStream;
    let text = |text: Option<&str>| -> Arc<str> { text.unwrap_or("no message").into() };
    match error.as_service_error() {
        Some(InStream::ResourceInUseException(error)) => ReadError::InUse(text(error.message())),
        Some(InStream::ResourceNotFoundException(_)) => ReadError::NotFound,
        Some(InStream::KmsThrottlingException(_)) => ReadError::Throttled,
        Some(InStream::KmsAccessDeniedException(error)) => ReadError::AccessDenied(text(error.message())),
        _ => ReadError::Unavailable(DisplayErrorContext(error).to_string().into()),
    }
}

fn event_from_sdk(event: SubscribeToShardEvent) -> Result<SubscriptionEvent, ReadError> {
    let text = event.continuation_sequence_number;
    let continuation = Some(text).filter(|text| !text.is_empty()).map(|text| text.parse());
    let continuation =
        continuation.transpose().map_err(|_| ReadError::Malformed("continuation number".into()))?;
    Ok(SubscriptionEvent {
        records: event.records.into_iter().map(record_from_sdk).collect::<Result<_, _>>()?,
        continuation,
        millis_behind_latest: u64::try_from(event.millis_behind_latest).ok(),
        children: event.child_shards.unwrap_or_default().into_iter().map(child_from_sdk).collect(),
    })
}

/// Deregisters the consumer of an application that is retired. Whether there was one.
///
/// No worker does this by itself: the consumer belongs to the application, whose other workers subscribe through it. A
/// registered consumer costs money for each shard-hour, so call this once no worker runs any more. `config` is what the
/// workers were started with: the consumer is found by its ARN or name, and nothing else of it matters.
///
/// Dropping the future leaves it in doubt; it may be called again.
///
/// # Errors
/// When the stream or the permission is missing, or the service cannot be reached.
pub async fn deregister_stream_consumer(
    client: &Client,
    config: &ConsumerConfig,
) -> Result<bool, StreamConsumerError> {
    let client = without_retries(client, config);
    let stream = StreamName::new(Arc::clone(&config.stream));
    let consumer = StreamConsumer::new(client.clone(), stream.clone(), config);
    let call = client.deregister_stream_consumer();
    let call = match (&config.consumer_arn, stream.is_arn()) {
        (Some(arn), _) => call.consumer_arn(&**arn),
        (None, true) => call.stream_arn(stream.as_str()).consumer_name(&*consumer.name),
        (None, false) => {
            let answer = client.describe_stream_summary().stream_name(stream.as_str()).send().await;
            if let (Err(refusal), message) = judged(&answer) {
                return Err(consumer.error("DescribeStreamSummary", &refusal, message));
            }
            let summary = answer.ok().and_then(|answer| answer.stream_description_summary);
            let call = call.consumer_name(&*consumer.name);
            call.set_stream_arn(summary.map(|summary| summary.stream_arn))
        }
    };
    match judged(&call.send().await) {
        (Ok(()), _) => Ok(true),
        (Err(Refusal::NotFound), _) => Ok(false),
        (Err(refusal), message) => Err(consumer.error("DeregisterStreamConsumer", &refusal, message)),
    }
}
