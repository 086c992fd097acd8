//! The one that scans, takes, renews and syncs at the intervals.
//!
//! ```text
//!             .--------------------- agenda: what is due ---------------------.
//!             v                        v                                      v
//!  scan: list -> observations -> plan -> take, ask      renew: each held lease      sync: shards -> create, delete
//!  watch: one row -> outlook -> scan                         |
//!                                        |                     |
//!                             gained <- HeldLease        lost: told by the HeldLease itself
//! ```
//!
//! All of it runs inside one future, which polls its jobs itself: a slow call of one lease holds up no other, and dropping
//! the future is a crash that leaves nothing behind.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use kinesis_shard::Clock;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::sync::mpsc;
use tracing::Instrument;

use super::assign::{self, Observations, Situation};
use super::calls::Calls;
use super::held::{EndedLeases, Hands, HeldLease};
use super::outlook;
use super::{Lease, LeaseCounter, LeaseKey, LeaseStore};
use crate::event::ConsumerEvent;
use crate::reports::Reports;

// What a keeper is told.
mod settings;

// What is due when: pure.
mod agenda;

// Compares the stream's shards with the table.
mod shard_sync;

// The same for all streams of an application.
mod syncs;

// What is under way.
mod jobs;

// Whom it watches, and whom it tells.
mod neighbours;

// Leases that are taken or asked for.
mod takes;

// Leases that are over, and rows that are none.
mod endings;

use agenda::{Agenda, Due};
use jobs::Done;
use neighbours::Neighbours;
pub(crate) use settings::{KeeperCommand, KeeperError, KeeperSettings};
use shard_sync::Synced;
pub(crate) use shard_sync::{ListShards, SyncError, WhichShards};
pub(crate) use syncs::Syncs;

/// Gains and holds leases for one worker.
#[derive(Debug)]
pub(crate) struct Keeper {
    hands: Hands,
    settings: KeeperSettings,
    /// The table as it was at the start, if it was read already.
    found: Option<Vec<Lease>>,
}

impl Keeper {
    /// For an application of one stream.
    pub(crate) fn new(
        store: Arc<dyn LeaseStore>,
        shards: Arc<dyn ListShards>,
        clock: Clock,
        settings: KeeperSettings,
    ) -> Self {
        let keeper = Self::build(store, clock, settings, false);
        let name = keeper.settings.reports.events.stream();
        keeper.hands.syncs.follow("".into(), &name, shards, keeper.settings.initial_position);
        keeper
    }

    /// For an application of several streams: those that [`syncs`](Self::syncs) is told to follow.
    pub(crate) fn of_several(store: Arc<dyn LeaseStore>, clock: Clock, settings: KeeperSettings) -> Self {
        Self::build(store, clock, settings, true)
    }

    fn build(store: Arc<dyn LeaseStore>, clock: Clock, settings: KeeperSettings, several: bool) -> Self {
        let calls = Calls::new(store, clock, settings.store_call_timeout, settings.seed)
            .counted(Arc::clone(&settings.reports.stats));
        let syncs = Arc::new(Syncs::new(calls.clone(), settings.reports.events.clone(), several));
        let ended = Arc::new(EndedLeases::default());
        let hands = Hands { worker: settings.worker_id.clone(), calls, syncs, ended };
        Self { hands, settings, found: None }
    }

    /// Looks once whether the table is of this stream, so that a start can be refused. What may pass is no error: it is
    /// looked at again once the keeper runs.
    pub(crate) async fn check(&mut self) -> Result<(), KeeperError> {
        match jobs::first_look(&self.hands).await.map_err(SyncError::into_fatal) {
            Ok(leases) => self.found = Some(leases),
            Err(Ok(fatal)) => return Err(fatal),
            Err(Err(error)) => tracing::info!(%error, "the lease table cannot be looked at yet"),
        }
        Ok(())
    }

    /// Which streams are read.
    pub(crate) fn syncs(&self) -> Arc<Syncs> {
        Arc::clone(&self.hands.syncs)
    }

    /// Runs until it is told to stop, or `commands` or `gained` is closed. Dropping the future is a crash: held leases
    /// expire.
    ///
    /// # Errors
    /// At the start only: when the store or the stream cannot be used, and trying again would not help.
    pub(crate) async fn run(
        self,
        gained: mpsc::Sender<HeldLease>,
        mut commands: mpsc::Receiver<KeeperCommand>,
    ) -> Result<(), KeeperError> {
        let span = tracing::debug_span!("keeper", worker_id = %self.settings.worker_id);
        async move {
            let clock = self.hands.calls.clock().clone();
            let mut running = Running::new(self, gained);
            loop {
                let now = clock.now();
                while let Some(due) = running.agenda.next(now) {
                    running.begin(due);
                }
                // Far ahead is as good as never: something else wakes the loop.
                let wake_at = running.agenda.wake_at().unwrap_or(now + Duration::from_hours(24));
                let ended = Arc::clone(&running.hands.ended);
                tokio::select! {
                    // Commands are rare. Each finished job makes way for the others, and a job starts only when it is
                    // due, so that none of the arms is ready for ever; due work is begun at every turn.
                    biased;
                    command = commands.recv() => match command {
                        Some(KeeperCommand::SyncShards) => running.agenda.sync_soon(now),
                        Some(KeeperCommand::StopTaking) => running.stop_taking(),
                        // What is being taken is given back first: dropped half way, it would keep its next owner waiting.
                        Some(KeeperCommand::Stop) => running.ending = true,
                        None => return Ok(()),
                    },
                    Some(done) = running.jobs.next() => {
                        if running.done(done, clock.now())? {
                            return Ok(());
                        }
                    }
                    () = ended.news() => running.drop_ended(clock.now()),
                    () = clock.sleep_until(wake_at) => {}
                }
                if ended.take_freed() {
                    running.owe_nudge();
                }
                if running.has_ended() {
                    return Ok(());
                }
            }
        }
        .instrument(span)
        .await
    }
}

/// The books of a running keeper.
struct Running {
    hands: Hands,
    settings: KeeperSettings,
    gained: mpsc::Sender<HeldLease>,
    agenda: Agenda,
    jobs: FuturesUnordered<BoxFuture<'static, Done>>,
    observations: Observations,
    held: BTreeMap<LeaseKey, HeldLease>,
    /// Takes under way.
    taking: BTreeSet<LeaseKey>,
    left_behind: BTreeMap<LeaseKey, BTreeSet<LeaseCounter>>,
    asked: BTreeSet<LeaseKey>,
    /// Requests for leases under way.
    asking: BTreeSet<LeaseKey>,
    /// When the answer came that a lease is marked as asked for.
    marked_at: BTreeMap<LeaseKey, Instant>,
    /// Leases that went to somebody who did not ask, and may have left a mark with this worker's name.
    moved: BTreeSet<LeaseKey>,
    /// Rows that hold no lease that can be read, as they were told.
    broken: BTreeSet<String>,
    /// Leases that came too late and are being given back, and those that were asked for and are not wanted any more.
    releasing: BTreeSet<LeaseKey>,
    neighbours: Neighbours,
    /// Nothing more is taken.
    stopping: bool,
    /// Nothing more is wanted.
    ending: bool,
    next_tenure: u64,
    rng: SmallRng,
}

impl Running {
    fn new(keeper: Keeper, gained: mpsc::Sender<HeldLease>) -> Self {
        let Keeper { hands, settings, found } = keeper;
        let jobs = FuturesUnordered::new();
        let start = jobs::start(hands.clone(), settings.clone(), found);
        let first: BoxFuture<'static, Done> = Box::pin(async { Done::Started(start.await) });
        jobs.push(first);
        Self {
            agenda: Agenda::new(settings.scan_interval, settings.failover_time, settings.shard_sync_interval),
            rng: SmallRng::seed_from_u64(settings.seed),
            observations: Observations::with_clock_error(settings.clock_error_ppm),
            hands,
            settings,
            gained,
            jobs,
            held: BTreeMap::new(),
            taking: BTreeSet::new(),
            left_behind: BTreeMap::new(),
            asked: BTreeSet::new(),
            asking: BTreeSet::new(),
            marked_at: BTreeMap::new(),
            moved: BTreeSet::new(),
            broken: BTreeSet::new(),
            releasing: BTreeSet::new(),
            neighbours: Neighbours::default(),
            stopping: false,
            ending: false,
            next_tenure: 1,
        }
    }

    fn begin(&mut self, due: Due) {
        let hands = self.hands.clone();
        let job: BoxFuture<'static, Done> = match due {
            Due::Scan => Box::pin(async move {
                let listed = hands.calls.list().await;
                // The response's time: a counter may have moved at any time before it.
                Done::Scanned(listed, hands.calls.clock().now())
            }),
            Due::Watch => return self.begin_watch(),
            Due::Sync => Box::pin(async move {
                let listed = hands.calls.list().await;
                Done::ListedForSync(listed, hands.calls.clock().now())
            }),
            Due::Renew(key) => {
                let held = self.held.get(&key).cloned();
                let span = tracing::debug_span!("renew", lease_key = %key);
                let renew = async move {
                    if let Some(held) = held {
                        jobs::renew(held).await;
                    }
                    Done::Renewed(key)
                };
                Box::pin(renew.instrument(span))
            }
        };
        self.jobs.push(job);
    }

    /// Takes in the news of a job; whether the keeper is of no use any more.
    fn done(&mut self, done: Done, now: Instant) -> Result<bool, KeeperError> {
        match done {
            Done::Started(leases) => self.started(&leases?, now),
            Done::ListedForSync(Ok(leases), answered_at) => self.sync_with(leases, answered_at, now),
            Done::ListedForSync(Err(error), _) => self.synced(Err(error.into()), now),
            Done::Synced(result) => self.synced(result, now),
            Done::Scanned(Ok(leases), answered_at) => {
                let leases = self.hands.syncs.followed(leases);
                self.scanned(&leases, answered_at, now);
            }
            Done::Scanned(Err(error), _) => {
                let error = error.to_string().into();
                self.reports().events.emit(ConsumerEvent::LeaseTableUnreadable { error });
                self.agenda.scanned(now, 0, &mut self.rng);
            }
            Done::Took(key, counter, tenure) => self.took(key, counter, tenure.map(|tenure| *tenure)),
            Done::Asked(key, marked) => {
                self.asking.remove(&key);
                if self.stopping {
                    // Also when it seems to have failed: a mark whose answer was lost stands all the same.
                    self.give_up_claim(key);
                } else if marked {
                    self.marked_at.insert(key, now);
                } else {
                    self.asked.remove(&key);
                }
            }
            Done::Renewed(key) => {
                self.agenda.renewed();
                if let Some(held) = self.held.get(&key) {
                    // A renewal that failed for good is repeated at its interval while belief lasts.
                    let pause = self.settings.renewal_interval / 4;
                    self.agenda.renew_at(held.renew_at().max(now + pause), key);
                }
            }
            Done::Watched(key, row, answered_at) => self.watched(&key, row, answered_at, now),
            Done::Nudged => self.nudged(),
            Done::Delivered(taken) => return Ok(!taken),
            Done::Released(key) => {
                self.releasing.remove(&key);
                tracing::debug!(lease_key = %key, "gave back what came too late");
                // It may have been freed by the way.
                self.owe_nudge();
            }
            Done::Cleared => {}
        }
        Ok(false)
    }

    fn started(&mut self, leases: &[Lease], now: Instant) {
        let me = &self.settings.worker_id;
        let mine = leases.iter().filter(|lease| lease.actual_owner() == Some(me));
        self.left_behind = mine.map(|lease| (lease.key.clone(), BTreeSet::from([lease.counter]))).collect();
        self.settle(now);
        if !self.stopping {
            self.agenda.start(now, &mut self.rng);
        }
    }

    /// One listing for both: the sync, and what a scan is for.
    fn sync_with(&mut self, leases: Vec<Lease>, answered_at: Instant, now: Instant) {
        let (hands, table) = (self.hands.clone(), leases.clone());
        self.jobs.push(Box::pin(async move { Done::Synced(hands.syncs.run_on(&table).await) }));
        let leases = self.hands.syncs.followed(leases);
        self.scanned(&leases, answered_at, now);
    }

    fn synced(&mut self, result: Result<Synced, SyncError>, now: Instant) {
        if result.is_ok() {
            self.reports().board.synced(now);
            self.reports().stats.leases.synced.one();
        }
        match result {
            Ok(synced) if synced.created > 0 => self.agenda.scan_soon(now),
            Ok(_) => {}
            Err(error) => self.reports().events.emit(ConsumerEvent::ShardSyncFailed {
                stream: self.reports().events.stream(),
                error: error.to_string().into(),
            }),
        }
        if !self.stopping {
            self.agenda.synced(now, &mut self.rng);
        }
    }

    fn scanned(&mut self, leases: &[Lease], answered_at: Instant, now: Instant) {
        if self.stopping {
            return;
        }
        self.reports().board.scanned(now);
        self.tell_broken();
        self.observations.record(leases, self.settings.failover_time, answered_at);
        self.note_marks(leases, now);
        let mut held: BTreeSet<LeaseKey> = self.held.keys().cloned().collect();
        held.extend(self.taking.iter().cloned());
        let situation = Situation {
            worker: &self.settings.worker_id,
            held: &held,
            left_behind: &self.left_behind,
            asked: &self.asked,
            seen: &self.observations,
            bounds: self.settings.bounds(),
            now,
        };
        let (moves, census) = assign::survey(leases, &situation, &mut self.rng);
        self.reports().stats.leases.seen(&census);
        let left_count = census.expired.saturating_sub(census.to_take);
        let outlook = outlook::outlook(leases, &situation);
        let next = self.observations.next_expiry(leases, &held, self.settings.failover_time, now);
        let settled = self.look_around(outlook, left_count, now);
        let all_held = self.taking.is_empty() && self.holds_all(leases);
        let quiet = moves.is_empty() && (settled || all_held);
        if quiet {
            self.agenda.scanned_quiet(now, &mut self.rng);
        } else {
            self.agenda.scanned(now, leases.len(), &mut self.rng);
        }
        if let Some(at) = next.filter(|_| !quiet) {
            self.agenda.scan_by(at);
        }
        self.keep_watching(now);
        for one in moves {
            self.make(one);
        }
    }

    fn reports(&self) -> &Reports {
        &self.settings.reports
    }
}

#[cfg(test)]
mod tests;
