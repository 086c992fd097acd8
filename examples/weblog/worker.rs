//! A worker of the application: counts requests, checkpoints after each batch.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kcl::lease::SqliteLeaseStore;
use kcl::{
    BoxError, ConsumerConfig, InitialPosition, InitializationInput, LeaseLostInput, ProcessRecordsInput,
    RecordProcessor, Scheduler, ShardEndedInput, ShutdownRequestedInput,
};
use kinesis_shard::{ExtendedSequenceNumber, ShardId};

use crate::connection::OpenStream;
use crate::ledger::Ledger;

/// Starts a worker that shares `leases` with the others; it takes shards until it has its part of them.
pub(crate) async fn start(
    stream: &OpenStream,
    name: &'static str,
    leases: &Path,
    from: InitialPosition,
    ledger: Ledger,
) -> Result<Scheduler, BoxError> {
    let store = SqliteLeaseStore::open(leases, "weblog")?;
    let config = ConsumerConfig::new("weblog", stream.name.as_str(), name)
        .with_initial_position(from)
        .with_failover_time(Duration::from_secs(2)) // short, so that the example does not make you wait
        .with_idle_time_between_reads(Duration::from_millis(250));
    let factory = move |shard: kcl::StreamShard| Counter {
        worker: name,
        shard: shard.shard_id,
        ledger: ledger.clone(),
        last: None,
    };
    Ok(Scheduler::start(&stream.client, config, Arc::new(store), factory).await?)
}

struct Counter {
    worker: &'static str,
    shard: ShardId,
    ledger: Ledger,
    last: Option<ExtendedSequenceNumber>,
}

#[async_trait]
impl RecordProcessor for Counter {
    async fn initialize(&mut self, _: InitializationInput) -> Result<(), BoxError> {
        Ok(())
    }

    async fn process_records(&mut self, input: ProcessRecordsInput) -> Result<(), BoxError> {
        for record in input.records.iter() {
            let position = record.position();
            let in_order = self.last.is_none_or(|last| last < position);
            self.last = Some(position);
            let line = String::from_utf8_lossy(record.data());
            self.ledger.processed(self.worker, (self.shard.clone(), position), in_order, &line);
        }
        Ok(input.checkpointer.checkpoint().await?)
    }

    async fn lease_lost(&mut self, _: LeaseLostInput) {}

    async fn shard_ended(&mut self, input: ShardEndedInput) -> Result<(), BoxError> {
        Ok(input.checkpointer.checkpoint().await?)
    }

    async fn shutdown_requested(&mut self, _: ShutdownRequestedInput) -> Result<(), BoxError> {
        Ok(())
    }
}
