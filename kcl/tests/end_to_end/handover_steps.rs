//! H3, as a table: whatever becomes of either side at any step of a hand-over, it ends in progress.
//!
//! ```text
//! a new worker asks  ->  the owner notices  ->  its processor is told  ->  given over  ->  taken
//! ```

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kcl::lease::{Fault, LeaseStore, Operation, StoreCall};
use kcl::{ConsumerConfig, ConsumerEvent, LeaseKey, Scheduler, WorkerId};
use kinesis_shard::{Clock, Freezer};
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
    /// No timer of it fires for one and a half failover times, and then all of them do.
    Stalls,
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

/// A hand-over, standing still at the first moment of a step.
struct Scene {
    world: World,
    old: Scheduler,
    new: Scheduler,
    /// The old one's and the new one's.
    freezers: [Freezer; 2],
}

/// Two shards of one worker, one of which another worker asks for.
async fn at_step(step: Step) -> Scene {
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
    let freezers = [Freezer::new(), Freezer::new()];
    let stoppable =
        |name, freezer: &Freezer| World::config(name).with_clock(Clock::default().frozen_by(freezer));
    let old = world.configured(stoppable("old", &freezers[0])).await;
    world.until("the old worker has both", |_| old.shards().len() == 2).await;
    world.put(texts(0, 20)).await;
    world.until_delivered(20).await;
    let new = world.configured(stoppable("new", &freezers[1])).await;
    for round in 0..40_000_u32 {
        if has_come(&world, step) {
            return Scene { world, old, new, freezers };
        }
        if round % 100 == 0 {
            world.put(texts(1_000 + round, 1_001 + round)).await;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("{step:?} never came");
}

async fn suffers(
    world: &World,
    worker: Scheduler,
    name: &str,
    (fate, freezer): (Fate, &Freezer),
) -> Option<Scheduler> {
    match fate {
        Fate::Stalls => {
            freezer.freeze(FAILOVER * 3 / 2);
            return Some(worker);
        }
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
            for fate in [Fate::Dies, Fate::Stops, Fate::Restarts, Fate::Stalls] {
                let case = format!("{side:?} {fate:?} when {step:?}");
                let Scene { world, old, new, freezers: [of_old, of_new] } = at_step(step).await;
                let began = Instant::now();
                let (suffering, other, name, freezer) = match side {
                    Side::Old => (old, new, "old", of_old),
                    Side::New => (new, old, "new", of_new),
                };
                let back = suffers(&world, suffering, name, (fate, &freezer)).await;
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

/// What becomes of the next write to the table, whoever makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
    Fails(Fault),
    /// It arrives once more, this much later.
    Again(Duration),
}

const MESSAGES: [Message; 6] = [
    Message::Fails(Fault::LoseRequest),
    Message::Fails(Fault::LoseAnswer),
    Message::Fails(Fault::Hang),
    Message::Fails(Fault::HangAfter),
    Message::Again(Duration::from_millis(300)),
    Message::Again(Duration::from_secs(7)),
];

/// Lets the next write suffer; the write itself, for those that are to arrive again.
fn strike(world: &World, message: Message) -> Arc<Mutex<Option<(LeaseKey, Operation)>>> {
    let written = Arc::<Mutex<Option<(LeaseKey, Operation)>>>::default();
    let seen = Arc::clone(&written);
    world.store.fail_by(move |call| {
        let StoreCall::Write(key, operation) = call else { return None };
        let mut seen = seen.lock().unwrap();
        if seen.is_some() {
            return None;
        }
        *seen = Some(((*key).clone(), (*operation).clone()));
        match message {
            Message::Fails(fault) => Some(fault),
            Message::Again(_) => None,
        }
    });
    written
}

#[tokio::test(start_paused = true)]
async fn a_lost_or_a_doubled_message_at_any_step_loses_no_record_and_leaves_no_mark() {
    for step in STEPS {
        for message in MESSAGES {
            let case = format!("{message:?} when {step:?}");
            let Scene { world, old, new, .. } = at_step(step).await;
            let written = strike(&world, message);
            if let Message::Again(later) = message {
                world.until("a write", |_| written.lock().unwrap().is_some()).await;
                tokio::time::sleep(later).await;
                let (key, operation) = written.lock().unwrap().clone().unwrap();
                // Whatever its condition makes of it by now.
                drop(world.store.write(&key, operation, None).await);
            }
            let before = world.sim.stored(crate::world::STREAM).len();
            world.put(texts(0, 40).into_iter().map(|text| format!("after-{text}"))).await;
            world.until_delivered(before + 40).await;
            let settled = |world: &World| {
                let marked = world.store.rows().iter().any(|row| row.checkpoint_owner.is_some());
                !marked && old.shards().len() == 1 && new.shards().len() == 1
            };
            world.until(&format!("{case}: each has one"), settled).await;
            assert!(written.lock().unwrap().is_some(), "{case}: nothing was written");
            old.shutdown(GRACE).await;
            new.shutdown(GRACE).await;
            assert!(world.store.rows().iter().all(|row| row.owner.is_none()), "{case}");
            world.check();
        }
    }
}
