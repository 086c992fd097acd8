//! Small worlds, searched to the last state: every interleaving of what workers, network and store may do within the
//! stated bounds, with the shipped pure functions as the steps.
//!
//! Time does not run: `now` is one instant, and a tick makes everything else older, up to an age beyond which nothing
//! changes any more. So two moments that differ only in the date are one state.
//!
//! Each model has its laxer variants, one rule broken at a time, and a test shows that each breaks the property named
//! beside it. `MODEL_BOUNDS=full` searches the larger bounds; `docs/verification.md` has the figures.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::hash::Hash;

use kinesis_shard::Clock;
use stateright::{Checker, HasDiscoveries, Model, Path};

// One lease: who believes to own it.
mod ownership;

// A stream that is resharded: which leases there are, and what is read before what.
mod lineage;

/// Whether the larger bounds are asked for.
fn full() -> bool {
    std::env::var("MODEL_BOUNDS").is_ok_and(|bounds| bounds == "full")
}

/// Searches everything: no property may break, and each situation that is named must be reached.
fn holds<M>(name: &str, model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Debug + Hash + Clone + PartialEq + Send + Sync,
    M::Action: Debug + Clone + PartialEq,
{
    let clock = Clock::default();
    let began = clock.now();
    let checker = model.checker().finish_when(HasDiscoveries::AnyFailures).spawn_dfs().join();
    let properties = checker.model().properties();
    let states = checker.unique_state_count();
    let seconds = (clock.now() - began).as_secs_f64();
    println!("{name}: {states} states, {} deep, {seconds:.1} s", checker.max_depth());
    for property in properties {
        let path = checker.discovery(property.name);
        if property.expectation.discovery_is_failure() {
            let steps = path.map(Path::into_actions);
            assert!(steps.is_none(), "{name} breaks \"{}\": {steps:#?}", property.name);
        } else {
            assert!(path.is_some(), "{name} never reached \"{}\"", property.name);
        }
    }
}

/// Searches for the shortest way in which a laxer model breaks the property. Not finding one is a failure.
fn breaks<M>(name: &str, model: M, property: &'static str)
where
    M: Model + Send + Sync + 'static,
    M::State: Debug + Hash + Clone + PartialEq + Send + Sync,
    M::Action: Debug + Clone + PartialEq,
{
    let clock = Clock::default();
    let began = clock.now();
    let found = HasDiscoveries::AnyOf(BTreeSet::from([property]));
    let checker = model.checker().finish_when(found).spawn_bfs().join();
    let (states, seconds) = (checker.unique_state_count(), (clock.now() - began).as_secs_f64());
    let path = checker.discovery(property).map(Path::into_actions);
    let steps = path.unwrap_or_else(|| panic!("{name} does not break \"{property}\" in {states} states"));
    println!("{name}: \"{property}\" broken in {} steps, {states} states, {seconds:.1} s", steps.len());
    println!("    {steps:?}");
}
