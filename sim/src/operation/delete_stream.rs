//! `DeleteStream`: in any state; DELETING, then gone.

use super::{Call, Operation, Plane, request};
use crate::engine::Engine;
use crate::error::ServiceError;
use crate::stream::Change;
use crate::validation::{Kind, Member};
use crate::wire::Value;
use crate::wire::writer::Writer;

pub(crate) const OPERATION: Operation = Operation {
    name: "DeleteStream",
    members: &[
        request::STREAM_NAME,
        request::STREAM_ARN,
        Member::new("EnforceConsumerDeletion", Kind::Boolean),
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
    engine.announce(call.now, &address, Change::Delete)
}
