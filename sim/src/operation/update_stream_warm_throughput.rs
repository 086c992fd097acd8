//! `UpdateStreamWarmThroughput`: keeps an on-demand stream ready for so much, if the account pays for it.

use super::{Call, Operation, Plane, answer, request};
use crate::engine::Engine;
use crate::error::ServiceError;
use crate::stream::features::WarmThroughput;
use crate::stream::{Change, Mode};
use crate::stream_table::Scope;
use crate::validation::Member;
use crate::wire::Value;
use crate::wire::writer::Writer;

/// 10 GiB a second.
const MOST_MIB: u64 = 10 * 1024;

pub(crate) const OPERATION: Operation = Operation {
    name: "UpdateStreamWarmThroughput",
    members: &[
        request::STREAM_NAME,
        request::STREAM_ARN,
        Member { required: true, ..request::WARM_THROUGHPUT },
    ],
    plane: Plane::Control,
    run,
};

/// The warm throughput that a request asks for, in MiB per second, if the stream's mode and the account allow one.
/// None of the texts is verified against the service.
pub(crate) fn asked_for(
    engine: &mut Engine,
    now: u64,
    scope: &Scope,
    mode: Mode,
    input: &Value<'_>,
) -> Result<Option<u64>, ServiceError> {
    let Some(mib) = input.count("WarmThroughputMiBps") else { return Ok(None) };
    let mib = mib as u64;
    let refused = |text: &str| Err(ServiceError::invalid_argument(text));
    if mode == Mode::Provisioned {
        return refused("WarmThroughputMiBps is supported for streams in On-Demand mode only.");
    }
    if mib > MOST_MIB {
        return refused(&format!(
            "WarmThroughputMiBps must not be more than {MOST_MIB}. Specified value was {mib}."
        ));
    }
    if !engine.commitment(scope).is_in_force(now) {
        return refused(
            "WarmThroughputMiBps requires the minimum throughput billing commitment to be enabled for the account.",
        );
    }
    Ok(Some(mib))
}

fn run(
    engine: &mut Engine,
    call: &mut Call<'_>,
    input: &Value<'_>,
    out: &mut Writer,
) -> Result<(), ServiceError> {
    let address = request::address(call, input)?;
    let mode = engine.streams.get_active(&address)?.mode;
    let mib = asked_for(engine, call.now, &address.scope, mode, input)?.unwrap_or_default();
    let stream = engine.streams.get_active(&address)?;
    let current = stream.warm.map_or(0, |warm| warm.current);
    let arn = stream.arn();
    stream.warm = Some(WarmThroughput { target: mib, current });
    engine.announce(call.now, &address, Change::WarmThroughput { mib })?;
    out.begin_map();
    out.text_member("StreamName", &address.name);
    out.plain_member("StreamARN", arn);
    answer::write_warm_throughput(WarmThroughput { target: mib, current }, out);
    out.end_map();
    Ok(())
}
