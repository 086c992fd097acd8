//! Leaves out of a plan what its violation does not need.

use super::plan::Plan;
use super::run::{Outcome, run};

/// The smallest plan found that breaks the same promise, within so many runs, and what it does.
pub fn shrink(plan: &Plan, broken: &str, runs: usize) -> (Plan, Outcome, usize) {
    let breaks = |plan: &Plan| {
        let outcome = run(plan);
        outcome.violations.iter().any(|violation| violation.invariant == broken).then_some(outcome)
    };
    let (mut best, mut outcome, mut used) = (plan.clone(), None, 0);
    // Large parts first, then single acts.
    let mut part = (best.acts.len() / 2).max(1);
    loop {
        let mut from = 0;
        let mut smaller = false;
        while from < best.acts.len() && used < runs {
            let mut candidate = best.clone();
            candidate.acts.drain(from..(from + part).min(best.acts.len()));
            used += 1;
            match breaks(&candidate) {
                Some(found) => {
                    (best, outcome, smaller) = (candidate, Some(found), true);
                }
                None => from += part,
            }
        }
        if used >= runs || (part == 1 && !smaller) {
            break;
        }
        part = (part / 2).max(1);
    }
    let outcome = outcome.unwrap_or_else(|| run(&best));
    (best, outcome, used)
}
