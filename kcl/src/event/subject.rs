use super::{ConsumerEvent, Severity, StreamShard};

impl ConsumerEvent {
    /// How much it matters; also the level at which it is logged.
    pub fn severity(&self) -> Severity {
        match self {
            Self::LeaseTaken { .. }
            | Self::LeaseAskedFor { .. }
            | Self::LeaseHandedOver { .. }
            | Self::LeaseReleased { .. }
            | Self::LeaseCreated { hole: false, .. }
            | Self::LeaseDeleted { .. }
            | Self::StreamFollowed { .. }
            | Self::StreamLeft { .. }
            | Self::ShardStarted { .. }
            | Self::ShardEnded { .. }
            | Self::ShardMovesAgain { .. } => Severity::Info,
            Self::GapBelowRetention { .. }
            | Self::OvertakenByRetention { .. }
            | Self::LatestReopened { .. }
            | Self::ShardVanished { .. }
            | Self::StreamVanished { .. }
            | Self::StreamReplaced { .. }
            | Self::AggregateOutOfRange { .. }
            | Self::BatchSkipped { .. }
            | Self::LeaseUnreadable { .. }
            | Self::WorkerFailed { .. } => Severity::Error,
            _ => Severity::Warning,
        }
    }

    /// The shard that it is about, if it is about one.
    pub fn shard(&self) -> Option<&StreamShard> {
        match self {
            Self::LeaseTaken { shard, .. }
            | Self::LeaseLost { shard, .. }
            | Self::LeaseAskedFor { shard, .. }
            | Self::LeaseHandedOver { shard, .. }
            | Self::LeaseReleased { shard }
            | Self::LeaseCreated { shard, .. }
            | Self::LeaseDeleted { shard }
            | Self::ShardStarted { shard, .. }
            | Self::StartTimeStays { shard, .. }
            | Self::ShardEnded { shard, .. }
            | Self::GapBelowRetention { shard, .. }
            | Self::OvertakenByRetention { shard, .. }
            | Self::LatestReopened { shard }
            | Self::ShardVanished { shard }
            | Self::BrokenAggregate { shard, .. }
            | Self::AggregateOutOfRange { shard, .. }
            | Self::ReadFailed { shard, .. }
            | Self::SubscriptionCut { shard, .. }
            | Self::ProcessorFailed { shard, .. }
            | Self::EndNotAcknowledged { shard, .. }
            | Self::BatchSkipped { shard, .. }
            | Self::ShardGivenUp { shard, .. }
            | Self::CheckpointFailed { shard, .. }
            | Self::ProcessorSlow { shard, .. }
            | Self::ShardStuck { shard, .. }
            | Self::ShardMovesAgain { shard, .. } => Some(shard),
            Self::StreamVanished { .. }
            | Self::StreamReplaced { .. }
            | Self::StreamFollowed { .. }
            | Self::StreamLeft { .. }
            | Self::StreamNotReadable { .. }
            | Self::ShardSyncFailed { .. }
            | Self::LeaseTableUnreadable { .. }
            | Self::LeasesOfAnotherForm { .. }
            | Self::LeaseUnreadable { .. }
            | Self::WorkerFailed { .. } => None,
        }
    }
}
