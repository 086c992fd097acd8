//! The same SDK client, over real sockets, against the local server: what `kinesis-sim` gives to users of any language.

use std::net::SocketAddr;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::{BehaviorVersion, Region, retry::RetryConfig};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{ShardIteratorType, StreamStatus};
use kinesis_sim::{Limits, Sim};
use kpl::{Producer, ProducerConfig, UserRecord};

fn client_at(address: SocketAddr) -> Client {
    let config = aws_sdk_kinesis::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("any", "any", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .endpoint_url(format!("http://{address}"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    Client::from_conf(config)
}

fn local() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

#[tokio::test]
async fn a_stream_lives_from_creation_to_deletion_over_http() {
    let sim = Sim::builder().limits(Limits::Aws).state_delay(Duration::ZERO).build();
    let server = sim.serve(local()).await.expect("a free port");
    let client = client_at(server.addr());

    client.create_stream().stream_name("orders").shard_count(2).send().await.expect("created");
    let summary = client.describe_stream_summary().stream_name("orders").send().await.expect("described");
    let summary = summary.stream_description_summary().expect("a summary");
    assert_eq!(summary.stream_status(), &StreamStatus::Active);
    assert_eq!(summary.open_shard_count(), 2);

    let put = client
        .put_record()
        .stream_name("orders")
        .partition_key("k")
        .data(Blob::new("hello"))
        .send()
        .await
        .expect("put");
    let iterator = client
        .get_shard_iterator()
        .stream_name("orders")
        .shard_id(put.shard_id())
        .shard_iterator_type(ShardIteratorType::TrimHorizon)
        .send()
        .await
        .expect("an iterator");
    let page =
        client.get_records().set_shard_iterator(iterator.shard_iterator).send().await.expect("records");
    assert_eq!(page.records().len(), 1);
    assert_eq!(page.records()[0].data().as_ref(), b"hello");
    assert_eq!(page.records()[0].sequence_number(), put.sequence_number());

    client.delete_stream().stream_name("orders").send().await.expect("deleted");
    let gone = client.describe_stream_summary().stream_name("orders").send().await.expect_err("it is gone");
    assert!(gone.as_service_error().is_some_and(aws_sdk_kinesis::operation::describe_stream_summary::DescribeStreamSummaryError::is_resource_not_found_exception), "{gone:?}");
    server.stop().await;
}

#[tokio::test]
async fn kpl_and_scan_meet_over_http() {
    let sim = Sim::builder().limits(Limits::Aws).build();
    sim.create_stream("orders", 2);
    let server = sim.serve(local()).await.expect("a free port");

    let producer = Producer::start(&client_at(server.addr()), ProducerConfig::new("orders")).expect("valid");
    let mut tickets = Vec::new();
    for number in 0..200_u32 {
        let record = UserRecord::new(format!("key-{number}"), number.to_be_bytes().to_vec());
        tickets.push(producer.put(record).await.expect("accepted"));
    }
    for ticket in tickets {
        ticket.await.expect("delivered");
    }
    producer.close(Duration::from_secs(5)).await;

    let (seen, mut numbers) = tokio::sync::mpsc::channel(1_000);
    let enough = std::sync::Arc::new(tokio::sync::Notify::new());
    let scanned = kcl::scan(&client_at(server.addr()), "orders")
        .until(std::sync::Arc::clone(&enough).notified_owned())
        .run(move |record| {
            let seen = seen.clone();
            async move { Ok(seen.send(u32::from_be_bytes(record.data()[..4].try_into()?)).await?) }
        });
    let collect = async {
        let mut found = std::collections::BTreeSet::new();
        while found.len() < 200 {
            found.insert(numbers.recv().await.expect("the scan is running"));
        }
        enough.notify_one();
    };
    let (result, ()) = tokio::time::timeout(Duration::from_mins(1), futures::future::join(scanned, collect))
        .await
        .expect("a scan of 200 records ends within a minute");
    result.expect("the scan ends cleanly");
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_was_stopped_gives_its_port_back() {
    let sim = Sim::new(1);
    let server = sim.serve(local()).await.expect("a free port");
    let address = server.addr();
    let taken = sim.serve(address).await.expect_err("the port is in use");
    assert!(taken.to_string().contains(&address.port().to_string()), "{taken}");
    server.stop().await;
    sim.serve(address).await.expect("the port is free again").stop().await;
}
