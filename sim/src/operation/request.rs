use super::Call;
use crate::error::{ErrorCode, ServiceError};
use crate::stream_table::{Address, Scope};
use crate::validation::Constraint::{self, Longest, Pattern, Shortest};
use crate::validation::{Kind, Member};
use crate::wire::Value;

const NAME: Constraint = Pattern("[a-zA-Z0-9_.-]+", is_name);

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
    Member::new(name, Kind::Integer).with(&[Constraint::Least(1), Constraint::Most(10_000)])
}

pub(crate) const RETENTION: &[Member] =
    &[STREAM_NAME, STREAM_ARN, Member::new("RetentionPeriodHours", Kind::Integer).required()];

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
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

fn is_stream_arn(text: &str) -> bool {
    parse_stream_arn(text).is_some()
}

/// Region, account and name of a stream's ARN.
fn parse_stream_arn(text: &str) -> Option<(&str, &str, &str)> {
    let (partition, rest) = text.strip_prefix("arn:aws")?.split_once(":kinesis:")?;
    let (region, rest) = rest.split_once(':')?;
    let (account, name) = rest.split_once(":stream/")?;
    let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    let is_clean = !name.is_empty() && !name.contains(char::is_whitespace) && !partition.contains(':');
    (is_account && is_clean).then_some((region, account, name))
}

/// The stream that a request names, if it names one.
pub(crate) fn try_address(scope: &Scope, input: &Value<'_>) -> Option<Address> {
    if let Some((region, account, name)) = input.text("StreamARN").and_then(parse_stream_arn) {
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
