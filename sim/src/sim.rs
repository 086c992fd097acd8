//! `Sim`: the handle of a simulation, for tests and programs in this process.

use std::fmt::Display;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use kinesis_shard::{Clock, HashKey, SequenceNumber, Shard, ShardId};

use crate::door::{Door, EPOCH, SimClock};
use crate::engine::{Engine, EngineSettings};
use crate::error::ServiceError;
use crate::in_process::{self, SimHttpClient};
use crate::quota::{Limits, ServiceLimits};
use crate::rule::{Rule, RuleGuard};
use crate::stream::listing::Filter;
use crate::stream::{Change, Status, Stream};
use crate::stream_table::{Address, Scope};

/// A simulated Kinesis in this process: hands out SDK clients, takes faults, shows what is stored.
///
/// Cheap to clone; all clones are one simulation. Its time is 1 January 2026 plus what has passed on tokio's
/// clock since its first use, so a paused runtime makes it virtual.
///
/// The direct calls (`create_stream`, `split_shard`, ...) act at once, whatever the delay of state changes, on
/// account 000000000000 in us-east-1; they are for tests and panic when what they name does not exist.
#[derive(Debug, Clone)]
pub struct Sim {
    pub(crate) door: Arc<Door>,
}

/// Settings of a [`Sim`]; see [`Sim::builder`].
#[derive(Debug, Clone)]
#[must_use = "nothing is simulated until `build`"]
pub struct SimBuilder {
    settings: EngineSettings,
    call_timeout: Duration,
    wall_clock: bool,
}

/// One record as the engine keeps it: the truth to compare with.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// The shard that took it.
    pub shard_id: ShardId,
    /// Its number there.
    pub sequence_number: SequenceNumber,
    /// The partition key it was put with.
    pub partition_key: String,
    /// The explicit hash key it was put with, if any.
    pub explicit_hash_key: Option<HashKey>,
    /// Its payload.
    pub data: Bytes,
    /// When it arrived, milliseconds since the epoch.
    pub arrived_at_millis: u64,
}

impl std::fmt::Debug for StoredRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Payloads stay out of logs and panics.
        f.debug_struct("StoredRecord")
            .field("shard_id", &self.shard_id)
            .field("sequence_number", &self.sequence_number)
            .field("partition_key", &self.partition_key)
            .field("explicit_hash_key", &self.explicit_hash_key)
            .field("data_bytes", &self.data.len())
            .field("arrived_at_millis", &self.arrived_at_millis)
            .finish()
    }
}

impl SimBuilder {
    /// Decides everything that is drawn: ids, faults. Default: 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = seed;
        self
    }

    /// Whether the service's rates are enforced. Default: [`Limits::Aws`].
    pub fn limits(mut self, limits: Limits) -> Self {
        self.settings.limits = limits;
        self
    }

    /// What [`Limits::Aws`] means, to bring single limits within reach of a test. Default: the service's.
    pub fn service_limits(mut self, limits: ServiceLimits) -> Self {
        self.settings.service_limits = limits;
        self
    }

    /// How long creating, deleting and resharding take. Default: 500 ms; zero makes them immediate.
    pub fn state_delay(mut self, delay: Duration) -> Self {
        self.settings.state_delay = delay;
        self
    }

    /// How long a caller waits for an answer that does not come, before it is told of a timeout. Default: 10 s.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }

    /// How many calls the trace keeps, the last ones. Default: 1,000,000; zero switches it off.
    pub fn trace_lines(mut self, count: usize) -> Self {
        self.settings.trace_lines = count;
        self
    }

    /// Takes the machine's wall clock instead of simulated time: for servers whose clients compare with theirs.
    pub fn wall_clock(mut self) -> Self {
        self.wall_clock = true;
        self
    }

    /// Starts the simulation.
    pub fn build(mut self) -> Sim {
        let clock = if self.wall_clock {
            SimClock::Wall
        } else {
            SimClock::Virtual { clock: Clock::default(), base: OnceLock::new() }
        };
        self.settings.started_at = if self.wall_clock { clock.now() } else { EPOCH };
        let engine = Engine::new(self.settings);
        Sim { door: Arc::new(Door::new(engine, clock, self.call_timeout)) }
    }
}

impl Sim {
    /// A simulation with the service's limits and this seed.
    pub fn new(seed: u64) -> Self {
        Self::builder().seed(seed).build()
    }

    /// Settings to start a simulation with.
    pub fn builder() -> SimBuilder {
        SimBuilder {
            settings: EngineSettings::default(),
            call_timeout: Duration::from_secs(10),
            wall_clock: false,
        }
    }

    /// A ready SDK client, named `client`: see [`client_named`](Self::client_named).
    pub fn client(&self) -> aws_sdk_kinesis::Client {
        self.client_named("client")
    }

    /// A ready SDK client whose calls rules and the trace can tell by this name.
    ///
    /// Region us-east-1, account 000000000000, fixed credentials; the SDK's retries and timeouts are off, so one
    /// call is one call.
    pub fn client_named(&self, name: impl Into<Arc<str>>) -> aws_sdk_kinesis::Client {
        in_process::client(self.http_client(name))
    }

    /// The HTTP client below [`client_named`](Self::client_named), to configure an SDK client yourself.
    pub fn http_client(&self, caller: impl Into<Arc<str>>) -> SimHttpClient {
        SimHttpClient { door: Arc::clone(&self.door), caller: caller.into() }
    }

    /// Milliseconds since the epoch, as the simulation sees it.
    pub fn now_millis(&self) -> u64 {
        self.door.now()
    }

    /// Milliseconds since the simulation was first used, or reset: virtual ones under a paused runtime. The trace and
    /// the windows of rules count the same way.
    pub fn elapsed_millis(&self) -> u64 {
        self.door.with(|engine, now| now.saturating_sub(engine.settings.started_at))
    }

    /// Puts a rule in force until the guard is dropped.
    pub fn rule(&self, rule: Rule) -> RuleGuard {
        let (number, hits) = self.door.with(|engine, _| engine.add_rule(rule));
        let door = Arc::downgrade(&self.door);
        let own = Arc::clone(&hits);
        let remove = Box::new(move || {
            if let Some(door) = door.upgrade() {
                door.with(|engine, _| engine.rules.remove_own(number, &own));
            }
        });
        RuleGuard { hits, remove: Some(remove) }
    }

    /// Forgets all streams, rules and the trace, as if the simulation had just been built: its seed is drawn from
    /// anew, and windows of rules count from now. Subscriptions end, and delayed calls break.
    pub fn reset(&self) {
        self.door.with(Engine::reset);
    }

    /// One line per call: milliseconds since the first use, caller, operation, stream, outcome. The same seed
    /// and the same calls give the same bytes.
    pub fn trace(&self) -> Vec<String> {
        self.door.with(|engine, _| engine.trace())
    }

    /// Creates a stream that is ACTIVE at once.
    ///
    /// # Panics
    /// If the stream exists.
    pub fn create_stream(&self, name: &str, shard_count: u32) {
        let outcome = self.door.with(|engine, now| {
            let address = address(name);
            if engine.streams.get(&address).is_ok() {
                return Err(ServiceError::stream_exists(address.named()));
            }
            let stream = engine.new_stream(now, &address);
            engine.streams.insert(stream);
            change_now(engine, now, name, |_| Ok(Change::Create { shard_count }))
        });
        expect_done("create_stream", outcome);
    }

    /// Deletes a stream at once.
    ///
    /// # Panics
    /// If there is no such stream.
    pub fn delete_stream(&self, name: &str) {
        let outcome = self.door.with(|engine, now| change_now(engine, now, name, |_| Ok(Change::Delete)));
        expect_done("delete_stream", outcome);
    }

    /// Splits a shard in the middle of its range, at once.
    ///
    /// # Panics
    /// If there is no such stream, or no such open shard in it.
    pub fn split_shard(&self, stream: &str, shard_id: impl Display) {
        let outcome = self.door.with(|engine, now| {
            change_now(engine, now, stream, |stream| {
                let shard = stream.find_open(&shard_id.to_string())?;
                let range = stream.shards.get(shard).map(|shard| shard.place.range);
                let new_starting = range.map_or(HashKey::MAX, kinesis_shard::HashKeyRange::midpoint);
                stream.check_split(shard, new_starting, &new_starting.to_string())?;
                Ok(Change::Split { shard, new_starting })
            })
        });
        expect_done("split_shard", outcome);
    }

    /// Merges two neighbouring shards, the one with the lower range first, at once.
    ///
    /// # Panics
    /// If there is no such stream, or the shards are not open neighbours in this order.
    pub fn merge_shards(&self, stream: &str, shard_id: impl Display, adjacent_shard_id: impl Display) {
        let outcome = self.door.with(|engine, now| {
            change_now(engine, now, stream, |stream| {
                let first = stream.find_open(&shard_id.to_string())?;
                let second = stream.find_open(&adjacent_shard_id.to_string())?;
                stream.check_merge(first, second)?;
                Ok(Change::Merge { first, second })
            })
        });
        expect_done("merge_shards", outcome);
    }

    /// All shards of a stream that are still listed, open and closed, by index; empty for an unknown stream.
    pub fn shards(&self, stream: &str) -> Vec<Shard> {
        self.door.with(|engine, now| {
            let Ok(stream) = engine.streams.get(&address(stream)) else { return Vec::new() };
            stream.listed(now, Filter::FromTrimHorizon).map(crate::shard_log::ShardLog::describe).collect()
        })
    }

    /// How many subscriptions (`SubscribeToShard`) have an open connection: zero again when their readers have gone.
    pub fn subscription_count(&self) -> usize {
        self.door.with(|engine, _| engine.subscription_count())
    }

    /// Every record that the stream still holds, in order per shard; empty for an unknown stream.
    pub fn stored(&self, stream: &str) -> Vec<StoredRecord> {
        self.door.with(|engine, now| {
            let Ok(stream) = engine.streams.get_mut(&address(stream)) else { return Vec::new() };
            stream.trim(now);
            let stored =
                |shard: &crate::shard_log::ShardLog, record: crate::shard_log::LogRecord<'_>| StoredRecord {
                    shard_id: shard.id.clone(),
                    sequence_number: shard.sequence_number(&record),
                    partition_key: record.partition_key.to_owned(),
                    explicit_hash_key: record.explicit_hash_key,
                    data: Bytes::copy_from_slice(record.data),
                    arrived_at_millis: record.arrived_at,
                };
            let shards = stream.shards.iter();
            shards.flat_map(|shard| shard.records_from(0).map(move |record| stored(shard, record))).collect()
        })
    }
}

fn address(name: &str) -> Address {
    Address { scope: Scope::default(), name: name.to_owned() }
}

/// Lets a change take effect now, past any delay and ahead of a change that is under way.
fn change_now(
    engine: &mut Engine,
    now: u64,
    name: &str,
    change: impl FnOnce(&Stream) -> Result<Change, ServiceError>,
) -> Result<(), ServiceError> {
    let address = address(name);
    // A reshard or creation that was announced is finished first: it must not be overwritten.
    let under_way = engine.streams.get_mut(&address)?.pending.take();
    if let Some(pending) = under_way {
        engine.streams.announce(&address, now, pending.change)?;
        engine.streams.settle(now);
    }
    let stream = engine.streams.get_mut(&address)?;
    debug_assert!(
        stream.pending.is_none() || stream.status != Status::Active,
        "an ACTIVE stream has no change"
    );
    let change = change(stream)?;
    engine.streams.announce(&address, now, change)?;
    engine.streams.settle(now);
    Ok(())
}

fn expect_done(call: &str, outcome: Result<(), ServiceError>) {
    if let Err(error) = outcome {
        let text = error.text.unwrap_or_default();
        panic!("Sim::{call}: {}: {text}", error.code.name());
    }
}
