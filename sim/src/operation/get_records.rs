//! `GetRecords`: what lies at an iterator's position, and the next iterator; at the end of a closed shard, the
//! shards that took over instead.

use kinesis_shard::ShardId;
use kinesis_shard::limits::{MAX_GET_RECORDS_BYTES, MAX_RECORDS_PER_GET_RECORDS};

use super::{Call, Operation, Plane, answer, request};
use crate::engine::Engine;
use crate::error::ServiceError;
use crate::iterator::ShardIterator;
use crate::quota::Limits;
use crate::rule::Verdict;
use crate::shard_log::{LogRecord, ShardLog};
use crate::stream::Stream;
use crate::stream_table::Address;
use crate::validation::Constraint::{Longest, Shortest};
use crate::validation::{Kind, Member};
use crate::wire::Value;
use crate::wire::writer::Writer;

pub(crate) const OPERATION: Operation = Operation {
    name: "GetRecords",
    members: &[
        Member::new("ShardIterator", Kind::Text).required().with(&[Shortest(1), Longest(512)]),
        request::limit("Limit"),
        request::STREAM_ARN,
        request::DRY_RUN,
    ],
    plane: Plane::Read,
    run,
};

/// About how much the answer has for one record beside its payload.
const RECORD_ANSWER_BYTES: usize = 180;

fn run(
    engine: &mut Engine,
    call: &mut Call<'_>,
    input: &Value<'_>,
    out: &mut Writer,
) -> Result<(), ServiceError> {
    let iterator = ShardIterator::open(input.text("ShardIterator").unwrap_or_default())?;
    let expire = call.strike.is_some_and(|strike| strike.verdict == Verdict::ExpireIterator);
    if expire || iterator.is_expired(call.now) {
        return Err(ServiceError::expired_iterator(iterator.issued_at, call.now));
    }
    let serial = engine.next_serial();
    let address = Address { scope: call.scope.clone(), name: iterator.stream.clone() };
    let shard_id = ShardId::from_index(u64::from(iterator.shard_index));
    let gone = || ServiceError::shard_does_not_exist(address.named(), &shard_id);
    let limits = engine.settings.limits;
    let stream = engine.streams.get_mut(&address).map_err(|_| gone())?;
    let place = usize::try_from(iterator.shard_index).unwrap_or(usize::MAX);
    let expired = stream.shards.get(place).is_none_or(|shard| stream.is_expired(shard, call.now));
    if expired || stream.generation != iterator.generation {
        return Err(gone());
    }
    let horizon = stream.horizon(call.now);
    let shard = stream.shards.get_mut(place).ok_or_else(gone)?;
    shard.trim(horizon);
    if limits == Limits::Aws {
        let quotas = &mut shard.quotas;
        let allowed = quotas.read_calls.allows(call.now, 1) && quotas.read_bytes.is_positive(call.now);
        if !allowed && !kinesis_shard::planted("a shard answers whoever reads") {
            return Err(ServiceError::read_rate(address.named(), &shard_id));
        }
    }

    if input.boolean("DryRun") {
        return Err(ServiceError::dry_run());
    }
    out.begin_map();
    let most = input.count("Limit").unwrap_or(MAX_RECORDS_PER_GET_RECORDS);
    let read = write_records(stream, place, iterator.position, most, out);
    out.integer_member(
        "MillisBehindLatest",
        read.behind_since.map_or(0, |since| (call.now - since.min(call.now)).max(1)),
    );
    let shard = stream.shards.get_mut(place).ok_or_else(gone)?;
    if limits == Limits::Aws {
        shard.quotas.read_calls.take(call.now, 1);
        shard.quotas.read_bytes.charge(call.now, read.bytes as u64);
    }
    let at_end = !shard.is_open() && read.behind_since.is_none();
    if at_end {
        out.key("ChildShards");
        out.begin_list();
        if let Some(shard) = stream.shards.get(place) {
            stream.children_of(shard).for_each(|child| answer::write_child_shard(child, out));
        }
        out.end_list();
    } else {
        let next = ShardIterator { position: read.next, issued_at: call.now, serial, ..iterator };
        out.plain_member("NextShardIterator", next.seal());
    }
    out.end_map();
    call.records = read.count;
    Ok(())
}

/// What one call read.
struct Read {
    count: usize,
    bytes: usize,
    next: u64,
    /// If records lie ahead: when the last record that was read (or the first that lies ahead) arrived.
    behind_since: Option<u64>,
}

/// Writes records until the limit or the size is reached; a single record may be larger than the size.
fn write_records(stream: &Stream, place: usize, position: u64, most: usize, out: &mut Writer) -> Read {
    let mut read = Read { count: 0, bytes: 0, next: position, behind_since: None };
    let mut last_arrival = None;
    if let Some(shard) = stream.shards.get(place) {
        let (count, bytes) = shard.ahead(position, most);
        out.reserve(RECORD_ANSWER_BYTES * count + bytes.min(MAX_GET_RECORDS_BYTES) * 4 / 3);
    }
    out.key("Records");
    out.begin_list();
    for (shard, record) in stream
        .shards
        .get(place)
        .into_iter()
        .flat_map(|shard| shard.records_from(position).map(move |record| (shard, record)))
    {
        let too_large = read.count > 0 && read.bytes + record.len() > MAX_GET_RECORDS_BYTES;
        if read.count >= most || too_large {
            read.behind_since = last_arrival.or(Some(record.arrived_at));
            break;
        }
        write_record(stream, shard, &record, out);
        read.count += 1;
        read.bytes += record.len();
        read.next = record.index + 1;
        last_arrival = Some(record.arrived_at);
    }
    out.end_list();
    read
}

/// One record, as readers get it.
pub(crate) fn write_record(stream: &Stream, shard: &ShardLog, record: &LogRecord<'_>, out: &mut Writer) {
    out.begin_map();
    out.ascii_member("SequenceNumber", shard.sequence_number(record).decimal().as_str());
    out.key("ApproximateArrivalTimestamp");
    out.timestamp(record.arrived_at);
    out.key("Data");
    out.blob(record.data);
    // Only streams whose records the service distributes itself take records without a key.
    if !record.partition_key.is_empty() {
        out.text_member("PartitionKey", record.partition_key);
    }
    answer::write_record_encryption(stream.encryption.was_on(record.arrived_at), out);
    out.end_map();
}
