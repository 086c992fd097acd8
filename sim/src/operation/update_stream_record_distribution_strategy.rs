//! `UpdateStreamRecordDistributionStrategy`: whether keys or the service decide where records go. Takes effect at once.

use super::{Call, Operation, Plane, request};
use crate::engine::Engine;
use crate::error::ServiceError;
use crate::stream::Mode;
use crate::stream::features::Distribution;
use crate::validation::Member;
use crate::wire::Value;
use crate::wire::writer::Writer;

pub(crate) const OPERATION: Operation = Operation {
    name: "UpdateStreamRecordDistributionStrategy",
    members: &[
        Member { required: true, ..request::STREAM_ARN },
        Member { required: true, ..request::DISTRIBUTION },
    ],
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
    let stream = engine.streams.get_active(&address)?;
    let distribution = asked_for(stream.mode, input)?;
    stream.distribution = distribution.unwrap_or_default();
    Ok(())
}

/// The strategy that a request asks for, if the stream's mode allows it.
pub(crate) fn asked_for(mode: Mode, input: &Value<'_>) -> Result<Option<Distribution>, ServiceError> {
    let distribution = input.text("RecordDistributionStrategy").and_then(Distribution::from_name);
    if distribution == Some(Distribution::Auto) && mode == Mode::Provisioned {
        // Text not verified against the service.
        return Err(ServiceError::invalid_argument(
            "RecordDistributionStrategy AUTO is supported for streams in On-Demand mode only.",
        ));
    }
    Ok(distribution)
}
