//! `DecreaseStreamRetentionPeriod`: what is older than the new horizon is lost at once.

use super::increase_stream_retention_period::hours;
use super::{Call, Operation, Plane, request};
use crate::engine::Engine;
use crate::error::ServiceError;
use crate::wire::Value;
use crate::wire::writer::Writer;

pub(crate) const OPERATION: Operation = Operation {
    name: "DecreaseStreamRetentionPeriod",
    members: request::RETENTION,
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
    let hours = hours(input)?;
    let stream = engine.streams.get_active(&address)?;
    if hours > stream.retention_hours {
        let name = &address.name;
        return Err(ServiceError::invalid_argument(format!(
            "Requested retention period ({hours} hours) for stream {name} can not be longer than existing retention \
             period ({} hours). Use IncreaseRetentionPeriod API.",
            stream.retention_hours
        )));
    }
    stream.retention_hours = hours;
    stream.trim(call.now);
    Ok(())
}
