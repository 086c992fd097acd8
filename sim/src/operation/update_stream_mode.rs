//! `UpdateStreamMode`: between provisioned and on-demand, twice in 24 hours. The shards stay as they are.

use super::{Call, Operation, Plane, request, update_stream_warm_throughput};
use crate::engine::Engine;
use crate::error::ServiceError;
use crate::stream::{Change, Mode};
use crate::validation::Member;
use crate::wire::Value;
use crate::wire::writer::Writer;

pub(crate) const OPERATION: Operation = Operation {
    name: "UpdateStreamMode",
    members: &[
        Member { required: true, ..request::STREAM_ARN },
        Member { required: true, ..request::STREAM_MODE },
        request::WARM_THROUGHPUT,
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
    let mode = request::stream_mode(input).unwrap_or(Mode::Provisioned);
    let warm_mib = update_stream_warm_throughput::asked_for(engine, call.now, &address.scope, mode, input)?;
    let limited = engine.is_limited();
    let limits = &engine.settings.service_limits;
    let (most_a_day, most_on_demand) =
        if limited { (limits.mode_switches_per_day, limits.on_demand_streams) } else { (0, usize::MAX) };
    let on_demand = engine.streams.of(&address.scope).filter(|stream| stream.mode == Mode::OnDemand).count();
    let stream = engine.streams.get_active(&address)?;
    // The mode that it has already is accepted and does not count: not verified against the service.
    if stream.mode == mode && warm_mib.is_none() {
        return Ok(());
    }
    if stream.mode != mode {
        if !stream.days.mode_switches.allows(call.now, most_a_day) {
            // Text not verified against the service.
            return Err(ServiceError::limit_exceeded(format!(
                "The capacity mode of stream {} was switched {most_a_day} times in the last 24 hours. No more switches \
                 are allowed.",
                address.name
            )));
        }
        if mode == Mode::OnDemand && on_demand >= most_on_demand {
            return Err(request::too_many_on_demand(&address.scope, on_demand));
        }
        stream.days.mode_switches.note(call.now);
    }
    engine.announce(call.now, &address, Change::Mode { mode, warm_mib })
}
