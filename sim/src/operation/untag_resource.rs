//! `UntagResource`: a stream or a consumer, by ARN. Unknown keys are ignored.

use super::{Call, Operation, Plane, resource, tags};
use crate::engine::Engine;
use crate::error::ServiceError;
use crate::wire::Value;
use crate::wire::writer::Writer;

pub(crate) const OPERATION: Operation = Operation {
    name: "UntagResource",
    members: &[resource::ARN, tags::TAG_KEYS],
    plane: Plane::Control,
    run,
};

fn run(
    engine: &mut Engine,
    call: &mut Call<'_>,
    input: &Value<'_>,
    _: &mut Writer,
) -> Result<(), ServiceError> {
    let resource = resource::named(input);
    tags::remove(resource.tags_to_change(engine, call.now)?, input, resource.address.named())
}
