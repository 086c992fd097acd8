//! What a keeper is told, and why it may end by itself.

use std::time::Duration;

use kinesis_shard::ListShardsError;

use crate::config::InitialPosition;
use crate::lease::assign::Bounds;
use crate::lease::tenure::Terms;
use crate::lease::{LeaseStoreError, WorkerId};
use crate::reports::Reports;

/// By how much a clock may run too fast or too slow, in millionths: 1 %. Crystals are off by up to 100 millionths, time
/// daemons slew by up to 500, virtual machines add little; a hundredth leaves a wide margin for a fifth of a second of the
/// default failover time.
const CLOCK_ERROR_PPM: u32 = 10_000;

/// What a keeper is told.
#[derive(Debug, Clone)]
pub(crate) struct KeeperSettings {
    pub(crate) worker_id: WorkerId,
    /// How long a counter must stand still before a lease may be taken; the same for the whole fleet. Default 10 s.
    pub(crate) failover_time: Duration,
    /// How long after a write the next renewal is due. Default a third of the failover time, less 25 ms.
    pub(crate) renewal_interval: Duration,
    /// The pause between two looks at another worker's lease, or between two scans of a small table. Default 850 ms, at most half the failover
    /// time; `agenda` says why.
    pub(crate) scan_interval: Duration,
    /// The pause between two shard syncs. Default 60 s.
    pub(crate) shard_sync_interval: Duration,
    /// After which time a call to the store is in doubt. Default a fifth of the failover time, so that after a hung call
    /// two more fit into belief.
    pub(crate) store_call_timeout: Duration,
    /// How many leases this worker holds at most. Default: no limit.
    pub(crate) max_leases: usize,
    /// How many leases it may have asked other workers for at one time. Default 1.
    pub(crate) max_leases_to_steal: usize,
    /// By how much any worker's clock may be off, in millionths. Default 10,000, which is 1 %.
    pub(crate) clock_error_ppm: u32,
    pub(crate) initial_position: InitialPosition,
    /// Where jitter and shuffles come from.
    pub(crate) seed: u64,
    /// Who is told what happens. Default: nobody.
    pub(crate) reports: Reports,
}

impl KeeperSettings {
    /// The defaults that follow from the failover time.
    pub(crate) fn new(worker_id: WorkerId, failover_time: Duration, seed: u64) -> Self {
        let third = failover_time / 3;
        Self {
            worker_id,
            failover_time,
            renewal_interval: third.saturating_sub(Duration::from_millis(25)).max(third / 2),
            scan_interval: Duration::from_millis(850).min(failover_time / 2),
            shard_sync_interval: Duration::from_mins(1),
            store_call_timeout: failover_time / 5,
            max_leases: usize::MAX,
            max_leases_to_steal: 1,
            clock_error_ppm: CLOCK_ERROR_PPM,
            initial_position: InitialPosition::default(),
            seed,
            reports: Reports::default(),
        }
    }

    pub(super) fn terms(&self) -> Terms {
        Terms {
            failover_time: self.failover_time,
            renewal_interval: self.renewal_interval,
            clock_error_ppm: self.clock_error_ppm,
        }
    }

    pub(super) fn bounds(&self) -> Bounds {
        Bounds {
            failover_time: self.failover_time,
            max_leases: self.max_leases,
            max_leases_to_steal: self.max_leases_to_steal,
        }
    }
}

/// What a running keeper can be asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeeperCommand {
    /// Compare the stream's shards with the table now.
    SyncShards,
    /// Take and ask for nothing more; go on renewing. Comes before the release of the held leases.
    StopTaking,
    /// End. Leases that were not released expire.
    Stop,
}

/// Why a keeper ended by itself: what it needs cannot be had.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum KeeperError {
    /// The lease store cannot be used.
    #[error(transparent)]
    Store(LeaseStoreError),
    /// The stream cannot be listed.
    #[error(transparent)]
    Shards(ListShardsError),
}
