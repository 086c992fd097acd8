//! A worker of `kcl` on a lease table in DynamoDB, which writes down every record it is given; SIGTERM stops it cleanly. Given
//! several streams it reads all of them, and writes `stream/shard` where it writes the shard of one.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use kcl::lease::DynamoDbLeaseStore;
use kcl::{
    BoxError, ConsumerConfig, InitializationInput, LeaseLostInput, ProcessRecordsInput, RecordProcessor,
    Scheduler, ShardEndedInput, ShutdownRequestedInput, StreamSet,
};
use tokio::signal::unix::{SignalKind, signal};

use crate::line::Line;
use crate::scan::line;
use crate::{Problem, Stream};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    stream: Stream,
    /// Where the DynamoDB-compatible server listens.
    #[arg(long)]
    dynamodb: String,
    /// The application, and so the name of its lease table.
    #[arg(long)]
    application: String,
    /// This worker's name.
    #[arg(long)]
    worker: String,
    /// The failover time, in milliseconds; the same for the whole fleet.
    #[arg(long)]
    failover_millis: u64,
    /// Where to write the records down.
    #[arg(long)]
    out: PathBuf,
}

pub(crate) async fn run(arguments: Arguments) -> Result<String, Problem> {
    let mut stop = signal(SignalKind::terminate())?;
    let out =
        Recorder(Arc::new(Mutex::new(OpenOptions::new().create(true).append(true).open(&arguments.out)?)));
    let streams: Vec<&str> = arguments.stream.names().collect();
    let (application, worker) = (arguments.application.as_str(), arguments.worker.as_str());
    let config = match streams.as_slice() {
        [stream] => ConsumerConfig::new(application, *stream, worker),
        several => ConsumerConfig::multi_stream(application, StreamSet::new(several.iter().copied()), worker),
    }
    .with_failover_time(Duration::from_millis(arguments.failover_millis))
    .with_shard_sync_interval(Duration::from_secs(5))
    .with_parent_shard_poll_interval(Duration::from_millis(500))
    .with_idle_time_between_reads(Duration::from_millis(250));
    let store = DynamoDbLeaseStore::new(&dynamodb(&arguments.dynamodb), arguments.application.as_str());
    let is_one = streams.len() == 1;
    let factory = move |shard: kcl::StreamShard| Processor {
        shard: if is_one { shard.shard_id.to_string() } else { shard.to_string() },
        out: out.clone(),
    };
    let scheduler = Scheduler::start(&arguments.stream.client(), config, Arc::new(store), factory).await?;
    tokio::select! {
        biased; // the signal first: it is the ordinary end
        _ = stop.recv() => {}
        error = scheduler.wait() => return Err(error.into()),
    }
    let report = scheduler.shutdown(Duration::from_secs(20)).await;
    Ok(format!("{} leases given back", report.released.len()))
}

pub(crate) fn dynamodb(endpoint: &str) -> aws_sdk_dynamodb::Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("any", "any", None, None, "interop"))
        .endpoint_url(endpoint)
        .build();
    aws_sdk_dynamodb::Client::from_conf(config)
}

#[derive(Clone)]
struct Recorder(Arc<Mutex<File>>);

impl Recorder {
    /// In one write, so that a process that is killed leaves whole lines but for the last.
    fn write(&self, text: &str) -> std::io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(text.as_bytes())
    }
}

struct Processor {
    /// With its stream, if there are several: `stream/shard`.
    shard: String,
    out: Recorder,
}

#[async_trait]
impl RecordProcessor for Processor {
    async fn initialize(&mut self, input: InitializationInput) -> Result<(), BoxError> {
        let from = input.checkpoint;
        Ok(self.out.write(&format!("# begin {} {}\n", self.shard, from.sequence_text()))?)
    }

    /// Everything of one batch, and only then the checkpoint: a process killed in between repeats, never loses.
    async fn process_records(&mut self, input: ProcessRecordsInput) -> Result<(), BoxError> {
        let mut text = String::new();
        for record in input.records.iter() {
            text.push_str(&Line { shard: self.shard.clone(), ..line(record) }.to_string());
            text.push('\n');
        }
        self.out.write(&text)?;
        Ok(input.checkpointer.checkpoint().await?)
    }

    async fn lease_lost(&mut self, _: LeaseLostInput) {
        // Of no use to the comparison, and the lease is gone either way.
        let _best_effort = self.out.write(&format!("# lost {}\n", self.shard));
    }

    async fn shard_ended(&mut self, input: ShardEndedInput) -> Result<(), BoxError> {
        self.out.write(&format!("# ended {}\n", self.shard))?;
        Ok(input.checkpointer.checkpoint().await?)
    }

    async fn shutdown_requested(&mut self, input: ShutdownRequestedInput) -> Result<(), BoxError> {
        self.out.write(&format!("# stopped {}\n", self.shard))?;
        Ok(input.checkpointer.checkpoint().await?)
    }
}
