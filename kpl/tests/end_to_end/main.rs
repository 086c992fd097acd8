//! The whole producer, through the real SDK client, on the simulated engine and virtual time.

/// A simulated stream, unique records, and the oracle.
mod common;

/// Records arrive where their tickets say.
mod delivery;

/// Splits and merges on the way.
mod resharding;

/// What a producer does not do.
mod alone;

/// Each option has an effect.
mod options;

/// Each remote call failing once.
mod each_call;

/// Memory, and waiting for it.
mod bounds;

/// What the stream itself allows, and who decides where records go.
mod stream_facts;

/// Order per shard, when asked for.
mod ordering;

/// Stats, hooks, and what a stuck producer says.
mod observability;

/// Each promise that no other file has under its number.
mod promises;

/// Input, credentials, endpoints and answers that are bad: one typed error each.
mod bad_input;

/// An HTTP client that spoils answers on their way.
mod spoiling;

/// Futures dropped at every poll.
mod cancellation;

/// Records by the stream.
mod sink;

/// Fleets of producers.
mod fleet;

/// Several streams by one producer.
mod streams;

/// Flush, close, drop.
mod lifecycle;
mod overload;
