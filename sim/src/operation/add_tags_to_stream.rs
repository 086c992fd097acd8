//! `AddTagsToStream`: only on an ACTIVE stream.

use super::{Call, Operation, Plane, request, tags};
use crate::engine::Engine;
use crate::error::ServiceError;
use crate::validation::Member;
use crate::wire::Value;
use crate::wire::writer::Writer;

pub(crate) const OPERATION: Operation = Operation {
    name: "AddTagsToStream",
    members: &[request::STREAM_NAME, request::STREAM_ARN, Member { required: true, ..tags::TAGS }],
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
    tags::add(&mut engine.streams.get_active(&address)?.tags, input, address.named())
}
