//! Shards that stand still by the application's wish.

use std::time::Duration;

use kcl::{RetrievalMode, ShardId};

use crate::world::{Act, Kind, World, texts};

const GRACE: Duration = Duration::from_secs(10);
const MODES: [RetrievalMode; 2] = [RetrievalMode::Polling, RetrievalMode::FanOut];

#[tokio::test(start_paused = true)]
async fn a_paused_shard_stands_still_with_its_lease_while_the_others_go_on() {
    for mode in MODES {
        let world = World::new(2);
        let worker = world.configured(World::config("a").with_retrieval_mode(mode)).await;
        world.put(texts(0, 20)).await;
        world.until_delivered(20).await;
        let paused = ShardId::from_index(0);
        assert!(worker.pause(&paused) && !worker.pause(&paused));
        tokio::time::sleep(Duration::from_secs(20)).await;
        // Longer than iterators and subscriptions live.
        for round in 0..11 {
            world.put(texts(20 + round * 4, 24 + round * 4)).await;
            tokio::time::sleep(Duration::from_mins(1)).await;
        }
        let of = |shard: &ShardId| {
            let of_shard = |event: &crate::world::Event| {
                event.shard == *shard && matches!(event.kind, Kind::Record { .. })
            };
            world.events().iter().filter(|event| of_shard(event)).count()
        };
        let stored = |shard: &ShardId| {
            world.sim.stored(crate::world::STREAM).iter().filter(|record| record.shard_id == *shard).count()
        };
        let other = ShardId::from_index(1);
        assert_eq!(of(&other), stored(&other), "{mode:?}: the other shard goes on");
        assert!(of(&paused) < stored(&paused) - 5, "{mode:?}: the paused one stands still");
        assert_eq!(worker.shards().len(), 2, "{mode:?}: its lease is kept");
        assert!(worker.resume(&paused) && !worker.resume(&paused));
        world.until_delivered(64).await;
        let report = worker.shutdown(GRACE).await;
        world.check();
        assert_eq!(world.texts().len(), 64, "{mode:?}: no duplicate");
        assert_eq!((report.stats.gaps, report.stats.lost_leases), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_processor_pauses_its_own_shard_and_anyone_resumes_it() {
    let world = World::with_script(1, |input| {
        input.checkpointer.pause();
        Ok(Act::CheckpointBatch)
    });
    let worker = world.configured(World::config("a").with_max_records(1)).await;
    world.put(texts(0, 3)).await;
    for expected in 1..=3 {
        tokio::time::sleep(Duration::from_mins(2)).await;
        assert_eq!(world.texts().len(), expected);
        worker.resume(&ShardId::from_index(0));
    }
    worker.shutdown(GRACE).await;
    world.check();
}

#[tokio::test(start_paused = true)]
async fn a_paused_shard_is_handed_back_in_a_shutdown() {
    let world = World::new(1);
    let worker = world.worker("a").await;
    world.put(texts(0, 3)).await;
    world.until_delivered(3).await;
    worker.pause(&ShardId::from_index(0));
    world.put(texts(3, 6)).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    let report = worker.shutdown(GRACE).await;
    assert_eq!(report.released.len(), 1);
    assert_eq!(report.released[0].shard_id, ShardId::from_index(0));
    let successor = world.worker("b").await;
    world.until_delivered(6).await;
    successor.shutdown(GRACE).await;
    world.check();
    assert_eq!(world.texts().len(), 6, "no duplicate");
}
