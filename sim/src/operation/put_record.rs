//! `PutRecord`: one record into the open shard of its key.

use kinesis_shard::HashKey;

use super::{Call, Operation, Plane, answer, request};
use crate::engine::Engine;
use crate::error::{Named, ServiceError};
use crate::stream::features::Distribution;
use crate::stream::given_number::GivenNumber;
use crate::stream::{NewRecord, Stream};
use crate::validation::{Member, longer_than};
use crate::wire::Value;
use crate::wire::writer::Writer;

pub(crate) const OPERATION: Operation = Operation {
    name: "PutRecord",
    // A key is optional in the model only for streams whose records the service distributes itself.
    members: &members(true),
    plane: Plane::Write,
    run,
};

/// What a request must look like on such a stream.
pub(crate) const KEYLESS: &[Member] = &members(false);

const fn members(is_keyed: bool) -> [Member; 7] {
    [
        request::STREAM_NAME,
        request::STREAM_ARN,
        request::DATA,
        Member { required: is_keyed, ..request::PARTITION_KEY },
        request::hash_key("ExplicitHashKey"),
        request::sequence_number("SequenceNumberForOrdering"),
        request::DRY_RUN,
    ]
}

/// What a record says of its key, before it has a place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keyed {
    pub(crate) hash_key: HashKey,
    pub(crate) explicit: Option<HashKey>,
}

/// The hash key of a record: given, or that of its partition key.
pub(crate) fn keyed(record: &Value<'_>) -> Result<Keyed, ServiceError> {
    if let Some(text) = record.text("ExplicitHashKey") {
        let key = HashKey::parse_explicit(text).map_err(|_| ServiceError::invalid_explicit_hash_key(text))?;
        Ok(Keyed { hash_key: key, explicit: Some(key) })
    } else {
        let key = record.text("PartitionKey").unwrap_or_default();
        Ok(Keyed { hash_key: HashKey::of_partition_key(key), explicit: None })
    }
}

impl Keyed {
    /// On a stream whose records the service distributes itself, keys are ignored, wrong ones too.
    pub(crate) fn of(stream: &Stream, record: &Value<'_>) -> Result<Self, ServiceError> {
        match stream.distribution {
            Distribution::UserPartitionKey => keyed(record),
            Distribution::Auto => Ok(Self { hash_key: HashKey::MIN, explicit: None }),
        }
    }

    /// The place of the shard that takes the record; `None` only while the stream has no shards.
    pub(crate) fn shard(self, stream: &mut Stream) -> Option<usize> {
        match stream.distribution {
            Distribution::UserPartitionKey => stream.open_shard_of(self.hash_key),
            Distribution::Auto => stream.shard_in_turn(),
        }
    }
}

/// Data and partition key, which both count.
pub(crate) fn record_len(record: &Value<'_>) -> usize {
    record.blob("Data").map_or(0, bytes::Bytes::len) + record.text("PartitionKey").map_or(0, str::len)
}

fn run(
    engine: &mut Engine,
    call: &mut Call<'_>,
    input: &Value<'_>,
    out: &mut Writer,
) -> Result<(), ServiceError> {
    let address = request::address(call, input)?;
    let limits = engine.settings.limits;
    let stream = engine.streams.get_writable(&address)?;
    let keyed = Keyed::of(stream, input)?;
    let length = record_len(input);
    if length > stream.max_record_bytes {
        return Err(longer_than("data", stream.max_record_bytes));
    }
    let above = match input.text("SequenceNumberForOrdering") {
        Some(text) => Some(ordering_index(text, call.now, address.named())?),
        None => None,
    };
    let not_found = || ServiceError::stream_not_found(address.named());
    if input.boolean("DryRun") {
        return Err(ServiceError::dry_run());
    }
    let place = keyed.shard(stream).ok_or_else(not_found)?;
    let shard_id = stream.shards.get(place).map(|shard| shard.id.clone()).ok_or_else(not_found)?;
    if !stream.admits(place, call.now, length, limits) {
        return Err(ServiceError::write_rate(address.named(), &shard_id));
    }
    let record = NewRecord {
        partition_key: input.text("PartitionKey").unwrap_or_default(),
        explicit_hash_key: keyed.explicit,
        data: input.blob("Data").map_or(b"".as_slice(), |data| data),
    };
    let number = stream.append(place, call.now, record, above).ok_or_else(not_found)?;
    out.begin_map();
    out.plain_member("ShardId", &shard_id);
    out.plain_member("SequenceNumber", number);
    answer::write_record_encryption(stream.encryption.key().is_some(), out);
    out.end_map();
    call.records = 1;
    Ok(())
}

/// The sequence index above which the new record must lie.
fn ordering_index(text: &str, now: u64, named: Named<'_>) -> Result<u64, ServiceError> {
    GivenNumber::read(text)
        // A closed shard's last number leaves no room above it, and would exhaust the counter.
        .filter(|number| number.arrived_seconds <= now / 1000 && number.index < u64::from(u32::MAX) << 16)
        .map(|number| number.index)
        .ok_or_else(|| {
            let Named { stream, account } = named;
            ServiceError::invalid_argument(format!(
                "ExclusiveMinimumSequenceNumber {text} used in PutRecord on stream {stream} under account {account} \
                 is invalid."
            ))
        })
}
