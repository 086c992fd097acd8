//! `GetShardIterator`: a position in one shard, as a text good for five minutes.

use kinesis_shard::{SequenceNumber, ShardId};

use super::{Call, Operation, Plane, request};
use crate::engine::Engine;
use crate::error::ServiceError;
use crate::iterator::ShardIterator;
use crate::quota::Limits;
use crate::shard_log::ShardLog;
use crate::stream::Stream;
use crate::stream::reshard::parse_shard_id;
use crate::validation::Constraint::OneOf;
use crate::validation::{Kind, Member};
use crate::wire::Value;
use crate::wire::writer::Writer;

pub(crate) const OPERATION: Operation = Operation {
    name: "GetShardIterator",
    members: &[
        request::STREAM_NAME,
        request::STREAM_ARN,
        Member { required: true, ..request::shard_id("ShardId") },
        Member::new("ShardIteratorType", Kind::Text).required().with(&[OneOf(&[
            "AFTER_SEQUENCE_NUMBER",
            "LATEST",
            "AT_TIMESTAMP",
            "AT_SEQUENCE_NUMBER",
            "TRIM_HORIZON",
        ])]),
        request::sequence_number("StartingSequenceNumber"),
        Member::new("Timestamp", Kind::Timestamp),
        Member::new("DryRun", Kind::Boolean),
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
    let position = position(stream, shard, call.now, input)?;
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
        shard.quotas.iterator_calls.take(call.now, 1);
    }
    out.begin_map();
    out.plain_member("ShardIterator", iterator.seal());
    out.end_map();
    Ok(())
}

/// The least sequence index to read.
fn position(stream: &Stream, shard: &ShardLog, now: u64, input: &Value<'_>) -> Result<u64, ServiceError> {
    let kind = input.text("ShardIteratorType").unwrap_or_default();
    let starting = input.text("StartingSequenceNumber");
    let latest = || stream.next_index(usize::try_from(shard.place.index).unwrap_or(usize::MAX));
    match (kind, starting) {
        ("AT_TIMESTAMP", _) => {
            let time = check_timestamp(input, now)?;
            Ok(shard.index_at_time(time.max(stream.horizon(now))).unwrap_or_else(latest))
        }
        ("TRIM_HORIZON", None) => Ok(0),
        ("LATEST", None) => Ok(latest()),
        ("AT_SEQUENCE_NUMBER", Some(text)) => check_starting(stream, shard, text),
        ("AFTER_SEQUENCE_NUMBER", Some(text)) => Ok(check_starting(stream, shard, text)? + 1),
        (_, starting) => {
            let given = if starting.is_some() { "and also a" } else { "and no" };
            Err(ServiceError::invalid_argument(format!(
                "Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and StartingSequenceNumber or \
                 (2) TRIM_HORIZON or LATEST and no StartingSequenceNumber. Request specified {kind} {given} \
                 StartingSequenceNumber."
            )))
        }
    }
}

fn check_timestamp(input: &Value<'_>, now: u64) -> Result<u64, ServiceError> {
    let Some(time) = input.timestamp("Timestamp") else {
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
fn check_starting(stream: &Stream, shard: &ShardLog, text: &str) -> Result<u64, ServiceError> {
    let (name, account, shard_id) = (&stream.name, &stream.scope.account, &shard.id);
    let used = || {
        format!(
            "StartingSequenceNumber {text} used in GetShardIterator on shard {shard_id} in stream {name} under \
             account {account} is invalid"
        )
    };
    let Some(layout) = text.parse::<SequenceNumber>().ok().and_then(SequenceNumber::layout) else {
        return Err(ServiceError::invalid_argument(used() + "."));
    };
    if layout.shard_index != shard.place.index {
        let encoded = ShardId::from_index(u64::from(layout.shard_index));
        return Err(ServiceError::invalid_argument(format!(
            "Invalid StartingSequenceNumber. It encodes {encoded}, while it was used in a call to a shard with \
             {shard_id}"
        )));
    }
    if layout.shard_created_seconds != shard.place.created_seconds {
        return Err(ServiceError::invalid_argument(used() + " because it did not come from this stream."));
    }
    Ok(layout.index)
}
