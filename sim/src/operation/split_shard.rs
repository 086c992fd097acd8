//! `SplitShard`: answered at once; the stream is UPDATING, and writes go to the parent, until it is done.

use kinesis_shard::HashKey;

use super::{Call, Operation, Plane, request};
use crate::engine::Engine;
use crate::error::ServiceError;
use crate::stream::reshard::parse_shard_id;
use crate::stream::{Change, Mode, Stream};
use crate::validation::Member;
use crate::wire::Value;
use crate::wire::writer::Writer;

pub(crate) const OPERATION: Operation = Operation {
    name: "SplitShard",
    members: &[
        request::STREAM_NAME,
        request::STREAM_ARN,
        Member { required: true, ..request::shard_id("ShardToSplit") },
        Member { required: true, ..request::hash_key("NewStartingHashKey") },
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
    let name = input.text("ShardToSplit").unwrap_or_default();
    // An id that cannot be one is told before the stream is looked for.
    parse_shard_id(name).ok_or_else(|| ServiceError::shard_not_found(address.named(), name))?;
    let shard = engine.streams.get(&address)?.find_open(name)?;
    let current: usize = engine.streams.of(call.scope).map(Stream::open_count).sum();
    engine.check_shard_limit(call.scope, current, 1)?;
    let stream = engine.streams.get(&address)?;
    let text = input.text("NewStartingHashKey").unwrap_or_default();
    // Beyond 2^128 is beyond every shard's end.
    let new_starting = HashKey::parse_explicit(text).unwrap_or(HashKey::MAX);
    stream.check_split(shard, new_starting, text)?;
    if stream.mode == Mode::OnDemand {
        return Err(ServiceError::on_demand_mode(address.named()));
    }
    engine.streams.get_active(&address)?;
    engine.announce(call.now, &address, Change::Split { shard, new_starting })
}
