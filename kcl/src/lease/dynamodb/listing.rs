//! Reading the whole table, page by page, in one part or several at the same time.

use std::sync::PoisonError;

use futures::future::try_join_all;

use super::DynamoDbLeaseStore;
use super::error::{self, Call};
use super::item::{self, BrokenItem, Item};
use crate::lease::{Lease, LeaseStoreError};

impl DynamoDbLeaseStore {
    /// Every item that is a lease. The reads are eventually consistent, at half the price: whoever acts on a listing does so
    /// with a condition, and a counter that is seen late only delays a take.
    pub(super) async fn load_all(&self) -> Result<Vec<Lease>, LeaseStoreError> {
        let parts = try_join_all((0..self.scan_segments).map(|segment| self.scan(segment))).await?;
        let mut leases = Vec::new();
        let mut broken = Vec::new();
        for part in parts {
            leases.extend(part.0);
            broken.extend(part.1);
        }
        *self.skipped.lock().unwrap_or_else(PoisonError::into_inner) = broken;
        Ok(leases)
    }

    async fn scan(&self, segment: u32) -> Result<(Vec<Lease>, Vec<BrokenItem>), LeaseStoreError> {
        let (mut leases, mut broken) = (Vec::new(), Vec::new());
        let mut next: Option<Item> = None;
        loop {
            let mut request =
                self.client.scan().table_name(&*self.table_name).set_exclusive_start_key(next.take());
            if self.scan_segments > 1 {
                request = request
                    .segment(i32::try_from(segment).unwrap_or(i32::MAX))
                    .total_segments(i32::try_from(self.scan_segments).unwrap_or(i32::MAX));
            }
            let page =
                request.send().await.map_err(|error| error::in_words(&self.name, Call::Read, error))?;
            for item in page.items() {
                match item::read(item) {
                    Ok(Some(lease)) => leases.push(lease),
                    Ok(None) => {}
                    Err(one) => broken.push(one),
                }
            }
            next = page.last_evaluated_key.filter(|key| !key.is_empty());
            if next.is_none() {
                return Ok((leases, broken));
            }
        }
    }
}
