//! The one task: carries out what the pipeline says, brings it what happens, and keeps the time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kinesis_shard::{Clock, ShardMap};
use tokio::task::{Id, JoinError, JoinSet};

use crate::intake::{Collected, Intake};
use crate::outstanding::Outstanding;
use crate::pipeline::answer::{CallError, PutRecordsAnswer};
use crate::pipeline::kinesis_record::Entry;
use crate::pipeline::{Pipeline, PutRecordsRequest, Step};
use crate::stats::ProducerStats;
use crate::transport::{MapError, Transport};

/// What the handle and the driver share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) stream: Arc<str>,
    pub(crate) clock: Clock,
    pub(crate) intake: Intake,
    pub(crate) outstanding: Arc<Outstanding>,
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
        let (settlements, left) = self.pipeline().close(unseen);
        for settlement in settlements {
            settlement.settle();
        }
        self.stopped.store(true, Ordering::SeqCst);
        self.intake.wake();
        left
    }

    pub(crate) fn stats(&self) -> ProducerStats {
        let unseen = self.intake.user_records();
        let mut stats = self.pipeline().counters(self.clock.now()).into_stats();
        (stats.user_records_put, stats.user_records_failed) = self.outstanding.answered_so_far();
        stats.user_records_received += unseen;
        stats.outstanding_records =
            stats.user_records_received.saturating_sub(stats.user_records_put + stats.user_records_failed);
        stats.outstanding_bytes = u64::try_from(self.outstanding.bytes()).unwrap_or(u64::MAX);
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
}

/// Calls in flight. Dropping it aborts them.
struct Calls {
    shared: Arc<Shared>,
    transport: Arc<dyn Transport>,
    tasks: JoinSet<Done>,
    /// What a call was for, should it panic.
    requests: BTreeMap<Id, u64>,
}

pub(crate) async fn drive(shared: Arc<Shared>, transport: Arc<dyn Transport>) {
    let _guard = TerminateOnDrop(Arc::clone(&shared));
    let mut calls =
        Calls { shared: Arc::clone(&shared), transport, tasks: JoinSet::new(), requests: BTreeMap::new() };
    while !shared.stopped.load(Ordering::SeqCst) {
        let deadline = advance(&shared, &mut calls);
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

/// Does everything that is to be done now. Returns when to look again.
fn advance(shared: &Shared, calls: &mut Calls) -> Option<Instant> {
    let now = shared.clock.now();
    let Collected { sealed, flush, wants_map, next_deadline } = shared.intake.collect(now);
    {
        let mut pipeline = shared.pipeline();
        for record in sealed {
            pipeline.sealed(now, record);
        }
        if let Some(epoch) = flush {
            pipeline.flush(now, epoch);
        }
        if wants_map {
            pipeline.want_map();
        }
    }
    loop {
        // The lock ends with the statement: tickets wake their tasks outside of it.
        let step = shared.pipeline().next(now);
        match step {
            Step::Send(request) => calls.put_records(request),
            Step::Settle(settlement) => settlement.settle(),
            Step::ListShards => calls.list_shards(),
            Step::WaitUntil(at) => return Some(next_deadline.map_or(at, |deadline| deadline.min(at))),
            Step::Idle => return next_deadline,
        }
    }
}

impl Calls {
    fn put_records(&mut self, request: PutRecordsRequest) {
        let PutRecordsRequest { id, entries } = request;
        tracing::trace!(stream = %self.shared.stream, request = id, entries = entries.len(), "PutRecords");
        let call = put_records(Arc::clone(&self.shared), Arc::clone(&self.transport), id, entries);
        let task = self.tasks.spawn(call).id();
        self.requests.insert(task, id);
    }

    fn list_shards(&mut self) {
        tracing::trace!(stream = %self.shared.stream, "ListShards");
        self.tasks.spawn(list_shards(Arc::clone(&self.shared), Arc::clone(&self.transport)));
    }

    fn done(&mut self, done: Result<(Id, Done), JoinError>) {
        let now = self.shared.clock.now();
        let mut pipeline = self.shared.pipeline();
        match done {
            Ok((task, Done::PutRecords(id, answer))) => {
                self.requests.remove(&task);
                pipeline.answered(now, id, answer);
            }
            Ok((_, Done::ListShards(Ok(map)))) => {
                let map = Arc::new(map);
                pipeline.shard_map(now, &map);
                drop(pipeline);
                self.shared.intake.reroute(&map);
            }
            Ok((_, Done::ListShards(Err(error)))) => {
                pipeline.no_shard_map(now, error.hopeless.is_some());
                drop(pipeline);
                self.no_shard_map(error);
            }
            // A panic below us. Nobody knows how far the call came.
            Err(error) => match self.requests.remove(&error.id()) {
                Some(id) => {
                    let error = CallError::unanswered("CallPanicked", &error.to_string(), true);
                    pipeline.answered(now, id, PutRecordsAnswer::Failed(error));
                }
                None => pipeline.no_shard_map(now, false),
            },
        }
    }

    fn no_shard_map(&self, error: MapError) {
        let MapError { hopeless, message } = error;
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

async fn list_shards(shared: Arc<Shared>, transport: Arc<dyn Transport>) -> Done {
    Done::ListShards(tokio::select! {
        // An answer that comes with the deadline is an answer.
        biased;
        answer = transport.list_shards() => answer,
        () = shared.clock.sleep(shared.request_timeout) => {
            Err(MapError { hopeless: None, message: "ListShards gave no answer within request_timeout".into() })
        }
    })
}
