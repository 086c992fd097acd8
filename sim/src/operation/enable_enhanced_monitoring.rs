//! `EnableEnhancedMonitoring`: switches shard-level metrics on. Nothing is measured here; descriptions list them.

use super::{Call, Operation, Plane, answer, request};
use crate::engine::Engine;
use crate::error::ServiceError;
use crate::stream::features::METRICS;
use crate::validation::Constraint::{ItemOneOf, Longest, Shortest};
use crate::validation::{Kind, Member};
use crate::wire::Value;
use crate::wire::writer::Writer;

const ALL: &str = "ALL";

pub(crate) const OPERATION: Operation = Operation {
    name: "EnableEnhancedMonitoring",
    members: MEMBERS,
    plane: Plane::Control,
    run: |engine, call, input, out| switch(engine, call, input, out, |is_on, is_named| is_on || is_named),
};

pub(crate) const MEMBERS: &[Member] = &[
    request::STREAM_NAME,
    request::STREAM_ARN,
    Member::new("ShardLevelMetrics", Kind::List(&Member::new("ShardLevelMetrics", Kind::Text)))
        .required()
        .with(&[
            Shortest(1),
            Longest(7),
            ItemOneOf(&[
                "IncomingBytes",
                "IncomingRecords",
                "OutgoingBytes",
                "OutgoingRecords",
                "WriteProvisionedThroughputExceeded",
                "ReadProvisionedThroughputExceeded",
                "IteratorAgeMilliseconds",
                ALL,
            ]),
        ]),
];

/// Sets each metric to what `decide` says of it, given whether it is on and whether the request names it.
pub(crate) fn switch(
    engine: &mut Engine,
    call: &Call<'_>,
    input: &Value<'_>,
    out: &mut Writer,
    decide: impl Fn(bool, bool) -> bool,
) -> Result<(), ServiceError> {
    let address = request::address(call, input)?;
    let stream = engine.streams.get_active(&address)?;
    let named: Vec<_> = request::texts(input, "ShardLevelMetrics").collect();
    let before = stream.metrics.clone();
    stream.metrics = METRICS
        .into_iter()
        .filter(|metric| {
            let is_named = named.contains(metric) || named.contains(&ALL);
            decide(before.contains(metric), is_named)
        })
        .collect();
    out.begin_map();
    out.text_member("StreamName", &address.name);
    out.plain_member("StreamARN", stream.arn());
    answer::write_texts("CurrentShardLevelMetrics", &before, out);
    answer::write_texts("DesiredShardLevelMetrics", &stream.metrics, out);
    out.end_map();
    Ok(())
}
