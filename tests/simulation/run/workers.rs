//! What happens to workers: they start, stop, die and sleep, and their rows are deleted.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use kcl::lease::LeaseKey;
use kinesis_shard::Freezer;

use super::super::consumer::{Consumer, Process};
use super::super::judge;
use super::super::network::Network;
use super::super::plan::Keys;
use super::super::table::WorkerTable;
use super::{Running, Stage, named};
use crate::common::STREAM;
use crate::common::history::{Event, HAND};

impl Stage<'_> {
    pub(super) async fn start(&mut self, worker: usize) {
        if self.workers[worker].is_some() {
            return;
        }
        self.lives += 1;
        self.running.lock().expect("no panic in it")[worker] += 1;
        let alone = {
            let mut alive = self.alive.lock().expect("no panic in it");
            alive[worker] += 1;
            alive[worker] == 1
        };
        let (name, freezer) = (format!("worker-{worker}"), Freezer::new());
        let process = Process {
            network: Network::new(&self.world.sim, &name, &freezer),
            table: WorkerTable::new(&self.world, &name, &self.rows, self.double.as_ref(), &freezer),
            freezer,
            name,
        };
        self.world.record(Event::Life { worker: process.name.clone() });
        let how = self.plan.workers[worker];
        if how.retrieval == kcl::RetrievalMode::FanOut {
            self.reached.note("worker read by fan-out");
        }
        if how.scans {
            self.reached.note("scan began");
        }
        let consumer = Consumer::start(&self.world, how, self.lives, &process).await;
        self.workers[worker] = Some(Running { consumer, process, alone });
    }

    pub(super) fn stop(&mut self, worker: usize) {
        if let Some(Running { consumer, process, alone }) = self.workers[worker].take() {
            self.reached.note("worker stopped");
            // One that stands still is told of the stop when it wakes; its leases may have run out until then.
            let undisturbed = alone && process.freezer.thawed().now_or_never().is_some();
            let (rows, world, broken) = (Arc::clone(&self.rows), self.world.clone(), self.open.clone());
            let (healthy, began) = (process.table.is_healthy(), tokio::time::Instant::now());
            let (running, life) = (Arc::clone(&self.running), self.life_of(worker));
            let alive = Arc::clone(&self.alive);
            self.puts.spawn(async move {
                let report = consumer.shutdown(Duration::from_secs(5)).await;
                alive.lock().expect("no panic in it")[worker] -= 1;
                // Neither a write that went wrong, nor a process that stood still; and another one of the same name
                // has rows of its own.
                let undisturbed = undisturbed
                    && healthy
                    && began.elapsed() < Duration::from_secs(2)
                    && report.forced.is_empty()
                    && running.lock().expect("no panic in it")[worker] == life;
                if undisturbed {
                    let rows = named(&rows);
                    broken.accuse(judge::given_back(&world, &rows, &BTreeSet::from([process.name])));
                }
            });
        }
    }

    pub(super) fn crash(&mut self, worker: usize) {
        if let Some(running) = self.workers[worker].take() {
            self.reached.note("worker crashed");
            running.process.network.cut();
            running.process.table.cut();
            drop(running);
            self.alive.lock().expect("no panic in it")[worker] -= 1;
            self.world.record(Event::Crashed { worker: format!("worker-{worker}") });
        }
    }

    /// Nobody reads for hours, in which records come and perhaps grow too old.
    pub(super) async fn night(&mut self, frozen: bool, hours: &[u64]) {
        let began = self.world.now_millis();
        let hour = Duration::from_hours(1);
        let running: Vec<usize> =
            (0..self.workers.len()).filter(|worker| self.workers[*worker].is_some()).collect();
        for worker in &running {
            if let (true, Some(running)) = (frozen, &self.workers[*worker]) {
                let total: u64 = hours.iter().sum();
                running.process.freezer.freeze(hour * u32::try_from(total).unwrap_or(u32::MAX));
            } else {
                self.crash(*worker);
            }
        }
        for (index, hours) in hours.iter().enumerate() {
            self.put(index % self.producers.len(), 5, Keys::Many, 20);
            self.pass(Duration::from_mins(2)).await;
            self.world.keep();
            self.pass(hour * u32::try_from(*hours).unwrap_or(u32::MAX)).await;
            self.world.keep();
        }
        for worker in running {
            self.start(worker).await;
        }
        self.late += self.world.now_millis() - began;
    }

    /// Somebody deletes a row in the console: of a shard that is open, so that nothing waits for it.
    pub(super) fn delete_row(&mut self, nth: usize) {
        let open: BTreeSet<LeaseKey> = self
            .world
            .sim
            .shards(STREAM)
            .iter()
            .filter(|shard| shard.is_open())
            .map(|shard| LeaseKey::from(&shard.id))
            .collect();
        let mut rows = self.rows.lock().expect("no actor panics in it");
        let candidates: Vec<_> = rows.keys().filter(|key| open.contains(key)).cloned().collect();
        let Some(key) = candidates.get(nth % candidates.len().max(1)) else { return };
        let before = rows.remove(key).map(Box::new);
        drop(rows);
        self.reached.note("row deleted by hand");
        let (worker, key) = (HAND.to_owned(), key.clone());
        let sent = self.world.now_millis();
        self.world.record(Event::TableWrite { worker, key, sent, before, after: None });
    }

    fn life_of(&self, worker: usize) -> u64 {
        self.running.lock().expect("no panic in it")[worker]
    }
}
