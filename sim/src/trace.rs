//! What happened, one line per call: the same seed and the same calls give the same bytes.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use kinesis_shard::ShardId;

/// One call.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// Milliseconds since the simulation was first used.
    pub(crate) at: u64,
    pub(crate) caller: Arc<str>,
    pub(crate) operation: String,
    /// Stream, or empty.
    pub(crate) stream: String,
    /// The shard that is named or read.
    pub(crate) shard: Option<u32>,
    pub(crate) outcome: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, caller, operation, stream, shard, outcome } = self;
        write!(f, "{at} {caller} {operation}")?;
        if !stream.is_empty() {
            write!(f, " {stream}")?;
        }
        if let Some(index) = shard {
            write!(f, " {}", ShardId::from_index(u64::from(*index)))?;
        }
        write!(f, " {outcome}")
    }
}

/// The last so many calls.
#[derive(Debug)]
pub(crate) struct Trace {
    capacity: usize,
    lines: VecDeque<Line>,
}

impl Trace {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, lines: VecDeque::new() }
    }

    /// Whether lines are kept at all: if not, none need be made.
    pub(crate) fn is_on(&self) -> bool {
        self.capacity > 0
    }

    pub(crate) fn add(&mut self, line: Line) {
        if self.lines.len() >= self.capacity {
            self.lines.pop_front();
        }
        if self.is_on() {
            self.lines.push_back(line);
        }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.iter().map(ToString::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_lines_are_kept() {
        let line = |at| Line {
            at,
            caller: "a".into(),
            operation: "ListStreams".to_owned(),
            stream: String::new(),
            shard: None,
            outcome: "ok".to_owned(),
        };
        let mut trace = Trace::new(2);
        (0..4).for_each(|at| trace.add(line(at)));
        assert_eq!(trace.lines(), ["2 a ListStreams ok", "3 a ListStreams ok"]);
        let mut off = Trace::new(0);
        off.add(line(1));
        assert_eq!(off.lines(), Vec::<String>::new());
    }
}
