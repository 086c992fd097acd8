//! What an application under test did, told by the application itself, and the judgement on it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kinesis_shard::ExtendedSequenceNumber;

use crate::sim::Sim;

/// What happened in one run: what a producer was promised, and what readers did.
///
/// The application under test, or the test around it, writes it; [`judge`](Self::judge) knows nothing of how either
/// works. Ids are yours, one a record: an order's number, say. Cheap to clone; all clones are one history. Times are
/// those of the simulation, so the same seed gives the same [`lines`](Self::lines), byte for byte.
///
/// ```
/// use kinesis_shard::{ExtendedSequenceNumber, SequenceNumber};
/// use kinesis_sim::Sim;
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
/// # runtime.block_on(async {
/// let history = Sim::new(7).history();
/// let at = |number: u64| ExtendedSequenceNumber::new(SequenceNumber::from(number), 0);
/// history.acknowledged("order-1");
/// history.acknowledged("order-2");
/// history.processed("reader-a", "shardId-000000000000", at(1), "order-1");
/// assert!(!history.is_complete());
/// assert_eq!(history.judge().lost, ["order-2"]);
/// # });
/// ```
#[derive(Debug, Clone)]
pub struct History {
    sim: Sim,
    log: Arc<Mutex<Log>>,
}

#[derive(Debug, Default)]
struct Log {
    events: Vec<(u64, Event)>,
    /// Acknowledged and not yet processed.
    waiting: BTreeSet<String>,
    /// How often each was processed.
    processed: BTreeMap<String, u64>,
}

#[derive(Debug)]
enum Event {
    Acknowledged { id: String },
    Processed { reader: String, shard: String, position: ExtendedSequenceNumber, id: String },
    Note(String),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Acknowledged { id } => write!(f, "acknowledged {id}"),
            Self::Processed { reader, shard, position, id } => {
                write!(f, "{reader} processed {id} of {shard} at {position}")
            }
            Self::Note(text) => f.write_str(text),
        }
    }
}

/// What a [`History`] comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Judgement {
    /// How many records were acknowledged.
    pub acknowledged: usize,
    /// How many different records were processed. May be more: a producer that was told of a failure may have written.
    pub processed: usize,
    /// Acknowledged and never processed, in order of their ids. The one number that must be zero.
    pub lost: Vec<String>,
    /// Processed more than once, in order of their ids: what at-least-once delivery allows.
    pub repeated: Vec<String>,
    /// A sentence for each record that was processed for the first time after a later one of its shard.
    pub out_of_order: Vec<String>,
}

impl Sim {
    /// An empty history, stamped with this simulation's time, as the trace is.
    pub fn history(&self) -> History {
        History { sim: self.clone(), log: Arc::default() }
    }
}

impl History {
    /// The producer was told that this record is written.
    pub fn acknowledged(&self, id: impl Into<String>) {
        let id = id.into();
        let mut log = self.log();
        if !log.processed.contains_key(&id) {
            log.waiting.insert(id.clone());
        }
        log.events.push((self.sim.elapsed_millis(), Event::Acknowledged { id }));
    }

    /// A reader is done with this record, which it found there.
    pub fn processed(
        &self,
        reader: impl Into<String>,
        shard: impl fmt::Display,
        position: ExtendedSequenceNumber,
        id: impl Into<String>,
    ) {
        let (reader, shard, id) = (reader.into(), shard.to_string(), id.into());
        let mut log = self.log();
        log.waiting.remove(&id);
        *log.processed.entry(id.clone()).or_default() += 1;
        log.events.push((self.sim.elapsed_millis(), Event::Processed { reader, shard, position, id }));
    }

    /// Anything else worth a line: a crash, a split.
    pub fn note(&self, text: impl Into<String>) {
        self.log().events.push((self.sim.elapsed_millis(), Event::Note(text.into())));
    }

    /// Whether all that was acknowledged so far has been processed.
    pub fn is_complete(&self) -> bool {
        self.log().waiting.is_empty()
    }

    /// One line an event: [milliseconds](Sim::elapsed_millis) and what happened.
    pub fn lines(&self) -> Vec<String> {
        self.log().events.iter().map(|(at, event)| format!("{at} {event}")).collect()
    }

    /// The judgement on what was written so far.
    pub fn judge(&self) -> Judgement {
        let log = self.log();
        let mut judgement = Judgement {
            processed: log.processed.len(),
            lost: log.waiting.iter().cloned().collect(),
            repeated: log
                .processed
                .iter()
                .filter(|(_, count)| **count > 1)
                .map(|(id, _)| id.clone())
                .collect(),
            ..Judgement::default()
        };
        let mut furthest: BTreeMap<&str, ExtendedSequenceNumber> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for (_, event) in &log.events {
            match event {
                Event::Acknowledged { .. } => judgement.acknowledged += 1,
                Event::Processed { shard, position, id, .. } => {
                    let is_first = seen.insert((shard, position));
                    let furthest = furthest.entry(shard).or_insert(*position);
                    if is_first && *position < *furthest {
                        let sentence =
                            format!("{id} of {shard} was first processed at {position}, after {furthest}");
                        judgement.out_of_order.push(sentence);
                    }
                    *furthest = (*furthest).max(*position);
                }
                Event::Note(_) => {}
            }
        }
        judgement
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        // Whoever panicked was the application under test; what it wrote before is what is asked for.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use kinesis_shard::SequenceNumber;

    use super::*;

    fn at(number: u64, index: u64) -> ExtendedSequenceNumber {
        ExtendedSequenceNumber::new(SequenceNumber::from(number), index)
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_acknowledged_must_be_processed_and_may_be_twice() {
        let history = Sim::new(1).history();
        for id in ["a", "b", "c"] {
            history.acknowledged(id);
        }
        // A crash before the checkpoint: the second reader begins again, and finds what nobody was told of.
        history.processed("one", "s", at(1, 0), "a");
        history.processed("two", "s", at(1, 0), "a");
        history.processed("two", "s", at(1, 1), "b");
        history.processed("two", "s", at(2, 0), "untold");
        assert!(!history.is_complete());
        let expected = Judgement {
            acknowledged: 3,
            processed: 3,
            lost: vec!["c".to_owned()],
            repeated: vec!["a".to_owned()],
            out_of_order: Vec::new(),
        };
        assert_eq!(history.judge(), expected);
        history.processed("two", "other", at(1, 0), "c");
        assert!(history.is_complete());
        // Processed before its producer learnt that it is written.
        history.processed("two", "s", at(3, 0), "d");
        history.acknowledged("d");
        assert!(history.is_complete());
        assert_eq!(history.judge().lost, [""; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_time_below_a_later_record_of_the_shard_is_out_of_order() {
        let history = Sim::new(1).history();
        history.processed("one", "s", at(1, 0), "a");
        history.processed("one", "s", at(3, 0), "c");
        history.processed("one", "t", at(2, 0), "elsewhere");
        history.processed("two", "s", at(1, 0), "a");
        assert_eq!(history.judge().out_of_order, [""; 0]);
        history.processed("two", "s", at(2, 5), "b");
        assert_eq!(history.judge().out_of_order, ["b of s was first processed at 2/5, after 3/0"]);
    }

    #[tokio::test(start_paused = true)]
    async fn lines_carry_the_time_of_the_simulation() {
        let sim = Sim::new(1);
        let history = sim.history();
        history.note("begin");
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        history.acknowledged("a");
        history.processed("one", "s", at(1, 0), "a");
        assert_eq!(history.lines(), ["0 begin", "1500 acknowledged a", "1500 one processed a of s at 1/0"]);
    }
}
