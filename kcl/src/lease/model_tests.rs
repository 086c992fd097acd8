//! Two workers and a bad network: random interleavings of the pure rules on clocks that run at different rates.
//!
//! Requests arrive late, twice, or never; answers are lost; workers crash, freeze and forget; each step is followed by the
//! invariants L1 to L3, L7 and C4 of the lease protocol. `each_laxer_rule_is_caught` shows that the model can fail.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kinesis_shard::Checkpoint;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::assign::{self, Bounds, Move, Observations, Situation, Why};
use super::rules::{self, Verdict};
use super::stamp::Stamper;
use super::tenure::{Answer, End, Next, Purpose, Tenure, Terms};
use super::test_support::{D, at, key, now, row, worker};
use super::{Lease, LeaseCounter, LeaseKey, Operation, Stamp, WorkerId};

const RHO_PPM: u32 = 50_000;

/// A request in the network.
#[derive(Clone)]
struct Request {
    id: u64,
    from: usize,
    operation: Operation,
    stamp: Option<Stamp>,
    /// When the caller gives up; true time.
    patience: u64,
    arrives: u64,
}

struct Waiting {
    id: u64,
    operation: Operation,
    sent_at: Instant,
    gives_up: u64,
    what: What,
}

#[derive(Clone)]
enum What {
    Take(LeaseCounter, Why),
    Write(Purpose),
    Other,
}

struct Worker {
    id: WorkerId,
    stamper: Stamper,
    rate: f64,
    tenure: Option<Tenure>,
    seen: Observations,
    left_behind: BTreeMap<LeaseKey, BTreeSet<LeaseCounter>>,
    asked: BTreeSet<LeaseKey>,
    waiting: Option<Waiting>,
    retry: Option<Purpose>,
    take_in_doubt: Option<LeaseCounter>,
    frozen_until: u64,
    position: u64,
}

struct World {
    rng: SmallRng,
    origin: Instant,
    millis: u64,
    row: Lease,
    network: Vec<Request>,
    answers: Vec<(u64, u64, usize, Answer)>,
    workers: Vec<Worker>,
    next_id: u64,
    reached: BTreeMap<&'static str, u64>,
    bug: Option<Bug>,
    /// How many of a hundred messages are lost, and how many of 10,000 steps freeze a worker.
    loss: u64,
    freezes: u64,
}

/// A rule that is laxer than the protocol's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    /// A write in doubt that landed gives its time as well.
    AdoptsTheTime,
    /// A write in doubt counts as done.
    DoubtIsSuccess,
    /// Belief counts from the response.
    CountsFromTheResponse,
    /// Belief lasts as long as others wait.
    NoMarginForClocks,
    /// A lease that somebody asked for is believed in as long as it is renewed.
    AskedBelievesOn,
    /// What stamps say is taken as if all clocks ran alike.
    StampsAreExact,
}

impl World {
    fn new(seed: u64, bug: Option<Bug>) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let rho = f64::from(RHO_PPM) / 1e6;
        let (loss, freezes) = ([2, 10, 30][rng.random_range(0..3)], [0, 10, 50][rng.random_range(0..3)]);
        let origin = now();
        let unseen =
            Observations::with_clock_error(if bug == Some(Bug::StampsAreExact) { 0 } else { RHO_PPM });
        let workers = ["ann", "bob"].map(|name| Worker {
            id: worker(name),
            stamper: Stamper::new(&worker(name), 1, &[], origin),
            rate: [1.0 - rho, 1.0, 1.0 + rho][rng.random_range(0..3)],
            tenure: None,
            seen: unseen.clone(),
            left_behind: BTreeMap::new(),
            asked: BTreeSet::new(),
            waiting: None,
            retry: None,
            take_in_doubt: None,
            frozen_until: 0,
            position: 0,
        });
        Self {
            rng,
            origin,
            millis: 0,
            row: row(1, "", 0),
            network: Vec::new(),
            answers: Vec::new(),
            workers: workers.into(),
            next_id: 0,
            reached: BTreeMap::new(),
            bug,
            loss,
            freezes,
        }
    }

    fn local(&self, index: usize) -> Instant {
        self.origin + Duration::from_millis(self.millis).mul_f64(self.workers[index].rate)
    }

    fn unseen(&self) -> Observations {
        Observations::with_clock_error(if self.bug == Some(Bug::StampsAreExact) { 0 } else { RHO_PPM })
    }

    fn terms(&self) -> Terms {
        let clock_error_ppm = if self.bug == Some(Bug::NoMarginForClocks) { 0 } else { RHO_PPM };
        Terms { failover_time: D, renewal_interval: D / 4, clock_error_ppm }
    }

    fn reach(&mut self, what: &'static str) {
        *self.reached.entry(what).or_default() += 1;
    }

    fn send(&mut self, from: usize, operation: Operation, what: What) {
        let (id, sent_at) = (self.next_id, self.local(from));
        self.next_id += 1;
        let delay = match self.rng.random_range(0..100) {
            draw if draw < self.loss => u64::MAX / 2,
            draw if draw < 2 * self.loss => self.rng.random_range(2_000..30_000),
            _ => self.rng.random_range(1..500),
        };
        let gives_up = self.millis + 2_000;
        let request = Request {
            id,
            from,
            operation: operation.clone(),
            stamp: self.workers[from].stamper.stamp(&operation, sent_at),
            patience: gives_up,
            arrives: self.millis + delay,
        };
        if self.rng.random_range(0..20) == 0 {
            let arrives = request.arrives.saturating_add(self.rng.random_range(1..20_000));
            self.network.push(Request { arrives, ..request.clone() });
        }
        self.network.push(request);
        self.workers[from].waiting = Some(Waiting { id, operation, sent_at, gives_up, what });
    }

    fn deliver(&mut self) -> Result<(), String> {
        let due: Vec<_> = self.network.extract_if(.., |request| request.arrives <= self.millis).collect();
        for request in due {
            let answer = match rules::apply(Some(&self.row), &request.operation) {
                Verdict::Becomes(after) => {
                    let after = rules::stamped(after, request.stamp.as_ref());
                    self.judge_write(&request, &after)?;
                    self.row = after.clone();
                    Answer::Applied(after)
                }
                Verdict::Refused => Answer::Refused(Some(self.row.clone())),
                Verdict::Deleted => unreachable!("nothing is deleted here"),
            };
            let back = match self.rng.random_range(0..100) {
                draw if draw < self.loss => continue,
                draw if draw < 2 * self.loss => self.rng.random_range(500..2_000),
                _ => self.rng.random_range(0..300),
            };
            if self.millis + back <= request.patience {
                self.answers.push((self.millis + back, request.id, request.from, answer));
            }
        }
        Ok(())
    }

    /// L1, L2, C5: owners raise the counter by one, and only the owner checkpoints.
    fn judge_write(&self, request: &Request, after: &Lease) -> Result<(), String> {
        let marks =
            matches!(request.operation, Operation::StartHandoff { .. } | Operation::EndHandoff { .. });
        let next = if marks { self.row.counter } else { self.row.counter.next() };
        assert_eq!(after.counter, next, "L2");
        assert!(
            after.checkpoint >= self.row.checkpoint,
            "C4: {:?} after {:?}",
            after.checkpoint,
            self.row.checkpoint
        );
        let writes = matches!(request.operation, Operation::Checkpoint { .. } | Operation::Renew { .. });
        if writes && self.row.actual_owner() != Some(&self.workers[request.from].id) {
            return Err(format!("C5 at {} ms: the row says {:?}", self.millis, self.row));
        }
        Ok(())
    }

    fn hear(&mut self) {
        let due: Vec<_> = self.answers.extract_if(.., |(at, ..)| *at <= self.millis).collect();
        for (_, id, to, answer) in due {
            if self.workers[to].waiting.as_ref().is_some_and(|waiting| waiting.id == id) && self.awake(to) {
                let waiting = self.workers[to].waiting.take().unwrap();
                self.answered(to, waiting, answer);
            }
        }
        for index in 0..self.workers.len() {
            let over = |waiting: &Waiting| waiting.gives_up <= self.millis;
            if self.workers[index].waiting.as_ref().is_some_and(over) && self.awake(index) {
                let waiting = self.workers[index].waiting.take().unwrap();
                self.answered(index, waiting, Answer::InDoubt);
            }
        }
    }

    fn awake(&self, index: usize) -> bool {
        self.workers[index].frozen_until <= self.millis
    }

    fn answered(&mut self, index: usize, waiting: Waiting, answer: Answer) {
        let local = self.local(index);
        let sent_at = if self.bug == Some(Bug::CountsFromTheResponse) { local } else { waiting.sent_at };
        let answer = match answer {
            Answer::InDoubt if self.bug == Some(Bug::DoubtIsSuccess) => {
                let known = self.workers[index].tenure.as_ref().map(|tenure| tenure.row().clone());
                match known.map(|row| rules::apply(Some(&row), &waiting.operation)) {
                    Some(Verdict::Becomes(row)) => Answer::Applied(row),
                    _ => answer,
                }
            }
            _ => answer,
        };
        match waiting.what {
            What::Take(counter, why) => self.took(index, counter, why, sent_at, answer),
            What::Write(purpose) => {
                let Some(mut tenure) = self.workers[index].tenure.take() else { return };
                let next = tenure.answered(&waiting.operation, sent_at, answer);
                if self.bug == Some(Bug::AskedBelievesOn) {
                    tenure.forget_deadline();
                }
                match next {
                    Next::Done if tenure.needs_confirming() => {
                        self.reach("checkpoint in doubt had landed");
                        self.workers[index].retry = Some(Purpose::Renew);
                    }
                    Next::Done => {}
                    Next::Again => {
                        self.reach("write in doubt had landed");
                        if self.bug == Some(Bug::AdoptsTheTime) {
                            let row = tenure.row().clone();
                            tenure = Tenure::taken(self.workers[index].id.clone(), self.terms(), row, local);
                        }
                        self.workers[index].retry = Some(purpose);
                    }
                    Next::Retry => self.workers[index].retry = Some(purpose),
                    Next::Over => {
                        self.reach("fenced");
                        return;
                    }
                }
                self.workers[index].tenure = Some(tenure);
            }
            What::Other => {}
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one step of the model, with everything it saw")]
    fn took(&mut self, index: usize, counter: LeaseCounter, why: Why, sent_at: Instant, answer: Answer) {
        let id = self.workers[index].id.clone();
        let in_doubt = self.workers[index].take_in_doubt == Some(counter);
        self.workers[index].take_in_doubt = None;
        match answer {
            Answer::Applied(row) => {
                self.reach("taken");
                self.workers[index].asked.clear();
                self.workers[index].tenure = Some(if why.must_be_confirmed() {
                    self.reach("own row taken again");
                    Tenure::unconfirmed(id, self.terms(), row, sent_at)
                } else {
                    Tenure::taken(id, self.terms(), row, sent_at)
                });
            }
            Answer::Refused(Some(row))
                if in_doubt && row.owner == Some(id.clone()) && row.counter == counter.next() =>
            {
                self.reach("take in doubt adopted");
                self.workers[index].tenure = Some(Tenure::unconfirmed(id, self.terms(), row, sent_at));
            }
            Answer::InDoubt => {
                self.workers[index].take_in_doubt = Some(counter);
                self.workers[index].left_behind.insert(key(1), BTreeSet::from([counter, counter.next()]));
                self.send(index, Operation::Take { expected: counter, worker: id }, What::Take(counter, why));
            }
            Answer::Refused(_) | Answer::Failed => {}
        }
    }

    fn act(&mut self, index: usize) {
        let local = self.local(index);
        if !self.awake(index) {
            return;
        }
        match self.rng.random_range(0..10_000) {
            draw if draw < 5 => {
                // A crash: all is forgotten, what was sent is on its way.
                self.reach("crashed");
                self.start_again(index);
                return;
            }
            draw if draw < 200 && self.gives_up_claim(index) => return,
            draw if draw < 5 + self.freezes => {
                self.reach("frozen");
                self.workers[index].frozen_until = self.millis + self.rng.random_range(1_000..25_000);
                return;
            }
            _ => {}
        }
        if self.workers[index].waiting.is_some() {
            return;
        }
        if let Some(mut tenure) = self.workers[index].tenure.take() {
            let was_asked = tenure.asked_by().is_some();
            if tenure.expire(local) {
                self.reach(if was_asked { "expired when asked" } else { "expired" });
                assert_eq!(tenure.end(), Some(&End::Expired));
                self.workers[index].left_behind.insert(key(1), tenure.left_behind().collect());
                self.workers[index].retry = None;
                return;
            }
            if tenure.asked_by().is_some() && self.rng.random_range(0..60) == 0 && tenure.give_up() {
                // The processor is done: belief ends, then the row is given away.
                self.reach("handed over");
                self.workers[index].retry = None;
                let row = tenure.row();
                let release = Operation::Release { expected: row.owners(), counter: row.counter };
                self.send(index, release, What::Other);
                return;
            }
            let checkpoint = tenure.is_valid(local) && self.rng.random_range(0..20) == 0;
            let purpose = self.workers[index].retry.take().or_else(|| {
                if checkpoint {
                    self.workers[index].position += 1;
                    let floor = tenure.row().checkpoint;
                    let next = at(self.millis);
                    return Some(Purpose::Checkpoint(next.max(floor)));
                }
                (tenure.renew_at() <= local).then_some(Purpose::Renew)
            });
            let operation = purpose.map(|purpose| (tenure.write(&purpose, local), purpose));
            self.workers[index].tenure = Some(tenure);
            if let Some((Ok(operation), purpose)) = operation {
                self.send(index, operation, What::Write(purpose));
            }
            return;
        }
        self.workers[index].retry = None;
        if self.rng.random_range(0..10) == 0 {
            self.scan(index, local);
        }
    }

    /// The next process of this name, some time later.
    fn start_again(&mut self, index: usize) {
        let (rate, id) = (self.workers[index].rate, self.workers[index].id.clone());
        // Another process, though it was given the same seed; its clock begins now.
        let stamper = Stamper::new(&id, 1, std::slice::from_ref(&self.row), self.local(index));
        self.workers[index] = Worker {
            id,
            stamper,
            rate,
            tenure: None,
            seen: self.unseen(),
            left_behind: BTreeMap::from([(key(1), BTreeSet::from([self.row.counter]))]),
            asked: BTreeSet::new(),
            waiting: None,
            retry: None,
            take_in_doubt: None,
            frozen_until: self.millis + self.rng.random_range(0..15_000),
            position: 0,
        };
    }

    /// A worker that waits for what it asked for stops: it takes the mark back, or frees what was handed over already.
    fn gives_up_claim(&mut self, index: usize) -> bool {
        let worker = &self.workers[index];
        let waits = worker.tenure.is_none() && worker.waiting.is_none() && worker.take_in_doubt.is_none();
        if !waits || worker.asked.is_empty() || self.row.owner.as_ref() != Some(&worker.id) {
            return false;
        }
        let (expected, counter) = (self.row.owners(), self.row.counter);
        let operation = if let Some(owner) = self.row.checkpoint_owner.clone() {
            self.reach("mark taken back");
            Operation::EndHandoff { expected, owner }
        } else {
            self.reach("handed over and freed");
            Operation::Release { expected, counter }
        };
        self.send(index, operation, What::Other);
        self.start_again(index);
        true
    }

    fn scan(&mut self, index: usize, local: Instant) {
        let rows = [self.row.clone()];
        let worker = &mut self.workers[index];
        worker.seen.record(&rows, D, local);
        if rows[0].owner.as_ref() == Some(&worker.id) {
            if rows[0].checkpoint_owner.is_some() {
                worker.asked.insert(key(1));
            }
        } else {
            worker.asked.clear();
        }
        let held = BTreeSet::new();
        let situation = Situation {
            worker: &worker.id,
            held: &held,
            left_behind: &worker.left_behind,
            asked: &worker.asked,
            seen: &worker.seen,
            bounds: Bounds { failover_time: D, max_leases: 1, max_leases_to_steal: 1 },
            now: local,
        };
        let moves = assign::plan(&rows, &situation, &mut self.rng);
        match moves.into_iter().next() {
            Some(Move::Take { counter, why, .. }) => {
                if why == Why::Expired && self.workers[index].seen.stamp_was_earlier(&rows[0]) {
                    self.reach("expired by its stamp");
                }
                let operation = Operation::Take { expected: counter, worker: self.workers[index].id.clone() };
                self.send(index, operation, What::Take(counter, why));
            }
            Some(Move::Ask { from, .. }) => self.ask(index, from),
            // One lease is one worker's share: somebody asks for it from time to time, as if there were more.
            None if self.rng.random_range(0..40) == 0 => {
                let owner = self.row.owner.clone().filter(|owner| *owner != self.workers[index].id);
                if let Some(from) = owner {
                    self.ask(index, from);
                }
            }
            None => {}
        }
    }

    fn ask(&mut self, index: usize, from: WorkerId) {
        self.workers[index].asked.insert(key(1));
        let to = self.workers[index].id.clone();
        self.send(index, Operation::StartHandoff { from, to }, What::Other);
    }

    /// L3 and L7, at every instant.
    fn judge_belief(&self) -> Result<(), String> {
        let believers: Vec<_> = (0..self.workers.len())
            .filter(|index| {
                self.workers[*index].tenure.as_ref().is_some_and(|one| one.is_valid(self.local(*index)))
            })
            .collect();
        for index in &believers {
            let id = &self.workers[*index].id;
            if self.row.actual_owner() != Some(id) {
                return Err(format!("L3 at {} ms: {id} believes, the row says {:?}", self.millis, self.row));
            }
        }
        if believers.len() > 1 {
            return Err(format!("L7 at {} ms: two believers", self.millis));
        }
        Ok(())
    }

    fn run(&mut self, millis: u64) -> Result<(), String> {
        while self.millis < millis {
            self.millis += 50;
            self.deliver()?;
            self.judge_belief()?;
            self.hear();
            for index in 0..self.workers.len() {
                self.act(index);
            }
            self.judge_belief()?;
        }
        Ok(())
    }
}

const SEEDS: u64 = 400;
const RUN: u64 = 200_000;

#[test]
fn no_interleaving_gives_a_lease_two_believers() {
    let mut reached: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..SEEDS {
        let mut world = World::new(seed, None);
        if let Err(broken) = world.run(RUN) {
            panic!("seed {seed}: {broken}");
        }
        for (what, times) in world.reached {
            *reached.entry(what).or_default() += times;
        }
    }
    let wanted = [
        "taken",
        "take in doubt adopted",
        "write in doubt had landed",
        "checkpoint in doubt had landed",
        "handed over",
        "expired when asked",
        "fenced",
        "expired",
        "own row taken again",
        "crashed",
        "frozen",
        "mark taken back",
        "handed over and freed",
    ];
    for what in wanted {
        assert!(reached.get(what).is_some_and(|times| *times > 10), "{what} was hardly reached: {reached:?}");
    }
}

#[test]
fn each_laxer_rule_is_caught() {
    let bugs = [
        Bug::AdoptsTheTime,
        Bug::DoubtIsSuccess,
        Bug::CountsFromTheResponse,
        Bug::NoMarginForClocks,
        Bug::AskedBelievesOn,
        Bug::StampsAreExact,
    ];
    for bug in bugs {
        let caught = (0..3_000).find(|seed| World::new(*seed, Some(bug)).run(RUN).is_err());
        assert!(caught.is_some(), "{bug:?} went unnoticed");
    }
}

#[test]
fn the_lease_is_not_left_alone() {
    // Liveness in the small: over every run somebody gains the lease again and again.
    for seed in 0..20 {
        let mut world = World::new(seed, None);
        world.run(RUN).unwrap();
        let gained =
            ["taken", "take in doubt adopted"].iter().filter_map(|how| world.reached.get(how)).sum::<u64>();
        assert!(gained >= 2, "seed {seed}: {:?}", world.reached);
        assert!(world.row.checkpoint > Checkpoint::Latest, "seed {seed}: nobody got anywhere");
    }
}
