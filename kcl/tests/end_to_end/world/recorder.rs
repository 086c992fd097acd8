//! The processors of the tests: they write every call down.

use super::*;

/// Writes every call down and does as the script says.
pub(super) struct Recorder {
    pub(super) world: World,
    pub(super) worker: String,
    pub(super) tenure: usize,
    pub(super) stream: Arc<str>,
    pub(super) shard: ShardId,
}

impl Recorder {
    fn note(&self, kind: Kind) {
        let (worker, stream, shard) = (self.worker.clone(), Arc::clone(&self.stream), self.shard.clone());
        let event = Event { at: Instant::now(), worker, tenure: self.tenure, stream, shard, kind };
        self.world.log.lock().unwrap().push(event);
    }

    async fn end(&self, checkpointer: &Checkpointer) -> Result<(), BoxError> {
        let skip = {
            let mut left = self.world.unacknowledged_ends.lock().unwrap();
            let skip = *left > 0;
            *left = left.saturating_sub(1);
            skip
        };
        if skip { Ok(()) } else { Ok(checkpointer.checkpoint().await?) }
    }
}

#[kcl::async_trait]
impl RecordProcessor for Recorder {
    async fn initialize(&mut self, input: InitializationInput) -> Result<(), BoxError> {
        self.note(Kind::Initialize(input.checkpoint));
        let takes = *self.world.initialize_takes.lock().unwrap();
        if !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
        if let Some(pending) = input.pending_checkpoint {
            let found = (pending.checkpoint, pending.state.map(|state| state.to_vec()));
            self.world.pending.lock().unwrap().push(found);
        }
        Ok(())
    }

    async fn process_records(&mut self, input: ProcessRecordsInput) -> Result<(), BoxError> {
        for record in input.records.iter() {
            let (position, text) = (record.position(), text_of(record));
            self.note(Kind::Record { position, text, attempt: input.attempt });
        }
        match (self.world.script)(&input)? {
            Act::CheckpointBatch => input.checkpointer.checkpoint().await?,
            Act::CheckpointEachRecord => {
                for record in input.records.iter() {
                    input.checkpointer.checkpoint_at(record).await?;
                }
            }
            Act::CheckpointAt(index) => {
                if let Some(record) = input.records.get(index) {
                    input.checkpointer.checkpoint_at(record).await?;
                }
            }
            Act::Nothing => {}
            Act::Prepare => {
                let _prepared = input.checkpointer.prepare_checkpoint(Some("halfway".into())).await?;
            }
            Act::Take(time) => {
                tokio::time::sleep(time).await;
                input.checkpointer.checkpoint().await?;
            }
            Act::NeverReturn => std::future::pending().await,
        }
        Ok(())
    }

    async fn lease_lost(&mut self, _: LeaseLostInput) {
        self.note(Kind::LeaseLost);
    }

    async fn shard_ended(&mut self, input: ShardEndedInput) -> Result<(), BoxError> {
        self.note(Kind::ShardEnded);
        self.end(&input.checkpointer).await
    }

    async fn shutdown_requested(&mut self, input: ShutdownRequestedInput) -> Result<(), BoxError> {
        self.note(Kind::ShutdownRequested);
        self.end(&input.checkpointer).await
    }
}

/// The processor of a worker that never gets a shard.
pub(crate) enum Nobody {}

#[kcl::async_trait]
impl RecordProcessor for Nobody {
    async fn initialize(&mut self, _: InitializationInput) -> Result<(), BoxError> {
        match *self {}
    }
    async fn process_records(&mut self, _: ProcessRecordsInput) -> Result<(), BoxError> {
        match *self {}
    }
    async fn lease_lost(&mut self, _: LeaseLostInput) {
        match *self {}
    }
    async fn shard_ended(&mut self, _: ShardEndedInput) -> Result<(), BoxError> {
        match *self {}
    }
    async fn shutdown_requested(&mut self, _: ShutdownRequestedInput) -> Result<(), BoxError> {
        match *self {}
    }
}
