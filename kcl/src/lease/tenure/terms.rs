use std::time::{Duration, Instant};

/// How long a lease lasts, for those who hold it and for those who watch it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Hash))]
pub(crate) struct Terms {
    /// How long a counter must stand still before somebody else may take the lease. The same for the whole fleet.
    pub(crate) failover_time: Duration,
    /// How long after a write the next renewal is due.
    pub(crate) renewal_interval: Duration,
    /// By how much any worker's clock may run too fast or too slow, in millionths.
    pub(crate) clock_error_ppm: u32,
}

impl Terms {
    /// How long the sender of a successful write may believe, on its own clock: `D (1-rho)/(1+rho)`.
    pub(crate) fn belief(&self) -> Duration {
        if kinesis_shard::planted("belief lasts as long as the lease") {
            return self.failover_time;
        }
        let rho = u128::from(self.clock_error_ppm.min(999_999));
        let nanos = self.failover_time.as_nanos() * (1_000_000 - rho) / (1_000_000 + rho);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How much later than due a renewal may be made for the sake of a checkpoint: a quarter of the interval, and never
    /// more than a quarter of what belief has left by then, so that there is time to try again.
    pub(super) fn patience(&self) -> Duration {
        self.renewal_interval.min(self.belief().saturating_sub(self.renewal_interval)) / 4
    }
}

/// When the application checkpoints: those at a steady pace make renewals needless, if these wait for them a little.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(test, derive(Hash))]
pub(super) struct Rhythm {
    last: Option<Instant>,
    gap: Option<Duration>,
}

impl Rhythm {
    pub(super) fn checkpointed(&mut self, at: Instant) {
        self.gap = self.last.map(|last| at.saturating_duration_since(last));
        self.last = Some(at);
    }

    /// `due`, or right after the next checkpoint if that is to be expected within `patience` of it.
    pub(super) fn postponed(&self, due: Instant, patience: Duration) -> Instant {
        let Some((last, gap)) = self.last.zip(self.gap) else { return due };
        // Some of the patience is for a checkpoint that comes late itself.
        let (expected, spare) = (last + gap, patience / 4);
        if expected + spare >= due && expected + spare <= due + patience { expected + spare } else { due }
    }
}
