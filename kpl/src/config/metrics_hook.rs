//! Where samples go.

use std::fmt;
use std::sync::Arc;

use crate::stats::Sample;

/// A function of the user's.
#[derive(Clone)]
pub(crate) struct MetricsHook(Arc<dyn Fn(&Sample) + Send + Sync>);

impl MetricsHook {
    pub(crate) fn new(hook: impl Fn(&Sample) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hook))
    }

    pub(crate) fn take(&self, sample: &Sample) {
        (self.0)(sample);
    }
}

impl fmt::Debug for MetricsHook {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MetricsHook")
    }
}
