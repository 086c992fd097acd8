//! A worker on a lease table that notes when it got a record, and checkpoints at an interval; SIGTERM stops it cleanly.
//!
//! It writes `SHARD<TAB>MILLISECONDS` for each batch. Workers of other libraries write lines whose first and last fields are
//! these; lines that begin with `#` are passed over.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use aws_sdk_kinesis::Client;
use kcl::lease::DynamoDbLeaseStore;
use kcl::{
    BoxError, ConsumerConfig, InitializationInput, LeaseLostInput, ProcessRecordsInput, RecordProcessor,
    Scheduler, ShardEndedInput, ShutdownRequestedInput,
};
use tokio::signal::unix::{SignalKind, signal};

use crate::{Outcome, now_millis};

/// As the command line gives them.
pub(crate) struct Settings<'a> {
    pub(crate) stream: &'a str,
    pub(crate) application: &'a str,
    pub(crate) worker: &'a str,
    pub(crate) out: &'a str,
    pub(crate) checkpoint: Duration,
    /// Zero: the default.
    pub(crate) renewal: Duration,
}

pub(crate) async fn run(
    kinesis: &Client,
    dynamodb: &aws_sdk_dynamodb::Client,
    settings: Settings<'_>,
) -> Outcome<()> {
    let mut stop = signal(SignalKind::terminate())?;
    let out = Arc::new(Mutex::new(OpenOptions::new().create(true).append(true).open(settings.out)?));
    let mut config = ConsumerConfig::new(settings.application, settings.stream, settings.worker);
    if !settings.renewal.is_zero() {
        config = config.with_lease_renewal_interval(settings.renewal);
    }
    let store = DynamoDbLeaseStore::new(dynamodb, settings.application);
    let every = settings.checkpoint;
    let factory = move |shard: kcl::StreamShard| Processor {
        shard: shard.shard_id.to_string(),
        out: Arc::clone(&out),
        every,
        checkpointed: Instant::now(),
    };
    let scheduler = Scheduler::start(kinesis, config, Arc::new(store), factory).await?;
    tokio::select! {
        biased; // the signal first: it is the ordinary end
        _ = stop.recv() => {}
        error = scheduler.wait() => return Err(error.into()),
    }
    let report = scheduler.shutdown(Duration::from_secs(20)).await;
    println!("{} leases given back", report.released.len());
    Ok(())
}

struct Processor {
    shard: String,
    out: Arc<Mutex<File>>,
    every: Duration,
    checkpointed: Instant,
}

#[async_trait]
impl RecordProcessor for Processor {
    async fn initialize(&mut self, _: InitializationInput) -> Result<(), BoxError> {
        Ok(())
    }

    async fn process_records(&mut self, input: ProcessRecordsInput) -> Result<(), BoxError> {
        let line = format!("{}\t{}\n", self.shard, now_millis());
        self.out.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes())?;
        if self.checkpointed.elapsed() >= self.every {
            self.checkpointed = Instant::now();
            input.checkpointer.checkpoint().await?;
        }
        Ok(())
    }

    async fn lease_lost(&mut self, _: LeaseLostInput) {}

    async fn shard_ended(&mut self, input: ShardEndedInput) -> Result<(), BoxError> {
        Ok(input.checkpointer.checkpoint().await?)
    }

    async fn shutdown_requested(&mut self, input: ShutdownRequestedInput) -> Result<(), BoxError> {
        Ok(input.checkpointer.checkpoint().await?)
    }
}
