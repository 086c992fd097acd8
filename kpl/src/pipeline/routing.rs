//! Which shard's queue a record joins, and what happens when the shards change.

use std::sync::Arc;
use std::time::Instant;

use kinesis_shard::ShardMap;

use crate::config::Ordering;
use crate::error::{PutErrorReason, WaitedIn};
use crate::pipeline::kinesis_record::KinesisRecord;
use crate::pipeline::summary::StreamSummary;
use crate::pipeline::{Parked, Pipeline, Why, division};

impl Pipeline {
    /// Somebody needs a shard map.
    pub(crate) fn want_map(&mut self, now: Instant) {
        self.watch.want(now);
        self.summary.want_first(now);
    }

    /// The shards were listed. Everything that is not in flight follows the new map from here on.
    pub(crate) fn shard_map(&mut self, now: Instant, map: &Arc<ShardMap>) {
        let news = self.map.as_ref().is_none_or(|known| known.open() != map.open());
        self.watch.arrived(now, news);
        self.map_question = self.watch.asked();
        self.map_error = None;
        if news {
            tracing::debug!(stream = %self.settings.stream, open_shards = map.open_count(), "new shard map");
            self.previous = self.map.replace(Arc::clone(map));
            self.counters.keep_shards_of([self.map.as_deref(), self.previous.as_deref()]);
            let mut records = self.limiter.reshape(now, map.open());
            records.extend(self.collector.take());
            for record in records {
                self.route(now, record);
            }
        } else {
            // A surprise that no new map explains: perhaps the stream no longer goes by keys.
            self.summary.want(now);
        }
        for Parked { question, why, record } in std::mem::take(&mut self.parked).into_values() {
            if kinesis_shard::planted("who waits for a map is forgotten when it comes") {
                std::mem::forget(record);
            } else if question <= self.map_question {
                self.unpark(now, why, record);
            } else {
                self.park(now, question, why, record);
            }
        }
    }

    /// The question about the shards was one of too many. Said before [`no_shard_map`](Self::no_shard_map).
    pub(crate) fn shard_map_throttled(&mut self) {
        self.watch.throttled();
    }

    /// The shards could not be listed. Asked again after a pause, unless it is hopeless and no record depends on it.
    pub(crate) fn no_shard_map(&mut self, now: Instant, hopeless: bool, message: &Arc<str>) {
        self.map_error = Some(Arc::clone(message));
        self.watch.failed(now);
        if hopeless && self.parked.is_empty() {
            self.watch.forget();
        }
    }

    /// Somebody needs to know the stream's limit.
    pub(crate) fn want_summary(&mut self, now: Instant) {
        self.summary.want(now);
    }

    /// The stream was described. True if it now goes by keys and did not before, or the other way round.
    pub(crate) fn described(&mut self, now: Instant, summary: StreamSummary) -> bool {
        let changed = self.summary.answered(now, summary);
        if changed {
            tracing::info!(stream = %self.settings.stream, auto = summary.auto, "the stream's record distribution changed");
            let mut records = self.limiter.drain();
            records.extend(self.collector.take());
            for record in records {
                self.route(now, record);
            }
        }
        changed
    }

    /// The stream could not be described. True if that is given up for now.
    pub(crate) fn not_described(&mut self, now: Instant, hopeless: bool) -> bool {
        self.summary.failed(now, hopeless)
    }

    /// Whether the service ignores keys, as far as is known.
    pub(super) fn auto(&self) -> bool {
        self.summary.auto()
    }

    /// To the lane of its shard, in pieces if it fits none.
    pub(super) fn route(&mut self, now: Instant, mut record: KinesisRecord) {
        self.unhold(now, &mut record);
        let Some(map) = self.map.clone() else {
            let question = self.watch.want(now);
            return self.park(now, question, Why::Unrouted, record);
        };
        if self.auto() && self.settings.ordering == Ordering::PerShard {
            // Accepted before it was known. Rather handed back than stored in any order.
            return self.fail(now, record, PutErrorReason::OrderImpossible);
        }
        if self.auto() {
            return self.route_anywhere(now, map.open_count(), record);
        }
        if !record.is_aggregate() || record.fits(map.shard_of(record.route).hash_key_range) {
            return self.limiter.push(now, map.open_index_of(record.route), record);
        }
        for piece in division::divide(record, &map) {
            self.limiter.push(now, map.open_index_of(piece.route), piece);
        }
    }

    /// The service ignores keys: lanes take turns, so that what is sent in all is what the shards take in all. An aggregate could land
    /// outside of its members' shard, so there are none unless readers are said to take them.
    fn route_anywhere(&mut self, now: Instant, lanes: usize, record: KinesisRecord) {
        let pieces =
            if self.settings.aggregation_on_auto { vec![record] } else { division::separate(record) };
        for piece in pieces {
            self.turn = (self.turn + 1) % lanes;
            self.limiter.push(now, self.turn, piece);
        }
    }

    pub(super) fn park(&mut self, now: Instant, question: u64, why: Why, mut record: KinesisRecord) {
        record.moved(now, WaitedIn::ShardMap);
        let place = (record.expires(self.settings.ttl), self.unique());
        self.parked.insert(place, Parked { question, why, record });
    }

    /// In ordered mode: its range is free again.
    pub(super) fn unhold(&mut self, now: Instant, record: &mut KinesisRecord) {
        if let Some(range) = record.held.take() {
            self.limiter.release(now, range);
        }
    }
}
