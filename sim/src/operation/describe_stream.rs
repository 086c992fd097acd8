//! `DescribeStream`: the stream and a page of its shards; none while it is CREATING.

use super::{Call, Operation, Plane, answer, request};
use crate::engine::Engine;
use crate::error::ServiceError;
use crate::stream::listing::Filter;
use crate::stream::reshard::parse_shard_id;
use crate::wire::Value;
use crate::wire::writer::Writer;

/// Shards in one answer, whatever is asked for.
const PAGE: usize = 100;

pub(crate) const OPERATION: Operation = Operation {
    name: "DescribeStream",
    members: &[
        request::STREAM_NAME,
        request::STREAM_ARN,
        request::limit("Limit"),
        request::shard_id("ExclusiveStartShardId"),
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
    let stream = engine.streams.get(&address)?;
    let page = input.count("Limit").unwrap_or(PAGE).min(PAGE);
    let after = match input.text("ExclusiveStartShardId") {
        None => None,
        Some(text) => {
            Some(parse_shard_id(text).ok_or_else(|| ServiceError::shard_not_found(stream.named(), text))?)
        }
    };
    let mut shards = stream
        .listed(call.now, Filter::FromTrimHorizon)
        .filter(|shard| after.is_none_or(|after| shard.place.index > after));
    out.begin_map();
    out.key("StreamDescription");
    out.begin_map();
    answer::write_details(stream, out);
    out.key("Shards");
    out.begin_list();
    for shard in shards.by_ref().take(page) {
        answer::write_shard(&shard.describe(), out);
    }
    out.end_list();
    out.boolean_member("HasMoreShards", shards.next().is_some());
    out.end_map();
    out.end_map();
    Ok(())
}
