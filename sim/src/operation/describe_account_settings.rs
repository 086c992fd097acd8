//! `DescribeAccountSettings`: the account's billing commitment.

use super::{Call, Operation, Plane, answer};
use crate::engine::Engine;
use crate::error::ServiceError;
use crate::wire::Value;
use crate::wire::writer::Writer;

pub(crate) const OPERATION: Operation =
    Operation { name: "DescribeAccountSettings", members: &[], plane: Plane::Control, run };

#[expect(clippy::unnecessary_wraps, reason = "the form of all operations")]
fn run(
    engine: &mut Engine,
    call: &mut Call<'_>,
    _: &Value<'_>,
    out: &mut Writer,
) -> Result<(), ServiceError> {
    answer::write_account_settings(*engine.commitment(call.scope), call.now, out);
    Ok(())
}
