//! How fast the server answers, how much memory it takes, and how soon it is there: a small load program against a
//! server in another process.
//!
//! ```text
//! cargo bench -p kinesis-sim --features server --bench server_load [-- SECONDS [ADDR]]
//! ```
//!
//! It starts the built server itself, or uses the one at ADDR (HTTP/1.1), whose process it then knows nothing of.
#![cfg(feature = "server")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a measuring program: it reads the clock, prints, and stops at the first surprise"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const CONNECTIONS: usize = 4;
const RECORDS_PER_CALL: usize = 500;
const PAYLOAD_BYTES: usize = 100;
const SHARDS: usize = 32;

fn main() {
    // `cargo bench` and `cargo test` pass flags of their own.
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let seconds = arguments.first().and_then(|text| text.parse().ok()).unwrap_or(5);
    let started = Instant::now();
    let server = arguments.get(1).is_none().then(Started::new);
    let addr = match (&server, arguments.get(1)) {
        (Some(server), _) => server.addr,
        (None, addr) => addr.and_then(|addr| addr.parse().ok()).expect("ADDR is an address and a port"),
    };
    if let Some(server) = &server {
        let mut connection = Connection::to(addr);
        connection.call("ListStreams", "{}");
        println!("start to first answer  {:8.2} ms", millis(started.elapsed()));
        println!("idle                   {:8.2} MiB", server.resident_mib());
    } else {
        Connection::to(addr)
            .call("CreateStream", &format!(r#"{{"StreamName":"load","ShardCount":{SHARDS}}}"#));
        std::thread::sleep(Duration::from_secs(2));
    }
    put_records(addr, Duration::from_secs(seconds), server.as_ref());
    get_records(addr, Duration::from_secs(seconds));
    put_record(addr);
}

/// The server that was built with this program.
struct Started {
    child: Child,
    addr: SocketAddr,
}

impl Started {
    fn new() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_kinesis-sim"))
            .args(["--port", "0", "--limits", "off", "--stream", &format!("load:{SHARDS}")])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addr = line.trim().rsplit('/').next().unwrap().parse().unwrap();
        Self { child, addr }
    }

    fn resident_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
        let kib: f64 = line.trim().split(' ').next().unwrap().parse().unwrap_or(0.0);
        kib / 1024.0
    }

    /// Processor time in user and system mode.
    fn processor_seconds(&self) -> (f64, f64) {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
        (ticks(11) / 100.0, ticks(12) / 100.0)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// One kept HTTP/1.1 connection.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

fn request(operation: &str, body: &str) -> Vec<u8> {
    format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-amz-json-1.1\r\n\
         X-Amz-Target: Kinesis_20131202.{operation}\r\nX-Amz-Date: 20260101T000000Z\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential=load/20260101/us-east-1/kinesis/aws4_request, SignedHeaders=host, Signature=00\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

impl Connection {
    fn to(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: vec![0; 1 << 20] }
    }

    fn call(&mut self, operation: &str, body: &str) -> String {
        self.send(&request(operation, body));
        let answer = self.receive();
        String::from_utf8(self.buffer[answer].to_vec()).unwrap()
    }

    fn send(&mut self, request: &[u8]) {
        self.stream.write_all(request).unwrap();
    }

    /// Where in the buffer the answer's body is.
    fn receive(&mut self) -> std::ops::Range<usize> {
        let mut filled = 0;
        let (head, length) = loop {
            filled += self.read(filled);
            let Some(end) = self.buffer[..filled].windows(4).position(|window| window == b"\r\n\r\n") else {
                continue;
            };
            let head = std::str::from_utf8(&self.buffer[..end]).unwrap().to_ascii_lowercase();
            assert!(head.starts_with("http/1.1 200"), "{}", String::from_utf8_lossy(&self.buffer[..filled]));
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
            break (end + 4, length.trim().parse::<usize>().unwrap());
        };
        if self.buffer.len() < head + length {
            self.buffer.resize(head + length, 0);
        }
        while filled < head + length {
            filled += self.read(filled);
        }
        head..head + length
    }

    fn read(&mut self, filled: usize) -> usize {
        let count = self.stream.read(&mut self.buffer[filled..]).unwrap();
        assert!(count > 0, "the server hung up");
        count
    }
}

fn put_request(seed: usize) -> Vec<u8> {
    let data = "QUFB".repeat(PAYLOAD_BYTES / 3) + "QQ==";
    let record = |number: usize| {
        format!(r#"{{"Data":"{data}","PartitionKey":"key-{}"}}"#, seed * RECORDS_PER_CALL + number)
    };
    let records: Vec<_> = (0..RECORDS_PER_CALL).map(record).collect();
    request("PutRecords", &format!(r#"{{"StreamName":"load","Records":[{}]}}"#, records.join(",")))
}

fn put_records(addr: SocketAddr, duration: Duration, server: Option<&Started>) {
    let before = server.map(|server| (server.resident_mib(), server.processor_seconds()));
    let (calls, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let (calls, done) = (&calls, &done);
    let elapsed = std::thread::scope(|scope| {
        let started = Instant::now();
        for thread in 0..CONNECTIONS {
            scope.spawn(move || {
                let mut connection = Connection::to(addr);
                let requests: Vec<_> = (0..8).map(|seed| put_request(thread * 8 + seed)).collect();
                for request in requests.iter().cycle() {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    connection.send(request);
                    connection.receive();
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // Slices, to see whether it slows as the log grows.
        let slices: Vec<_> = (0..5)
            .map(|_| {
                let (at, before) = (Instant::now(), calls.load(Ordering::Relaxed));
                std::thread::sleep(duration / 5);
                rate(calls.load(Ordering::Relaxed) - before, at.elapsed())
            })
            .collect();
        done.store(true, Ordering::Relaxed);
        println!("PutRecords in slices   {}", slices.join(" "));
        started.elapsed()
    });
    let calls = calls.load(Ordering::Relaxed);
    println!("PutRecords 500 x 100 B {} records/s", rate(calls, elapsed));
    if let (Some(server), Some((memory, (user, system)))) = (server, before) {
        let records = (calls * RECORDS_PER_CALL as u64) as f64;
        let (user_after, system_after) = server.processor_seconds();
        println!(
            "  per record           {:8.0} bytes of memory",
            (server.resident_mib() - memory) * 1_048_576.0 / records
        );
        println!(
            "  per call             {:8.0} us user, {:.0} us system",
            (user_after - user) * 1e6 / calls as f64,
            (system_after - system) * 1e6 / calls as f64
        );
    }
}

fn rate(calls: u64, elapsed: Duration) -> String {
    format!("{:9.0}", (calls * RECORDS_PER_CALL as u64) as f64 / elapsed.as_secs_f64())
}

fn get_records(addr: SocketAddr, duration: Duration) {
    let records = AtomicU64::new(0);
    let records = &records;
    let started = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..CONNECTIONS {
            scope.spawn(move || {
                let mut connection = Connection::to(addr);
                'shards: for shard in (thread..SHARDS).step_by(CONNECTIONS).cycle() {
                    let body = format!(
                        r#"{{"StreamName":"load","ShardId":"shardId-{shard:012}","ShardIteratorType":"TRIM_HORIZON"}}"#
                    );
                    let answer = connection.call("GetShardIterator", &body);
                    let mut iterator = answer.split('"').nth(3).unwrap().to_owned();
                    loop {
                        if started.elapsed() > duration {
                            break 'shards;
                        }
                        let body = format!(r#"{{"ShardIterator":"{iterator}","Limit":1000}}"#);
                        connection.send(&request("GetRecords", &body));
                        let answer = connection.receive();
                        let answer = &connection.buffer[answer];
                        // The end of the answer: nothing else of it is parsed.
                        let tail = String::from_utf8_lossy(&answer[answer.len().saturating_sub(400)..]).into_owned();
                        let next = tail.split(r#""NextShardIterator":""#).nth(1).unwrap();
                        next.split('"').next().unwrap().clone_into(&mut iterator);
                        if tail.contains(r#""MillisBehindLatest":0,"#) {
                            break;
                        }
                        records.fetch_add(1000, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let rate = records.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64();
    println!("GetRecords, 1,000 each {rate:9.0} records/s");
}

fn put_record(addr: SocketAddr) {
    let mut connection = Connection::to(addr);
    let request = request("PutRecord", r#"{"StreamName":"load","PartitionKey":"k","Data":"aGVsbG8="}"#);
    let mut times: Vec<_> = (0..20_000)
        .map(|_| {
            let started = Instant::now();
            connection.send(&request);
            connection.receive();
            started.elapsed()
        })
        .collect();
    times.sort_unstable();
    println!(
        "PutRecord              {:8.3} ms p50, {:.3} ms p99",
        millis(times[times.len() / 2]),
        millis(times[times.len() * 99 / 100])
    );
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
