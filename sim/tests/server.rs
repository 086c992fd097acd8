//! The engine on a real loopback socket, spoken to with raw bytes.
#![cfg(feature = "server")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::let_underscore_must_use,
    reason = "tests fail by panicking, and some outcomes are not their subject"
)]

use std::net::SocketAddr;
use std::time::Duration;

use kinesis_sim::{Limits, Rule, ServeError, Server, Sim, Verdict};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const AUTH: &str = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/kinesis/aws4_request, SignedHeaders=host, Signature=00";

async fn start() -> (Sim, Server) {
    let sim = Sim::builder().limits(Limits::Off).state_delay(Duration::ZERO).wall_clock().build();
    sim.create_stream("orders", 2);
    let server = sim.serve("127.0.0.1:0".parse().unwrap()).await.unwrap();
    (sim, server)
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

fn head(operation: &str, length: usize) -> String {
    format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-amz-json-1.1\r\n\
         X-Amz-Target: Kinesis_20131202.{operation}\r\nX-Amz-Date: 20260101T000000Z\r\nAuthorization: {AUTH}\r\nContent-Length: {length}\r\n\r\n"
    )
}

async fn call(stream: &mut TcpStream, operation: &str, body: &str) -> Answer {
    let request = head(operation, body.len()) + body;
    stream.write_all(request.as_bytes()).await.unwrap();
    read_answer(stream).await
}

async fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let end = loop {
        let mut chunk = [0; 4096];
        let count = stream.read(&mut chunk).await.unwrap();
        assert!(count > 0, "closed after {:?}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&chunk[..count]);
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned))
        .map_or(0, |length| length.parse().unwrap());
    let mut body = bytes[end..].to_vec();
    while body.len() < length {
        let mut chunk = [0; 4096];
        let count = stream.read(&mut chunk).await.unwrap();
        assert!(count > 0);
        body.extend_from_slice(&chunk[..count]);
    }
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body: String::from_utf8(body).unwrap() }
}

async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.addr()).await.unwrap()
}

#[tokio::test]
async fn json_goes_in_and_out_on_one_kept_connection() {
    let (sim, server) = start().await;
    let mut stream = connect(&server).await;
    let put =
        call(&mut stream, "PutRecord", r#"{"StreamName":"orders","PartitionKey":"k","Data":"aGVsbG8="}"#)
            .await;
    assert_eq!(put.status, 200);
    assert!(put.body.starts_with(r#"{"ShardId":"shardId-00000000000"#), "{}", put.body);
    for header in ["content-type: application/x-amz-json-1.1", "x-amzn-requestid: ", "x-amz-id-2: ", "date: "]
    {
        assert!(put.head.to_ascii_lowercase().contains(header), "{header} in {}", put.head);
    }
    for operation in ["DescribeStream", "DescribeStreamSummary"] {
        let described = call(&mut stream, operation, r#"{"StreamName":"orders"}"#).await;
        assert!(!described.body.contains("StreamId"), "clients would turn to the real service");
    }
    let deleted = call(&mut stream, "DeleteStream", r#"{"StreamName":"orders"}"#).await;
    assert_eq!((deleted.status, deleted.body.as_str()), (200, ""), "no output is an empty body");
    let gone = call(&mut stream, "DescribeStream", r#"{"StreamName":"orders"}"#).await;
    assert_eq!(gone.status, 400);
    assert_eq!(
        gone.body,
        r#"{"__type":"ResourceNotFoundException","message":"Stream orders under account 000000000000 not found."}"#
    );
    assert!(sim.stored("orders").is_empty());
}

#[tokio::test]
async fn truncated_and_wrong_json_are_serialization_errors() {
    let (_sim, server) = start().await;
    let mut stream = connect(&server).await;
    for body in [r#"{"StreamName":"ord"#, "[]", "x", "{}}"] {
        let answer = call(&mut stream, "DescribeStream", body).await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (400, r#"{"__type":"SerializationException"}"#),
            "{body}"
        );
    }
    let deep = r#"{"a":"#.repeat(100_000);
    assert_eq!(call(&mut stream, "DescribeStream", &deep).await.status, 400);
    let answer = call(&mut stream, "DescribeStream", r#"{"StreamName":1}"#).await;
    assert!(answer.body.starts_with(r#"{"__type":"SerializationException","Message":"class com.amazon"#));
    let answer = call(&mut stream, "DescribeStream", "").await;
    assert_eq!(answer.body, r#"{"__type":"SerializationException"}"#);
}

#[tokio::test]
async fn unknown_operations_and_missing_signatures_are_told() {
    let (_sim, server) = start().await;
    let mut stream = connect(&server).await;
    let answer = call(&mut stream, "MakeCoffee", "{}").await;
    assert_eq!((answer.status, answer.body.as_str()), (400, r#"{"__type":"UnknownOperationException"}"#));
    let request = head("ListStreams", 2).replace(&format!("Authorization: {AUTH}\r\n"), "") + "{}";
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = read_answer(&mut stream).await;
    assert!(answer.body.contains("MissingAuthenticationTokenException"), "{}", answer.body);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let answer = read_answer(&mut stream).await;
    assert_eq!(answer.status, 403);
    assert!(answer.body.starts_with("<AccessDeniedException>"));
}

#[tokio::test]
async fn account_and_region_come_from_the_credential() {
    let (_sim, server) = start().await;
    let mut stream = connect(&server).await;
    let body = r#"{"StreamName":"orders"}"#;
    let request = (head("DescribeStream", body.len()) + body)
        .replace("Credential=test/20260101/us-east-1", "Credential=123456789012/20260101/eu-west-1");
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = read_answer(&mut stream).await;
    assert!(answer.body.contains("Stream orders under account 123456789012 not found."), "{}", answer.body);
}

#[tokio::test]
async fn an_oversized_body_is_refused() {
    let (_sim, server) = start().await;
    let mut stream = connect(&server).await;
    stream.write_all(head("PutRecords", 17 << 20).as_bytes()).await.unwrap();
    let (mut reading, mut writing) = stream.split();
    let send = async {
        let chunk = vec![b' '; 1 << 20];
        for _ in 0..17 {
            // The server may have hung up by then.
            if writing.write_all(&chunk).await.is_err() {
                break;
            }
        }
    };
    let receive = async {
        let mut bytes = vec![0; 1024];
        let count = reading.read(&mut bytes).await.unwrap_or(0);
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    };
    let ((), answer) = tokio::join!(send, receive);
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn a_full_request_of_ten_mebibytes_is_taken() {
    let (sim, server) = start().await;
    let mut stream = connect(&server).await;
    // Just under 1 MiB each, with the key.
    let record = format!(r#"{{"PartitionKey":"k","Data":"{}"}}"#, "AAAA".repeat(349_000));
    let body = format!(r#"{{"StreamName":"orders","Records":[{}]}}"#, vec![record; 10].join(","));
    assert!(body.len() > 13 << 20);
    let answer = call(&mut stream, "PutRecords", &body).await;
    assert!(answer.body.ends_with(r#""FailedRecordCount":0}"#), "{}", answer.body);
    assert_eq!(sim.stored("orders").len(), 10);
}

#[tokio::test]
async fn the_h2c_preface_is_accepted_on_the_same_port() {
    let (_sim, server) = start().await;
    let mut stream = connect(&server).await;
    // The preface and an empty SETTINGS frame; a SETTINGS frame (type 4) comes back.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut frame = [0; 9];
    stream.read_exact(&mut frame).await.unwrap();
    assert_eq!(frame[3], 4, "{frame:?}");
}

#[tokio::test]
async fn a_taken_port_is_told_in_one_sentence() {
    let (sim, server) = start().await;
    let error = sim.serve(server.addr()).await.unwrap_err();
    assert!(matches!(error, ServeError::PortTaken { .. }));
    assert_eq!(
        error.to_string(),
        format!(
            "{} is already in use: stop the program that listens there, or choose another port",
            server.addr()
        )
    );
    let elsewhere: SocketAddr = "192.0.2.1:0".parse().unwrap();
    assert!(matches!(sim.serve(elsewhere).await, Err(ServeError::Listen { .. })));
}

#[tokio::test]
async fn a_stop_frees_the_port_with_idle_connections_open() {
    let (sim, server) = start().await;
    let mut idle = connect(&server).await;
    call(&mut idle, "ListStreams", "{}").await;
    let addr = server.addr();
    tokio::time::timeout(Duration::from_secs(4), server.stop()).await.unwrap();
    assert!(TcpStream::connect(addr).await.is_err());
    let again = sim.serve(addr).await.unwrap();
    let mut stream = connect(&again).await;
    assert_eq!(call(&mut stream, "ListStreams", "{}").await.status, 200);
}

#[tokio::test]
async fn a_lost_answer_closes_the_connection_after_the_effect() {
    let sim = Sim::builder().limits(Limits::Off).call_timeout(Duration::from_millis(20)).wall_clock().build();
    sim.create_stream("orders", 1);
    let server = sim.serve("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let _guard = sim.rule(Rule::operation("PutRecord").then(Verdict::LoseAnswer));
    let mut stream = connect(&server).await;
    let body = r#"{"StreamName":"orders","PartitionKey":"k","Data":"aGVsbG8="}"#;
    stream.write_all((head("PutRecord", body.len()) + body).as_bytes()).await.unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert_eq!(String::from_utf8_lossy(&rest), "");
    assert_eq!(sim.stored("orders").len(), 1);
}

#[tokio::test]
async fn the_real_client_works_over_the_socket_at_the_same_time_as_in_process() {
    let (sim, server) = start().await;
    let mut stream = connect(&server).await;
    call(&mut stream, "PutRecord", r#"{"StreamName":"orders","PartitionKey":"k","Data":"aGVsbG8="}"#).await;
    let answer = sim.client().list_shards().stream_name("orders").send().await.unwrap();
    assert_eq!(answer.shards().len(), 2);
    assert_eq!(sim.stored("orders")[0].data.as_ref(), b"hello");
}
