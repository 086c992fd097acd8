//! Whole workers over seeds on the production lease store: the double of DynamoDB loses, delays and refuses its calls.

#[path = "../../tests/common/mod.rs"]
mod common;

use std::sync::Arc;
use std::time::Duration;

use common::history::Event;
use common::worker::{Plan, Policy};
use common::{World, for_each_seed};
use kcl::DynamoDbLeaseStore;
use kinesis_sim::{Rule, SimDynamoDb, Verdict};
use rand::RngExt;

/// The world with its leases in simulated tables; each worker has a client of its own.
fn on_tables(mut world: World) -> (World, SimDynamoDb) {
    let tables = SimDynamoDb::new(world.seed);
    let shared = tables.clone();
    world.store_of = Some(Arc::new(move |worker: &str| {
        Arc::new(DynamoDbLeaseStore::new(&shared.client_named(worker.to_owned()), "tests"))
    }));
    (world, tables)
}

fn leases_lost(world: &World) -> usize {
    world.history.events().iter().filter(|(_, event)| matches!(event, Event::LeaseLost { .. })).count()
}

#[test]
fn lost_answers_of_the_lease_table_cost_no_record() {
    for_each_seed("lost_answers_of_the_lease_table_cost_no_record", |seeded: World| async move {
        let (world, tables) = on_tables(seeded);
        let mut rng = world.rng("table");
        let faults = [
            Rule::any().probability(0.04).then(Verdict::LoseAnswer),
            Rule::any().probability(0.03).then(Verdict::LoseRequest),
            Rule::any().probability(0.03).then(Verdict::Throttle),
            Rule::any().probability(0.02).then(Verdict::Fail),
            // Late: it may arrive after its caller gave up, and after what the caller did next.
            Rule::any()
                .probability(0.1)
                .then(Verdict::Delay(Duration::from_millis(rng.random_range(1..9_000)))),
        ];
        let guards: Vec<_> = faults.into_iter().map(|rule| tables.rule(rule)).collect();
        let first = world.worker("worker-a", Plan::default()).await;
        let second = world.worker("worker-b", Plan { policy: Policy::MidBatch, ..Plan::default() }).await;
        let producer = world.producer(|config| config);
        for _ in 0..15 {
            let tickets = world.put(&producer, 20).await;
            world.answers(tickets).await;
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        assert!(guards.iter().any(|guard| guard.hits() > 0));
        drop(guards);
        world.until_delivered().await;
        first.shutdown(Duration::from_secs(10)).await;
        second.shutdown(Duration::from_secs(10)).await;
        world.assert_complete();
    });
}

/// One call in doubt, at least a failover time apart: whatever call it strikes, renewal or checkpoint, no lease is lost
/// and nothing is handed over twice.
#[test]
fn one_lost_answer_costs_no_lease() {
    for_each_seed("one_lost_answer_costs_no_lease", |seeded: World| async move {
        let (world, tables) = on_tables(World::with_shards(seeded.seed, 2));
        let mut rng = world.rng("one");
        let worker = world.worker("worker-a", Plan::default()).await;
        let producer = world.producer(|config| config);
        for round in 0..6 {
            let tickets = world.put(&producer, 10).await;
            world.answers(tickets).await;
            let kind = if rng.random_bool(0.7) { Verdict::LoseAnswer } else { Verdict::LoseRequest };
            let one = tables.rule(Rule::operation("UpdateItem").times(1).then(kind));
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..4_000))).await;
            let tickets = world.put(&producer, 10).await;
            world.answers(tickets).await;
            tokio::time::sleep(Duration::from_secs(12)).await;
            assert_eq!(one.hits(), 1, "round {round}");
        }
        world.until_delivered().await;
        assert_eq!(leases_lost(&world), 0, "{}", tables.trace().join("\n"));
        worker.shutdown(Duration::from_secs(10)).await;
        world.assert_complete();
        assert_eq!(world.history.most_repeated_position(), 1);
    });
}

/// Reads that are seconds old, and every now and then an answer that is lost, so that somebody has to look whether a write
/// landed: a row as it was before the write must not pass for the news of a loss.
#[test]
fn late_reads_cost_no_lease() {
    for_each_seed("late_reads_cost_no_lease", |seeded: World| async move {
        let (world, tables) = on_tables(World::with_shards(seeded.seed, 4));
        let mut rng = world.rng("late");
        tables.set_read_lag(Duration::from_millis(rng.random_range(500..5_000)));
        let first = world.worker("worker-a", Plan::default()).await;
        let second = world.worker("worker-b", Plan::default()).await;
        let producer = world.producer(|config| config);
        for round in 0..6 {
            let one = tables.rule(Rule::operation("UpdateItem").times(1).then(Verdict::LoseAnswer));
            for _ in 0..4 {
                let tickets = world.put(&producer, 10).await;
                world.answers(tickets).await;
                tokio::time::sleep(Duration::from_secs(3)).await;
            }
            assert_eq!(one.hits(), 1, "round {round}");
        }
        world.until_delivered().await;
        assert_eq!(leases_lost(&world), 0, "{}", tables.trace().join("\n"));
        first.shutdown(Duration::from_secs(10)).await;
        second.shutdown(Duration::from_secs(10)).await;
        world.assert_complete();
        assert_eq!(world.history.most_repeated_position(), 1);
    });
}

#[test]
fn crashes_and_reshards_on_late_reads_lose_nothing() {
    for_each_seed("crashes_and_reshards_on_late_reads_lose_nothing", |seeded: World| async move {
        let (world, tables) = on_tables(seeded);
        let mut rng = world.rng("crashes");
        tables.set_read_lag(Duration::from_millis(rng.random_range(0..3_000)));
        tables.set_page_bytes(rng.random_range(1..2_000));
        let late = tables.rule(Rule::operation("UpdateItem").probability(0.05).then(Verdict::LoseAnswer));
        let producer = world.producer(|config| config);
        let steady = world.worker("worker-a", Plan { policy: Policy::MidBatch, ..Plan::default() }).await;
        let mut tickets = Vec::new();
        for round in 0..4 {
            let plan =
                Plan { policy: Policy::EveryNthBatch(2), work: Duration::from_millis(50), ..Plan::default() };
            let victim = world.worker(&format!("worker-b{round}"), plan).await;
            for _ in 0..8 {
                tickets.extend(world.put(&producer, 5).await);
                tokio::time::sleep(Duration::from_millis(rng.random_range(0..4_000))).await;
            }
            if rng.random_bool(0.4) {
                world.split_widest();
            } else if rng.random_bool(0.3) {
                world.merge_first();
            }
            drop(victim);
        }
        drop(late);
        world.answers(tickets).await;
        world.until_delivered().await;
        steady.shutdown(Duration::from_secs(10)).await;
        world.assert_complete();
    });
}

/// The same seed and the same calls: the same trace, although the SDK keeps its maps in an order of its own.
#[test]
fn a_seed_gives_the_same_trace_of_the_table_twice() {
    let trace = |seed| {
        let traced = std::sync::Mutex::new(Vec::new());
        common::in_virtual_time(async {
            let (world, tables) = on_tables(World::new(seed));
            let rule = tables.rule(Rule::any().probability(0.1).then(Verdict::LoseAnswer));
            let first = world.worker("worker-a", Plan::default()).await;
            let second = world.worker("worker-b", Plan::default()).await;
            let producer = world.producer(|config| config);
            for _ in 0..5 {
                let tickets = world.put(&producer, 20).await;
                world.answers(tickets).await;
                tokio::time::sleep(Duration::from_secs(3)).await;
            }
            drop(rule);
            first.shutdown(Duration::from_secs(10)).await;
            second.shutdown(Duration::from_secs(10)).await;
            *traced.lock().expect("nobody panicked") = tables.trace();
        });
        traced.into_inner().expect("nobody panicked")
    };
    for seed in 0..3 {
        let first = trace(seed);
        assert!(first.len() > 50);
        assert_eq!(first, trace(seed), "seed {seed}");
    }
}
