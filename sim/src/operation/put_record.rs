//! `PutRecord`: one record into the open shard of its key.

use kinesis_shard::{HashKey, SequenceNumber};

use super::{Call, Operation, Plane, request};
use crate::engine::Engine;
use crate::error::{Named, ServiceError};
use crate::stream::NewRecord;
use crate::validation::{Kind, Member, longer_than};
use crate::wire::Value;
use crate::wire::writer::Writer;

pub(crate) const OPERATION: Operation = Operation {
    name: "PutRecord",
    members: &[
        request::STREAM_NAME,
        request::STREAM_ARN,
        request::DATA,
        // Optional in the model only for streams whose records the service distributes itself.
        Member { required: true, ..request::PARTITION_KEY },
        request::hash_key("ExplicitHashKey"),
        request::sequence_number("SequenceNumberForOrdering"),
        Member::new("DryRun", Kind::Boolean),
    ],
    plane: Plane::Write,
    run,
};

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
    let keyed = keyed(input)?;
    let length = record_len(input);
    if length > stream.max_record_bytes {
        return Err(longer_than("data", stream.max_record_bytes));
    }
    let above = match input.text("SequenceNumberForOrdering") {
        Some(text) => Some(ordering_index(text, call.now, address.named())?),
        None => None,
    };
    let not_found = || ServiceError::stream_not_found(address.named());
    let place = stream.open_shard_of(keyed.hash_key).ok_or_else(not_found)?;
    let shard_id = stream.shards.get(place).map(|shard| shard.id.clone()).ok_or_else(not_found)?;
    if !stream.admits(place, call.now, length, limits) {
        return Err(ServiceError::write_rate(address.named(), &shard_id));
    }
    let record = NewRecord {
        partition_key: input.text("PartitionKey").unwrap_or_default(),
        explicit_hash_key: keyed.explicit,
        data: input.blob("Data").cloned().unwrap_or_default(),
    };
    let number = stream.append(place, call.now, record, above).ok_or_else(not_found)?;
    out.begin_map();
    out.plain_member("ShardId", &shard_id);
    out.plain_member("SequenceNumber", number);
    out.end_map();
    call.records = 1;
    Ok(())
}

/// The sequence index above which the new record must lie.
fn ordering_index(text: &str, now: u64, named: Named<'_>) -> Result<u64, ServiceError> {
    let layout = text.parse::<SequenceNumber>().ok().and_then(SequenceNumber::layout);
    layout
        // A closed shard's last number leaves no room above it, and would exhaust the counter.
        .filter(|layout| layout.arrived_seconds <= now / 1000 && layout.index < u64::from(u32::MAX) << 16)
        .map(|layout| layout.index)
        .ok_or_else(|| {
            let Named { stream, account } = named;
            ServiceError::invalid_argument(format!(
                "ExclusiveMinimumSequenceNumber {text} used in PutRecord on stream {stream} under account {account} \
                 is invalid."
            ))
        })
}
