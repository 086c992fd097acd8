//! One producer alone, and each remote call of its life failing once, in each way in which it can.

use crate::common::{SECOND, STREAM, all_delivered, answers, check, config, put_all, settled, sim, start};
use kinesis_sim::{EntryError, Rule, RuleGuard, Sim, Verdict};

const FAULTS: [Verdict; 6] = [
    Verdict::Throttle,
    Verdict::Fail,
    Verdict::LoseRequest,
    Verdict::LoseAnswer,
    Verdict::FailEntries { probability: 0.5, error: EntryError::Internal },
    Verdict::FailEntries { probability: 1.0, error: EntryError::Throttled },
];

/// Lets the producer's calls pass up to this one, and strikes it.
fn strike(sim: &Sim, failing: Option<(u64, Verdict)>) -> [RuleGuard; 2] {
    let of_producer = || Rule::any().caller("producer");
    let (passing, verdict, times) = match failing {
        None => (of_producer(), Verdict::Pass, 0),
        Some((call, verdict)) => (of_producer().times(call), verdict, 1),
    };
    [sim.rule(passing.then(Verdict::Pass)), sim.rule(of_producer().times(times).then(verdict))]
}

/// Start, put, put across a split, close. How many calls that took.
async fn life(failing: Option<(u64, Verdict)>) -> u64 {
    let sim = sim(3, 2);
    let [passed, struck] = strike(&sim, failing);
    let producer = start(&sim, config());
    let mut tickets = put_all(&producer, 0..100).await;
    producer.flush().await;
    sim.split_shard(STREAM, "shardId-000000000000");
    tickets.extend(put_all(&producer, 100..300).await);
    producer.flush().await;
    tickets.extend(put_all(&producer, 300..400).await);
    let report = producer.close(30 * SECOND).await;
    assert!(report.is_complete(), "{failing:?}: {report:?}");
    let answers = answers(tickets).await;
    all_delivered(&answers);
    let (acknowledged, copies) = check(&sim, &answers);
    assert_eq!(acknowledged, 400, "{failing:?}");
    // Only what was taken by the service and not answered may be there twice.
    if !matches!(failing, Some((_, Verdict::LoseAnswer))) {
        assert_eq!(copies, 0, "{failing:?}");
    }
    settled(&producer);
    passed.hits() + struck.hits()
}

#[tokio::test(start_paused = true)]
async fn each_remote_call_failing_once_in_any_way_loses_nothing() {
    let calls = life(None).await;
    assert!(calls >= 6, "{calls} calls");
    for call in 0..calls {
        for verdict in FAULTS {
            life(Some((call, verdict))).await;
        }
    }
}
