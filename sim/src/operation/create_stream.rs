//! `CreateStream`: asynchronous; the stream is CREATING, without shards, until it is ACTIVE.

use super::{Call, Operation, Plane, request};
use crate::engine::Engine;
use crate::error::{ErrorCode, ServiceError};
use crate::quota::Limits;
use crate::stream::{Change, Mode, Status, Stream};
use crate::stream_table::Address;
use crate::validation::Constraint::{KeyLength, Least, Longest, Most, OneOf, ValueLength};
use crate::validation::{Kind, Member};
use crate::wire::Value;
use crate::wire::writer::Writer;

/// More at once are refused.
const MOST_CREATING: usize = 5;

/// What a stream without a shard count begins with.
const ON_DEMAND_SHARDS: u32 = 4;

pub(crate) const OPERATION: Operation = Operation {
    name: "CreateStream",
    members: &[
        Member { required: true, ..request::STREAM_NAME },
        Member::new("ShardCount", Kind::Integer).with(&[Least(1)]),
        Member::new(
            "StreamModeDetails",
            Kind::Structure(&[Member::new("StreamMode", Kind::Text)
                .required()
                .with(&[OneOf(&["ON_DEMAND", "PROVISIONED"])])]),
        ),
        Member::new("Tags", Kind::Map).with(&[Longest(200), KeyLength(128, 1), ValueLength(256, 0)]),
        Member::new("WarmThroughputMiBps", Kind::Integer).with(&[Least(0)]),
        Member::new("MaxRecordSizeInKiB", Kind::Integer).with(&[Least(1024), Most(10_240)]),
        Member::new("RecordDistributionStrategy", Kind::Text).with(&[OneOf(&["AUTO", "USER_PARTITION_KEY"])]),
    ],
    plane: Plane::Control,
    run,
};

fn run(
    engine: &mut Engine,
    call: &mut Call<'_>,
    input: &Value<'_>,
    _: &mut Writer,
) -> Result<(), ServiceError> {
    let name = input.text("StreamName").unwrap_or_default();
    let address = Address { scope: call.scope.clone(), name: name.to_owned() };
    let mode = input.get("StreamModeDetails").and_then(|details| details.text("StreamMode"));
    let count = input.integer("ShardCount").map(|count| u32::try_from(count).unwrap_or(u32::MAX));
    let (mode, shard_count) = match (mode, count) {
        (Some("ON_DEMAND"), _) | (None, None) => (Mode::OnDemand, ON_DEMAND_SHARDS),
        (_, Some(count)) => (Mode::Provisioned, count),
        // Text not verified against the service.
        (_, None) => {
            return Err(ServiceError::new(
                ErrorCode::Validation,
                "ShardCount cannot be null when creating stream in PROVISIONED StreamMode.",
            ));
        }
    };
    if engine.streams.get(&address).is_ok() {
        return Err(ServiceError::stream_exists(address.named()));
    }
    check_limits(engine, call, shard_count)?;
    let mut stream = Stream::new(name, call.scope.clone(), call.now, engine.draw());
    stream.mode = mode;
    if let Some(kib) = input.count("MaxRecordSizeInKiB") {
        stream.max_record_bytes = kib * 1024;
    }
    if let Some(Value::Map(tags)) = input.get("Tags") {
        for (key, value) in tags {
            let value = if let Value::Text(text) = value { text.to_string() } else { String::new() };
            stream.tags.insert(key.to_string(), value);
        }
    }
    engine.streams.insert(stream);
    engine.announce(call.now, &address, Change::Create { shard_count })
}

fn check_limits(engine: &Engine, call: &Call<'_>, shard_count: u32) -> Result<(), ServiceError> {
    let account = &call.scope.account;
    let creating = engine.streams.of(call.scope).filter(|stream| stream.status == Status::Creating).count();
    if engine.settings.limits == Limits::Aws && creating >= MOST_CREATING {
        // Text not verified against the service.
        return Err(ServiceError::new(
            ErrorCode::LimitExceeded,
            format!("Account {account} already has {creating} streams in CREATING status."),
        ));
    }
    let current: usize = engine.streams.of(call.scope).map(Stream::open_count).sum();
    engine.check_shard_limit(call.scope, current, shard_count as usize)
}
