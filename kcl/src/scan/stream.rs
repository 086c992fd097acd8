//! A scan as a stream of records, each of which is acknowledged.

use std::fmt;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{Notify, mpsc};

use super::{Marks, Scan, ScanError, Settings};
use crate::bell::Bell;
use crate::error::{BoxError, WorkerError};
use crate::event::StreamShard;
use crate::lease::MemoryLeaseStore;
use crate::processor::{
    InitializationInput, LeaseLostInput, ProcessRecordsInput, RecordProcessor, ShardEndedInput,
    ShutdownRequestedInput,
};
use crate::scheduler::{Scheduler, ShutdownReport};
use crate::user_record::UserRecord;

/// Records that wait to be asked for, over all shards; each shard holds no more than its batch besides.
const WAITING_RECORDS: usize = 64;

/// Every record of a stream, from [`Scan::stream`]: in order within a shard, shards interleaved.
///
/// It is a [`Stream`](futures::Stream) of `Result<StreamedRecord, ScanError>`. An error is the last item. Dropping it is
/// a crash: nothing more is checkpointed, and the leases expire. [`close`](Self::close) is the polite way.
pub struct RecordStream {
    scheduler: Option<Scheduler>,
    records: mpsc::Receiver<StreamedRecord>,
    failure: BoxFuture<'static, WorkerError>,
    failed: bool,
    stopping: Arc<Bell>,
}

impl fmt::Debug for RecordStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RecordStream").field("scheduler", &self.scheduler).finish_non_exhaustive()
    }
}

/// One record, and the duty to say that it is processed.
///
/// [`ack`](Self::ack) says so. A shard is checkpointed behind the longest run of acknowledged records, so records may be
/// acknowledged in any order. One that is dropped without it was *not* processed: it comes again after a pause, alone or
/// with those behind it that were not acknowledged either; nothing is skipped.
#[must_use = "a record that is dropped without ack() comes again"]
pub struct StreamedRecord {
    record: UserRecord,
    turn: Option<Turn>,
}

impl fmt::Debug for StreamedRecord {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.record.fmt(formatter)
    }
}

impl Deref for StreamedRecord {
    type Target = UserRecord;

    fn deref(&self) -> &UserRecord {
        &self.record
    }
}

impl StreamedRecord {
    /// The record is processed: it will not come again once a checkpoint covers it.
    pub fn ack(mut self) {
        if let Some(turn) = self.turn.take() {
            turn.batch.ended(turn.index, true);
        }
    }

    /// The record alone. It counts as acknowledged.
    pub fn into_record(mut self) -> UserRecord {
        let record = self.record.clone();
        if let Some(turn) = self.turn.take() {
            turn.batch.ended(turn.index, true);
        }
        record
    }
}

/// The place of a record in its batch.
struct Turn {
    batch: Arc<BatchTurns>,
    index: usize,
}

impl Drop for StreamedRecord {
    fn drop(&mut self) {
        if let Some(turn) = self.turn.take() {
            turn.batch.ended(turn.index, false);
        }
    }
}

/// Which records of a batch were acknowledged.
#[derive(Debug, Default)]
struct BatchTurns {
    turns: Mutex<Turns>,
    over: Notify,
}

#[derive(Debug, Default)]
struct Turns {
    /// One for each record that was handed out, in order.
    acknowledged: Vec<bool>,
    out: usize,
}

impl BatchTurns {
    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hand_out(self: &Arc<Self>) -> Turn {
        let mut turns = self.turns();
        let index = turns.acknowledged.len();
        turns.acknowledged.push(false);
        turns.out += 1;
        Turn { batch: Arc::clone(self), index }
    }

    fn ended(&self, index: usize, acknowledged: bool) {
        let mut turns = self.turns();
        if let Some(place) = turns.acknowledged.get_mut(index) {
            *place = acknowledged;
        }
        turns.out -= 1;
        if turns.out == 0 {
            self.over.notify_one();
        }
    }

    /// Resolves once no record is out, with how many of the first ones were acknowledged. Cancel safe.
    async fn over(&self) -> usize {
        loop {
            {
                let turns = self.turns();
                if turns.out == 0 {
                    return turns.acknowledged.iter().take_while(|acknowledged| **acknowledged).count();
                }
            }
            self.over.notified().await;
        }
    }
}

impl Scan {
    /// The records as a [`Stream`](futures::Stream), each to be acknowledged; see [`RecordStream`].
    ///
    /// What was given to [`until`](Self::until) is not used: end it with [`RecordStream::close`].
    ///
    /// ```no_run
    /// // Needs a stream and credentials; `client` is an `aws_sdk_kinesis::Client`.
    /// # async fn example(client: aws_sdk_kinesis::Client) -> Result<(), kcl::ScanError> {
    /// use futures::StreamExt;
    ///
    /// let mut records = kcl::scan(&client, "orders").stream().await?;
    /// while let Some(record) = records.next().await {
    ///     let record = record?;
    ///     println!("{} {}", record.shard_id(), record.partition_key());
    ///     record.ack();
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the scan cannot start.
    pub async fn stream(self) -> Result<RecordStream, ScanError> {
        let store = self.store.unwrap_or_else(|| Arc::new(MemoryLeaseStore::new()));
        let mut config = self.config;
        // With a timed checkpoint an idle shard needs a call, or its last records would wait for the next one.
        config.call_process_records_even_for_empty_list |= self.checkpoint_every.is_some();
        let settings = Settings { clock: config.clock.clone(), checkpoint_every: self.checkpoint_every };
        let (sender, records) = mpsc::channel(WAITING_RECORDS);
        let stopping = Arc::new(Bell::default());
        let for_factory = Arc::clone(&stopping);
        let factory = move |_shard: StreamShard| StreamProcessor {
            sender: sender.clone(),
            stopping: Arc::clone(&for_factory),
            marks: Marks::new(settings.clone()),
        };
        let scheduler = Scheduler::start(&self.client, config, store, factory).await?;
        let failure = scheduler.failure().boxed();
        Ok(RecordStream { scheduler: Some(scheduler), records, failure, failed: false, stopping })
    }
}

impl RecordStream {
    /// Ends the stream: no record comes any more; those that are out may be acknowledged until `grace` is over; every
    /// shard is checkpointed behind its acknowledged records and its lease given back.
    pub async fn close(mut self, grace: Duration) -> ShutdownReport {
        self.stopping.ring();
        // Records that nobody asked for are dropped with the queue, and come again next time.
        self.records.close();
        while self.records.try_recv().is_ok() {}
        match self.scheduler.take() {
            Some(scheduler) => scheduler.shutdown(grace).await,
            None => ShutdownReport::default(),
        }
    }

    /// How the worker below is.
    pub fn health(&self) -> Option<crate::Health> {
        self.scheduler.as_ref().map(Scheduler::health)
    }
}

impl futures::Stream for RecordStream {
    type Item = Result<StreamedRecord, ScanError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.failed {
            return Poll::Ready(None);
        }
        if let Poll::Ready(Some(record)) = self.records.poll_recv(context) {
            return Poll::Ready(Some(Ok(record)));
        }
        self.failure.poll_unpin(context).map(|error| {
            self.failed = true;
            Some(Err(ScanError::Worker(error)))
        })
    }
}

/// Hands the records of one shard out, and waits for them.
struct StreamProcessor {
    sender: mpsc::Sender<StreamedRecord>,
    stopping: Arc<Bell>,
    marks: Marks,
}

#[async_trait]
impl RecordProcessor for StreamProcessor {
    async fn initialize(&mut self, _input: InitializationInput) -> Result<(), BoxError> {
        Ok(())
    }

    async fn process_records(&mut self, input: ProcessRecordsInput) -> Result<(), BoxError> {
        // In a repeated batch what was acknowledged up to the first gap does not come again.
        let done = self.marks.done;
        let left = input.records.iter().filter(|record| done.is_none_or(|done| record.position() > done));
        let left: Vec<&UserRecord> = left.collect();
        let batch = Arc::new(BatchTurns::default());
        for record in &left {
            let permit = tokio::select! {
                // The first fires once.
                biased;
                () = self.stopping.rung() => break,
                permit = self.sender.reserve() => permit,
            };
            // Closed: the stream was dropped, and this worker with it.
            let Ok(permit) = permit else { break };
            permit.send(StreamedRecord { record: (*record).clone(), turn: Some(batch.hand_out()) });
        }
        let acknowledged = batch.over().await;
        if let Some(last) = acknowledged.checked_sub(1).and_then(|last| left.get(last)) {
            self.marks.done = Some(last.position());
        }
        if acknowledged < left.len() && !self.stopping.has_rung() {
            self.marks.try_checkpoint(&input.checkpointer).await;
            let first = left.get(acknowledged).map(|record| record.position());
            return Err(format!("the record at {first:?} was dropped without ack()").into());
        }
        if self.marks.is_due() {
            self.marks.try_checkpoint(&input.checkpointer).await;
        }
        Ok(())
    }

    async fn lease_lost(&mut self, _input: LeaseLostInput) {}

    async fn shard_ended(&mut self, input: ShardEndedInput) -> Result<(), BoxError> {
        if self.stopping.has_rung() {
            // The last batch may have been cut short, so this is not the end for us.
            self.marks.checkpoint(&input.checkpointer).await?;
            return Err("the stream closes before the end of the shard".into());
        }
        Ok(input.checkpointer.checkpoint().await?)
    }

    async fn shutdown_requested(&mut self, input: ShutdownRequestedInput) -> Result<(), BoxError> {
        self.marks.checkpoint(&input.checkpointer).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_batch_is_over_when_no_record_is_out_and_counts_up_to_the_first_gap() {
        for (acknowledged, expected) in
            [([true, true, true], 3), ([true, false, true], 1), ([false, true, true], 0)]
        {
            let batch = Arc::new(BatchTurns::default());
            let turns: Vec<Turn> = (0..3).map(|_| batch.hand_out()).collect();
            // In any order.
            for turn in turns.into_iter().rev() {
                assert!(batch.over().now_or_never().is_none());
                turn.batch.ended(turn.index, acknowledged[turn.index]);
            }
            assert_eq!(batch.over().await, expected);
        }
    }
}
