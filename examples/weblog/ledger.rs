//! Who put what and who processed what: the books that the table at the end is made from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kinesis_shard::{ExtendedSequenceNumber, ShardId};

type Place = (ShardId, ExtendedSequenceNumber);

#[derive(Debug, Default)]
struct Books {
    put: u64,
    failed: Vec<String>,
    acknowledged: BTreeSet<Place>,
    processed: BTreeMap<Place, Request>,
    per_worker: BTreeMap<String, u64>,
    out_of_order: u64,
}

#[derive(Debug)]
struct Request {
    path: String,
    status: String,
    times: u64,
}

/// Shared by the producer side and both workers; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger(Arc<Mutex<Books>>);

impl Ledger {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn put(&self) {
        self.books().put += 1;
    }

    pub(crate) fn acknowledged(&self, shard: ShardId, position: ExtendedSequenceNumber) {
        self.books().acknowledged.insert((shard, position));
    }

    pub(crate) fn failed(&self, why: String) {
        self.books().failed.push(why);
    }

    /// Books one processed line; `in_order` is what the processor saw in its own shard.
    pub(crate) fn processed(&self, worker: &str, place: Place, in_order: bool, line: &str) {
        let mut books = self.books();
        books.processed.entry(place).or_insert_with(|| Request::parse(line)).times += 1;
        *books.per_worker.entry(worker.to_owned()).or_default() += 1;
        books.out_of_order += u64::from(!in_order);
    }

    pub(crate) fn put_count(&self) -> u64 {
        self.books().put
    }

    pub(crate) fn processed_by(&self, worker: &str) -> u64 {
        self.books().per_worker.get(worker).copied().unwrap_or(0)
    }

    pub(crate) fn processed_count(&self) -> u64 {
        self.books().processed.len() as u64
    }

    /// Lines that were acknowledged and that no worker has processed yet.
    pub(crate) fn missing(&self) -> usize {
        let books = self.books();
        books.acknowledged.iter().filter(|place| !books.processed.contains_key(*place)).count()
    }
}

/// What the table says about the producer's work.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProducerFigures {
    pub(crate) kinesis_records: u64,
    pub(crate) put_records_calls: u64,
    pub(crate) retries: u64,
}

impl From<&kpl::ProducerStats> for ProducerFigures {
    fn from(stats: &kpl::ProducerStats) -> Self {
        Self {
            kinesis_records: stats.kinesis_records_put,
            put_records_calls: stats.put_records_calls,
            retries: stats.retries,
        }
    }
}

/// The table at the end.
pub(crate) struct Report {
    ledger: Ledger,
    producer: ProducerFigures,
}

impl Report {
    pub(crate) fn new(ledger: Ledger, producer: ProducerFigures) -> Self {
        Self { ledger, producer }
    }

    pub(crate) fn is_good(&self) -> bool {
        self.ledger.missing() == 0
            && self.ledger.books().out_of_order == 0
            && self.ledger.books().failed.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lost = self.ledger.missing();
        let books = self.ledger.books();
        let ours = || {
            books
                .processed
                .iter()
                .filter(|(place, _)| books.acknowledged.contains(*place))
                .map(|(_, request)| request)
        };
        let again: u64 = ours().map(|request| request.times - 1).sum();
        let copies: u64 = books.processed.values().map(|request| request.times).sum::<u64>()
            - again
            - ours().count() as u64;
        writeln!(out, "lines put            {:>9}", books.put)?;
        writeln!(out, "  acknowledged       {:>9}", books.acknowledged.len())?;
        writeln!(out, "  failed             {:>9}", books.failed.len())?;
        writeln!(out, "Kinesis records      {:>9}", self.producer.kinesis_records)?;
        writeln!(out, "PutRecords calls     {:>9}", self.producer.put_records_calls)?;
        writeln!(out, "retries              {:>9}", self.producer.retries)?;
        for (worker, count) in &books.per_worker {
            writeln!(out, "processed by {worker:<8}{count:>9}")?;
        }
        writeln!(out, "duplicates           {:>9}", again + copies)?;
        writeln!(out, "  after the crash    {again:>9}")?;
        writeln!(out, "  stored again       {copies:>9}")?;
        writeln!(out, "lost                 {lost:>9}")?;
        writeln!(out, "out of order         {:>9}", books.out_of_order)?;
        writeln!(out, "\nrequests by status   {}", top(ours().map(|request| &request.status), 8))?;
        writeln!(out, "requests by path     {}", top(ours().map(|request| &request.path), 3))?;
        for why in books.failed.iter().take(3) {
            writeln!(out, "failed: {why}")?;
        }
        Ok(())
    }
}

fn top<'a>(names: impl Iterator<Item = &'a String>, many: usize) -> String {
    let mut counts: BTreeMap<&String, u64> = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    let mut sorted: Vec<_> = counts.into_iter().collect();
    sorted.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    sorted.iter().take(many).map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}

impl Request {
    /// The path and the status of a line in the combined format; `-` for what is not there.
    fn parse(line: &str) -> Self {
        let mut quoted = line.splitn(3, '"');
        let request = quoted.nth(1).unwrap_or_default();
        let path = request.split(' ').nth(1).unwrap_or("-").split('?').next().unwrap_or("-");
        let status = quoted.next().unwrap_or_default().split_whitespace().next().unwrap_or("-");
        Self { path: path.to_owned(), status: status.to_owned(), times: 0 }
    }
}
