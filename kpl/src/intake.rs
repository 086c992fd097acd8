//! Where callers' threads and the driver meet: open aggregates by shard, sealed ones on their way, and the first shard map.
//!
//! Locks are taken in this order and held only for moments: routing, one stripe, inbox. A caller takes its stripe's lock alone; it holds
//! the open aggregates of every shard, so once the driver has exchanged what is behind it nobody can append to the old ones.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use kinesis_shard::{Clock, HashKey, ShardMap, md5_many};
use tokio::sync::Notify;

use crate::batch::{Batch, Ledger, Ticket};
use crate::error::{PutErrorReason, TimeSpent, WaitedIn};
use crate::outstanding::Outstanding;
use crate::pipeline::aggregator::{AggregationBounds, Aggregator, Opening};
use crate::pipeline::kinesis_record::KinesisRecord;
use crate::user_record::UserRecord;

/// Callers that crowd get open aggregates of their own.
mod stripes;

use stripes::Stripes;

#[derive(Debug)]
pub(crate) struct Intake {
    bounds: AggregationBounds,
    aggregating: AtomicBool,
    clock: Clock,
    outstanding: Arc<Outstanding>,
    epoch: AtomicU64,
    routing: Mutex<Routing>,
    stripes: Stripes<Gate>,
    inbox: Mutex<Inbox>,
    /// For the driver: something is in the inbox, or a deadline is there where none was.
    wake: Notify,
    /// For callers: routing is known, refused or closed.
    routed: Notify,
}

/// ```text
/// Unknown --reroute--> Ready --reroute--> Ready
///    |  '--refuse--> Unknown                |
///    '---------------shut----------------> Closed
/// ```
#[derive(Debug)]
enum Routing {
    Unknown { refusals: u64, refused: PutErrorReason, last_error: Option<Arc<str>> },
    Ready(Arc<ShardMap>),
    Closed,
}

/// What one stripe knows of the routing. It is told after `routing` changed, one stripe after the other.
#[derive(Debug)]
enum Gate {
    Unknown,
    Ready(Lanes),
    Closed,
}

/// The open aggregates of one stripe.
#[derive(Debug)]
struct Lanes {
    map: Arc<ShardMap>,
    bounds: AggregationBounds,
    /// One for each open shard of the map; made when the first record comes, since most stripes see none.
    aggregators: Vec<Aggregator>,
    /// What a push sealed, on its way to the inbox; empty between pushes.
    sealed: Vec<KinesisRecord>,
    /// Shard and place of each record of a run; empty between runs.
    order: Vec<(u32, u32)>,
    /// Their tickets, by place; empty between runs.
    placed: Vec<Option<Ticket>>,
}

impl Lanes {
    fn new(map: Arc<ShardMap>, bounds: AggregationBounds) -> Self {
        Self {
            map,
            bounds,
            aggregators: Vec::new(),
            sealed: Vec::new(),
            order: Vec::new(),
            placed: Vec::new(),
        }
    }

    fn open_all(&mut self) {
        if self.aggregators.is_empty() {
            self.aggregators.resize_with(self.map.open_count(), || Aggregator::new(self.bounds));
        }
    }

    fn seal_all(&mut self) -> impl Iterator<Item = KinesisRecord> {
        self.aggregators.iter_mut().filter_map(Aggregator::seal)
    }
}

/// Bounded by the bytes that may be outstanding: everything in it was paid for.
#[derive(Debug, Default)]
struct Inbox {
    sealed: Vec<KinesisRecord>,
    /// Deadline, stripe and shard of each aggregate that was opened. It may be sealed long before, and the stripe may have another map
    /// by then; the deadline of the one that is open there, if any, settles it.
    opened: VecDeque<(Instant, usize, usize)>,
    flush: Option<u64>,
    wants_map: bool,
}

/// What the driver fetches.
#[derive(Debug)]
pub(crate) struct Collected {
    pub(crate) flush: Option<u64>,
    pub(crate) wants_map: bool,
    pub(crate) next_deadline: Option<Instant>,
}

/// Why records were not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotTaken {
    NoMap,
    Closed,
}

/// So many of a bulk put are hashed at once and taken under one lock, those of one shard after another.
const RUN: usize = 512;

impl Intake {
    /// With more than one stripe, records that one caller puts one after another keep their order only while callers do not crowd.
    pub(crate) fn new(
        bounds: AggregationBounds,
        clock: Clock,
        outstanding: Arc<Outstanding>,
        stripes: usize,
    ) -> Self {
        let routing = Routing::Unknown { refusals: 0, refused: PutErrorReason::Closed, last_error: None };
        Self {
            aggregating: AtomicBool::new(bounds.enabled),
            bounds,
            clock,
            outstanding,
            epoch: AtomicU64::new(0),
            routing: Mutex::new(routing),
            stripes: Stripes::new(stripes, || Gate::Unknown),
            inbox: Mutex::new(Inbox::default()),
            wake: Notify::new(),
            routed: Notify::new(),
        }
    }

    /// Takes one record, whose bytes are paid for.
    pub(crate) fn submit(&self, record: &UserRecord) -> Result<Ticket, NotTaken> {
        let hash_key = record.hash_key();
        let (stripe, mut gate) = self.stripes.lock();
        let lanes = gate.lanes()?;
        let shard = lanes.map.open_index_of(hash_key);
        Ok(self.push((stripe, shard), lanes, record, hash_key))
    }

    /// Takes many, in order, as long as there is a map and the door is open: the tickets say how many were taken.
    pub(crate) fn submit_many(
        &self,
        records: &[UserRecord],
        tickets: &mut Vec<Ticket>,
    ) -> Result<(), NotTaken> {
        let mut hash_keys = [HashKey::MIN; RUN];
        for run in records.chunks(RUN) {
            hash_all(run, &mut hash_keys);
            let (stripe, mut gate) = self.stripes.lock();
            let lanes = gate.lanes()?;
            self.push_run(stripe, lanes, run, &hash_keys);
            tickets.extend(lanes.placed.drain(..).flatten());
        }
        Ok(())
    }

    /// Shard by shard, since each has its memory elsewhere; records of one shard keep their order.
    fn push_run(&self, stripe: usize, lanes: &mut Lanes, run: &[UserRecord], hash_keys: &[HashKey]) {
        let mut order = std::mem::take(&mut lanes.order);
        let shards = hash_keys.iter().take(run.len()).map(|key| lanes.map.open_index_of(*key));
        // A map has far fewer shards than that.
        order.extend(shards.map(|shard| u32::try_from(shard).unwrap_or(u32::MAX)).zip(0..));
        order.sort_unstable_by_key(|(shard, place)| u64::from(*shard) << 32 | u64::from(*place));
        lanes.placed.resize_with(run.len(), || None);
        for (shard, place) in order.drain(..) {
            let (shard, place) = (shard as usize, place as usize);
            let (Some(record), Some(key)) = (run.get(place), hash_keys.get(place)) else { continue };
            let ticket = self.push((stripe, shard), lanes, record, *key);
            if let Some(placed) = lanes.placed.get_mut(place) {
                *placed = Some(ticket);
            }
        }
        lanes.order = order;
    }

    fn push(&self, lane: (usize, usize), lanes: &mut Lanes, record: &UserRecord, key: HashKey) -> Ticket {
        let (stripe, shard) = lane;
        let Lanes { aggregators, sealed, .. } = lanes;
        let aggregator = aggregators.get_mut(shard).expect("there is a lane for each open shard of the map");
        let pushed = aggregator.push(record, key, || self.opening(), sealed);
        if !sealed.is_empty() || pushed.opened.is_some() {
            // Still under the stripe's lock: its aggregates reach the driver in the order in which they were sealed.
            let mut inbox = self.inbox();
            let first = inbox.opened.is_empty() && pushed.opened.is_some();
            inbox.opened.extend(pushed.opened.map(|deadline| (deadline, stripe, shard)));
            let wakes = first || !sealed.is_empty();
            inbox.sealed.append(sealed);
            drop(inbox);
            if wakes {
                self.wake.notify_one();
            }
        }
        Ticket::new(pushed.batch, pushed.index)
    }

    /// The only clock reading on the way in: once an aggregate. The epoch is read under the stripe's lock, so a flush that has passed
    /// this stripe is seen here.
    fn opening(&self) -> Opening {
        self.stripes.calm();
        let epoch = self.epoch.load(Ordering::SeqCst);
        self.outstanding.opened(epoch);
        let ledger = Arc::clone(&self.outstanding) as Arc<dyn Ledger>;
        Opening { now: self.clock.now(), batch: Batch::new(epoch, ledger) }
    }

    /// Waits for the first shard map, at most this long. Cancel safe.
    pub(crate) async fn ready(&self, patience: Duration) -> Result<(), PutErrorReason> {
        let refusals_before = match &*self.routing() {
            Routing::Ready(_) => return Ok(()),
            Routing::Closed => return Err(PutErrorReason::Closed),
            Routing::Unknown { refusals, .. } => *refusals,
        };
        self.inbox().wants_map = true;
        self.wake.notify_one();
        let mut patience_ends = pin!(self.clock.sleep(patience));
        loop {
            let mut routed = pin!(self.routed.notified());
            // From here on no notification is missed.
            routed.as_mut().enable();
            let last_error = match &*self.routing() {
                Routing::Ready(_) => return Ok(()),
                Routing::Closed => return Err(PutErrorReason::Closed),
                Routing::Unknown { refusals, refused, .. } if *refusals > refusals_before => {
                    return Err(refused.clone());
                }
                Routing::Unknown { last_error, .. } => last_error.clone(),
            };
            tokio::select! {
                // A map that comes with the last moment still counts; it comes once, so time is not starved.
                biased;
                () = routed => {}
                () = patience_ends.as_mut() => {
                    let (waited, waited_in) = (patience, WaitedIn::ShardMap);
                    let time_spent = Box::new(TimeSpent { shard_map: waited, ..TimeSpent::default() });
                    return Err(PutErrorReason::Expired { waited, waited_in, time_spent, last_error });
                }
            }
        }
    }

    /// Ends the epoch: everything accepted so far is sealed. Returns the epoch to wait for.
    pub(crate) fn flush(&self) -> u64 {
        let epoch = self.epoch.fetch_add(1, Ordering::SeqCst);
        for mut stripe in self.stripes.all() {
            if let Gate::Ready(lanes) = &mut *stripe {
                self.inbox().sealed.extend(lanes.seal_all());
            }
        }
        let mut inbox = self.inbox();
        inbox.flush = inbox.flush.max(Some(epoch));
        drop(inbox);
        self.wake.notify_one();
        epoch
    }

    /// The driver's side: seals what is due and hands over what is there. `sealed` comes empty; it is exchanged, so that both sides keep
    /// their memory.
    pub(crate) fn collect(&self, now: Instant, sealed: &mut Vec<KinesisRecord>) -> Collected {
        let due: Vec<(usize, usize)> = {
            let opened = &mut self.inbox().opened;
            let count = opened.iter().take_while(|(deadline, ..)| *deadline <= now).count();
            opened.drain(..count).map(|(_, stripe, shard)| (stripe, shard)).collect()
        };
        for (stripe, shard) in due {
            let Some(mut gate) = self.stripes.at(stripe) else { continue };
            if let Gate::Ready(lanes) = &mut *gate
                && let Some(aggregator) = lanes.aggregators.get_mut(shard)
                && aggregator.is_due(now)
            {
                self.inbox().sealed.extend(aggregator.seal());
                // Load does not fill as many aggregates as there are.
                self.stripes.join();
            }
        }
        let mut inbox = self.inbox();
        std::mem::swap(&mut inbox.sealed, sealed);
        Collected {
            flush: inbox.flush.take(),
            wants_map: std::mem::take(&mut inbox.wants_map),
            next_deadline: inbox.opened.front().map(|(deadline, ..)| *deadline),
        }
    }

    /// Resolves when there may be something to collect.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// New records go by this map; what is open under the old one is sealed, for the pipeline to cut up where it must.
    pub(crate) fn reroute(&self, map: &Arc<ShardMap>) {
        let mut routing = self.routing();
        match &*routing {
            Routing::Closed => return,
            Routing::Ready(known) if known.open() == map.open() => return,
            Routing::Ready(_) | Routing::Unknown { .. } => {}
        }
        *routing = Routing::Ready(Arc::clone(map));
        self.exchange(|| self.gate(map));
        drop(routing);
        self.routed.notify_waiters();
    }

    /// Whether new records are aggregated from here on. What is open is sealed.
    pub(crate) fn set_aggregating(&self, aggregating: bool) {
        if self.aggregating.swap(aggregating, Ordering::Relaxed) == aggregating {
            return;
        }
        let routing = self.routing();
        if let Routing::Ready(map) = &*routing {
            self.exchange(|| self.gate(map));
            drop(routing);
            self.wake.notify_one();
        }
    }

    fn gate(&self, map: &Arc<ShardMap>) -> Gate {
        let bounds = AggregationBounds { enabled: self.aggregating.load(Ordering::Relaxed), ..self.bounds };
        Gate::Ready(Lanes::new(Arc::clone(map), bounds))
    }

    /// There will be no map for now: whoever waits for the first one is told why. Without a reason they wait on.
    pub(crate) fn refuse(&self, reason: Option<PutErrorReason>, message: Arc<str>) {
        if let Routing::Unknown { refusals, refused, last_error } = &mut *self.routing() {
            *last_error = Some(message);
            if let Some(reason) = reason {
                (*refusals, *refused) = (*refusals + 1, reason);
            }
        }
        self.routed.notify_waiters();
    }

    /// Takes nothing more. What is open is sealed.
    pub(crate) fn shut(&self) {
        let mut routing = self.routing();
        *routing = Routing::Closed;
        self.exchange(|| Gate::Closed);
        drop(routing);
        self.inbox().opened.clear();
        self.outstanding.close();
        self.routed.notify_waiters();
        self.wake.notify_one();
    }

    /// Every stripe gets a new gate; what was open behind the old one is sealed before anything can follow it, so that order is kept.
    /// Called with the routing locked, so that all stripes end up with the same.
    fn exchange(&self, gate: impl Fn() -> Gate) {
        for mut stripe in self.stripes.all() {
            if let Gate::Ready(mut lanes) = std::mem::replace(&mut *stripe, gate()) {
                self.inbox().sealed.extend(lanes.seal_all());
            }
        }
    }

    /// What was sealed and not yet collected.
    pub(crate) fn uncollected(&self) -> Vec<KinesisRecord> {
        std::mem::take(&mut self.inbox().sealed)
    }

    /// User records that the pipeline has not seen.
    pub(crate) fn user_records(&self) -> u64 {
        let open = |gate: MutexGuard<'_, Gate>| match &*gate {
            Gate::Ready(lanes) => lanes.aggregators.iter().map(|open| u64::from(open.records())).sum(),
            Gate::Unknown | Gate::Closed => 0,
        };
        let open: u64 = self.stripes.all().map(open).sum();
        let sealed: usize = self.inbox().sealed.iter().map(|record| record.origin.len()).sum();
        open + u64::try_from(sealed).unwrap_or(u64::MAX)
    }

    fn routing(&self) -> MutexGuard<'_, Routing> {
        self.routing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gate {
    /// Where records go.
    fn lanes(&mut self) -> Result<&mut Lanes, NotTaken> {
        match self {
            Self::Unknown => Err(NotTaken::NoMap),
            Self::Closed => Err(NotTaken::Closed),
            Self::Ready(lanes) => {
                lanes.open_all();
                Ok(lanes)
            }
        }
    }
}

/// The hash keys of these records, at most [`RUN`]: explicit ones as they are, the others hashed together.
fn hash_all(records: &[UserRecord], hash_keys: &mut [HashKey; RUN]) {
    let mut keys: [&[u8]; RUN] = [&[]; RUN];
    for (key, record) in keys.iter_mut().zip(records) {
        *key = record.partition_key.as_bytes();
    }
    let mut digests = [[0; 16]; RUN];
    let count = records.len().min(RUN);
    md5_many(keys.split_at(count).0, digests.split_at_mut(count).0);
    for ((hash_key, record), digest) in hash_keys.iter_mut().zip(records).zip(digests) {
        *hash_key = record.explicit_hash_key.unwrap_or_else(|| HashKey::new(u128::from_be_bytes(digest)));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;
    use crate::outstanding::Room;
    use crate::testing::{shard_map, start};

    const THREADS: usize = 4;
    const RECORDS: usize = 5_000;

    /// Four threads put, one by one and in bulk, and flush, while a driver collects and the shards change: each record comes out
    /// once, and every ticket is answered.
    #[test]
    fn crowding_threads_lose_nothing_and_get_nothing_twice() {
        let outstanding = Arc::new(Outstanding::new(Room::new(1 << 30)));
        let bounds = AggregationBounds {
            enabled: true,
            max_count: u32::MAX,
            max_bytes: 2_000,
            linger: Duration::from_millis(1),
        };
        let intake = Intake::new(bounds, Clock::default(), outstanding, THREADS);
        let maps = [shard_map(8), shard_map(5)];
        intake.reroute(&maps[0]);
        let done = AtomicBool::new(false);
        let (tickets, mut collected) = thread::scope(|scope| {
            let putters: Vec<_> = (0..THREADS)
                .map(|number| {
                    scope.spawn({
                        let intake = &intake;
                        move || put(intake, number)
                    })
                })
                .collect();
            let driver = scope.spawn(|| {
                let (mut all, mut round) = (Vec::new(), 0);
                while !done.load(Ordering::SeqCst) {
                    round += 1;
                    let mut sealed = Vec::new();
                    // Everything that is open is due.
                    intake.collect(start() + Duration::from_hours(round), &mut sealed);
                    all.append(&mut sealed);
                    intake.reroute(&maps[usize::from(round % 2 == 0)]);
                    intake.stripes.crowd();
                }
                all
            });
            let tickets: Vec<Ticket> =
                putters.into_iter().flat_map(|putter| putter.join().unwrap()).collect();
            done.store(true, Ordering::SeqCst);
            (tickets, driver.join().unwrap())
        });
        intake.flush();
        collected.extend(intake.uncollected());
        assert_eq!(intake.user_records(), 0, "nothing is open any more");
        assert_eq!(tickets.len(), THREADS * RECORDS);
        assert_eq!(collected.iter().map(|record| record.origin.len()).sum::<usize>(), THREADS * RECORDS);
        assert!(tickets.iter().all(|ticket| ticket.answer().is_none()));
        drop(collected);
        assert!(tickets.iter().all(|ticket| ticket.answer().is_some()));
    }

    fn put(intake: &Intake, thread: usize) -> Vec<Ticket> {
        let mut tickets = Vec::new();
        let records: Vec<_> = (0..RECORDS)
            .map(|number| UserRecord::new(format!("{thread}-{}", number % 500), "data"))
            .collect();
        for chunk in records.chunks(50) {
            let (one_by_one, together) = chunk.split_at(25);
            tickets.extend(one_by_one.iter().map(|record| intake.submit(record).unwrap()));
            intake.submit_many(together, &mut tickets).unwrap();
            if tickets.len().is_multiple_of(1_000) {
                intake.flush();
            }
        }
        tickets
    }
}
