//! `MergeShards`: two neighbours, the lower one first, become one.

use super::{Call, Operation, Plane, request};
use crate::engine::Engine;
use crate::error::ServiceError;
use crate::stream::reshard::parse_shard_id;
use crate::stream::{Change, Mode};
use crate::validation::Member;
use crate::wire::Value;
use crate::wire::writer::Writer;

pub(crate) const OPERATION: Operation = Operation {
    name: "MergeShards",
    members: &[
        request::STREAM_NAME,
        request::STREAM_ARN,
        Member { required: true, ..request::shard_id("ShardToMerge") },
        Member { required: true, ..request::shard_id("AdjacentShardToMerge") },
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
    let address = request::address(call, input)?;
    let [one, other] =
        ["ShardToMerge", "AdjacentShardToMerge"].map(|name| input.text(name).unwrap_or_default());
    for name in [one, other] {
        // An id that cannot be one is told before the stream is looked for.
        parse_shard_id(name).ok_or_else(|| ServiceError::shard_not_found(address.named(), name))?;
    }
    let stream = engine.streams.get(&address)?;
    let first = stream.find_open(one)?;
    let second = stream.find_open(other)?;
    stream.check_merge(first, second)?;
    if stream.mode == Mode::OnDemand {
        return Err(ServiceError::on_demand_mode(address.named()));
    }
    engine.streams.get_active(&address)?;
    engine.announce(call.now, &address, Change::Merge { first, second })
}
