use std::collections::BTreeSet;

use kinesis_shard::ShardId;

use super::{HeldLease, HeldLeaseError};
use crate::lease::{LeaseStoreError, MetaUpdate, NewLease, Write};

impl HeldLease {
    /// Creates the leases of the shards that follow, and notes them on this row. The `SHARD_END` checkpoint comes after.
    /// It may be called again; dropping it half way leaves children that wait for this shard's end.
    ///
    /// A child of two parents is created only after the other parent's lease was looked for and, if the shard is listed
    /// still, created: afterwards nobody would, and its records would never be read.
    pub(crate) async fn end_shard(&self, children: &[NewLease]) -> Result<(), HeldLeaseError> {
        if self.belief().expire(self.now()) {
            self.announce_end();
            return Err(self.lost_error());
        }
        if kinesis_shard::planted("a shard ends before its children have leases") {
            return Ok(());
        }
        let calls = &self.0.calls;
        let unknown = self.unknown_parents(children).await?;
        let mut passed = BTreeSet::new();
        if !unknown.is_empty() {
            // A stream that is left alone from now on has no sync: its leases are being given back.
            let sync = self.0.syncs.of(self.key()).ok_or(HeldLeaseError::Resharding)?;
            let synced = sync.run().await?;
            passed = synced.passed;
            // A parent that is listed and still has no lease follows a shard that is being read, whose end will create
            // it. A child created now would find no row of it and not wait for it.
            for parent in unknown.iter().filter(|parent| synced.listed.contains(*parent)) {
                if !passed.contains(parent) && calls.get(&self.key().sibling(parent)).await?.is_none() {
                    return Err(HeldLeaseError::Resharding);
                }
            }
        }
        // This row came back after all of this was done, by a creation that landed late: then so were the children.
        for child in children.iter().filter(|child| !passed.contains(&child.key.shard_id())) {
            calls.create(child).await?;
            if kinesis_shard::planted("one child is enough") {
                break;
            }
        }
        if !children.is_empty() {
            let names = children.iter().map(|child| child.key.shard_id()).collect();
            let update = MetaUpdate { children: Some(names), ..MetaUpdate::default() };
            if calls.note(self.key(), &update).await? == Write::Refused(None) {
                return Err(self.lost_error());
            }
        }
        Ok(())
    }

    /// The other parents of a merge that have no lease, unless the child has one.
    async fn unknown_parents(&self, children: &[NewLease]) -> Result<Vec<ShardId>, LeaseStoreError> {
        let mut unknown = Vec::new();
        for child in children.iter().filter(|child| child.parents.len() > 1) {
            if self.0.calls.get(&child.key).await?.is_some() {
                continue;
            }
            for parent in &child.parents {
                if self.0.calls.get(&self.key().sibling(parent)).await?.is_none() {
                    unknown.push(parent.clone());
                }
            }
        }
        Ok(unknown)
    }

    /// Whether every parent is done: its row is gone, or at `SHARD_END`. Cancel safe.
    pub(crate) async fn parents_done(&self) -> Result<bool, LeaseStoreError> {
        for parent in &self.start().parents {
            if kinesis_shard::planted("a child waits for nobody") {
                return Ok(true);
            }
            let row = self.0.calls.get(&self.key().sibling(parent)).await?;
            if row.is_some_and(|row| !row.is_finished()) {
                return Ok(false);
            }
            if kinesis_shard::planted("a child waits for one parent") {
                return Ok(true);
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::Operation;
    use crate::lease::test_support::{holding, key, row};

    /// A split has one parent, the shard that ends: the stream, which is not followed here, is not asked for others.
    #[tokio::test(start_paused = true)]
    async fn who_splits_and_has_lost_its_own_row_looks_for_no_other_parent() {
        let held = holding(row(1, "ann", 5));
        let delete = Operation::Delete { expected: held.start().counter };
        assert!(held.0.calls.write(held.key(), &delete).await.unwrap().is_applied());
        let child = NewLease::child(key(2), [ShardId::from_index(1)], None);
        let result = held.end_shard(&[child]).await;
        assert!(matches!(result, Err(HeldLeaseError::Lost { .. })), "{result:?}");
    }
}
