//! H3, as a table: whatever becomes of either side at any step of a hand-over, it ends in progress.
//!
//! ```text
//! a new worker asks  ->  the owner notices  ->  its processor is told  ->  given over  ->  taken
//! ```

use std::time::Duration;

use kcl::lease::{Fault, Operation, StoreCall};
use kcl::{ConsumerConfig, ConsumerEvent, Scheduler, WorkerId};
use tokio::time::Instant;

use crate::world::{Act, Kind, World, texts};

const GRACE: Duration = Duration::from_secs(10);
/// The default, which these workers have.
const FAILOVER: Duration = Duration::from_secs(10);

/// A step of the hand-over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The mark is set.
    Asked,
    /// The owner has seen it; a call is running.
    Noticed,
    /// `shutdown_requested` was called; the lease is still to be given over.
    Told,
    /// The row belongs to the new worker, which has not seen that.
    Given,
    /// The new worker has it.
    Taken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Old,
    New,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is gone from one moment to the next.
    Dies,
    Stops,
    /// It dies, and a process of the same name starts at once.
    Restarts,
}

const STEPS: [Step; 5] = [Step::Asked, Step::Noticed, Step::Told, Step::Given, Step::Taken];

fn has_come(world: &World, step: Step) -> bool {
    let new = WorkerId::new("new");
    let rows = world.store.rows();
    match step {
        Step::Asked => rows.iter().any(|row| row.checkpoint_owner.is_some()),
        Step::Noticed => {
            world.news().iter().any(|event| matches!(event, ConsumerEvent::LeaseAskedFor { .. }))
        }
        Step::Told => world.events().iter().any(|event| event.kind == Kind::ShutdownRequested),
        Step::Given => {
            rows.iter().any(|row| row.owner.as_ref() == Some(&new) && row.checkpoint_owner.is_none())
        }
        Step::Taken => world
            .events()
            .iter()
            .any(|event| event.worker == "new" && matches!(event.kind, Kind::Initialize(_))),
    }
}

/// Two shards of one worker, one of which another worker asks for; stands still at the first moment of the step.
async fn at_step(step: Step) -> (World, Scheduler, Scheduler) {
    // Calls take a while, so that there is a time between noticing and telling.
    let world = World::with_script(2, |_| Ok(Act::Take(Duration::from_millis(700))));
    let mut hung = false;
    // And the first write that gives a lease away gets lost, so that there is one between telling and giving.
    world.store.fail_by(move |call| match call {
        StoreCall::Write(_, Operation::Release { .. }) if !hung => {
            hung = true;
            Some(Fault::Hang)
        }
        _ => None,
    });
    let old = world.worker("old").await;
    world.until("the old worker has both", |_| old.shards().len() == 2).await;
    world.put(texts(0, 20)).await;
    world.until_delivered(20).await;
    let new = world.worker("new").await;
    for round in 0..40_000_u32 {
        if has_come(&world, step) {
            return (world, old, new);
        }
        if round % 100 == 0 {
            world.put(texts(1_000 + round, 1_001 + round)).await;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("{step:?} never came");
}

async fn suffers(world: &World, worker: Scheduler, name: &str, fate: Fate) -> Option<Scheduler> {
    match fate {
        Fate::Dies => drop(worker),
        Fate::Stops => {
            let report = worker.shutdown(GRACE).await;
            assert!(report.forced.is_empty(), "{report:?}");
        }
        Fate::Restarts => {
            drop(worker);
            return Some(world.configured(again(name)).await);
        }
    }
    None
}

fn again(name: &str) -> ConsumerConfig {
    World::config(name).with_seed(77)
}

#[tokio::test(start_paused = true)]
async fn whoever_dies_stops_or_restarts_at_any_step_the_lease_goes_on() {
    for step in STEPS {
        for side in [Side::Old, Side::New] {
            for fate in [Fate::Dies, Fate::Stops, Fate::Restarts] {
                let case = format!("{side:?} {fate:?} when {step:?}");
                let (world, old, new) = at_step(step).await;
                let began = Instant::now();
                let (suffering, other, name) = match side {
                    Side::Old => (old, new, "old"),
                    Side::New => (new, old, "new"),
                };
                let back = suffers(&world, suffering, name, fate).await;
                let before = world.sim.stored(crate::world::STREAM).len();
                world.put(texts(0, 40).into_iter().map(|text| format!("after-{text}"))).await;
                world.until_delivered(before + 40).await;
                let took = began.elapsed();
                // Nobody waits for a worker that said goodbye. One that died is waited for: for the failover time, after
                // the hand-over that it asked for has run its course.
                let limit = if fate == Fate::Stops { FAILOVER * 4 / 5 } else { 2 * FAILOVER };
                assert!(took < limit, "{case}: {took:?}");
                let settled = |world: &World| {
                    let held = other.shards().len() + back.as_ref().map_or(0, |back| back.shards().len());
                    held == 2 && world.store.rows().iter().all(|row| row.checkpoint_owner.is_none())
                };
                world.until(&format!("{case}: no mark is left"), settled).await;
                other.shutdown(GRACE).await;
                if let Some(back) = back {
                    back.shutdown(GRACE).await;
                }
                assert!(world.store.rows().iter().all(|row| row.owner.is_none()), "{case}");
                world.check();
                if fate == Fate::Stops {
                    let (given, stored) = (world.texts().len(), before + 40);
                    assert_eq!(given, stored, "{case}: clean on both sides, so nothing comes twice");
                }
            }
        }
    }
}
