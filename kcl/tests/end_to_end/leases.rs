//! Sharing, losing and fencing.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kcl::lease::Fault;
use kcl::{
    BoxError, CheckpointError, Checkpointer, ConfigError, InitializationInput, Lease, LeaseLostInput,
    ProcessRecordsInput, RecordProcessor, Scheduler, ShardEndedInput, ShutdownRequestedInput, StartError,
    WorkerError, WorkerId,
};

use crate::world::{Kind, STREAM, World, texts};

const GRACE: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn two_workers_share_the_shards_evenly_and_deliver_everything() {
    let world = World::new(6);
    let (a, b) = (world.worker("a").await, world.worker("b").await);
    world.until("an even share", |_| a.shards().len() == 3 && b.shards().len() == 3).await;
    world.put(texts(0, 120)).await;
    world.until_delivered(120).await;
    a.shutdown(GRACE).await;
    b.shutdown(GRACE).await;
    world.check();
    assert!(!world.texts_of("a").is_empty() && !world.texts_of("b").is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_maximum_of_leases_is_kept() {
    let world = World::new(4);
    let worker = world.configured(World::config("a").with_max_leases_for_worker(3)).await;
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert_eq!(worker.shards().len(), 3);
    worker.shutdown(GRACE).await;
}

/// Makes the row look as if another worker had taken it.
fn stolen(row: Lease) -> Lease {
    let mut row = row;
    row.owner = Some(WorkerId::new("thief"));
    row.counter = row.counter.next();
    row
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_is_told_once_and_nothing_follows() {
    let world = World::new(1);
    world.put(texts(0, 5)).await;
    let worker = world.worker("a").await;
    world.until_delivered(5).await;
    world.store.put_row(stolen(world.row(0)));
    world.until("told", |world| world.life(0).contains(&Kind::LeaseLost)).await;
    assert_eq!(worker.stats().lost_leases, 1);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.life(0).iter().filter(|kind| **kind == Kind::LeaseLost).count(), 1);
    world.check_order();
    drop(worker);
}

/// Keeps the checkpointer of the first batch.
struct Keeping(Arc<Mutex<Option<Checkpointer>>>);

#[kcl::async_trait]
impl RecordProcessor for Keeping {
    async fn initialize(&mut self, _: InitializationInput) -> Result<(), BoxError> {
        Ok(())
    }

    async fn process_records(&mut self, input: ProcessRecordsInput) -> Result<(), BoxError> {
        *self.0.lock().unwrap() = Some(input.checkpointer);
        Ok(())
    }

    async fn lease_lost(&mut self, _: LeaseLostInput) {}

    async fn shard_ended(&mut self, _: ShardEndedInput) -> Result<(), BoxError> {
        Ok(())
    }

    async fn shutdown_requested(&mut self, _: ShutdownRequestedInput) -> Result<(), BoxError> {
        Ok(())
    }
}

async fn with_checkpointer(world: &World) -> (Scheduler, Checkpointer) {
    let kept = Arc::new(Mutex::new(None));
    let for_factory = Arc::clone(&kept);
    let store = Arc::new(world.store.clone());
    let factory = move |_| Keeping(Arc::clone(&for_factory));
    let client = world.sim.client_named("a");
    let worker = Scheduler::start(&client, World::config("a"), store, factory).await.unwrap();
    world.until("a batch", |_| kept.lock().unwrap().is_some()).await;
    let checkpointer = kept.lock().unwrap().take().unwrap();
    (worker, checkpointer)
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_after_the_loss_names_the_new_owner_and_writes_nothing() {
    let world = World::new(1);
    world.put(texts(0, 5)).await;
    let (_worker, checkpointer) = with_checkpointer(&world).await;
    let row = stolen(world.row(0));
    world.store.put_row(row.clone());
    let error = checkpointer.checkpoint().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "lease for shardId-000000000000 moved to thief: stop processing, this checkpoint was not written"
    );
    assert!(!error.is_retryable() && !error.may_have_been_written());
    assert_eq!(world.row(0), row);
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_whose_answer_was_lost_is_recognised_as_written() {
    for fault in [Fault::LoseAnswer, Fault::LoseRequest, Fault::Throttle, Fault::HangAfter] {
        let world = World::new(1);
        world.put(texts(0, 5)).await;
        let (worker, checkpointer) = with_checkpointer(&world).await;
        world.store.fail_next(fault);
        checkpointer.checkpoint().await.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert_eq!(worker.stats().lost_leases, 0, "{fault:?} costs no lease");
        let kcl::Checkpoint::At(stored) = world.row(0).checkpoint else { panic!("{:?}", world.row(0)) };
        let last = world.sim.stored(STREAM).last().unwrap().sequence_number;
        assert_eq!(stored.sequence_number, last);
        drop(worker);
    }
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_outside_the_delivered_range_is_refused_in_a_sentence() {
    let world = World::new(1);
    world.put(texts(0, 3)).await;
    let (_worker, checkpointer) = with_checkpointer(&world).await;
    let stored = world.sim.stored(STREAM);
    let at = |index: usize| kcl::ExtendedSequenceNumber::new(stored[index].sequence_number, 0);
    checkpointer.checkpoint_at(at(1)).await.unwrap();
    let behind = checkpointer.checkpoint_at(at(0)).await.unwrap_err();
    assert!(matches!(behind, CheckpointError::Behind { .. }), "{behind}");
    let beyond = kcl::ExtendedSequenceNumber::new(stored[2].sequence_number, 1);
    let ahead = checkpointer.checkpoint_at(beyond).await.unwrap_err();
    assert!(matches!(ahead, CheckpointError::NotDelivered { .. }), "{ahead}");
    checkpointer.checkpoint_at(at(1)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_prepared_checkpoint_stays_pending_until_its_second_phase() {
    let world = World::new(1);
    world.put(texts(0, 3)).await;
    let (_worker, checkpointer) = with_checkpointer(&world).await;
    let prepared = checkpointer.prepare_checkpoint(Some("state".into())).await.unwrap();
    let row = world.row(0);
    assert_eq!(row.checkpoint, kcl::Checkpoint::TrimHorizon, "phase one moves nothing");
    assert_eq!(row.pending_checkpoint.unwrap().state.unwrap(), "state");
    prepared.checkpoint().await.unwrap();
    let row = world.row(0);
    assert!(matches!(row.checkpoint, kcl::Checkpoint::At(_)) && row.pending_checkpoint.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_state_that_is_prepared_alone_keeps_the_place_inside_the_aggregate() {
    let world = World::new(1);
    world.put_aggregate(&["a0", "a1", "a2", "a3"]).await;
    let (_worker, checkpointer) = with_checkpointer(&world).await;
    let _prepared = checkpointer.prepare_checkpoint(Some("state".into())).await.unwrap();
    let last = world.sim.stored(STREAM).last().unwrap().sequence_number;
    let place = kcl::Checkpoint::At(kcl::ExtendedSequenceNumber::new(last, 3));
    assert_eq!(world.row(0).pending_checkpoint.unwrap().checkpoint, place);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_for_a_while_loses_no_record() {
    let world = World::new(2);
    world.put(texts(0, 20)).await;
    let worker = world.worker("a").await;
    world.until_delivered(20).await;
    world.store.fail_by(|_| Some(Fault::LoseRequest));
    world.put(texts(20, 40)).await;
    tokio::time::sleep(Duration::from_secs(40)).await;
    world.store.heal();
    world.until_delivered(40).await;
    worker.shutdown(GRACE).await;
    world.check();
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_does_not_exist_refuses_the_start_in_a_sentence() {
    let world = World::new(0);
    let store = Arc::new(world.store.clone());
    let factory = |_| Keeping(Arc::default());
    let client = world.sim.client_named("a");
    let error = Scheduler::start(&client, World::config("a"), store, factory).await.unwrap_err();
    assert!(matches!(error, StartError::Stream(_)), "{error}");
    assert!(error.to_string().starts_with("stream \"orders\" not found: create it"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_invalid_configuration_refuses_the_start() {
    let world = World::new(1);
    let store = Arc::new(world.store.clone());
    let config = World::config("a").with_max_records(0);
    let factory = |_| Keeping(Arc::default());
    let error = Scheduler::start(&world.sim.client_named("a"), config, store, factory).await.unwrap_err();
    assert!(matches!(error, StartError::Config(ConfigError::OutOfRange { .. })), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_deleted_stream_stops_the_worker_with_a_reason() {
    let world = World::new(2);
    let worker = world.worker("a").await;
    world.until("initialized", |_| worker.shards().len() == 2).await;
    world.sim.delete_stream(STREAM);
    let error = tokio::time::timeout(Duration::from_mins(2), worker.wait()).await.unwrap();
    assert!(matches!(error, WorkerError::StreamGone { .. }), "{error}");
    let report = worker.shutdown(GRACE).await;
    assert!(report.forced.is_empty());
    assert!(!world.life(0).contains(&Kind::ShardEnded), "a vanished stream is no end of a shard");
}
