//! The one that scans, takes, renews and syncs at the intervals.
//!
//! ```text
//!             .--------------------- agenda: what is due ---------------------.
//!             v                        v                                      v
//!  scan: list -> observations -> plan -> take, ask      renew: each held lease      sync: shards -> create, delete
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

use super::assign::{self, Move, Observations, Situation};
use super::calls::Calls;
use super::held::{EndedLeases, Hands, HeldLease};
use super::tenure::{End, Tenure};
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

use agenda::{Agenda, Due};
use jobs::Done;
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
    /// Leases that went to somebody who did not ask, and may have left a mark with this worker's name.
    moved: BTreeSet<LeaseKey>,
    /// Rows that hold no lease that can be read, as they were told.
    broken: BTreeSet<String>,
    /// Leases that came too late and are being given back, and those that were asked for and are not wanted any more.
    releasing: BTreeSet<LeaseKey>,
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
            hands,
            settings,
            gained,
            jobs,
            observations: Observations::default(),
            held: BTreeMap::new(),
            taking: BTreeSet::new(),
            left_behind: BTreeMap::new(),
            asked: BTreeSet::new(),
            asking: BTreeSet::new(),
            moved: BTreeSet::new(),
            broken: BTreeSet::new(),
            releasing: BTreeSet::new(),
            stopping: false,
            ending: false,
            next_tenure: 1,
        }
    }

    fn stop_taking(&mut self) {
        self.stopping = true;
        self.agenda.stop_taking();
        for key in self.asked.clone() {
            self.give_up_claim(key);
        }
    }

    /// Nobody must hand a lease over to a worker that is going: it would stand still for the failover time.
    fn give_up_claim(&mut self, key: LeaseKey) {
        // While a request or a take is under way its answer comes first.
        let settled = !self.asking.contains(&key) && !self.taking.contains(&key);
        if settled && self.asked.remove(&key) {
            self.releasing.insert(key.clone());
            let hands = self.hands.clone();
            self.jobs.push(Box::pin(async move {
                jobs::give_up_claim(hands, key.clone()).await;
                Done::Released(key)
            }));
        }
    }

    /// Nothing more is wanted, and nothing is left half way.
    fn has_ended(&self) -> bool {
        self.ending && self.taking.is_empty() && self.asking.is_empty() && self.releasing.is_empty()
    }

    fn begin(&mut self, due: Due) {
        let hands = self.hands.clone();
        let job: BoxFuture<'static, Done> = match due {
            Due::Scan => Box::pin(async move {
                let listed = hands.calls.list().await;
                // The response's time: a counter may have moved at any time before it.
                Done::Scanned(listed, hands.calls.clock().now())
            }),
            Due::Sync => Box::pin(async move { Done::Synced(hands.syncs.run().await) }),
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
                } else if !marked {
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
            Done::Delivered(taken) => return Ok(!taken),
            Done::Released(key) => {
                self.releasing.remove(&key);
                tracing::debug!(lease_key = %key, "gave back what came too late");
            }
            Done::Cleared => {}
        }
        Ok(false)
    }

    fn started(&mut self, leases: &[Lease], now: Instant) {
        let me = &self.settings.worker_id;
        let mine = leases.iter().filter(|lease| lease.actual_owner() == Some(me));
        self.left_behind = mine.map(|lease| (lease.key.clone(), BTreeSet::from([lease.counter]))).collect();
        if !self.stopping {
            self.agenda.start(now, &mut self.rng);
        }
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
        self.note_marks(leases);
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
        if moves.is_empty() && self.taking.is_empty() && self.is_alone(leases) {
            self.agenda.scanned_alone(now, &mut self.rng);
        } else {
            self.agenda.scanned(now, leases.len(), &mut self.rng);
        }
        let next = self.observations.next_expiry(leases, &held, self.settings.failover_time, now);
        if let Some(at) = next {
            self.agenda.scan_by(at);
        }
        for one in moves {
            self.make(one);
        }
    }

    /// Makes an event of each row that the listing passed over, when it is new.
    fn tell_broken(&mut self) {
        let broken: BTreeSet<String> =
            self.hands.calls.broken_leases().iter().map(ToString::to_string).collect();
        for error in broken.difference(&self.broken) {
            let error = error.as_str().into();
            self.reports().events.emit(ConsumerEvent::LeaseUnreadable { error });
        }
        self.broken = broken;
    }

    /// Whether this worker holds every lease that there is to hold.
    fn is_alone(&self, leases: &[Lease]) -> bool {
        let unfinished = leases.iter().filter(|lease| !lease.is_finished());
        !leases.is_empty() && unfinished.into_iter().all(|lease| self.held.contains_key(&lease.key))
    }

    /// Keeps the marks that stand: rows that name this worker while the old owner still has them, or has just let go.
    fn note_marks(&mut self, leases: &[Lease]) {
        let me = &self.settings.worker_id;
        let rows: BTreeMap<&LeaseKey, &Lease> = leases.iter().map(|lease| (&lease.key, lease)).collect();
        self.asked.retain(|key| rows.get(key).is_some_and(|row| row.owner.as_ref() == Some(me)));
        for row in leases {
            if row.owner.as_ref() == Some(me) && row.checkpoint_owner.is_some() {
                self.asked.insert(row.key.clone());
            }
        }
        self.left_behind.retain(|key, _| rows.contains_key(key));
        self.moved.retain(|key| rows.contains_key(key));
        // With such a mark the row could not be asked for, by anybody.
        for (key, row) in rows.into_iter().filter(|(key, _)| self.moved.contains(*key)) {
            let ours = row.checkpoint_owner.as_ref() == Some(me) && !self.held.contains_key(key);
            if let Some(owner) = row.owner.clone().filter(|owner| ours && owner != me) {
                let clear = jobs::clear_mark(self.hands.clone(), key.clone(), owner);
                self.jobs.push(Box::pin(async move {
                    clear.await;
                    Done::Cleared
                }));
            }
        }
    }

    fn make(&mut self, one: Move) {
        let hands = self.hands.clone();
        match one {
            Move::Take { key, counter, why } => {
                self.taking.insert(key.clone());
                let terms = self.settings.terms();
                let span = tracing::debug_span!("take", lease_key = %key, ?why);
                let take = async move {
                    let tenure = jobs::take(hands, terms, key.clone(), counter, why).await;
                    Done::Took(key, counter, tenure.map(Box::new))
                };
                self.jobs.push(Box::pin(take.instrument(span)));
            }
            Move::Ask { key, from } => {
                self.asked.insert(key.clone());
                self.asking.insert(key.clone());
                let ask = async move { Done::Asked(key.clone(), jobs::ask(hands, key, from).await) };
                self.jobs.push(Box::pin(ask));
            }
        }
    }

    fn took(&mut self, key: LeaseKey, counter: LeaseCounter, tenure: Option<Tenure>) {
        self.taking.remove(&key);
        let Some(tenure) = tenure else {
            // If a take in doubt landed after all, the row it made is ours to take again. A row of somebody else with
            // that counter does not name this worker.
            self.left_behind.insert(key.clone(), BTreeSet::from([counter, counter.next()]));
            if self.stopping {
                self.give_up_claim(key);
            }
            return;
        };
        self.asked.remove(&key);
        self.moved.remove(&key);
        self.left_behind.remove(&key);
        let held = HeldLease::new(self.hands.clone(), tenure, self.next_tenure);
        self.next_tenure += 1;
        if self.stopping {
            self.releasing.insert(key.clone());
            let release = async move {
                if let Err(error) = held.release().await {
                    tracing::info!(lease_key = %key, %error, "lease not released, it expires");
                }
                Done::Released(key)
            };
            self.jobs.push(Box::pin(release));
            return;
        }
        let (shard, checkpoint) = (self.reports().events.shard(&key), held.start().checkpoint);
        self.reports().events.emit(ConsumerEvent::LeaseTaken { shard, checkpoint });
        self.agenda.renew_at(held.renew_at(), key.clone());
        self.held.insert(key, held.clone());
        let gained = self.gained.clone();
        self.jobs.push(Box::pin(async move { Done::Delivered(gained.send(held).await.is_ok()) }));
    }

    fn reports(&self) -> &Reports {
        &self.settings.reports
    }

    fn tell_end(&self, key: &LeaseKey, end: Option<&End>) {
        let events = &self.reports().events;
        let shard = events.shard(key);
        events.emit(match end {
            // The shard's task tells this one itself.
            None => return,
            Some(End::Released) => ConsumerEvent::LeaseReleased { shard },
            Some(End::HandedOver(to)) => ConsumerEvent::LeaseHandedOver { shard, to: to.clone() },
            Some(End::Moved(to)) => ConsumerEvent::LeaseLost { shard, moved_to: to.clone() },
            Some(End::Deleted | End::Expired) => ConsumerEvent::LeaseLost { shard, moved_to: None },
        });
    }

    /// Forgets the leases that are over. What ended by time is still ours to take again.
    fn drop_ended(&mut self, now: Instant) {
        for (key, tenure) in self.hands.ended.take_all() {
            if self.held.get(&key).is_none_or(|held| held.tenure() != tenure) {
                continue;
            }
            let Some(held) = self.held.remove(&key) else { continue };
            self.agenda.forget(&key);
            let belief = held.snapshot();
            self.tell_end(&key, belief.end());
            match belief.end() {
                Some(End::Expired) => {
                    self.left_behind.insert(key, belief.left_behind().collect());
                    self.agenda.scan_soon(now);
                }
                None => {
                    // The shard is done: its children wait for an owner, and the listing may know more of them.
                    self.agenda.scan_soon(now);
                    self.agenda.sync_soon(now);
                }
                // Somebody else is there, or somebody may take it: a worker that was alone looks again.
                Some(end) => {
                    if matches!(end, End::Moved(_)) {
                        self.moved.insert(key);
                    }
                    self.agenda.scan_soon(now);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
