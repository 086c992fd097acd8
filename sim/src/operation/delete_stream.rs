//! `DeleteStream`: in any state; DELETING, then gone.

use super::{Call, Operation, Plane, request};
use crate::engine::Engine;
use crate::error::{ErrorCode, ServiceError};
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
    let stream = engine.streams.get(&address)?;
    let has_consumers = stream.consumers.of(call.now).next().is_some();
    if has_consumers && !input.boolean("EnforceConsumerDeletion") {
        // As reported in github.com/cloud-custodian/cloud-custodian/issues/7260 (2022).
        return Err(ServiceError::new(
            ErrorCode::ResourceInUse,
            format!(
                "DeleteStream can't delete {} because there are consumers associated with this data stream. To delete \
                 {} anyway, set the EnforceConsumerDeletion parameter to true to force the deletion of all the \
                 consumers that are associated with it.",
                stream.arn(),
                stream.name
            ),
        ));
    }
    engine.announce(call.now, &address, Change::Delete)
}
