//! The one task: carries out what the pipeline says, brings it what happens, and keeps the time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kinesis_shard::{Clock, ShardMap};
use tokio::task::{Id, JoinError, JoinSet};
use tracing::Instrument;

use crate::config::MetricsHook;
use crate::intake::{Collected, Intake};
use crate::outstanding::Outstanding;
use crate::pipeline::answer::{CallError, PutRecordsAnswer};
use crate::pipeline::kinesis_record::{Entry, KinesisRecord};
use crate::pipeline::summary::StreamSummary;
use crate::pipeline::{Pipeline, PutRecordsRequest, Step};
use crate::stats::{ProducerStats, QueueStatus};
use crate::stream_facts::StreamFacts;
use crate::transport::{DescribeError, MapError, Transport};

/// What goes to a hook.
mod metering;

use metering::Metering;

/// What the handle and the driver share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) stream: Arc<str>,
    pub(crate) clock: Clock,
    pub(crate) intake: Intake,
    pub(crate) outstanding: Arc<Outstanding>,
    pub(crate) facts: StreamFacts,
    pub(crate) metrics_hook: Option<MetricsHook>,
    pub(crate) aggregation_enabled: bool,
    pub(crate) aggregation_on_auto: bool,
    pub(crate) request_timeout: Duration,
    /// Here and not in the driver, so that whoever gives up, handle or driver, can answer every ticket without the other.
    pub(crate) pipeline: Mutex<Pipeline>,
    pub(crate) stopped: AtomicBool,
}

impl Shared {
    fn pipeline(&self) -> MutexGuard<'_, Pipeline> {
        self.pipeline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers everything that is left with `Closed`, and ends the driver. Needs no runtime. Returns how many user records were left.
    pub(crate) fn terminate(&self) -> u64 {
        self.intake.shut();
        let unseen = self.intake.uncollected();
        let (settlements, left) = self.pipeline().close(self.clock.now(), unseen);
        for settlement in settlements {
            settlement.settle();
        }
        self.facts.settle();
        self.stopped.store(true, Ordering::SeqCst);
        self.intake.wake();
        left
    }

    /// Whether user records share Kinesis records on a stream that does, or does not, ignore keys.
    fn aggregates(&self, auto: bool) -> bool {
        self.aggregation_enabled && (!auto || self.aggregation_on_auto)
    }

    pub(crate) fn stats(&self) -> ProducerStats {
        let unseen = self.intake.user_records();
        let mut stats = self.pipeline().stats(self.clock.now());
        stats.max_record_size = self.facts.max_record_bytes();
        stats.complete(unseen, self.outstanding.answered_so_far(), self.outstanding.bytes());
        stats
    }
}

/// Whatever ends the driver, a panic or the end of its runtime included, answers every ticket.
struct TerminateOnDrop(Arc<Shared>);

impl Drop for TerminateOnDrop {
    fn drop(&mut self) {
        self.0.terminate();
    }
}

/// A call's end.
enum Done {
    PutRecords(u64, PutRecordsAnswer),
    ListShards(Result<ShardMap, MapError>),
    Describe(Result<StreamSummary, DescribeError>),
}

/// Calls in flight. Dropping it aborts them.
struct Calls {
    shared: Arc<Shared>,
    transport: Arc<dyn Transport>,
    tasks: JoinSet<Done>,
    /// What a call was for, should it panic.
    purposes: BTreeMap<Id, Purpose>,
}

#[derive(Debug, Clone, Copy)]
enum Purpose {
    PutRecords(u64),
    ListShards,
    Describe,
}

pub(crate) async fn drive(shared: Arc<Shared>, transport: Arc<dyn Transport>) {
    let _guard = TerminateOnDrop(Arc::clone(&shared));
    let mut calls =
        Calls { shared: Arc::clone(&shared), transport, tasks: JoinSet::new(), purposes: BTreeMap::new() };
    let (mut metering, mut sealed) = (Metering::default(), Vec::new());
    while !shared.stopped.load(Ordering::SeqCst) {
        let (deadline, more) = advance(&shared, &mut calls, &mut sealed);
        if more {
            tokio::task::yield_now().await;
        }
        let deadline = deadline.into_iter().chain(metering.report(&shared)).min();
        let timer = async {
            match deadline {
                Some(deadline) => shared.clock.sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // None can starve another: whichever wins, `advance` does all the work there is, deadlines included, before the next
            // wait; and there are never more answers than requests in flight.
            biased;
            Some(done) = calls.tasks.join_next_with_id() => calls.done(done),
            () = shared.intake.woken() => {}
            () = timer => {}
        }
    }
}

/// Does what is to be done now. Returns when to look again, and whether others should come first because more is due already.
fn advance(shared: &Shared, calls: &mut Calls, sealed: &mut Vec<KinesisRecord>) -> (Option<Instant>, bool) {
    let now = shared.clock.now();
    let Collected { more, flush, wants_map, next_deadline } = shared.intake.collect(now, sealed);
    {
        let mut pipeline = shared.pipeline();
        for record in sealed.drain(..) {
            pipeline.sealed(now, record);
        }
        if let Some(epoch) = flush {
            pipeline.flush(now, epoch);
        }
        if wants_map {
            pipeline.want_map(now);
        }
        if shared.facts.take_wish() {
            pipeline.want_summary(now);
        }
    }
    loop {
        // The lock ends with the statement: tickets wake their tasks outside of it.
        let step = shared.pipeline().next(now);
        match step {
            Step::Send(request) => calls.put_records(request),
            Step::Settle(settlement) => settlement.settle(),
            Step::ListShards => calls.list_shards(),
            Step::Describe => calls.describe(),
            Step::Report(status) => report_stuck(shared, &status),
            Step::WaitUntil(at) => {
                return (Some(next_deadline.map_or(at, |deadline| deadline.min(at))), more);
            }
            Step::Idle => return (next_deadline, more),
        }
    }
}

fn report_stuck(shared: &Shared, status: &QueueStatus) {
    let stuck_for = status.stuck_for.unwrap_or_default();
    let oldest_record = status.oldest_record.unwrap_or_default();
    tracing::warn!(stream = %shared.stream, ?stuck_for, ?oldest_record, "no record was answered for a while: {status}");
}

impl Calls {
    fn put_records(&mut self, request: PutRecordsRequest) {
        let PutRecordsRequest { id, entries } = request;
        let span = tracing::debug_span!("PutRecords", stream = %self.shared.stream, request = id, entries = entries.len());
        let call = put_records(Arc::clone(&self.shared), Arc::clone(&self.transport), id, entries);
        let task = self.tasks.spawn(call.instrument(span)).id();
        self.purposes.insert(task, Purpose::PutRecords(id));
    }

    fn list_shards(&mut self) {
        let span = tracing::debug_span!("ListShards", stream = %self.shared.stream);
        let call = list_shards(Arc::clone(&self.shared), Arc::clone(&self.transport));
        let task = self.tasks.spawn(call.instrument(span)).id();
        self.purposes.insert(task, Purpose::ListShards);
    }

    fn describe(&mut self) {
        let span = tracing::debug_span!("DescribeStreamSummary", stream = %self.shared.stream);
        let call = describe(Arc::clone(&self.shared), Arc::clone(&self.transport));
        let task = self.tasks.spawn(call.instrument(span)).id();
        self.purposes.insert(task, Purpose::Describe);
    }

    fn done(&mut self, done: Result<(Id, Done), JoinError>) {
        match done {
            Ok((task, done)) => {
                self.purposes.remove(&task);
                self.answered(done);
            }
            // A panic below us. Nobody knows how far the call came.
            Err(error) => {
                let panicked = |what| format!("{what} panicked: {error}");
                let done = match self.purposes.remove(&error.id()) {
                    Some(Purpose::PutRecords(id)) => {
                        let error = CallError::unanswered("CallPanicked", &panicked("PutRecords"), true);
                        Done::PutRecords(id, PutRecordsAnswer::Failed(error))
                    }
                    Some(Purpose::Describe) => Done::Describe(Err(DescribeError {
                        hopeless: false,
                        message: panicked("DescribeStreamSummary"),
                    })),
                    Some(Purpose::ListShards) | None => {
                        Done::ListShards(Err(MapError::passing(panicked("ListShards"))))
                    }
                };
                self.answered(done);
            }
        }
    }

    fn answered(&self, done: Done) {
        let (now, shared) = (self.shared.clock.now(), &self.shared);
        match done {
            Done::PutRecords(id, answer) => shared.pipeline().answered(now, id, answer),
            Done::ListShards(Ok(map)) => {
                let map = Arc::new(map);
                shared.pipeline().shard_map(now, &map);
                shared.intake.reroute(&map);
            }
            Done::ListShards(Err(error)) => {
                {
                    let mut pipeline = shared.pipeline();
                    if error.throttled {
                        pipeline.shard_map_throttled();
                    }
                    pipeline.no_shard_map(now, error.hopeless.is_some(), &error.message);
                }
                self.no_shard_map(error);
            }
            Done::Describe(Ok(summary)) => {
                let changed = shared.pipeline().described(now, summary);
                shared.facts.learned(summary);
                if changed {
                    shared.intake.set_aggregating(shared.aggregates(summary.auto));
                }
            }
            Done::Describe(Err(DescribeError { hopeless, message })) => {
                let stream = &shared.stream;
                if shared.pipeline().not_described(now, hopeless) {
                    shared.facts.settle();
                    let max_record_size = shared.facts.max_record_bytes();
                    tracing::info!(%stream, error = %message, max_record_size, "the stream was not described: its limit is assumed, and that it goes by keys");
                } else {
                    tracing::debug!(%stream, error = %message, "the stream was not described, asking again");
                }
            }
        }
    }

    fn no_shard_map(&self, error: MapError) {
        let MapError { hopeless, message, .. } = error;
        let stream = &self.shared.stream;
        if hopeless.is_some() {
            tracing::warn!(%stream, error = %message, "the shards cannot be listed");
        } else {
            tracing::debug!(%stream, error = %message, "the shards were not listed, asking again");
        }
        self.shared.intake.refuse(hopeless, message);
    }
}

async fn put_records(
    shared: Arc<Shared>,
    transport: Arc<dyn Transport>,
    id: u64,
    entries: Vec<Entry>,
) -> Done {
    let answer = tokio::select! {
        // An answer that comes with the deadline is an answer.
        biased;
        answer = transport.put_records(entries) => answer,
        () = shared.clock.sleep(shared.request_timeout) => {
            let error = CallError::unanswered("RequestTimeout", "no answer within request_timeout", true);
            PutRecordsAnswer::Failed(error)
        }
    };
    Done::PutRecords(id, answer)
}

async fn describe(shared: Arc<Shared>, transport: Arc<dyn Transport>) -> Done {
    Done::Describe(tokio::select! {
        // An answer that comes with the deadline is an answer.
        biased;
        answer = transport.describe() => answer,
        () = shared.clock.sleep(shared.request_timeout) => {
            let message = "DescribeStreamSummary gave no answer within request_timeout".to_owned();
            Err(DescribeError { hopeless: false, message })
        }
    })
}

async fn list_shards(shared: Arc<Shared>, transport: Arc<dyn Transport>) -> Done {
    Done::ListShards(tokio::select! {
        // An answer that comes with the deadline is an answer.
        biased;
        answer = transport.list_shards() => answer,
        () = shared.clock.sleep(shared.request_timeout) => {
            Err(MapError::passing("ListShards gave no answer within request_timeout"))
        }
    })
}
