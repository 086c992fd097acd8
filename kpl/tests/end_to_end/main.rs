//! The whole producer, through the real SDK client, on the simulated engine and virtual time.

/// A simulated stream, unique records, and the oracle.
mod common;

/// Records arrive where their tickets say.
mod delivery;

/// Splits and merges on the way.
mod resharding;

/// Memory, and waiting for it.
mod bounds;

/// Flush, close, drop.
mod lifecycle;
