//! `DeregisterStreamConsumer`: DELETING, then gone. Its subscriptions end.

use super::consumer::{CONSUMER_ARN, CONSUMER_NAME, named_consumer, not_found};
use super::{Call, Operation, Plane, request};
use crate::engine::Engine;
use crate::error::ServiceError;
use crate::wire::Value;
use crate::wire::writer::Writer;

pub(crate) const OPERATION: Operation = Operation {
    name: "DeregisterStreamConsumer",
    members: &[request::STREAM_ARN, CONSUMER_NAME, CONSUMER_ARN],
    plane: Plane::Control,
    run,
};

fn run(
    engine: &mut Engine,
    call: &mut Call<'_>,
    input: &Value<'_>,
    _: &mut Writer,
) -> Result<(), ServiceError> {
    let consumer = named_consumer(call, input)?;
    let gone_at = engine.effective_at(call.now);
    let stream = engine.streams.get_mut(&consumer.address)?;
    let registered = consumer.find(stream, call.now).ok_or_else(|| not_found(&consumer))?;
    // How the service ends them is not known. Not with ResourceNotFoundException: a reader would take that for the
    // end of the shard.
    let error = registered.not_active(consumer.address.named());
    let tickets: Vec<_> = registered.tickets().collect();
    stream.consumers.deregister(call.now, gone_at, &consumer.name);
    for ticket in tickets {
        engine.refuse_subscription(ticket, error.clone());
    }
    Ok(())
}
