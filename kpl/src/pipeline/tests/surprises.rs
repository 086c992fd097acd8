//! Streams that change under the records: other shards, other rules, questions that are not answered.

use super::*;

const ONE: &str = "shardId-000000000001";
const AUTO: summary::StreamSummary = summary::StreamSummary { max_record_bytes: 1 << 20, auto: true };

/// A rig whose stream goes by no keys, with so many shards.
fn auto(count: u32, aggregation_on_auto: bool) -> Rig {
    let mut rig = Rig::new(Settings { aggregation_on_auto, ..settings() });
    rig.pipeline.shard_map(rig.now, &shard_map(count));
    assert!(rig.pipeline.described(rig.now, AUTO));
    rig
}

fn lanes(rig: &Rig) -> Vec<usize> {
    rig.pipeline.limiter.waiting().map(|(lane, _)| lane).collect()
}

/// A key of the lower half of all hash keys, or of the upper.
fn key_in_half(upper: bool) -> String {
    let half = usize::from(upper);
    let map = shard_map(2);
    let found = keys(20).into_iter().find(|key| map.open_index_of(HashKey::of_partition_key(key)) == half);
    found.expect("twenty keys do not all lie in one half")
}

#[test]
fn where_keys_are_ignored_records_go_alone_on_lanes_that_take_turns() {
    let mut rig = auto(4, false);
    rig.aggregate(&keys(8));
    assert_eq!(lanes(&rig), [0, 0, 1, 1, 2, 2, 3, 3]);
    let request = rig.request();
    assert_eq!(request.entries.len(), 8);
    let asked = rig.asked;
    rig.answer(request.id, (1..9).map(|number| stored("shardId-000000000077", number)).collect());
    rig.after(Duration::from_secs(1));
    assert_eq!(rig.asked, asked, "no shard is a surprise");
}

#[test]
fn where_readers_take_aggregates_from_anywhere_they_stay_whole_and_only_there() {
    for (goes_by_keys, delivered) in [(false, true), (true, false)] {
        let mut rig = auto(2, true);
        if goes_by_keys {
            assert!(rig.pipeline.described(rig.now, summary::StreamSummary { auto: false, ..AUTO }));
        }
        let key = key_in_half(false);
        let tickets = rig.aggregate(&[&key, &key]);
        let request = rig.request();
        assert_eq!(request.entries.len(), 1);
        rig.answer(request.id, vec![stored(ONE, 1)]);
        rig.steps();
        assert_eq!(tickets[0].answer().is_some(), delivered, "goes by keys: {goes_by_keys}");
    }
}

#[test]
fn a_throttled_record_slows_the_shard_of_its_key_or_the_lane_that_sent_it() {
    let upper = key_in_half(true);
    // The shards changed while it was on its way.
    let mut rig = Rig::with_map(1);
    rig.plain(&upper);
    let request = rig.request();
    rig.pipeline.shard_map(rig.now, &split_map());
    rig.answer(request.id, vec![refused("ProvisionedThroughputExceededException")]);
    assert_eq!([0, 1].map(|lane| rig.pipeline.limiter.throttles(lane)), [0, 1]);
    // Nobody knows the shard; the first turn is the second lane's.
    let mut rig = auto(2, false);
    rig.plain(&key_in_half(false));
    let request = rig.request();
    rig.answer(request.id, vec![refused("ProvisionedThroughputExceededException")]);
    assert_eq!([0, 1].map(|lane| rig.pipeline.limiter.throttles(lane)), [0, 1]);
}

#[test]
fn an_aggregate_on_the_wrong_shard_follows_a_new_map_at_once() {
    let mut rig = Rig::with_map(2);
    let key = key_in_half(false);
    rig.aggregate(&[&key, &key]);
    let request = rig.request();
    rig.answer(request.id, vec![stored(ONE, 1)]);
    assert!(rig.after(Duration::from_secs(1)).is_empty(), "nothing newer is known");
    let merged = Arc::new(ShardMap::new([shard(5, HashKeyRange::FULL)]).unwrap());
    rig.pipeline.shard_map(rig.now, &merged);
    let known = rig.now;
    rig.request();
    assert_eq!(rig.now, known + Duration::from_millis(20), "no pause for what goes elsewhere");
}

#[test]
fn a_number_made_in_another_second_than_its_shard_is_of_another_stream() {
    let number = |shard_created_seconds| {
        SequenceNumber::from_layout(kinesis_shard::SequenceNumberLayout {
            shard_created_seconds,
            index: 1,
            arrived_seconds: 1_700_000_010,
            shard_index: 0,
        })
    };
    for (seconds, delivered) in [(1_700_000_000, true), (1_700_000_007, false)] {
        let mut rig = Rig::new(settings());
        let known = kinesis_shard::Shard {
            starting_sequence_number: number(1_700_000_000),
            ..shard(0, HashKeyRange::FULL)
        };
        rig.pipeline.shard_map(rig.now, &Arc::new(ShardMap::new([known]).unwrap()));
        let tickets = rig.aggregate(&keys(2));
        let request = rig.request();
        let sequence_number = number(seconds);
        rig.answer(request.id, vec![EntryAnswer::Stored { shard_id: ShardId::new(ZERO), sequence_number }]);
        rig.steps();
        assert_eq!(tickets[0].answer().is_some(), delivered, "{seconds}");
    }
}

#[test]
fn whoever_wants_the_map_or_the_summary_gets_the_question_asked() {
    let mut rig = Rig::new(settings());
    rig.pipeline.want_map(rig.now);
    rig.steps();
    assert_eq!((rig.asked, rig.described), (1, 1), "the stream is described once at the start");
    rig.pipeline.shard_map(rig.now, &shard_map(1));
    assert!(!rig.pipeline.described(rig.now, summary::StreamSummary { auto: false, ..AUTO }));
    rig.after(Duration::from_mins(10));
    assert_eq!((rig.asked, rig.described), (1, 1));
    rig.pipeline.want_summary(rig.now);
    rig.after(Duration::from_mins(2));
    assert_eq!(rig.described, 2);
    assert!(!rig.pipeline.not_described(rig.now, false), "tried again");
    assert!(rig.pipeline.not_described(rig.now, true), "given up");
}

#[test]
fn a_question_without_an_answer_is_asked_again_unless_it_is_hopeless_and_nobody_waits() {
    for (hopeless, parked, again) in
        [(false, false, true), (false, true, true), (true, true, true), (true, false, false)]
    {
        let mut rig = Rig::new(settings());
        if parked {
            rig.plain("a");
        }
        rig.pipeline.want_map(rig.now);
        rig.steps();
        rig.pipeline.no_shard_map(rig.now, hopeless, &"down".into());
        rig.after(Duration::from_secs(5));
        assert_eq!(rig.asked > 1, again, "hopeless: {hopeless}, parked: {parked}");
    }
}

#[test]
fn a_throttled_question_waits_longer_for_the_crowd_to_pass() {
    let next = |throttled: bool, seed: u64| {
        let mut rig = Rig::new(Settings { seeds: [seed; 3], ..settings() });
        rig.pipeline.want_map(rig.now);
        rig.steps();
        rig.pipeline.described(rig.now, summary::StreamSummary { auto: false, ..AUTO });
        if throttled {
            rig.pipeline.shard_map_throttled();
        }
        rig.pipeline.no_shard_map(rig.now, false, &"throttled".into());
        rig.steps();
        rig.wait.expect("it asks again") - rig.now
    };
    let mean = |throttled| (0..20).map(|seed| next(throttled, seed)).sum::<Duration>() / 20;
    assert!(mean(false) <= Duration::from_millis(150), "{:?}", mean(false));
    assert!(mean(true) > Duration::from_millis(500), "{:?}", mean(true));
}

#[test]
fn in_ordered_mode_the_next_record_of_a_shard_leaves_when_the_one_before_is_answered() {
    let mut rig = Rig::new(Settings { ordering: Ordering::PerShard, ..settings() });
    rig.pipeline.shard_map(rig.now, &shard_map(1));
    rig.plain("a");
    let first = rig.request();
    rig.plain("b");
    assert!(rig.after(Duration::from_secs(1)).is_empty());
    rig.answer(first.id, vec![stored(ZERO, 1)]);
    assert_eq!(rig.request().entries.len(), 1);
}

#[test]
fn what_is_sent_as_an_aggregate_is_one_for_readers() {
    let mut rig = Rig::with_map(1);
    rig.aggregate(&keys(3));
    let request = rig.request();
    let parsed = kinesis_shard::parse_aggregated(&request.entries[0].data);
    assert!(matches!(parsed, kinesis_shard::ParsedRecord::Aggregated(members) if members.len() == 3));
}

#[test]
fn the_status_says_where_records_are_and_for_how_long() {
    let mut rig = Rig::new(Settings { max_in_flight: 1, ..settings() });
    rig.pipeline.shard_map(rig.now, &shard_map(1));
    assert_eq!(rig.pipeline.stats(rig.now).queue.longest_queue, None);
    rig.plain("a");
    let second = Duration::from_secs(1);
    rig.now += second;
    assert_eq!(rig.pipeline.stats(rig.now).queue.oldest_record, Some(second), "in its shard's queue");
    let first = rig.request();
    rig.now += second;
    rig.plain("b");
    rig.plain("c");
    rig.steps();
    rig.now += second;
    let status = rig.pipeline.stats(rig.now).queue;
    assert_eq!((status.in_limiter, status.in_backoff, status.throttled_shards), (2, 0, 0));
    assert_eq!(status.longest_queue, Some((2, ShardId::new(ZERO))));
    assert!(status.oldest_record >= Some(2 * second), "the one in flight: {status:?}");
    rig.answer(first.id, vec![refused("InternalFailure")]);
    let status = rig.pipeline.stats(rig.now).queue;
    assert_eq!((status.in_limiter, status.in_backoff), (2, 1));
    assert!(status.oldest_record >= Some(2 * second), "the one that pauses: {status:?}");
    let again = rig.request();
    assert_eq!(again.entries.len(), 2, "those that do not pause");
    rig.answer(again.id, vec![refused("ProvisionedThroughputExceededException"); 2]);
    let status = rig.pipeline.stats(rig.now).queue;
    assert_eq!((status.in_limiter, status.throttled_shards), (2, 1));
}

#[test]
fn there_is_work_wherever_a_record_waits() {
    let mut rig = Rig::new(Settings { sampled: true, ..settings() });
    assert!(!rig.pipeline.has_work());
    let ticket = rig.plain("a");
    rig.steps();
    assert!(rig.pipeline.has_work(), "for a map");
    rig.pipeline.shard_map(rig.now, &shard_map(1));
    assert!(rig.pipeline.has_work(), "for its shard's rate");
    rig.steps();
    assert!(rig.pipeline.has_work(), "for company");
    let request = rig.request();
    assert!(rig.pipeline.has_work(), "for an answer");
    rig.answer(request.id, vec![refused("InternalFailure")]);
    assert!(rig.pipeline.has_work(), "for another attempt");
    let request = rig.request();
    rig.answer(request.id, vec![stored(ZERO, 1)]);
    rig.steps();
    ok(&ticket);
    assert!(!rig.pipeline.has_work());
    assert!(!rig.pipeline.take_samples().is_empty() && rig.pipeline.take_samples().is_empty());
}
