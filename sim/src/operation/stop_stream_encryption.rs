//! `StopStreamEncryption`: records that arrived before stay marked.

use super::start_stream_encryption::{address, most_a_day, too_often};
use super::{Call, Operation, Plane, request};
use crate::engine::Engine;
use crate::error::ServiceError;
use crate::stream::Change;
use crate::wire::Value;
use crate::wire::writer::Writer;

pub(crate) const OPERATION: Operation =
    Operation { name: "StopStreamEncryption", members: request::ENCRYPTION, plane: Plane::Control, run };

fn run(
    engine: &mut Engine,
    call: &mut Call<'_>,
    input: &Value<'_>,
    _: &mut Writer,
) -> Result<(), ServiceError> {
    let address = address(call, input)?;
    let most_a_day = most_a_day(engine);
    let stops = &mut engine.streams.get_active(&address)?.days.encryption_stops;
    if !stops.allows(call.now, most_a_day) {
        return Err(too_often(&address, most_a_day));
    }
    stops.note(call.now);
    engine.announce(call.now, &address, Change::Encrypt { key: None })
}
