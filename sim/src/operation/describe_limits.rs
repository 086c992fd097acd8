//! `DescribeLimits`: how many shards and on-demand streams the account has and may have.

use super::{Call, Operation, Plane};
use crate::engine::Engine;
use crate::error::ServiceError;
use crate::stream::{Mode, Stream};
use crate::wire::Value;
use crate::wire::writer::Writer;

pub(crate) const OPERATION: Operation =
    Operation { name: "DescribeLimits", members: &[], plane: Plane::Control, run };

#[expect(clippy::unnecessary_wraps, reason = "the form of all operations")]
fn run(
    engine: &mut Engine,
    call: &mut Call<'_>,
    _: &Value<'_>,
    out: &mut Writer,
) -> Result<(), ServiceError> {
    let streams = || engine.streams.of(call.scope);
    let on_demand = streams().filter(|stream| stream.mode == Mode::OnDemand).count();
    let limits = &engine.settings.service_limits;
    out.begin_map();
    out.integer_member("ShardLimit", limits.open_shards as u64);
    out.integer_member("OpenShardCount", streams().map(Stream::open_count).sum::<usize>() as u64);
    out.integer_member("OnDemandStreamCount", on_demand as u64);
    out.integer_member("OnDemandStreamCountLimit", limits.on_demand_streams as u64);
    // Channels are not served.
    out.integer_member("ChannelCount", 0);
    out.integer_member("ChannelCountLimit", 0);
    out.end_map();
    Ok(())
}
