//! The short way in.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kcl::{Checkpoint, ScanError, ShardId};

use crate::world::{STREAM, World, text_of, texts};

/// Scans until `count` records came; what came, in order, and the report.
async fn scan_until(world: &World, count: usize) -> (Vec<String>, kcl::ScanReport) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (for_closure, for_end) = (Arc::clone(&seen), Arc::clone(&seen));
    let report = kcl::scan(&world.sim.client_named("scan"), STREAM)
        .store(Arc::new(world.store.clone()))
        .configure(|config| config.with_seed(1))
        .until(async move {
            while for_end.lock().unwrap().len() < count {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .run(move |record| {
            let seen = Arc::clone(&for_closure);
            async move {
                seen.lock().unwrap().push(text_of(&record));
                Ok(())
            }
        })
        .await
        .unwrap();
    let seen = seen.lock().unwrap().clone();
    (seen, report)
}

#[tokio::test(start_paused = true)]
async fn a_scan_sees_every_record_of_every_shard_and_ends_when_told() {
    let world = World::new(3);
    world.put(texts(0, 60)).await;
    let (mut seen, report) = scan_until(&world, 60).await;
    seen.sort();
    assert_eq!(seen, texts(0, 60));
    assert_eq!(report.records, 60);
    assert_eq!(report.shutdown.released.len(), 3);
    assert!(world.store.rows().iter().all(|row| row.owner.is_none()));
    assert!(world.store.rows().iter().all(|row| matches!(row.checkpoint, Checkpoint::At(_))));
}

#[tokio::test(start_paused = true)]
async fn a_second_scan_goes_on_where_the_first_ended() {
    let world = World::new(2);
    world.put(texts(0, 20)).await;
    scan_until(&world, 20).await;
    world.put(texts(20, 30)).await;
    let (mut seen, _) = scan_until(&world, 10).await;
    seen.sort();
    assert_eq!(seen, texts(20, 30));
}

#[tokio::test(start_paused = true)]
async fn a_scan_follows_a_split() {
    let world = World::new(1);
    world.put(texts(0, 10)).await;
    world.sim.split_shard(STREAM, ShardId::from_index(0));
    world.put(texts(10, 30)).await;
    let (mut seen, _) = scan_until(&world, 30).await;
    seen.sort();
    assert_eq!(seen, texts(0, 30));
}

#[tokio::test(start_paused = true)]
async fn an_error_stops_the_scan_names_the_record_and_comes_again_next_time() {
    for panics in [false, true] {
        let world = World::new(1);
        world.put_aggregate(&["a", "b", "bad", "d"]).await;
        let error = kcl::scan(&world.sim.client_named("scan"), STREAM)
            .store(Arc::new(world.store.clone()))
            .run(move |record| async move {
                let bad = text_of(&record) == "bad";
                assert!(!(bad && panics), "cannot read this");
                if bad { Err("cannot read this".into()) } else { Ok(()) }
            })
            .await
            .unwrap_err();
        assert!(error.to_string().contains("cannot read this"), "{error}");
        let ScanError::Record { shard_id, position, .. } = error else { panic!("{error}") };
        assert_eq!((shard_id.index(), position.sub_sequence_number), (Some(0), 2));
        let (seen, _) = scan_until(&world, 2).await;
        assert_eq!(seen, ["bad", "d"], "what succeeded before it was checkpointed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_timed_checkpoint_is_written_though_no_further_record_comes() {
    let world = World::new(1);
    world.put(texts(0, 5)).await;
    let for_end = world.clone();
    let stored = |world: &World| {
        world.store.rows().first().is_some_and(|row| matches!(row.checkpoint, Checkpoint::At(_)))
    };
    let writes = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&writes);
    kcl::scan(&world.sim.client_named("scan"), STREAM)
        .store(Arc::new(world.store.clone()))
        .checkpoint_every(Duration::from_secs(20))
        .until(async move {
            for_end.until("a checkpoint", stored).await;
            *seen.lock().unwrap() = Some(for_end.began.elapsed());
        })
        .run(|_| async { Ok(()) })
        .await
        .unwrap();
    let waited = writes.lock().unwrap().unwrap();
    assert!(waited >= Duration::from_secs(20) && waited < Duration::from_secs(30), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_closure_ends_after_the_record_in_hand() {
    let world = World::new(1);
    world.put(texts(0, 100)).await;
    let report = kcl::scan(&world.sim.client_named("scan"), STREAM)
        .store(Arc::new(world.store.clone()))
        .until(tokio::time::sleep(Duration::from_secs(10)))
        .run(|_| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(())
        })
        .await
        .unwrap();
    assert!(report.records < 15 && report.shutdown.forced.is_empty(), "{report:?}");
    let (seen, _) = scan_until(&world, 1).await;
    assert_eq!(seen[0], format!("uid-{:05}", report.records), "the next scan starts at the next record");
}

#[tokio::test(start_paused = true)]
async fn a_scan_of_a_missing_stream_fails_in_a_sentence() {
    let world = World::new(0);
    let scan = kcl::scan(&world.sim.client_named("scan"), STREAM);
    let error = scan.run(|_| async { Ok(()) }).await.unwrap_err();
    assert!(error.to_string().starts_with("stream \"orders\" not found"), "{error}");
}
