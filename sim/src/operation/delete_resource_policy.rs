//! `DeleteResourcePolicy`: there must be one.

use super::{Call, Operation, Plane, resource};
use crate::engine::Engine;
use crate::error::{ErrorCode, ServiceError};
use crate::wire::Value;
use crate::wire::writer::Writer;

pub(crate) const OPERATION: Operation =
    Operation { name: "DeleteResourcePolicy", members: &[resource::ARN], plane: Plane::Control, run };

fn run(
    engine: &mut Engine,
    call: &mut Call<'_>,
    input: &Value<'_>,
    _: &mut Writer,
) -> Result<(), ServiceError> {
    let resource = resource::named(input);
    let policies = &mut resource.stream(engine, call.now)?.policies;
    if policies.remove(resource.arn).is_none() {
        // As other emulators have it; neither code nor text is verified against the service.
        let text = format!("No resource policy found for resource ARN {}", resource.arn);
        return Err(ServiceError::new(ErrorCode::ResourceNotFound, text));
    }
    Ok(())
}
