use aws_sdk_kinesis::types::ConsumerStatus;

use super::*;

/// With the service's limits and delays.
fn limited() -> (Sim, Client) {
    let sim = Sim::new(7);
    sim.create_stream("orders", 1);
    let client = sim.client();
    (sim, client)
}

async fn status(client: &Client, consumer: &str) -> Option<ConsumerStatus> {
    let described = client.describe_stream_consumer().consumer_arn(consumer).send().await.ok()?;
    Some(described.consumer_description?.consumer_status)
}

#[tokio::test(start_paused = true)]
async fn a_consumer_is_creating_then_active_then_deleting_then_gone() {
    let (sim, client) = limited();
    sleep_ms(1_234).await;
    let registered = client.register_stream_consumer().stream_arn(STREAM_ARN).consumer_name("app");
    let consumer = registered.send().await.unwrap().consumer.unwrap();
    assert_eq!(consumer.consumer_status(), &ConsumerStatus::Creating);
    assert_eq!(consumer.consumer_name(), "app");
    let created = u64::try_from(consumer.consumer_creation_timestamp().to_millis().unwrap()).unwrap();
    // The SDK prints decimals through binary floating point and so may show a millisecond less.
    assert!(sim.now_millis() - created <= 1, "{created}");
    assert_eq!(consumer.consumer_arn(), format!("{STREAM_ARN}/consumer/app:{}", sim.now_millis() / 1000));
    let arn = consumer.consumer_arn();
    sleep_ms(499).await;
    assert_eq!(status(&client, arn).await, Some(ConsumerStatus::Creating));
    sleep_ms(1).await;
    assert_eq!(status(&client, arn).await, Some(ConsumerStatus::Active));
    client.deregister_stream_consumer().consumer_arn(arn).send().await.unwrap();
    assert_eq!(status(&client, arn).await, Some(ConsumerStatus::Deleting));
    sleep_ms(500).await;
    assert_eq!(status(&client, arn).await, None);
    let again = register(&client, "app").await;
    assert_ne!(again, arn, "another creation, another ARN");
    assert_eq!(status(&client, arn).await, None, "the old ARN does not mean the new consumer");
}

#[tokio::test(start_paused = true)]
async fn a_name_is_taken_once() {
    let (_, client, _) = simple(1).await;
    let again = client.register_stream_consumer().stream_arn(STREAM_ARN).consumer_name("app");
    let error = again.send().await.unwrap_err().into_service_error();
    assert!(error.is_resource_in_use_exception());
    assert_eq!(text(&error), "Consumer app under stream orders already exists for account 000000000000.");
}

#[tokio::test(start_paused = true)]
async fn five_consumers_are_created_at_once_and_twenty_in_all() {
    let (_, client) = limited();
    let try_register = async |name: String| {
        let request = client.register_stream_consumer().stream_arn(STREAM_ARN).consumer_name(name);
        request.send().await.map_err(SdkError::into_service_error)
    };
    for round in 0..4 {
        for index in 0..5 {
            try_register(format!("c{round}-{index}")).await.unwrap();
            // Below the rate of calls: five a second.
            sleep_ms(if index == 4 { 0 } else { 60 }).await;
        }
        sleep_ms(200).await;
        let sixth = try_register("one-more".to_owned()).await.unwrap_err();
        assert!(sixth.is_limit_exceeded_exception(), "{sixth:?}");
        sleep_ms(2_000).await;
    }
    let error = try_register("one-more".to_owned()).await.unwrap_err();
    assert!(error.is_limit_exceeded_exception());
    assert!(text(&error).contains("maximum number of registered consumers: 20"), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_consumer_is_named_by_its_arn_or_by_stream_and_name_or_by_all_three() {
    let (_, client, consumer) = simple(1).await;
    let describe = || client.describe_stream_consumer();
    let found = [
        describe().consumer_arn(&consumer),
        describe().stream_arn(STREAM_ARN).consumer_name("app"),
        describe().stream_arn(STREAM_ARN).consumer_name("app").consumer_arn(&consumer),
    ];
    for request in found {
        let description = request.send().await.unwrap().consumer_description.unwrap();
        assert_eq!((description.consumer_arn(), description.stream_arn()), (consumer.as_str(), STREAM_ARN));
    }
    let other_second = format!("{STREAM_ARN}/consumer/app:1");
    let wrong = [
        (describe(), "InvalidArgumentException"),
        (describe().stream_arn(STREAM_ARN), "InvalidArgumentException"),
        (describe().consumer_name("app"), "InvalidArgumentException"),
        (describe().consumer_arn(&consumer).consumer_name("other"), "InvalidArgumentException"),
        (describe().stream_arn(STREAM_ARN).consumer_name("other"), "ResourceNotFoundException"),
        (describe().consumer_arn(other_second), "ResourceNotFoundException"),
        (describe().consumer_arn("app"), "ValidationException"),
    ];
    for (request, expected) in wrong {
        assert_eq!(code(&request.send().await.unwrap_err()), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn consumers_are_listed_by_name_and_by_page() {
    let (sim, client, _) = simple(1).await;
    for name in ["b", "a", "c", "d"] {
        register(&client, name).await;
    }
    let list = |token: Option<String>| {
        client.list_stream_consumers().stream_arn(STREAM_ARN).max_results(2).set_next_token(token).send()
    };
    let (mut names, mut token) = (Vec::new(), None);
    loop {
        let page = list(token).await.unwrap();
        names.push(page.consumers().iter().map(|one| one.consumer_name().to_owned()).collect::<Vec<_>>());
        token = page.next_token;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(names, [vec!["a", "app"], vec!["b", "c"], vec!["d"]]);
    let token = list(None).await.unwrap().next_token;
    sleep_ms(300_001).await;
    assert_eq!(code(&list(token.clone()).await.unwrap_err()), "ExpiredNextTokenException");
    let fresh = list(None).await.unwrap().next_token;
    sim.delete_stream("orders");
    sim.create_stream("orders", 1);
    assert_eq!(code(&list(fresh).await.unwrap_err()), "InvalidArgumentException", "of the former stream");
    assert_eq!(list(None).await.unwrap().consumers().len(), 0, "consumers go with their stream");
}

#[tokio::test(start_paused = true)]
async fn a_stream_with_consumers_is_deleted_only_by_force() {
    let (_, client, _) = simple(1).await;
    let summary = client.describe_stream_summary().stream_name("orders").send().await.unwrap();
    assert_eq!(summary.stream_description_summary.unwrap().consumer_count, Some(1));
    let delete = || client.delete_stream().stream_name("orders");
    let error = delete().send().await.unwrap_err().into_service_error();
    assert!(error.is_resource_in_use_exception());
    assert!(text(&error).contains("set the EnforceConsumerDeletion parameter to true"), "{error:?}");
    assert!(delete().enforce_consumer_deletion(false).send().await.is_err());
    delete().enforce_consumer_deletion(true).send().await.unwrap();
    assert!(client.list_stream_consumers().stream_arn(STREAM_ARN).send().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_stream_must_exist_and_be_active_to_take_consumers() {
    let sim = Sim::builder().limits(Limits::Off).build();
    let client = sim.client();
    let try_register =
        || client.register_stream_consumer().stream_arn(STREAM_ARN).consumer_name("app").send();
    assert_eq!(code(&try_register().await.unwrap_err()), "ResourceNotFoundException");
    client.create_stream().stream_name("orders").shard_count(1).send().await.unwrap();
    assert_eq!(code(&try_register().await.unwrap_err()), "ResourceInUseException");
    sleep_ms(500).await;
    try_register().await.unwrap();
    let unnamed = client.register_stream_consumer().stream_arn(STREAM_ARN).consumer_name("a b").send();
    assert_eq!(code(&unnamed.await.unwrap_err()), "ValidationException");
}
