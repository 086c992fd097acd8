//! Where callers' threads and the driver meet: open aggregates by shard, sealed ones on their way, and the first shard map.
//!
//! Locks are taken in this order and held only for moments: routing, one stripe, inbox. A caller takes its stripe's lock alone; it holds
//! the open aggregates of every shard, so once the driver has exchanged what is behind it nobody can append to the old ones.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use kinesis_shard::{Clock, HashKey};
use tokio::sync::Notify;

use crate::batch::{Batch, Ledger, Ticket, Tickets};
use crate::error::PutErrorReason;
use crate::outstanding::Outstanding;
use crate::pipeline::aggregator::{AggregationBounds, Host, Opening};
use crate::pipeline::kinesis_record::KinesisRecord;
use crate::user_record::UserRecord;

/// Callers that crowd get open aggregates of their own.
mod stripes;

/// Open aggregates, and in which turn records join them.
mod lanes;

/// Whether there is a shard map.
mod routing;

#[cfg(test)]
mod tests;

use lanes::{Gate, Lanes, hash_all};
use routing::Routing;
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
    /// More is due than was sealed at once: others come first, then the driver comes again.
    pub(crate) more: bool,
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

/// So many aggregates that are due together are sealed at once, about as many as a request holds: each request is on its way, and perhaps
/// answered, before the next ones take memory.
const SEALED: usize = 512;

/// So many of a bulk put are taken under one lock, those of one shard after another.
const RUN: usize = 2048;

/// One push, for an aggregator.
struct Push<'a, J> {
    intake: &'a Intake,
    sealed: &'a mut Vec<KinesisRecord>,
    joined: J,
}

impl<J: FnMut(&Arc<Batch>, u32)> Host for Push<'_, J> {
    fn open(&mut self) -> Opening {
        self.intake.opening()
    }

    fn joined(&mut self, batch: &Arc<Batch>, index: u32) {
        (self.joined)(batch, index);
    }

    fn sealed(&mut self, record: KinesisRecord) {
        self.sealed.push(record);
    }
}

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

    /// This thread's number, while callers crowd.
    pub(crate) fn crowd(&self) -> Option<usize> {
        self.stripes.crowd_number()
    }

    /// Takes one record, whose bytes are paid for.
    pub(crate) fn submit(&self, record: &UserRecord) -> Result<Ticket, NotTaken> {
        let hash_key = record.hash_key();
        let (stripe, mut gate) = self.stripes.lock();
        let lanes = gate.lanes()?;
        let shard = lanes.map.open_index_of(hash_key);
        if let Some(aggregator) = lanes.aggregators.get(shard) {
            // With thousands of shards none of it is near: asked for at once, it comes in the time of one.
            aggregator.push_soon(hash_key);
        }
        let mut ticket = None;
        self.push((stripe, shard), lanes, (record, hash_key), |batch, index| {
            ticket = Some(Ticket::new(Arc::clone(batch), index));
        });
        Ok(ticket.expect("a record that is pushed joins a batch"))
    }

    /// Takes many, in order, as long as there is a map and the door is open: the tickets say how many were taken.
    pub(crate) fn submit_many(&self, records: &[UserRecord], tickets: &mut Tickets) -> Result<(), NotTaken> {
        let mut hash_keys = Vec::with_capacity(RUN.min(records.len()));
        for run in records.chunks(RUN) {
            hash_all(run, &mut hash_keys);
            let (stripe, mut gate) = self.stripes.lock();
            self.push_run(stripe, gate.lanes()?, (run, &hash_keys), tickets);
        }
        Ok(())
    }

    fn push_run(
        &self,
        stripe: usize,
        lanes: &mut Lanes,
        (run, hash_keys): (&[UserRecord], &[HashKey]),
        tickets: &mut Tickets,
    ) {
        let first = tickets.len();
        tickets.extend(run.len());
        let turns = lanes.turns(hash_keys);
        for number in 0..run.len() {
            lanes.prepare(&turns, number, hash_keys);
            let Some(turn) = turns.get(number) else { continue };
            let (shard, place) = (turn.shard as usize, turn.place as usize);
            let (Some(record), Some(key)) = (run.get(place), hash_keys.get(place)) else { continue };
            self.push((stripe, shard), lanes, (record, *key), |batch, index| {
                tickets.place(first + place, batch, index);
            });
        }
        lanes.give_back(turns);
    }

    fn push(
        &self,
        (stripe, shard): (usize, usize),
        lanes: &mut Lanes,
        (record, key): (&UserRecord, HashKey),
        joined: impl FnMut(&Arc<Batch>, u32),
    ) {
        let Lanes { aggregators, sealed, .. } = lanes;
        let aggregator = aggregators.get_mut(shard).expect("there is a lane for each open shard of the map");
        let opened = aggregator.push(record, key, &mut Push { intake: self, sealed, joined });
        if !sealed.is_empty() || opened.is_some() {
            // Still under the stripe's lock: its aggregates reach the driver in the order in which they were sealed.
            let mut inbox = self.inbox();
            let first = inbox.opened.is_empty() && opened.is_some();
            inbox.opened.extend(opened.map(|deadline| (deadline, stripe, shard)));
            let wakes = first || !sealed.is_empty();
            inbox.sealed.append(sealed);
            drop(inbox);
            if wakes {
                self.wake.notify_one();
            }
        }
    }

    /// The only clock reading on the way in: once an aggregate. The epoch is read under the stripe's lock, so a flush that has passed
    /// this stripe is seen here.
    fn opening(&self) -> Opening {
        let epoch = self.epoch.load(Ordering::SeqCst);
        self.outstanding.opened(epoch);
        let ledger = Arc::clone(&self.outstanding) as Arc<dyn Ledger>;
        Opening { now: self.clock.now(), batch: Batch::new(epoch, ledger) }
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
            let due = opened.iter().take_while(|(deadline, ..)| *deadline <= now);
            let count = due.take(SEALED).count();
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
            more: inbox.opened.front().is_some_and(|(deadline, ..)| *deadline <= now),
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

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
