//! Whole workers on the simulated service, through the real SDK client, on virtual time.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which fail by panicking")]
#![expect(clippy::disallowed_methods, reason = "the paused clock of the test's own runtime")]

mod world;

mod delivery;
mod fan_out;
mod handover;
mod identity;
mod leases;
mod observing;
mod pausing;
mod processing;
mod resharding;
mod scanning;
mod streams;
