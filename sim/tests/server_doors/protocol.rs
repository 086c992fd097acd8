//! Refusals and headers, exactly.

use crate::http::{Client, JSON, auth, soon, start};

const LIST: &str = "X-Amz-Target: Kinesis_20131202.ListStreams\r\n";
const ACCESS_DENIED: &str = "<AccessDeniedException>\n  <Message>Unable to determine service/operation name to be \
                             authorized</Message>\n</AccessDeniedException>\n";

fn typed(media_type: &str) -> String {
    format!("Content-Type: {media_type}\r\n")
}

#[tokio::test]
async fn what_is_no_api_request_is_refused_in_xml_with_ids() {
    let (_sim, server) = start().await;
    let mut client = Client::to(&server).await;
    for line in ["GET /", "PUT /any?x=1", "DELETE /", "OPTIONS /"] {
        let answer = client.exchange(line, &(typed(JSON) + LIST + &auth("a")), b"").await;
        assert_eq!((answer.status, answer.text()), (403, ACCESS_DENIED), "{line}");
        assert_eq!(answer.header("content-type"), None);
        assert_eq!(answer.header("x-amzn-requestid").unwrap().len(), 36);
        assert_eq!(answer.header("x-amz-id-2").unwrap().len(), 96);
    }
    let answer = client.exchange("POST /", &auth("a"), b"{}").await;
    assert_eq!((answer.status, answer.text()), (403, ACCESS_DENIED));
    let answer = client.exchange("POST /", &(typed("text/plain") + LIST + &auth("a")), b"{}").await;
    assert_eq!((answer.status, answer.text()), (404, "<UnknownOperationException/>\n"));
    assert_eq!(answer.header("content-type"), None);
}

#[tokio::test]
async fn plain_json_is_answered_in_its_old_form() {
    let (_sim, server) = start().await;
    let mut client = Client::to(&server).await;
    let headers = typed("  application/json  ;charset=utf-8") + LIST + &auth("a");
    let answer = client.exchange("POST /", &headers, b"{}").await;
    let body =
        r#"{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException"},"Version":"1.0"}"#;
    assert_eq!((answer.status, answer.text()), (404, body));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let answer = client.exchange("POST /", &headers, b"hello").await;
    let body = r#"{"Output":{"__type":"com.amazon.coral.service#SerializationException"},"Version":"1.0"}"#;
    assert_eq!((answer.status, answer.text()), (400, body));
}

#[tokio::test]
async fn empty_bodies_are_refused_in_cbor_unless_the_request_is_json() {
    let (_sim, server) = start().await;
    let mut client = Client::to(&server).await;
    let unknown = b"\xBF\x66__type\x78\x19UnknownOperationException\xFF".as_slice();
    let serialization = b"\xBF\x66__type\x76SerializationException\xFF".as_slice();
    for (headers, expected) in [
        (String::new(), unknown),
        (typed("application/x-amz-json-1.0"), unknown),
        (LIST.to_owned(), serialization),
        (typed("application/json") + LIST, serialization),
        (typed("application/x-amz-cbor-1.1") + LIST, serialization),
    ] {
        let answer = client.exchange("POST /", &headers, b"").await;
        assert_eq!((answer.status, answer.body.as_slice()), (400, expected), "{headers}");
        assert_eq!(answer.header("content-type"), Some("application/x-amz-cbor-1.1"));
    }
    let answer = client.exchange("POST /", &(typed(JSON) + LIST), b"").await;
    assert_eq!(answer.text(), r#"{"__type":"SerializationException"}"#);
    assert_eq!(answer.header("content-type"), Some(JSON));
}

#[tokio::test]
async fn browsers_get_leave_and_see_the_ids() {
    let (_sim, server) = start().await;
    let mut client = Client::to(&server).await;
    let headers = "Origin: http://page\r\nAccess-Control-Request-Headers: a, b, c\r\nAccess-Control-Request-Method: d\r\n";
    let answer = client.exchange("OPTIONS /", headers, b"").await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    for (name, value) in [
        ("access-control-allow-origin", "*"),
        ("access-control-allow-headers", "a, b, c"),
        ("access-control-allow-methods", "d"),
        ("access-control-max-age", "172800"),
        ("content-length", "0"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    assert!(answer.header("x-amzn-requestid").is_some());
    assert_eq!((answer.header("x-amz-id-2"), answer.header("content-type")), (None, None));

    let headers = format!("Origin: http://page\r\n{}{LIST}{}", typed(JSON), auth("a"));
    let answer = client.exchange("POST /", &headers, b"{}").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(
        answer.header("access-control-expose-headers"),
        Some("x-amzn-RequestId,x-amzn-ErrorType,x-amz-request-id,x-amz-id-2,x-amzn-ErrorMessage,Date")
    );
}

#[tokio::test]
async fn signatures_are_missed_part_by_part() {
    let (_sim, server) = start().await;
    let mut client = Client::to(&server).await;
    let headers = typed(JSON) + LIST;
    let cases = [
        ("/", "", "MissingAuthenticationTokenException", "Missing Authentication Token"),
        (
            "/?X-Amz-Algorithm",
            "Authorization: X\r\n",
            "InvalidSignatureException",
            "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.",
        ),
        (
            "/",
            "Authorization: AWS4- Signature=b,Credential=a\r\nDate: a\r\n",
            "IncompleteSignatureException",
            "Authorization header requires 'SignedHeaders' parameter. Authorization=AWS4- Signature=b,Credential=a",
        ),
        (
            "/?X-Amz-Algorithm=a&X-Amz-Credential=b&X-Amz-Signature=c&X-Amz-Date=d",
            "",
            "IncompleteSignatureException",
            "AWS query-string parameters must include 'X-Amz-SignedHeaders'. Re-examine the query-string parameters.",
        ),
    ];
    for (path, extra, kind, text) in cases {
        let answer = client.exchange(&format!("POST {path}"), &(headers.clone() + extra), b"{}").await;
        assert_eq!(answer.status, 400);
        assert_eq!(answer.json(), serde_json::json!({ "__type": kind, "message": text }));
    }
    let signed = "/any?X-Amz-Algorithm=a&X-Amz-Credential=123456789012%2F20260101%2Feu-west-1%2Fkinesis%2Faws4_request\
                  &X-Amz-Signature=c&X-Amz-SignedHeaders=host&X-Amz-Date=d";
    let answer = client.exchange(&format!("POST {signed}"), &headers, b"{}").await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn the_body_is_read_before_the_target_and_the_target_before_the_signature() {
    let (_sim, server) = start().await;
    let mut client = Client::to(&server).await;
    let answer = client.exchange("POST /", &typed(JSON), b"hello").await;
    assert_eq!(answer.text(), r#"{"__type":"SerializationException"}"#);
    let answer = client.exchange("POST /", &typed(JSON), b"{}").await;
    assert_eq!(answer.text(), r#"{"__type":"UnknownOperationException"}"#);
    let headers = typed(JSON) + "X-Amz-Target: Kinesis_20131202.DescribeStream\r\n";
    let answer = client.exchange("POST /", &headers, br#"{"StreamName":1}"#).await;
    assert_eq!(
        answer.json()["__type"],
        "MissingAuthenticationTokenException",
        "before types and constraints"
    );
}

#[tokio::test]
async fn a_client_that_expects_to_be_told_goes_on_after_100() {
    let (_sim, server) = start().await;
    let mut client = Client::to(&server).await;
    let head = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n{}{LIST}{}Content-Length: 2\r\n\r\n",
        typed(JSON),
        auth("a")
    );
    client.send(head).await;
    assert_eq!(soon(client.receive()).await.unwrap().status, 100);
    client.send("{}").await;
    assert_eq!(soon(client.receive()).await.unwrap().status, 200);
}

#[tokio::test]
async fn chunked_requests_and_pipelined_ones_are_answered_in_order() {
    let (_sim, server) = start().await;
    let mut client = Client::to(&server).await;
    let head = format!("POST / HTTP/1.1\r\nHost: localhost\r\n{}{LIST}{}", typed(JSON), auth("a"));
    client.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n1\r\n{{\r\n1\r\n}}\r\n0\r\n\r\n")).await;
    let answer = soon(client.receive()).await.unwrap();
    assert_eq!(answer.json()["StreamNames"][0], "orders");
    let one = format!("{head}Content-Length: 2\r\n\r\n{{}}");
    client.send(one.clone() + &one.replace("ListStreams", "Nothing")).await;
    assert_eq!(soon(client.receive()).await.unwrap().status, 200);
}

#[tokio::test]
async fn each_answer_has_ids_of_its_own() {
    let (_sim, server) = start().await;
    let mut client = Client::to(&server).await;
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..10 {
        let answer = client.call("ListStreams", "{}").await;
        ids.insert(answer.header("x-amzn-requestid").unwrap().to_owned());
        ids.insert(answer.header("x-amz-id-2").unwrap().to_owned());
        assert!(answer.header("date").is_some());
    }
    assert_eq!(ids.len(), 20);
}

#[tokio::test]
async fn no_answer_holds_a_null_or_a_stream_id() {
    let (_sim, server) = start().await;
    let mut client = Client::to(&server).await;
    for (operation, body) in [
        ("DescribeStream", r#"{"StreamName":"orders"}"#),
        ("DescribeStreamSummary", r#"{"StreamName":"orders"}"#),
        ("ListStreams", "{}"),
        ("ListShards", r#"{"StreamName":"orders"}"#),
        (
            "PutRecord",
            r#"{"StreamName":"orders","PartitionKey":"k","Data":"aGVsbG8=","StreamId":"abcdefghij0123456789-abc"}"#,
        ),
        ("DescribeLimits", "{}"),
    ] {
        let answer = client.call(operation, body).await;
        assert_eq!(answer.status, 200, "{operation} {answer:?}");
        assert!(!answer.text().contains("null") && !answer.text().contains("StreamId"), "{}", answer.text());
    }
}
