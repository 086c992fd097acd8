//! `CreateStream`: asynchronous; the stream is CREATING, without shards, until it is ACTIVE.

use super::{
    Call, Operation, Plane, request, tags, update_stream_record_distribution_strategy,
    update_stream_warm_throughput,
};
use crate::engine::Engine;
use crate::error::{ErrorCode, ServiceError};
use crate::stream::features::WarmThroughput;
use crate::stream::{Change, Mode, Status, Stream};
use crate::stream_table::Address;
use crate::validation::Constraint::Least;
use crate::validation::{Kind, Member};
use crate::wire::Value;
use crate::wire::writer::Writer;

/// What a stream without a shard count begins with.
const ON_DEMAND_SHARDS: u32 = 4;

pub(crate) const OPERATION: Operation = Operation {
    name: "CreateStream",
    members: &[
        Member { required: true, ..request::STREAM_NAME },
        Member::new("ShardCount", Kind::Integer).with(&[Least(1)]),
        request::STREAM_MODE,
        tags::TAGS,
        request::WARM_THROUGHPUT,
        request::MAX_RECORD_SIZE,
        request::DISTRIBUTION,
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
    let (mode, shard_count) = shape(input)?;
    let warm_mib = update_stream_warm_throughput::asked_for(engine, call.now, call.scope, mode, input)?;
    let distribution = update_stream_record_distribution_strategy::asked_for(mode, input)?;
    let tags = tags::of_new(input, address.named())?;
    if engine.streams.get(&address).is_ok() {
        return Err(ServiceError::stream_exists(address.named()));
    }
    // What is to be kept warm is there from the start: a shard takes 1 MiB a second.
    let shard_count = shard_count.max(warm_mib.and_then(|mib| u32::try_from(mib).ok()).unwrap_or_default());
    check_limits(engine, call, mode, shard_count)?;
    let mut stream = engine.new_stream(call.now, &address);
    stream.mode = mode;
    stream.tags = tags;
    stream.distribution = distribution.unwrap_or_default();
    stream.warm = warm_mib.map(|mib| WarmThroughput { target: mib, current: mib });
    if let Some(kib) = input.count("MaxRecordSizeInKiB") {
        stream.max_record_bytes = kib * 1024;
    }
    engine.streams.insert(stream);
    engine.announce(call.now, &address, Change::Create { shard_count })
}

/// Mode and number of shards.
fn shape(input: &Value<'_>) -> Result<(Mode, u32), ServiceError> {
    let count = input.integer("ShardCount").map(|count| u32::try_from(count).unwrap_or(u32::MAX));
    match (request::stream_mode(input), count) {
        (Some(Mode::OnDemand), _) | (None, None) => Ok((Mode::OnDemand, ON_DEMAND_SHARDS)),
        (_, Some(count)) => Ok((Mode::Provisioned, count)),
        // Text not verified against the service.
        (_, None) => Err(ServiceError::new(
            ErrorCode::Validation,
            "ShardCount cannot be null when creating stream in PROVISIONED StreamMode.",
        )),
    }
}

fn check_limits(engine: &Engine, call: &Call<'_>, mode: Mode, shard_count: u32) -> Result<(), ServiceError> {
    let account = &call.scope.account;
    let streams = || engine.streams.of(call.scope);
    let creating = streams().filter(|stream| stream.status == Status::Creating).count();
    let on_demand = streams().filter(|stream| stream.mode == Mode::OnDemand).count();
    let limits = &engine.settings.service_limits;
    if engine.is_limited() && creating >= limits.streams_creating {
        // Text not verified against the service.
        return Err(ServiceError::limit_exceeded(format!(
            "Account {account} already has {creating} streams in CREATING status."
        )));
    }
    if engine.is_limited() && mode == Mode::OnDemand && on_demand >= limits.on_demand_streams {
        return Err(request::too_many_on_demand(call.scope, on_demand));
    }
    let current: usize = streams().map(Stream::open_count).sum();
    engine.check_shard_limit(call.scope, current, shard_count as usize)
}
