//! One stream: its shards and how they change, its state, its retention.
//!
//! ```text
//!            create            split, merge, scale, settings
//!   CREATING ------> ACTIVE <--------------> UPDATING
//!       \               \                       /
//!        '---------------'--> DELETING <-------'  --> gone
//! ```
//!
//! A change is announced at once and takes effect when it is due; until then the shard map is the old one.

pub(crate) mod consumers;

pub(crate) mod features;

pub(crate) mod given_number;

pub(crate) mod listing;

pub(crate) mod reshard;

mod scaling;

use std::collections::BTreeMap;
use std::sync::Arc;

use kinesis_shard::limits::{DEFAULT_MAX_RECORD_BYTES, RETENTION_DEFAULT};
use kinesis_shard::{HashKey, SequenceNumber};

use self::consumers::Consumers;
use self::features::{Days, Distribution, Encryption, WarmThroughput};
use crate::error::Named;
use crate::quota::{Limits, ShardRates};
use crate::shard_log::{LogRecord, ShardLog};
use crate::stream_table::Scope;

/// The service draws sequence indexes from one counter per so many consecutive shard indexes.
const SHARDS_PER_COUNTER: usize = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Creating,
    Active,
    Updating,
    Deleting,
}

impl Status {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Creating => "CREATING",
            Self::Active => "ACTIVE",
            Self::Updating => "UPDATING",
            Self::Deleting => "DELETING",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Provisioned,
    OnDemand,
}

impl Mode {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Provisioned => "PROVISIONED",
            Self::OnDemand => "ON_DEMAND",
        }
    }
}

/// What takes effect when it is due.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Create {
        shard_count: u32,
    },
    Split {
        shard: usize,
        new_starting: HashKey,
    },
    Merge {
        first: usize,
        second: usize,
    },
    Scale {
        target: u32,
    },
    Mode {
        mode: Mode,
        warm_mib: Option<u64>,
    },
    WarmThroughput {
        mib: u64,
    },
    MaxRecordBytes {
        bytes: usize,
    },
    /// With this key; none ends it.
    Encrypt {
        key: Option<String>,
    },
    Delete,
}

#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) due: u64,
    pub(crate) change: Change,
}

/// A record before it has a place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewRecord<'a> {
    pub(crate) partition_key: &'a str,
    pub(crate) explicit_hash_key: Option<HashKey>,
    pub(crate) data: &'a [u8],
}

#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) name: String,
    pub(crate) scope: Scope,
    /// Differs for each creation of a name.
    pub(crate) generation: u64,
    /// Milliseconds; about two seconds before the call, as the service has it.
    pub(crate) created_at: u64,
    pub(crate) status: Status,
    pub(crate) pending: Option<Pending>,
    pub(crate) mode: Mode,
    pub(crate) retention_hours: u64,
    pub(crate) max_record_bytes: usize,
    pub(crate) tags: BTreeMap<String, String>,
    /// Those that are on, in the order of [`features::METRICS`].
    pub(crate) metrics: Vec<&'static str>,
    pub(crate) encryption: Encryption,
    pub(crate) distribution: Distribution,
    pub(crate) warm: Option<WarmThroughput>,
    /// Of the stream and of its consumers, by ARN.
    pub(crate) policies: BTreeMap<String, String>,
    pub(crate) days: Days,
    pub(crate) consumers: Consumers,
    /// Of the shards that are opened from now on.
    pub(crate) rates: ShardRates,
    /// By shard index; indexes are never reused, so expired shards keep their (empty) place.
    pub(crate) shards: Vec<ShardLog>,
    /// Places of the open shards, ascending by range.
    open: Vec<usize>,
    /// Where their ranges start: what every record is compared with.
    open_starts: Vec<HashKey>,
    counters: Vec<u64>,
    /// How many records the service has distributed itself.
    turns: usize,
}

impl Stream {
    pub(crate) fn new(name: &str, scope: Scope, now: u64, generation: u64) -> Self {
        Self {
            name: name.to_owned(),
            scope,
            generation,
            created_at: now.saturating_sub(2_000),
            status: Status::Creating,
            pending: None,
            mode: Mode::Provisioned,
            retention_hours: RETENTION_DEFAULT.as_secs() / 3600,
            max_record_bytes: DEFAULT_MAX_RECORD_BYTES,
            tags: BTreeMap::new(),
            metrics: Vec::new(),
            encryption: Encryption::default(),
            distribution: Distribution::default(),
            warm: None,
            policies: BTreeMap::new(),
            days: Days::default(),
            consumers: Consumers::default(),
            rates: ShardRates::default(),
            shards: Vec::new(),
            open: Vec::new(),
            open_starts: Vec::new(),
            counters: Vec::new(),
            turns: 0,
        }
    }

    pub(crate) fn named(&self) -> Named<'_> {
        Named { stream: &self.name, account: &self.scope.account }
    }

    pub(crate) fn arn(&self) -> String {
        let Scope { account, region } = &self.scope;
        format!("arn:aws:kinesis:{region}:{account}:stream/{}", self.name)
    }

    pub(crate) fn open_count(&self) -> usize {
        self.open.len()
    }

    fn retention(&self) -> u64 {
        self.retention_hours * 3_600_000
    }

    /// The oldest arrival time that is still kept; never before the stream itself.
    pub(crate) fn horizon(&self, now: u64) -> u64 {
        if kinesis_shard::planted("nothing grows too old") {
            return self.created_at;
        }
        let early = 1 + u64::from(kinesis_shard::planted("half a day is too old"));
        now.saturating_sub(self.retention() / early).max(self.created_at)
    }

    /// Drops what is older than retention allows, in all shards.
    pub(crate) fn trim(&mut self, now: u64) {
        let horizon = self.horizon(now);
        for shard in &mut self.shards {
            shard.trim(horizon);
        }
    }

    /// The place of the open shard that takes this key; `None` only while the stream has no shards.
    pub(crate) fn open_shard_of(&self, key: HashKey) -> Option<usize> {
        if kinesis_shard::planted("a key at the edge goes to the shard below") {
            let after = self.open_starts.partition_point(|start| *start < key);
            return self.open.get(after.saturating_sub(1)).copied();
        }
        let after = self.open_starts.partition_point(|start| *start <= key);
        let place = self.open.get(after.checked_sub(1)?).copied();
        if kinesis_shard::planted("a closed shard takes records") {
            let parent = self.shards.get(place?)?.place.parent.as_ref();
            return parent
                .and_then(|parent| self.shards.iter().position(|shard| shard.id == *parent))
                .or(place);
        }
        place
    }

    /// The place of the open shard whose turn it is, for records that the service distributes itself.
    pub(crate) fn shard_in_turn(&mut self) -> Option<usize> {
        self.turns = self.turns.wrapping_add(1);
        self.open.get(self.turns % self.open.len().max(1)).copied()
    }

    /// Whether the shard's rates allow this record now; if so they are charged.
    pub(crate) fn admits(&mut self, shard: usize, now: u64, bytes: usize, limits: Limits) -> bool {
        let Some(shard) = self.shards.get_mut(shard) else { return false };
        if limits == Limits::Off {
            return true;
        }
        let bytes = bytes as u64;
        let (records, volume) = (&mut shard.quotas.write_records, &mut shard.quotas.write_bytes);
        let admitted = records.allows(now, 1) && volume.allows(now, bytes)
            || kinesis_shard::planted("a shard takes whatever it is sent");
        if admitted {
            records.take(now, 1);
            volume.take(now, bytes);
        }
        admitted
    }

    /// Stores a record in the shard at this place. `above` forces a higher sequence index.
    pub(crate) fn append(
        &mut self,
        shard: usize,
        now: u64,
        record: NewRecord<'_>,
        above: Option<u64>,
    ) -> Option<SequenceNumber> {
        let horizon = self.horizon(now);
        let counter = self.counters.get_mut(shard / SHARDS_PER_COUNTER)?;
        let shard = self.shards.get_mut(shard)?;
        if let Some(above) = above {
            *counter = (*counter).max(above.saturating_add(1));
        }
        let index = *counter;
        *counter += 1;
        shard.trim(horizon);
        Some(shard.append(LogRecord {
            index,
            arrived_at: now,
            partition_key: record.partition_key,
            explicit_hash_key: record.explicit_hash_key,
            data: record.data,
        }))
    }

    /// The index that the next record of this shard will at least have.
    pub(crate) fn next_index(&self, shard: usize) -> u64 {
        self.counters.get(shard / SHARDS_PER_COUNTER).copied().unwrap_or(1)
    }

    /// Lets a change take effect. Deletion is the table's business.
    pub(crate) fn apply(&mut self, now: u64, change: Change) {
        match change {
            Change::Create { shard_count } => self.open_initial(shard_count),
            Change::Split { shard, new_starting } => self.split(now, shard, new_starting),
            Change::Merge { first, second } => self.merge(now, first, second),
            Change::Scale { target } => self.scale(now, target),
            Change::Mode { mode, warm_mib } => self.switch_mode(now, mode, warm_mib),
            Change::WarmThroughput { mib } => self.warm_up(now, mib),
            Change::MaxRecordBytes { bytes } => self.max_record_bytes = bytes,
            Change::Encrypt { key } => self.encryption.switch(now, key),
            Change::Delete => return,
        }
        self.sort_open();
        self.status = Status::Active;
    }

    fn switch_mode(&mut self, now: u64, mode: Mode, warm_mib: Option<u64>) {
        self.mode = mode;
        match (mode, warm_mib) {
            (Mode::OnDemand, Some(mib)) => self.warm_up(now, mib),
            (Mode::OnDemand, None) => {}
            (Mode::Provisioned, _) => {
                self.warm = None;
                self.distribution = Distribution::UserPartitionKey;
            }
        }
    }

    /// A shard takes 1 MiB a second, so at least that many are opened. None are closed: how the service scales
    /// on-demand streams down is not published.
    fn warm_up(&mut self, now: u64, mib: u64) {
        self.warm = Some(WarmThroughput { target: mib, current: mib });
        let target = u32::try_from(mib).unwrap_or(u32::MAX);
        if target as usize > self.open_count() {
            self.scale(now, target);
        }
    }

    /// Adds a shard at the next index; whoever adds the last one sorts the open ones.
    fn open_shard(&mut self, shard: ShardLog) {
        self.shards.push(shard);
        self.counters.resize(self.shards.len().div_ceil(SHARDS_PER_COUNTER), 1);
    }

    fn sort_open(&mut self) {
        let mut open: Vec<_> = (0..)
            .zip(&self.shards)
            .filter(|(_, shard)| shard.is_open())
            .map(|(place, shard)| (shard.place.range.start(), place))
            .collect();
        open.sort_unstable();
        (self.open_starts, self.open) = open.into_iter().unzip();
    }
}

/// Account and region of everything that is created without saying otherwise.
pub(crate) fn default_scope() -> Scope {
    Scope { account: Arc::from("000000000000"), region: Arc::from("us-east-1") }
}
