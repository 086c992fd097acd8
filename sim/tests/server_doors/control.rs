//! Faults, the trace and the truth, over HTTP.

use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use kinesis_sim::{ControlAccess, Rule, ServeOptions, Verdict};
use serde_json::json;

use crate::http::{Answer, Client, JSON, local, soon, start, start_with};

const PUT: &str = r#"{"StreamName":"orders","PartitionKey":"k","Data":"aGVsbG8="}"#;

async fn add(client: &mut Client, rule: &serde_json::Value) -> Answer {
    client.exchange("POST /_sim/rules", "", rule.to_string().as_bytes()).await
}

#[tokio::test]
async fn health_is_for_anyone_and_the_service_keeps_every_other_path() {
    let (_sim, server) = start_with(ServeOptions::new(local()).with_control(ControlAccess::Off)).await;
    let mut client = Client::to(&server).await;
    let answer = client.get("/health").await;
    assert_eq!((answer.status, answer.json()["status"].as_str()), (200, Some("ok")));
    assert_eq!(client.get("/healthy").await.status, 403, "as the service answers");
    let headers = format!(
        "Content-Type: {JSON}\r\nX-Amz-Target: Kinesis_20131202.ListStreams\r\n{}",
        crate::http::auth("a")
    );
    let answer = client.exchange("POST /_sim/rules", &headers, b"{}").await;
    assert_eq!(answer.json()["StreamNames"][0], "orders", "switched off, the path is the service's");
    assert_eq!(client.get("/_sim/trace").await.status, 403);
}

#[tokio::test]
async fn the_index_tells_every_path() {
    let (_sim, server) = start().await;
    let mut client = Client::to(&server).await;
    let index = client.get("/_sim").await;
    for path in ["/_sim/rules", "/_sim/trace", "/_sim/streams", "/_sim/reset", "cut_subscription"] {
        assert!(index.text().contains(path), "{path}");
    }
    assert_eq!(client.get("/_sim/coffee").await.status, 404);
    assert_eq!(client.exchange("PUT /_sim/rules", "", b"").await.status, 405);
    assert_eq!(client.get("/_simulation").await.status, 403, "that is the service's");
}

#[tokio::test]
async fn a_rule_strikes_is_counted_and_goes() {
    let (_sim, server) = start().await;
    let mut client = Client::to(&server).await;
    let rule = json!({"operation": "PutRecord", "stream": "orders", "times": 2, "verdict": "throttle"});
    let added = add(&mut client, &rule).await;
    assert_eq!(added.status, 201);
    let id = added.json()["id"].as_u64().unwrap();
    for _ in 0..2 {
        let refused = client.call("PutRecord", PUT).await;
        assert_eq!(refused.json()["__type"], "ProvisionedThroughputExceededException");
    }
    assert_eq!(client.call("PutRecord", PUT).await.status, 200, "only twice");
    let seen = client.get(&format!("/_sim/rules/{id}")).await.json();
    assert_eq!(
        seen,
        json!({"id": id, "operation": "PutRecord", "stream": "orders", "times": 2, "verdict": "throttle", "hits": 2})
    );
    assert_eq!(client.get("/_sim/rules").await.json(), json!({"rules": [seen]}));
    assert_eq!(client.exchange(&format!("DELETE /_sim/rules/{id}"), "", b"").await.status, 200);
    assert_eq!(client.exchange(&format!("DELETE /_sim/rules/{id}"), "", b"").await.status, 404);
    assert_eq!(client.get("/_sim/rules").await.json(), json!({"rules": []}));
}

#[tokio::test]
async fn callers_are_told_apart_by_access_key_id() {
    let (sim, server) = start().await;
    let mut client = Client::to(&server).await;
    add(&mut client, &json!({"caller": "worker-a", "verdict": "fail"})).await;
    let struck = client.call_as("worker-a", JSON, "ListStreams", b"{}").await;
    assert_eq!((struck.status, struck.text()), (500, r#"{"__type":"InternalFailure"}"#));
    assert_eq!(client.call_as("worker-b", JSON, "ListStreams", b"{}").await.status, 200);
    let trace = client.get("/_sim/trace").await.json();
    let lines: Vec<_> =
        trace["lines"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert!(lines[0].ends_with(" worker-a ListStreams InternalFailure"), "{lines:?}");
    assert!(lines[1].ends_with(" worker-b ListStreams ok"), "{lines:?}");
    assert_eq!(sim.trace(), lines, "the same as in process");
}

#[tokio::test]
async fn every_verdict_can_be_set() {
    let (sim, server) = start().await;
    let mut client = Client::to(&server).await;
    let clear = async |client: &mut Client| client.exchange("DELETE /_sim/rules", "", b"").await.json();

    add(&mut client, &json!({"operation": "PutRecord", "verdict": "pass"})).await;
    add(&mut client, &json!({"verdict": "fail"})).await;
    assert_eq!(client.call("PutRecord", PUT).await.status, 200, "exempt");
    assert_eq!(client.call("ListStreams", "{}").await.status, 500);
    assert_eq!(clear(&mut client).await, json!({"rules": []}));

    let half = json!({"verdict": {"fail_entries": {"probability": 1.0, "error": "internal"}}});
    add(&mut client, &half).await;
    let records = r#"{"StreamName":"orders","Records":[{"PartitionKey":"k","Data":""}]}"#;
    let answer = client.call("PutRecords", records).await.json();
    assert_eq!(answer["Records"][0]["ErrorCode"], "InternalFailure");
    clear(&mut client).await;

    add(&mut client, &json!({"operation": "GetRecords", "verdict": "expire_iterator"})).await;
    let iterator = r#"{"StreamName":"orders","ShardId":"shardId-000000000000","ShardIteratorType":"LATEST"}"#;
    let iterator = client.call("GetShardIterator", iterator).await.text().to_owned();
    assert_eq!(client.call("GetRecords", &iterator).await.json()["__type"], "ExpiredIteratorException");
    clear(&mut client).await;

    add(&mut client, &json!({"operation": "ListStreams", "verdict": {"delay": {"ms": 20}}})).await;
    let started = sim.now_millis();
    assert_eq!(client.call("ListStreams", "{}").await.status, 200);
    assert!(sim.now_millis() >= started + 20);
    clear(&mut client).await;

    let stored = sim.stored("orders").len();
    for (verdict, after) in [("lose_request", stored), ("lose_answer", stored + 1)] {
        let added = add(&mut client, &json!({"operation": "PutRecord", "verdict": verdict})).await;
        assert_eq!(added.status, 201);
        let mut lost = Client::to(&server).await;
        let head = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: {JSON}\r\nX-Amz-Target: Kinesis_20131202.PutRecord\r\n{}\
             Content-Length: {}\r\n\r\n{PUT}",
            crate::http::auth("a"),
            PUT.len()
        );
        lost.send(head).await;
        assert!(soon(lost.receive()).await.is_none(), "{verdict}: no answer");
        assert_eq!(sim.stored("orders").len(), after, "{verdict}");
        clear(&mut client).await;
    }
    let cut = json!({"operation": "SubscribeToShard", "consumer": "c", "verdict": {"cut_subscription": {"after_ms": 5}}});
    assert_eq!(add(&mut client, &cut).await.json()["consumer"], "c");
}

/// A reset of its stream alone would be taken for the server's word, and not be tried again.
#[tokio::test]
async fn a_lost_call_breaks_an_h2_connection_and_all_that_waits_on_it() {
    let (sim, server) = start().await;
    let stream = TokioIo::new(tokio::net::TcpStream::connect(server.addr()).await.unwrap());
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (sender, connection) = builder.handshake(stream).await.unwrap();
    let call = |operation: &str, body: &'static str| {
        let request = http::Request::post(format!("http://{}/", server.addr()))
            .header("content-type", JSON)
            .header("x-amz-target", format!("Kinesis_20131202.{operation}"))
            .header("x-amz-date", "20260101T000000Z")
            .header("authorization", "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/kinesis/aws4_request, SignedHeaders=host, Signature=00")
            .body(http_body_util::Full::<bytes::Bytes>::from(body))
            .unwrap();
        let mut sender = sender.clone();
        async move { sender.send_request(request).await.map(|answer| answer.status().as_u16()) }
    };
    let _lost = sim.rule(Rule::operation("PutRecord").then(Verdict::LoseAnswer));
    let _slow = sim.rule(Rule::operation("ListStreams").then(Verdict::Delay(Duration::from_secs(5))));
    let calls = async {
        assert_eq!(call("DescribeLimits", "{}").await.unwrap(), 200);
        tokio::join!(call("ListStreams", "{}"), call("PutRecord", PUT))
    };
    let (ended, (waiting, lost)) = soon(async { tokio::join!(connection, calls) }).await;
    let is_reset_stream = |error: &hyper::Error| format!("{error:?}").contains("INTERNAL_ERROR");
    for error in [lost.unwrap_err(), waiting.unwrap_err()] {
        assert!(!is_reset_stream(&error), "{error:?}");
    }
    assert!(!ended.is_err_and(|error| is_reset_stream(&error)));
    assert_eq!(sim.stored("orders").len(), 1);
}

#[tokio::test]
async fn rules_from_both_sides_are_one_list() {
    let (sim, server) = start().await;
    let mut client = Client::to(&server).await;
    let guard = sim.rule(Rule::operation("ListStreams").then(Verdict::Fail));
    assert_eq!(client.get("/_sim/rules").await.json()["rules"][0]["operation"], "ListStreams");
    assert_eq!(client.call("ListStreams", "{}").await.status, 500);
    assert_eq!(guard.hits(), 1);
    drop(guard);
    assert_eq!(client.call("ListStreams", "{}").await.status, 200);
}

#[tokio::test]
async fn rules_that_make_no_sense_are_refused_with_a_sentence() {
    let (_sim, server) = start().await;
    let mut client = Client::to(&server).await;
    for (body, expected) in [
        ("", "this is no rule"),
        ("[]", "this is no rule"),
        (r#"{"verdict":"explode"}"#, "unknown variant `explode`"),
        (r#"{"verdict":"fail","operation":"Nope"}"#, "there is no operation `Nope`"),
        (r#"{"verdict":"fail","probability":1.5}"#, "use 0 to 1"),
    ] {
        let answer = client.exchange("POST /_sim/rules", "", body.as_bytes()).await;
        assert_eq!(answer.status, 400);
        let text = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(text.contains(expected), "{text}");
    }
    assert_eq!(client.get("/_sim/rules/7").await.status, 404);
    assert_eq!(client.get("/_sim/rules/x").await.status, 404);
}

#[tokio::test]
async fn pages_of_other_origins_may_not_meddle() {
    let (_sim, server) = start().await;
    let mut client = Client::to(&server).await;
    let body = br#"{"verdict":"fail"}"#;
    for origin in ["http://evil.example", "null", "http://localhost:1"] {
        let answer = client.exchange("POST /_sim/rules", &format!("Origin: {origin}\r\n"), body).await;
        assert_eq!(answer.status, 403, "{origin}");
    }
    assert_eq!(client.exchange("POST /_sim/rules", "Origin: http://localhost\r\n", body).await.status, 201);
}

#[tokio::test]
async fn the_truth_comes_in_pages() {
    let (sim, server) = start().await;
    let mut client = Client::to(&server).await;
    for number in 0..25 {
        let body = format!(
            r#"{{"StreamName":"orders","PartitionKey":"key-{number}","Data":"aGVsbG8=","ExplicitHashKey":"{number}"}}"#
        );
        assert_eq!(client.call("PutRecord", &body).await.status, 200);
    }
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("/_sim/streams/orders/records?limit=7{after}")).await.json();
        seen.extend(page["records"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    let stored = sim.stored("orders");
    assert_eq!((seen.len(), stored.len()), (25, 25));
    for (seen, stored) in seen.iter().zip(&stored) {
        assert_eq!(seen["sequence_number"], stored.sequence_number.to_string());
        assert_eq!(seen["partition_key"], stored.partition_key);
        assert_eq!(seen["data"], "aGVsbG8=");
        assert_eq!(seen["shard"], stored.shard_id.to_string());
        assert_eq!(seen["explicit_hash_key"], stored.explicit_hash_key.unwrap().to_string());
    }
    let other = client.get("/_sim/streams/orders/records?shard=shardId-000000000001").await.json();
    assert_eq!(other["records"].as_array().unwrap().len(), 0);
    for (path, status) in [
        ("/_sim/streams/none/records", 404),
        ("/_sim/streams/orders/records?account=111111111111", 404),
        ("/_sim/streams/orders/records?limit=0", 400),
        ("/_sim/streams/orders/records?after=x", 400),
        ("/_sim/streams/orders/records?colour=x", 400),
    ] {
        assert_eq!(client.get(path).await.status, status, "{path}");
    }
}

#[tokio::test]
async fn a_reset_leaves_an_empty_service_and_breaks_what_waits() {
    let (sim, server) = start().await;
    let mut client = Client::to(&server).await;
    assert_eq!(client.call("PutRecord", PUT).await.status, 200);
    let streams = client.get("/_sim/streams").await.json();
    assert_eq!(
        streams["streams"][0],
        json!({"name": "orders", "account": "000000000000", "region": "us-east-1", "status": "ACTIVE", "open_shards": 2, "shards": 2})
    );
    let guard = sim.rule(Rule::operation("DescribeStream").then(Verdict::Delay(Duration::from_millis(40))));
    let waiting = async {
        let mut client = Client::to(&server).await;
        let head = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: {JSON}\r\nX-Amz-Target: Kinesis_20131202.DescribeStream\r\n{}\
             Content-Length: 23\r\n\r\n{{\"StreamName\":\"orders\"}}",
            crate::http::auth("a")
        );
        client.send(head).await;
        client.receive().await
    };
    let reset = async {
        while guard.hits() == 0 {
            tokio::task::yield_now().await;
        }
        client.exchange("POST /_sim/reset", "", b"").await
    };
    let (waited, reset) = soon(async { tokio::join!(waiting, reset) }).await;
    assert_eq!(reset.status, 200);
    assert!(waited.is_none(), "the call that waited is broken off: {waited:?}");
    assert_eq!(client.get("/_sim/streams").await.json(), json!({"streams": []}));
    assert_eq!(client.get("/_sim/rules").await.json(), json!({"rules": []}));
    assert_eq!(client.get("/_sim/trace").await.json(), json!({"lines": []}));

    // The old guard must not take a new rule with it, though it has the old one's number.
    add(&mut client, &json!({"operation": "ListStreams", "verdict": "fail"})).await;
    drop(guard);
    assert_eq!(client.call("ListStreams", "{}").await.status, 500);
}

#[tokio::test]
async fn after_a_reset_the_same_calls_give_the_same_bytes() {
    let (_sim, server) = start().await;
    let mut client = Client::to(&server).await;
    let mut runs = Vec::new();
    for _ in 0..2 {
        client.exchange("POST /_sim/reset", "", b"").await;
        let mut ids = Vec::new();
        for _ in 0..3 {
            ids.push(client.call("ListStreams", "{}").await.header("x-amzn-requestid").unwrap().to_owned());
        }
        runs.push(ids);
    }
    assert_eq!(runs[0], runs[1]);
}
