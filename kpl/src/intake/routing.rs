//! Whether there is a shard map: who waits for the first one, and how every stripe gets a new one.

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use kinesis_shard::ShardMap;

use super::Intake;
use super::lanes::{Gate, Lanes};
use crate::error::{PutErrorReason, TimeSpent, WaitedIn};
use crate::pipeline::aggregator::AggregationBounds;

/// ```text
/// Unknown --reroute--> Ready --reroute--> Ready
///    |  '--refuse--> Unknown                |
///    '---------------shut----------------> Closed
/// ```
#[derive(Debug)]
pub(super) enum Routing {
    Unknown { refusals: u64, refused: PutErrorReason, last_error: Option<Arc<str>> },
    Ready(Arc<ShardMap>),
    Closed,
}

impl Intake {
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
        if kinesis_shard::planted("a closed producer takes records") {
            return;
        }
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

    fn routing(&self) -> MutexGuard<'_, Routing> {
        self.routing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
