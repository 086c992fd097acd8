//! What an ARN names for tags and policies: a stream, or one of its consumers.

use super::consumer::parse_consumer_arn;
use super::request::parse_stream_arn;
use super::tags::Tags;
use crate::engine::Engine;
use crate::error::{ErrorCode, ServiceError};
use crate::stream::Stream;
use crate::stream_table::{Address, Scope};
use crate::validation::Constraint::{Longest, Pattern, Shortest};
use crate::validation::{Kind, Member};
use crate::wire::Value;

pub(crate) const ARN: Member = Member::new("ResourceARN", Kind::Text).required().with(&[
    Pattern(r"arn:aws.*:kinesis:.*:\d{12}:.*stream/\S+", is_resource_arn),
    Shortest(1),
    Longest(2048),
]);

/// One resource of a request.
#[derive(Debug)]
pub(crate) struct Resource<'a> {
    pub(crate) arn: &'a str,
    pub(crate) address: Address,
    /// Name and creation second.
    consumer: Option<(&'a str, u64)>,
}

fn is_resource_arn(text: &str) -> bool {
    parse_stream_arn(text).is_some()
}

/// The resource that a request names.
pub(crate) fn named<'a>(input: &'a Value<'_>) -> Resource<'a> {
    let arn = input.text("ResourceARN").unwrap_or_default();
    let (stream_arn, consumer) = match parse_consumer_arn(arn) {
        Some((stream_arn, name, second)) => (stream_arn, Some((name, second))),
        None => (arn, None),
    };
    // The constraints have found it to be an ARN.
    let (region, account, name) = parse_stream_arn(stream_arn).unwrap_or_default();
    let scope = Scope { account: account.into(), region: region.into() };
    Resource { arn, address: Address { scope, name: name.to_owned() }, consumer }
}

impl Resource<'_> {
    /// The stream itself, or the one that the consumer belongs to; the consumer must exist.
    pub(crate) fn stream<'e>(
        &self,
        engine: &'e mut Engine,
        now: u64,
    ) -> Result<&'e mut Stream, ServiceError> {
        let stream = engine.streams.get_mut(&self.address)?;
        match self.consumer {
            Some((name, second)) if !has_consumer(stream, now, name, second) => Err(self.not_found()),
            _ => Ok(stream),
        }
    }

    pub(crate) fn tags<'e>(&self, engine: &'e mut Engine, now: u64) -> Result<&'e mut Tags, ServiceError> {
        let stream = self.stream(engine, now)?;
        match self.consumer {
            None => Ok(&mut stream.tags),
            Some((name, _)) => stream
                .consumers
                .get_mut(now, name)
                .map(|consumer| &mut consumer.tags)
                .ok_or_else(|| self.not_found()),
        }
    }

    /// A stream must be ACTIVE for its tags to change.
    pub(crate) fn tags_to_change<'e>(
        &self,
        engine: &'e mut Engine,
        now: u64,
    ) -> Result<&'e mut Tags, ServiceError> {
        if self.consumer.is_none() {
            engine.streams.get_active(&self.address)?;
        }
        self.tags(engine, now)
    }

    /// Text not verified against the service.
    fn not_found(&self) -> ServiceError {
        ServiceError::new(ErrorCode::ResourceNotFound, format!("Resource {} not found.", self.arn))
    }
}

fn has_consumer(stream: &Stream, now: u64, name: &str, second: u64) -> bool {
    stream.consumers.get(now, name).is_some_and(|consumer| consumer.created_seconds() == second)
}
