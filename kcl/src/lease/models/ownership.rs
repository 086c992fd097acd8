//! One lease and a few workers: who believes to own it, and what is written to its row.
//!
//! Stepped as shipped: [`Tenure`](crate::lease::tenure), [`assign`](crate::lease::assign), [`rules`](crate::lease::rules),
//! [`Positions`](crate::checkpoint::Positions). The loops around them (`held`, `keeper/jobs`) are here as free choice:
//! a worker that may write again may also not, may renew at any moment, and gives any call up at any moment.
//!
//! A request that nobody waits for any more stays in the network and lands later or never; what can never apply again
//! is forgotten. A crash forgets a worker and leaves its requests. Clocks run at the two extremes allowed.
//!
//! Stamps on rows are of two clocks each, the writer's and the reader's, and their ages never stop to count. So worlds with
//! stamps are searched for a few ticks; those without, for ever.

use stateright::{Model, Property};

use super::{breaks, full, holds};

// What there is, and what the next step makes of it.
mod world;

// What each step does.
mod steps;

// Requests and answers.
mod network;

// What stands on rows of their writers' clocks.
mod stamps;

// The same with one rule that is laxer.
mod variants;

use world::{Action, Rule, State, World};

/// How large the world is.
#[derive(Debug, Clone)]
pub(super) struct Bounds {
    /// Seconds that pass on each worker's clock in a tick; the extremes are 2 and 4.
    pub(super) clocks: &'static [u64],
    /// No write is sent that would raise the counter above it.
    pub(super) counter: u64,
    pub(super) crashes: u8,
    pub(super) records: u64,
    /// Requests that are delivered twice.
    pub(super) doubles: u8,
    /// How often a lease is given up by itself.
    pub(super) releases: u8,
    /// How often a worker asks the owner for the lease.
    pub(super) asks: u8,
    /// Requests under way that nobody waits for.
    pub(super) late: usize,
    /// Whether requests fail and are given up at all.
    pub(super) losses: bool,
    /// How often a worker stops that waits for a lease which it asked for.
    pub(super) stops: u8,
    /// Who leaves stamps of its clock on the rows that it writes; nobody, if there is no bound to time.
    pub(super) stamps: &'static [bool],
    /// How often time passes. Ages of stamps have no end beyond which nothing changes, so with them this is bounded.
    pub(super) ticks: Option<u8>,
}

const BASE: Bounds = Bounds {
    clocks: &[2, 4],
    counter: 3,
    crashes: 0,
    records: 1,
    doubles: 0,
    releases: 0,
    asks: 0,
    late: 1,
    losses: true,
    stops: 0,
    stamps: &[false; 3],
    ticks: None,
};

/// Rows that carry stamps.
const STAMPED: Bounds =
    Bounds { stamps: &[true, true], ticks: Some(4), counter: 4, records: 0, late: 0, ..BASE };

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.first()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.choices(state, actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        self.step(&mut next, action);
        self.tidy(&mut next);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties: Vec<Property<Self>> = vec![
            Property::always("L1: every write is conditional", |_, state: &State| {
                !state.broke(Rule::Conditional)
            }),
            Property::always("L2: the counter grows by one", |_, state: &State| {
                !state.broke(Rule::CounterByOne)
            }),
            Property::always("L3: who believes owns", |world: &Self, state: &State| {
                world.believers_own(state)
            }),
            Property::always("L4: belief counts from the send", |world: &Self, state: &State| {
                world.belief_is_earned(state)
            }),
            Property::always("L5: no time is adopted", |_, state: &State| !state.broke(Rule::TimeAdopted)),
            Property::always("L6: expiry is observed", |_, state: &State| !state.broke(Rule::Unobserved)),
            Property::always("L7: one believer", |world: &Self, state: &State| {
                world.believers(state).count() <= 1
            }),
            Property::always("L8: no call without belief", |_, state: &State| {
                !state.broke(Rule::CallWithoutBelief)
            }),
            Property::always("C3: only what was handed over", |_, state: &State| {
                !state.broke(Rule::NotHandedOver)
            }),
            Property::always("C4: never back", |_, state: &State| !state.broke(Rule::Backwards)),
            Property::always("C5: only the owner checkpoints", |_, state: &State| {
                !state.broke(Rule::NotTheOwner)
            }),
            Property::sometimes("moved", |world: &Self, state: &State| world.moved(state)),
            Property::sometimes("adopted", |_, state: &State| Self::adopted(state)),
        ];
        if self.bounds.records > 0 && self.bounds.counter > 2 {
            properties
                .push(Property::sometimes("resumed", |world: &Self, state: &State| world.resumed(state)));
        }
        if self.bounds.asks > 0 {
            properties
                .push(Property::sometimes("asked for", |world: &Self, state: &State| world.asked_for(state)));
        }
        if self.bounds.stops > 0 {
            properties.push(Property::sometimes("taken back", |_, state: &State| state.taken_back));
        }
        // Of a faster clock's stamps a slower one learns nothing in so short a time.
        if !self.bounds.stamps.contains(&false) {
            properties.push(Property::sometimes("taken by its stamp", |_, state: &State| state.by_stamp));
        }
        properties
    }
}

/// For every test run.
fn small() -> Vec<(&'static str, Bounds)> {
    let quick = Bounds { counter: 2, records: 0, late: 0, ..BASE };
    vec![
        ("lease, a record", Bounds { records: 1, ..quick.clone() }),
        ("lease, late requests and a crash", Bounds { crashes: 1, late: 1, ..quick.clone() }),
        ("lease, asked for and taken back", Bounds { asks: 1, stops: 1, losses: false, ..quick }),
        ("lease, stamps on its row", Bounds { counter: 3, losses: false, ..STAMPED }),
    ]
}

/// For `MODEL_BOUNDS=full`.
fn large() -> Vec<(&'static str, Bounds)> {
    let bare = Bounds { records: 0, ..BASE };
    vec![
        ("lease, asked for, nothing lost", Bounds { asks: 1, losses: false, late: 0, ..bare.clone() }),
        ("lease, two records and a crash", Bounds { records: 2, crashes: 1, ..BASE }),
        ("lease, a record, a crash and a doubled request", Bounds { crashes: 1, doubles: 1, ..BASE }),
        ("lease, a record and one write more", Bounds { counter: 4, ..BASE }),
        ("lease, three workers", Bounds { clocks: &[2, 4, 4], counter: 2, late: 0, ..bare.clone() }),
        ("lease, given back", Bounds { releases: 1, ..bare.clone() }),
        ("lease, asked for, taken back and lost", Bounds { asks: 1, stops: 1, counter: 2, late: 1, ..bare }),
        ("lease, stamps on its row", Bounds { crashes: 1, losses: false, ..STAMPED }),
        ("lease, stamps on its row, and losses", Bounds { counter: 3, ..STAMPED }),
        (
            "lease, stamps of one worker",
            Bounds { stamps: &[false, true], releases: 1, losses: false, ..STAMPED },
        ),
    ]
}

#[test]
fn no_interleaving_breaks_a_rule_of_ownership() {
    for (name, bounds) in if full() { large() } else { small() } {
        holds(name, World::new(bounds, None));
    }
}
