//! `IncreaseStreamRetentionPeriod`: what has already expired does not come back.

use super::{Call, Operation, Plane, request};
use crate::engine::Engine;
use crate::error::ServiceError;
use crate::wire::Value;
use crate::wire::writer::Writer;

pub(crate) const OPERATION: Operation = Operation {
    name: "IncreaseStreamRetentionPeriod",
    members: request::RETENTION,
    plane: Plane::Control,
    run,
};

const LEAST_HOURS: i64 = 24;
const MOST_HOURS: i64 = 8_760;

/// The hours asked for, within the service's bounds.
pub(crate) fn hours(input: &Value<'_>) -> Result<u64, ServiceError> {
    let hours = input.integer("RetentionPeriodHours").unwrap_or_default();
    if hours < LEAST_HOURS {
        return Err(ServiceError::invalid_argument(format!(
            "Minimum allowed retention period is {LEAST_HOURS} hours. Requested retention period ({hours} hours) is \
             too short."
        )));
    }
    if hours > MOST_HOURS {
        return Err(ServiceError::invalid_argument(format!(
            "Maximum allowed retention period is {MOST_HOURS} hours. Requested retention period ({hours} hours) is \
             too long."
        )));
    }
    Ok(hours.unsigned_abs())
}

fn run(
    engine: &mut Engine,
    call: &mut Call<'_>,
    input: &Value<'_>,
    _: &mut Writer,
) -> Result<(), ServiceError> {
    let address = request::address(call, input)?;
    let hours = hours(input)?;
    let stream = engine.streams.get_active(&address)?;
    if hours < stream.retention_hours {
        let name = &address.name;
        return Err(ServiceError::invalid_argument(format!(
            "Requested retention period ({hours} hours) for stream {name} can not be shorter than existing retention \
             period ({} hours). Use DecreaseRetentionPeriod API.",
            stream.retention_hours
        )));
    }
    // With the old retention first: what has expired stays expired.
    stream.trim(call.now);
    stream.retention_hours = hours;
    Ok(())
}
