//! Random whole-system runs: a seed draws a plan, the plan is carried out on virtual time over the real SDK client, and
//! judges that know nothing of the implementation look at what happened. A plan that breaks a promise is shrunk.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each test file uses its own part of the simulation"
)]
#![allow(
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "test support: a panic is an answer, and the world spawns its actors"
)]

pub mod consumer;
pub mod dynamo;
pub mod engine;
pub mod judge;
pub mod network;
pub mod plan;
pub mod producers;
pub mod quiet;
pub mod reached;
pub mod retention;
pub mod run;
pub mod shrink;
pub mod stranger;
pub mod table;
