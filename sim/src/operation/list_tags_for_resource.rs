//! `ListTagsForResource`: all tags of a stream or a consumer, in the order of their keys.

use super::{Call, Operation, Plane, resource, tags};
use crate::engine::Engine;
use crate::error::ServiceError;
use crate::wire::Value;
use crate::wire::writer::Writer;

pub(crate) const OPERATION: Operation =
    Operation { name: "ListTagsForResource", members: &[resource::ARN], plane: Plane::Control, run };

fn run(
    engine: &mut Engine,
    call: &mut Call<'_>,
    input: &Value<'_>,
    out: &mut Writer,
) -> Result<(), ServiceError> {
    let tags = resource::named(input).tags(engine, call.now)?;
    out.begin_map();
    tags::write(tags.iter(), out);
    out.end_map();
    Ok(())
}
