//! What every part of a worker tells its news to: events, the board of shards, counters.

use std::sync::Arc;

use crate::board::Board;
use crate::event::Events;
use crate::stats::Stats;

/// Cheap to clone; clones tell the same worker's news. The default tells nobody.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reports {
    pub(crate) events: Events,
    pub(crate) board: Arc<Board>,
    pub(crate) stats: Arc<Stats>,
}
