//! Where callers' threads and the driver meet: open aggregates by shard, sealed ones on their way, and the first shard map.
//!
//! Locks are taken in this order and held only for moments: routing, one shard's aggregate, inbox. Aggregates are appended to under
//! routing's read lock, so once the driver has exchanged the routes nobody can append to the old ones.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use kinesis_shard::{Clock, HashKey, ShardMap};
use tokio::sync::Notify;

use crate::batch::{Batch, Ledger, Ticket};
use crate::error::{PutErrorReason, TimeSpent, WaitedIn};
use crate::outstanding::Outstanding;
use crate::pipeline::aggregator::{AggregationBounds, Aggregator, Opening};
use crate::pipeline::kinesis_record::KinesisRecord;
use crate::user_record::UserRecord;

#[derive(Debug)]
pub(crate) struct Intake {
    bounds: AggregationBounds,
    aggregating: AtomicBool,
    clock: Clock,
    outstanding: Arc<Outstanding>,
    epoch: AtomicU64,
    routing: RwLock<Routing>,
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
    Ready(Routes),
    Closed,
}

#[derive(Debug)]
struct Routes {
    map: Arc<ShardMap>,
    lanes: Vec<Lane>,
}

/// Apart from its neighbours, so that threads on different shards do not share a cache line.
#[derive(Debug)]
#[repr(align(128))]
struct Lane(Mutex<Aggregator>);

impl Lane {
    fn lock(&self) -> MutexGuard<'_, Aggregator> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bounded by the bytes that may be outstanding: everything in it was paid for.
#[derive(Debug, Default)]
struct Inbox {
    sealed: VecDeque<KinesisRecord>,
    /// Deadline and shard of each aggregate that was opened. It may be sealed long before; the deadline of the one that is open then
    /// settles it.
    opened: VecDeque<(Instant, usize)>,
    flush: Option<u64>,
    wants_map: bool,
}

/// What the driver fetches.
#[derive(Debug)]
pub(crate) struct Collected {
    pub(crate) sealed: VecDeque<KinesisRecord>,
    pub(crate) flush: Option<u64>,
    pub(crate) wants_map: bool,
    pub(crate) next_deadline: Option<Instant>,
}

/// A record that was not taken.
#[derive(Debug)]
pub(crate) enum NotTaken<T> {
    NoMap(T),
    Closed(T),
}

impl Intake {
    pub(crate) fn new(bounds: AggregationBounds, clock: Clock, outstanding: Arc<Outstanding>) -> Self {
        let routing = Routing::Unknown { refusals: 0, refused: PutErrorReason::Closed, last_error: None };
        Self {
            aggregating: AtomicBool::new(bounds.enabled),
            bounds,
            clock,
            outstanding,
            epoch: AtomicU64::new(0),
            routing: RwLock::new(routing),
            inbox: Mutex::new(Inbox::default()),
            wake: Notify::new(),
            routed: Notify::new(),
        }
    }

    /// Takes one record, whose bytes are paid for.
    pub(crate) fn submit(&self, record: UserRecord) -> Result<Ticket, NotTaken<UserRecord>> {
        let hash_key = record.hash_key();
        match &*self.read() {
            Routing::Unknown { .. } => Err(NotTaken::NoMap(record)),
            Routing::Closed => Err(NotTaken::Closed(record)),
            Routing::Ready(routes) => {
                let shard = routes.map.open_index_of(hash_key);
                let mut aggregator = routes.lane(shard).lock();
                Ok(self.push(shard, &mut aggregator, record, hash_key))
            }
        }
    }

    /// Takes many, all or none; each shard is locked once. Records of one shard keep their order.
    pub(crate) fn submit_many(
        &self,
        records: Vec<UserRecord>,
    ) -> Result<Vec<Ticket>, NotTaken<Vec<UserRecord>>> {
        let hash_keys: Vec<HashKey> = records.iter().map(UserRecord::hash_key).collect();
        let routing = self.read();
        let routes = match &*routing {
            Routing::Unknown { .. } => return Err(NotTaken::NoMap(records)),
            Routing::Closed => return Err(NotTaken::Closed(records)),
            Routing::Ready(routes) => routes,
        };
        let mut placed: Vec<(usize, usize, HashKey, UserRecord)> = records
            .into_iter()
            .zip(hash_keys)
            .enumerate()
            .map(|(position, (record, key))| (routes.map.open_index_of(key), position, key, record))
            .collect();
        placed.sort_unstable_by_key(|(shard, position, ..)| (*shard, *position));
        let mut tickets = Vec::with_capacity(placed.len());
        let mut placed = placed.into_iter().peekable();
        while let Some((shard, ..)) = placed.peek() {
            let shard = *shard;
            let mut aggregator = routes.lane(shard).lock();
            while let Some((_, position, key, record)) = placed.next_if(|(next, ..)| *next == shard) {
                tickets.push((position, self.push(shard, &mut aggregator, record, key)));
            }
        }
        tickets.sort_unstable_by_key(|(position, _)| *position);
        Ok(tickets.into_iter().map(|(_, ticket)| ticket).collect())
    }

    fn push(&self, shard: usize, aggregator: &mut Aggregator, record: UserRecord, key: HashKey) -> Ticket {
        let pushed = aggregator.push(record, key, || self.opening());
        let seals = pushed.sealed.iter().any(Option::is_some);
        if seals || pushed.opened.is_some() {
            // Still under the shard's lock: its aggregates reach the driver in the order in which they were sealed.
            let mut inbox = self.inbox();
            let first = inbox.opened.is_empty() && pushed.opened.is_some();
            inbox.opened.extend(pushed.opened.map(|deadline| (deadline, shard)));
            inbox.sealed.extend(pushed.sealed.into_iter().flatten());
            drop(inbox);
            if seals || first {
                self.wake.notify_one();
            }
        }
        Ticket::new(pushed.batch, pushed.index)
    }

    /// The only clock reading on the way in: once an aggregate. The epoch is read under the shard's lock, so a flush that has passed
    /// this shard is seen here.
    fn opening(&self) -> Opening {
        let epoch = self.epoch.load(Ordering::SeqCst);
        self.outstanding.opened(epoch);
        let ledger = Arc::clone(&self.outstanding) as Arc<dyn Ledger>;
        Opening { now: self.clock.now(), batch: Batch::new(epoch, ledger) }
    }

    /// Waits for the first shard map, at most this long. Cancel safe.
    pub(crate) async fn ready(&self, patience: Duration) -> Result<(), PutErrorReason> {
        let refusals_before = match &*self.read() {
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
            let last_error = match &*self.read() {
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
        if let Routing::Ready(routes) = &*self.read() {
            for lane in &routes.lanes {
                let mut aggregator = lane.lock();
                if let Some(sealed) = aggregator.seal() {
                    self.inbox().sealed.push_back(sealed);
                }
            }
        }
        let mut inbox = self.inbox();
        inbox.flush = inbox.flush.max(Some(epoch));
        drop(inbox);
        self.wake.notify_one();
        epoch
    }

    /// The driver's side: seals what is due and hands over what is there.
    pub(crate) fn collect(&self, now: Instant) -> Collected {
        if let Routing::Ready(routes) = &*self.read() {
            let due: Vec<usize> = {
                let opened = &mut self.inbox().opened;
                let count = opened.iter().take_while(|(deadline, _)| *deadline <= now).count();
                opened.drain(..count).map(|(_, shard)| shard).collect()
            };
            for shard in due {
                let mut aggregator = routes.lane(shard).lock();
                if aggregator.is_due(now)
                    && let Some(sealed) = aggregator.seal()
                {
                    self.inbox().sealed.push_back(sealed);
                }
            }
        }
        let mut inbox = self.inbox();
        Collected {
            sealed: std::mem::take(&mut inbox.sealed),
            flush: inbox.flush.take(),
            wants_map: std::mem::take(&mut inbox.wants_map),
            next_deadline: inbox.opened.front().map(|(deadline, _)| *deadline),
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
        let mut routing = self.write();
        match &*routing {
            Routing::Closed => return,
            Routing::Ready(routes) if routes.map.open() == map.open() => return,
            Routing::Ready(_) | Routing::Unknown { .. } => {}
        }
        self.replace(&mut routing, Arc::clone(map));
        drop(routing);
        self.routed.notify_waiters();
    }

    /// Whether new records are aggregated from here on. What is open is sealed.
    pub(crate) fn set_aggregating(&self, aggregating: bool) {
        if self.aggregating.swap(aggregating, Ordering::Relaxed) == aggregating {
            return;
        }
        let mut routing = self.write();
        if let Routing::Ready(Routes { map, .. }) = &*routing {
            let map = Arc::clone(map);
            self.replace(&mut routing, map);
            drop(routing);
            self.wake.notify_one();
        }
    }

    /// New lanes. What was open is sealed before anything can follow it on the new ones, so that order is kept.
    fn replace(&self, routing: &mut Routing, map: Arc<ShardMap>) {
        let bounds = AggregationBounds { enabled: self.aggregating.load(Ordering::Relaxed), ..self.bounds };
        let lanes = map.open().iter().map(|_| Lane(Mutex::new(Aggregator::new(bounds)))).collect();
        self.inbox().opened.clear();
        self.seal_all(std::mem::replace(routing, Routing::Ready(Routes { map, lanes })));
    }

    /// There will be no map for now: whoever waits for the first one is told why. Without a reason they wait on.
    pub(crate) fn refuse(&self, reason: Option<PutErrorReason>, message: Arc<str>) {
        if let Routing::Unknown { refusals, refused, last_error } = &mut *self.write() {
            *last_error = Some(message);
            if let Some(reason) = reason {
                (*refusals, *refused) = (*refusals + 1, reason);
            }
        }
        self.routed.notify_waiters();
    }

    /// Takes nothing more. What is open is sealed.
    pub(crate) fn shut(&self) {
        let old = {
            let mut routing = self.write();
            self.inbox().opened.clear();
            std::mem::replace(&mut *routing, Routing::Closed)
        };
        self.seal_all(old);
        self.outstanding.close();
        self.routed.notify_waiters();
        self.wake.notify_one();
    }

    /// What was sealed and not yet collected.
    pub(crate) fn uncollected(&self) -> VecDeque<KinesisRecord> {
        std::mem::take(&mut self.inbox().sealed)
    }

    /// User records that the pipeline has not seen.
    pub(crate) fn user_records(&self) -> u64 {
        let open: u64 = match &*self.read() {
            Routing::Ready(routes) => routes.lanes.iter().map(|lane| u64::from(lane.lock().records())).sum(),
            Routing::Unknown { .. } | Routing::Closed => 0,
        };
        let sealed: usize = self.inbox().sealed.iter().map(|record| record.origin.len()).sum();
        open + u64::try_from(sealed).unwrap_or(u64::MAX)
    }

    fn seal_all(&self, routing: Routing) {
        if let Routing::Ready(routes) = routing {
            for lane in &routes.lanes {
                if let Some(sealed) = lane.lock().seal() {
                    self.inbox().sealed.push_back(sealed);
                }
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Routing> {
        self.routing.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Routing> {
        self.routing.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Routes {
    fn lane(&self, shard: usize) -> &Lane {
        self.lanes.get(shard).expect("there is one lane for each open shard of the map")
    }
}
