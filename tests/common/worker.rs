//! Workers whose record processor writes down everything that is done to it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kcl::lease::{Fault, LeaseStore};
use kcl::{
    BoxError, Checkpointer, ConsumerConfig, InitialPosition, InitializationInput, LeaseLostInput,
    ProcessRecordsInput, RecordProcessor, RecordProcessorFactory, Scheduler, ShardEndedInput,
    ShutdownRequestedInput,
};
use kinesis_shard::{Checkpoint, ShardId};
use rand::RngExt;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;

use super::history::Event;
use super::{STREAM, World, uid_of};

/// When a processor checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    EveryBatch,
    /// Somewhere inside the batch, so that the next tenure resumes in the middle of an aggregate.
    MidBatch,
    EveryNthBatch(u64),
    /// At the last record, and then at the first: the second must change nothing.
    Wavering,
    Never,
}

/// What a worker does with its records.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub policy: Policy,
    /// How long one call takes.
    pub work: Duration,
    /// Every n-th call fails before anything is booked; 0: none.
    pub fail_every: u64,
    /// Whether it checkpoints when it is asked to stop.
    pub at_shutdown: bool,
    /// Whether its first call of `shard_ended` forgets to checkpoint.
    pub forgets_end: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            policy: Policy::EveryBatch,
            work: Duration::ZERO,
            fail_every: 0,
            at_shutdown: false,
            forgets_end: false,
        }
    }
}

struct Recorder {
    world: World,
    worker: String,
    plan: Plan,
    tenure: u64,
    shard: ShardId,
    calls: u64,
}

impl World {
    /// Starts a worker on this world's stream and lease store.
    pub async fn worker(&self, name: &str, plan: Plan) -> Scheduler {
        self.worker_with(name, plan, |config| config).await
    }

    pub async fn worker_with(
        &self,
        name: &str,
        plan: Plan,
        tune: impl FnOnce(ConsumerConfig) -> ConsumerConfig,
    ) -> Scheduler {
        let config = ConsumerConfig::new("tests", STREAM, name)
            .with_initial_position(InitialPosition::TrimHorizon)
            .with_seed(self.seed ^ name.len() as u64);
        let factory = self.recorders(name, plan);
        let memory = || Arc::new(self.store.clone()) as Arc<dyn LeaseStore>;
        let store = self.store_of.as_ref().map_or_else(memory, |store_of| store_of(name));
        Scheduler::start(&self.sim.client_named(name), tune(config), store, factory)
            .await
            .expect("the worker starts")
    }

    /// Makes the processors of one worker: each writes down what is done to it.
    pub fn recorders(&self, name: &str, plan: Plan) -> impl RecordProcessorFactory + 'static {
        let (world, worker) = (self.clone(), name.to_owned());
        move |shard: kcl::StreamShard| Recorder {
            world: world.clone(),
            worker: worker.clone(),
            plan,
            tenure: world.next_tenure(),
            shard: super::streams::name(&shard.stream, &shard.shard_id),
            calls: 0,
        }
    }
}

#[async_trait]
impl RecordProcessor for Recorder {
    async fn initialize(&mut self, input: InitializationInput) -> Result<(), BoxError> {
        self.world.record(Event::Started {
            worker: self.worker.clone(),
            tenure: self.tenure,
            shard: self.shard.clone(),
            from: input.checkpoint,
        });
        Ok(())
    }

    async fn process_records(&mut self, input: ProcessRecordsInput) -> Result<(), BoxError> {
        let (tenure, shard) = (self.tenure, self.shard.clone());
        self.world.record(Event::CallBegun { worker: self.worker.clone(), tenure, shard: shard.clone() });
        let done = self.process(input).await;
        self.world.record(Event::CallEnded { tenure, shard, failed: done.is_err() });
        done
    }

    async fn lease_lost(&mut self, _: LeaseLostInput) {
        self.world.record(Event::LeaseLost { tenure: self.tenure, shard: self.shard.clone() });
    }

    async fn shard_ended(&mut self, input: ShardEndedInput) -> Result<(), BoxError> {
        self.world.record(Event::ShardEnded { tenure: self.tenure, shard: self.shard.clone() });
        if !self.plan.forgets_end || input.attempt > 1 {
            self.checkpoint(&input.checkpointer, Checkpoint::ShardEnd).await;
        }
        Ok(())
    }

    async fn shutdown_requested(&mut self, input: ShutdownRequestedInput) -> Result<(), BoxError> {
        self.world.record(Event::ShutdownRequested { tenure: self.tenure, shard: self.shard.clone() });
        if self.plan.at_shutdown
            && let Err(error) = input.checkpointer.checkpoint().await
        {
            self.world.note(format!("{} {}: {error}", self.worker, self.shard));
        }
        Ok(())
    }
}

impl Recorder {
    async fn process(&mut self, input: ProcessRecordsInput) -> Result<(), BoxError> {
        self.calls += 1;
        if self.plan.work > Duration::ZERO {
            tokio::time::sleep(self.plan.work).await;
        }
        if self.plan.fail_every > 0 && self.calls.is_multiple_of(self.plan.fail_every) {
            self.world.note(format!("{} {}: the application fails", self.worker, self.shard));
            return Err("the application fails as planned".into());
        }
        for record in input.records.iter() {
            self.world.record(Event::Delivered {
                worker: self.worker.clone(),
                tenure: self.tenure,
                shard: self.shard.clone(),
                position: record.position(),
                uid: uid_of(record.data()),
            });
        }
        let last = match self.plan.policy {
            Policy::EveryBatch | Policy::Wavering => input.records.last(),
            Policy::MidBatch => input.records.get(input.records.len() / 2),
            Policy::EveryNthBatch(n) if self.calls.is_multiple_of(n) => input.records.last(),
            Policy::EveryNthBatch(_) | Policy::Never => None,
        };
        if let Some(record) = last {
            self.checkpoint(&input.checkpointer, Checkpoint::At(record.position())).await;
        }
        if let (Policy::Wavering, Some(first)) = (self.plan.policy, input.records.first())
            && let Err(error) = input.checkpointer.checkpoint_at(first.position()).await
        {
            self.world.note(format!("{} {}: {error}", self.worker, self.shard));
        }
        Ok(())
    }

    async fn checkpoint(&self, checkpointer: &Checkpointer, at: Checkpoint) {
        let asked = Event::CheckpointAsked { tenure: self.tenure, shard: self.shard.clone(), at };
        self.world.record(asked);
        let done = match at {
            Checkpoint::At(position) => checkpointer.checkpoint_at(position).await,
            _ => checkpointer.checkpoint().await,
        };
        match done {
            Ok(()) => self.world.record(Event::CheckpointApplied {
                tenure: self.tenure,
                shard: self.shard.clone(),
                at,
            }),
            Err(error) => self.world.note(format!("{} {}: {error}", self.worker, self.shard)),
        }
    }
}

/// A fault for one call of the lease store, with this chance.
pub fn drawn_store_fault(rng: &mut SmallRng, probability: f64) -> Option<Fault> {
    let kinds = [Fault::LoseAnswer, Fault::LoseRequest, Fault::Throttle];
    if rng.random_bool(probability) { kinds.choose(rng).copied() } else { None }
}
