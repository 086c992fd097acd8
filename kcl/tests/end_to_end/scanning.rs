//! The short way in.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use kcl::{Checkpoint, RecordStream, ScanError, ShardId, StreamedRecord};

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

async fn stream(world: &World) -> RecordStream {
    let scan = kcl::scan(&world.sim.client_named("scan"), STREAM).store(Arc::new(world.store.clone()));
    scan.configure(|config| config.with_seed(1)).stream().await.unwrap()
}

async fn next(records: &mut RecordStream) -> StreamedRecord {
    records.next().await.unwrap().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_records_goes_on_behind_what_was_acknowledged() {
    let world = World::new(1);
    world.put(texts(0, 10)).await;
    let mut records = stream(&world).await;
    for text in texts(0, 6) {
        let record = next(&mut records).await;
        assert_eq!(text_of(&record), text);
        record.ack();
    }
    let report = records.close(Duration::from_secs(5)).await;
    assert_eq!((report.released.len(), report.forced.len()), (1, 0));
    let mut records = stream(&world).await;
    let record = next(&mut records).await;
    assert_eq!(text_of(&record), "uid-00006");
    drop(record);
    records.close(Duration::from_secs(5)).await;
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_dropped_comes_again_and_nothing_behind_it_is_checkpointed() {
    let world = World::new(1);
    world.put_aggregate(&["a", "b", "c", "d"]).await;
    let mut records = stream(&world).await;
    next(&mut records).await.ack();
    drop(next(&mut records).await);
    // Acknowledged in another order, behind the gap.
    let (c, d) = (next(&mut records).await, next(&mut records).await);
    d.ack();
    c.ack();
    let again = next(&mut records).await;
    assert_eq!(text_of(&again), "b");
    assert!(matches!(world.row(0).checkpoint, Checkpoint::At(at) if at.sub_sequence_number == 0));
    again.ack();
    for text in ["c", "d"] {
        let record = next(&mut records).await;
        assert_eq!(text_of(&record), text, "at least once");
        record.ack();
    }
    world.put(["e".to_owned()]).await;
    let record = next(&mut records).await;
    assert_eq!(text_of(&record), "e");
    drop(record);
    records.close(Duration::from_secs(5)).await;
    assert!(matches!(world.row(0).checkpoint, Checkpoint::At(at) if at.sub_sequence_number == 3));
}

#[tokio::test(start_paused = true)]
async fn a_stream_follows_a_split_and_ends_with_the_reason() {
    let world = World::new(1);
    world.put(texts(0, 10)).await;
    world.sim.split_shard(STREAM, ShardId::from_index(0));
    world.put(texts(10, 30)).await;
    let mut records = stream(&world).await;
    let mut seen = Vec::new();
    while seen.len() < 30 {
        let record = next(&mut records).await;
        seen.push(text_of(&record));
        record.ack();
    }
    seen.sort();
    assert_eq!(seen, texts(0, 30));
    world.sim.client_named("operator").delete_stream().stream_name(STREAM).send().await.unwrap();
    let error = records.next().await.unwrap().unwrap_err();
    assert!(error.to_string().contains("no longer exists"), "{error}");
    assert!(records.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn two_streams_of_one_group_share_the_shards() {
    let world = World::new(4);
    let (mut first, mut second) = (stream(&world).await, {
        let scan = kcl::scan(&world.sim.client_named("scan-2"), STREAM).store(Arc::new(world.store.clone()));
        scan.configure(|config| config.with_seed(2)).stream().await.unwrap()
    });
    let share = |records: &RecordStream| records.health().unwrap().shards.len();
    world.until("shared", |_| share(&first) == 2 && share(&second) == 2).await;
    world.put(texts(0, 60)).await;
    let mut seen = Vec::new();
    while seen.len() < 60 {
        let record = tokio::select! {
            biased;
            record = first.next() => record,
            record = second.next() => record,
        };
        let record = record.unwrap().unwrap();
        seen.push(text_of(&record));
        record.ack();
    }
    seen.sort();
    assert_eq!(seen, texts(0, 60));
}
