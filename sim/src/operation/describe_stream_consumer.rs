//! `DescribeStreamConsumer`: one consumer, with its stream.

use super::consumer::{self, CONSUMER_ARN, CONSUMER_NAME, named_consumer, not_found};
use super::{Call, Operation, Plane, request};
use crate::engine::Engine;
use crate::error::ServiceError;
use crate::wire::Value;
use crate::wire::writer::Writer;

pub(crate) const OPERATION: Operation = Operation {
    name: "DescribeStreamConsumer",
    members: &[request::STREAM_ARN, CONSUMER_NAME, CONSUMER_ARN],
    plane: Plane::Control,
    run,
};

fn run(
    engine: &mut Engine,
    call: &mut Call<'_>,
    input: &Value<'_>,
    out: &mut Writer,
) -> Result<(), ServiceError> {
    let consumer = named_consumer(call, input)?;
    let stream = engine.streams.get(&consumer.address)?;
    let registered = consumer.find(stream, call.now).ok_or_else(|| not_found(&consumer))?;
    let stream_arn = stream.arn();
    out.begin_map();
    out.key("ConsumerDescription");
    out.begin_map();
    consumer::write_members(registered, &stream_arn, call.now, out);
    out.plain_member("StreamARN", stream_arn);
    out.end_map();
    out.end_map();
    Ok(())
}
