//! Plans that once broke a promise, each shrunk to what it needs. No seed is drawn from: they stay what they are.

mod common;
mod simulation;

use common::worker::Policy;
use kcl::RetrievalMode;
use simulation::plan::{Act, Keys, Plan, ProducerPlan, WorkerPlan};
use simulation::run::run;
use simulation::table::TableFault;

const PRODUCER: ProducerPlan = ProducerPlan {
    stream: 0,
    aggregation: true,
    buffered_millis: 100,
    ttl_millis: 30_000,
    outstanding_bytes: 8_000_000,
    request_timeout_millis: 6_000,
    ordered: false,
    rate_limit_percent: 150,
};

const WORKER: WorkerPlan = WorkerPlan {
    scans: false,
    clock_ppm: 0,
    policy: Policy::EveryBatch,
    work_millis: 0,
    fail_every: 0,
    max_records: 10_000,
    at_shutdown: true,
    forgets_end: false,
    retrieval: RetrievalMode::Polling,
};

fn plan(shards: u32, workers: Vec<WorkerPlan>, acts: Vec<(u64, Act)>) -> Plan {
    let producers = vec![PRODUCER];
    Plan { seed: 1, shards, two_streams: false, dynamodb: false, producers, workers, acts }
}

fn check(shards: u32, workers: usize, acts: Vec<(u64, Act)>) {
    let outcome = run(&plan(shards, vec![WORKER; workers], acts));
    assert!(outcome.violations.is_empty(), "{:#?}\n{}", outcome.violations, outcome.history());
}

fn put(count: usize) -> Act {
    Act::Put { producer: 0, count, keys: Keys::Many, largest: 100 }
}

/// The creation of a child's lease lands a second time when the child was read, merged and deleted long ago. What it holds
/// comes again, its end finds nothing left to create, and no shard is stuck.
#[test]
fn a_lease_that_comes_back_after_its_merge_reaches_its_end_again() {
    for (late, times) in [(8_946, 1), (8_946, 2), (15_000, 1), (40_000, 1)] {
        check(
            1,
            1,
            vec![
                (1_000, put(20)),
                (3_000, Act::Split),
                (4_500, Act::Table { worker: 0, fault: TableFault::Twice(late), times }),
                (6_000, put(20)),
                (6_500, Act::Merge),
                (9_000, Act::Split),
                (11_000, put(20)),
                (12_000, Act::Merge),
            ],
        );
    }
}

/// A worker wakes from a freeze: an older listing of the table and the answers to what it asks for come at one moment, and
/// it is told to stop right after. It takes back everything that it asked for, and nothing stands still for the failover time.
#[test]
fn a_worker_that_stops_takes_back_all_that_it_asked_for() {
    for stop in [87_500, 88_131, 90_000] {
        check(
            3,
            2,
            vec![
                (15_258, Act::Start { worker: 1 }),
                (76_376, Act::Freeze { worker: 1, millis: 11_000 }),
                (stop, Act::Stop { worker: 1 }),
            ],
        );
    }
}

/// The owner stands still for two lease times in the middle of a batch. The other takes over from the checkpoint; what was in
/// hand comes again, and the old owner is told once. A checkpoint of it that arrived in time is written, though its answer comes
/// when the lease is lost; one that it asks for later is refused.
#[test]
fn an_owner_frozen_in_the_middle_of_a_batch_loses_its_lease_and_nothing_else() {
    for (work_millis, ends) in [
        (3_000, "CheckpointApplied { tenure: 1"),
        (15_000, "was lost: stop processing, this checkpoint was not"),
    ] {
        let slow = WorkerPlan { work_millis, ..WORKER };
        let acts = vec![
            (1_000, Act::Start { worker: 1 }),
            (30_000, put(10)),
            (32_000, Act::Freeze { worker: 0, millis: 20_000 }),
            (35_000, put(10)),
        ];
        let outcome = run(&plan(2, vec![slow, WORKER], acts));
        assert!(outcome.violations.is_empty(), "{:#?}\n{}", outcome.violations, outcome.history());
        assert_eq!(outcome.reached.0.get("lease lost"), Some(&1), "{}", outcome.history());
        assert_eq!(
            outcome.reached.0.get("lease taken from another owner"),
            Some(&1),
            "{}",
            outcome.history()
        );
        assert!(outcome.history().contains(ends), "{ends}: {}", outcome.history());
    }
}

/// Somebody deletes the row of a shard while it is read to its end, and later the row of one of its children. The shard is
/// behind its other child and does not end a second time, so that nothing but the comparison with the stream brings the
/// child back.
#[test]
fn a_child_whose_row_and_whose_parents_row_were_deleted_by_hand_is_read() {
    check(
        1,
        1,
        vec![
            (500, put(14)),
            (8_070, Act::Split),
            (13_500, Act::DeleteRow { nth: 1 }),
            (13_700, Act::Split),
            (59_706, Act::DeleteRow { nth: 2 }),
            (75_000, put(32)),
        ],
    );
}

/// A worker that is told to stop frees what it had asked for, and the answer is lost. Until it tries again, its next process has
/// started under the same name and taken the lease: that one is not its to free.
#[test]
fn a_claim_that_was_given_up_is_not_taken_from_the_next_process_of_the_same_name() {
    let worker = WorkerPlan { clock_ppm: -10_000, max_records: 7, at_shutdown: false, ..WORKER };
    let other = WorkerPlan { policy: Policy::MidBatch, ..WORKER };
    let acts = vec![
        (11_836, Act::Split),
        (15_681, Act::Table { worker: 0, fault: TableFault::SlowAnswer(964), times: 3 }),
        (17_335, Act::Freeze { worker: 0, millis: 30_000 }),
        (18_794, Act::Start { worker: 1 }),
        (32_273, Act::Table { worker: 0, fault: TableFault::Slow(3_441), times: 3 }),
        (50_260, Act::Table { worker: 0, fault: TableFault::HangAfter, times: 3 }),
        (51_222, Act::CrashAtWrite { worker: 1, nth: 4, after: false }),
        (66_049, Act::Stop { worker: 0 }),
        (67_275, Act::Start { worker: 0 }),
        (68_559, put(7)),
    ];
    let plan = Plan { seed: 17_529, ..plan(1, vec![worker, other], acts) };
    let outcome = run(&plan);
    assert!(outcome.violations.is_empty(), "{:#?}\n{}", outcome.violations, outcome.history());
}

/// The creation of a row of the past lands late, so the shards after it are read again, under rows made anew. One of those comes to
/// the counter and the owner that it had before, between two looks of a third worker: that has not stood still.
#[test]
fn a_row_made_anew_at_the_same_counter_is_not_taken_for_the_old_one() {
    let fan_out = WorkerPlan { retrieval: RetrievalMode::FanOut, ..WORKER };
    let first = WorkerPlan { clock_ppm: 10_000, max_records: 1, forgets_end: true, ..fan_out };
    let second = WorkerPlan { policy: Policy::Never, at_shutdown: false, clock_ppm: 0, ..first };
    let third = WorkerPlan { clock_ppm: 10_000, policy: Policy::Never, ..fan_out };
    let reshards = [
        (1_463, Act::Merge),
        (3_923, Act::Split),
        (4_021, Act::Merge),
        (5_577, Act::Split),
        (6_577, Act::Split),
        (6_696, Act::Split),
        (7_129, Act::Merge),
        (8_097, Act::Split),
        (8_470, Act::Split),
        (10_416, Act::Split),
        (10_547, Act::Split),
        (12_612, Act::Split),
        (16_386, Act::Split),
        (16_825, Act::Merge),
        (16_896, Act::Merge),
        (16_921, Act::Split),
        (19_946, Act::Merge),
        (20_113, Act::Merge),
        (21_374, Act::Split),
        (21_789, Act::Merge),
        (21_817, Act::Split),
        (23_901, Act::Merge),
        (24_583, Act::Split),
        (25_866, Act::Merge),
        (26_329, Act::Merge),
    ];
    let mut acts = vec![
        (5_056, Act::Table { worker: 0, fault: TableFault::HangAfter, times: 3 }),
        (12_968, Act::Start { worker: 1 }),
        (20_514, Act::Table { worker: 1, fault: TableFault::Late(12_556), times: 3 }),
        (22_244, Act::Start { worker: 2 }),
    ];
    acts.extend(reshards);
    acts.sort_by_key(|(at, _)| *at);
    let plan = Plan { seed: 23_991, ..plan(2, vec![first, second, third], acts) };
    let outcome = run(&plan);
    assert!(outcome.violations.is_empty(), "{:#?}\n{}", outcome.violations, outcome.history());
}

/// Nobody reads for longer than the stream keeps its records. What grew too old is told, though nothing comes after it, by
/// polling and by fan-out, to a worker that was dead and to one that stood still.
#[test]
fn what_was_trimmed_while_nobody_read_is_told_also_if_nothing_is_left() {
    for retrieval in [RetrievalMode::Polling, RetrievalMode::FanOut] {
        for frozen in [false, true] {
            let acts = vec![(1_000, put(20)), (40_000, Act::Night { frozen, hours: vec![25] })];
            let outcome = run(&plan(1, vec![WorkerPlan { retrieval, ..WORKER }], acts));
            assert!(outcome.violations.is_empty(), "{:#?}\n{}", outcome.violations, outcome.history());
            let told = outcome.reached.0.get("record trimmed unread, and told");
            assert_eq!(told, Some(&5), "{}", outcome.history());
        }
    }
}
