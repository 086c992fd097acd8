//! The producers of a run: their configuration, their records, and the answers that they owe.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kinesis_shard::HashKey;
use kpl::{Ordering, Producer, ProducerConfig, Ticket, UserRecord};
use rand::RngExt;
use rand::rngs::SmallRng;

use super::judge;
use super::plan::{Keys, ProducerPlan};
use crate::common::history::Violation;
use crate::common::{World, payload};

/// Which accepted records wait for their answer, by producer: what a flush must have seen answered.
#[derive(Clone, Default)]
pub struct OpenTickets(Arc<Mutex<Open>>);

#[derive(Default)]
struct Open {
    waiting: BTreeSet<(usize, u64)>,
    broken: Vec<Violation>,
}

impl OpenTickets {
    fn open(&self) -> std::sync::MutexGuard<'_, Open> {
        self.0.lock().expect("no actor panics in it")
    }

    pub fn count(&self) -> usize {
        self.open().waiting.len()
    }

    pub fn accuse(&self, found: Vec<Violation>) {
        self.open().broken.extend(found);
    }

    pub fn broken(&self) -> Vec<Violation> {
        self.open().broken.clone()
    }

    /// Books the answer the moment it is there.
    pub fn watch(&self, world: &World, stream: &'static str, of: (usize, u64), ticket: Ticket) {
        self.open().waiting.insert(of);
        let (open, world) = (self.clone(), world.clone());
        tokio::spawn(async move {
            world.answers_of(stream, vec![(of.1, ticket)]).await;
            open.open().waiting.remove(&of);
        });
    }

    /// P9: when a flush is over, everything accepted before it is answered.
    pub async fn flush(self, world: World, index: usize, producer: Producer) {
        let before: Vec<u64> =
            self.open().waiting.iter().filter(|(of, _)| *of == index).map(|(_, uid)| *uid).collect();
        producer.flush().await;
        // Those who wait for the answers are woken by the same event; they get their turn.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let mut open = self.open();
        for uid in before.into_iter().filter(|uid| open.waiting.contains(&(index, *uid))).collect::<Vec<_>>()
        {
            let what = format!(
                "at {}: a flush is over, and record {uid}, accepted before it, is open",
                world.now_millis()
            );
            open.broken.push(judge::violation("P9", what));
        }
    }
}

pub fn producer(world: &World, index: usize, how: &ProducerPlan) -> Producer {
    let config = ProducerConfig::new(world.stream(how.stream))
        .with_seed(world.seed ^ index as u64)
        .with_aggregation_enabled(how.aggregation)
        .with_record_max_buffered_time(Duration::from_millis(how.buffered_millis))
        .with_record_ttl(Duration::from_millis(how.ttl_millis))
        .with_max_record_size(100_000)
        .with_max_outstanding_bytes(how.outstanding_bytes)
        .with_request_timeout(Duration::from_millis(how.request_timeout_millis))
        .with_rate_limit(how.rate_limit_percent)
        .with_ordering(if how.ordered { Ordering::PerShard } else { Ordering::Relaxed });
    Producer::start(&world.sim.client_named(format!("producer-{index}")), config)
        .expect("a valid configuration")
}

pub fn record(uid: u64, keys: Keys, largest: usize, rng: &mut SmallRng) -> UserRecord {
    let data = payload(uid, rng.random_range(0..=largest));
    match keys {
        Keys::Many => UserRecord::new(format!("key-{}", rng.random_range(0..64)), data),
        Keys::One => UserRecord::new("the-one-key", data),
        Keys::Edges => {
            let half = u128::MAX / 2;
            let edges = [0, 1, half, half + 1, u128::MAX - 1, u128::MAX];
            let key = HashKey::new(edges[rng.random_range(0..edges.len())]);
            UserRecord::new("edge", data).with_explicit_hash_key(key)
        }
    }
}
