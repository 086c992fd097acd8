//! Over real sockets, in real time: events within a second, and nothing that waits five.

use std::net::SocketAddr;

use aws_sdk_kinesis::types::ShardIteratorType::{Latest, TrimHorizon};
use aws_smithy_eventstream::frame::{DecodedFrame, MessageFrameDecoder};
use aws_smithy_types::event_stream::Message;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, TRANSFER_ENCODING};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kinesis_sim::{Rule, Server, Verdict};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http1,
    H2,
}

const BOTH: [Protocol; 2] = [Protocol::Http1, Protocol::H2];

struct World {
    sim: Sim,
    server: Server,
    /// In process, beside the socket.
    client: Client,
    consumer: String,
}

impl World {
    async fn new() -> Self {
        let sim = Sim::builder().limits(Limits::Off).state_delay(Duration::ZERO).wall_clock().build();
        sim.create_stream("orders", 2);
        let server = sim.serve(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let client = sim.client();
        let consumer = register(&client, "app").await;
        Self { sim, server, client, consumer }
    }

    fn body(&self, shard: &str, position: &str) -> String {
        format!(
            r#"{{"ConsumerARN":"{}","ShardId":"{shard}","StartingPosition":{{"Type":"{position}"}}}}"#,
            self.consumer
        )
    }

    async fn subscribe(&self, protocol: Protocol, position: &str) -> Wire {
        let mut wire = Wire::call(self.server.addr(), protocol, self.body(SHARD, position)).await;
        assert_eq!(wire.response.status(), 200);
        let first = wire.message().await;
        assert_eq!(header(&first, ":event-type"), "initial-response");
        wire
    }

    async fn freed(&self) {
        for _ in 0..200 {
            if self.sim.subscription_count() == 0 {
                return;
            }
            sleep_ms(10).await;
        }
        panic!("{} subscriptions are left", self.sim.subscription_count());
    }
}

fn request(addr: SocketAddr, body: String) -> Request<Full<Bytes>> {
    const AUTH: &str = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/kinesis/aws4_request, SignedHeaders=host, Signature=00";
    Request::post(format!("http://{addr}/"))
        .header("host", addr.to_string())
        .header("content-type", "application/x-amz-json-1.1")
        .header("x-amz-target", "Kinesis_20131202.SubscribeToShard")
        .header("x-amz-date", "20260101T000000Z")
        .header("authorization", AUTH)
        .body(Full::new(Bytes::from(body)))
        .unwrap()
}

async fn connect(addr: SocketAddr) -> TokioIo<TcpStream> {
    let stream = TcpStream::connect(addr).await.unwrap();
    stream.set_nodelay(true).unwrap();
    TokioIo::new(stream)
}

/// One connection with one call, read frame by frame.
struct Wire {
    response: Response<Incoming>,
    decoder: MessageFrameDecoder,
    buffer: BytesMut,
    received: usize,
    connection: JoinSet<()>,
}

impl Wire {
    async fn call(addr: SocketAddr, protocol: Protocol, body: String) -> Self {
        let request = request(addr, body);
        let stream = connect(addr).await;
        let mut connection = JoinSet::new();
        let response = match protocol {
            Protocol::Http1 => {
                let (mut sender, driver) = hyper::client::conn::http1::handshake(stream).await.unwrap();
                connection.spawn(async move { drop(driver.await) });
                sender.send_request(request).await.unwrap()
            }
            Protocol::H2 => {
                let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
                let (mut sender, driver) = builder.handshake(stream).await.unwrap();
                connection.spawn(async move { drop(driver.await) });
                sender.send_request(request).await.unwrap()
            }
        };
        Self {
            response,
            decoder: MessageFrameDecoder::new(),
            buffer: BytesMut::new(),
            received: 0,
            connection,
        }
    }

    /// The next message; `None` at the end; an error if the connection breaks.
    async fn try_message(&mut self) -> Result<Option<Message>, hyper::Error> {
        loop {
            if let DecodedFrame::Complete(message) = self.decoder.decode_frame(&mut self.buffer).unwrap() {
                return Ok(Some(message));
            }
            let frame = tokio::time::timeout(Duration::from_secs(10), self.response.body_mut().frame()).await;
            match frame.expect("nothing came within ten seconds") {
                None => return Ok(None),
                Some(frame) => {
                    let data = frame?.into_data().unwrap_or_default();
                    self.received += data.len();
                    self.buffer.extend_from_slice(&data);
                }
            }
        }
    }

    async fn message(&mut self) -> Message {
        self.try_message().await.unwrap().expect("the stream has ended")
    }
}

fn header(message: &Message, name: &str) -> String {
    let found = message.headers().iter().find(|header| header.name().as_str() == name);
    found.unwrap().value().as_string().unwrap().as_str().to_owned()
}

fn payload(message: &Message) -> String {
    String::from_utf8(message.payload().to_vec()).unwrap()
}

#[tokio::test]
async fn events_come_at_once_over_http_1_and_h2() {
    for protocol in BOTH {
        let world = World::new().await;
        let mut wire = world.subscribe(protocol, "TRIM_HORIZON").await;
        let headers = wire.response.headers();
        assert_eq!(headers[CONTENT_TYPE], "application/vnd.amazon.eventstream");
        assert!(headers.contains_key("x-amzn-requestid") && headers.contains_key("x-amz-id-2"));
        let chunked = headers.get(TRANSFER_ENCODING).is_some_and(|value| value == "chunked");
        assert_eq!(chunked, protocol == Protocol::Http1);
        let record =
            world.client.put_record().stream_name("orders").partition_key("k").explicit_hash_key("0");
        for data in ["one", "two"] {
            record.clone().data(Blob::new(data)).send().await.unwrap();
            let event = wire.message().await;
            assert_eq!(header(&event, ":message-type"), "event");
            assert_eq!(header(&event, ":event-type"), "SubscribeToShardEvent");
            assert!(payload(&event).starts_with(r#"{"Records":[{"SequenceNumber":""#), "{}", payload(&event));
        }
        world.sim.split_shard("orders", SHARD);
        let last = payload(&wire.message().await);
        assert!(last.contains("ChildShards") && !last.contains("ContinuationSequenceNumber"), "{last}");
        assert!(wire.try_message().await.unwrap().is_none(), "{protocol:?} ends normally");
    }
}

#[tokio::test]
async fn refusals_are_plain_json_answers() {
    for protocol in BOTH {
        let world = World::new().await;
        let refused = async |body: String| {
            let answer = Wire::call(world.server.addr(), protocol, body).await.response;
            assert_eq!(answer.headers()[CONTENT_TYPE], "application/x-amz-json-1.1");
            let status = answer.status().as_u16();
            let bytes = answer.into_body().collect().await.unwrap().to_bytes();
            (status, String::from_utf8(bytes.to_vec()).unwrap())
        };
        let (status, body) = refused(world.body("shardId-000000000009", "LATEST")).await;
        assert_eq!(status, 400);
        assert_eq!(
            body,
            r#"{"__type":"ResourceNotFoundException","message":"Shard shardId-000000000009 in stream orders under account 000000000000 does not exist"}"#
        );
        let (status, body) = refused("{}".to_owned()).await;
        assert_eq!(status, 400);
        assert!(body.contains("3 validation errors detected") && body.contains("'consumerARN'"), "{body}");
        let _first = world.subscribe(protocol, "LATEST").await;
        let (status, body) = refused(world.body(SHARD, "LATEST")).await;
        assert_eq!(status, 400);
        assert!(
            body.starts_with(r#"{"__type":"ResourceInUseException","message":"Another active"#),
            "{body}"
        );
    }
}

#[tokio::test]
async fn a_dropped_connection_frees_its_subscription() {
    for protocol in BOTH {
        let world = World::new().await;
        let wire = world.subscribe(protocol, "LATEST").await;
        assert_eq!(world.sim.subscription_count(), 1);
        drop(wire);
        world.freed().await;
    }
}

#[tokio::test]
async fn a_reset_stream_frees_its_subscription_while_the_connection_lives() {
    let world = World::new().await;
    let Wire { response, mut connection, .. } = world.subscribe(Protocol::H2, "LATEST").await;
    drop(response);
    world.freed().await;
    connection.abort_all();
}

#[tokio::test]
async fn a_reader_that_stops_reading_costs_no_more_than_the_buffers_on_the_way() {
    for protocol in BOTH {
        let world = World::new().await;
        let record =
            world.client.put_record().stream_name("orders").partition_key("k").explicit_hash_key("0");
        for _ in 0..96 {
            record.clone().data(Blob::new(vec![0; 1_000_000])).send().await.unwrap();
        }
        let mut wire = world.subscribe(protocol, "TRIM_HORIZON").await;
        sleep_ms(400).await;
        // What was made by now still comes; then the stream is told to be gone.
        world.sim.delete_stream("orders");
        let last = loop {
            let message = wire.message().await;
            if header(&message, ":message-type") == "exception" {
                break message;
            }
        };
        assert_eq!(header(&last, ":exception-type"), "ResourceNotFoundException");
        // Of 128 MB. The socket's own buffers may hold some megabytes.
        assert!(wire.received < 24 << 20, "{protocol:?}: {} bytes", wire.received);
        assert!(wire.try_message().await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_cut_breaks_the_connection() {
    for protocol in BOTH {
        let world = World::new().await;
        let after = Duration::from_millis(30);
        let _rule = world.sim.rule(Rule::any().then(Verdict::CutSubscription { after }));
        let mut wire = world.subscribe(protocol, "LATEST").await;
        wire.try_message().await.unwrap_err();
        world.freed().await;
    }
}

#[tokio::test]
async fn a_stopping_server_ends_its_subscriptions_at_once() {
    for protocol in BOTH {
        let world = World::new().await;
        let mut wire = world.subscribe(protocol, "LATEST").await;
        let stop = world.server.stop();
        let (stopped, ended) =
            tokio::join!(tokio::time::timeout(Duration::from_secs(2), stop), wire.try_message());
        stopped.unwrap();
        assert!(ended.unwrap().is_none(), "a normal end");
        assert_eq!(world.sim.subscription_count(), 0);
    }
}

#[tokio::test]
async fn many_subscriptions_share_one_h2_connection() {
    let world = World::new().await;
    let addr = world.server.addr();
    let stream = connect(addr).await;
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (sender, driver) = builder.handshake(stream).await.unwrap();
    let mut connection = JoinSet::new();
    connection.spawn(async move { drop(driver.await) });
    let mut answers = Vec::new();
    for index in 0..200 {
        let consumer = register(&world.client, &format!("app-{index}")).await;
        let body = world.body(SHARD, "LATEST").replace(&world.consumer, &consumer);
        answers.push(sender.clone().send_request(request(addr, body)).await.unwrap());
    }
    assert_eq!(world.sim.subscription_count(), 200);
    let record = world.client.put_record().stream_name("orders").partition_key("k").explicit_hash_key("0");
    record.data(Blob::new("to all")).send().await.unwrap();
    for mut answer in answers {
        let mut bytes = Vec::new();
        while !String::from_utf8_lossy(&bytes).contains("dG8gYWxs") {
            let frame = answer.body_mut().frame().await.unwrap().unwrap();
            bytes.extend_from_slice(&frame.into_data().unwrap());
        }
    }
    drop(connection);
    world.freed().await;
}

#[tokio::test]
async fn the_sdk_reads_a_subscription_over_a_socket() {
    use aws_sdk_kinesis::config::{BehaviorVersion, Credentials, Region};
    let world = World::new().await;
    let config = aws_sdk_kinesis::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("any", "any", None, None, "test"))
        .endpoint_url(format!("http://{}", world.server.addr()))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    let client = Client::from_conf(config);
    let mut reader = Reader::open(&client, &world.consumer, SHARD, start(TrimHorizon)).await;
    let record = client.put_record().stream_name("orders").partition_key("k").explicit_hash_key("0");
    for data in ["one", "two", "three"] {
        record.clone().data(Blob::new(data)).send().await.unwrap();
        assert_eq!(reader.records(1).await, [data]);
    }
    world.sim.delete_stream("orders");
    assert!(reader.refusal().await.is_resource_not_found_exception());
    let error = subscribing(&client, &world.consumer, SHARD, start(Latest)).send().await.unwrap_err();
    assert_eq!(code(&error), "ResourceNotFoundException");
}
