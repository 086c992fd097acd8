//! Every way into the server, spoken to with raw bytes: protocols, encodings, refusals, the control endpoint, and
//! clients that behave badly.
#![cfg(feature = "server")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod cbor;
mod control;
mod crowd;
mod http;
mod program;
mod protocol;
mod robustness;
mod tls;
