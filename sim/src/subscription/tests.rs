use kinesis_shard::HashKeyRange;

use super::*;
use crate::error::ErrorCode;
use crate::quota::ShardRates;
use crate::shard_log::{LogRecord, Place};

const START: u64 = 1_000_000_000;

/// One shard with the counter of its stream.
struct World {
    log: ShardLog,
    next_index: u64,
}

impl World {
    fn new() -> Self {
        let place = Place {
            index: 3,
            parent: None,
            adjacent_parent: None,
            range: HashKeyRange::FULL,
            created_seconds: START / 1000 - 2,
            opened_at: START - 2_000,
        };
        Self { log: ShardLog::new(place, ShardRates::default()), next_index: 1 }
    }

    fn put(&mut self, now: u64, bytes: usize) -> SequenceNumber {
        self.next_index += 1;
        self.log.append(LogRecord {
            index: self.next_index - 1,
            arrived_at: now,
            partition_key: "",
            explicit_hash_key: None,
            data: &vec![0; bytes],
        })
    }

    fn next(&self, subscription: &mut Subscription, now: u64) -> Step {
        subscription.next(now, Ok(View { shard: &self.log, next_index: self.next_index }))
    }

    /// Opened at the start; what it does next is what is asked.
    fn open(&self, terms: Terms) -> Subscription {
        let mut subscription = Subscription::new(START, terms);
        assert_eq!(self.next(&mut subscription, START), Step::Open);
        subscription
    }

    fn push(&self, subscription: &mut Subscription, now: u64) -> Batch {
        match self.next(subscription, now) {
            Step::Push(batch) => batch,
            step => panic!("{step:?} instead of an event at {now}"),
        }
    }
}

fn from(position: u64) -> Terms {
    Terms { position, bytes_per_second: None, cut_at: None, stall_at: None }
}

fn gone() -> ServiceError {
    ServiceError::new(ErrorCode::ResourceNotFound, "gone")
}

#[test]
fn an_idle_subscription_is_opened_at_once_and_kept_alive_every_five_seconds() {
    let world = World::new();
    let mut subscription = world.open(from(1));
    assert_eq!(world.next(&mut subscription, START), Step::WaitUntil(START + 5_000));
    assert_eq!(world.next(&mut subscription, START + 4_999), Step::WaitUntil(START + 5_000));
    let first = world.push(&mut subscription, START + 5_000);
    assert_eq!((first.count, first.millis_behind), (0, 0));
    assert_eq!(world.next(&mut subscription, START + 5_000), Step::WaitUntil(START + 10_000));
    let second = world.push(&mut subscription, START + 10_003);
    assert!(first.continuation < second.continuation, "checkpoints move while nothing comes");
    assert_eq!(world.next(&mut subscription, START + 10_003), Step::WaitUntil(START + 15_003));
}

#[test]
fn records_go_out_at_once_and_put_off_the_keep_alive() {
    let mut world = World::new();
    let mut subscription = world.open(from(1));
    let number = world.put(START + 3_000, 10);
    let batch = world.push(&mut subscription, START + 3_000);
    assert_eq!((batch.from, batch.count, batch.continuation), (1, 1, number));
    assert_eq!(batch.millis_behind, 0);
    assert_eq!(world.next(&mut subscription, START + 3_000), Step::WaitUntil(START + 8_000));
}

#[test]
fn continuations_lie_between_what_was_pushed_and_what_comes() {
    let mut world = World::new();
    let mut subscription = world.open(from(0));
    // Records of neighbouring shards draw from the same counter.
    world.next_index = 40;
    let mut last = world.push(&mut subscription, START + 5_000).continuation;
    assert!(last > world.log.starting_sequence_number());
    for round in 0..5 {
        let now = START + 10_000 + round * 10_000;
        let number = world.put(now, 1);
        assert!(last < number);
        let pushed = world.push(&mut subscription, now).continuation;
        assert_eq!(pushed, number);
        world.next_index += 3;
        last = world.push(&mut subscription, now + 5_000).continuation;
        assert!(pushed < last);
        assert_eq!(last.layout().unwrap().index, world.next_index - 1);
    }
}

#[test]
fn a_continuation_without_any_record_is_a_position_of_the_shard() {
    let world = World::new();
    let mut subscription = world.open(from(0));
    let layout = world.push(&mut subscription, START + 5_000).continuation.layout().unwrap();
    assert_eq!((layout.shard_index, layout.index), (3, 0));
    assert_eq!(layout.shard_created_seconds, world.log.place.created_seconds);
    assert_eq!(layout.arrived_seconds, START / 1000 + 5);
}

#[test]
fn continuations_never_step_back_with_the_clock() {
    let world = World::new();
    let mut subscription = world.open(from(1));
    let ahead = world.push(&mut subscription, START + 60_000).continuation;
    let mut log = subscription;
    log.last_event_at = START;
    let later = world.push(&mut log, START + 20_000).continuation;
    assert!(later >= ahead);
}

#[test]
fn an_event_holds_about_a_mebibyte_or_a_thousand_records() {
    let cases: [(usize, usize, &[usize]); 5] = [
        (3, 400 * 1024, &[2, 1]),
        (2, 512 * 1024, &[2]),
        (3, 2 << 20, &[1, 1, 1]),
        (1, 10 << 20, &[1]),
        (2_500, 1, &[1_000, 1_000, 500]),
    ];
    for (count, bytes, expected) in cases {
        let mut world = World::new();
        for _ in 0..count {
            world.put(START, bytes);
        }
        let mut subscription = world.open(from(0));
        let counts: Vec<_> = expected.iter().map(|_| world.push(&mut subscription, START).count).collect();
        assert_eq!(counts, expected, "{count} records of {bytes}");
        assert!(matches!(world.next(&mut subscription, START), Step::WaitUntil(_)));
    }
}

#[test]
fn lag_is_the_age_of_the_last_record_pushed_while_more_lie_ahead() {
    let mut world = World::new();
    world.put(START, 1 << 20);
    world.put(START + 400, 1 << 20);
    let mut subscription = world.open(from(0));
    assert_eq!(world.push(&mut subscription, START + 1_000).millis_behind, 1_000);
    assert_eq!(world.push(&mut subscription, START + 1_000).millis_behind, 0);
}

#[test]
fn two_mebibytes_a_second_and_no_more() {
    let mut world = World::new();
    for _ in 0..10 {
        world.put(START, 1 << 20);
    }
    let mut subscription = world.open(Terms { bytes_per_second: Some(2 << 20), ..from(0) });
    let mut times = Vec::new();
    let mut now = START;
    while times.len() < 10 {
        match world.next(&mut subscription, now) {
            Step::Push(_) => times.push(now - START),
            Step::WaitUntil(due) => {
                assert!(due > now, "a wait that is over would be a tight loop");
                now = due;
            }
            step => panic!("{step:?}"),
        }
    }
    assert_eq!(times, [0, 500, 1000, 1500, 2000, 2500, 3000, 3500, 4000, 4500]);
}

#[test]
fn small_events_are_not_slowed_down_by_the_rate() {
    let mut world = World::new();
    let mut subscription = world.open(Terms { bytes_per_second: Some(2 << 20), ..from(0) });
    for _ in 0..100 {
        world.put(START, 20);
        assert_eq!(world.push(&mut subscription, START).count, 1);
    }
}

#[test]
fn a_record_that_uses_up_seconds_leaves_room_for_keep_alives() {
    let mut world = World::new();
    world.put(START, 20 << 20);
    world.put(START, 1);
    let mut subscription = world.open(Terms { bytes_per_second: Some(2 << 20), ..from(0) });
    assert_eq!(world.push(&mut subscription, START).count, 1);
    assert_eq!(world.next(&mut subscription, START), Step::WaitUntil(START + 5_000));
    let idle = world.push(&mut subscription, START + 5_000);
    assert_eq!((idle.count, idle.millis_behind), (0, 5_000));
    let next = world.push(&mut subscription, START + 10_000);
    assert_eq!((next.from, next.count), (2, 1), "the keep-alive skipped nothing");
    assert!(idle.continuation < next.continuation);
}

#[test]
fn it_ends_after_five_minutes() {
    let mut world = World::new();
    let mut subscription = world.open(from(1));
    let mut now = START;
    loop {
        match world.next(&mut subscription, now) {
            Step::WaitUntil(due) => now = due,
            Step::Push(_) => {}
            Step::End => break,
            step => panic!("{step:?}"),
        }
    }
    assert_eq!(now, START + 300_000);
    world.put(now, 1);
    assert_eq!(world.next(&mut subscription, now), Step::End, "and stays ended");
}

#[test]
fn the_end_of_a_shard_comes_after_its_last_record() {
    let mut world = World::new();
    world.put(START, 1);
    world.log.close(START + 10);
    let mut subscription = world.open(from(0));
    assert_eq!(world.push(&mut subscription, START + 10).count, 1);
    assert_eq!(world.next(&mut subscription, START + 10), Step::ShardEnd);
    assert_eq!(world.next(&mut subscription, START + 10), Step::End);
}

#[test]
fn a_closed_shard_without_records_ends_at_once() {
    let mut world = World::new();
    world.log.close(START);
    let mut subscription = world.open(from(kinesis_shard::SequenceNumberLayout::LAST_INDEX + 1));
    assert_eq!(world.next(&mut subscription, START), Step::ShardEnd);
}

#[test]
fn whoever_is_taken_over_is_told_so_once() {
    let world = World::new();
    let mut subscription = world.open(from(1));
    subscription.refused(gone());
    subscription.refused(ServiceError::bare(ErrorCode::InternalFailure));
    assert_eq!(world.next(&mut subscription, START + 1), Step::Refuse(gone()));
    assert_eq!(world.next(&mut subscription, START + 1), Step::End);
}

#[test]
fn nothing_comes_before_the_initial_response() {
    let world = World::new();
    let mut subscription = Subscription::new(START, Terms { cut_at: Some(START + 1), ..from(1) });
    subscription.refused(gone());
    assert_eq!(world.next(&mut subscription, START), Step::Open);
    assert_eq!(world.next(&mut subscription, START), Step::Refuse(gone()));

    let mut subscription = Subscription::new(START, from(1));
    assert_eq!(subscription.next(START, Err(gone())), Step::Open);
    assert_eq!(subscription.next(START, Err(gone())), Step::Refuse(gone()));
    assert_eq!(subscription.next(START, Err(gone())), Step::End);
}

#[test]
fn a_cut_breaks_the_connection_at_its_time() {
    let mut world = World::new();
    let mut subscription = world.open(Terms { cut_at: Some(START + 700), ..from(1) });
    assert_eq!(world.next(&mut subscription, START), Step::WaitUntil(START + 700));
    world.put(START + 600, 1);
    assert_eq!(world.push(&mut subscription, START + 600).count, 1);
    assert_eq!(world.next(&mut subscription, START + 700), Step::Break);
    assert_eq!(world.next(&mut subscription, START + 700), Step::End);
    let mut at_once = Subscription::new(START, Terms { cut_at: Some(START), ..from(1) });
    assert_eq!(world.next(&mut at_once, START), Step::Open);
    assert_eq!(world.next(&mut at_once, START), Step::Break);
}

#[test]
fn a_stall_lets_neither_news_nor_an_end_through() {
    let mut world = World::new();
    let mut subscription = world.open(Terms { stall_at: Some(START + 700), ..from(1) });
    assert_eq!(world.next(&mut subscription, START), Step::WaitUntil(START + 700));
    world.put(START + 600, 1);
    assert_eq!(world.push(&mut subscription, START + 600).count, 1);
    world.put(START + 700, 1);
    for later in [700, 5_700, 400_000] {
        let step = world.next(&mut subscription, START + later);
        assert!(matches!(step, Step::WaitUntil(at) if at > START + later), "{step:?}");
    }
    subscription.refused(gone());
    assert!(matches!(world.next(&mut subscription, START + 400_000), Step::WaitUntil(_)));
    let mut stopped = world.open(Terms { stall_at: Some(START), ..from(1) });
    stopped.stopped(START);
    assert_eq!(world.next(&mut stopped, START), Step::End, "a server that stops waits for nobody");
}

#[test]
fn a_stop_ends_it_normally() {
    let world = World::new();
    let mut subscription = world.open(from(1));
    subscription.stopped(START + 2_000);
    assert_eq!(world.next(&mut subscription, START + 1_000), Step::WaitUntil(START + 2_000));
    assert_eq!(world.next(&mut subscription, START + 2_000), Step::End);
}
