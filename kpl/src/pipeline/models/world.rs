//! The producer as it is shipped, without the task that drives it and the calls: those are the steps.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kinesis_shard::{Clock, HashKey};

use super::Bounds;
use super::service::{Outcome, Sent, Service, Trouble};
use super::variants::Variant;
use super::view::View;
use crate::batch::Ticket;
use crate::config::Ordering;
use crate::intake::{Collected, Intake};
use crate::outstanding::{Outstanding, Room};
use crate::pipeline::aggregator::AggregationBounds;
use crate::pipeline::reducer::Bounds as Collection;
use crate::pipeline::summary::StreamSummary;
use crate::pipeline::{Pipeline, PutRecordsRequest, Rate, Settings, Step};
use crate::user_record::UserRecord;

const TTL: Duration = Duration::from_secs(1);
/// Later than any pause, so that nothing but a report is due then.
pub(super) const FAR: Duration = Duration::from_secs(5);
const ENTRIES: usize = 2;
const ATTEMPTS: usize = 3;

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Action {
    /// The next user record is accepted.
    Put,
    /// A put is given up while it holds room, before it was accepted.
    CancelPut,
    Flush,
    /// Nothing more is accepted, and everything is flushed.
    Close,
    /// The close's deadline, or a drop: all that is left is answered.
    Terminate,
    /// Time passes until the next thing is due.
    Wait,
    /// The process stands still for a time to live.
    Stall,
    /// What becomes of the request at this place in line.
    Answer(usize, Outcome),
    /// A request that was given up is stored after all.
    StoreLate(usize),
    Reshard,
    MapArrives,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    Readable,
    Resolves,
    Knows,
    Copies,
    InRange,
    Limits,
    Flushed,
    NotAgain,
}

/// A request that was not answered yet.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) id: u64,
    pub(super) entries: Vec<Sent>,
}

#[expect(clippy::struct_excessive_bools, reason = "each is something of its own that may have happened")]
#[derive(Debug)]
pub(super) struct Live {
    pub(super) bounds: Bounds,
    pub(super) variant: Option<Variant>,
    clock: Clock,
    intake: Intake,
    pub(super) outstanding: Arc<Outstanding>,
    pub(super) pipeline: Pipeline,
    pub(super) service: Service,
    pub(super) tickets: Vec<Ticket>,
    pub(super) put_at: Vec<Instant>,
    pub(super) flights: Vec<Flight>,
    pub(super) late: Vec<Vec<Sent>>,
    /// Epoch, and how many records it is to wait for.
    pub(super) flushes: Vec<(u64, usize)>,
    pub(super) asked: bool,
    pub(super) wake: Option<Instant>,
    pub(super) closed: bool,
    pub(super) terminated: bool,
    stalling: bool,
    pub(super) failures: usize,
    pub(super) lates: usize,
    pub(super) stalls: usize,
    pub(super) closes: usize,
    pub(super) flushed: usize,
    /// Copies of each record that are accounted for beside the acknowledged one.
    pub(super) allowed: Vec<usize>,
    pub(super) acknowledged: Vec<bool>,
    pub(super) broken: u16,
}

/// What these steps lead to.
pub(super) fn carry_out(bounds: &Bounds, variant: Option<Variant>, path: &[Action]) -> View {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without I/O needs nothing");
    }
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let mut live = Live::new(bounds.clone(), variant);
            for action in path {
                live.step(*action).await;
            }
            View::of(&live)
        })
    })
}

/// Keys of the lower half's two quarters, then of the upper half.
pub(super) fn key(record: usize) -> String {
    let quarter = [0, 1, 2, 3][record];
    let lies_there = |key: &String| HashKey::of_partition_key(key).get() >> 126 == quarter;
    (0..1_000)
        .map(|number: u32| format!("k{number}"))
        .find(lies_there)
        .expect("there is one among the first few")
}

impl Live {
    fn new(bounds: Bounds, variant: Option<Variant>) -> Self {
        let takes_any = variant == Some(Variant::TakesAnyShard);
        let max_count = if variant == Some(Variant::OverfillsRequests) { 2 * ENTRIES } else { ENTRIES };
        let settings = Settings {
            stream: "orders".into(),
            ttl: TTL,
            max_in_flight: 2,
            fail_if_throttled: false,
            rate: Rate { records_per_second: 1_000_000, bytes_per_second: 1 << 40, shared_by: 1 },
            collection: Collection { max_count, max_bytes: 5_242_880, linger: Duration::from_millis(20) },
            ordering: Ordering::Relaxed,
            aggregation_on_auto: takes_any,
            fleet_size: 1,
            sampled: false,
            seeds: [1, 2, 3],
        };
        let linger = Duration::from_millis(80);
        let collected = Collection { max_count: 2, max_bytes: 50_000, linger };
        let aggregation = AggregationBounds { enabled: true, collected };
        let (clock, outstanding) = (Clock::default(), Arc::new(Outstanding::new(Room::new(1 << 20))));
        let intake = Intake::new(aggregation, clock.clone(), Arc::clone(&outstanding), 1);
        let mut live = Self {
            variant,
            intake,
            outstanding,
            pipeline: Pipeline::new(settings),
            service: Service::new(),
            tickets: Vec::new(),
            put_at: Vec::new(),
            flights: Vec::new(),
            late: Vec::new(),
            flushes: Vec::new(),
            asked: false,
            wake: None,
            closed: false,
            terminated: false,
            stalling: false,
            failures: 0,
            lates: 0,
            stalls: 0,
            closes: 0,
            flushed: 0,
            allowed: vec![0; bounds.records],
            acknowledged: vec![false; bounds.records],
            broken: 0,
            clock,
            bounds,
        };
        if takes_any {
            let now = live.now();
            live.pipeline.described(now, StreamSummary { max_record_bytes: 1 << 20, auto: true });
        }
        live.map_arrives();
        live
    }

    pub(super) fn now(&self) -> Instant {
        self.clock.now()
    }

    pub(super) fn is(&self, variant: Variant) -> bool {
        self.variant == Some(variant)
    }

    pub(super) fn judge(&mut self, kept: bool, rule: Rule) {
        if !kept {
            self.broken |= 1 << rule as u16;
        }
    }

    /// What can come next.
    pub(super) fn choices(&self) -> Vec<Action> {
        let mut choices: Vec<Action> = (0..self.late.len()).map(Action::StoreLate).collect();
        if self.terminated {
            return choices;
        }
        for (place, flight) in self.flights.iter().enumerate() {
            choices.extend(self.outcomes(flight).into_iter().map(|outcome| Action::Answer(place, outcome)));
        }
        let mut may = |possible: bool, action: Action| {
            if possible {
                choices.push(action);
            }
        };
        let more = !self.closed && self.tickets.len() < self.bounds.records;
        may(more, Action::Put);
        may(more && self.bounds.closes > 0, Action::CancelPut);
        may(!self.closed && self.flushed < self.bounds.flushes, Action::Flush);
        may(!self.closed && self.closes < self.bounds.closes, Action::Close);
        may(self.closed || self.closes < self.bounds.closes, Action::Terminate);
        may(self.stalls < self.bounds.stalls, Action::Stall);
        may(self.bounds.reshards > 0 && !self.service.split, Action::Reshard);
        may(self.asked, Action::MapArrives);
        may(self.wake.is_some_and(|at| at < self.now() + FAR), Action::Wait);
        choices
    }

    fn outcomes(&self, flight: &Flight) -> Vec<Outcome> {
        let mut outcomes = vec![Outcome::Stored];
        let last = |record: &crate::pipeline::KinesisRecord| record.attempts.len() + 1 >= ATTEMPTS;
        let records = self.pipeline.in_flight.get(&flight.id).map(|flight| &flight.records);
        if self.failures >= self.bounds.failures {
            return outcomes;
        }
        outcomes.push(Outcome::Denied);
        if records.is_some_and(|records| records.iter().any(last)) {
            return outcomes;
        }
        for trouble in [Trouble::Throttled, Trouble::Before, Trouble::After] {
            outcomes.push(Outcome::None(trouble));
            if flight.entries.len() > 1 {
                outcomes.extend((0..flight.entries.len()).map(|entry| Outcome::Partly(entry, trouble)));
            }
        }
        outcomes.extend([Outcome::TryAgain, Outcome::Lost, Outcome::AnswerLost, Outcome::Short]);
        if self.lates < self.bounds.late {
            outcomes.push(Outcome::Late);
        }
        outcomes
    }

    async fn step(&mut self, action: Action) {
        match action {
            Action::Put => self.put(),
            Action::CancelPut => {
                drop(self.outstanding.try_acquire(100, None));
            }
            Action::Flush => {
                self.flushed += 1;
                self.flush();
            }
            Action::Close => {
                (self.closes, self.closed) = (self.closes + 1, true);
                self.intake.shut();
                self.flush();
            }
            Action::Terminate => self.terminate(),
            Action::Wait => {
                let time = self.wake.map(|at| at.saturating_duration_since(self.now()));
                tokio::time::advance(time.unwrap_or_default()).await;
            }
            Action::Stall => {
                (self.stalls, self.stalling) = (self.stalls + 1, true);
                tokio::time::advance(TTL).await;
            }
            Action::Answer(place, outcome) => self.answer(place, outcome),
            Action::StoreLate(place) => {
                for entry in self.late.remove(place) {
                    self.service.store(&entry);
                }
            }
            Action::Reshard => self.service.reshard(),
            Action::MapArrives => self.map_arrives(),
        }
        if !self.terminated {
            self.turn();
        }
        self.stalling = false;
        self.look();
    }

    fn put(&mut self) {
        let number = self.tickets.len();
        let data = vec![u8::try_from(number).expect("a handful of records")];
        let record = UserRecord::new(key(number), data);
        let room =
            self.outstanding.try_acquire(record.outstanding_bytes(), None).expect("there is room for all");
        let ticket = self.intake.submit(&record).expect("it is open and knows the shards");
        room.spend();
        self.tickets.push(ticket);
        self.put_at.push(self.now());
    }

    fn flush(&mut self) {
        let epoch = self.intake.flush();
        self.flushes.push((epoch, self.tickets.len()));
    }

    /// As `Shared::terminate`.
    fn terminate(&mut self) {
        (self.closed, self.terminated) = (true, true);
        self.intake.shut();
        let unseen = self.intake.uncollected();
        let (settlements, _) = self.pipeline.close(self.now(), unseen);
        for settlement in settlements {
            settlement.settle();
        }
        self.flights.clear();
    }

    fn map_arrives(&mut self) {
        let (now, map) = (self.now(), Arc::clone(&self.service.map));
        self.asked = false;
        self.pipeline.shard_map(now, &map);
        self.intake.reroute(&map);
    }

    /// As `driver::drive` and `driver::advance`.
    fn turn(&mut self) {
        while self.advance() {}
    }

    /// Whether more is due already.
    fn advance(&mut self) -> bool {
        let (now, mut sealed) = (self.now(), Vec::new());
        let Collected { more, flush, wants_map, next_deadline } = self.intake.collect(now, &mut sealed);
        for record in sealed {
            self.pipeline.sealed(now, record);
        }
        if let Some(epoch) = flush {
            self.pipeline.flush(now, epoch);
        }
        if wants_map {
            self.pipeline.want_map(now);
        }
        loop {
            match self.pipeline.next(now) {
                Step::Send(request) => self.send(&request),
                Step::Settle(settlement) if self.stalling && self.is(Variant::LosesAnswers) => {
                    std::mem::forget(settlement);
                }
                Step::Settle(settlement) => settlement.settle(),
                Step::ListShards => self.asked = true,
                Step::Describe => {
                    let auto = self.is(Variant::TakesAnyShard);
                    self.pipeline.described(now, StreamSummary { max_record_bytes: 1 << 20, auto });
                }
                Step::Report(_) => {}
                Step::WaitUntil(at) => {
                    self.wake = Some(next_deadline.map_or(at, |deadline| deadline.min(at)));
                    return more;
                }
                Step::Idle => {
                    self.wake = next_deadline;
                    return more;
                }
            }
        }
    }

    fn send(&mut self, request: &PutRecordsRequest) {
        let entries: Vec<Sent> = request.entries.iter().map(Sent::of).collect();
        let again = entries.iter().flat_map(|entry| &entry.members).any(|record| self.acknowledged[*record]);
        self.judge(!again, Rule::NotAgain);
        self.judge((1..=ENTRIES).contains(&entries.len()), Rule::Limits);
        self.flights.push(Flight { id: request.id, entries });
    }
}
