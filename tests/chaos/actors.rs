//! What the processes do. Each line that they write is in the file before anything follows from it: an answer is written
//! when it is there, a record before its checkpoint.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::{BehaviorVersion, Region, retry::RetryConfig};
use kcl::lease::{DynamoDbLeaseStore, LeaseStore, SqliteLeaseStore};
use kcl::{
    BoxError, ConsumerConfig, InitialPosition, InitializationInput, LeaseLostInput, ProcessRecordsInput,
    RecordProcessor, Scheduler, ShardEndedInput, ShutdownRequestedInput,
};
use kpl::{Producer, ProducerConfig, UserRecord};

use super::{STREAM, number};

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is set by who starts this"))
}

fn client() -> Client {
    let config = aws_sdk_kinesis::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("any", "any", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .endpoint_url(format!("http://{}", variable("CHAOS_SERVER")))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    Client::from_conf(config)
}

/// A file, or the table in a server.
fn store() -> Result<Arc<dyn LeaseStore>, BoxError> {
    let at = variable("CHAOS_LEASES");
    if !at.starts_with("http") {
        return Ok(Arc::new(SqliteLeaseStore::open(at, "chaos")?));
    }
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("any", "any", None, None, "test"))
        .endpoint_url(at)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    Ok(Arc::new(DynamoDbLeaseStore::new(&aws_sdk_dynamodb::Client::from_conf(config), "chaos")))
}

/// The lines of one life. A file that the system has is safe from the death of its process.
#[derive(Clone)]
struct Lines(Arc<Mutex<File>>);

impl Lines {
    fn open() -> Self {
        Self(Arc::new(Mutex::new(File::create(variable("CHAOS_FILE")).expect("the folder is there"))))
    }

    fn write(&self, text: &str) {
        let mut file = self.0.lock().expect("no panic in it");
        file.write_all(text.as_bytes()).expect("the disk has room");
    }
}

/// Puts numbered records, and writes down which are acknowledged, where.
pub(crate) async fn producer() {
    let (name, life, lines) = (variable("CHAOS_NAME"), variable("CHAOS_LIFE"), Lines::open());
    let producer = Producer::start(&client(), ProducerConfig::new(STREAM)).expect("valid");
    let every = Duration::from_millis(100);
    let batch = number("CHAOS_RATE", 1_000) / 10;
    for tick in 0.. {
        let began = tokio::time::Instant::now();
        let mut tickets = Vec::new();
        for place in 0..batch {
            let uid = format!("{name}/{life}/{}", tick * batch + place);
            let record = UserRecord::new(format!("key-{}", place % 97), uid.clone().into_bytes());
            tickets.push((uid, producer.put(record).await.expect("it is open")));
        }
        let lines = lines.clone();
        tokio::spawn(async move {
            for (uid, ticket) in tickets {
                if let Ok(delivered) = ticket.await {
                    let (shard, number) = (delivered.shard_id, delivered.sequence_number);
                    lines.write(&format!("{uid} {shard} {number} {}\n", delivered.sub_sequence_number));
                }
            }
        });
        tokio::time::sleep_until(began + every).await;
    }
}

/// Reads, writes down what it was handed, and checkpoints each batch.
pub(crate) async fn worker() {
    let (name, lines) = (variable("CHAOS_NAME"), Lines::open());
    let seed = u64::from(std::process::id());
    let config = ConsumerConfig::new("chaos", STREAM, name.as_str())
        .with_initial_position(InitialPosition::TrimHorizon)
        .with_failover_time(Duration::from_secs(4))
        .with_seed(seed);
    loop {
        let store = match store() {
            Ok(store) => store,
            Err(error) => {
                eprintln!("{name}: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let (tenures, lines) = (Arc::new(Mutex::new(0_u64)), lines.clone());
        let factory = move |_: kcl::StreamShard| {
            let mut tenures = tenures.lock().expect("no panic in it");
            *tenures += 1;
            Reader { lines: lines.clone(), tenure: *tenures }
        };
        match Scheduler::start(&client(), config.clone(), store, factory).await {
            Ok(scheduler) => {
                let error = scheduler.wait().await;
                eprintln!("{name} ends: {error}");
            }
            Err(error) => eprintln!("{name} does not start: {error}"),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

struct Reader {
    lines: Lines,
    tenure: u64,
}

#[async_trait::async_trait]
impl RecordProcessor for Reader {
    async fn initialize(&mut self, _: InitializationInput) -> Result<(), BoxError> {
        Ok(())
    }

    async fn process_records(&mut self, input: ProcessRecordsInput) -> Result<(), BoxError> {
        let mut text = format!("> {}\n", self.tenure);
        for record in input.records.iter() {
            let uid = std::str::from_utf8(record.data())?;
            let position = record.position();
            writeln!(
                text,
                "{uid} {} {} {} {}",
                record.shard_id(),
                position.sequence_number,
                position.sub_sequence_number,
                self.tenure
            )?;
        }
        self.lines.write(&text);
        let done = input.checkpointer.checkpoint().await;
        if done.is_err() {
            // The batch is to come again, whole.
            self.lines.write(&format!("! {}\n", self.tenure));
        }
        Ok(done?)
    }

    async fn lease_lost(&mut self, _: LeaseLostInput) {}

    async fn shard_ended(&mut self, input: ShardEndedInput) -> Result<(), BoxError> {
        Ok(input.checkpointer.checkpoint().await?)
    }

    async fn shutdown_requested(&mut self, input: ShutdownRequestedInput) -> Result<(), BoxError> {
        Ok(input.checkpointer.checkpoint().await?)
    }
}
