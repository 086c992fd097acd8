use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use futures::FutureExt;
use tracing::{Instrument, Span};

use super::Context;
use crate::error::{BoxError, panic_text};
use crate::lease::held::HeldLease;
use crate::processor::{
    InitializationInput, LeaseLostInput, ProcessRecordsInput, RecordProcessor, ShardEndedInput,
    ShutdownRequestedInput,
};
use crate::shard_consumer::Call;
use crate::stats::{Stats, Times};

/// One call of the user's code with what it is given.
pub(crate) enum Invocation {
    Initialize(InitializationInput),
    ProcessRecords(ProcessRecordsInput),
    LeaseLost(LeaseLostInput),
    ShardEnded(ShardEndedInput),
    ShutdownRequested(ShutdownRequestedInput),
}

impl Invocation {
    /// Where its time is counted.
    fn times<'a>(&self, stats: &'a Stats) -> &'a Times {
        match self {
            Self::Initialize(_) => &stats.initialize_time,
            Self::ProcessRecords(_) => &stats.process_records_time,
            Self::LeaseLost(_) | Self::ShardEnded(_) | Self::ShutdownRequested(_) => &stats.shutdown_time,
        }
    }

    /// One span for each call of the user's code. Sizes and positions only: what records hold is none of a log's business.
    fn span(&self, lease: &HeldLease) -> Span {
        let key = lease.key();
        let shard_id = key.shard_id();
        match self {
            Self::Initialize(_) => tracing::info_span!("initialize", %shard_id, lease_key = %key),
            Self::ProcessRecords(input) => tracing::info_span!(
                "process_records",
                %shard_id,
                lease_key = %key,
                records = input.records.len(),
                attempt = input.attempt,
            ),
            Self::LeaseLost(_) => tracing::info_span!("lease_lost", %shard_id, lease_key = %key),
            Self::ShardEnded(input) => {
                tracing::info_span!("shard_ended", %shard_id, lease_key = %key, attempt = input.attempt)
            }
            Self::ShutdownRequested(input) => {
                tracing::info_span!("shutdown_requested", %shard_id, lease_key = %key, attempt = input.attempt)
            }
        }
    }
}

/// A call that returned, with the processor that was lent to it.
pub(crate) struct Called {
    pub(crate) processor: Option<Box<dyn RecordProcessor>>,
    pub(crate) call: Call,
    pub(crate) failure: Option<Arc<str>>,
}

/// Calls the processor if the lease is believed in at this very poll; there is no await between the two.
pub(crate) async fn call(
    context: Arc<Context>,
    lease: HeldLease,
    processor: Option<Box<dyn RecordProcessor>>,
    invocation: Invocation,
) -> Called {
    let believed = lease.is_valid(context.clock.now())
        || matches!(invocation, Invocation::LeaseLost(_))
        || kinesis_shard::planted("nobody looks whether a lease is held");
    if !believed {
        return Called { processor, call: Call::NotBegun, failure: None };
    }
    let created = match processor {
        Some(processor) => Ok(processor),
        // The factory has failed so far: there is no processor to be told anything.
        None if !matches!(invocation, Invocation::Initialize(_)) => {
            return Called { processor: None, call: Call::Done, failure: None };
        }
        None => catch_unwind(AssertUnwindSafe(|| {
            context.factory.create(context.reports.events.shard(lease.key()))
        }))
        .map_err(|panic| panic_text(&*panic)),
    };
    match created {
        Ok(mut processor) => {
            let times = invocation.times(&context.stats);
            let span = invocation.span(&lease);
            let began = context.clock.now();
            let result = caught(processor.as_mut(), invocation).instrument(span).await;
            times.took(context.clock.now().saturating_duration_since(began));
            let call = if result.is_ok() { Call::Done } else { Call::Failed };
            Called { processor: Some(processor), call, failure: result.err() }
        }
        Err(panic) => Called {
            processor: None,
            call: Call::Failed,
            failure: Some(format!("the factory panicked: {panic}").into()),
        },
    }
}

/// A panic is an error like any other: the processor is called again with the same input.
async fn caught(processor: &mut dyn RecordProcessor, invocation: Invocation) -> Result<(), Arc<str>> {
    match AssertUnwindSafe(invoke(processor, invocation)).catch_unwind().await {
        Ok(result) => result.map_err(|error| error.to_string().into()),
        Err(panic) => Err(format!("panicked: {}", panic_text(&*panic)).into()),
    }
}

async fn invoke(processor: &mut dyn RecordProcessor, invocation: Invocation) -> Result<(), BoxError> {
    match invocation {
        Invocation::Initialize(input) => processor.initialize(input).await,
        Invocation::ProcessRecords(input) => {
            if let (Some(first), Some(last)) = (input.records.first(), input.records.last()) {
                input.checkpointer.hand_over(first.position(), last.position());
            }
            processor.process_records(input).await
        }
        Invocation::LeaseLost(input) => {
            processor.lease_lost(input).await;
            Ok(())
        }
        Invocation::ShardEnded(input) => {
            input.checkpointer.at_shard_end();
            processor.shard_ended(input).await
        }
        Invocation::ShutdownRequested(input) => processor.shutdown_requested(input).await,
    }
}

#[cfg(test)]
mod tests;
