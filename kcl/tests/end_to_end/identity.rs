//! A lease table belongs to one stream: another one, or one that was made again, is refused at the start.

use std::time::Duration;

use kcl::lease::{Fault, StoreCall};
use kcl::{Checkpoint, ConsumerConfig, ConsumerEvent, Scheduler, StartError, StreamSet, WorkerError};

use crate::world::{STREAM, World, texts};

/// A world whose stream was read and checkpointed to the end.
async fn read_to_the_end() -> World {
    let world = World::new(2);
    let worker = world.worker("ann").await;
    world.put(texts(0, 20)).await;
    world.until_delivered(20).await;
    worker.shutdown(Duration::from_secs(30)).await;
    let positions = (0..2).map(|shard| world.row(shard).checkpoint);
    assert!(positions.clone().all(|checkpoint| matches!(checkpoint, Checkpoint::At(_))));
    world
}

/// What the start says; and if the question cannot be answered then, what the worker says before it reads anything.
async fn refusal(world: &World, config: ConsumerConfig) -> String {
    let before = world.store.writes();
    let client = world.sim.client_named("bob");
    let store = std::sync::Arc::new(world.store.clone());
    let nobody = |_| -> crate::world::Nobody { unreachable!("no lease, no processor") };
    let refused = Scheduler::start(&client, config.clone(), store, nobody).await;
    let told = refused.map(drop).unwrap_err();
    assert!(matches!(told, StartError::Store { .. }), "{told:?}");
    assert!(world.store.rows().iter().all(|row| row.owner.is_none()));

    let lost = std::sync::Mutex::new(2);
    world.store.fail_by(move |call| {
        let mut left = lost.lock().unwrap();
        let fails = matches!(call, StoreCall::List) && *left > 0;
        *left -= u32::from(fails);
        fails.then_some(Fault::LoseAnswer)
    });
    let worker = world.configured(config).await;
    let error = tokio::time::timeout(Duration::from_mins(1), worker.wait()).await.expect("it is refused");
    assert!(matches!(error, WorkerError::Store(_)), "{error:?}");
    assert_eq!(world.store.writes(), before, "nothing was written");
    worker.shutdown(Duration::from_secs(30)).await;
    assert!(told.to_string().contains(&error.to_string()), "{told}, then {error}");
    told.to_string()
}

#[tokio::test(start_paused = true)]
async fn every_lease_says_which_stream_it_is_of() {
    let world = read_to_the_end().await;
    for shard in 0..2 {
        let stream = world.row(shard).stream.unwrap();
        assert!(stream.starts_with("arn:aws:kinesis:us-east-1:000000000000:stream/orders@"), "{stream}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_leases_of_a_stream_that_was_made_again_are_refused() {
    let world = read_to_the_end().await;
    world.sim.delete_stream(STREAM);
    tokio::time::sleep(Duration::from_secs(5)).await;
    world.sim.create_stream(STREAM, 2);
    world.put(texts(20, 40)).await;
    let told = refusal(&world, World::config("bob")).await;
    assert!(told.contains("of an earlier stream") && told.contains("stream/orders"), "{told}");
    assert!(told.contains("delete the leases"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn the_leases_of_another_stream_are_refused() {
    let world = read_to_the_end().await;
    world.sim.create_stream("clicks", 2);
    let told = refusal(&world, ConsumerConfig::new("app", "clicks", "bob").with_seed(5)).await;
    assert!(told.contains("stream/orders, not of") && told.contains("stream/clicks"), "{told}");
}

/// Leases that a Java worker made do not say which stream they are of: the positions tell.
#[tokio::test(start_paused = true)]
async fn leases_that_say_nothing_are_refused_by_their_positions() {
    let world = read_to_the_end().await;
    for shard in 0..2 {
        let mut row = world.row(shard);
        row.stream = None;
        world.store.put_row(row);
    }
    world.sim.delete_stream(STREAM);
    tokio::time::sleep(Duration::from_secs(5)).await;
    world.sim.create_stream(STREAM, 2);
    let told = refusal(&world, World::config("bob")).await;
    assert!(told.contains("where the shard begins"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn leases_that_say_nothing_are_used_and_say_it_from_then_on() {
    let world = read_to_the_end().await;
    for shard in 0..2 {
        let mut row = world.row(shard);
        row.stream = None;
        world.store.put_row(row);
    }
    let worker = world.worker("bob").await;
    world.put(texts(20, 40)).await;
    world.until_delivered(40).await;
    assert!((0..2).all(|shard| world.row(shard).stream.is_some()));
    worker.shutdown(Duration::from_secs(30)).await;
    world.check();
}

/// A doubt about the stream is no permission to read it.
#[tokio::test(start_paused = true)]
async fn a_question_that_fails_for_a_while_is_asked_again_before_anything_is_read() {
    let world = World::new(1);
    let rule = kinesis_sim::Rule::operation("DescribeStreamSummary").times(3);
    let fails = world.sim.rule(rule.then(kinesis_sim::Verdict::Fail));
    let worker = world.worker("ann").await;
    world.put(texts(0, 5)).await;
    world.until_delivered(5).await;
    assert_eq!(fails.hits(), 3);
    assert!(world.row(0).stream.is_some());
    worker.shutdown(Duration::from_secs(30)).await;
}

fn of_several(worker: &str) -> ConsumerConfig {
    ConsumerConfig::multi_stream("app", StreamSet::new([STREAM]), worker).with_seed(5)
}

/// The keys of the rows differ, so neither form would go on where the other stood: begun anew at LATEST, records are missed.
#[tokio::test(start_paused = true)]
async fn an_application_of_one_stream_is_not_silently_begun_anew_as_one_of_several() {
    let world = read_to_the_end().await;
    let told = refusal(&world, of_several("bob")).await;
    assert!(told.contains("an application of one stream") && told.contains("ConsumerConfig::new"), "{told}");
    // As the sentence says: under another name, or for one stream, it goes on.
    world.store.heal();
    world.put(texts(20, 30)).await;
    let worker = world.worker("bob").await;
    world.until_delivered(30).await;
    worker.shutdown(Duration::from_secs(30)).await;
    world.check();
    assert_eq!(world.texts().len(), 30, "where it stood");
}

#[tokio::test(start_paused = true)]
async fn an_application_of_several_streams_is_not_silently_begun_anew_as_one_of_one() {
    let world = World::new(2);
    let worker = world.configured(of_several("ann")).await;
    world.put(texts(0, 20)).await;
    world.until_delivered(20).await;
    worker.shutdown(Duration::from_secs(30)).await;
    let told = refusal(&world, World::config("bob")).await;
    assert!(told.contains("multi_stream with a set of this stream"), "{told}");
    world.store.heal();
    world.put(texts(20, 30)).await;
    let worker = world.configured(of_several("bob")).await;
    world.until_delivered(30).await;
    worker.shutdown(Duration::from_secs(30)).await;
    assert_eq!(world.texts().len(), 30, "where it stood");
}

/// Leases of both forms: somebody has chosen already. It runs, and says what lies there.
#[tokio::test(start_paused = true)]
async fn leases_of_the_other_form_beside_ones_own_are_told() {
    let world = read_to_the_end().await;
    for shard in 0..2 {
        let mut row = world.row(shard);
        row.key = kcl::LeaseKey::new(format!("000000000000:{STREAM}:1767225598:{}", row.key));
        world.store.put_row(row);
    }
    world.put(texts(20, 30)).await;
    for (config, example) in [(World::config("bob"), "000000000000:"), (of_several("cid"), "shardId-")] {
        let before = world.news().len();
        let worker = world.configured(config).await;
        world.until_delivered(30).await;
        worker.shutdown(Duration::from_secs(30)).await;
        let news = world.news().split_off(before);
        let told: Vec<_> = news
            .iter()
            .filter_map(|event| match event {
                ConsumerEvent::LeasesOfAnotherForm { count, example } => Some((*count, example.to_string())),
                _ => None,
            })
            .collect();
        assert_eq!(told.len(), 1, "{news:#?}");
        assert!(told[0].0 == 2 && told[0].1.starts_with(example), "{told:?}");
    }
}
