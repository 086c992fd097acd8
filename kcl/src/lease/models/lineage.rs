//! A stream that is resharded while it is read: which leases are there, and which records are handed over before which.
//!
//! Stepped as shipped: [`sync`](crate::lease::sync) for creation and deletion, [`rules`](crate::lease::rules) for each row,
//! [`ShardConsumer`](crate::shard_consumer) for the order of a shard's steps, `fetch::confirmation` for its end. Who owns
//! a lease is the other model's affair: here each has at most one reader at a time, who may be lost at any moment.
//!
//! Each shard holds one record. A listing may show the shards as they were before the last reshard, or torn: parents
//! closed without their children, or children beside parents that are still open. A creation whose worker died lands
//! later or never. Two workers compare shards and leases, each from a table and a listing that may be old when it acts.

use stateright::{Model, Property};

use super::{breaks, full, holds};

// What there is, and what may happen.
mod stream;

// What may come next.
mod choices;

// What each step makes of it.
mod steps;

// The same with one rule that is laxer.
mod variants;

use stream::{Action, Rule, State, Stream};

/// How large the world is.
#[derive(Debug, Clone)]
pub(super) struct Bounds {
    /// Which reshards happen; see `stream`.
    pub(super) reshards: u8,
    /// How many comparisons are begun by themselves, in all.
    pub(super) syncs: u8,
    /// Readers that are lost.
    pub(super) crashes: u8,
    /// Creations that are under way when their worker dies.
    pub(super) late: u8,
    /// Shards that leave the stream by age.
    pub(super) trims: u8,
    /// Whether listings lag.
    pub(super) lags: bool,
}

const BASE: Bounds = Bounds { reshards: 0b011, syncs: 1, crashes: 0, late: 0, trims: 0, lags: false };

impl Model for Stream {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![Self::first()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.choices(state, actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        self.step(&mut next, action);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties: Vec<Property<Self>> = vec![
            Property::always("C8: parents first", |_, state: &State| !state.broke(Rule::ParentsFirst)),
            Property::always("C8: children from their first record", |_, state: &State| {
                !state.broke(Rule::FirstRecord)
            }),
            Property::always("C9: an end is earned", |_, state: &State| !state.broke(Rule::EarnedEnd)),
            Property::always("C10: no hole", |stream: &Self, state: &State| stream.has_no_hole(state)),
            Property::always("C11: rows go last", |_, state: &State| !state.broke(Rule::RowsLast)),
            Property::always("C4: never back", |_, state: &State| !state.broke(Rule::Backwards)),
            Property::sometimes("all read", |stream: &Self, state: &State| stream.all_read(state)),
        ];
        if self.bounds.syncs > 0 {
            properties.push(Property::sometimes("a row deleted", |_, state: &State| state.a_row_is_gone()));
        }
        properties
    }
}

/// For every test run.
fn small() -> Vec<(&'static str, Bounds)> {
    vec![
        ("lineage, a split and a comparison", Bounds { reshards: 0b001, lags: true, ..BASE }),
        ("lineage, a split and a merge", Bounds { syncs: 0, ..BASE }),
    ]
}

/// For `MODEL_BOUNDS=full`.
fn large() -> Vec<(&'static str, Bounds)> {
    let split = Bounds { reshards: 0b001, ..BASE };
    let read = Bounds { syncs: 0, ..BASE };
    vec![
        ("lineage, a split and a comparison", Bounds { lags: true, ..split.clone() }),
        ("lineage, a split, a comparison and a shard that ages out", Bounds { trims: 1, ..split.clone() }),
        ("lineage, a loss and a late creation", Bounds { syncs: 0, crashes: 1, late: 1, ..split.clone() }),
        ("lineage, a split, a merge and listings that lag", Bounds { lags: true, ..read.clone() }),
        ("lineage, two comparisons at once", Bounds { syncs: 2, ..split }),
        ("lineage, a split, a merge and a comparison", BASE),
        ("lineage, seven shards in three generations", Bounds { reshards: 0b111, ..read }),
    ]
}

#[test]
fn no_interleaving_breaks_a_rule_of_lineage() {
    for (name, bounds) in if full() { large() } else { small() } {
        holds(name, Stream::new(bounds, None));
    }
}
