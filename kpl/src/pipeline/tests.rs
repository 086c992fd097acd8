//! The pipeline driven by hand, with explicit instants.

use super::answer::{CallError, EntryAnswer, PutRecordsAnswer};
use super::*;
use crate::batch::Ticket;
use crate::error::user_records;
use crate::testing::{CountingLedger, aggregate_in, push, shard, shard_map, shards, start};
use crate::user_record::{Delivered, UserRecord};
use crate::{HashKey, PutError};
use kinesis_shard::{HashKeyRange, Payload};

mod random;
mod surprises;

const TTL: Duration = Duration::from_secs(30);

fn settings() -> Settings {
    Settings {
        stream: "orders".into(),
        ttl: TTL,
        max_in_flight: 24,
        fail_if_throttled: false,
        rate: Rate { records_per_second: 1500, bytes_per_second: 1_572_864, shared_by: 1 },
        collection: Bounds { max_count: 500, max_bytes: 5_242_880, linger: Duration::from_millis(20) },
        ordering: Ordering::Relaxed,
        aggregation_on_auto: false,
        fleet_size: 1,
        sampled: false,
        seeds: [1, 2, 3],
    }
}

/// A pipeline, a clock that only moves when told, and a driver that notes what it was told to do.
struct Rig {
    pipeline: Pipeline,
    now: Instant,
    ledger: Arc<CountingLedger>,
    asked: usize,
    described: usize,
    reports: Vec<QueueStatus>,
    wait: Option<Instant>,
}

impl Rig {
    fn new(settings: Settings) -> Self {
        let (pipeline, ledger) = (Pipeline::new(settings), Arc::default());
        Self { pipeline, now: start(), ledger, asked: 0, described: 0, reports: Vec::new(), wait: None }
    }

    fn with_map(count: u32) -> Self {
        let mut rig = Self::new(settings());
        rig.pipeline.shard_map(rig.now, &shard_map(count));
        rig
    }

    /// Does what there is to do; the requests it was told to send.
    fn steps(&mut self) -> Vec<PutRecordsRequest> {
        let mut requests = Vec::new();
        loop {
            match self.pipeline.next(self.now) {
                Step::Send(request) => requests.push(request),
                Step::Settle(settlement) => settlement.settle(),
                Step::ListShards => self.asked += 1,
                Step::Describe => self.described += 1,
                Step::Report(status) => self.reports.push(status),
                Step::WaitUntil(at) => {
                    assert!(at > self.now, "a wait that is over would spin the driver");
                    self.wait = Some(at);
                    return requests;
                }
                Step::Idle => {
                    self.wait = None;
                    return requests;
                }
            }
        }
    }

    fn after(&mut self, time: Duration) -> Vec<PutRecordsRequest> {
        self.now += time;
        self.steps()
    }

    /// Goes where it says it wants to, until it sends one request.
    fn request(&mut self) -> PutRecordsRequest {
        for _ in 0..100 {
            let mut requests = self.steps();
            if let Some(request) = requests.pop() {
                assert!(requests.is_empty(), "one request was expected");
                return request;
            }
            self.now = self.wait.expect("there is something to wait for");
        }
        panic!("no request was sent");
    }

    fn aggregate(&mut self, keys: &[impl AsRef<str>]) -> Vec<Ticket> {
        let (mut record, tickets) = aggregate_in(keys, &self.ledger);
        record.opened = self.now;
        self.pipeline.sealed(self.now, record);
        tickets
    }

    fn plain(&mut self, key: &str) -> Ticket {
        self.aggregate(&[key]).pop().unwrap()
    }

    fn answer(&mut self, id: u64, entries: Vec<EntryAnswer>) {
        self.pipeline.answered(self.now, id, PutRecordsAnswer::Entries(entries));
    }

    fn fail(&mut self, id: u64, code: &str) {
        let error = CallError::of_code(code, "because");
        self.pipeline.answered(self.now, id, PutRecordsAnswer::Failed(error));
    }
}

fn keys(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("key-{index}")).collect()
}

fn stored(shard: &str, number: u64) -> EntryAnswer {
    EntryAnswer::Stored {
        shard_id: ShardId::new(shard),
        sequence_number: number.to_string().parse().unwrap(),
    }
}

fn refused(code: &str) -> EntryAnswer {
    EntryAnswer::Refused { code: code.into(), message: "because".into() }
}

const ZERO: &str = "shardId-000000000000";

fn ok(ticket: &Ticket) -> Delivered {
    ticket.answer().expect("answered").expect("delivered")
}

fn err(ticket: &Ticket) -> PutError {
    ticket.answer().expect("answered").expect_err("failed")
}

fn codes(error: &PutError) -> Vec<Option<&str>> {
    error.attempts().iter().map(|attempt| attempt.error_code.as_deref()).collect()
}

/// One shard became two, numbered 1 and 2, split in the middle.
fn split_map() -> Arc<ShardMap> {
    let [lower, upper] = <[HashKeyRange; 2]>::try_from(HashKeyRange::even(2.try_into().unwrap())).unwrap();
    Arc::new(ShardMap::new([shard(1, lower), shard(2, upper)]).unwrap())
}

#[test]
fn a_request_leaves_when_its_wait_is_over_and_its_answer_settles_each_record() {
    let mut rig = Rig::with_map(1);
    let tickets = rig.aggregate(&keys(3));
    let plain = rig.plain("p");
    assert!(rig.steps().is_empty());
    assert_eq!(rig.wait, Some(start() + Duration::from_millis(20)));
    let requests = rig.after(Duration::from_millis(20));
    assert_eq!(requests[0].entries.len(), 2);
    rig.now += Duration::from_millis(7);
    rig.answer(requests[0].id, vec![stored(ZERO, 10), stored(ZERO, 11)]);
    assert!(rig.steps().is_empty());
    assert_eq!(ok(&tickets[2]).sub_sequence_number, 2);
    assert_eq!(ok(&plain).sequence_number, "11".parse().unwrap());
    let attempts = ok(&plain).attempts;
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0].started, Duration::from_millis(20));
    assert_eq!((attempts[0].duration, attempts[0].error_code.as_deref()), (Duration::from_millis(7), None));
    assert_eq!(rig.wait, None);
}

#[test]
fn only_what_failed_is_sent_again() {
    let mut rig = Rig::with_map(1);
    let tickets: Vec<_> = ["a", "b", "c"].iter().map(|key| rig.plain(key)).collect();
    let first = rig.request();
    rig.answer(first.id, vec![stored(ZERO, 1), refused("InternalFailure"), stored(ZERO, 2)]);
    let second = rig.request();
    assert_eq!(second.entries.len(), 1);
    assert_eq!(second.entries[0].partition_key, "b");
    rig.answer(second.id, vec![stored(ZERO, 3)]);
    rig.steps();
    let attempts = ok(&tickets[1]).attempts;
    assert_eq!(attempts[0].error_code.as_deref(), Some("InternalFailure"));
    assert_eq!(attempts[1].error_code, None);
    assert_eq!(ok(&tickets[0]).attempts.len(), 1);
    assert_eq!(rig.pipeline.stats(rig.now).retries, 1);
}

#[test]
fn without_a_map_records_wait_for_it() {
    let mut rig = Rig::new(settings());
    let ticket = rig.plain("a");
    assert!(rig.after(Duration::from_secs(1)).is_empty());
    assert_eq!(rig.asked, 1);
    rig.pipeline.no_shard_map(rig.now, false, &"down".into());
    assert!(rig.steps().is_empty());
    rig.now = rig.wait.unwrap();
    rig.steps();
    assert_eq!(rig.asked, 2);
    rig.pipeline.shard_map(rig.now, &shard_map(2));
    let request = rig.request();
    rig.answer(request.id, vec![stored(ZERO, 1)]);
    rig.steps();
    ok(&ticket);
}

#[test]
fn an_aggregate_on_a_child_shard_is_undelivered_as_a_whole_and_cut_along_the_new_map() {
    let mut rig = Rig::with_map(1);
    let tickets = rig.aggregate(&keys(10));
    let request = rig.request();
    rig.pipeline.shard_map(rig.now, &shard_map(1));
    // Stored on a child that covers only half of it.
    rig.answer(request.id, vec![stored("shardId-000000000001", 1)]);
    assert!(rig.steps().is_empty());
    assert!(tickets.iter().all(|ticket| ticket.answer().is_none()), "the shard is unknown: no judgement yet");
    rig.now = rig.wait.unwrap();
    rig.steps();
    assert_eq!(rig.asked, 1);
    let map = split_map();
    rig.pipeline.shard_map(rig.now, &map);
    let request = rig.request();
    assert_eq!(request.entries.len(), 2);
    let pieces: Vec<_> = request.entries.iter().map(|entry| user_records(&entry.data)).collect();
    assert_eq!(pieces.iter().map(Vec::len).sum::<usize>(), 10);
    for (piece, shard) in pieces.iter().zip(map.open()) {
        assert!(piece.iter().all(|record| shard.hash_key_range.contains(record.hash_key())));
    }
    rig.answer(request.id, vec![stored("shardId-000000000001", 5), stored("shardId-000000000002", 6)]);
    rig.steps();
    for (key, ticket) in keys(10).iter().zip(&tickets) {
        let delivered = ok(ticket);
        let shard = map.shard_of(HashKey::of_partition_key(key));
        assert_eq!(delivered.shard_id, shard.id);
        let piece = usize::from(shard.id.as_str().ends_with('2'));
        let position = usize::try_from(delivered.sub_sequence_number).unwrap();
        assert_eq!(pieces[piece][position].partition_key(), key);
        assert_eq!(delivered.attempts[0].error_code.as_deref(), Some("WrongShard"));
    }
    assert_eq!(rig.pipeline.stats(rig.now).wrong_shard, 1);
}

#[test]
fn an_aggregate_that_was_stored_on_the_wrong_shard_stays_in_doubt() {
    let mut rig = Rig::with_map(1);
    let tickets = rig.aggregate(&keys(10));
    let request = rig.request();
    // The map is renewed while the request is on its way, so the aggregate is cut without waiting for another.
    rig.now += Duration::from_secs(1);
    rig.pipeline.shard_map(rig.now, &split_map());
    rig.answer(request.id, vec![stored("shardId-000000000001", 1)]);
    let request = rig.request();
    assert_eq!(request.entries.len(), 2);
    rig.fail(request.id, "AccessDeniedException");
    rig.steps();
    for ticket in &tickets {
        assert!(err(ticket).may_have_been_written(), "a reader that does not filter finds the first copy");
    }
}

#[test]
fn an_aggregate_that_lies_in_a_child_as_a_whole_is_delivered_there() {
    let mut rig = Rig::with_map(1);
    let upper = split_map().open()[1].clone();
    let inside: Vec<_> = keys(30)
        .into_iter()
        .filter(|key| upper.hash_key_range.contains(HashKey::of_partition_key(key)))
        .collect();
    let tickets = rig.aggregate(&inside);
    let request = rig.request();
    rig.answer(request.id, vec![stored("shardId-000000000002", 1)]);
    rig.steps();
    rig.now = rig.wait.expect("it asks for the unknown shard");
    rig.steps();
    rig.pipeline.shard_map(rig.now, &split_map());
    rig.steps();
    assert_eq!(ok(&tickets[0]).shard_id, upper.id);
}

#[test]
fn after_a_merge_the_aggregate_is_delivered_and_the_map_renewed() {
    let mut rig = Rig::new(settings());
    let merged = Arc::new(ShardMap::new([shard(3, HashKeyRange::FULL)]).unwrap());
    rig.pipeline.shard_map(rig.now, &merged);
    rig.now += Duration::from_secs(1);
    rig.pipeline.shard_map(rig.now, &shard_map(2));
    let lower: Vec<_> = keys(30)
        .into_iter()
        .filter(|key| shard_map(2).open_index_of(HashKey::of_partition_key(key)) == 0)
        .collect();
    let tickets = rig.aggregate(&lower);
    let request = rig.request();
    // The map before named that shard, so it is known to cover everything.
    rig.answer(request.id, vec![stored("shardId-000000000003", 1)]);
    rig.steps();
    assert_eq!(ok(&tickets[0]).shard_id.as_str(), "shardId-000000000003");
    rig.after(Duration::from_secs(1));
    assert_eq!(rig.asked, 1);
}

#[test]
fn a_plain_record_is_delivered_wherever_it_lands() {
    let mut rig = Rig::with_map(2);
    let ticket = rig.plain("a");
    let request = rig.request();
    rig.answer(request.id, vec![stored("shardId-000000000099", 1)]);
    rig.steps();
    assert_eq!(ok(&ticket).shard_id.as_str(), "shardId-000000000099");
    rig.after(Duration::from_secs(1));
    assert_eq!(rig.asked, 1, "the surprise renews the map");
}

#[test]
fn a_shard_that_no_newer_map_names_either_means_undelivered() {
    let mut rig = Rig::with_map(1);
    let tickets = rig.aggregate(&keys(4));
    let request = rig.request();
    rig.answer(request.id, vec![stored("shardId-000000000077", 1)]);
    rig.steps();
    rig.now = rig.wait.unwrap();
    rig.steps();
    rig.pipeline.shard_map(rig.now, &shard_map(1));
    let sent = rig.now;
    let request = rig.request();
    assert!(rig.now >= sent + Duration::from_millis(50), "the same place again, but after a pause");
    rig.answer(request.id, vec![stored(ZERO, 2)]);
    rig.steps();
    assert_eq!(ok(&tickets[3]).attempts.len(), 2);
}

#[test]
fn an_answer_of_another_length_leaves_the_outcome_unknown() {
    for entries in [0, 1, 3] {
        let mut rig = Rig::with_map(1);
        let tickets: Vec<_> = ["a", "b"].iter().map(|key| rig.plain(key)).collect();
        let request = rig.request();
        rig.answer(request.id, (1..=entries).map(|number| stored(ZERO, number)).collect());
        rig.steps();
        rig.pipeline.close(rig.now, []).0.into_iter().for_each(Settlement::settle);
        for ticket in &tickets {
            assert!(err(ticket).may_have_been_written(), "{entries} entries for two records");
            assert_eq!(codes(&err(ticket)), [Some("RecordCountMismatch")]);
        }
    }
}

#[test]
fn a_permanent_error_fails_everything_in_the_request_at_once_with_its_cause() {
    let mut rig = Rig::with_map(1);
    let aggregate = rig.aggregate(&["a", "b"]);
    let request = rig.request();
    rig.fail(request.id, "AccessDeniedException");
    rig.steps();
    let error = err(&aggregate[1]);
    assert!(matches!(error.reason(), PutErrorReason::AccessDenied { .. }));
    assert!(!error.may_have_been_written() && !error.is_retryable());
    assert_eq!(error.record(), Some(UserRecord::new("b", "b")), "handed back out of the aggregate");
    assert_eq!(err(&aggregate[0]).record(), Some(UserRecord::new("a", "a")));
}

#[test]
fn one_invalid_record_does_not_take_the_others_with_it() {
    let mut rig = Rig::with_map(1);
    let tickets: Vec<_> = ["a", "bad", "c"].iter().map(|key| rig.plain(key)).collect();
    let request = rig.request();
    rig.fail(request.id, "ValidationException");
    let requests = rig.steps();
    assert_eq!(requests.len(), 3, "each in a request of its own, at once");
    for request in requests {
        assert_eq!(request.entries.len(), 1);
        if request.entries[0].partition_key == "bad" {
            rig.fail(request.id, "ValidationException");
        } else {
            rig.answer(request.id, vec![stored(ZERO, 1)]);
        }
    }
    rig.steps();
    ok(&tickets[0]);
    ok(&tickets[2]);
    assert!(matches!(err(&tickets[1]).reason(), PutErrorReason::Rejected { .. }));
}

#[test]
fn a_throttled_record_waits_at_the_head_of_its_shard_and_leaves_others_alone() {
    let mut rig = Rig::with_map(2);
    let lane = |key: &str| shard_map(2).open_index_of(HashKey::of_partition_key(key));
    let of = |index| keys(50).into_iter().filter(move |key| lane(key) == index);
    let hot: Vec<_> = of(0).take(2).collect();
    let cold = of(1).next().unwrap();
    rig.plain(&hot[0]);
    let request = rig.request();
    rig.answer(request.id, vec![refused("ProvisionedThroughputExceededException")]);
    rig.plain(&hot[1]);
    rig.plain(&cold);
    let request = rig.request();
    assert_eq!(request.entries.len(), 1);
    assert_eq!(request.entries[0].partition_key, cold);
    let request = rig.request();
    let order: Vec<_> = request.entries.iter().map(|entry| entry.partition_key.clone()).collect();
    assert_eq!(order, hot);
    let counters = rig.pipeline.stats(rig.now);
    assert_eq!((counters.throttled, counters.throttled_shards), (1, 1));
    assert_eq!(counters.errors_by_code.get("ProvisionedThroughputExceededException"), Some(&1));
}

#[test]
fn fail_if_throttled_answers_at_once() {
    let mut rig = Rig::new(Settings { fail_if_throttled: true, ..settings() });
    rig.pipeline.shard_map(rig.now, &shard_map(1));
    let ticket = rig.plain("a");
    let request = rig.request();
    rig.answer(request.id, vec![refused("ProvisionedThroughputExceededException")]);
    rig.steps();
    assert_eq!(err(&ticket).reason(), &PutErrorReason::Throttled);
    assert!(err(&ticket).is_retryable());
}

#[test]
fn a_record_that_keeps_failing_expires_and_says_where_and_after_what() {
    let mut rig = Rig::with_map(1);
    let ticket = rig.plain("a");
    let mut attempts = 0;
    while ticket.answer().is_none() {
        let requests = rig.steps();
        if requests.is_empty() {
            rig.now = rig.wait.unwrap_or(rig.now);
        }
        for request in requests {
            attempts += 1;
            rig.fail(request.id, "InternalFailure");
        }
    }
    let error = err(&ticket);
    let PutErrorReason::Expired { waited, waited_in: WaitedIn::Backoff, last_error, time_spent } =
        error.reason()
    else {
        panic!("{:?}", error.reason())
    };
    assert_eq!(*waited, TTL);
    assert_eq!(time_spent.backoff + time_spent.collector, TTL);
    assert_eq!(last_error.as_deref(), Some("InternalFailure"));
    assert_eq!(error.attempts().len(), attempts);
    // 100 ms, doubled up to 5 s, at least half of each: about a dozen fit into 30 s.
    assert!((8..=16).contains(&attempts), "{attempts}");
    assert!(error.may_have_been_written());
}

#[test]
fn a_record_that_never_got_a_turn_expires_in_the_limiter_and_was_not_written() {
    let mut rig = Rig::new(Settings {
        rate: Rate { records_per_second: 1, bytes_per_second: 1 << 20, shared_by: 1 },
        ..settings()
    });
    rig.pipeline.shard_map(rig.now, &shard_map(1));
    let tickets: Vec<_> = (0..40).map(|_| rig.plain("a")).collect();
    let mut sent = 0;
    while rig.now <= start() + TTL {
        for request in rig.steps() {
            sent += request.entries.len();
            let entries = request.entries.iter().map(|_| stored(ZERO, 1)).collect();
            rig.answer(request.id, entries);
        }
        let Some(at) = rig.wait else { break };
        rig.now = at;
    }
    assert!((29..=31).contains(&sent), "{sent}");
    let error = err(&tickets[39]);
    assert!(matches!(error.reason(), PutErrorReason::Expired { waited_in: WaitedIn::Limiter, .. }));
    assert!(!error.may_have_been_written() && error.attempts().is_empty());
}

#[test]
fn a_record_whose_shard_stays_unknown_expires_in_doubt() {
    let mut rig = Rig::with_map(1);
    let tickets = rig.aggregate(&keys(2));
    let request = rig.request();
    rig.answer(request.id, vec![stored("shardId-000000000077", 1)]);
    while tickets[0].answer().is_none() {
        rig.steps();
        rig.pipeline.no_shard_map(rig.now, true, &"down".into());
        rig.steps();
        rig.now = rig.wait.unwrap_or(rig.now);
    }
    let error = err(&tickets[0]);
    assert!(matches!(error.reason(), PutErrorReason::Expired { waited_in: WaitedIn::ShardMap, .. }));
    assert!(error.may_have_been_written());
    assert_eq!(rig.now, start() + TTL);
}

#[test]
fn in_ordered_mode_what_is_queued_is_handed_back_when_the_stream_begins_to_ignore_keys() {
    let mut rig = Rig::new(Settings { ordering: Ordering::PerShard, ..settings() });
    rig.pipeline.shard_map(rig.now, &shard_map(1));
    let in_flight = rig.plain("a");
    let request = rig.request();
    let queued = rig.aggregate(&keys(3));
    assert!(rig.steps().is_empty(), "it waits for the one before");
    let auto = summary::StreamSummary { max_record_bytes: 1 << 20, auto: true };
    assert!(rig.pipeline.described(rig.now, auto));
    rig.answer(request.id, vec![stored(ZERO, 1)]);
    assert!(rig.after(Duration::from_secs(1)).is_empty());
    ok(&in_flight);
    for (key, ticket) in keys(3).iter().zip(&queued) {
        assert_eq!(err(ticket).reason(), &PutErrorReason::OrderImpossible);
        assert_eq!(err(ticket).record().map(|record| record.partition_key), Some(key.clone()));
        assert!(!err(ticket).may_have_been_written());
    }
}

#[test]
fn a_pipeline_that_is_stuck_says_why_once_and_then_every_minute() {
    let mut rig = Rig::new(Settings { ttl: Duration::from_mins(5), ..settings() });
    rig.pipeline.shard_map(rig.now, &shard_map(1));
    rig.plain("a");
    let request = rig.request();
    while rig.now < start() + Duration::from_mins(2) {
        rig.steps();
        rig.now = rig.wait.expect("it looks again");
    }
    assert_eq!(rig.reports.len(), 2, "{:?}", rig.reports);
    assert!(rig.reports[0].to_string().contains("requests are not answered, the oldest for 10."));
    rig.answer(request.id, vec![stored(ZERO, 1)]);
    rig.steps();
    rig.after(Duration::from_hours(1));
    assert_eq!(rig.reports.len(), 2, "nothing waits any more");
}

#[test]
fn no_more_requests_are_in_flight_than_allowed() {
    let mut rig = Rig::new(Settings {
        max_in_flight: 2,
        collection: Bounds { max_count: 1, ..settings().collection },
        ..settings()
    });
    rig.pipeline.shard_map(rig.now, &shard_map(1));
    for key in keys(5) {
        rig.plain(&key);
    }
    let first = rig.steps();
    assert_eq!(first.len(), 2);
    assert!(rig.wait >= Some(start() + Duration::from_secs(10)), "nothing moves before an answer");
    rig.answer(first[0].id, vec![stored(ZERO, 1)]);
    assert_eq!(rig.steps().len(), 1);
}

#[test]
fn a_flush_sends_at_once_what_belongs_to_it_and_lets_the_rest_wait() {
    let mut rig = Rig::with_map(1);
    rig.plain("a");
    rig.pipeline.flush(rig.now, 0);
    rig.plain("b");
    let requests = rig.steps();
    assert_eq!(requests.len(), 1, "both are of epoch 0");
    assert_eq!(requests[0].entries.len(), 2);
    let mut aggregator = crate::testing::aggregator(1000);
    push(&mut aggregator, &UserRecord::new("later", "x"), rig.now, 1, &rig.ledger);
    rig.pipeline.sealed(rig.now, aggregator.seal().unwrap());
    assert!(rig.steps().is_empty());
    assert_eq!(rig.wait, Some(rig.now + Duration::from_millis(20)));
}

#[test]
fn closing_answers_everything_and_knows_what_was_sent() {
    let mut rig = Rig::with_map(1);
    let sent = rig.plain("sent");
    rig.request();
    let queued = rig.aggregate(&keys(3));
    let (unseen, unseen_tickets) = aggregate_in(&keys(2), &rig.ledger);
    let (settlements, left) = rig.pipeline.close(rig.now, [unseen]);
    settlements.into_iter().for_each(Settlement::settle);
    assert_eq!(left, 6);
    assert!(err(&sent).may_have_been_written());
    for ticket in queued.iter().chain(&unseen_tickets) {
        assert_eq!(err(ticket).reason(), &PutErrorReason::Closed);
        assert!(!err(ticket).may_have_been_written());
        assert!(err(ticket).record().is_some());
    }
    let late = rig.plain("late");
    assert!(rig.steps().is_empty());
    assert_eq!(err(&late).reason(), &PutErrorReason::Closed);
    assert!(matches!(rig.pipeline.next(rig.now), Step::Idle));
}

#[test]
fn a_later_record_does_not_put_a_request_off() {
    let mut rig = Rig::with_map(1);
    rig.plain("a");
    assert!(rig.steps().is_empty());
    rig.now += Duration::from_millis(10);
    rig.plain("b");
    assert!(rig.steps().is_empty());
    assert_eq!(rig.wait, Some(start() + Duration::from_millis(20)), "the first of them began the wait");
}

#[test]
fn closing_knows_why_a_record_waits_for_a_map() {
    let close = |mut rig: Rig| {
        let (settlements, _) = rig.pipeline.close(rig.now, []);
        settlements.into_iter().for_each(Settlement::settle);
    };
    let mut unrouted = Rig::new(settings());
    let ticket = unrouted.plain("a");
    assert!(unrouted.steps().is_empty());
    close(unrouted);
    assert!(!err(&ticket).may_have_been_written(), "it was never sent");
    let mut stored_elsewhere = Rig::with_map(1);
    let tickets = stored_elsewhere.aggregate(&keys(2));
    let request = stored_elsewhere.request();
    stored_elsewhere.answer(request.id, vec![stored("shardId-000000000077", 1)]);
    assert!(stored_elsewhere.steps().is_empty());
    close(stored_elsewhere);
    assert!(err(&tickets[0]).may_have_been_written());
}

#[test]
fn what_is_collected_while_no_request_is_free_expires_there_at_its_time() {
    let mut rig = Rig::new(Settings {
        max_in_flight: 1,
        collection: Bounds { max_bytes: 60, ..settings().collection },
        ..settings()
    });
    rig.pipeline.shard_map(rig.now, &shard_map(1));
    let sent = rig.aggregate(&["first-key-of-the-request"]);
    let left = rig.aggregate(&["second-key-of-the-request"]);
    let requests = rig.steps();
    assert_eq!((requests.len(), requests[0].entries.len()), (1, 1), "the second does not fit beside it");
    let moment = Duration::from_millis(1);
    assert!(rig.after(TTL.saturating_sub(moment)).is_empty());
    assert!(left[0].answer().is_none(), "not before its time");
    assert_eq!(rig.wait, Some(start() + TTL));
    assert!(rig.after(Duration::from_millis(1)).is_empty());
    assert!(matches!(err(&left[0]).reason(), PutErrorReason::Expired { .. }));
    assert!(!err(&left[0]).may_have_been_written());
    rig.answer(requests[0].id, vec![stored(ZERO, 1)]);
    rig.steps();
    ok(&sent[0]);
}

#[test]
fn what_is_queued_follows_a_new_map() {
    let mut rig = Rig::with_map(1);
    let tickets = rig.aggregate(&keys(10));
    rig.steps();
    rig.pipeline.shard_map(rig.now, &split_map());
    let request = rig.request();
    assert_eq!(request.entries.len(), 2, "cut before it was sent");
    rig.answer(request.id, vec![stored("shardId-000000000001", 1), stored("shardId-000000000002", 1)]);
    rig.steps();
    assert!(tickets.iter().all(|ticket| ok(ticket).attempts.len() == 1));
}

#[test]
fn a_stream_created_anew_with_the_same_shard_ids_is_not_judged_by_the_old_map() {
    let mut rig = Rig::with_map(1);
    let gone = rig.plain("a");
    let request = rig.request();
    rig.fail(request.id, "ResourceNotFoundException");
    rig.steps();
    assert_eq!(err(&gone).reason(), &PutErrorReason::StreamNotFound);
    // It exists again, with two shards. Number 0 used to cover everything.
    let tickets = rig.aggregate(&keys(10));
    let request = rig.request();
    rig.answer(request.id, vec![stored(ZERO, 1)]);
    rig.steps();
    assert!(tickets.iter().all(|ticket| ticket.answer().is_none()));
    rig.after(Duration::from_secs(1));
    rig.pipeline.shard_map(rig.now, &shard_map(2));
    rig.steps();
    assert_eq!(rig.request().entries.len(), 2);
}

#[test]
fn a_large_record_leaves_in_its_entry_uncopied() {
    let data = bytes::Bytes::from(vec![1; 2000]);
    let mut aggregator = crate::testing::aggregator(1000);
    let ledger = Arc::default();
    let (_, sealed) = push(&mut aggregator, &UserRecord::new("k", data.clone()), start(), 0, &ledger);
    let Payload::Plain { data: sent, .. } = &sealed[0].payload else { panic!("it is plain") };
    assert_eq!(sent.as_ptr(), data.as_ptr());
    assert_eq!(shards(3).len(), 3);
}
