use std::future::Future;
use std::sync::Arc;

use kinesis_shard::{ListShardsError, ShardId, limits};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Context;
use crate::board::{Progress, ReadState};
use crate::fetch::{FetchAnswer, FetchStep, Listing};

/// The budget counts in KiB, because a semaphore hands out at most 2^32 permits at a time.
const UNIT_BYTES: usize = 1024;
/// What one read reserves before it is sent: the largest answer there is.
#[expect(clippy::cast_possible_truncation, reason = "ten thousand fits")]
const RESERVED_UNITS: u32 = (limits::MAX_GET_RECORDS_BYTES / UNIT_BYTES) as u32;

/// The bytes that all shards of the process may hold. First come, first served, so that no shard starves.
#[derive(Debug)]
pub(crate) struct Budget {
    free: Arc<Semaphore>,
    units: usize,
}

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        let units = (bytes / UNIT_BYTES).min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(units)), units }
    }

    /// Reading ahead may use half of the budget. The other half is for shards that have nothing at all: slow processors
    /// must not keep the others from reading.
    pub(super) fn allows_read_ahead(&self) -> bool {
        self.free.available_permits() >= self.units / 2 + RESERVED_UNITS as usize
    }

    async fn reserve(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.free)
            .acquire_many_owned(RESERVED_UNITS)
            .await
            .expect("the budget's semaphore is never closed")
    }
}

/// A step of the fetcher that was carried out.
pub(super) struct Read {
    pub(super) answer: FetchAnswer,
    /// The memory that the answer's records take.
    pub(super) hold: Option<OwnedSemaphorePermit>,
}

impl Read {
    /// How late the shard is, if this was a read that succeeded.
    pub(super) fn millis_behind_latest(&self) -> Option<u64> {
        match &self.answer {
            FetchAnswer::Records(Ok(answer)) => Some(answer.millis_behind_latest.unwrap_or(0)),
            _ => None,
        }
    }
}

/// Makes the one call that `step` asks for.
pub(super) fn read(
    context: &Arc<Context>,
    shard: ShardId,
    step: FetchStep,
    progress: &Arc<Progress>,
) -> impl Future<Output = Read> + Send + use<> {
    let (context, progress) = (Arc::clone(context), Arc::clone(progress));
    async move {
        let sent = || progress.read(ReadState::Sent, context.clock.now());
        match step {
            FetchStep::OpenIterator(from) => {
                sent();
                let answer = FetchAnswer::Iterator(context.transport.open(&shard, from).await);
                Read { answer, hold: None }
            }
            FetchStep::GetRecords { iterator, limit } => {
                progress.read(ReadState::AwaitsBudget, context.clock.now());
                let mut hold = context.budget.reserve().await;
                sent();
                let result = context.transport.read(&iterator, limit).await;
                let bytes = result
                    .as_ref()
                    .map_or(0, |answer| answer.records.iter().map(|record| record.data.len()).sum::<usize>());
                let spare = hold.num_permits().saturating_sub(bytes.div_ceil(UNIT_BYTES));
                drop(hold.split(spare));
                Read { answer: FetchAnswer::Records(result), hold: Some(hold) }
            }
            FetchStep::ListShards => {
                sent();
                let listing = match context.transport.shards().await {
                    Ok(shards) => Listing::Shards(shards),
                    Err(ListShardsError::NotFound { .. }) => Listing::StreamNotFound,
                    Err(error) => Listing::Failed(error.to_string().into()),
                };
                Read { answer: FetchAnswer::Shards(listing), hold: None }
            }
            FetchStep::WaitUntil(_) | FetchStep::Idle | FetchStep::StreamGone => {
                panic!("{step:?} calls nobody")
            }
        }
    }
}
