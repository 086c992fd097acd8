#![expect(clippy::result_large_err, reason = "it is what the SDK returns")]

use std::time::Duration;

use aws_sdk_kinesis::{error::ErrorMetadata, types::error as sdk_error};

use super::*;
use crate::ShardMap;

type Page = Result<ListShardsOutput, SdkError<SdkListShardsError, ()>>;

fn stream() -> StreamName {
    StreamName::from("orders")
}

fn sdk_shard(id: &str, start: &str, end: &str) -> sdk::Shard {
    sdk::Shard::builder()
        .shard_id(id)
        .hash_key_range(
            sdk::HashKeyRange::builder().starting_hash_key(start).ending_hash_key(end).build().unwrap(),
        )
        .sequence_number_range(
            sdk::SequenceNumberRange::builder().starting_sequence_number("1").build().unwrap(),
        )
        .build()
        .unwrap()
}

#[expect(clippy::unnecessary_wraps, reason = "it is what the SDK returns")]
fn page(shards: Vec<sdk::Shard>, next_token: Option<&str>) -> Page {
    Ok(ListShardsOutput::builder()
        .set_shards(Some(shards))
        .set_next_token(next_token.map(Into::into))
        .build())
}

fn failed(error: SdkListShardsError) -> Page {
    Err(SdkError::service_error(error, ()))
}

fn with_code(code: &str) -> SdkListShardsError {
    SdkListShardsError::generic(ErrorMetadata::builder().code(code).message("said the service").build())
}

fn expired() -> SdkListShardsError {
    let meta = ErrorMetadata::builder().code("ExpiredNextTokenException").build();
    SdkListShardsError::ExpiredNextTokenException(
        sdk_error::ExpiredNextTokenException::builder().meta(meta).build(),
    )
}

const HALF: &str = "170141183460469231731687303715884105728";
const BELOW_HALF: &str = "170141183460469231731687303715884105727";
const MAX: &str = "340282366920938463463374607431768211455";

#[test]
fn pages_are_joined_until_there_is_no_token() {
    let mut listing = Listing::default();
    let first = listing
        .answered(page(vec![sdk_shard("shardId-000000000000", "0", BELOW_HALF)], Some("t1")), &stream());
    assert_eq!(first.unwrap(), None);
    assert_eq!(listing.next_token.as_deref(), Some("t1"));
    let second = listing.answered(page(vec![sdk_shard("shardId-000000000001", HALF, MAX)], None), &stream());
    let map = ShardMap::new(second.unwrap().unwrap()).unwrap();
    assert_eq!(map.open_count(), 2);
}

#[test]
fn an_expired_token_starts_the_listing_over_once() {
    let mut listing = Listing::default();
    let one = || page(vec![sdk_shard("shardId-000000000000", "0", MAX)], Some("t1"));
    assert_eq!(listing.answered(one(), &stream()).unwrap(), None);
    assert_eq!(listing.answered(failed(expired()), &stream()).unwrap(), None);
    // What was listed before the restart does not count twice.
    assert_eq!((listing.shards.len(), listing.next_token.as_deref()), (0, None));
    assert_eq!(listing.answered(one(), &stream()).unwrap(), None);
    let error = listing.answered(failed(expired()), &stream()).unwrap_err();
    assert!(matches!(error, ListShardsError::Other { .. }) && error.is_retryable(), "{error:?}");
}

#[test]
fn an_error_code_becomes_a_kind_that_says_whether_to_try_again() {
    for (code, kind, retryable) in [
        ("ResourceNotFoundException", "NotFound", false),
        ("AccessDeniedException", "AccessDenied", false),
        ("UnrecognizedClientException", "AccessDenied", false),
        ("LimitExceededException", "Throttled", true),
        ("ThrottlingException", "Throttled", true),
        ("ResourceInUseException", "NotReady", true),
        ("InternalFailure", "Other", true),
        ("InvalidArgumentException", "Other", false),
        ("ValidationException", "Other", false),
    ] {
        let error = Listing::default().answered(failed(with_code(code)), &stream()).unwrap_err();
        assert!(format!("{error:?}").starts_with(kind), "{code}: {error:?}");
        assert_eq!(error.is_retryable(), retryable, "{code}");
        assert!(error.to_string().contains("\"orders\""), "{error}");
    }
}

#[test]
fn a_timeout_can_be_tried_again_and_a_request_that_was_never_built_cannot() {
    let error = |page: Page| Listing::default().answered(page, &stream()).unwrap_err();
    assert!(error(Err(SdkError::timeout_error("too slow"))).is_retryable());
    assert!(!error(Err(SdkError::construction_failure("no such parameter"))).is_retryable());
}

#[test]
fn errors_keep_their_source_and_say_what_to_do() {
    let error = Listing::default().answered(failed(with_code("InternalFailure")), &stream()).unwrap_err();
    assert!(error.source().is_some());
    let error =
        Listing::default().answered(failed(with_code("ResourceNotFoundException")), &stream()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "stream \"orders\" not found: create it, or check the client's region and account"
    );
}

#[test]
fn every_part_of_a_shard_is_read() {
    let shard = sdk::Shard::builder()
        .shard_id("shardId-000000000004")
        .parent_shard_id("shardId-000000000001")
        .adjacent_parent_shard_id("shardId-000000000002")
        .hash_key_range(
            sdk::HashKeyRange::builder().starting_hash_key("5").ending_hash_key("9").build().unwrap(),
        )
        .sequence_number_range(
            sdk::SequenceNumberRange::builder()
                .starting_sequence_number("49594189147623985939251953501666965394405037144469929986")
                .ending_sequence_number("49594189147623985939251953501666965394405037144469929987")
                .build()
                .unwrap(),
        )
        .build()
        .unwrap();
    let shard = shard_from_sdk(&shard).unwrap();
    assert_eq!(shard.id.index(), Some(4));
    assert_eq!(shard.parents().filter_map(ShardId::index).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(shard.hash_key_range.to_string(), "5..=9");
    assert_eq!(shard.starting_sequence_number.checked_next(), shard.ending_sequence_number);
    assert!(!shard.is_open());
}

#[test]
fn a_shard_that_makes_no_sense_is_refused_with_the_reason() {
    let whole = sdk_shard("shardId-000000000000", "0", MAX);
    let mut no_range = whole.clone();
    no_range.hash_key_range = None;
    let mut no_positions = whole.clone();
    no_positions.sequence_number_range = None;
    assert!(matches!(
        shard_from_sdk(&no_range),
        Err(ShardFromSdkError::Missing { part: "hash key range", .. })
    ));
    assert!(matches!(
        shard_from_sdk(&no_positions),
        Err(ShardFromSdkError::Missing { part: "sequence number range", .. })
    ));
    assert!(matches!(shard_from_sdk(&sdk_shard("s", "9", "5")), Err(ShardFromSdkError::Range { .. })));
    assert!(matches!(shard_from_sdk(&sdk_shard("s", "x", "5")), Err(ShardFromSdkError::HashKey { .. })));
    let error = Listing::default().answered(page(vec![no_range], None), &stream()).unwrap_err();
    assert!(matches!(error, ListShardsError::UnreadableShard { .. }));
}

#[test]
fn filters_are_sent_as_the_service_names_them() {
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    let name = |filter: ShardFilter| filter.to_sdk().map(|filter| filter.r#type().as_str().to_owned());
    assert_eq!(name(ShardFilter::All), None);
    assert_eq!(name(ShardFilter::AtLatest).as_deref(), Some("AT_LATEST"));
    assert_eq!(name(ShardFilter::AtTrimHorizon).as_deref(), Some("AT_TRIM_HORIZON"));
    assert_eq!(name(ShardFilter::AtTimestamp(time)).as_deref(), Some("AT_TIMESTAMP"));
    assert_eq!(name(ShardFilter::FromTimestamp(time)).as_deref(), Some("FROM_TIMESTAMP"));
    let at = ShardFilter::AtTimestamp(time).to_sdk().unwrap();
    assert_eq!(at.timestamp().unwrap().to_millis().unwrap(), 1_700_000_000_123);
    let after = ShardFilter::AfterShardId(ShardId::from_index(3)).to_sdk().unwrap();
    assert_eq!((after.r#type().as_str(), after.shard_id()), ("AFTER_SHARD_ID", Some("shardId-000000000003")));
}
