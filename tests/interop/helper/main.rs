//! What the scripts beside this folder need of our own libraries: a producer of known records, a reader that writes down
//! what it was given, and the comparison of the two. Other languages' programs write the same lines (see `line.rs`).
//!
//! No example, though cargo builds it as one, because only so may it use the dependencies of the tests.

#![allow(clippy::print_stdout, reason = "a program for scripts")]

mod check;
mod fleet;
mod leases;
mod line;
mod put;
mod scan;
mod split;
mod streams;
mod worker;

use std::process::ExitCode;

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_sdk_kinesis::Client;
use clap::{Args, Parser};

pub(crate) type Problem = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
enum Command {
    /// Puts known records with `kpl` and writes down where each one was delivered.
    Put(put::Arguments),
    /// Reads a stream with `kcl` and writes down every record.
    Scan(scan::Arguments),
    /// Splits every open shard in the middle.
    Split(split::Arguments),
    /// Reads a stream with `kcl` as one worker of several, and writes down every record.
    Worker(worker::Arguments),
    /// Prints the rows of a lease table.
    Leases(leases::Arguments),
    /// Runs workers of Java and of ours on one lease table, and judges what they delivered.
    Fleet(fleet::Arguments),
    /// Compares what was put with what was read.
    Check(check::Arguments),
}

#[derive(Args)]
pub(crate) struct Stream {
    /// Where the server listens, as <http://127.0.0.1:4567>.
    #[arg(long)]
    endpoint: String,
    /// The stream's name; where several are possible, their names with commas between them.
    #[arg(long)]
    stream: String,
}

#[derive(Args)]
pub(crate) struct StreamOption {
    /// Where the server listens.
    #[arg(long, requires = "stream")]
    endpoint: Option<String>,
    /// The stream's name.
    #[arg(long, requires = "endpoint")]
    stream: Option<String>,
}

impl Stream {
    fn client(&self) -> Client {
        client(&self.endpoint)
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.stream.split(',')
    }
}

impl StreamOption {
    fn client(&self) -> Option<Client> {
        self.endpoint.as_deref().map(client)
    }
}

fn client(endpoint: &str) -> Client {
    let config = aws_sdk_kinesis::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("any", "any", None, None, "interop"))
        .endpoint_url(endpoint)
        .build();
    Client::from_conf(config)
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Command::parse() {
        Command::Put(arguments) => put::run(arguments).await,
        Command::Scan(arguments) => scan::run(arguments).await,
        Command::Split(arguments) => split::run(arguments).await,
        Command::Worker(arguments) => worker::run(arguments).await,
        Command::Leases(arguments) => leases::run(arguments).await,
        Command::Fleet(arguments) => fleet::run(arguments).await,
        Command::Check(arguments) => check::run(arguments).await,
    };
    match outcome {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}
