//! `GetResourcePolicy`: without a policy, the text of an empty one.

use super::{Call, Operation, Plane, resource};
use crate::engine::Engine;
use crate::error::ServiceError;
use crate::wire::Value;
use crate::wire::writer::Writer;

pub(crate) const OPERATION: Operation =
    Operation { name: "GetResourcePolicy", members: &[resource::ARN], plane: Plane::Control, run };

fn run(
    engine: &mut Engine,
    call: &mut Call<'_>,
    input: &Value<'_>,
    out: &mut Writer,
) -> Result<(), ServiceError> {
    let resource = resource::named(input);
    let policy = resource.stream(engine, call.now)?.policies.get(resource.arn);
    out.begin_map();
    out.text_member("Policy", policy.map_or("{}", String::as_str));
    out.end_map();
    Ok(())
}
