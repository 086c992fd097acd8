//! From a request's bytes to a tree that has the operation's shape.

use super::{Engine, Request};
use crate::error::{ErrorCode, ServiceError};
use crate::operation::request::try_address;
use crate::operation::{self, Operation};
use crate::stream::features::Distribution;
use crate::validation::{check_constraints, check_types};
use crate::wire::{self, Encoding, Value};

/// A request whose types and constraints have been checked, without a look at the engine.
#[derive(Debug)]
pub(crate) struct Decoded<'a> {
    pub(super) operation: &'static Operation,
    pub(super) input: Value<'a>,
    /// The constraints that it fails.
    unmet: Option<ServiceError>,
    /// Those that it fails even where records need no key.
    unmet_keyless: Option<ServiceError>,
}

pub(super) fn decode(request: &Request) -> Result<Decoded<'_>, ServiceError> {
    let operation =
        operation::find(&request.operation).ok_or(ServiceError::bare(ErrorCode::UnknownOperation))?;
    let input = wire::read(request.encoding, &request.body);
    decode_input(operation, request.encoding, input.ok_or(ServiceError::bare(ErrorCode::Serialization))?)
}

/// Checks what has been read from a request's body.
pub(crate) fn decode_input<'a>(
    operation: &'static Operation,
    encoding: Encoding,
    mut input: Value<'a>,
) -> Result<Decoded<'a>, ServiceError> {
    if encoding == Encoding::Cbor {
        wire::cbor::settle_times(&mut input, operation.members);
    }
    check_types(&mut input, operation.members)?;
    let unmet = check_constraints(&input, operation.members).err();
    let unmet_keyless = match operation::keyless_members(operation.name) {
        Some(members) if unmet.is_some() => check_constraints(&input, members).err(),
        _ => unmet.clone(),
    };
    Ok(Decoded { operation, input, unmet, unmet_keyless })
}

impl Engine {
    /// The failure of a request's constraints, unless they do not hold for its stream: the model leaves a record's
    /// key out where the service distributes the records itself.
    pub(super) fn check_unmet<'d>(
        &self,
        request: &Request,
        decoded: &'d Decoded<'_>,
    ) -> Option<&'d ServiceError> {
        let unmet = decoded.unmet.as_ref()?;
        if decoded.unmet_keyless.as_ref() == Some(unmet) || !self.distributes(request, &decoded.input) {
            return Some(unmet);
        }
        decoded.unmet_keyless.as_ref()
    }

    /// Whether the service distributes the records of the stream that is named.
    fn distributes(&self, request: &Request, input: &Value<'_>) -> bool {
        try_address(&request.scope, input)
            .and_then(|address| self.streams.get(&address).ok())
            .is_some_and(|stream| stream.distribution == Distribution::Auto)
    }
}
