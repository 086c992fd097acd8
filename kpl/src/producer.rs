//! The handle: put, flush, close. Stage 1 runs here, in the caller's thread.

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_kinesis::Client;
use tokio::sync::TryAcquireError;
use tokio::task::JoinSet;
use tracing::Instrument;

use crate::batch::{Ticket, Tickets};
use crate::config::ProducerConfig;
use crate::driver::{Shared, drive};
use crate::error::{ConfigError, PutError, PutErrorReason, PutManyError, TryPutError};
use crate::intake::{Intake, NotTaken};
use crate::outstanding::{Outstanding, Room};
use crate::pipeline::Pipeline;
use crate::pipeline::aggregator::AggregationBounds;
use crate::pipeline::reducer::Bounds;
use crate::stats::ProducerStats;
use crate::stream_facts::StreamFacts;
use crate::transport::{SdkTransport, Transport};
use crate::user_record::UserRecord;

mod admission;
mod close_report;
mod family;
mod permit;
mod settings;
mod sink;

use family::Family;
use settings::{settings, stripes};

pub use close_report::CloseReport;
pub use permit::Permit;
pub use sink::ProducerSink;

/// So much of a bulk put is accepted at a time, so that it shares the room with others.
const CHUNK_BYTES: usize = 1024 * 1024;

/// So many records of a bulk put use up as much of a task's budget as one put.
const RECORDS_PER_UNIT: usize = 32;

/// Puts user records into one stream: aggregated, batched, retried, each answered once. [`stream`](Self::stream) gives a handle for
/// another one, within the same memory bound.
///
/// Cheap to clone; all clones share one driver task and one memory bound. When the last one is dropped without [`close`](Self::close),
/// every ticket that is left is answered with [`PutErrorReason::Closed`].
#[derive(Clone)]
pub struct Producer {
    handle: Arc<Handle>,
}

struct Handle {
    family: Arc<Family>,
    shared: Arc<Shared>,
    config: ProducerConfig,
    /// The driver. Dropping it aborts it.
    driver: Mutex<JoinSet<()>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.terminate();
    }
}

impl Producer {
    /// Starts a producer on the current tokio runtime. No call is made before the first record.
    ///
    /// The client's own retries are switched off in a copy of it; its endpoint, credentials and HTTP client are used as they are.
    ///
    /// # Errors
    /// The first configured value that is out of range or contradicts another; or that there is no runtime.
    pub fn start(client: &Client, config: ProducerConfig) -> Result<Self, ConfigError> {
        let client = client.clone();
        let connect = move |config: &ProducerConfig| -> Arc<dyn Transport> {
            Arc::new(SdkTransport::new(&client, &config.stream, config.connect_timeout))
        };
        Family::start(connect, config)
    }

    #[cfg(feature = "bench")]
    pub(crate) fn start_on(
        transport: Arc<dyn Transport>,
        config: ProducerConfig,
    ) -> Result<Self, ConfigError> {
        Family::start(move |_| Arc::clone(&transport), config)
    }

    /// One more stream of a family. The configuration is valid.
    fn start_in(
        family: Arc<Family>,
        transport: Arc<dyn Transport>,
        room: Room,
        config: ProducerConfig,
    ) -> Result<Self, ConfigError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| ConfigError::NoRuntime)?;
        let outstanding = Arc::new(Outstanding::new(room));
        let aggregation = AggregationBounds {
            enabled: config.aggregation_enabled,
            collected: Bounds {
                max_count: usize::try_from(config.aggregation_max_count).unwrap_or(usize::MAX),
                max_bytes: config.aggregation_max_size,
                // What the collector may wait comes out of the same promise.
                linger: config.record_max_buffered_time.saturating_sub(config.collection_wait()),
            },
        };
        let shared = Arc::new(Shared {
            stream: Arc::clone(&config.stream),
            clock: config.clock.clone(),
            intake: Intake::new(
                aggregation,
                config.clock.clone(),
                Arc::clone(&outstanding),
                stripes(&config),
            ),
            outstanding,
            facts: StreamFacts::new(config.max_record_size.is_some(), config.assumed_max_record_size()),
            metrics_hook: config.metrics_hook.clone(),
            aggregation_enabled: config.aggregation_enabled,
            aggregation_on_auto: config.aggregation_on_auto,
            request_timeout: config.request_timeout,
            pipeline: Mutex::new(Pipeline::new(settings(&config))),
            stopped: AtomicBool::new(false),
        });
        let span = tracing::info_span!("producer", stream = %config.stream);
        let mut driver = JoinSet::new();
        driver.spawn_on(drive(Arc::clone(&shared), transport).instrument(span), &runtime);
        Ok(Self { handle: Arc::new(Handle { family, shared, config, driver: Mutex::new(driver) }) })
    }

    /// Accepts a record: waits for room, and before the first record for the stream's shards. Does not wait for delivery: await the
    /// [`Ticket`] for that, or drop it.
    ///
    /// Records put one after another with equal keys are stored in that order as long as nothing has to be sent again, no request
    /// overtakes another on its way, and no other thread puts at the same time (threads that crowd fill aggregates of their own).
    ///
    /// Cancel safe: dropped before it returns, the record was not accepted and nothing is held.
    ///
    /// # Errors
    /// A bad key or size; a stream that cannot be used; [`PutErrorReason::Closed`]. The record is in the error.
    pub async fn put(&self, record: UserRecord) -> Result<Ticket, PutError> {
        let record = self.admitted(record).await?;
        let (bytes, thread) = (record.outstanding_bytes(), self.shared().intake.crowd());
        let Ok(room) = self.shared().outstanding.acquire(bytes, thread).await else {
            return Err(self.refused(PutErrorReason::Closed, Some(record)));
        };
        loop {
            match self.shared().intake.submit(&record) {
                Ok(ticket) => {
                    // Given back by whoever answers the record.
                    room.spend();
                    return Ok(ticket);
                }
                Err(NotTaken::Closed) => return Err(self.refused(PutErrorReason::Closed, Some(record))),
                Err(NotTaken::NoMap) => {}
            }
            if let Err(reason) = self.shared().intake.ready(self.handle.config.record_ttl).await {
                return Err(self.refused(reason, Some(record)));
            }
        }
    }

    /// Accepts a record if that needs no waiting. For callers that are not async, and for those that would rather drop records than wait.
    ///
    /// # Errors
    /// [`TryPutError::Full`] or [`TryPutError::NotReady`], which hand the record back; or what [`put`](Self::put) would say.
    pub fn try_put(&self, record: UserRecord) -> Result<Ticket, TryPutError> {
        if self.may_fit_later(&record) {
            return Err(TryPutError::NotReady(record));
        }
        let record = self.checked(record).map_err(TryPutError::Refused)?;
        let (bytes, thread) = (record.outstanding_bytes(), self.shared().intake.crowd());
        let room = match self.shared().outstanding.try_acquire(bytes, thread) {
            Ok(room) => room,
            Err(TryAcquireError::NoPermits) => return Err(TryPutError::Full(record)),
            Err(TryAcquireError::Closed) => {
                return Err(TryPutError::Refused(self.refused(PutErrorReason::Closed, Some(record))));
            }
        };
        match self.shared().intake.submit(&record) {
            Ok(ticket) => {
                room.spend();
                Ok(ticket)
            }
            Err(NotTaken::NoMap) => Err(TryPutError::NotReady(record)),
            Err(NotTaken::Closed) => {
                Err(TryPutError::Refused(self.refused(PutErrorReason::Closed, Some(record))))
            }
        }
    }

    /// Accepts many records, at half the cost of one by one: their keys are hashed together, and room and lock are taken once for many.
    /// The [`Tickets`] are in the order of the records: await them together, or one by one.
    ///
    /// Not cancel safe: dropped before it returns, a first part may have been accepted.
    ///
    /// # Errors
    /// [`PutManyError`]: what `put` would say of the first record that was not accepted, with the tickets of those before it and all
    /// records from it on.
    pub async fn put_many(&self, records: Vec<UserRecord>) -> Result<Tickets, PutManyError> {
        let mut records = records;
        let mut accepted = Tickets::with_capacity(records.len());
        let chunk_bytes = CHUNK_BYTES.min(self.handle.config.max_outstanding_bytes / 4);
        while let Some(rest) = records.get(accepted.len()..).filter(|rest| !rest.is_empty()) {
            let (mut count, mut bytes, mut bad) = (0, 0, None);
            let mut largest = self.largest();
            for record in rest {
                let with_it = bytes + record.outstanding_bytes();
                if count > 0 && with_it > chunk_bytes {
                    break;
                }
                // The first also asks whether the stream takes any at all.
                if count == 0 || record.check(largest).is_err() {
                    if self.may_fit_later(record) {
                        self.facts_settled().await;
                        largest = self.largest();
                    }
                    if let Err(reason) = self.check(record) {
                        bad = Some(reason);
                        break;
                    }
                }
                (count, bytes) = (count + 1, with_it);
            }
            let chunk = rest.split_at(count).0;
            let submitted = self.submit_chunk(chunk, bytes, &mut accepted).await;
            for _ in 0..count / RECORDS_PER_UNIT {
                // As many single puts would let others run, the driver among them.
                tokio::task::coop::consume_budget().await;
            }
            if let Err(reason) = submitted.and_then(|()| bad.map_or(Ok(()), Err)) {
                let rest = records.split_off(accepted.len());
                let error = self.refused(reason, rest.first().cloned());
                return Err(PutManyError { accepted, rest, error });
            }
        }
        Ok(accepted)
    }

    /// What was accepted of the chunk, all of it unless there is an error, has its tickets in `accepted`.
    async fn submit_chunk(
        &self,
        chunk: &[UserRecord],
        bytes: usize,
        accepted: &mut Tickets,
    ) -> Result<(), PutErrorReason> {
        let shared = self.shared();
        let Ok(mut room) = shared.outstanding.acquire(bytes, None).await else {
            return Err(PutErrorReason::Closed);
        };
        let mut left = chunk;
        loop {
            let before = accepted.len();
            let submitted = shared.intake.submit_many(left, accepted);
            let (taken, rest) = left.split_at(accepted.len() - before);
            let used = room.split(taken.iter().map(UserRecord::outstanding_bytes).sum());
            used.expect("there is room for the whole chunk").spend();
            left = rest;
            match submitted {
                Ok(()) => return Ok(()),
                Err(NotTaken::Closed) => return Err(PutErrorReason::Closed),
                Err(NotTaken::NoMap) => {}
            }
            shared.intake.ready(self.handle.config.record_ttl).await?;
        }
    }

    /// Waits for room before there is a record: at least [`UserRecord::outstanding_bytes`] of it. Given back if the permit is dropped.
    /// Cancel safe.
    ///
    /// # Errors
    /// More bytes than the producer may ever hold; a stream that cannot be used; [`PutErrorReason::Closed`].
    pub async fn reserve(&self, bytes: usize) -> Result<Permit, PutError> {
        let maximum = self.shared().outstanding.largest();
        if bytes > maximum {
            return Err(self.refused(PutErrorReason::PermitTooSmall { bytes, maximum }, None));
        }
        let Ok(room) = self.shared().outstanding.acquire_owned(bytes).await else {
            return Err(self.refused(PutErrorReason::Closed, None));
        };
        self.ready().await?;
        Ok(Permit::new(self.clone(), room))
    }

    /// A [`futures::Sink`] of records into this producer. Any number of them may be in use beside `put`.
    pub fn sink(&self) -> ProducerSink {
        ProducerSink::new(self.clone())
    }

    /// Waits until the stream's shards are known, at most `record_ttl`; asks for them if nobody has. Cancel safe.
    ///
    /// # Errors
    /// A stream that does not exist or may not be listed; no answer in time; [`PutErrorReason::Closed`].
    pub async fn ready(&self) -> Result<(), PutError> {
        let patience = self.handle.config.record_ttl;
        self.shared().intake.ready(patience).await.map_err(|reason| self.refused(reason, None))
    }

    /// Sends everything that was accepted before this call without further delay, and waits until all of it is answered.
    ///
    /// Exact: records accepted later neither postpone it nor are waited for. Any number of flushes may run at once. Cancel safe: what was
    /// begun goes on.
    pub async fn flush(&self) {
        let epoch = self.shared().intake.flush();
        self.shared().outstanding.finished_up_to(epoch).await;
    }

    /// Refuses new records, flushes, and ends the driver; what is not answered by the deadline is answered with `Closed`.
    ///
    /// Other clones see `Closed` from now on. Dropped before it returns, the producer stays closed to new records, and what is left is
    /// delivered as long as a handle lives.
    pub async fn close(&self, deadline: Duration) -> CloseReport {
        let shared = self.shared();
        let (delivered, failed) = shared.outstanding.answered_so_far();
        shared.intake.shut();
        let epoch = shared.intake.flush();
        tokio::select! {
            // What is answered with the deadline counts as answered.
            biased;
            () = shared.outstanding.finished_up_to(epoch) => {}
            () = shared.clock.sleep(deadline) => {}
        }
        let left = shared.terminate();
        let mut driver = {
            let mut owned = self.handle.driver.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *owned, JoinSet::new())
        };
        while driver.join_next().await.is_some() {}
        let (delivered_now, failed_now) = shared.outstanding.answered_so_far();
        let report = CloseReport {
            delivered: delivered_now - delivered,
            failed: (failed_now - failed).saturating_sub(left),
            left,
        };
        if left > 0 {
            tracing::warn!(stream = %shared.stream, left, "closed before every record was answered");
        }
        report
    }

    /// What the producer has done so far. Counters are read one after another, so sums may be off by what moves meanwhile.
    pub fn stats(&self) -> ProducerStats {
        self.shared().stats()
    }

    /// The configuration it was started with.
    pub fn config(&self) -> &ProducerConfig {
        &self.handle.config
    }

    fn shared(&self) -> &Shared {
        &self.handle.shared
    }

    fn refused(&self, reason: PutErrorReason, record: Option<UserRecord>) -> PutError {
        PutError::refused(&self.handle.config.stream, reason, record)
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Producer").field("stream", &self.handle.config.stream).finish_non_exhaustive()
    }
}
