use std::sync::{Arc, Mutex, PoisonError};

use kinesis_shard::{Clock, ShardId, md5};

use super::read::Budget;
use crate::bell::Bell;
use crate::config::{ConsumerConfig, FailurePolicy};
use crate::error::WorkerError;
use crate::fetch::FetchEvent;
use crate::processor::RecordProcessorFactory;
use crate::shard_consumer::End;
use crate::stats::Stats;
use crate::transport::Transport;

pub(crate) struct Context {
    pub(crate) config: Arc<ConsumerConfig>,
    pub(crate) clock: Clock,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) factory: Box<dyn RecordProcessorFactory>,
    pub(crate) stats: Arc<Stats>,
    pub(super) budget: Budget,
    /// Rings once: finish the running calls, tell the processors, give the leases back.
    pub(crate) shutdown: Bell,
    /// Rings when a shard has ended here, for the shards that wait for it.
    pub(crate) parents: Bell,
    /// Rings once, after the error is in its place.
    failed: Bell,
    error: Mutex<Option<WorkerError>>,
}

impl Context {
    pub(crate) fn new(
        config: Arc<ConsumerConfig>,
        transport: Arc<dyn Transport>,
        factory: Box<dyn RecordProcessorFactory>,
    ) -> Self {
        Self {
            clock: config.clock.clone(),
            budget: Budget::new(config.max_prefetch_bytes),
            config,
            transport,
            factory,
            stats: Arc::new(Stats::default()),
            shutdown: Bell::default(),
            parents: Bell::default(),
            failed: Bell::default(),
            error: Mutex::default(),
        }
    }

    /// The worker cannot go on. The first reason stands; every shard is handed back as in a shutdown.
    pub(crate) fn fail(&self, error: WorkerError) {
        let mut place = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        if place.is_none() {
            tracing::error!(%error, "the worker stops");
            *place = Some(error);
            drop(place);
            self.failed.ring();
            self.shutdown.ring();
        }
    }

    /// Resolves once the worker has failed. Cancel safe.
    pub(crate) async fn failure(&self) -> WorkerError {
        self.failed.rung().await;
        let error = self.error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        error.expect("the error is put in its place before the bell rings")
    }

    /// A seed of its own for each tenure of each shard, so that no draw of one shifts another's.
    pub(crate) fn child_seed(&self, shard: &ShardId, tenure: u64) -> u64 {
        let text = format!("{}/{shard}/{tenure}", self.config.seed);
        let digest = u128::from_be_bytes(md5(text.as_bytes()));
        #[expect(clippy::cast_possible_truncation, reason = "any 64 bits of the digest do")]
        let seed = digest as u64;
        seed
    }

    /// Counts and logs what happened while reading.
    pub(super) fn note(&self, shard_id: &ShardId, event: &FetchEvent) {
        match event {
            FetchEvent::ExpiredIterator => {
                self.stats.expired_iterator.one();
                tracing::debug!(%shard_id, "iterator expired, another is opened at the same position");
            }
            FetchEvent::Throttled => {
                self.stats.get_records_throttled.one();
                tracing::debug!(%shard_id, "read limits of the shard are used up, reading slows down");
            }
            FetchEvent::Failed(error) => {
                self.stats.get_records_failures.one();
                tracing::warn!(%shard_id, %error, "reading failed");
            }
            FetchEvent::InvalidAnswer(what) => {
                self.stats.get_records_failures.one();
                tracing::warn!(%shard_id, "an answer with {what} is not believed, reading goes on at the same position");
            }
            FetchEvent::ListingFailed(error) => tracing::warn!(%shard_id, %error, "listing shards failed"),
            FetchEvent::LatestReopened => {
                self.stats.gaps.one();
                tracing::warn!(%shard_id, "LATEST had to be opened again before a first record: what was put in between is not read");
            }
            FetchEvent::CheckpointTrimmed { checkpoint, first } => {
                self.stats.gaps.one();
                let first = first.map_or_else(|| "TRIM_HORIZON".to_owned(), |first| first.to_string());
                tracing::warn!(%shard_id, %checkpoint, %first, "the record at the checkpoint is no longer stored: reading goes on at the first one that is, records in between may be lost");
            }
            FetchEvent::ShardGone => {
                self.stats.gaps.one();
                tracing::warn!(%shard_id, "the shard is no longer listed: what it still held was trimmed, its children go on");
            }
        }
    }

    /// Counts how a shard ended, and tells whom it concerns.
    pub(super) fn over(&self, shard_id: &ShardId, end: End, last_failure: &Arc<str>) {
        self.stats.left(shard_id);
        tracing::debug!(%shard_id, ?end, "done with the shard");
        match end {
            End::Finished => {
                self.stats.shards_ended.one();
                self.parents.ring();
            }
            End::LeaseLost => self.stats.lost_leases.one(),
            End::GaveUp => {
                if let FailurePolicy::StopWorker { after_attempts } = self.config.failure_policy {
                    self.fail(WorkerError::Processor {
                        shard_id: shard_id.clone(),
                        attempts: after_attempts,
                        message: Arc::clone(last_failure),
                    });
                }
            }
            End::Released => {}
        }
    }
}
