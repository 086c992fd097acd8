//! The lease store in DynamoDB: against a double in this process, and against servers that speak DynamoDB.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, helpers included"
)]

mod double;
mod server;
mod worker;
