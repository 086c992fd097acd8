//! The same seed gives the same run, byte for byte: the engine's trace and the actors' history.

mod common;

use std::time::Duration;

use common::worker::{Plan, Policy, drawn_store_fault};
use common::{World, in_virtual_time};
use kinesis_sim::{EntryError, Rule, Verdict};

/// A run with most of what can happen in it.
fn busy_run(seed: u64) -> (String, String) {
    in_virtual_time(async {
        let world = World::new(seed);
        let mut rng = world.rng("store");
        world.store.fail_by(move |_| drawn_store_fault(&mut rng, 0.03));
        let _rules = [
            world.sim.rule(Rule::operation("PutRecords").probability(0.2).then(Verdict::LoseAnswer)),
            world.sim.rule(Rule::operation("GetRecords").probability(0.1).then(Verdict::Throttle)),
            world.sim.rule(
                Rule::operation("PutRecords")
                    .probability(0.2)
                    .then(Verdict::FailEntries { probability: 0.3, error: EntryError::Internal }),
            ),
        ];
        let steady = world.worker("worker-a", Plan { policy: Policy::MidBatch, ..Plan::default() }).await;
        let victim = world.worker("worker-b", Plan { fail_every: 3, ..Plan::default() }).await;
        let producer = world.producer(|config| config);
        for _ in 0..4 {
            let tickets = world.put(&producer, 30).await;
            world.answers(tickets).await;
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        world.split_widest();
        drop(victim);
        let tickets = world.put(&producer, 30).await;
        world.answers(tickets).await;
        world.until_delivered().await;
        steady.shutdown(Duration::from_secs(10)).await;
        (world.sim.trace().join("\n"), world.history.text())
    })
}

#[test]
fn the_same_seed_gives_the_same_trace_and_history() {
    for seed in 0..6 {
        let (first, second) = (busy_run(seed), busy_run(seed));
        assert_eq!(first.0, second.0, "seed {seed}: the engine saw different calls");
        assert_eq!(first.1, second.1, "seed {seed}: different things happened");
        let calls = first.0.lines().count();
        assert!(calls > 20, "seed {seed}: nearly nothing happened: {calls} calls");
    }
}

#[test]
fn different_seeds_give_different_runs() {
    assert_ne!(busy_run(1).1, busy_run(2).1);
}
