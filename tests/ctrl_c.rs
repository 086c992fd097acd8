//! Ctrl-c in the middle of a scan, as a user presses it: a signal to a process of its own.
#![cfg(unix)]

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::{BehaviorVersion, Region};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use kcl::lease::{LeaseStore, SqliteLeaseStore};
use kcl::{Checkpoint, ExtendedSequenceNumber};
use kinesis_sim::{Limits, Sim};

/// The example, which `cargo test` builds beside the tests. A run of this file alone does not: one that is missing, or older
/// than this test, is built here.
fn example() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let profile = test.parent().and_then(Path::parent).expect("it lies in <target>/<profile>/deps");
    let path = profile.join("examples").join("consumer");
    let made = |path: &Path| path.metadata().and_then(|file| file.modified()).ok();
    if made(&path) < made(&test) {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--example", "consumer"]);
        if profile.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().expect("cargo runs").success(), "the example does not compile");
    }
    path
}

fn client_at(address: SocketAddr) -> Client {
    let config = aws_sdk_kinesis::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("any", "any", None, None, "test"))
        .endpoint_url(format!("http://{address}"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    Client::from_conf(config)
}

async fn put(client: &Client, numbers: std::ops::Range<u32>) {
    for batch in numbers.collect::<Vec<_>>().chunks(500) {
        let entry = |number: &u32| {
            let record = PutRecordsRequestEntry::builder().partition_key("k");
            record.data(Blob::new(format!("text-{number:05}"))).build().expect("key and data are set")
        };
        let put =
            client.put_records().stream_name("lines").set_records(Some(batch.iter().map(entry).collect()));
        assert_eq!(put.send().await.expect("put").failed_record_count, Some(0));
    }
}

/// A run of the example that has printed what it printed so far.
struct Run {
    child: Child,
    output: std::io::Lines<BufReader<ChildStdout>>,
    printed: Vec<String>,
}

impl Run {
    fn start(address: SocketAddr, checkpoints: &Path) -> Self {
        let mut child = Command::new(example())
            .args(["--endpoint", &format!("http://{address}"), "--region", "us-east-1", "--checkpoints"])
            .arg(checkpoints)
            .envs([("AWS_ACCESS_KEY_ID", "any"), ("AWS_SECRET_ACCESS_KEY", "any")])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the example runs");
        let output = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Self { child, output, printed: Vec::new() }
    }

    /// Reads lines until `count` records were printed.
    fn until(&mut self, count: usize) {
        while self.records().len() < count {
            let line = self.output.next().expect("it goes on printing").expect("its output is text");
            self.printed.push(line);
        }
    }

    fn records(&self) -> Vec<&str> {
        self.printed.iter().map(String::as_str).filter(|line| line.contains(": text-")).collect()
    }

    /// Presses ctrl-c, and reads what it says before it ends.
    fn interrupt(mut self) -> (Vec<String>, ExitStatus) {
        let sent = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        assert!(sent.expect("there is a kill").success());
        self.printed.extend(self.output.map(|line| line.expect("its output is text")));
        (self.printed, self.child.wait().expect("it ends"))
    }
}

fn texts(printed: &[String]) -> Vec<String> {
    printed.iter().filter_map(|line| line.rsplit_once(": ").map(|(_, text)| text.to_owned())).collect()
}

fn wanted(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|number| format!("text-{number:05}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_a_scan_behind_the_last_record_it_printed_and_the_next_scan_begins_there() {
    let sim = Sim::builder().limits(Limits::Off).state_delay(Duration::ZERO).build();
    let server = sim.serve(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port");
    let client = client_at(server.addr());
    client.create_stream().stream_name("lines").shard_count(1).send().await.expect("created");
    put(&client, 0..5_000).await;
    let folder = tempfile::tempdir().expect("a folder");
    let checkpoints = folder.path().join("checkpoints.db");

    let mut run = Run::start(server.addr(), &checkpoints);
    run.until(20);
    // Most of the batch is still to come.
    let (printed, status) = run.interrupt();
    assert_eq!(status.code(), Some(0), "{status}");
    let first = texts(&printed);
    let count = u32::try_from(first.len()).expect("a few thousand");
    assert!(count >= 20, "{count}");
    assert_eq!(first, wanted(0..count));
    assert_eq!(printed.last(), Some(&format!("{count} records scanned")), "it tells how it ended");
    let leases = SqliteLeaseStore::open(&checkpoints, "consumer").expect("the file is there");
    let rows = leases.list().await.expect("it can be read");
    let last = sim.stored("lines")[first.len() - 1].sequence_number;
    let expected = Checkpoint::At(ExtendedSequenceNumber::new(last, 0));
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (rows[0].checkpoint, rows[0].owner.as_ref()),
        (expected, None),
        "given back behind the last record"
    );

    put(&client, 5_000..5_100).await;
    let mut run = Run::start(server.addr(), &checkpoints);
    run.until(5_100 - first.len());
    let (printed, status) = run.interrupt();
    assert_eq!(status.code(), Some(0), "{status}");
    assert_eq!(texts(&printed), wanted(count..5_100), "neither lost nor repeated");
    drop(server);
}
