use super::*;
use crate::fetch::KinesisRecord;
use bytes::Bytes;
use kinesis_shard::{HashKeyRange, SequenceNumber, Shard};

const PLENTY: Room = Room { empty_handed: true, bytes: 10 * 1024 * 1024 };
const ONE_IN_HAND: Room = Room { empty_handed: false, bytes: 10 * 1024 * 1024 };
const TIGHT: Room = Room { empty_handed: false, bytes: 0 };

const SECOND: Duration = Duration::from_secs(1);

fn number(value: u64) -> SequenceNumber {
    value.to_string().parse().unwrap()
}

fn record(sequence_number: u64) -> KinesisRecord {
    sized(sequence_number, 1)
}

fn sized(sequence_number: u64, bytes: usize) -> KinesisRecord {
    KinesisRecord {
        sequence_number: number(sequence_number),
        partition_key: "p".into(),
        data: Bytes::from(vec![0; bytes]),
        arrived_at: None,
    }
}

fn child(id: u64, parents: &[u64]) -> ChildShard {
    let parents = parents.iter().map(|parent| ShardId::from_index(*parent)).collect();
    ChildShard { id: ShardId::from_index(id), parents, hash_key_range: None }
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

/// Polls shard 0 and keeps the time.
struct Rig {
    polling: Polling,
    now: Instant,
}

impl Rig {
    #[expect(clippy::disallowed_methods, reason = "an arbitrary instant to count from")]
    fn new(start: ReadFrom) -> Self {
        let settings = PollingSettings {
            max_records: 100,
            idle_time: SECOND,
            keep_empty: false,
            backoff: Duration::from_millis(500),
            max_backoff: 30 * SECOND,
            seed: 3,
        };
        Self { polling: Polling::new(ShardId::from_index(0), start, settings), now: Instant::now() }
    }

    /// One with an iterator.
    fn open(start: ReadFrom) -> Self {
        let mut rig = Self::new(start);
        rig.reopen(start);
        rig
    }

    /// The next step, after waiting as long as it says.
    fn step(&mut self) -> FetchStep {
        loop {
            match self.polling.next(self.now, PLENTY) {
                FetchStep::WaitUntil(instant) => {
                    assert!(instant > self.now, "a wait must end in the future");
                    self.now = instant;
                }
                step => return step,
            }
        }
    }

    fn answer(&mut self, answer: FetchAnswer) -> bool {
        self.polling.answered(self.now, answer) > 0
    }

    fn reopen(&mut self, expected: ReadFrom) {
        assert_eq!(self.step(), FetchStep::OpenIterator(expected));
        self.answer(FetchAnswer::Iterator(Ok(ShardIterator::new("i"))));
    }

    /// One GetRecords call with this answer; whether a batch was queued.
    fn read(&mut self, result: Result<GetRecordsAnswer, ReadError>) -> bool {
        assert!(matches!(self.step(), FetchStep::GetRecords { .. }));
        self.answer(FetchAnswer::Records(result))
    }

    fn list(&mut self, listing: Listing) -> bool {
        assert_eq!(self.step(), FetchStep::ListShards);
        self.answer(FetchAnswer::Shards(listing))
    }

    fn events(&mut self) -> Vec<FetchEvent> {
        self.polling.take_events().into()
    }

    /// The sequence numbers of everything queued, and whether the last batch ends the shard.
    fn drain(&mut self) -> (Vec<SequenceNumber>, Option<Vec<ChildShard>>) {
        let (mut numbers, mut ended) = (Vec::new(), None);
        while let Some(batch) = self.polling.take() {
            numbers.extend(batch.records.iter().map(|record| record.sequence_number));
            ended = batch.ended;
        }
        (numbers, ended)
    }
}

fn records(numbers: &[u64], millis_behind: u64) -> GetRecordsAnswer {
    GetRecordsAnswer {
        records: numbers.iter().map(|value| record(*value)).collect(),
        next: Some(ShardIterator::new("next")),
        millis_behind_latest: Some(millis_behind),
        children: Vec::new(),
    }
}

fn end(numbers: &[u64], children: Vec<ChildShard>) -> GetRecordsAnswer {
    GetRecordsAnswer { next: None, children, ..records(numbers, 0) }
}

#[test]
fn the_first_iterator_is_opened_where_the_checkpoint_says() {
    for start in
        [ReadFrom::TrimHorizon, ReadFrom::Latest, ReadFrom::At(number(5)), ReadFrom::After(number(5))]
    {
        assert_eq!(Rig::new(start).step(), FetchStep::OpenIterator(start));
    }
}

#[test]
fn only_one_call_is_under_way() {
    let mut rig = Rig::new(ReadFrom::TrimHorizon);
    rig.step();
    assert_eq!(rig.polling.next(rig.now + SECOND, PLENTY), FetchStep::Idle);
}

#[test]
fn an_expired_iterator_is_opened_again_behind_the_last_record_at_once() {
    let mut rig = Rig::open(ReadFrom::At(number(5)));
    rig.read(Ok(records(&[5, 6, 7], 10)));
    rig.drain();
    rig.read(Err(ReadError::ExpiredIterator));
    let before = rig.now;
    rig.reopen(ReadFrom::After(number(7)));
    assert_eq!(rig.now, before);
    assert_eq!(rig.events(), [FetchEvent::ExpiredIterator]);
}

#[test]
fn an_iterator_that_expires_before_the_first_record_starts_over() {
    for start in [ReadFrom::TrimHorizon, ReadFrom::At(number(5))] {
        let mut rig = Rig::open(start);
        rig.read(Ok(records(&[], 0)));
        rig.read(Err(ReadError::ExpiredIterator));
        rig.reopen(start);
    }
}

#[test]
fn latest_that_must_be_opened_again_is_told() {
    let mut rig = Rig::open(ReadFrom::Latest);
    rig.read(Err(ReadError::ExpiredIterator));
    rig.reopen(ReadFrom::Latest);
    assert!(rig.events().contains(&FetchEvent::LatestReopened));
}

#[test]
fn a_shard_that_is_behind_is_read_at_the_services_limit_and_one_that_is_not_at_the_idle_time() {
    for (millis_behind, expected) in [(5_000, Duration::from_millis(200).div_f64(0.95)), (0, SECOND)] {
        let mut rig = Rig::open(ReadFrom::TrimHorizon);
        rig.read(Ok(records(&[1], millis_behind)));
        rig.drain();
        let before = rig.now;
        rig.step();
        assert_eq!(rig.now - before, expected);
    }
}

#[test]
fn a_large_answer_is_paid_for_at_two_mebibytes_a_second() {
    let mut rig = Rig::open(ReadFrom::TrimHorizon);
    let big = GetRecordsAnswer { records: vec![sized(1, 10 * 1024 * 1024)], ..records(&[], 60_000) };
    rig.read(Ok(big));
    rig.drain();
    let before = rig.now;
    rig.step();
    assert_eq!(rig.now - before, (5 * SECOND).div_f64(0.95), "a twentieth is left to others");
}

#[test]
fn calls_never_exceed_five_a_second_whatever_is_answered() {
    let mut rig = Rig::open(ReadFrom::TrimHorizon);
    let begin = rig.now;
    for call in 0..50 {
        rig.read(Ok(records(&[call + 1], 1)));
        rig.drain();
    }
    assert!(rig.now - begin >= 49 * Duration::from_millis(200));
}

#[test]
fn throttling_keeps_the_iterator_and_waits_longer_each_time() {
    let mut rig = Rig::open(ReadFrom::TrimHorizon);
    let begin = rig.now;
    for _ in 0..20 {
        assert!(!rig.read(Err(ReadError::Throttled)));
    }
    assert!(rig.now - begin > 20 * SECOND, "{:?}", rig.now - begin);
    assert!(rig.read(Ok(records(&[1], 0))), "the same iterator is used, nothing was opened");
    assert_eq!(rig.events().len(), 20);
}

/// How long it waits after these answers before it asks again.
fn pause_after(answers: &[FetchAnswer]) -> Duration {
    let mut rig = Rig::open(ReadFrom::TrimHorizon);
    let mut before = rig.now;
    for answer in answers {
        rig.step();
        before = rig.now;
        rig.answer(answer.clone());
    }
    rig.step();
    rig.now - before
}

#[test]
fn a_refused_read_is_made_again_by_the_limits_and_a_failed_call_after_a_random_pause() {
    let read = |error| FetchAnswer::Records(Err(error));
    let at_share = |share| Duration::from_millis(200).div_f64(share);
    assert_eq!(pause_after(&[read(ReadError::Throttled)]), at_share(0.95 / 2.0));
    assert_eq!(pause_after(&[read(ReadError::Throttled), read(ReadError::Throttled)]), at_share(0.95 / 4.0));
    let first = Duration::from_millis(250)..=Duration::from_millis(500);
    for failed in [
        vec![read(ReadError::Unavailable("timeout".into()))],
        vec![read(ReadError::NotFound)],
        vec![FetchAnswer::Records(Ok(end(&[], vec![])))],
        vec![FetchAnswer::Records(Ok(end(&[1], vec![child(1, &[])])))],
        vec![read(ReadError::ExpiredIterator), FetchAnswer::Iterator(Err(ReadError::Throttled))],
    ] {
        assert!(first.contains(&pause_after(&failed)), "{failed:?}: {:?}", pause_after(&failed));
    }
}

#[test]
fn errors_of_the_service_keep_the_iterator() {
    let errors = [
        ReadError::Unavailable("timeout".into()),
        ReadError::AccessDenied("no".into()),
        ReadError::Malformed("number".into()),
    ];
    for error in errors {
        let mut rig = Rig::open(ReadFrom::TrimHorizon);
        rig.read(Err(error.clone()));
        assert_eq!(rig.events(), [FetchEvent::Failed(error)]);
        assert!(rig.read(Ok(records(&[1], 0))));
    }
}

#[test]
fn a_refused_iterator_is_opened_again_at_the_same_place() {
    let mut rig = Rig::open(ReadFrom::TrimHorizon);
    rig.read(Ok(records(&[3], 1)));
    rig.drain();
    rig.read(Err(ReadError::InvalidArgument("iterator".into())));
    rig.reopen(ReadFrom::After(number(3)));
}

#[test]
fn the_end_with_children_ends_the_shard_after_its_records() {
    let mut rig = Rig::open(ReadFrom::TrimHorizon);
    assert!(rig.read(Ok(end(&[1, 2], vec![child(1, &[0]), child(2, &[0])]))));
    let (numbers, ended) = rig.drain();
    assert_eq!(numbers, [number(1), number(2)]);
    assert_eq!(ended.unwrap().len(), 2);
    assert_eq!(rig.step(), FetchStep::Idle);
}

#[test]
fn contradictory_answers_are_refused_and_read_again() {
    let with_both = GetRecordsAnswer { children: vec![child(1, &[0])], ..records(&[1], 0) };
    let mut rig = Rig::open(ReadFrom::TrimHorizon);
    assert!(!rig.read(Ok(with_both)));
    assert!(rig.read(Ok(records(&[1], 0))), "nothing was consumed");

    let mut rig = Rig::open(ReadFrom::TrimHorizon);
    assert!(!rig.read(Ok(end(&[1], vec![child(1, &[])]))));
    rig.reopen(ReadFrom::TrimHorizon);
    assert!(matches!(rig.events()[0], FetchEvent::InvalidAnswer(_)));
}

#[test]
fn an_answer_cut_off_after_some_records_is_read_on_behind_them() {
    let mut rig = Rig::open(ReadFrom::TrimHorizon);
    assert!(rig.read(Ok(end(&[1, 2], vec![]))));
    let (numbers, ended) = rig.drain();
    assert_eq!((numbers.len(), ended), (2, None));
    rig.reopen(ReadFrom::After(number(2)));
}

#[test]
fn an_end_without_children_is_believed_only_if_the_list_shows_them() {
    let table = [
        (vec![listed(0, None, true)], None),
        (vec![listed(0, None, false)], None),
        (vec![listed(0, None, false), listed(1, Some(0), true), listed(2, Some(7), true)], Some(1)),
    ];
    for (shards, children) in table {
        let mut rig = Rig::open(ReadFrom::TrimHorizon);
        assert!(!rig.read(Ok(end(&[], vec![]))));
        assert_eq!(rig.list(Listing::Shards(shards)), children.is_some());
        match children {
            Some(count) => assert_eq!(rig.drain().1.unwrap().len(), count),
            None => rig.reopen(ReadFrom::TrimHorizon),
        }
    }
}

#[test]
fn not_found_never_ends_a_shard_that_is_listed() {
    for shards in [vec![listed(0, None, true)], vec![listed(0, None, false), listed(1, Some(0), true)]] {
        let mut rig = Rig::open(ReadFrom::TrimHorizon);
        rig.read(Ok(records(&[4], 1)));
        rig.drain();
        rig.read(Err(ReadError::NotFound));
        assert!(!rig.list(Listing::Shards(shards)));
        rig.reopen(ReadFrom::After(number(4)));
    }
}

#[test]
fn a_shard_missing_from_three_lists_is_gone_and_its_children_go_on() {
    let mut rig = Rig::new(ReadFrom::At(number(5)));
    rig.step();
    rig.answer(FetchAnswer::Iterator(Err(ReadError::NotFound)));
    let shards = || Listing::Shards(vec![listed(1, Some(0), true)]);
    assert!(!rig.list(shards()));
    assert!(!rig.list(Listing::Failed("timeout".into())));
    assert!(!rig.list(shards()));
    assert!(rig.list(shards()));
    assert_eq!(rig.drain().1.unwrap()[0].id, ShardId::from_index(1));
    assert!(rig.events().contains(&FetchEvent::ShardGone));
}

#[test]
fn a_stream_is_gone_only_when_three_lists_say_so() {
    let mut rig = Rig::open(ReadFrom::TrimHorizon);
    rig.read(Err(ReadError::NotFound));
    for _ in 0..3 {
        rig.list(Listing::StreamNotFound);
    }
    assert_eq!(rig.step(), FetchStep::StreamGone(Gone::Deleted));
    let mut rig = Rig::open(ReadFrom::TrimHorizon);
    rig.read(Err(ReadError::NotFound));
    rig.list(Listing::StreamNotFound);
    rig.list(Listing::Shards(vec![listed(0, None, true)]));
    rig.reopen(ReadFrom::TrimHorizon);
}

#[test]
fn a_checkpoint_older_than_the_retention_goes_on_at_the_horizon_and_is_told() {
    let mut rig = Rig::new(ReadFrom::At(number(5)));
    rig.step();
    rig.answer(FetchAnswer::Iterator(Err(ReadError::InvalidArgument("too old".into()))));
    rig.list(Listing::Failed("timeout".into()));
    rig.list(Listing::Shards(vec![listed(0, None, true)]));
    rig.reopen(ReadFrom::TrimHorizon);
    let trimmed = FetchEvent::CheckpointTrimmed { checkpoint: number(5), first: None };
    assert!(rig.events().contains(&trimmed));
    rig.read(Ok(records(&[9], 1)));
    rig.drain();
    rig.read(Err(ReadError::ExpiredIterator));
    rig.reopen(ReadFrom::After(number(9)));
}

/// Its numbers are older than the shard: nothing of the present stream may be read under the leases of the earlier one.
#[test]
fn a_position_of_an_earlier_stream_of_this_name_is_no_gap_but_the_end_of_that_stream() {
    let mut rig = Rig::open(ReadFrom::TrimHorizon);
    rig.read(Ok(records(&[4], 1)));
    rig.drain();
    rig.read(Err(ReadError::NotFound));
    let younger = |id| Shard { starting_sequence_number: number(50), ..listed(id, None, true) };
    rig.list(Listing::Shards(vec![younger(0)]));
    assert_eq!(rig.step(), FetchStep::StreamGone(Gone::Replaced));
    let mut rig = Rig::new(ReadFrom::At(number(5)));
    rig.step();
    rig.answer(FetchAnswer::Iterator(Err(ReadError::InvalidArgument("not of this stream".into()))));
    rig.list(Listing::Shards(vec![younger(0)]));
    assert_eq!(rig.step(), FetchStep::StreamGone(Gone::Replaced));
    assert!(!rig.events().iter().any(|event| matches!(event, FetchEvent::CheckpointTrimmed { .. })));
}

#[test]
fn a_start_time_that_is_refused_is_told_once_and_waited_for() {
    let start = ReadFrom::AtTimestamp(SystemTime::UNIX_EPOCH + SECOND);
    let mut rig = Rig::new(start);
    for attempt in 0..5 {
        assert_eq!(rig.step(), FetchStep::OpenIterator(start));
        rig.answer(FetchAnswer::Iterator(Err(ReadError::InvalidArgument("in the future".into()))));
        let told = FetchEvent::Failed(ReadError::StartTime("in the future".into()));
        assert_eq!(rig.events().contains(&told), attempt == 0, "{attempt}");
    }
    rig.reopen(start);
}

#[test]
fn a_first_record_behind_the_checkpoint_shows_a_gap_and_the_checkpoint_itself_shows_none() {
    for (first, gaps) in [(5, 0), (8, 1)] {
        let mut rig = Rig::open(ReadFrom::At(number(5)));
        rig.read(Ok(records(&[first, 9], 1)));
        let trimmed = FetchEvent::CheckpointTrimmed { checkpoint: number(5), first: Some(number(first)) };
        assert_eq!(rig.events().iter().filter(|event| **event == trimmed).count(), gaps);
    }
}

#[test]
fn records_that_came_before_do_not_come_again() {
    let mut rig = Rig::open(ReadFrom::TrimHorizon);
    rig.read(Ok(records(&[1, 2], 1)));
    rig.read(Ok(records(&[1, 2, 3], 1)));
    assert_eq!(rig.drain().0, [number(1), number(2), number(3)]);
}

#[test]
fn empty_answers_are_handed_over_only_when_asked_for() {
    let mut rig = Rig::open(ReadFrom::TrimHorizon);
    assert!(!rig.read(Ok(records(&[], 0))));
    rig.polling.settings.keep_empty = true;
    assert!(rig.read(Ok(records(&[], 0))));
}

#[test]
fn reading_ahead_stops_at_four_batches_or_eight_mebibytes_or_without_memory() {
    let mut rig = Rig::open(ReadFrom::TrimHorizon);
    for call in 1..=4 {
        rig.read(Ok(records(&[call], 1)));
    }
    assert_eq!(rig.polling.next(rig.now + SECOND, ONE_IN_HAND), FetchStep::Idle);
    rig.polling.take();
    assert_ne!(rig.polling.next(rig.now + SECOND, ONE_IN_HAND), FetchStep::Idle);

    for (bytes, goes_on) in [(2 * 1024 * 1024, true), (8 * 1024 * 1024 - 1, true), (8 * 1024 * 1024, false)] {
        let mut rig = Rig::open(ReadFrom::TrimHorizon);
        let batch = Fetched::new(rig.now, Vec::new(), None, None);
        rig.polling.waiting.push_back(Fetched { memory_bytes: bytes, ..batch });
        assert_eq!(rig.polling.next(rig.now, ONE_IN_HAND) != FetchStep::Idle, goes_on, "{bytes}");
    }

    let mut rig = Rig::open(ReadFrom::TrimHorizon);
    rig.read(Ok(records(&[1], 1)));
    assert_eq!(rig.polling.next(rig.now + SECOND, TIGHT), FetchStep::Idle);
    let empty_handed = Room { empty_handed: true, ..TIGHT };
    let FetchStep::GetRecords { limit, expected_bytes, .. } =
        rig.polling.next(rig.now + SECOND, empty_handed)
    else {
        panic!("with nothing in hand the next batch is always read")
    };
    assert_eq!((limit, expected_bytes), (1, 0));
}

#[test]
fn a_read_asks_for_as_many_records_as_there_is_room_for() {
    let mut rig = Rig::open(ReadFrom::TrimHorizon);
    rig.read(Ok(GetRecordsAnswer { records: vec![sized(1, 100_000)], ..records(&[], 1) }));
    let half = Room { empty_handed: false, bytes: 512 * 1024 };
    let FetchStep::GetRecords { limit, .. } = rig.polling.next(rig.now + SECOND, half) else { panic!() };
    assert_eq!(limit, 5);
}

#[test]
fn a_checkpoint_in_whose_place_nothing_is_left_tells_of_the_gap() {
    for (millis_behind_latest, children, told) in [
        (Some(0), vec![], true),
        (Some(5_000), vec![], false),
        (None, vec![], false),
        (Some(5_000), vec![child(1, &[0])], true),
    ] {
        let mut rig = Rig::open(ReadFrom::At(number(5)));
        let next = children.is_empty().then(|| ShardIterator::new("next"));
        rig.read(Ok(GetRecordsAnswer { records: vec![], next, millis_behind_latest, children }));
        let trimmed = FetchEvent::CheckpointTrimmed { checkpoint: number(5), first: None };
        assert_eq!(rig.events(), Vec::from_iter(told.then_some(trimmed)), "{millis_behind_latest:?}");
    }
}

#[test]
fn records_that_were_trimmed_before_they_were_read_are_told() {
    const HOUR: Duration = Duration::from_hours(1);
    let mut rig = Rig::open(ReadFrom::TrimHorizon);
    rig.read(Ok(records(&[4], 0)));
    assert!(!rig.polling.is_far_behind(rig.now));
    rig.now += 30 * HOUR;
    assert!(rig.polling.is_far_behind(rig.now));
    rig.polling.retention(Some(24 * HOUR));
    rig.read(Ok(records(&[9], 0)));
    let (after, first) = (Some(number(4)), Some(number(9)));
    assert_eq!(rig.events(), [FetchEvent::Overtaken { lost: 6 * HOUR, after, first }]);
}

#[test]
fn latest_that_was_pinned_is_opened_again_there() {
    let pinned_at = SystemTime::UNIX_EPOCH + SECOND;
    let mut rig = Rig::open(ReadFrom::Latest);
    rig.polling.pin(pinned_at);
    rig.read(Err(ReadError::ExpiredIterator));
    rig.reopen(ReadFrom::AtTimestamp(pinned_at));
    assert_eq!(rig.events(), [FetchEvent::ExpiredIterator]);
}

#[test]
fn a_failed_call_leaves_the_share_of_the_limits_as_it_was() {
    let failed = FetchAnswer::Records(Err(ReadError::Unavailable("timeout".into())));
    let refused = FetchAnswer::Records(Err(ReadError::Throttled));
    assert_eq!(pause_after(&[failed, refused]), Duration::from_millis(200).div_f64(0.95 / 2.0));
}
