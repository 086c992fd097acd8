//! What the service allows. Each limit states its unit, where it comes from and when it was checked.
//!
//! These are the limits of the service, not of this library: they bound what is sent, and the simulated engine
//! enforces them. Sources: *API* is the official API model, *guide* the developer guide.

use std::time::Duration;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const HOUR: Duration = Duration::from_hours(1);

/// Kinesis records in one `PutRecords` request. API, 2026-11.
pub const MAX_RECORDS_PER_PUT_RECORDS: usize = 500;

/// Bytes of one `PutRecords` request: data before base64, and partition keys. Guide, 2026-11 (5 MiB until 2025-10).
pub const MAX_PUT_RECORDS_BYTES: usize = 10 * MIB;

/// Bytes of one Kinesis record, data and partition key, on a stream that was not told otherwise. API, 2026-11.
pub const DEFAULT_MAX_RECORD_BYTES: usize = MIB;

/// The most that a stream's `MaxRecordSizeInKiB` can be raised to, in bytes. API, 2026-11.
pub const MAX_MAX_RECORD_BYTES: usize = 10 * MIB;

/// Unicode characters (not bytes, not UTF-16 units) in a partition key; at least one. API, 2026-11.
pub const MAX_PARTITION_KEY_CHARS: usize = 256;

/// Kinesis records that one shard takes per second. Guide, 2026-11.
pub const SHARD_WRITE_RECORDS_PER_SECOND: u64 = 1_000;

/// Bytes that one shard takes per second, data and partition keys. Guide, 2026-11.
pub const SHARD_WRITE_BYTES_PER_SECOND: u64 = 1024 * 1024;

/// `GetRecords` calls per second and shard, shared by all readers. API, 2026-11.
pub const SHARD_READ_CALLS_PER_SECOND: u64 = 5;

/// Bytes per second and shard through `GetRecords`, shared by all readers. API, 2026-11.
pub const SHARD_READ_BYTES_PER_SECOND: u64 = 2 * 1024 * 1024;

/// Kinesis records in one `GetRecords` answer; also what is served when no limit is asked for. API, 2026-11.
pub const MAX_RECORDS_PER_GET_RECORDS: usize = 10_000;

/// Bytes of data in one `GetRecords` answer. API, 2026-11.
pub const MAX_GET_RECORDS_BYTES: usize = 10 * MIB;

/// How long a shard iterator can be used after it was issued. API, 2026-11.
pub const ITERATOR_LIFETIME: Duration = Duration::from_mins(5);

/// Shards in one page of `ListShards`; asking for more gives no more. API, 2026-11.
pub const LIST_SHARDS_PAGE: usize = 1_000;

/// How long a `ListShards` page token can be used after it was issued. API, 2026-11.
pub const NEXT_TOKEN_LIFETIME: Duration = Duration::from_mins(5);

/// `ListShards` calls per second and stream. API, 2026-11.
pub const LIST_SHARDS_CALLS_PER_SECOND: u64 = 1_000;

/// How long records are kept unless the stream was told otherwise; also the least. API, 2026-11.
pub const RETENTION_DEFAULT: Duration = HOUR.saturating_mul(24);

/// The shortest retention of a stream. API, 2026-11.
pub const RETENTION_MIN: Duration = RETENTION_DEFAULT;

/// The longest retention of a stream: 8,760 hours, 365 days. API, 2026-11.
pub const RETENTION_MAX: Duration = HOUR.saturating_mul(8_760);

/// How long one `SubscribeToShard` lasts before the service ends it. API, 2026-11.
pub const SUBSCRIPTION_LIFETIME: Duration = Duration::from_mins(5);

/// How soon after a subscription another one for the same consumer and shard is accepted. API, 2026-11.
pub const SUBSCRIBE_INTERVAL: Duration = Duration::from_secs(5);

/// Bytes per second that one subscription of one consumer is pushed. API, 2026-11.
pub const SUBSCRIPTION_BYTES_PER_SECOND: u64 = 2 * 1024 * 1024;

/// Decimal digits of a sequence number that the API accepts; the service issues 56. API, 2026-11.
pub const MAX_SEQUENCE_NUMBER_DIGITS: usize = 129;

/// Decimal digits of an explicit hash key; its value must also be below 2^128. API, 2026-11.
pub const MAX_HASH_KEY_DIGITS: usize = 39;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_request_holds_records_of_any_size() {
        const { assert!(MAX_PUT_RECORDS_BYTES >= MAX_MAX_RECORD_BYTES) };
        const { assert!(MAX_MAX_RECORD_BYTES >= DEFAULT_MAX_RECORD_BYTES) };
    }

    #[test]
    fn sizes_and_rates_in_plain_figures() {
        assert_eq!(DEFAULT_MAX_RECORD_BYTES, 1_048_576);
        assert_eq!([MAX_PUT_RECORDS_BYTES, MAX_MAX_RECORD_BYTES, MAX_GET_RECORDS_BYTES], [10_485_760; 3]);
        assert_eq!(SHARD_WRITE_BYTES_PER_SECOND, 1_048_576);
        assert_eq!([SHARD_READ_BYTES_PER_SECOND, SUBSCRIPTION_BYTES_PER_SECOND], [2_097_152; 2]);
    }

    #[test]
    fn retention_runs_from_a_day_to_a_year() {
        assert_eq!(RETENTION_MIN.as_secs(), 86_400);
        assert_eq!(RETENTION_MAX.as_secs(), 365 * 86_400);
    }

    #[test]
    fn the_greatest_hash_key_fills_its_digits() {
        assert_eq!(u128::MAX.to_string().len(), MAX_HASH_KEY_DIGITS);
    }
}
