use super::Call;
use super::consumer::parse_consumer_arn;
use crate::error::{ErrorCode, ServiceError};
use crate::stream::Mode;
use crate::stream::features::Distribution;
use crate::stream_table::{Address, Scope};
use crate::validation::Constraint::{self, Least, Longest, Most, OneOf, Pattern, Shortest};
use crate::validation::{Kind, Member};
use crate::wire::Value;

pub(crate) const NAME: Constraint = Pattern("[a-zA-Z0-9_.-]+", is_name);

pub(crate) const STREAM_NAME: Member =
    Member::new("StreamName", Kind::Text).with(&[NAME, Shortest(1), Longest(128)]);

pub(crate) const STREAM_ARN: Member = Member::new("StreamARN", Kind::Text).with(&[
    Pattern(r"arn:aws.*:kinesis:.*:\d{12}:stream/\S+", is_stream_arn),
    Shortest(1),
    Longest(2048),
]);

pub(crate) const fn shard_id(name: &'static str) -> Member {
    Member::new(name, Kind::Text).with(&[NAME, Shortest(1), Longest(128)])
}

pub(crate) const fn hash_key(name: &'static str) -> Member {
    Member::new(name, Kind::Text).with(&[Pattern(r"0|([1-9]\d{0,38})", is_hash_key)])
}

pub(crate) const fn sequence_number(name: &'static str) -> Member {
    Member::new(name, Kind::Text).with(&[Pattern(r"0|([1-9]\d{0,128})", is_sequence_number)])
}

pub(crate) const PARTITION_KEY: Member =
    Member::new("PartitionKey", Kind::Text).with(&[Shortest(1), Longest(256)]);

/// The model's bound; the stream's own is checked by the operation.
pub(crate) const DATA: Member = Member::new("Data", Kind::Blob).required().with(&[Longest(10 * 1024 * 1024)]);

pub(crate) const NEXT_TOKEN: Member =
    Member::new("NextToken", Kind::Text).with(&[Shortest(1), Longest(1_048_576)]);

pub(crate) const fn limit(name: &'static str) -> Member {
    Member::new(name, Kind::Integer).with(&[Least(1), Most(10_000)])
}

pub(crate) const STREAM_MODE: Member = Member::new(
    "StreamModeDetails",
    Kind::Structure(&[Member::new("StreamMode", Kind::Text)
        .required()
        .with(&[OneOf(&["ON_DEMAND", "PROVISIONED"])])]),
);

pub(crate) const WARM_THROUGHPUT: Member =
    Member::new("WarmThroughputMiBps", Kind::Integer).with(&[Least(0)]);

pub(crate) const MAX_RECORD_SIZE: Member =
    Member::new("MaxRecordSizeInKiB", Kind::Integer).with(&[Least(1024), Most(10_240)]);

pub(crate) const DISTRIBUTION: Member =
    Member::new("RecordDistributionStrategy", Kind::Text).with(&[OneOf(&Distribution::NAMES)]);

pub(crate) const ENCRYPTION: &[Member] = &[
    STREAM_NAME,
    STREAM_ARN,
    Member::new("EncryptionType", Kind::Text).required().with(&[OneOf(&["NONE", "KMS"])]),
    Member::new("KeyId", Kind::Text).required().with(&[Shortest(1), Longest(2048)]),
];

pub(crate) const DRY_RUN: Member = Member::new("DryRun", Kind::Boolean);

pub(crate) const RETENTION: &[Member] =
    &[STREAM_NAME, STREAM_ARN, Member::new("RetentionPeriodHours", Kind::Integer).required()];

pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

/// The texts of a list.
pub(crate) fn texts<'a>(input: &'a Value<'_>, name: &str) -> impl Iterator<Item = &'a str> {
    input.list(name).iter().filter_map(|item| if let Value::Text(text) = item { Some(&**text) } else { None })
}

/// The mode that a request asks for.
pub(crate) fn stream_mode(input: &Value<'_>) -> Option<Mode> {
    let name = input.get("StreamModeDetails")?.text("StreamMode")?;
    Some(if name == Mode::OnDemand.name() { Mode::OnDemand } else { Mode::Provisioned })
}

/// Text not verified against the service.
pub(crate) fn too_many_on_demand(scope: &Scope, count: usize) -> ServiceError {
    let Scope { account, region } = scope;
    ServiceError::limit_exceeded(format!(
        "This request would exceed the On-Demand stream limit for the account {account} in {region}. Current On-Demand \
         stream count for the account: {count}."
    ))
}

fn is_decimal(text: &str, most_digits: usize) -> bool {
    text == "0"
        || (!text.starts_with('0')
            && (1..=most_digits).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_hash_key(text: &str) -> bool {
    is_decimal(text, 39)
}

fn is_sequence_number(text: &str) -> bool {
    is_decimal(text, 129)
}

pub(crate) fn is_stream_arn(text: &str) -> bool {
    parse_stream_arn(text).is_some()
}

/// Region, account and name of a stream's ARN.
pub(crate) fn parse_stream_arn(text: &str) -> Option<(&str, &str, &str)> {
    let (partition, rest) = text.strip_prefix("arn:aws")?.split_once(":kinesis:")?;
    let (region, rest) = rest.split_once(':')?;
    let (account, name) = rest.split_once(":stream/")?;
    let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    let is_clean = !name.is_empty() && !name.contains(char::is_whitespace) && !partition.contains(':');
    (is_account && is_clean).then_some((region, account, name))
}

/// The stream that a request names, if it names one.
pub(crate) fn try_address(scope: &Scope, input: &Value<'_>) -> Option<Address> {
    let by_consumer =
        || input.text("ConsumerARN").and_then(parse_consumer_arn).map(|(stream_arn, ..)| stream_arn);
    // A resource is a stream, or belongs to one.
    let by_resource = || {
        let arn = input.text("ResourceARN")?;
        Some(parse_consumer_arn(arn).map_or(arn, |(stream_arn, ..)| stream_arn))
    };
    let arn = input.text("StreamARN").or_else(by_consumer).or_else(by_resource);
    if let Some((region, account, name)) = arn.and_then(parse_stream_arn) {
        let scope = Scope { account: account.into(), region: region.into() };
        return Some(Address { scope, name: name.to_owned() });
    }
    let name = input.text("StreamName")?.to_owned();
    Some(Address { scope: scope.clone(), name })
}

/// The stream that a request must name, by name or ARN or both.
pub(crate) fn address(call: &Call<'_>, input: &Value<'_>) -> Result<Address, ServiceError> {
    // Texts not verified against the service: no source was found for either.
    let Some(address) = try_address(call.scope, input) else {
        return Err(ServiceError::invalid_argument(
            "Stream arn and stream name can't be empty at the same time.",
        ));
    };
    match input.text("StreamName") {
        Some(name) if name != address.name => {
            Err(ServiceError::invalid_argument("StreamARN and StreamName do not name the same stream."))
        }
        _ => Ok(address),
    }
}

/// A page token that is too old to be used.
pub(crate) fn expired_token() -> ServiceError {
    ServiceError::new(ErrorCode::ExpiredNextToken, "The specified NextToken has expired.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_are_taken_apart() {
        assert_eq!(
            parse_stream_arn("arn:aws:kinesis:eu-west-1:123456789012:stream/orders.v-2"),
            Some(("eu-west-1", "123456789012", "orders.v-2"))
        );
        assert!(parse_stream_arn("arn:aws-cn:kinesis:cn-north-1:123456789012:stream/o").is_some());
        for text in [
            "",
            "orders",
            "arn:aws:kinesis:us-east-1:12345:stream/o",
            "arn:aws:kinesis:us-east-1:123456789012:stream/",
            "arn:aws:kinesis:us-east-1:123456789012:stream/a b",
            "arn:aws:sqs:us-east-1:123456789012:stream/a",
        ] {
            assert!(parse_stream_arn(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn decimals_have_no_leading_zero_and_a_bounded_length() {
        for (text, expected) in
            [("0", true), ("10", true), ("01", false), ("", false), ("-1", false), ("1a", false)]
        {
            assert_eq!(is_hash_key(text), expected, "{text:?}");
        }
        assert!(is_hash_key(&"9".repeat(39)));
        assert!(!is_hash_key(&"9".repeat(40)));
        assert!(is_sequence_number(&"9".repeat(129)));
        assert!(!is_sequence_number(&"9".repeat(130)));
    }
}
