//! `TagResource`: a stream or a consumer, by ARN.

use super::{Call, Operation, Plane, resource, tags};
use crate::engine::Engine;
use crate::error::ServiceError;
use crate::validation::Member;
use crate::wire::Value;
use crate::wire::writer::Writer;

pub(crate) const OPERATION: Operation = Operation {
    name: "TagResource",
    members: &[resource::ARN, Member { required: true, ..tags::TAGS }],
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
    tags::add(resource.tags_to_change(engine, call.now)?, input, resource.address.named())
}
