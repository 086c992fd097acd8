//! What goes to the user's hook: samples as they come, and gauges now and then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::driver::Shared;
use crate::stats::Sample;

/// As often as the Java KPL samples what is pending.
const GAUGES_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, Default)]
pub(super) struct Metering {
    gauges_at: Option<Instant>,
}

impl Metering {
    /// Hands over what came since the last time. Outside every lock: it runs code that is not ours. Returns when to come again at the
    /// latest.
    pub(super) fn report(&mut self, shared: &Shared) -> Option<Instant> {
        let hook = shared.metrics_hook.as_ref()?;
        let (samples, has_work) = {
            let mut pipeline = shared.pipeline();
            (pipeline.take_samples(), pipeline.has_work())
        };
        for sample in &samples {
            hook.take(sample);
        }
        let now = shared.clock.now();
        // The last ones of a busy time are those of rest.
        if self.gauges_at.is_none_or(|at| at <= now) || !has_work {
            self.gauges_at = Some(now + GAUGES_EVERY);
            for (metric, value) in shared.stats().gauges() {
                let stream = Arc::clone(&shared.stream);
                hook.take(&Sample { metric, value, count: 1, stream, shard_id: None, error_code: None });
            }
        }
        if has_work { self.gauges_at } else { None }
    }
}
