//! Small worlds, searched to the last state: every order of puts, flushes, answers, losses, late requests, reshards and
//! the close, within the stated bounds, with the shipped intake, pipeline and outstanding count as the steps.
//!
//! None of those can be copied: whoever holds a record owes its answer. So a state is the list of steps that led to it,
//! carried out anew for each further step, and two lists are one state when what they led to looks the same: where each
//! record is, how often it was sent, what is stored and answered, and how long from now the next thing is due.
//!
//! Each laxer variant breaks the property named beside it. `MODEL_BOUNDS=full` searches the larger bounds;
//! `docs/verification.md` has the figures.

use std::collections::BTreeSet;

use kinesis_shard::Clock;
use stateright::{Checker, HasDiscoveries, Model, Path, Property};

// The producer, the service, and what is known of each record.
mod world;

// Answers, and judgement.
mod judging;

// The service's side: what is stored, and what it says.
mod service;

// What a state looks like.
mod view;

// The same with one rule that is laxer.
mod variants;

use variants::Variant;
use world::{Action, Rule};

/// How large the world is.
#[derive(Debug, Clone)]
pub(super) struct Bounds {
    pub(super) records: usize,
    /// Requests with one record that are answered otherwise than stored.
    pub(super) failures: usize,
    /// Requests that are answered as lost and stored later.
    pub(super) late: usize,
    pub(super) flushes: usize,
    /// Closing: flushed first, given up by its deadline, or dropped.
    pub(super) closes: usize,
    /// Times that the whole process stands still for a record's time to live.
    pub(super) stalls: usize,
    /// Splits of the first shard.
    pub(super) reshards: usize,
}

const BASE: Bounds =
    Bounds { records: 2, failures: 1, late: 0, flushes: 0, closes: 0, stalls: 0, reshards: 0 };

#[derive(Debug)]
struct Producer {
    bounds: Bounds,
    variant: Option<Variant>,
}

/// See the module.
#[derive(Debug, Clone)]
struct State {
    path: Vec<Action>,
    view: view::View,
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.view == other.view
    }
}

impl std::hash::Hash for State {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.view.hash(state);
    }
}

impl Producer {
    fn state(&self, path: Vec<Action>) -> State {
        let view = world::carry_out(&self.bounds, self.variant, &path);
        State { path, view }
    }
}

impl Model for Producer {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.state(Vec::new())]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend(state.view.choices.iter().copied());
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut path = state.path.clone();
        path.push(action);
        Some(self.state(path))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn kept(rule: Rule) -> fn(&Producer, &State) -> bool {
            match rule {
                Rule::Readable => |_, state| !state.view.broke(Rule::Readable),
                Rule::Resolves => |_, state| !state.view.broke(Rule::Resolves),
                Rule::Knows => |_, state| !state.view.broke(Rule::Knows),
                Rule::Copies => |_, state| !state.view.broke(Rule::Copies),
                Rule::InRange => |_, state| !state.view.broke(Rule::InRange),
                Rule::Limits => |_, state| !state.view.broke(Rule::Limits),
                Rule::Flushed => |_, state| !state.view.broke(Rule::Flushed),
                Rule::NotAgain => |_, state| !state.view.broke(Rule::NotAgain),
            }
        }
        let mut properties = vec![
            Property::always("P1: readable where the answer says", kept(Rule::Readable)),
            Property::always("P2: every record resolves", kept(Rule::Resolves)),
            Property::always("P3: a failure says what it knows", kept(Rule::Knows)),
            Property::always("P5: copies are accounted for", kept(Rule::Copies)),
            Property::always("P6: acknowledged in its shard's range", kept(Rule::InRange)),
            Property::always("P8: within the service's limits", kept(Rule::Limits)),
            Property::always("P9: a flush waits for its records and no others", kept(Rule::Flushed)),
            Property::always("P12: what is acknowledged is not sent again", kept(Rule::NotAgain)),
            Property::<Self>::sometimes("all delivered", |_, state: &State| state.view.all_delivered),
        ];
        if self.bounds.failures > 0 {
            properties.push(Property::sometimes("stored twice", |_, state: &State| state.view.stored_twice));
            properties.push(Property::sometimes("failed, and nowhere", |_, state: &State| {
                state.view.failed_for_certain
            }));
        }
        if self.bounds.closes > 0 {
            properties
                .push(Property::sometimes("closed, in doubt", |_, state: &State| state.view.failed_in_doubt));
        }
        properties
    }
}

/// Whether the larger bounds are asked for.
fn full() -> bool {
    std::env::var("MODEL_BOUNDS").is_ok_and(|bounds| bounds == "full")
}

/// Searches everything: no property may break, and each situation that is named must be reached.
fn holds(name: &str, bounds: Bounds) {
    let clock = Clock::default();
    let began = clock.now();
    let model = Producer { bounds, variant: None };
    let checker = model.checker().finish_when(HasDiscoveries::AnyFailures).spawn_dfs().join();
    let (states, seconds) = (checker.unique_state_count(), (clock.now() - began).as_secs_f64());
    println!("{name}: {states} states, {} deep, {seconds:.1} s", checker.max_depth());
    for property in checker.model().properties() {
        let path = checker.discovery(property.name);
        if property.expectation.discovery_is_failure() {
            let steps = path.map(Path::into_actions);
            assert!(steps.is_none(), "{name} breaks \"{}\": {steps:?}", property.name);
        } else {
            assert!(path.is_some(), "{name} never reached \"{}\"", property.name);
        }
    }
}

/// Searches for the shortest way in which a laxer model breaks the property. Not finding one is a failure.
fn breaks(variant: Variant, property: &'static str, bounds: Bounds) {
    let clock = Clock::default();
    let began = clock.now();
    let found = HasDiscoveries::AnyOf(BTreeSet::from([property]));
    let model = Producer { bounds, variant: Some(variant) };
    let checker = model.checker().finish_when(found).spawn_bfs().join();
    let (states, seconds) = (checker.unique_state_count(), (clock.now() - began).as_secs_f64());
    let path = checker.discovery(property).map(Path::into_actions);
    let steps =
        path.unwrap_or_else(|| panic!("{variant:?} does not break \"{property}\" in {states} states"));
    println!("{variant:?}: \"{property}\" broken in {} steps, {states} states, {seconds:.1} s", steps.len());
    println!("    {steps:?}");
}

#[test]
fn no_order_of_events_breaks_a_promise_of_the_producer() {
    let worlds = if full() { large() } else { small() };
    for (name, bounds) in worlds {
        holds(name, bounds);
    }
}

/// For every test run.
fn small() -> Vec<(&'static str, Bounds)> {
    vec![
        ("producer, a flush", Bounds { records: 3, flushes: 1, ..BASE }),
        ("producer, a late request and the close", Bounds { late: 1, closes: 1, ..BASE }),
        ("producer, a stall", Bounds { stalls: 1, ..BASE }),
        ("producer, a split", Bounds { reshards: 1, ..BASE }),
    ]
}

/// For `MODEL_BOUNDS=full`.
fn large() -> Vec<(&'static str, Bounds)> {
    let three = Bounds { records: 3, ..BASE };
    vec![
        ("producer, two failures", Bounds { failures: 2, ..three.clone() }),
        ("producer, a flush and the close", Bounds { flushes: 1, closes: 1, ..three.clone() }),
        ("producer, a late request and the close", Bounds { late: 1, closes: 1, ..three.clone() }),
        ("producer, a stall", Bounds { stalls: 1, ..three.clone() }),
        ("producer, a split and the close", Bounds { reshards: 1, closes: 1, ..three }),
    ]
}
