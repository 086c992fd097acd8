//! `GetShardIterator`: a position in one shard, as a text good for five minutes.

use kinesis_shard::ShardId;

use super::{Call, Operation, Plane, request};
use crate::engine::Engine;
use crate::error::{ErrorCode, ServiceError};
use crate::iterator::ShardIterator;
use crate::quota::Limits;
use crate::shard_log::ShardLog;
use crate::stream::Stream;
use crate::stream::given_number::GivenNumber;
use crate::stream::reshard::parse_shard_id;
use crate::validation::Constraint::OneOf;
use crate::validation::{Kind, Member};
use crate::wire::Value;
use crate::wire::writer::Writer;

/// In the order in which the service lists them.
pub(crate) const TYPES: [&str; 5] =
    ["AFTER_SEQUENCE_NUMBER", "LATEST", "AT_TIMESTAMP", "AT_SEQUENCE_NUMBER", "TRIM_HORIZON"];

pub(crate) const OPERATION: Operation = Operation {
    name: "GetShardIterator",
    members: &[
        request::STREAM_NAME,
        request::STREAM_ARN,
        Member { required: true, ..request::shard_id("ShardId") },
        Member::new("ShardIteratorType", Kind::Text).required().with(&[OneOf(&TYPES)]),
        request::sequence_number("StartingSequenceNumber"),
        Member::new("Timestamp", Kind::Timestamp),
        request::DRY_RUN,
    ],
    plane: Plane::Read,
    run,
};

fn run(
    engine: &mut Engine,
    call: &mut Call<'_>,
    input: &Value<'_>,
    out: &mut Writer,
) -> Result<(), ServiceError> {
    let address = request::address(call, input)?;
    let named = address.named();
    let text = input.text("ShardId").unwrap_or_default();
    let shard_index = parse_shard_id(text).ok_or_else(|| ServiceError::shard_not_found(named, text))?;
    let canonical = ShardId::from_index(u64::from(shard_index));
    let gone = || ServiceError::shard_does_not_exist(named, &canonical);
    let (limits, serial) = (engine.settings.limits, engine.next_serial());
    // A missing stream is told in terms of the shard here.
    let stream = engine.streams.get_mut(&address).map_err(|_| gone())?;
    let place = usize::try_from(shard_index).unwrap_or(usize::MAX);
    let shard =
        stream.shards.get(place).filter(|shard| !stream.is_expired(shard, call.now)).ok_or_else(gone)?;
    let start = Start {
        operation: "GetShardIterator",
        kind: input.text("ShardIteratorType").unwrap_or_default(),
        sequence_number: input.text("StartingSequenceNumber"),
        timestamp: input.timestamp("Timestamp"),
    };
    let position = position(stream, shard, call.now, &start)?;
    let iterator = ShardIterator {
        stream: stream.name.clone(),
        generation: stream.generation,
        shard_index,
        position,
        issued_at: call.now,
        serial,
    };
    if let Some(shard) = stream.shards.get_mut(place).filter(|_| limits == Limits::Aws) {
        if !shard.quotas.iterator_calls.allows(call.now, 1) {
            return Err(ServiceError::read_rate(named, &canonical));
        }
        if !input.boolean("DryRun") {
            shard.quotas.iterator_calls.take(call.now, 1);
        }
    }
    if input.boolean("DryRun") {
        return Err(ServiceError::dry_run());
    }
    out.begin_map();
    out.plain_member("ShardIterator", iterator.seal());
    out.end_map();
    Ok(())
}

/// Where a request wants to begin.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    /// For the texts.
    pub(crate) operation: &'static str,
    /// One of [`TYPES`].
    pub(crate) kind: &'a str,
    pub(crate) sequence_number: Option<&'a str>,
    /// Milliseconds.
    pub(crate) timestamp: Option<u64>,
}

/// The least sequence index to read.
pub(crate) fn position(
    stream: &Stream,
    shard: &ShardLog,
    now: u64,
    start: &Start<'_>,
) -> Result<u64, ServiceError> {
    let latest = || stream.next_index(usize::try_from(shard.place.index).unwrap_or(usize::MAX));
    match (start.kind, start.sequence_number) {
        ("AT_TIMESTAMP", _) => {
            let time = check_timestamp(start.timestamp, now)?;
            Ok(shard.index_at_time(time.max(stream.horizon(now))).unwrap_or_else(latest))
        }
        ("TRIM_HORIZON", None) => Ok(0),
        ("LATEST", None) => Ok(latest()),
        ("AT_SEQUENCE_NUMBER", Some(text)) => {
            let behind = u64::from(kinesis_shard::planted("an iterator at a number starts behind it"));
            Ok(check_starting(stream, shard, start.operation, text)? + behind)
        }
        ("AFTER_SEQUENCE_NUMBER", Some(text)) => {
            Ok(check_starting(stream, shard, start.operation, text)? + 1)
        }
        (kind, starting) => {
            let given = if starting.is_some() { "and also a" } else { "and no" };
            Err(ServiceError::invalid_argument(format!(
                "Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and StartingSequenceNumber or \
                 (2) TRIM_HORIZON or LATEST and no StartingSequenceNumber. Request specified {kind} {given} \
                 StartingSequenceNumber."
            )))
        }
    }
}

fn check_timestamp(timestamp: Option<u64>, now: u64) -> Result<u64, ServiceError> {
    let Some(time) = timestamp else {
        return Err(ServiceError::invalid_argument(
            "Must specify timestampInMillis parameter for iterator of type AT_TIMESTAMP. Current request has no \
             timestamp parameter.",
        ));
    };
    if time > now {
        return Err(ServiceError::invalid_argument(format!(
            "The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. \
             timestampInMillis: {time}, currentTimestampInMillis: {now}"
        )));
    }
    Ok(time)
}

/// The index in a sequence number of this shard; no record need have it.
fn check_starting(
    stream: &Stream,
    shard: &ShardLog,
    operation: &str,
    text: &str,
) -> Result<u64, ServiceError> {
    let (name, account, shard_id) = (&stream.name, &stream.scope.account, &shard.id);
    let used = || {
        format!(
            "StartingSequenceNumber {text} used in {operation} on shard {shard_id} in stream {name} under account \
             {account} is invalid"
        )
    };
    let number = GivenNumber::read(text).ok_or_else(|| ServiceError::invalid_argument(used() + "."))?;
    if u32::try_from(number.shard_index) != Ok(shard.place.index) {
        return Err(ServiceError::invalid_argument(format!(
            "Invalid StartingSequenceNumber. It encodes shardId-{:012}, while it was used in a call to a shard with \
             {shard_id}",
            number.shard_index
        )));
    }
    match number.version {
        2 if number.created_seconds == shard.place.created_seconds => Ok(number.index),
        // The service fails on its own oldest numbers.
        0 => Err(ServiceError::bare(ErrorCode::InternalFailure)),
        _ => Err(ServiceError::invalid_argument(used() + " because it did not come from this stream.")),
    }
}
