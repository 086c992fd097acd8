use super::*;

fn settings(failure_policy: FailurePolicy) -> ShardConsumerSettings {
    ShardConsumerSettings {
        parent_poll_interval: Duration::from_secs(10),
        backoff: Duration::from_millis(500),
        max_backoff: Duration::from_secs(30),
        failure_policy,
        seed: 7,
    }
}

#[expect(clippy::disallowed_methods, reason = "an arbitrary instant to count from")]
fn start() -> Instant {
    Instant::now()
}

/// A consumer that has been initialized.
fn processing(now: Instant, policy: FailurePolicy) -> ShardConsumer {
    let mut consumer = ShardConsumer::new(settings(policy));
    assert_eq!(consumer.next(now), Step::CheckParents);
    consumer.parents_checked(now, Ok(true));
    assert_eq!(consumer.next(now), Step::Initialize);
    consumer.initialized(now, Call::Done);
    consumer
}

/// A consumer whose `process_records` is running.
fn in_call(now: Instant, ends_shard: bool) -> ShardConsumer {
    let mut consumer = processing(now, FailurePolicy::RetryForever);
    assert_eq!(consumer.next(now), Step::TakeBatch);
    consumer.batch_taken(true, ends_shard);
    assert_eq!(consumer.next(now), Step::Process);
    consumer
}

/// The instant before which the consumer does nothing.
fn pause_of(consumer: &mut ShardConsumer, now: Instant) -> Instant {
    match consumer.next(now) {
        Step::WaitUntil(instant) => instant,
        step => panic!("expected a pause, got {step:?}"),
    }
}

fn tell_lease_lost(consumer: &mut ShardConsumer, now: Instant, end: End) {
    assert_eq!(consumer.next(now), Step::LeaseLost);
    assert_eq!(consumer.next(now), Step::Idle, "told once");
    consumer.lease_lost_told();
    assert_eq!(consumer.next(now), Step::Complete(end));
}

#[test]
fn waits_for_parents_at_the_poll_interval() {
    let now = start();
    let mut consumer = ShardConsumer::new(settings(FailurePolicy::RetryForever));
    assert_eq!(consumer.next(now), Step::CheckParents);
    assert_eq!(consumer.next(now), Step::Idle, "one look at a time");
    consumer.parents_checked(now, Ok(false));
    assert_eq!(pause_of(&mut consumer, now), now + Duration::from_secs(10));
    assert_eq!(consumer.next(now + Duration::from_secs(10)), Step::CheckParents);
}

#[test]
fn a_parent_that_ends_here_wakes_the_child_at_once() {
    let now = start();
    let mut consumer = ShardConsumer::new(settings(FailurePolicy::RetryForever));
    consumer.next(now);
    consumer.parents_checked(now, Ok(false));
    consumer.parent_may_have_ended();
    assert_eq!(consumer.next(now), Step::CheckParents);
}

#[test]
fn a_failed_initialize_is_repeated_after_a_pause() {
    let now = start();
    let mut consumer = ShardConsumer::new(settings(FailurePolicy::RetryForever));
    consumer.next(now);
    consumer.parents_checked(now, Ok(true));
    assert_eq!(consumer.next(now), Step::Initialize);
    consumer.initialized(now, Call::Failed);
    let later = pause_of(&mut consumer, now);
    assert!(later > now);
    assert_eq!(consumer.attempt(), 2);
    assert_eq!(consumer.next(later), Step::Initialize);
}

#[test]
fn batches_are_taken_and_processed_one_at_a_time() {
    let now = start();
    let mut consumer = in_call(now, false);
    assert_eq!(consumer.next(now), Step::Idle);
    consumer.processed(now, Call::Done);
    assert_eq!(consumer.next(now), Step::TakeBatch);
}

#[test]
fn a_failed_batch_is_processed_again_and_never_skipped() {
    let now = start();
    let mut consumer = in_call(now, false);
    let mut at = now;
    for attempt in 1..50 {
        assert_eq!(consumer.attempt(), attempt);
        consumer.processed(at, Call::Failed);
        at = pause_of(&mut consumer, at);
        assert_eq!(consumer.next(at), Step::Process, "the same batch, attempt {attempt}");
    }
    consumer.processed(at, Call::Done);
    assert_eq!(consumer.next(at), Step::TakeBatch);
    assert_eq!(consumer.attempt(), 1, "the next batch starts to count anew");
}

#[test]
fn pauses_between_failures_grow_to_the_maximum_and_no_further() {
    let now = start();
    let mut consumer = in_call(now, false);
    let (mut at, mut longest) = (now, Duration::ZERO);
    for _ in 0..40 {
        consumer.processed(at, Call::Failed);
        let later = pause_of(&mut consumer, at);
        longest = longest.max(later - at);
        assert!(later - at <= Duration::from_secs(30));
        at = later;
        consumer.next(at);
    }
    assert!(longest > Duration::from_secs(10), "{longest:?}");
}

#[test]
fn after_the_last_attempt_the_lease_is_given_back_and_the_processor_told() {
    for policy in
        [FailurePolicy::StopShard { after_attempts: 2 }, FailurePolicy::StopWorker { after_attempts: 2 }]
    {
        let now = start();
        let mut consumer = processing(now, policy);
        consumer.batch_taken(true, false);
        consumer.next(now);
        consumer.processed(now, Call::Failed);
        let later = pause_of(&mut consumer, now);
        consumer.next(later);
        consumer.processed(later, Call::Failed);
        assert_eq!(consumer.next(later), Step::Release);
        consumer.released(later, Ok(()));
        tell_lease_lost(&mut consumer, later, End::GaveUp);
    }
}

#[test]
fn a_batch_is_given_up_after_the_last_attempt_if_the_policy_says_so_and_the_shard_goes_on() {
    let now = start();
    let mut consumer = processing(now, FailurePolicy::SkipBatch { after_attempts: 2 });
    assert!(!consumer.waits_on_parents());
    consumer.batch_taken(true, false);
    consumer.next(now);
    assert_eq!(consumer.processed(now, Call::Failed), Processed::Keep);
    let later = pause_of(&mut consumer, now);
    consumer.next(later);
    assert_eq!(consumer.processed(later, Call::Failed), Processed::Skip);
    assert_eq!(consumer.next(later), Step::TakeBatch);
}

#[test]
fn a_call_that_could_not_begin_is_no_failed_attempt() {
    let now = start();
    let mut consumer = processing(now, FailurePolicy::StopShard { after_attempts: 1 });
    consumer.batch_taken(true, false);
    for _ in 0..3 {
        assert_eq!(consumer.next(now + Duration::from_secs(1)), Step::Process);
        consumer.processed(now, Call::NotBegun);
    }
    assert_eq!(consumer.attempt(), 1);
    assert_eq!(pause_of(&mut consumer, now), now + BELIEF_PAUSE);
}

#[test]
fn the_end_of_a_shard_runs_children_then_processor_then_completes() {
    let now = start();
    let mut consumer = in_call(now, true);
    consumer.processed(now, Call::Done);
    assert!(!consumer.reads());
    assert_eq!(consumer.next(now), Step::CreateChildren);
    consumer.children_created(now, Ok(()));
    assert_eq!(consumer.next(now), Step::ShardEnded);
    consumer.shard_ended(now, Call::Done, true);
    assert_eq!(consumer.next(now), Step::Complete(End::Finished));
}

#[test]
fn an_empty_last_batch_ends_the_shard_without_a_call() {
    let now = start();
    let mut consumer = processing(now, FailurePolicy::RetryForever);
    consumer.batch_taken(false, true);
    assert_eq!(consumer.next(now), Step::CreateChildren);
}

#[test]
fn an_empty_batch_is_passed_over() {
    let now = start();
    let mut consumer = processing(now, FailurePolicy::RetryForever);
    consumer.batch_taken(false, false);
    assert_eq!(consumer.next(now), Step::TakeBatch);
}

#[test]
fn children_that_cannot_be_created_are_tried_again_before_shard_ended() {
    let now = start();
    let mut consumer = processing(now, FailurePolicy::RetryForever);
    consumer.batch_taken(false, true);
    consumer.next(now);
    consumer.children_created(now, Err(()));
    let later = pause_of(&mut consumer, now);
    assert_eq!(consumer.next(later), Step::CreateChildren);
}

#[test]
fn shard_ended_without_its_checkpoint_comes_again_after_a_pause() {
    let now = start();
    for call in [Call::Done, Call::Failed] {
        let mut consumer = processing(now, FailurePolicy::RetryForever);
        consumer.batch_taken(false, true);
        consumer.next(now);
        consumer.children_created(now, Ok(()));
        let mut at = now;
        for _ in 0..5 {
            assert_eq!(consumer.next(at), Step::ShardEnded);
            consumer.shard_ended(at, call, false);
            let later = pause_of(&mut consumer, at);
            assert!(later > at, "not spun");
            at = later;
        }
    }
}

#[test]
fn an_end_that_could_not_be_told_waits_as_briefly_as_any_call_that_could_not_begin() {
    let now = start();
    let mut consumer = processing(now, FailurePolicy::RetryForever);
    consumer.batch_taken(false, true);
    consumer.next(now);
    consumer.children_created(now, Ok(()));
    assert_eq!(consumer.next(now), Step::ShardEnded);
    consumer.shard_ended(now, Call::NotBegun, false);
    assert_eq!(pause_of(&mut consumer, now), now + BELIEF_PAUSE);
}

#[test]
fn a_shutdown_does_not_wait_for_a_shard_end_that_is_never_acknowledged() {
    let now = start();
    let mut consumer = processing(now, FailurePolicy::RetryForever);
    consumer.batch_taken(false, true);
    consumer.next(now);
    consumer.children_created(now, Ok(()));
    consumer.shutdown();
    assert_eq!(consumer.next(now), Step::ShardEnded, "the end outranks the shutdown");
    consumer.shard_ended(now, Call::Done, false);
    assert_eq!(consumer.next(now), Step::Release);
    consumer.released(now, Ok(()));
    assert_eq!(consumer.next(now), Step::Complete(End::Released));
}

#[test]
fn a_shutdown_lets_the_call_finish_then_tells_then_releases() {
    let now = start();
    let mut consumer = in_call(now, false);
    consumer.shutdown();
    assert_eq!(consumer.next(now), Step::Idle);
    consumer.processed(now, Call::Done);
    assert_eq!(consumer.next(now), Step::ShutdownRequested);
    consumer.shutdown_notified(now, Call::Done);
    assert_eq!(consumer.next(now), Step::Release);
    consumer.released(now, Ok(()));
    assert_eq!(consumer.next(now), Step::Complete(End::Released));
}

#[test]
fn a_shutdown_during_the_last_batch_still_ends_the_shard() {
    let now = start();
    let mut consumer = in_call(now, true);
    consumer.shutdown();
    consumer.processed(now, Call::Done);
    assert_eq!(consumer.next(now), Step::CreateChildren);
}

#[test]
fn a_shutdown_interrupts_the_pause_of_a_failing_batch() {
    let now = start();
    let mut consumer = in_call(now, false);
    consumer.processed(now, Call::Failed);
    consumer.shutdown();
    assert_eq!(consumer.next(now), Step::ShutdownRequested);
}

#[test]
fn a_shutdown_before_initialize_makes_no_call_at_all() {
    let now = start();
    let mut consumer = ShardConsumer::new(settings(FailurePolicy::RetryForever));
    consumer.next(now);
    consumer.shutdown();
    consumer.parents_checked(now, Ok(false));
    assert_eq!(consumer.next(now), Step::Release);
    consumer.released(now, Ok(()));
    assert_eq!(consumer.next(now), Step::Complete(End::Released));
}

#[test]
fn a_shutdown_after_a_failed_initialize_still_makes_one_last_call() {
    let now = start();
    let mut consumer = ShardConsumer::new(settings(FailurePolicy::RetryForever));
    consumer.next(now);
    consumer.parents_checked(now, Ok(true));
    consumer.next(now);
    consumer.initialized(now, Call::Failed);
    consumer.shutdown();
    assert_eq!(consumer.next(now), Step::Release);
    consumer.released(now, Ok(()));
    tell_lease_lost(&mut consumer, now, End::Released);
}

#[test]
fn a_release_that_fails_is_tried_again() {
    let now = start();
    let mut consumer = processing(now, FailurePolicy::RetryForever);
    consumer.shutdown();
    consumer.next(now);
    consumer.shutdown_notified(now, Call::Done);
    consumer.next(now);
    consumer.released(now, Err(()));
    let later = pause_of(&mut consumer, now);
    assert_eq!(consumer.next(later), Step::Release);
}

#[test]
fn a_lost_lease_lets_the_call_finish_then_tells_once() {
    let now = start();
    let mut consumer = in_call(now, false);
    consumer.lease_lost();
    assert!(!consumer.reads());
    assert_eq!(consumer.next(now), Step::Idle);
    consumer.processed(now, Call::Done);
    tell_lease_lost(&mut consumer, now, End::LeaseLost);
}

#[test]
fn a_lease_lost_before_initialize_makes_no_call_at_all() {
    let now = start();
    let mut consumer = ShardConsumer::new(settings(FailurePolicy::RetryForever));
    consumer.lease_lost();
    assert_eq!(consumer.next(now), Step::Complete(End::LeaseLost));
}

#[test]
fn a_lease_lost_during_initialize_is_told_after_it_returned() {
    for call in [Call::Done, Call::Failed] {
        let now = start();
        let mut consumer = ShardConsumer::new(settings(FailurePolicy::RetryForever));
        consumer.next(now);
        consumer.parents_checked(now, Ok(true));
        consumer.next(now);
        consumer.lease_lost();
        consumer.initialized(now, call);
        tell_lease_lost(&mut consumer, now, End::LeaseLost);
    }
}

#[test]
fn a_lease_lost_outranks_the_end_of_the_shard() {
    let now = start();
    let mut consumer = in_call(now, true);
    consumer.processed(now, Call::Done);
    consumer.next(now);
    consumer.lease_lost();
    consumer.children_created(now, Ok(()));
    tell_lease_lost(&mut consumer, now, End::LeaseLost);
}

#[test]
fn a_lease_lost_after_the_last_call_is_not_told_again() {
    let now = start();
    let mut consumer = processing(now, FailurePolicy::RetryForever);
    consumer.shutdown();
    consumer.next(now);
    consumer.shutdown_notified(now, Call::Done);
    assert_eq!(consumer.next(now), Step::Release);
    consumer.lease_lost();
    consumer.released(now, Err(()));
    assert_eq!(consumer.next(now), Step::Complete(End::Released));
}

#[test]
fn a_finished_shard_has_nothing_left_to_do() {
    let mut consumer = ShardConsumer::finished(settings(FailurePolicy::RetryForever));
    consumer.lease_lost();
    consumer.shutdown();
    assert_eq!(consumer.next(start()), Step::Complete(End::Finished));
}

#[test]
#[should_panic(expected = "Process ended in")]
fn an_impossible_transition_names_both_sides() {
    let now = start();
    let mut consumer = ShardConsumer::new(settings(FailurePolicy::RetryForever));
    consumer.next(now);
    consumer.processed(now, Call::Done);
}

#[test]
fn a_paused_shard_finishes_its_call_and_begins_none_until_it_goes_on() {
    let now = start();
    let mut consumer = in_call(now, false);
    assert!(consumer.set_paused(true) && !consumer.set_paused(true));
    assert!(!consumer.reads());
    consumer.processed(now, Call::Failed);
    assert_eq!(consumer.next(now + Duration::from_hours(1)), Step::Idle, "no retry either");
    assert!(consumer.set_paused(false));
    assert!(consumer.reads());
    assert_eq!(consumer.next(now + Duration::from_hours(1)), Step::Process);
}

#[test]
fn a_paused_shard_still_shuts_down_and_still_loses_its_lease() {
    let now = start();
    let mut consumer = processing(now, FailurePolicy::RetryForever);
    consumer.set_paused(true);
    consumer.shutdown();
    assert_eq!(consumer.next(now), Step::ShutdownRequested);
    let mut consumer = processing(now, FailurePolicy::RetryForever);
    consumer.set_paused(true);
    consumer.lease_lost();
    tell_lease_lost(&mut consumer, now, End::LeaseLost);
}
