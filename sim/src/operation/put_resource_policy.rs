//! `PutResourcePolicy`: kept as it is, and never enforced.

use super::{Call, Operation, Plane, resource};
use crate::engine::Engine;
use crate::error::ServiceError;
use crate::validation::{Kind, Member};
use crate::wire::writer::Writer;
use crate::wire::{Value, json};

pub(crate) const OPERATION: Operation = Operation {
    name: "PutResourcePolicy",
    members: &[resource::ARN, Member::new("Policy", Kind::Text).required()],
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
    let stream = resource.stream(engine, call.now)?;
    let policy = input.text("Policy").unwrap_or_default();
    if json::read(policy.as_bytes()).is_none() {
        // Text not verified against the service.
        return Err(ServiceError::invalid_argument("The policy is not a valid JSON document."));
    }
    stream.policies.insert(resource.arn.to_owned(), policy.to_owned());
    Ok(())
}
