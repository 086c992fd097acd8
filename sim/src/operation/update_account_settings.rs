//! `UpdateAccountSettings`: begins or ends the billing commitment, which lasts a day at least. Takes effect at once.

use super::{Call, Operation, Plane, answer};
use crate::engine::Engine;
use crate::error::ServiceError;
use crate::validation::Constraint::OneOf;
use crate::validation::{Kind, Member};
use crate::wire::Value;
use crate::wire::writer::Writer;

const COMMITMENT: &str = "MinimumThroughputBillingCommitment";

pub(crate) const OPERATION: Operation = Operation {
    name: "UpdateAccountSettings",
    members: &[Member::new(
        COMMITMENT,
        Kind::Structure(&[Member::new("Status", Kind::Text)
            .required()
            .with(&[OneOf(&["ENABLED", "DISABLED"])])]),
    )
    .required()],
    plane: Plane::Control,
    run,
};

#[expect(clippy::unnecessary_wraps, reason = "the form of all operations")]
fn run(
    engine: &mut Engine,
    call: &mut Call<'_>,
    input: &Value<'_>,
    out: &mut Writer,
) -> Result<(), ServiceError> {
    let status = input.get(COMMITMENT).and_then(|commitment| commitment.text("Status"));
    let commitment = engine.commitment(call.scope);
    if status == Some("ENABLED") {
        commitment.enable(call.now);
    } else {
        commitment.disable(call.now);
    }
    answer::write_account_settings(*commitment, call.now, out);
    Ok(())
}
