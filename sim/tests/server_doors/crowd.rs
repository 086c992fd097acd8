//! Many clients and slow ones, against the program: what each costs it in memory, and that nobody else waits for them.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::http::{Client, JSON, auth, soon};
use crate::program::Program;

const MIB: usize = 1024 * 1024;

/// A running program, where it listens, and what it takes.
struct Crowded {
    program: Program,
    addr: String,
}

impl Crowded {
    fn start() -> Self {
        let mut program =
            Program::start(&["--stream", "orders:1", "--limits", "off", "--state-delay-ms", "0"]);
        let addr = program.addr("http");
        Self { program, addr }
    }

    async fn client(&self) -> Client {
        Client { stream: TcpStream::connect(&self.addr).await.unwrap() }
    }

    /// Of its memory, what is resident; `None` where the system does not tell.
    fn resident_bytes(&self) -> Option<usize> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.program.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(line.trim().split(' ').next()?.parse::<usize>().ok()? * 1024)
    }

    /// Fails if it takes more than so much for each of so many than it took before.
    fn assert_each_takes_less(&self, before: Option<usize>, count: usize, most: usize) {
        let (Some(before), Some(after)) = (before, self.resident_bytes()) else { return };
        let each = after.saturating_sub(before) / count;
        eprintln!("{count} clients: {each} bytes each");
        assert!(each < most, "{each} bytes each for {count} clients");
    }

    /// Somebody else is answered within a second.
    async fn assert_quick(&self) {
        let call = async { self.client().await.call("ListStreams", "{}").await.status };
        let answered = tokio::time::timeout(Duration::from_secs(1), call).await;
        assert_eq!(answered.expect("others do not wait"), 200);
    }
}

/// How many files this process may have open; the program inherits it.
fn most_open_files() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(256)
}

#[tokio::test]
async fn ten_thousand_idle_connections_cost_little_and_hold_up_nobody() {
    // Where fewer files may be open than that, as many as may: the other tests of this process need some too.
    let count = 10_000.min(most_open_files() * 3 / 4);
    let crowded = Crowded::start();
    crowded.assert_quick().await;
    let before = crowded.resident_bytes();
    let mut idle = Vec::new();
    for _ in 0..count {
        let mut client = crowded.client().await;
        // Idle after a request, which is when a connection holds its buffers.
        assert_eq!(client.get("/health").await.status, 200);
        idle.push(client);
    }
    crowded.assert_each_takes_less(before, count, 32 * 1024);
    crowded.assert_quick().await;
    assert_eq!(idle[count / 2].call("ListStreams", "{}").await.status, 200, "and they still work");
}

#[tokio::test]
async fn bodies_that_come_slowly_hold_no_more_than_what_came() {
    let crowded = Crowded::start();
    crowded.assert_quick().await;
    let before = crowded.resident_bytes();
    let mut slow = Vec::new();
    for _ in 0..300 {
        let mut client = crowded.client().await;
        client.send(head("PutRecord", 16 * MIB)).await;
        client.send([b' '; 1024]).await;
        slow.push(client);
    }
    for client in &mut slow {
        client.send(" ").await;
    }
    crowded.assert_quick().await;
    crowded.assert_each_takes_less(before, slow.len(), 40 * 1024);
}

#[tokio::test]
async fn readers_of_an_event_stream_that_do_not_read_hold_an_event_each() {
    const RECORDS: usize = 24;
    const READERS: usize = 10;
    let crowded = Crowded::start();
    let mut client = crowded.client().await;
    let data = "A".repeat(MIB / 3 * 4);
    for _ in 0..RECORDS {
        let put = format!(r#"{{"StreamName":"orders","PartitionKey":"k","Data":"{data}"}}"#);
        assert_eq!(client.call("PutRecord", &put).await.status, 200);
    }
    let mut readers = Vec::new();
    for number in 0..READERS {
        let register = format!(
            r#"{{"StreamARN":"arn:aws:kinesis:us-east-1:000000000000:stream/orders","ConsumerName":"reader-{number}"}}"#
        );
        let consumer = client.call("RegisterStreamConsumer", &register).await.json();
        let consumer = consumer["Consumer"]["ConsumerARN"].as_str().unwrap().to_owned();
        let subscribe = format!(
            r#"{{"ConsumerARN":"{consumer}","ShardId":"shardId-000000000000","StartingPosition":{{"Type":"TRIM_HORIZON"}}}}"#
        );
        let reader = crowded.client().await;
        readers.push((reader, subscribe));
    }
    let before = crowded.resident_bytes();
    for (reader, subscribe) in &mut readers {
        reader.send(head("SubscribeToShard", subscribe.len()) + subscribe).await;
    }
    // Long enough for all events to be made, if nothing held them back: some 340 MB.
    tokio::time::sleep(Duration::from_secs(2)).await;
    crowded.assert_each_takes_less(before, READERS, 5 * MIB);
    crowded.assert_quick().await;
    let (reader, _) = &mut readers[0];
    let (mut found, mut bytes) = (0, vec![0; MIB]);
    while found < RECORDS {
        let count = soon(reader.stream.read(&mut bytes)).await.unwrap();
        assert!(count > 0, "the stream does not end before its {RECORDS} records: {found}");
        // Between records, never within their data.
        found += memchr::memchr_iter(b'k', &bytes[..count]).count();
    }
}

fn head(operation: &str, length: usize) -> String {
    format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: {JSON}\r\nX-Amz-Target: Kinesis_20131202.{operation}\r\n{}\
         Content-Length: {length}\r\n\r\n",
        auth("a")
    )
}
