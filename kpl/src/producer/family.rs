//! Several streams by one producer, within one memory bound.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures::future::join_all;

use crate::config::ProducerConfig;
use crate::error::ConfigError;
use crate::outstanding::Room;
use crate::producer::{CloseReport, Handle, Producer};
use crate::transport::Transport;

type Connect = dyn Fn(&ProducerConfig) -> Arc<dyn Transport> + Send + Sync;
type Members = BTreeMap<Arc<str>, Weak<Handle>>;

/// What the producers of several streams share.
pub(super) struct Family {
    connect: Box<Connect>,
    room: Room,
    /// By stream. Each lives as long as its handles.
    members: Mutex<Members>,
}

impl Family {
    pub(super) fn start(
        connect: impl Fn(&ProducerConfig) -> Arc<dyn Transport> + Send + Sync + 'static,
        config: ProducerConfig,
    ) -> Result<Producer, ConfigError> {
        config.validate()?;
        let room = Room::new(config.max_outstanding_bytes);
        let family = Arc::new(Self { connect: Box::new(connect), room, members: Mutex::default() });
        let mut members = family.members();
        Self::add(&family, &mut members, config)
    }

    fn add(
        family: &Arc<Self>,
        members: &mut Members,
        config: ProducerConfig,
    ) -> Result<Producer, ConfigError> {
        let stream = Arc::clone(&config.stream);
        let transport = (family.connect)(&config);
        let producer = Producer::start_in(Arc::clone(family), transport, family.room.clone(), config)?;
        members.retain(|_, member| member.strong_count() > 0);
        members.insert(stream, Arc::downgrade(&producer.handle));
        Ok(producer)
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Family {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Family").field("room", &self.room).finish_non_exhaustive()
    }
}

/// A member that is in use.
fn living(members: &Members, stream: &str) -> Option<Producer> {
    let handle = members.get(stream)?.upgrade()?;
    (!handle.shared.stopped.load(Ordering::SeqCst)).then_some(Producer { handle })
}

/// Several streams by one producer.
impl Producer {
    /// The same producer for another stream, by name or ARN: with the same client and configuration, and within the same
    /// `max_outstanding_bytes`. Everything else is its own: shards, limits, requests in flight, order, stats, flush and close.
    ///
    /// Asked for again while a handle for it lives, it is the same one. It ends with its last handle, not with this one.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn stream(&self, stream: impl Into<Arc<str>>) -> Result<Self, ConfigError> {
        let config = ProducerConfig { stream: stream.into(), ..self.config().clone() };
        let family = &self.handle.family;
        let mut members = family.members();
        if let Some(member) = living(&members, &config.stream) {
            return Ok(member);
        }
        config.validate()?;
        Family::add(family, &mut members, config)
    }

    /// The same with a configuration of its own, but for `max_outstanding_bytes`, which is shared and stays that of the first stream.
    ///
    /// # Errors
    /// As [`start`](Self::start); [`ConfigError::Contradiction`] if a handle for that stream lives.
    pub fn stream_with(&self, config: ProducerConfig) -> Result<Self, ConfigError> {
        let family = &self.handle.family;
        let config = ProducerConfig { max_outstanding_bytes: family.room.capacity(), ..config };
        config.validate()?;
        let mut members = family.members();
        if living(&members, &config.stream).is_some() {
            return Err(ConfigError::Contradiction(
                "the stream is in use by this producer with another configuration: use that handle, or drop it first",
            ));
        }
        Family::add(family, &mut members, config)
    }

    /// A handle for each stream in use, by name.
    pub fn streams(&self) -> Vec<Self> {
        let members = self.handle.family.members();
        members.keys().filter_map(|stream| living(&members, stream)).collect()
    }

    /// [`flush`](Self::flush) on every stream in use. Cancel safe: what was begun goes on.
    pub async fn flush_all(&self) {
        let streams = self.streams();
        join_all(streams.iter().map(Self::flush)).await;
    }

    /// [`close`](Self::close) on every stream in use, at the same time. The report is the sum of theirs. Dropped before it returns,
    /// the streams stay closed to new records, as with `close`.
    pub async fn close_all(&self, deadline: Duration) -> CloseReport {
        let streams = self.streams();
        let reports = join_all(streams.iter().map(|stream| stream.close(deadline))).await;
        reports.into_iter().fold(CloseReport { delivered: 0, failed: 0, left: 0 }, |sum, report| {
            CloseReport {
                delivered: sum.delivered + report.delivered,
                failed: sum.failed + report.failed,
                left: sum.left + report.left,
            }
        })
    }
}
