//! `ListTagsForStream`: in the order of their keys, by page. The key to start after need not exist.

use std::ops::Bound;

use super::{Call, Operation, Plane, request, tags};
use crate::engine::Engine;
use crate::error::ServiceError;
use crate::validation::Constraint::{Least, Longest, Most, Shortest};
use crate::validation::{Kind, Member};
use crate::wire::Value;
use crate::wire::writer::Writer;

const PAGE: usize = 50;

pub(crate) const OPERATION: Operation = Operation {
    name: "ListTagsForStream",
    members: &[
        request::STREAM_NAME,
        request::STREAM_ARN,
        Member::new("ExclusiveStartTagKey", Kind::Text).with(&[Shortest(1), Longest(128)]),
        Member::new("Limit", Kind::Integer).with(&[Least(1), Most(50)]),
    ],
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
    let after = input.text("ExclusiveStartTagKey").map_or(Bound::Unbounded, Bound::Excluded);
    let mut rest = stream.tags.range::<str, _>((after, Bound::Unbounded));
    out.begin_map();
    tags::write(rest.by_ref().take(input.count("Limit").unwrap_or(PAGE)), out);
    out.boolean_member("HasMoreTags", rest.next().is_some());
    out.end_map();
    Ok(())
}
