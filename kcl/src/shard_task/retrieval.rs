use kinesis_shard::ShardId;

use crate::config::{ConsumerConfig, RetrievalMode};
use crate::fetch::fan_out::{FanOut, FanOutSettings};
use crate::fetch::polling::{Polling, PollingSettings};
use crate::fetch::{Fetcher, ReadFrom};

/// The fetcher of one tenure of one shard.
pub(super) fn fetcher(
    config: &ConsumerConfig,
    shard: ShardId,
    from: ReadFrom,
    seed: u64,
) -> Box<dyn Fetcher> {
    let (max_records, keep_empty) = (config.max_records, config.call_process_records_even_for_empty_list);
    let (backoff, max_backoff) = (config.task_backoff, config.max_task_backoff);
    match config.retrieval_mode {
        RetrievalMode::Polling => {
            let idle_time = config.idle_time_between_reads;
            let settings = PollingSettings { max_records, idle_time, keep_empty, backoff, max_backoff, seed };
            Box::new(Polling::new(shard, from, settings))
        }
        RetrievalMode::FanOut => {
            let silence_limit = config.subscription_silence_limit;
            let settings =
                FanOutSettings { max_records, silence_limit, keep_empty, backoff, max_backoff, seed };
            Box::new(FanOut::new(shard, from, settings))
        }
    }
}
