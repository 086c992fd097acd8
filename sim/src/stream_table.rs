//! All streams, by account and region, then by name; and the changes of theirs that are due.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{Named, ServiceError};
use crate::stream::{Change, Pending, Status, Stream};

/// Where names are unique: an account in a region.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope {
    /// Twelve digits.
    pub account: Arc<str>,
    /// As in `us-east-1`.
    pub region: Arc<str>,
}

impl Default for Scope {
    /// Account 000000000000 in us-east-1.
    fn default() -> Self {
        crate::stream::default_scope()
    }
}

/// Which stream a request means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) scope: Scope,
    pub(crate) name: String,
}

impl Address {
    pub(crate) fn named(&self) -> Named<'_> {
        Named { stream: &self.name, account: &self.scope.account }
    }
}

#[derive(Debug, Default)]
pub(crate) struct StreamTable {
    scopes: BTreeMap<Scope, BTreeMap<String, Stream>>,
    /// When the next change takes effect, so that most calls need not look.
    next_due: Option<u64>,
}

impl StreamTable {
    pub(crate) fn get(&self, address: &Address) -> Result<&Stream, ServiceError> {
        self.scopes
            .get(&address.scope)
            .and_then(|streams| streams.get(&address.name))
            .ok_or_else(|| ServiceError::stream_not_found(address.named()))
    }

    pub(crate) fn get_mut(&mut self, address: &Address) -> Result<&mut Stream, ServiceError> {
        self.scopes
            .get_mut(&address.scope)
            .and_then(|streams| streams.get_mut(&address.name))
            .ok_or_else(|| ServiceError::stream_not_found(address.named()))
    }

    /// For changes: only an ACTIVE stream accepts them.
    pub(crate) fn get_active(&mut self, address: &Address) -> Result<&mut Stream, ServiceError> {
        let stream = self.get_mut(address)?;
        if stream.status == Status::Active {
            Ok(stream)
        } else {
            Err(ServiceError::stream_not_active(address.named(), stream.status.name()))
        }
    }

    /// For writes: a stream that is still being created does not exist for them.
    pub(crate) fn get_writable(&mut self, address: &Address) -> Result<&mut Stream, ServiceError> {
        let stream = self.get_mut(address)?;
        if stream.status == Status::Creating {
            return Err(ServiceError::stream_not_found(address.named()));
        }
        Ok(stream)
    }

    /// The streams of one scope, by name.
    pub(crate) fn of(&self, scope: &Scope) -> impl Iterator<Item = &Stream> {
        self.scopes.get(scope).into_iter().flat_map(BTreeMap::values)
    }

    /// All streams of all accounts and regions.
    #[cfg(feature = "server")]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Stream> {
        self.scopes.values().flat_map(BTreeMap::values)
    }

    pub(crate) fn insert(&mut self, stream: Stream) {
        self.scopes.entry(stream.scope.clone()).or_default().insert(stream.name.clone(), stream);
    }

    /// Announces a change: the stream's state says so now, the effect comes when it is due.
    pub(crate) fn announce(
        &mut self,
        address: &Address,
        due: u64,
        change: Change,
    ) -> Result<(), ServiceError> {
        let stream = self.get_mut(address)?;
        stream.status = match change {
            Change::Create { .. } => Status::Creating,
            Change::Delete => Status::Deleting,
            _ => Status::Updating,
        };
        stream.pending = Some(Pending { due, change });
        // Whoever waits for news of a shard must look again when the change is due.
        stream.shards.iter_mut().for_each(|shard| shard.readers.wake());
        self.next_due = Some(self.next_due.map_or(due, |next| next.min(due)));
        Ok(())
    }

    /// Lets every change that is due take effect, at the time for which it was due.
    pub(crate) fn settle(&mut self, now: u64) {
        if self.next_due.is_none_or(|due| due > now) {
            return;
        }
        for streams in self.scopes.values_mut() {
            streams.retain(|_, stream| match stream.pending.take_if(|pending| pending.due <= now) {
                Some(Pending { change: Change::Delete, .. }) => false,
                Some(Pending { due, change }) => {
                    stream.apply(due, change);
                    true
                }
                None => true,
            });
        }
        self.next_due = self
            .scopes
            .values()
            .flat_map(BTreeMap::values)
            .filter_map(|stream| stream.pending.as_ref().map(|pending| pending.due))
            .min();
    }
}
