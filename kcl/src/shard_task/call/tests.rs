use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use kinesis_shard::{ListShardsError, Shard, ShardId};

use super::*;
use crate::config::ConsumerConfig;
use crate::fetch::{GetRecordsAnswer, ReadError, ReadFrom, ShardIterator};
use crate::lease::WorkerId;
use crate::lease::test_support::{D, holding, row};
use crate::shard_task::{ShardTask, Worker};
use crate::transport::{EventStream, Opened, Transport};

/// Panics before and after an await, or returns an error, as told.
struct Troubled(u32);

#[async_trait]
impl RecordProcessor for Troubled {
    async fn initialize(&mut self, _: InitializationInput) -> Result<(), BoxError> {
        Ok(())
    }

    async fn process_records(&mut self, _: ProcessRecordsInput) -> Result<(), BoxError> {
        Ok(())
    }

    async fn lease_lost(&mut self, _: LeaseLostInput) {
        self.0 += 1;
        match self.0 {
            1 => panic!("at once"),
            2 => {
                tokio::task::yield_now().await;
                panic!("{}", String::from("later"));
            }
            _ => {}
        }
    }

    async fn shard_ended(&mut self, _: ShardEndedInput) -> Result<(), BoxError> {
        Ok(())
    }

    async fn shutdown_requested(&mut self, _: ShutdownRequestedInput) -> Result<(), BoxError> {
        Ok(())
    }
}

#[tokio::test]
async fn panics_are_caught_and_the_processor_survives_them() {
    let mut processor = Troubled(0);
    let input = || {
        Invocation::LeaseLost(LeaseLostInput {
            stream: "orders".into(),
            shard_id: ShardId::from_index(0),
            worker_id: WorkerId::new("w"),
        })
    };
    let mut texts = Vec::new();
    for _ in 0..3 {
        texts.push(caught(&mut processor, input()).await.err().map(|text| text.to_string()));
    }
    assert_eq!(texts, [Some("panicked: at once".into()), Some("panicked: later".into()), None]);
}

/// Writes down which calls were made.
struct Noting(Arc<Mutex<Vec<&'static str>>>);

impl Noting {
    fn note(&self, call: &'static str) {
        self.0.lock().unwrap().push(call);
    }
}

#[async_trait]
impl RecordProcessor for Noting {
    async fn initialize(&mut self, _: InitializationInput) -> Result<(), BoxError> {
        self.note("initialize");
        Ok(())
    }

    async fn process_records(&mut self, _: ProcessRecordsInput) -> Result<(), BoxError> {
        self.note("process_records");
        Ok(())
    }

    async fn lease_lost(&mut self, _: LeaseLostInput) {
        self.note("lease_lost");
    }

    async fn shard_ended(&mut self, _: ShardEndedInput) -> Result<(), BoxError> {
        self.note("shard_ended");
        Ok(())
    }

    async fn shutdown_requested(&mut self, _: ShutdownRequestedInput) -> Result<(), BoxError> {
        self.note("shutdown_requested");
        Ok(())
    }
}

/// Nothing is read here.
#[derive(Debug)]
struct NoService;

#[async_trait]
impl Transport for NoService {
    async fn open(&self, _: &ShardId, _: ReadFrom) -> Result<Opened<ShardIterator>, ReadError> {
        unreachable!()
    }

    async fn read(&self, _: &ShardIterator, _: u32) -> Result<GetRecordsAnswer, ReadError> {
        unreachable!()
    }

    async fn subscribe(&self, _: &ShardId, _: ReadFrom) -> Result<Opened<Box<dyn EventStream>>, ReadError> {
        unreachable!()
    }

    async fn retention(&self) -> Option<Duration> {
        unreachable!()
    }

    async fn shards(&self) -> Result<Vec<Shard>, ListShardsError> {
        unreachable!()
    }
}

/// One invocation of each kind, made as a shard's task makes it.
fn invocations(context: &Arc<Context>, lease: &HeldLease) -> Vec<Invocation> {
    let (stream, shard_id): (Arc<str>, _) = ("orders".into(), lease.key().shard_id());
    let checkpointer = ShardTask::new(Arc::clone(context), lease.clone()).checkpointer;
    vec![
        Invocation::Initialize(InitializationInput {
            stream: Arc::clone(&stream),
            shard_id: shard_id.clone(),
            checkpoint: lease.start().checkpoint,
            pending_checkpoint: None,
        }),
        Invocation::ProcessRecords(ProcessRecordsInput {
            stream: Arc::clone(&stream),
            shard_id: shard_id.clone(),
            records: Arc::new([]),
            millis_behind_latest: None,
            time_in_cache: Duration::ZERO,
            is_at_shard_end: false,
            child_shards: Vec::new(),
            attempt: 1,
            checkpointer: checkpointer.clone(),
        }),
        Invocation::ShardEnded(ShardEndedInput {
            stream: Arc::clone(&stream),
            shard_id: shard_id.clone(),
            attempt: 1,
            checkpointer: checkpointer.clone(),
        }),
        Invocation::ShutdownRequested(ShutdownRequestedInput {
            stream: Arc::clone(&stream),
            shard_id: shard_id.clone(),
            attempt: 1,
            checkpointer,
        }),
        Invocation::LeaseLost(LeaseLostInput { stream, shard_id, worker_id: lease.worker().clone() }),
    ]
}

/// L8: at the poll that would begin the call, the lease is looked at. Only the news of its loss needs no lease.
#[tokio::test(start_paused = true)]
async fn no_call_begins_at_a_poll_at_which_the_lease_is_not_believed_in() {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let created = Arc::clone(&calls);
    let config = Arc::new(ConsumerConfig::new("app", "orders", "ann").with_seed(1));
    let factory = move |_| Noting(Arc::clone(&created));
    let worker = Arc::new(Worker::new(Arc::clone(&config), Box::new(factory)));
    let context = Arc::new(Context::new(worker, config, Arc::new(NoService)));
    // All but the first are called with the processor that the first one made; with belief, and once it has run out.
    for (after, begins) in [(Duration::ZERO, true), (D, false)] {
        let mut made = Vec::new();
        for index in 0..5 {
            let lease = holding(row(1, "ann", 5));
            let invocation = invocations(&context, &lease).swap_remove(index);
            let processor: Option<Box<dyn RecordProcessor>> =
                (index > 0).then(|| Box::new(Noting(Arc::clone(&calls))) as _);
            // The future exists while the lease is believed in; what counts is the poll.
            let calling = call(Arc::clone(&context), lease, processor, invocation);
            tokio::time::sleep(after).await;
            let called = calling.await;
            assert_eq!(called.processor.is_some(), begins || index > 0, "the processor comes back");
            assert_eq!(called.failure, None);
            made.push(called.call == Call::Done);
        }
        assert_eq!(made, [begins, begins, begins, begins, true]);
    }
    let all = ["initialize", "process_records", "shard_ended", "shutdown_requested", "lease_lost"];
    assert_eq!(*calls.lock().unwrap(), [&all[..], &["lease_lost"]].concat());
}
