//! `StartStreamEncryption`: with a key that is only remembered. Records that arrive from then on are marked.

use super::{Call, Operation, Plane, request};
use crate::engine::Engine;
use crate::error::ServiceError;
use crate::stream::Change;
use crate::stream_table::Address;
use crate::wire::Value;
use crate::wire::writer::Writer;

pub(crate) const OPERATION: Operation =
    Operation { name: "StartStreamEncryption", members: request::ENCRYPTION, plane: Plane::Control, run };

fn run(
    engine: &mut Engine,
    call: &mut Call<'_>,
    input: &Value<'_>,
    _: &mut Writer,
) -> Result<(), ServiceError> {
    let address = address(call, input)?;
    let most_a_day = most_a_day(engine);
    let starts = &mut engine.streams.get_active(&address)?.days.encryption_starts;
    if !starts.allows(call.now, most_a_day) {
        return Err(too_often(&address, most_a_day));
    }
    starts.note(call.now);
    let key = input.text("KeyId").map(str::to_owned);
    engine.announce(call.now, &address, Change::Encrypt { key })
}

/// The stream, of a request whose type and key are in order. Texts not verified against the service.
pub(crate) fn address(call: &Call<'_>, input: &Value<'_>) -> Result<Address, ServiceError> {
    let address = request::address(call, input)?;
    if input.text("EncryptionType") != Some("KMS") {
        return Err(ServiceError::invalid_argument("EncryptionType must be KMS."));
    }
    let key = input.text("KeyId").unwrap_or_default();
    if !is_key_id(key) {
        return Err(ServiceError::invalid_argument(format!("Invalid keyId {key}")));
    }
    Ok(address)
}

pub(crate) fn most_a_day(engine: &Engine) -> usize {
    if engine.is_limited() { engine.settings.service_limits.encryption_changes_per_day } else { 0 }
}

/// Text not verified against the service.
pub(crate) fn too_often(address: &Address, most_a_day: usize) -> ServiceError {
    ServiceError::limit_exceeded(format!(
        "The encryption of stream {} was changed {most_a_day} times in the last 24 hours. No more changes are allowed.",
        address.name
    ))
}

/// A GUID (or the id of a multi-region key), the ARN of a key or of an alias, or `alias/` and a name.
fn is_key_id(text: &str) -> bool {
    let is_bare = |text: &str| {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'/');
        !text.is_empty() && text.bytes().all(is_name)
    };
    match text.strip_prefix("arn:") {
        Some(rest) => rest
            .split_once(":kms:")
            .and_then(|(_, rest)| rest.rsplit_once(':'))
            .is_some_and(|(_, key)| (key.starts_with("key/") || key.starts_with("alias/")) && is_bare(key)),
        None => is_bare(text),
    }
}

#[cfg(test)]
mod tests {
    use super::is_key_id;

    #[test]
    fn keys_have_four_forms() {
        for text in [
            "12345678-1234-1234-1234-123456789012",
            "mrk-1234abcd12ab34cd56ef1234567890ab",
            "alias/aws/kinesis",
            "arn:aws:kms:us-east-1:123456789012:key/12345678-1234-1234-1234-123456789012",
            "arn:aws:kms:us-east-1:123456789012:alias/MyAliasName",
        ] {
            assert!(is_key_id(text), "{text}");
        }
        for text in ["", "a b", "arn:aws:kms:us-east-1:123456789012:thing/x", "arn:aws:s3:::bucket", "key:1"]
        {
            assert!(!is_key_id(text), "{text}");
        }
    }
}
