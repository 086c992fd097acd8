//! `RemoveTagsFromStream`: unknown keys are ignored.

use super::{Call, Operation, Plane, request, tags};
use crate::engine::Engine;
use crate::error::ServiceError;
use crate::wire::Value;
use crate::wire::writer::Writer;

pub(crate) const OPERATION: Operation = Operation {
    name: "RemoveTagsFromStream",
    members: &[request::STREAM_NAME, request::STREAM_ARN, tags::TAG_KEYS],
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
    tags::remove(&mut engine.streams.get_active(&address)?.tags, input, address.named())
}
