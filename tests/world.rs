//! Of the random runs themselves: the same plan runs the same way, byte for byte. The runs are in `soak.rs`.

mod common;
mod simulation;

use simulation::plan::{Distribution, Plan};
use simulation::run::run;

#[test]
fn the_same_plan_runs_the_same_way_twice() {
    for seed in 0..6 {
        for distribution in [Distribution::Balanced, Distribution::Swarm] {
            let plan = Plan::drawn(seed, distribution);
            assert_eq!(plan, Plan::drawn(seed, distribution), "seed {seed}");
            let (first, second) = (run(&plan), run(&plan));
            assert_eq!(first.trace, second.trace, "seed {seed}: the engine saw different calls");
            assert_eq!(first.history(), second.history(), "seed {seed}: different things happened");
            assert!(first.events > 20, "seed {seed}: nearly nothing happened");
        }
    }
}
