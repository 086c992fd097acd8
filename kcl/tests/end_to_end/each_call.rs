//! One worker alone, and each remote call of its life failing once, in each way in which it can.

use std::sync::Arc;
use std::time::Duration;

use kcl::lease::LeaseStore;
use kcl::{Checkpoint, DynamoDbLeaseStore, RetrievalMode, ShardId};
use kinesis_sim::{Rule, RuleGuard, SimDynamoDb, Verdict};

use crate::world::{Kind, STREAM, World, texts};

const GRACE: Duration = Duration::from_secs(30);

/// What can become of a call to either service.
const FAULTS: [Verdict; 4] = [Verdict::Throttle, Verdict::Fail, Verdict::LoseRequest, Verdict::LoseAnswer];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    Kinesis,
    LeaseTable,
}

/// The one call that fails: the so-manieth of the worker to this service.
#[derive(Debug, Clone, Copy)]
struct Failing {
    service: Service,
    call: u64,
    verdict: Verdict,
}

/// A worker's calls, numbered: the guards let those before the one in question pass, and strike it.
struct Calls {
    passed: RuleGuard,
    struck: Option<RuleGuard>,
}

impl Calls {
    fn count(rule: impl Fn(Rule) -> RuleGuard, failing: Option<(u64, Verdict)>) -> Self {
        let of_worker = || Rule::any().caller("a");
        match failing {
            None => Self { passed: rule(of_worker().then(Verdict::Pass)), struck: None },
            Some((call, verdict)) => Self {
                passed: rule(of_worker().times(call).then(Verdict::Pass)),
                struck: Some(rule(of_worker().times(1).then(verdict))),
            },
        }
    }
}

/// Start, read, follow a split, rest, stop. How many calls went to each service, and the trace of both.
async fn life(mode: RetrievalMode, failing: Option<Failing>) -> (u64, u64) {
    let case = format!("{mode:?} {failing:?}");
    let world = World::new(2);
    let tables = SimDynamoDb::new(3);
    let of = |service| {
        failing.filter(|failing| failing.service == service).map(|failing| (failing.call, failing.verdict))
    };
    let kinesis = Calls::count(|rule| world.sim.rule(rule), of(Service::Kinesis));
    let table = Calls::count(|rule| tables.rule(rule), of(Service::LeaseTable));
    world.put(texts(0, 10)).await;
    let store = Arc::new(DynamoDbLeaseStore::new(&tables.client_named("a"), "leases"));
    let config = World::config("a").with_retrieval_mode(mode);
    let worker = world.on_store(config, Arc::clone(&store) as Arc<dyn LeaseStore>).await;
    world.until_delivered(10).await;
    world.sim.split_shard(STREAM, ShardId::from_index(0));
    world.put(texts(10, 30)).await;
    world.until_delivered(30).await;
    world.until("the parent ended", |world| world.life(0).contains(&Kind::ShardEnded)).await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    let report = worker.shutdown(GRACE).await;

    world.check();
    assert_eq!(world.texts().len(), 30, "{case}: nothing twice");
    assert!(!world.events().iter().any(|event| event.kind == Kind::LeaseLost), "{case}: no lease lost");
    assert!(report.forced.is_empty(), "{case}: {report:?}");
    let struck = |calls: &Calls| calls.struck.as_ref().map_or(0, RuleGuard::hits);
    assert_eq!(struck(&kinesis) + struck(&table), u64::from(failing.is_some()), "{case}: it has struck");
    let counted = (kinesis.passed.hits(), table.passed.hits());
    drop((kinesis, table));
    let rows = store.list().await.unwrap();
    assert_eq!(rows.len(), 4, "{case}");
    for row in &rows {
        let finished = row.key.shard_id().index() == Some(0);
        assert_eq!(row.checkpoint == Checkpoint::ShardEnd, finished, "{case}: {row:?}");
        assert!(finished || row.owner.is_none(), "{case}: given back: {row:?}");
    }
    counted
}

#[tokio::test(start_paused = true)]
async fn each_remote_call_failing_once_in_any_way_loses_nothing_and_repeats_nothing() {
    for mode in [RetrievalMode::Polling, RetrievalMode::FanOut] {
        let (kinesis, table) = life(mode, None).await;
        assert!(kinesis >= 10 && table >= 25, "{mode:?}: {kinesis} and {table} calls");
        for (service, calls) in [(Service::Kinesis, kinesis), (Service::LeaseTable, table)] {
            for call in 0..calls {
                for verdict in FAULTS {
                    life(mode, Some(Failing { service, call, verdict })).await;
                }
            }
        }
    }
}
