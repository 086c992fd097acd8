//! `UpdateShardCount`: to another number of evenly spread shards; which shards split and merge says
//! `stream/scaling.rs`. The same number is accepted and changes nothing.

use super::{Call, Operation, Plane, request};
use crate::engine::Engine;
use crate::error::ServiceError;
use crate::stream::{Change, Mode, Stream};
use crate::validation::Constraint::{Least, OneOf};
use crate::validation::{Kind, Member};
use crate::wire::Value;
use crate::wire::writer::Writer;

/// A stream has no more shards than this by way of this operation.
const MOST_SHARDS: usize = 10_000;

pub(crate) const OPERATION: Operation = Operation {
    name: "UpdateShardCount",
    members: &[
        request::STREAM_NAME,
        request::STREAM_ARN,
        Member::new("TargetShardCount", Kind::Integer).required().with(&[Least(1)]),
        Member::new("ScalingType", Kind::Text).required().with(&[OneOf(&["UNIFORM_SCALING"])]),
    ],
    plane: Plane::Control,
    run,
};

fn run(
    engine: &mut Engine,
    call: &mut Call<'_>,
    input: &Value<'_>,
    out: &mut Writer,
) -> Result<(), ServiceError> {
    let address = request::address(call, input)?;
    let target = input.count("TargetShardCount").unwrap_or(usize::MAX);
    let most_a_day =
        if engine.is_limited() { engine.settings.service_limits.shard_count_updates_per_day } else { 0 };
    let stream = engine.streams.get_active(&address)?;
    if stream.mode == Mode::OnDemand {
        return Err(ServiceError::on_demand_mode(address.named()));
    }
    let current = stream.open_count();
    check_target(current, target)?;
    if !stream.days.shard_count_updates.allows(call.now, most_a_day) {
        // Text not verified against the service.
        return Err(ServiceError::limit_exceeded(format!(
            "UpdateShardCount was called {most_a_day} times in the last 24 hours on stream {}. No more calls are \
             allowed.",
            address.name
        )));
    }
    let arn = stream.arn();
    let open: usize = engine.streams.of(&address.scope).map(Stream::open_count).sum();
    engine.check_shard_limit(&address.scope, open, target.saturating_sub(current))?;
    engine.streams.get_mut(&address)?.days.shard_count_updates.note(call.now);
    if target != current {
        let target = u32::try_from(target).unwrap_or(u32::MAX);
        engine.announce(call.now, &address, Change::Scale { target })?;
    }
    out.begin_map();
    out.text_member("StreamName", &address.name);
    out.plain_member("StreamARN", arn);
    out.integer_member("CurrentShardCount", current as u64);
    out.integer_member("TargetShardCount", target as u64);
    out.end_map();
    Ok(())
}

/// No more than double and no less than half, in one step.
fn check_target(current: usize, target: usize) -> Result<(), ServiceError> {
    let counts = format!("Current open shard count: {current}, Target shard count: {target}");
    if target > current * 2 {
        return Err(ServiceError::limit_exceeded(format!(
            "UpdateShardCount cannot scale up over double your current open shard count. {counts}"
        )));
    }
    if target * 2 < current {
        return Err(ServiceError::limit_exceeded(format!(
            "UpdateShardCount cannot scale down below half your current open shard count. {counts}"
        )));
    }
    if target > MOST_SHARDS {
        // Text not verified against the service.
        return Err(ServiceError::limit_exceeded(format!(
            "UpdateShardCount cannot scale up to more than {MOST_SHARDS} shards. {counts}"
        )));
    }
    Ok(())
}
