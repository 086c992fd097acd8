//! How requests name a consumer, and how answers show one.

use super::{Call, request};
use crate::error::{ErrorCode, Named, ServiceError};
use crate::stream::Stream;
use crate::stream::consumers::Consumer;
use crate::stream_table::Address;
use crate::validation::Constraint::{Longest, Pattern, Shortest};
use crate::validation::{Kind, Member};
use crate::wire::Value;
use crate::wire::writer::Writer;

pub(crate) const CONSUMER_NAME: Member =
    Member::new("ConsumerName", Kind::Text).with(&[request::NAME, Shortest(1), Longest(128)]);

pub(crate) const CONSUMER_ARN: Member = Member::new("ConsumerARN", Kind::Text).with(&[
    Pattern(
        r"^(arn):aws.*:kinesis:.*:\d{12}:.*stream\/[a-zA-Z0-9_.-]+\/consumer\/[a-zA-Z0-9_.-]+:[0-9]+",
        is_consumer_arn,
    ),
    Shortest(1),
    Longest(2048),
]);

fn is_consumer_arn(text: &str) -> bool {
    parse_consumer_arn(text).is_some()
}

/// The stream's ARN, the consumer's name, and the second of its creation.
pub(crate) fn parse_consumer_arn(text: &str) -> Option<(&str, &str, u64)> {
    let (stream_arn, consumer) = text.split_once("/consumer/")?;
    let (name, second) = consumer.rsplit_once(':')?;
    let is_number = !second.is_empty() && second.bytes().all(|byte| byte.is_ascii_digit());
    let is_ours = is_number && request::is_name(name) && request::is_stream_arn(stream_arn);
    // No consumer was created in a second beyond 64 bits: such a number names one that does not exist.
    is_ours.then(|| (stream_arn, name, second.parse().unwrap_or(u64::MAX)))
}

/// The name of the consumer that a request is about, for rules.
pub(crate) fn consumer_name<'a>(input: &'a Value<'_>) -> Option<&'a str> {
    let by_arn = || input.text("ConsumerARN").and_then(parse_consumer_arn).map(|(_, name, _)| name);
    input.text("ConsumerName").or_else(by_arn)
}

/// Which consumer a request means.
#[derive(Debug)]
pub(crate) struct NamedConsumer {
    pub(crate) address: Address,
    pub(crate) name: String,
    /// Only if it was named by its ARN.
    created_seconds: Option<u64>,
}

impl NamedConsumer {
    pub(crate) fn find<'a>(&self, stream: &'a Stream, now: u64) -> Option<&'a Consumer> {
        let consumer = stream.consumers.get(now, &self.name)?;
        self.created_seconds.is_none_or(|second| second == consumer.created_seconds()).then_some(consumer)
    }
}

/// The consumer that a request must name: by its ARN, or by the stream's ARN and its name, or by all three if they
/// agree. The texts are not verified against the service: no source was found for them.
pub(crate) fn named_consumer(call: &Call<'_>, input: &Value<'_>) -> Result<NamedConsumer, ServiceError> {
    let (stream_arn, name) = (input.text("StreamARN"), input.text("ConsumerName"));
    let Some((in_arn, name_in_arn, second)) = input.text("ConsumerARN").and_then(parse_consumer_arn) else {
        let (Some(_), Some(name)) = (stream_arn, name) else {
            return Err(ServiceError::invalid_argument(
                "Either ConsumerARN or both StreamARN and ConsumerName must be provided.",
            ));
        };
        let address = request::address(call, input)?;
        return Ok(NamedConsumer { address, name: name.to_owned(), created_seconds: None });
    };
    let agree = stream_arn.is_none_or(|arn| arn == in_arn) && name.is_none_or(|name| name == name_in_arn);
    if !agree {
        return Err(ServiceError::invalid_argument(
            "ConsumerARN does not agree with the given StreamARN and ConsumerName.",
        ));
    }
    let address = request::address(call, input)?;
    Ok(NamedConsumer { address, name: name_in_arn.to_owned(), created_seconds: Some(second) })
}

/// Text not verified against the service.
pub(crate) fn not_found(consumer: &NamedConsumer) -> ServiceError {
    let Named { stream, account } = consumer.address.named();
    let second = consumer.created_seconds.map(|second| format!(" with creation timestamp {second}"));
    ServiceError::new(
        ErrorCode::ResourceNotFound,
        format!(
            "Consumer {}{} under stream: {stream}, account {account} not found.",
            consumer.name,
            second.unwrap_or_default()
        ),
    )
}

/// What every description of a consumer holds.
pub(crate) fn write_members(consumer: &Consumer, stream_arn: &str, now: u64, out: &mut Writer) {
    out.plain_member("ConsumerName", &consumer.name);
    out.plain_member("ConsumerARN", consumer.arn(stream_arn));
    out.plain_member("ConsumerStatus", consumer.status(now).name());
    out.key("ConsumerCreationTimestamp");
    out.timestamp(consumer.created_at);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_are_taken_apart() {
        let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders/consumer/app-1:1700000000";
        assert_eq!(
            parse_consumer_arn(arn),
            Some(("arn:aws:kinesis:eu-west-1:123456789012:stream/orders", "app-1", 1_700_000_000))
        );
        let stream = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders";
        for rest in [
            "",
            "/consumer/",
            "/consumer/app",
            "/consumer/app:",
            "/consumer/:1",
            "/consumer/a b:1",
            "/consumer/a:1x",
        ] {
            assert_eq!(parse_consumer_arn(&format!("{stream}{rest}")), None, "{rest:?}");
        }
        assert_eq!(parse_consumer_arn("orders/consumer/app:1"), None);
        let huge = format!("{stream}/consumer/app:99999999999999999999999");
        assert_eq!(parse_consumer_arn(&huge).map(|(.., second)| second), Some(u64::MAX));
    }
}
