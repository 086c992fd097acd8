//! A double of DynamoDB for lease tables: under the AWS SDK, in this process, on virtual time, with faults by seed.
//!
//! It knows what a lease store calls and no more: items by one text key, conditions of equality and existence, the four
//! update clauses. What it does not know it refuses by name, so that a test cannot pass by accident.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Region, StalledStreamProtectionConfig};
use aws_smithy_async::time::TimeSource;
use aws_smithy_runtime::client::retries::RetryPartition;
use kinesis_shard::Clock;
use serde_json::Value;

use crate::door::EPOCH;
use crate::in_process::SimSleep;
use crate::rule::{Rule, RuleGuard};

/// What a table holds, and its price.
mod item;

/// Conditions and updates.
mod expression;

/// Tables, and one function per operation.
mod tables;

/// Errors.
mod refusal;

/// A request in, an answer out, now or later; faults.
mod exchange;

/// The door under the SDK.
mod connector;

pub use connector::SimDynamoDbHttpClient;
use exchange::State;

/// A simulated DynamoDB in this process, for lease tables: hands out SDK clients, takes faults, shows what is stored.
///
/// Cheap to clone; all clones are one simulation. Rules are those of the engine: [`Rule::stream`] means a table by its name,
/// [`Rule::shard`] an item by its key. `Throttle` is answered `ProvisionedThroughputExceededException`, `Fail` HTTP 500.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// use kinesis_sim::{Rule, SimDynamoDb, Verdict};
///
/// let tables = SimDynamoDb::new(7);
/// // Every tenth write takes effect although its caller gets no answer.
/// let lost = tables.rule(Rule::operation("UpdateItem").probability(0.1).then(Verdict::LoseAnswer));
/// let client = tables.client_named("worker-a");
/// # assert!(client.describe_table().table_name("leases").send().await.is_err());
/// # drop(lost);
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct SimDynamoDb {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    clock: Clock,
    base: OnceLock<Instant>,
    call_timeout: Duration,
}

/// What calls cost, as the service bills it.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct TableUsage {
    /// Calls that arrived, by operation.
    pub calls: BTreeMap<String, u64>,
    /// Read units: one for 4 kB read strongly consistent, half of one otherwise; a scan adds its items up first.
    pub read_units: f64,
    /// Write units: one for each kB of an item, also if the condition did not hold.
    pub write_units: f64,
}

/// A write of one item that took effect, whatever its caller was told.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TableWrite {
    /// The name of the client.
    pub caller: Arc<str>,
    /// The table.
    pub table: String,
    /// The item's key.
    pub key: String,
    /// When the caller sent it: milliseconds since the simulation was first used, as in the trace.
    pub sent_at_millis: u64,
    /// When it took effect, likewise.
    pub at_millis: u64,
    /// The item before it, in the form of the service's JSON; `None`: there was none.
    pub before: Option<Value>,
    /// The item after it; `None`: it is deleted.
    pub after: Option<Value>,
}

impl SimDynamoDb {
    /// An empty account. The seed decides everything that is drawn.
    pub fn new(seed: u64) -> Self {
        Self::with_call_timeout(seed, Duration::from_secs(10))
    }

    /// The same, and after how long a caller without an answer is told of a timeout. Default: 10 s.
    pub fn with_call_timeout(seed: u64, call_timeout: Duration) -> Self {
        let state = Mutex::new(State::new(seed));
        let shared = Shared { state, clock: Clock::default(), base: OnceLock::new(), call_timeout };
        Self { shared: Arc::new(shared) }
    }

    /// A ready SDK client, named `client`: see [`client_named`](Self::client_named).
    pub fn client(&self) -> aws_sdk_dynamodb::Client {
        self.client_named("client")
    }

    /// A ready SDK client whose calls rules and usage can tell by this name; one call is one call.
    pub fn client_named(&self, name: impl Into<Arc<str>>) -> aws_sdk_dynamodb::Client {
        let name = name.into();
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("us-east-1"))
            .credentials_provider(Credentials::from_keys("simulated", "simulated", None))
            .endpoint_url("http://dynamodb.sim")
            .time_source(SimTime(self.clone()))
            .sleep_impl(SimSleep)
            .retry_config(RetryConfig::disabled())
            .retry_partition(RetryPartition::custom(format!("dynamodb-sim-{name}")).build())
            .timeout_config(TimeoutConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .http_client(self.http_client(name))
            .build();
        aws_sdk_dynamodb::Client::from_conf(config)
    }

    /// The HTTP client below [`client_named`](Self::client_named), to configure an SDK client yourself.
    pub fn http_client(&self, caller: impl Into<Arc<str>>) -> SimDynamoDbHttpClient {
        SimDynamoDbHttpClient { tables: self.clone(), caller: caller.into() }
    }

    /// Puts a rule in force until the guard is dropped.
    pub fn rule(&self, rule: Rule) -> RuleGuard {
        let (number, hits) = self.state().rules.add(rule);
        let shared = Arc::downgrade(&self.shared);
        let own = Arc::clone(&hits);
        let remove = Box::new(move || {
            if let Some(shared) = shared.upgrade() {
                Self { shared }.state().rules.remove_own(number, &own);
            }
        });
        RuleGuard { hits, remove: Some(remove) }
    }

    /// From now on callers have no permission for this operation.
    pub fn deny(&self, operation: impl Into<String>) {
        self.state().denied.insert(operation.into());
    }

    /// For how long after a write a read that is not strongly consistent may show the item as it was before; whether it
    /// does is drawn for each read and item. Default: zero, never.
    pub fn set_read_lag(&self, lag: Duration) {
        self.state().tables.read_lag = millis(lag);
    }

    /// For how long a new table is `CREATING`. Default: zero.
    pub fn set_creation_time(&self, time: Duration) {
        self.state().tables.creation_time = millis(time);
    }

    /// How many bytes of items one page of a scan has at most. Default: 1 MB, as the service's.
    pub fn set_page_bytes(&self, bytes: usize) {
        self.state().tables.page_bytes = bytes;
    }

    /// Every item of a table in the form of the service's JSON, by key; empty for an unknown table.
    pub fn items(&self, table: &str) -> Vec<Value> {
        self.state().tables.items(table)
    }

    /// Puts an item there, as somebody outside the protocol might. The table is one with a single text key.
    ///
    /// # Panics
    /// If there is no such table, or the item has no key.
    pub fn put_item(&self, table: &str, item: Value) {
        let now = self.now_millis();
        let done = self.state().tables.put_outside(now, table, item);
        assert!(done, "SimDynamoDb::put_item: no table {table:?}, or the item lacks its key");
    }

    /// Deletes an item, as somebody outside the protocol might; whether it was there.
    pub fn remove_item(&self, table: &str, key: &str) -> bool {
        self.state().tables.remove_outside(table, key)
    }

    /// Calls `watch` with each write of an item from now on, when it has taken effect: the truth to compare with
    /// what writers were told. It must not call this simulation.
    pub fn watch_writes(&self, watch: impl Fn(&TableWrite) + Send + 'static) {
        self.state().watches.push(Box::new(watch));
    }

    /// What the calls of one client cost so far.
    pub fn usage_of(&self, caller: &str) -> TableUsage {
        self.state().usage.get(caller).cloned().unwrap_or_default()
    }

    /// Milliseconds since the simulation was first used, of which this is a use: virtual ones under a paused runtime.
    pub fn elapsed_millis(&self) -> u64 {
        self.now_millis() - EPOCH
    }

    /// One line per call: milliseconds since the first use, caller, operation, table, key, outcome. The same seed and the
    /// same calls give the same lines.
    pub fn trace(&self) -> Vec<String> {
        self.state().trace.clone()
    }

    /// Milliseconds since the epoch, as the simulation sees it.
    fn now_millis(&self) -> u64 {
        let now = self.shared.clock.now();
        let base = *self.shared.base.get_or_init(|| now);
        EPOCH + millis(now.saturating_duration_since(base))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The wall clock of the SDK: it dates signatures.
#[derive(Debug)]
struct SimTime(SimDynamoDb);

impl TimeSource for SimTime {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.0.now_millis())
    }
}
