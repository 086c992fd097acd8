//! What can go wrong between a worker and its lease store.

use std::error::Error;
use std::sync::Arc;

/// Why a call to a lease store did not give an answer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseStoreError {
    /// The store is asked too often. Nothing was written.
    #[error("{store} refuses because of its load: slow down and try again")]
    Throttled {
        /// Which store or table.
        store: Arc<str>,
    },
    /// The store cannot be reached, or did not answer in time.
    #[error("{store} is not available: {what}")]
    Unavailable {
        /// Which store or table.
        store: Arc<str>,
        /// What happened, and what to do.
        what: Arc<str>,
        /// Whether the call may have taken effect all the same.
        may_have_been_written: bool,
        /// The cause, if there is one.
        #[source]
        source: Option<Arc<dyn Error + Send + Sync>>,
    },
    /// The table is not there.
    #[error("{store} has no lease table: {what}")]
    TableMissing {
        /// Which store or table.
        store: Arc<str>,
        /// What to do.
        what: Arc<str>,
    },
    /// What is there cannot be used as a lease table.
    #[error("{store} cannot be used: {what}")]
    Unusable {
        /// Which store, file or table.
        store: Arc<str>,
        /// What is wrong, and what to do.
        what: Arc<str>,
        /// The cause, if there is one.
        #[source]
        source: Option<Arc<dyn Error + Send + Sync>>,
    },
    /// One row holds something that is no lease.
    #[error("{store} holds a broken lease {key}: {what}")]
    Corrupt {
        /// Which store or table.
        store: Arc<str>,
        /// The row's key.
        key: Arc<str>,
        /// What is wrong, and what to do.
        what: Arc<str>,
    },
}

impl LeaseStoreError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Throttled { .. } | Self::Unavailable { .. })
    }

    /// Whether the call may have taken effect although it failed.
    pub fn may_have_been_written(&self) -> bool {
        matches!(self, Self::Unavailable { may_have_been_written: true, .. })
    }

    /// A call that was given up after its time.
    pub(crate) fn timed_out(what: &str) -> Self {
        Self::Unavailable {
            store: "lease store".into(),
            what: format!("{what} was not answered in time: check that it is reachable").into(),
            may_have_been_written: true,
            source: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lost_answer_leaves_a_doubt() {
        let unavailable = |may_have_been_written| LeaseStoreError::Unavailable {
            store: "t".into(),
            what: "gone".into(),
            may_have_been_written,
            source: None,
        };
        let throttled = LeaseStoreError::Throttled { store: "t".into() };
        let missing = LeaseStoreError::TableMissing { store: "t".into(), what: "create it".into() };
        let cases = [
            (unavailable(true), true, true),
            (unavailable(false), true, false),
            (throttled, true, false),
            (missing, false, false),
        ];
        for (error, retryable, doubt) in cases {
            assert_eq!((error.is_retryable(), error.may_have_been_written()), (retryable, doubt), "{error}");
        }
    }
}
