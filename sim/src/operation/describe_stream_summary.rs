//! `DescribeStreamSummary`: the stream without its shards.

use super::{Call, Operation, Plane, answer, request};
use crate::engine::Engine;
use crate::error::ServiceError;
use crate::wire::Value;
use crate::wire::writer::Writer;

pub(crate) const OPERATION: Operation = Operation {
    name: "DescribeStreamSummary",
    members: &[request::STREAM_NAME, request::STREAM_ARN],
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
    out.begin_map();
    out.key("StreamDescriptionSummary");
    out.begin_map();
    answer::write_details(stream, out);
    out.integer_member("OpenShardCount", stream.open_count() as u64);
    out.integer_member("ConsumerCount", stream.consumers.of(call.now).count() as u64);
    out.integer_member("MaxRecordSizeInKiB", (stream.max_record_bytes / 1024) as u64);
    if let Some(warm) = stream.warm {
        answer::write_warm_throughput(warm, out);
    }
    out.plain_member("RecordDistributionStrategy", stream.distribution.name());
    // Channels and queues are not served.
    out.integer_member("ChannelCount", 0);
    out.integer_member("QueueCount", 0);
    out.end_map();
    out.end_map();
    Ok(())
}
