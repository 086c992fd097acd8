//! What the comparison with other consumers needs of our own crates (`tests/bench/consumers/`): a stream filled with known
//! records, consumers that drain it and count, a worker that notes when it got what, and the measure of hand-overs.
//!
//! ```text
//! drain fill aggregated|limited|plain ENDPOINT STREAM COUNT   puts records, prints how many and their digest
//! drain leases ENDPOINT TABLE-ENDPOINT STREAM APPLICATION   makes a lease for each shard
//! drain read WAY COUNT ENDPOINT TABLE-ENDPOINT STREAM APPLICATION
//!                                   reads until it has that many, prints what it got, waits to be killed
//! drain tick ENDPOINT STREAM MILLISECONDS                   puts a record into each shard, again and again
//! drain worker ENDPOINT TABLE-ENDPOINT STREAM APPLICATION WORKER CHECKPOINT-MS RENEWAL-MS OUT
//! drain gaps stop|kill ROUNDS SETTLE-SECONDS FOLDER -- COMMAND...   see `gaps.rs`
//! ```
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measuring program: it reads the clock, spawns and prints"
)]

mod fill;
mod gaps;
mod read;
mod tally;
mod worker;

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::{BehaviorVersion, Region};
use aws_smithy_http_client::Builder;

pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(words: &[&str]) -> Outcome<()> {
    match *words {
        ["fill", kind, endpoint, stream, count] => {
            fill::fill(kind, &kinesis(endpoint), stream, count.parse()?).await
        }
        ["leases", endpoint, table, stream, application] => {
            read::make_leases(&source(endpoint, table, stream, application)).await
        }
        ["read", way, count, endpoint, table, stream, application] => {
            read::read(way, &source(endpoint, table, stream, application), count.parse()?).await
        }
        ["tick", endpoint, stream, pause] => fill::tick(&kinesis(endpoint), stream, millis(pause)?).await,
        ["worker", endpoint, table, stream, application, worker, checkpoint, renewal, out] => {
            let settings = worker::Settings {
                stream,
                application,
                worker,
                out,
                checkpoint: millis(checkpoint)?,
                renewal: millis(renewal)?,
            };
            worker::run(&kinesis(endpoint), &dynamodb(table), settings).await
        }
        ["gaps", how, rounds, settle, folder, "--", ref command @ ..] => {
            let settle = Duration::from_secs(settle.parse()?);
            gaps::measure(how, rounds.parse()?, settle, folder.as_ref(), command).await
        }
        _ => Err("see the first lines of the source for the arguments".into()),
    }
}

fn source<'a>(endpoint: &str, table: &str, stream: &'a str, application: &'a str) -> read::Source<'a> {
    read::Source { kinesis: kinesis(endpoint), dynamodb: dynamodb(table), stream, application }
}

fn millis(text: &str) -> Outcome<Duration> {
    Ok(Duration::from_millis(text.parse()?))
}

/// Milliseconds since 1970, as programs in other languages can tell them too.
pub(crate) fn now_millis() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn kinesis(endpoint: &str) -> Client {
    let config = aws_sdk_kinesis::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::from_keys("any", "any", None))
        .endpoint_url(endpoint)
        .http_client(Builder::new().build_http())
        .build();
    Client::from_conf(config)
}

fn dynamodb(endpoint: &str) -> aws_sdk_dynamodb::Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::from_keys("any", "any", None))
        .endpoint_url(endpoint)
        .http_client(Builder::new().build_http())
        .build();
    aws_sdk_dynamodb::Client::from_conf(config)
}
