//! The quiet after the trouble, the end of everybody, and the verdict.

use std::collections::BTreeSet;
use std::time::Duration;

use kcl::lease::LeaseKey;

use super::super::engine::engine;
use super::super::{judge, retention};
use super::{FAILOVER, Outcome, Stage, named};
use crate::common::history::Violation;

/// How much longer than the trouble the quiet may last until everything is delivered. A lease whose owner is gone may
/// take the failover time and two scans to find a new one, once per generation of shards and failed attempt.
const PATIENCE: Duration = Duration::from_mins(20);

/// How long everything has to stay as it is before it counts as settled: what is handed over arrives meanwhile.
const HAND_OVERS: Duration = Duration::from_secs(25);

impl Stage<'_> {
    /// No more trouble: what was begun has to come to its end.
    pub(super) async fn quiet(&mut self) {
        self.world.note("quiet");
        for (rule, what) in self.rules.drain(..).filter(|(rule, _)| rule.hits() > 0) {
            self.reached.note(what);
            drop(rule);
        }
        for running in self.workers.iter().flatten() {
            running.process.table.heal();
            running.process.freezer.thawed().await;
        }
        if !self.plan.workers.is_empty() && self.workers.iter().all(Option::is_none) {
            self.start(0).await;
        }
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut settled_since = None;
        while tokio::time::Instant::now() < deadline {
            self.pass(Duration::from_millis(500)).await;
            while self.puts.try_join_next().is_some() {}
            if !self.is_settled() {
                settled_since = None;
            } else if self.plan.workers.is_empty()
                || settled_since.get_or_insert_with(tokio::time::Instant::now).elapsed() > HAND_OVERS
            {
                return;
            }
        }
    }

    fn is_settled(&mut self) -> bool {
        // Then all that is stored is looked through, so not at each turn.
        if self.late > 0 && self.world.now_millis() % 10_000 < 500 {
            self.rest_was_trimmed = retention::unread(&self.world).1.is_empty();
        }
        let answered = self.puts.is_empty() && self.open.count() == 0;
        let all_read = self.world.history.is_all_read() || self.rest_was_trimmed;
        answered && (self.plan.workers.is_empty() || all_read && self.is_owned())
    }

    /// Whether each open shard has an owner.
    fn is_owned(&self) -> bool {
        let rows = named(&self.rows);
        let reaches = |shard: &kinesis_shard::Shard| {
            rows.get(&LeaseKey::from(&shard.id)).is_some_and(|row| row.owner.is_some())
        };
        self.world.shards().iter().filter(|shard| shard.is_open()).all(reaches)
    }

    async fn close_all(&mut self, settled: bool) -> Vec<Violation> {
        let mut violations = Vec::new();
        for (_, producer) in self.producers.iter_mut().filter_map(Option::take) {
            let report = producer.close(Duration::from_secs(30)).await;
            let stats = producer.stats();
            if stats.outstanding_bytes + stats.outstanding_records != 0 {
                violations.push(judge::violation("P11", format!("closed, and still held: {stats:?}")));
            }
            let late = kpl::UserRecord::new("late", vec![0; 16]);
            if producer.try_put(late).is_ok() {
                violations.push(judge::violation("P15", "closed, and still takes records".to_owned()));
            }
            if !report.is_complete() && settled {
                violations.push(judge::violation("P15", format!("at the end {report}")));
            }
        }
        violations
    }

    /// Which situations the run was in.
    fn observe(&mut self) {
        let world = &self.world;
        self.reached.observe(&world.history);
        if let Some(tables) = &self.double {
            self.reached.observe_double(&tables.trace());
        }
        for trimmed in retention::unread(world).0 {
            self.reached.note(trimmed.situation());
        }
        if world.streams.len() > 1 {
            self.reached.note("application read two streams");
        }
        if judge::has_copies(world) {
            self.reached.note("record stored more than once");
        }
    }

    pub(super) async fn end(mut self) -> Outcome {
        self.rest_was_trimmed = self.late > 0 && retention::unread(&self.world).1.is_empty();
        let settled = self.is_settled();
        let mut violations = Vec::new();
        if !settled {
            let (read, open) = (!self.plan.workers.is_empty(), self.open.count());
            let rows = named(&self.rows);
            violations.extend(judge::unsettled(&self.world, &rows, &mut self.puts, open, read));
        }
        if !self.plan.workers.is_empty() {
            violations.extend(judge::handovers(&self.world));
        }
        violations.extend(self.close_all(settled).await);
        let mut stopped = BTreeSet::new();
        for (index, running) in self.workers.iter_mut().enumerate() {
            if let Some(running) = running.take() {
                // A write of it that is still on its way may land when it is gone.
                if running.alone && running.process.table.is_healthy() {
                    stopped.insert(running.process.name);
                }
                let grace = Duration::from_secs(30);
                let stopped = tokio::time::timeout(grace * 2, running.consumer.shutdown(grace)).await;
                if stopped.is_err() {
                    violations
                        .push(judge::violation("H4", format!("worker-{index} did not stop in {grace:?}")));
                }
            }
        }
        self.puts.abort_all();
        let world = &self.world;
        violations.extend(world.violations());
        let rows = named(&self.rows);
        violations.extend(judge::leases(world, &rows, FAILOVER));
        violations.extend(judge::last_words(world));
        violations.extend(self.open.broken());
        if settled {
            violations.extend(judge::given_back(world, &rows, &stopped));
        }
        if self.plan.makes_no_copies() {
            violations.extend(judge::copies(world));
        }
        if self.plan.refuses_nothing() {
            violations.extend(judge::refusals(world));
        }
        let trace = world.sim.trace();
        violations.extend(judge::requests(&trace));
        violations.extend(engine(world, &trace));
        self.observe();
        let world = &self.world;
        Outcome {
            violations,
            reached: self.reached,
            log: world.history.clone(),
            trace,
            events: world.history.read(<[_]>::len),
            virtual_millis: world.now_millis(),
        }
    }
}
