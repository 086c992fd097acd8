//! Puts 100-byte records as fast as the stream takes them, for comparison with other producers (`tests/bench/producers/run.sh`).
//!
//! ```text
//! cargo run --release -p kpl --example load -- kpl|kpl-many|sdk ENDPOINT STREAM COUNT [CA.pem]
//! ```
//!
//! `sdk` is the plain loop that people write themselves: 500 records a `PutRecords`, four calls at a time, failed entries again.
//! Prints records, seconds, CPU seconds of the process and the most memory that it had, in MiB.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measuring program: it reads the clock and prints"
)]

use std::collections::VecDeque;
use std::error::Error;
use std::time::{Duration, Instant};

use aws_credential_types::Credentials;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::config::{BehaviorVersion, Region};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use bytes::Bytes;
use kpl::{Producer, ProducerConfig, Ticket, UserRecord};
use rustix::time::{ClockId, clock_gettime};
use tokio::task::JoinSet;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const KEYS: u64 = 262_144;
/// Tickets that are held before the oldest is awaited.
const WINDOW: usize = 131_072;
const MANY: usize = 4_096;

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (way, endpoint, stream, count, ca) = match arguments.as_slice() {
        [way, endpoint, stream, count] => (way, endpoint, stream, count.parse()?, None),
        [way, endpoint, stream, count, ca] => (way, endpoint, stream, count.parse()?, Some(ca)),
        _ => return Err("give kpl, kpl-many or sdk, the endpoint, the stream and how many records".into()),
    };
    let client = client(endpoint, ca)?;
    let started = Started::now();
    match way.as_str() {
        "sdk" => sdk(&client, stream, count).await?,
        way => kpl(&client, stream, count, way == "kpl-many").await?,
    }
    let (seconds, cpu) = started.elapsed();
    println!("result {way} {count} {seconds:.3} {cpu:.3} {:.1}", bench::peak_bytes() / 1_048_576.0);
    Ok(())
}

struct Started {
    at: Instant,
    cpu: Duration,
}

impl Started {
    fn now() -> Self {
        Self { at: Instant::now(), cpu: cpu() }
    }

    fn elapsed(&self) -> (f64, f64) {
        (self.at.elapsed().as_secs_f64(), cpu().saturating_sub(self.cpu).as_secs_f64())
    }
}

/// CPU time of this process, all threads.
fn cpu() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}

fn client(endpoint: &str, ca: Option<&String>) -> Outcome<Client> {
    let http = match ca {
        None => Builder::new().build_http(),
        Some(ca) => {
            let trusted = TrustStore::empty().with_pem_certificate(std::fs::read(ca)?);
            let context = TlsContext::builder().with_trust_store(trusted).build()?;
            Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).tls_context(context).build_https()
        }
    };
    let config = aws_sdk_kinesis::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::from_keys("any", "any", None))
        .endpoint_url(endpoint)
        .retry_config(RetryConfig::disabled())
        .http_client(http)
        .build();
    Ok(Client::from_conf(config))
}

fn key(number: u64) -> String {
    // Spread like random keys, the same in every run.
    format!("customer-{:011}", number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % KEYS)
}

fn data() -> Bytes {
    (0..100).map(|index: u8| index.wrapping_mul(37)).collect()
}

async fn kpl(client: &Client, stream: &str, count: u64, many: bool) -> Outcome<()> {
    // The engine's limits are off, and so are everybody's own.
    let config = ProducerConfig::new(stream).with_rate_limit(100_000);
    let producer = Producer::start(client, config)?;
    let data = data();
    let record = |number| UserRecord::new(key(number), data.clone());
    let mut window: VecDeque<Ticket> = VecDeque::new();
    let mut number = 0;
    while number < count {
        if many {
            let next = (number + MANY as u64).min(count);
            window.extend(producer.put_many((number..next).map(record).collect()).await?);
            number = next;
        } else {
            window.push_back(producer.put(record(number)).await?);
            number += 1;
        }
        while window.len() > WINDOW {
            if let Some(ticket) = window.pop_front() {
                ticket.await?;
            }
        }
    }
    producer.flush().await;
    for ticket in window {
        ticket.await?;
    }
    let report = producer.close(Duration::from_secs(30)).await;
    if report.is_complete() { Ok(()) } else { Err(report.to_string().into()) }
}

async fn sdk(client: &Client, stream: &str, count: u64) -> Outcome<()> {
    let mut loops = JoinSet::new();
    for part in 0..4 {
        let (client, stream) = (client.clone(), stream.to_owned());
        loops.spawn(async move {
            let mut number = count * part / 4;
            let end = count * (part + 1) / 4;
            while number < end {
                let next = (number + 500).min(end);
                put_all(&client, &stream, number..next).await?;
                number = next;
            }
            Outcome::Ok(())
        });
    }
    while let Some(done) = loops.join_next().await {
        done??;
    }
    Ok(())
}

async fn put_all(client: &Client, stream: &str, numbers: std::ops::Range<u64>) -> Outcome<()> {
    let data = data();
    let entry = |number| {
        PutRecordsRequestEntry::builder().partition_key(key(number)).data(Blob::new(data.to_vec())).build()
    };
    let mut entries = numbers.map(entry).collect::<Result<Vec<_>, _>>()?;
    while !entries.is_empty() {
        let call = client.put_records().stream_name(stream).set_records(Some(entries.clone()));
        let answers = call.send().await?.records;
        entries = entries
            .into_iter()
            .zip(answers)
            .filter(|(_, answer)| answer.error_code.is_some())
            .map(|(entry, _)| entry)
            .collect();
    }
    Ok(())
}
