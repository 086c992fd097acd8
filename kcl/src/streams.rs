//! The streams of one application: which ones are wanted, and keeping what is read the same as that.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::bell::Bell;
use crate::config::InitialPosition;

// Begins and ends the reading of streams.
mod follower;

// Whether a stream is still the one that it was: pure.
mod watch;

pub(crate) use follower::{Follower, Listings, Readable};
pub(crate) use watch::{Gone, StreamWatch};

/// The streams that an application of several reads. Clones are the same set, which may change while workers run.
///
/// Give every worker of the application the same streams: a stream is read by those workers only that have it in their
/// set. A stream that is removed is left at its checkpoints: its processors get `shutdown_requested`, its leases are given
/// back and stay in the table, and it goes on from there when it is added again.
///
/// Lease keys have the Java library's form, `<account>:<stream>:<creation epoch>:<shard id>`; so a stream that was deleted
/// and made again is another one, and begins anew: from its first record if this worker read the earlier one, whatever the
/// initial position, as the application was there all the time.
///
/// ```
/// use kcl::{ConsumerConfig, InitialPosition, StreamSet};
///
/// let streams = StreamSet::new(["orders", "payments"]);
/// let config = ConsumerConfig::multi_stream("billing", streams.clone(), "worker-a");
/// // Later, while workers run:
/// streams.add_from("refunds", InitialPosition::Latest);
/// streams.remove("payments");
/// assert_eq!(streams.names().iter().map(|name| &**name).collect::<Vec<_>>(), ["orders", "refunds"]);
/// # let _ = config;
/// ```
#[derive(Debug, Clone, Default)]
pub struct StreamSet {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    wanted: Mutex<Wanted>,
    changed: Bell,
}

/// Names or ARNs, with a position of their own if they have one.
pub(crate) type Wanted = BTreeMap<Arc<str>, Option<InitialPosition>>;

impl StreamSet {
    /// A set of these streams, names or ARNs.
    pub fn new<S: Into<Arc<str>>>(streams: impl IntoIterator<Item = S>) -> Self {
        let set = Self::default();
        set.wanted_mut().extend(streams.into_iter().map(|stream| (stream.into(), None)));
        set
    }

    /// Adds a stream that starts where the configuration says. Whether it was not in the set.
    pub fn add(&self, stream: impl Into<Arc<str>>) -> bool {
        self.insert(stream.into(), None)
    }

    /// Adds a stream that starts at a position of its own, or gives it one. Whether it was not in the set.
    ///
    /// A stream that is being read already keeps its position: it is for shards without a checkpoint.
    pub fn add_from(&self, stream: impl Into<Arc<str>>, position: InitialPosition) -> bool {
        self.insert(stream.into(), Some(position))
    }

    /// Removes a stream. Whether it was in the set.
    pub fn remove(&self, stream: &str) -> bool {
        let removed = self.wanted_mut().remove(stream).is_some();
        self.shared.changed.ring();
        removed
    }

    /// The streams, in order.
    pub fn names(&self) -> Vec<Arc<str>> {
        self.wanted_mut().keys().cloned().collect()
    }

    fn insert(&self, stream: Arc<str>, position: Option<InitialPosition>) -> bool {
        let added = self.wanted_mut().insert(stream, position).is_none();
        self.shared.changed.ring();
        added
    }

    fn wanted_mut(&self) -> MutexGuard<'_, Wanted> {
        self.shared.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn wanted(&self) -> Wanted {
        self.wanted_mut().clone()
    }

    pub(crate) fn changed(&self) -> &Bell {
        &self.shared.changed
    }
}
