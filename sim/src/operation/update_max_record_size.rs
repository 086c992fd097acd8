//! `UpdateMaxRecordSize`: from 1 to 10 MiB a record.

use super::{Call, Operation, Plane, request};
use crate::engine::Engine;
use crate::error::ServiceError;
use crate::stream::Change;
use crate::validation::Member;
use crate::wire::Value;
use crate::wire::writer::Writer;

pub(crate) const OPERATION: Operation = Operation {
    name: "UpdateMaxRecordSize",
    // The model has no StreamName here, and does not say what happens without an ARN.
    members: &[request::STREAM_ARN, Member { required: true, ..request::MAX_RECORD_SIZE }],
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
    let bytes = input.count("MaxRecordSizeInKiB").unwrap_or_default() * 1024;
    engine.streams.get_active(&address)?;
    engine.announce(call.now, &address, Change::MaxRecordBytes { bytes })
}
