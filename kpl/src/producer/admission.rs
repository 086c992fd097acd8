//! What is checked before a record is accepted.

use crate::config::Ordering;
use crate::error::{PutError, PutErrorReason};
use crate::producer::Producer;
use crate::user_record::{Largest, UserRecord};

impl Producer {
    /// Checks a record; one that the stream may take after all waits until the stream's limit is known.
    pub(super) async fn admitted(&self, record: UserRecord) -> Result<UserRecord, PutError> {
        if self.may_fit_later(&record) {
            self.facts_settled().await;
        }
        self.checked(record)
    }

    pub(super) fn checked(&self, record: UserRecord) -> Result<UserRecord, PutError> {
        match self.check(&record) {
            Ok(()) => Ok(record),
            Err(reason) => Err(self.refused(reason, Some(record))),
        }
    }

    pub(super) fn check(&self, record: &UserRecord) -> Result<(), PutErrorReason> {
        let (shared, config) = (self.shared(), &self.handle.config);
        if config.ordering == Ordering::PerShard && shared.facts.auto() {
            return Err(PutErrorReason::OrderImpossible);
        }
        let checked = record.check(self.largest());
        if matches!(checked, Err(PutErrorReason::RecordTooLarge { .. })) && shared.facts.wish() {
            // The stream's limit may have been raised since: asked in the background, for the next one.
            shared.intake.wake();
        }
        checked
    }

    /// By what is known of the stream now.
    pub(super) fn largest(&self) -> Largest {
        Largest {
            user_record: self.handle.config.max_user_record_size,
            record: self.shared().facts.max_record_bytes(),
            outstanding: self.shared().outstanding.largest(),
        }
    }

    /// Too large by what is assumed of the stream, before the stream was asked.
    pub(super) fn may_fit_later(&self, record: &UserRecord) -> bool {
        let facts = &self.shared().facts;
        record.partition_key.len() + record.data.len() > facts.max_record_bytes() && facts.may_rise()
    }

    /// Whatever is wrong with the stream is said by those who ask next.
    pub(super) async fn facts_settled(&self) {
        let patience = self.handle.config.record_ttl;
        if self.shared().intake.ready(patience).await.is_ok() {
            self.shared().facts.settled(&self.shared().clock, patience).await;
        }
    }
}
