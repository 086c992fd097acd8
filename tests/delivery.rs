//! From `put` to `process_records`: nothing is lost, nothing is invented, order holds.

mod common;

use std::time::Duration;

use common::worker::{Plan, Policy};
use common::{World, for_each_seed};
use kcl::{ConsumerConfig, RetrievalMode};
use kinesis_sim::{EntryError, Rule, Verdict};

#[test]
fn every_record_arrives_once_and_in_order_in_a_quiet_run() {
    for_each_seed("every_record_arrives_once_and_in_order_in_a_quiet_run", |world: World| async move {
        let worker = world.worker("worker-a", Plan::default()).await;
        let producer = world.producer(|config| config);
        let tickets = world.put(&producer, 400).await;
        world.answers(tickets).await;
        world.until_delivered().await;
        worker.shutdown(Duration::from_secs(10)).await;
        world.assert_complete();
        assert!(world.history.refused().is_empty());
        assert_eq!(world.history.acknowledged().len(), 400);
        assert_eq!(world.stored().len(), 400, "a quiet run stores each record once");
        let repeated: Vec<_> =
            world.history.deliveries().into_iter().filter(|(_, times)| *times != 1).collect();
        assert!(repeated.is_empty(), "handed over more than once: {repeated:?}");
    });
}

#[test]
fn two_workers_share_the_shards_and_nothing_is_handed_over_twice() {
    for_each_seed(
        "two_workers_share_the_shards_and_nothing_is_handed_over_twice",
        |seeded: World| async move {
            let world = World::with_shards(seeded.seed, 4);
            let first = world.worker("worker-a", Plan::default()).await;
            let second = world.worker("worker-b", Plan::default()).await;
            tokio::time::sleep(Duration::from_mins(1)).await; // the leases settle
            let producer = world.producer(|config| config);
            let tickets = world.put(&producer, 300).await;
            world.answers(tickets).await;
            world.until_delivered().await;
            first.shutdown(Duration::from_secs(10)).await;
            second.shutdown(Duration::from_secs(10)).await;
            world.assert_complete();
            assert_eq!(world.history.most_repeated_position(), 1);
            let workers = world.history.workers_that_delivered();
            assert_eq!(workers.len(), 2, "only {workers:?} got records");
        },
    );
}

#[test]
fn a_lost_answer_to_a_put_may_copy_but_never_loses() {
    for_each_seed("a_lost_answer_to_a_put_may_copy_but_never_loses", |world: World| async move {
        let worker = world.worker("worker-a", Plan::default()).await;
        let first = world.sim.rule(Rule::operation("PutRecords").times(1).then(Verdict::LoseAnswer));
        let some = world.sim.rule(Rule::operation("PutRecords").probability(0.3).then(Verdict::LoseAnswer));
        let producer = world.producer(|config| config.with_request_timeout(Duration::from_secs(1)));
        for _ in 0..10 {
            let tickets = world.put(&producer, 30).await;
            world.answers(tickets).await;
        }
        assert_eq!(first.hits(), 1, "the fault never struck");
        drop((first, some));
        world.until_delivered().await;
        worker.shutdown(Duration::from_secs(10)).await;
        world.assert_complete();
        assert!(world.stored().len() > 300, "what was stored without an answer is stored again");
    });
}

#[test]
fn a_lost_request_is_sent_again_and_stored_once() {
    for_each_seed("a_lost_request_is_sent_again_and_stored_once", |world: World| async move {
        let rule = world.sim.rule(Rule::operation("PutRecords").times(2).then(Verdict::LoseRequest));
        let producer = world.producer(|config| config.with_request_timeout(Duration::from_secs(1)));
        let tickets = world.put(&producer, 50).await;
        world.answers(tickets).await;
        assert!(rule.hits() > 0, "the fault never struck");
        world.assert_sound();
        assert_eq!(world.history.acknowledged().len(), 50);
        assert_eq!(world.stored().len(), 50);
    });
}

#[test]
fn partial_failures_are_retried_alone() {
    for_each_seed("partial_failures_are_retried_alone", |world: World| async move {
        let worker = world.worker("worker-a", Plan::default()).await;
        let rule = world.sim.rule(
            Rule::operation("PutRecords")
                .probability(0.5)
                .then(Verdict::FailEntries { probability: 0.5, error: EntryError::Internal }),
        );
        let producer = world.producer(|config| config.with_aggregation_enabled(false));
        for _ in 0..10 {
            let tickets = world.put(&producer, 30).await;
            world.answers(tickets).await;
        }
        assert!(rule.hits() > 0, "the fault never struck");
        world.until_delivered().await;
        worker.shutdown(Duration::from_secs(10)).await;
        world.assert_complete();
        assert_eq!(world.history.acknowledged().len(), 300);
        assert_eq!(world.stored().len(), 300, "an entry that was stored is never sent again");
    });
}

#[test]
fn faults_while_reading_skip_and_repeat_nothing() {
    for_each_seed("faults_while_reading_skip_and_repeat_nothing", |world: World| async move {
        let rules = [
            world.sim.rule(Rule::operation("GetRecords").probability(0.1).then(Verdict::LoseAnswer)),
            world.sim.rule(Rule::operation("GetRecords").probability(0.1).then(Verdict::Throttle)),
            world.sim.rule(Rule::operation("GetRecords").probability(0.1).then(Verdict::ExpireIterator)),
            world.sim.rule(Rule::operation("GetRecords").probability(0.1).then(Verdict::Fail)),
            world.sim.rule(Rule::operation("GetShardIterator").probability(0.2).then(Verdict::LoseRequest)),
        ];
        let worker = world.worker("worker-a", Plan { policy: Policy::MidBatch, ..Plan::default() }).await;
        let producer = world.producer(|config| config);
        for _ in 0..8 {
            let tickets = world.put(&producer, 40).await;
            world.answers(tickets).await;
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        assert!(rules.iter().map(kinesis_sim::RuleGuard::hits).sum::<u64>() > 0, "no fault struck");
        drop(rules);
        world.until_delivered().await;
        worker.shutdown(Duration::from_secs(10)).await;
        world.assert_complete();
        assert_eq!(world.history.most_repeated_position(), 1);
    });
}

#[test]
fn a_failing_application_gets_the_same_records_again() {
    for_each_seed("a_failing_application_gets_the_same_records_again", |world: World| async move {
        let worker = world.worker("worker-a", Plan { fail_every: 2, ..Plan::default() }).await;
        let producer = world.producer(|config| config);
        for _ in 0..5 {
            let tickets = world.put(&producer, 20).await;
            world.answers(tickets).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        world.until_delivered().await;
        worker.shutdown(Duration::from_secs(10)).await;
        world.assert_complete();
        assert_eq!(world.history.most_repeated_position(), 1);
        assert!(world.history.text().contains("the application fails"), "no call failed");
    });
}

#[test]
fn subscriptions_that_are_cut_skip_and_repeat_nothing() {
    for_each_seed("subscriptions_that_are_cut_skip_and_repeat_nothing", |world: World| async move {
        let cut = |millis| Verdict::CutSubscription { after: Duration::from_millis(millis) };
        let rules = [
            world.sim.rule(Rule::operation("SubscribeToShard").probability(0.2).then(Verdict::LoseAnswer)),
            world.sim.rule(Rule::operation("SubscribeToShard").probability(0.2).then(Verdict::Throttle)),
            world.sim.rule(Rule::operation("SubscribeToShard").probability(0.2).then(cut(0))),
            world.sim.rule(Rule::operation("SubscribeToShard").then(cut(5_300))),
        ];
        let plan = Plan { policy: Policy::MidBatch, ..Plan::default() };
        let fan_out = |config: ConsumerConfig| config.with_retrieval_mode(RetrievalMode::FanOut);
        let worker = world.worker_with("worker-a", plan, fan_out).await;
        let producer = world.producer(|config| config);
        for round in 0..40 {
            let tickets = world.put(&producer, 10).await;
            world.answers(tickets).await;
            tokio::time::sleep(Duration::from_millis(700)).await;
            match round {
                15 => {
                    world.split_widest();
                }
                30 => {
                    world.merge_first();
                }
                _ => {}
            }
        }
        // Lost answers may have taken up the time so far: every subscription that begins is cut in the end.
        for _ in 0..120 {
            if worker.stats().subscription_cuts == 0 {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        drop(rules);
        world.until_delivered().await;
        let report = worker.shutdown(Duration::from_secs(10)).await;
        world.assert_complete();
        assert_eq!(world.history.most_repeated_position(), 1);
        assert!(report.stats.subscription_cuts > 0);
        assert_eq!(report.stats.get_records_success, 0, "nothing was polled");
    });
}
