//! Clients that behave badly: an error or a closed connection, never a panic, and no harm to others.

use std::time::Duration;

use kinesis_sim::ServeOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::http::{CBOR, Client, JSON, auth, local, soon, start, start_with};

const PUT: &str = r#"{"StreamName":"orders","PartitionKey":"k","Data":"aGVsbG8="}"#;

fn put_head(length: usize) -> String {
    format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: {JSON}\r\nX-Amz-Target: Kinesis_20131202.PutRecord\r\n{}\
         Content-Length: {length}\r\n\r\n",
        auth("a")
    )
}

#[tokio::test]
async fn a_body_that_ends_too_soon_has_no_effect() {
    let (sim, server) = start().await;
    for cut in [0, 1, PUT.len() / 2, PUT.len() - 1] {
        let mut client = Client::to(&server).await;
        client.send(put_head(PUT.len()) + &PUT[..cut]).await;
        client.stream.shutdown().await.unwrap();
        assert!(soon(client.receive()).await.is_none_or(|answer| answer.status == 400), "{cut}");
    }
    assert!(sim.stored("orders").is_empty());
    assert_eq!(Client::to(&server).await.call("PutRecord", PUT).await.status, 200);
}

#[tokio::test]
async fn a_client_that_closes_its_half_is_let_go_with_or_without_its_answer() {
    let (sim, server) = start().await;
    let mut client = Client::to(&server).await;
    client.send(put_head(PUT.len()) + PUT).await;
    client.stream.shutdown().await.unwrap();
    let answered = soon(client.receive()).await.is_some_and(|answer| answer.status == 200);
    assert!(!answered || soon(client.receive()).await.is_none(), "after an answer the connection ends");
    let stored = sim.stored("orders").len();
    assert!(if answered { stored == 1 } else { stored <= 1 }, "{stored}");
}

#[tokio::test]
async fn a_body_that_does_not_come_to_its_end_is_given_up() {
    let (sim, server) =
        start_with(ServeOptions::new(local()).with_body_timeout(Duration::from_millis(300))).await;
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut client = Client::to(&server).await;
        client.send(put_head(PUT.len())).await;
        slow.push(client);
    }
    // One byte after the other, so that no pause is long.
    for byte in PUT.bytes().take(10) {
        for client in &mut slow {
            client.send([byte]).await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(soon(Client::to(&server).await.call("PutRecord", PUT)).await.status, 200, "nobody waits");
    for client in &mut slow {
        assert!(soon(client.receive()).await.is_none(), "hung up on without an answer");
    }
    assert_eq!(sim.stored("orders").len(), 1);
}

#[tokio::test]
async fn every_truncation_is_a_serialization_error() {
    let (sim, server) = start().await;
    let mut client = Client::to(&server).await;
    let json =
        br#"{"StreamName":"orders","Records":[{"Data":"aGk=","PartitionKey":"k"}],"x":[1,{"y":null}]}"#;
    let cbor = b"\xBF\x6AStreamName\x66orders\x67Records\x81\xA2\x64Data\x42hi\x6CPartitionKey\x61k\x61x\x9F\x18\x20\xFF\xFF";
    for (media_type, body) in [(JSON, json.as_slice()), (CBOR, cbor)] {
        for cut in 0..body.len() {
            let answer = client.call_as("test", media_type, "PutRecords", &body[..cut]).await;
            assert_eq!(answer.status, 400, "{media_type} {cut}");
            let named = b"SerializationException";
            assert!(answer.body.windows(named.len()).any(|window| window == named), "{media_type} {cut}");
        }
        assert_eq!(client.call_as("test", media_type, "PutRecords", body).await.status, 200);
    }
    assert_eq!(sim.stored("orders").len(), 2);
}

#[tokio::test]
async fn what_is_not_http_is_hung_up_on() {
    let (_sim, server) = start().await;
    for bytes in [
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".repeat(20),
        b"hello\r\n\r\n".to_vec(),
        vec![0; 1000],
        b"POST / HTTP/9.9\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".iter().copied().chain([0xFF; 500]).collect(),
        format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(1_000_000)).into_bytes(),
        format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(5_000)).into_bytes(),
        b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n".to_vec(),
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n".to_vec(),
    ] {
        let mut client = Client::to(&server).await;
        // The server may have hung up by then.
        let _outcome = client.stream.write_all(&bytes).await;
        let mut rest = Vec::new();
        let _outcome = soon(client.stream.read_to_end(&mut rest)).await;
        assert!(!rest.starts_with(b"HTTP/1.1 200"));
    }
    assert_eq!(Client::to(&server).await.get("/health").await.status, 200);
}

#[tokio::test]
async fn an_oversized_body_is_refused_and_its_sender_sees_it() {
    let (_sim, server) = start().await;
    let mut client = Client::to(&server).await;
    client.send(put_head(20 << 20)).await;
    client.send(vec![b' '; 20 << 20]).await;
    let answer = soon(client.receive()).await.unwrap();
    assert_eq!((answer.status, answer.header("connection")), (413, Some("close")));
    assert_eq!(Client::to(&server).await.call("ListStreams", "{}").await.status, 200);
}

#[tokio::test]
async fn bodies_at_the_cap_are_read_whatever_they_hold() {
    let (_sim, server) = start().await;
    let mut client = Client::to(&server).await;
    let cap = 16 << 20;
    for (media_type, body) in [
        (JSON, vec![b'['; cap]),
        (JSON, b"{\"a\":[".iter().copied().chain(b"1,".repeat(cap / 2 - 8)).collect()),
        (JSON, format!(r#"{{"StreamName":"{}"}}"#, "x".repeat(cap - 20)).into_bytes()),
        (CBOR, vec![0x9F; cap]),
        (CBOR, [b"\xBF\x61a\x9F".to_vec(), vec![0x80; cap - 10], b"\xFF\xFF".to_vec()].concat()),
    ] {
        let answer = soon(client.call_as("test", media_type, "DescribeStream", &body)).await;
        assert_eq!(answer.status, 400);
    }
}

#[tokio::test]
async fn wrong_types_are_told_in_the_services_words() {
    let (_sim, server) = start().await;
    let mut client = Client::to(&server).await;
    for (operation, body, text) in [
        ("DescribeStream", r#"{"StreamName":[]}"#, "Start of list found where not expected"),
        ("DescribeStream", r#"{"StreamName":{}}"#, "Start of structure or map found where not expected."),
        (
            "PutRecords",
            r#"{"StreamName":"orders","Records":{}}"#,
            "Start of structure or map found where not expected.",
        ),
        ("PutRecords", r#"{"StreamName":"orders","Records":"x"}"#, "Expected list or null"),
        (
            "PutRecord",
            r#"{"StreamName":"orders","PartitionKey":"k","Data":"a"}"#,
            "'a' can not be converted to a Blob: Base64 encoded length is expected a multiple of 4 bytes but found: 1",
        ),
    ] {
        let answer = client.call(operation, body).await;
        assert_eq!(answer.status, 400);
        assert_eq!(answer.json(), serde_json::json!({"__type": "SerializationException", "Message": text}));
    }
    let answer = client.call_as("test", CBOR, "DescribeStream", b"\xA1\x6AStreamName\x41x").await;
    assert!(
        answer.body.windows(26).any(|window| window == b"class java.nio.HeapByteBuf".as_slice()),
        "{answer:?}"
    );
}

#[tokio::test]
async fn two_thousand_idle_connections_leave_the_server_quick_and_small() {
    let (_sim, server) = start().await;
    let before = resident_bytes();
    let mut idle = Vec::new();
    for _ in 0..2_000 {
        let mut client = Client::to(&server).await;
        // Idle after a request, which is when a connection holds its buffers.
        assert_eq!(client.get("/health").await.status, 200);
        idle.push(client);
    }
    if let (Some(before), Some(after)) = (before, resident_bytes()) {
        // Both ends are in this process.
        let each = after.saturating_sub(before) / idle.len();
        assert!(each < 64 * 1024, "{each} bytes for each connection");
    }
    let mut client = Client::to(&server).await;
    assert_eq!(soon(client.call("PutRecord", PUT)).await.status, 200);
    assert_eq!(idle[1_000].call("ListStreams", "{}").await.status, 200, "and they still work");
    drop(idle);
    assert_eq!(client.call("ListStreams", "{}").await.status, 200);
}

fn resident_bytes() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().split(' ').next()?.parse::<usize>().ok()? * 1024)
}

#[tokio::test]
async fn a_reader_that_does_not_read_holds_up_nobody() {
    let (sim, server) = start().await;
    let mut client = Client::to(&server).await;
    let data = "AAAA".repeat(200_000);
    for _ in 0..8 {
        let put =
            format!(r#"{{"StreamName":"orders","ExplicitHashKey":"0","PartitionKey":"k","Data":"{data}"}}"#);
        assert_eq!(client.call("PutRecord", &put).await.status, 200);
    }
    let ask =
        r#"{"StreamName":"orders","ShardId":"shardId-000000000000","ShardIteratorType":"TRIM_HORIZON"}"#;
    let iterator = client.call("GetShardIterator", ask).await.text().to_owned();
    let mut slow = Vec::new();
    for _ in 0..5 {
        let mut reader = Client::to(&server).await;
        let head = put_head(iterator.len()).replace("PutRecord", "GetRecords");
        reader.send(head + &iterator).await;
        slow.push(reader);
    }
    assert_eq!(soon(client.call("PutRecord", PUT)).await.status, 200);
    let answer = soon(slow[0].receive()).await.unwrap();
    assert_eq!(answer.json()["Records"].as_array().unwrap().len(), 8, "late, but whole");
    assert_eq!(sim.stored("orders").len(), 9);
}

#[tokio::test]
async fn a_stop_waits_for_an_answer_that_is_under_way_but_not_for_ever() {
    let (sim, server) = start().await;
    let addr = server.addr();
    let _delay = sim.rule(
        kinesis_sim::Rule::operation("ListStreams")
            .then(kinesis_sim::Verdict::Delay(Duration::from_millis(30))),
    );
    let mut idle = Client::to(&server).await;
    assert_eq!(idle.get("/health").await.status, 200);
    let half = TcpStream::connect(addr).await.unwrap();
    let mut half = Client { stream: half };
    half.send(put_head(100)).await;
    let mut waiting = Client::to(&server).await;
    let head = put_head(2).replace("PutRecord", "ListStreams");
    waiting.send(head + "{}").await;
    while sim.trace().is_empty() && sim.now_millis() % 7 != 0 {
        tokio::task::yield_now().await;
    }
    let stop = tokio::time::timeout(Duration::from_secs(8), server.stop());
    let (stopped, answer) = tokio::join!(stop, waiting.receive());
    stopped.expect("bounded, with a request that never comes to its end");
    assert!(answer.is_none_or(|answer| answer.status == 200));
    assert!(TcpStream::connect(addr).await.is_err(), "the port is free");
}

/// Node's clients say goodbye when an answer begins, and lose what they have not read when the connection ends first.
#[tokio::test]
async fn an_h2_client_that_says_goodbye_closes_first() {
    let (_sim, server) = start().await;
    let mut client = Client::to(&server).await;
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        [&[0, 0, u8::try_from(payload.len()).unwrap(), kind, flags, 0, 0, 0, stream], payload].concat()
    };
    // GET http /health localhost, by the static table where it has them.
    let head = b"\x82\x86\x04\x07/health\x01\x09localhost";
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    client.send([frame(4, 0, 0, &[]), frame(1, 5, 1, head), frame(7, 0, 0, &[0; 8])].concat()).await;
    let mut received = Vec::new();
    let ended =
        tokio::time::timeout(Duration::from_millis(500), client.stream.read_to_end(&mut received)).await;
    assert!(received.windows(4).any(|window| window == b"\"ok\""), "{received:?}");
    assert!(ended.is_err(), "the server closed first");
    client.stream.shutdown().await.unwrap();
    soon(client.stream.read_to_end(&mut received)).await.unwrap();
    // Nor does a stop wait for a client.
    tokio::time::timeout(Duration::from_secs(2), server.stop()).await.unwrap();
}
