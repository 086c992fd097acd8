use super::*;
use crate::fetch::{ChildShard, KinesisRecord};
use bytes::Bytes;
use kinesis_shard::{HashKeyRange, SequenceNumber, Shard};

const SECOND: Duration = Duration::from_secs(1);
const PLENTY: Room = Room { empty_handed: true, bytes: 10 * 1024 * 1024 };

fn number(value: u64) -> SequenceNumber {
    value.to_string().parse().unwrap()
}

fn record(sequence_number: u64) -> KinesisRecord {
    KinesisRecord {
        sequence_number: number(sequence_number),
        partition_key: "p".into(),
        data: Bytes::from_static(b"x"),
        arrived_at: None,
    }
}

fn child(id: u64) -> ChildShard {
    ChildShard { id: ShardId::from_index(id), parents: vec![ShardId::from_index(0)], hash_key_range: None }
}

fn event(numbers: &[u64], continuation: Option<u64>) -> SubscriptionEvent {
    SubscriptionEvent {
        records: numbers.iter().map(|value| record(*value)).collect(),
        continuation: continuation.map(number),
        millis_behind_latest: Some(0),
        children: Vec::new(),
    }
}

/// Subscribes to shard 0 and keeps the time.
struct Rig {
    fan_out: FanOut,
    now: Instant,
}

impl Rig {
    #[expect(clippy::disallowed_methods, reason = "an arbitrary instant to count from")]
    fn new(start: ReadFrom) -> Self {
        let settings = FanOutSettings {
            max_records: 5,
            silence_limit: 15 * SECOND,
            keep_empty: false,
            backoff: Duration::from_millis(500),
            max_backoff: 30 * SECOND,
            seed: 3,
        };
        Self { fan_out: FanOut::new(ShardId::from_index(0), start, settings), now: Instant::now() }
    }

    /// One with a subscription that has brought an event, a minute old.
    fn open(start: ReadFrom, continuation: u64) -> Self {
        let mut rig = Self::new(start);
        rig.subscribe(start, Ok(()));
        rig.push(Pushed::Event(event(&[], Some(continuation))));
        rig.now += 60 * SECOND;
        rig
    }

    /// The next step, after waiting as long as it says; and how long that was.
    fn step(&mut self) -> (FetchStep, Duration) {
        let began = self.now;
        loop {
            match self.fan_out.next(self.now, PLENTY) {
                FetchStep::WaitUntil(instant) => {
                    assert!(instant > self.now, "a wait must end in the future");
                    self.now = instant;
                }
                step => return (step, self.now - began),
            }
        }
    }

    /// How long it waited to subscribe there.
    fn subscribe(&mut self, expected: ReadFrom, result: Result<(), ReadError>) -> Duration {
        let (step, waited) = self.step();
        assert_eq!(step, FetchStep::Subscribe(expected));
        assert_eq!(self.fan_out.next(self.now, PLENTY), FetchStep::Idle, "one call at a time");
        assert_eq!(self.fan_out.answered(self.now, FetchAnswer::Subscribed(result)), 0);
        waited
    }

    /// The bytes that it queued.
    fn push(&mut self, pushed: Pushed) -> usize {
        let (step, _) = self.step();
        assert!(matches!(step, FetchStep::NextEvent { .. }), "{step:?}");
        self.fan_out.answered(self.now, FetchAnswer::Pushed(pushed))
    }

    fn list(&mut self, listing: Listing) {
        assert_eq!(self.step().0, FetchStep::ListShards);
        self.fan_out.answered(self.now, FetchAnswer::Shards(listing));
    }

    fn events(&mut self) -> Vec<FetchEvent> {
        self.fan_out.take_events().into()
    }

    /// The sequence numbers of the next batch, and whether it ends the shard.
    fn take(&mut self) -> Option<(Vec<SequenceNumber>, bool)> {
        let batch = self.fan_out.take()?;
        let numbers = batch.records.iter().map(|record| record.sequence_number).collect();
        Some((numbers, batch.ended.is_some()))
    }
}

fn listed(id: u64, parent: Option<u64>, open: bool) -> Shard {
    Shard {
        id: ShardId::from_index(id),
        parent: parent.map(ShardId::from_index),
        adjacent_parent: None,
        hash_key_range: HashKeyRange::FULL,
        starting_sequence_number: number(1),
        ending_sequence_number: (!open).then(|| number(99)),
    }
}

#[test]
fn it_subscribes_where_the_checkpoint_says_and_waits_for_events() {
    for start in [ReadFrom::TrimHorizon, ReadFrom::Latest, ReadFrom::At(number(5))] {
        let mut rig = Rig::new(start);
        assert_eq!(rig.subscribe(start, Ok(())), Duration::ZERO);
        let (step, _) = rig.step();
        let until = rig.now + 15 * SECOND;
        assert_eq!(step, FetchStep::NextEvent { until, expected_bytes: LEAST_EXPECTED_BYTES });
    }
}

#[test]
fn every_end_of_a_useful_subscription_is_followed_by_another_at_once_behind_the_last_event() {
    let cut = || Pushed::Cut(ReadError::Unavailable("reset".into()));
    for (ending, told) in [
        (Pushed::Closed, None),
        (cut(), Some(FetchEvent::SubscriptionCut(ReadError::Unavailable("reset".into())))),
        (Pushed::Silent, Some(FetchEvent::SubscriptionSilent)),
    ] {
        let mut rig = Rig::open(ReadFrom::TrimHorizon, 7);
        rig.push(Pushed::Event(event(&[8, 9], Some(12))));
        rig.push(ending);
        assert_eq!(rig.subscribe(ReadFrom::After(number(12)), Ok(())), Duration::ZERO);
        assert_eq!(rig.events(), Vec::from_iter(told));
        assert_eq!(rig.take(), Some((vec![number(8), number(9)], false)), "what was received is kept");
    }
}

#[test]
fn another_subscription_waits_until_five_seconds_after_the_last_one() {
    let mut rig = Rig::new(ReadFrom::TrimHorizon);
    rig.subscribe(ReadFrom::TrimHorizon, Ok(()));
    rig.push(Pushed::Event(event(&[1], Some(1))));
    rig.now += 2 * SECOND;
    rig.push(Pushed::Closed);
    assert_eq!(rig.subscribe(ReadFrom::After(number(1)), Ok(())), 3 * SECOND);
}

#[test]
fn one_that_brings_nothing_before_it_ends_is_followed_after_growing_pauses() {
    let mut rig = Rig::new(ReadFrom::TrimHorizon);
    let mut waits = Vec::new();
    for _ in 0..12 {
        waits.push(rig.subscribe(ReadFrom::TrimHorizon, Ok(())));
        rig.push(Pushed::Cut(ReadError::Unavailable("reset".into())));
    }
    assert!(waits[1..].iter().all(|wait| *wait >= 5 * SECOND), "{waits:?}");
    assert!(waits[11] > 10 * SECOND, "{waits:?}");
}

#[test]
fn another_subscription_in_the_way_is_asked_again_about_every_second_and_told_apart_from_failures() {
    let mut rig = Rig::new(ReadFrom::TrimHorizon);
    let in_use = || Err(ReadError::InUse("another".into()));
    rig.subscribe(ReadFrom::TrimHorizon, in_use());
    let mut waited = Duration::ZERO;
    for _ in 0..8 {
        let wait = rig.subscribe(ReadFrom::TrimHorizon, in_use());
        assert!(wait <= 5 * SECOND && wait >= SECOND / 2, "{wait:?}");
        waited += wait;
    }
    assert!(waited < 40 * SECOND);
    assert_eq!(rig.events(), vec![FetchEvent::SubscriptionInUse; 9]);
    rig.subscribe(ReadFrom::TrimHorizon, Ok(()));
}

#[test]
fn a_subscription_that_is_taken_over_is_not_taken_back_at_once() {
    let mut rig = Rig::open(ReadFrom::TrimHorizon, 7);
    rig.push(Pushed::Cut(ReadError::InUse("another".into())));
    assert!(rig.subscribe(ReadFrom::After(number(7)), Ok(())) >= SECOND / 2);
    assert_eq!(rig.events(), [FetchEvent::SubscriptionInUse]);
}

#[test]
fn refused_requests_are_tried_again_with_growing_pauses() {
    for error in [
        ReadError::Throttled,
        ReadError::Unavailable("no answer".into()),
        ReadError::AccessDenied("no".into()),
    ] {
        let mut rig = Rig::new(ReadFrom::TrimHorizon);
        let waits: Vec<_> =
            (0..8).map(|_| rig.subscribe(ReadFrom::TrimHorizon, Err(error.clone()))).collect();
        assert!(waits[1] <= SECOND / 2 && waits[7] > 5 * SECOND, "{error:?} {waits:?}");
    }
}

#[test]
fn the_end_of_the_shard_is_an_event_without_continuation_but_with_children() {
    let mut rig = Rig::open(ReadFrom::TrimHorizon, 7);
    rig.push(Pushed::Event(event(&[8], Some(8))));
    rig.push(Pushed::Event(SubscriptionEvent { children: vec![child(1), child(2)], ..event(&[9], None) }));
    assert_eq!(rig.take(), Some((vec![number(8), number(9)], true)));
    assert_eq!(rig.step().0, FetchStep::Idle);
}

#[test]
fn an_end_that_only_looks_like_one_is_confirmed_by_listing() {
    let open = || Listing::Shards(vec![listed(0, None, true)]);
    let split = || Listing::Shards(vec![listed(0, None, false), listed(1, Some(0), true)]);
    let mut rig = Rig::open(ReadFrom::TrimHorizon, 7);
    rig.push(Pushed::Event(event(&[], None)));
    rig.list(open());
    assert_eq!(rig.take(), None);
    rig.subscribe(ReadFrom::After(number(7)), Ok(()));
    rig.push(Pushed::Event(event(&[], None)));
    rig.list(split());
    assert_eq!(rig.take(), Some((vec![], true)));
}

#[test]
fn not_found_never_ends_a_shard_by_itself() {
    for in_stream in [false, true] {
        let mut rig = Rig::open(ReadFrom::TrimHorizon, 7);
        if in_stream {
            rig.push(Pushed::Cut(ReadError::NotFound));
        } else {
            rig.push(Pushed::Closed);
            rig.subscribe(ReadFrom::After(number(7)), Err(ReadError::NotFound));
        }
        rig.list(Listing::Shards(vec![listed(0, None, false), listed(1, Some(0), true)]));
        assert_eq!(rig.take(), None, "closed, but not read to its end");
        rig.subscribe(ReadFrom::After(number(7)), Err(ReadError::NotFound));
        for _ in 0..3 {
            rig.list(Listing::StreamNotFound);
        }
        assert_eq!(rig.step().0, FetchStep::StreamGone(Gone::Deleted));
    }
}

#[test]
fn an_event_that_contradicts_itself_is_not_used_and_comes_again() {
    let both = SubscriptionEvent { children: vec![child(1)], ..event(&[8], Some(8)) };
    let orphan = ChildShard { parents: Vec::new(), ..child(1) };
    let orphaned = SubscriptionEvent { children: vec![orphan], ..event(&[8], None) };
    for contradiction in [both, orphaned] {
        let mut rig = Rig::open(ReadFrom::TrimHorizon, 7);
        assert_eq!(rig.push(Pushed::Event(contradiction)), 0);
        assert!(matches!(rig.events()[..], [FetchEvent::InvalidAnswer(_)]));
        rig.subscribe(ReadFrom::After(number(7)), Ok(()));
    }
}

#[test]
fn an_event_cut_short_is_used_and_read_on_behind() {
    let mut rig = Rig::open(ReadFrom::TrimHorizon, 7);
    assert!(rig.push(Pushed::Event(event(&[8, 9], None))) > 0);
    rig.subscribe(ReadFrom::After(number(9)), Ok(()));
    assert_eq!(rig.take(), Some((vec![number(8), number(9)], false)));
}

#[test]
fn what_comes_again_is_not_handed_over_twice() {
    let mut rig = Rig::open(ReadFrom::TrimHorizon, 7);
    rig.push(Pushed::Event(event(&[8, 9], Some(9))));
    rig.push(Pushed::Event(event(&[9, 10], Some(10))));
    assert_eq!(rig.take(), Some((vec![number(8), number(9), number(10)], false)));
}

#[test]
fn a_position_that_is_refused_goes_on_at_the_oldest_record_and_tells_of_the_gap() {
    let mut rig = Rig::new(ReadFrom::At(number(5)));
    rig.subscribe(ReadFrom::At(number(5)), Err(ReadError::InvalidArgument("too old".into())));
    rig.list(Listing::Shards(vec![listed(0, None, true)]));
    assert!(rig.events().contains(&FetchEvent::CheckpointTrimmed { checkpoint: number(5), first: None }));
    rig.subscribe(ReadFrom::TrimHorizon, Ok(()));
    rig.push(Pushed::Event(event(&[], Some(20))));
    rig.push(Pushed::Closed);
    rig.subscribe(ReadFrom::After(number(20)), Ok(()));
}

#[test]
fn a_position_of_an_earlier_stream_of_this_name_is_the_end_of_that_stream() {
    let mut rig = Rig::open(ReadFrom::TrimHorizon, 7);
    rig.push(Pushed::Closed);
    rig.subscribe(ReadFrom::After(number(7)), Err(ReadError::InvalidArgument("not of this stream".into())));
    let younger = Shard { starting_sequence_number: number(50), ..listed(0, None, true) };
    rig.list(Listing::Shards(vec![younger]));
    assert_eq!(rig.step().0, FetchStep::StreamGone(Gone::Replaced));
}

#[test]
fn latest_goes_on_where_the_first_event_says_also_when_nothing_was_put() {
    let mut rig = Rig::open(ReadFrom::Latest, 30);
    rig.push(Pushed::Closed);
    rig.subscribe(ReadFrom::After(number(30)), Ok(()));
    assert_eq!(rig.events(), []);
}

#[test]
fn nothing_is_received_beyond_what_memory_allows() {
    let mut rig = Rig::open(ReadFrom::TrimHorizon, 7);
    let tight = Room { empty_handed: false, bytes: LEAST_EXPECTED_BYTES - 1 };
    assert_eq!(rig.fan_out.next(rig.now, tight), FetchStep::Idle);
    let starved = Room { empty_handed: true, bytes: 0 };
    let until = rig.now + 15 * SECOND;
    assert_eq!(
        rig.fan_out.next(rig.now, starved),
        FetchStep::NextEvent { until, expected_bytes: 0 },
        "with nothing in hand it may always receive"
    );
    rig.fan_out.answered(rig.now, FetchAnswer::Pushed(Pushed::Event(event(&[8], Some(8)))));
    let holding = Room { empty_handed: false, ..PLENTY };
    for value in 9.. {
        if rig.fan_out.next(rig.now, holding) == FetchStep::Idle {
            break;
        }
        assert!(value < 9 + MAX_WAITING_EVENTS as u64, "it never stops");
        rig.fan_out.answered(rig.now, FetchAnswer::Pushed(Pushed::Event(event(&[value], Some(value)))));
    }
    let mut batches = 0;
    while let Some((numbers, _)) = rig.take() {
        assert!(numbers.len() <= 5, "merged up to the size of a batch");
        batches += 1;
    }
    assert_eq!(batches, MAX_WAITING_EVENTS.div_ceil(5));
}

#[test]
fn receiving_ahead_stops_at_64_events_or_eight_mebibytes_or_without_memory_for_64_kibibytes() {
    for (events, bytes, room, goes_on) in [
        (1, 8 * 1024 * 1024 - 1, 64 * 1024, true),
        (1, 8 * 1024 * 1024, 64 * 1024, false),
        (1, 1, 64 * 1024 - 1, false),
        (63, 1, 64 * 1024, true),
        (64, 1, 64 * 1024, false),
    ] {
        let mut rig = Rig::open(ReadFrom::TrimHorizon, 7);
        let batch = Fetched { memory_bytes: bytes, ..Fetched::new(rig.now, Vec::new(), None, None) };
        rig.fan_out.waiting.resize(events, batch);
        let step = rig.fan_out.next(rig.now, Room { empty_handed: false, bytes: room });
        assert_eq!(step != FetchStep::Idle, goes_on, "{events} {bytes} {room}");
    }
}

#[test]
fn the_next_event_is_expected_to_be_as_large_as_the_last_one_or_half_of_what_was_expected() {
    let mut rig = Rig::open(ReadFrom::TrimHorizon, 7);
    let large = KinesisRecord { data: Bytes::from(vec![0; 1024 * 1024]), ..record(8) };
    let bytes = rig.push(Pushed::Event(SubscriptionEvent { records: vec![large], ..event(&[], Some(8)) }));
    for expected_bytes in [bytes, bytes / 2, bytes / 4] {
        let until = rig.now + 15 * SECOND;
        assert_eq!(rig.step().0, FetchStep::NextEvent { until, expected_bytes });
        rig.fan_out.answered(rig.now, FetchAnswer::Pushed(Pushed::Event(event(&[], Some(8)))));
    }
}

#[test]
fn a_merged_batch_takes_the_memory_of_all_its_events() {
    let mut rig = Rig::open(ReadFrom::TrimHorizon, 7);
    let bytes: usize = (8..11).map(|value| rig.push(Pushed::Event(event(&[value], Some(value))))).sum();
    assert_eq!(rig.fan_out.take().map(|batch| batch.memory_bytes), Some(bytes));
}

#[test]
fn a_start_time_that_is_refused_is_told_once_and_waited_for() {
    let start = ReadFrom::AtTimestamp(SystemTime::UNIX_EPOCH + SECOND);
    let mut rig = Rig::new(start);
    for attempt in 0..3 {
        rig.subscribe(start, Err(ReadError::InvalidArgument("in the future".into())));
        let told = FetchEvent::Failed(ReadError::StartTime("in the future".into()));
        assert_eq!(rig.events().contains(&told), attempt == 0, "{attempt}");
    }
    rig.subscribe(start, Ok(()));
}

#[test]
fn a_checkpoint_in_whose_place_nothing_is_left_tells_of_the_gap() {
    for (millis_behind_latest, children, told) in [
        (Some(0), vec![], true),
        (Some(5_000), vec![], false),
        (None, vec![], false),
        (Some(5_000), vec![child(1)], true),
    ] {
        let mut rig = Rig::new(ReadFrom::At(number(5)));
        rig.subscribe(ReadFrom::At(number(5)), Ok(()));
        let continuation = children.is_empty().then(|| number(6));
        let records = Vec::new();
        rig.push(Pushed::Event(SubscriptionEvent { records, continuation, millis_behind_latest, children }));
        let trimmed = FetchEvent::CheckpointTrimmed { checkpoint: number(5), first: None };
        assert_eq!(rig.events(), Vec::from_iter(told.then_some(trimmed)), "{millis_behind_latest:?}");
    }
}

#[test]
fn records_that_were_trimmed_before_they_were_sent_are_told() {
    const HOUR: Duration = Duration::from_hours(1);
    let mut rig = Rig::open(ReadFrom::TrimHorizon, 7);
    assert!(!rig.fan_out.is_far_behind(rig.now));
    rig.now += 30 * HOUR;
    assert!(rig.fan_out.is_far_behind(rig.now));
    rig.fan_out.retention(Some(24 * HOUR));
    rig.push(Pushed::Event(event(&[8], Some(8))));
    // The minute is the age of the subscription.
    let (lost, after, first) = (6 * HOUR + 60 * SECOND, Some(number(7)), Some(number(8)));
    assert_eq!(rig.events(), [FetchEvent::Overtaken { lost, after, first }]);
}

#[test]
fn latest_that_was_pinned_is_subscribed_to_again_there() {
    let pinned_at = SystemTime::UNIX_EPOCH + SECOND;
    let mut rig = Rig::new(ReadFrom::Latest);
    rig.subscribe(ReadFrom::Latest, Ok(()));
    rig.fan_out.pin(pinned_at);
    rig.push(Pushed::Closed);
    rig.subscribe(ReadFrom::AtTimestamp(pinned_at), Ok(()));
    assert_eq!(rig.events(), []);
}
