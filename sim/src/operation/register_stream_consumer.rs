//! `RegisterStreamConsumer`: CREATING, then ACTIVE.

use super::consumer::{self, CONSUMER_NAME};
use super::tags::{self, Tags};
use super::{Call, Operation, Plane, request};
use crate::engine::Engine;
use crate::error::ServiceError;
use crate::stream::Status;
use crate::wire::Value;
use crate::wire::writer::Writer;

pub(crate) const OPERATION: Operation = Operation {
    name: "RegisterStreamConsumer",
    members: &[request::STREAM_ARN.required(), CONSUMER_NAME.required(), tags::TAGS],
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
    let named = address.named();
    let name = input.text("ConsumerName").unwrap_or_default();
    let stream = engine.streams.get(&address)?;
    if !matches!(stream.status, Status::Active | Status::Updating) {
        return Err(ServiceError::stream_not_active(named, stream.status.name()));
    }
    stream.consumers.check_room(call.now, name, engine.limits_in_force(), named)?;
    let mut tags = Tags::new();
    tags::add(&mut tags, input, named)?;
    let active_at = engine.effective_at(call.now);
    let stream = engine.streams.get_mut(&address)?;
    let stream_arn = stream.arn();
    let registered = stream.consumers.register(call.now, active_at, name, tags);
    out.begin_map();
    out.key("Consumer");
    out.begin_map();
    consumer::write_members(registered, &stream_arn, call.now, out);
    out.end_map();
    out.end_map();
    Ok(())
}
