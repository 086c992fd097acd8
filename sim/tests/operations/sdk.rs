use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::ProvideErrorMetadata;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{
    EncryptionType, MetricsName, MinimumThroughputBillingCommitmentInput,
    MinimumThroughputBillingCommitmentInputStatus as Input,
    MinimumThroughputBillingCommitmentOutputStatus as Output, RecordDistributionStrategy, ScalingType,
    StreamMode, StreamModeDetails,
};
use kinesis_sim::{Limits, ServiceLimits, Sim};

use super::ARN;

fn simple(shard_count: u32) -> (Sim, Client) {
    let sim = Sim::builder().limits(Limits::Off).state_delay(Duration::ZERO).build();
    sim.create_stream("orders", shard_count);
    let client = sim.client();
    (sim, client)
}

#[tokio::test(start_paused = true)]
async fn shard_counts_are_updated() {
    let (sim, client) = simple(4);
    let update = client.update_shard_count().stream_name("orders").scaling_type(ScalingType::UniformScaling);
    let answer = update.target_shard_count(5).send().await.unwrap();
    assert_eq!((answer.current_shard_count(), answer.target_shard_count()), (Some(4), Some(5)));
    assert_eq!(sim.shards("orders").len(), 15);
}

#[tokio::test(start_paused = true)]
async fn settings_of_a_stream_read_back_typed() {
    let (_, client) = simple(1);
    let details = StreamModeDetails::builder().stream_mode(StreamMode::OnDemand).build().unwrap();
    client.update_stream_mode().stream_arn(ARN).stream_mode_details(details).send().await.unwrap();
    client
        .update_stream_record_distribution_strategy()
        .stream_arn(ARN)
        .record_distribution_strategy(RecordDistributionStrategy::Auto)
        .send()
        .await
        .unwrap();
    client.update_max_record_size().stream_arn(ARN).max_record_size_in_kib(2048).send().await.unwrap();
    client
        .start_stream_encryption()
        .stream_name("orders")
        .encryption_type(EncryptionType::Kms)
        .key_id("alias/aws/kinesis")
        .send()
        .await
        .unwrap();
    let metrics =
        client.enable_enhanced_monitoring().stream_name("orders").shard_level_metrics(MetricsName::All);
    assert_eq!(metrics.send().await.unwrap().desired_shard_level_metrics().len(), 7);
    let answer = client.describe_stream_summary().stream_name("orders").send().await.unwrap();
    let summary = answer.stream_description_summary().unwrap();
    assert_eq!(summary.stream_mode_details().unwrap().stream_mode(), &StreamMode::OnDemand);
    assert_eq!(summary.record_distribution_strategy(), Some(&RecordDistributionStrategy::Auto));
    assert_eq!(summary.max_record_size_in_kib(), Some(2048));
    assert_eq!(
        (summary.encryption_type(), summary.key_id()),
        (Some(&EncryptionType::Kms), Some("alias/aws/kinesis"))
    );
    let put = client.put_record().stream_name("orders").data(Blob::new("x")).send().await.unwrap();
    assert_eq!(put.encryption_type(), Some(&EncryptionType::Kms));
}

#[tokio::test(start_paused = true)]
async fn accounts_and_limits_read_back_typed() {
    let (_, client) = simple(3);
    let commitment =
        MinimumThroughputBillingCommitmentInput::builder().status(Input::Enabled).build().unwrap();
    let update = client.update_account_settings().minimum_throughput_billing_commitment(commitment);
    update.send().await.unwrap();
    let answer = client.describe_account_settings().send().await.unwrap();
    let commitment = answer.minimum_throughput_billing_commitment().unwrap();
    assert_eq!(commitment.status(), &Output::Enabled);
    let seconds = |time: Option<&aws_sdk_kinesis::primitives::DateTime>| time.unwrap().secs();
    assert_eq!(seconds(commitment.earliest_allowed_end_at()) - seconds(commitment.started_at()), 86_400);
    assert_eq!(client.describe_limits().send().await.unwrap().open_shard_count(), 3);
}

#[tokio::test(start_paused = true)]
async fn tags_and_policies_read_back_typed() {
    let (_, client) = simple(1);
    client.tag_resource().resource_arn(ARN).tags("team", "a").send().await.unwrap();
    let tags = client.list_tags_for_stream().stream_name("orders").send().await.unwrap();
    assert_eq!((tags.tags()[0].key(), tags.tags()[0].value()), ("team", Some("a")));
    client.untag_resource().resource_arn(ARN).tag_keys("team").send().await.unwrap();
    assert!(client.list_tags_for_resource().resource_arn(ARN).send().await.unwrap().tags().is_empty());
    client.put_resource_policy().resource_arn(ARN).policy("{\"a\":1}").send().await.unwrap();
    let policy = client.get_resource_policy().resource_arn(ARN).send().await.unwrap();
    assert_eq!(policy.policy(), "{\"a\":1}");
}

#[tokio::test(start_paused = true)]
async fn dry_runs_are_typed_errors() {
    let (_, client) = simple(1);
    let put = client.put_record().stream_name("orders").partition_key("k").data(Blob::new("x")).dry_run(true);
    let error = put.send().await.unwrap_err();
    assert_eq!(error.code(), Some("DryRunOperationException"));
}

#[tokio::test(start_paused = true)]
async fn limits_of_a_simulation_are_settable() {
    let mut limits = ServiceLimits::default();
    limits.calls_per_second.insert("DescribeLimits".to_owned(), 2);
    let client = Sim::builder().service_limits(limits).build().client();
    for _ in 0..2 {
        client.describe_limits().send().await.unwrap();
    }
    let error = client.describe_limits().send().await.unwrap_err().into_service_error();
    assert!(error.is_limit_exceeded_exception());
    tokio::time::sleep(Duration::from_secs(1)).await;
    client.describe_limits().send().await.unwrap();
}
