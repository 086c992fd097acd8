//! One record in a file, as every program here writes it: tab-separated, one a line.
//!
//! ```text
//! shard  sequence-number  sub-sequence-number  key  explicit-hash-key  data-in-hex  plain|aggregated  milliseconds
//! ```
//!
//! `-` stands for what the writer does not know, and for no explicit hash key. The time is when a reader was given the
//! record, 0 from a producer. A line that begins with `#` is an event: `# begin SHARD` where a reader starts on a shard.

use std::fmt::{self, Write};
use std::fs;
use std::path::Path;

use kinesis_shard::{HashKey, SequenceNumber};

use crate::Problem;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Line {
    pub(crate) shard: String,
    pub(crate) sequence_number: SequenceNumber,
    pub(crate) sub_sequence_number: Option<u64>,
    pub(crate) key: String,
    pub(crate) explicit_hash_key: Option<HashKey>,
    pub(crate) data: String,
    pub(crate) is_aggregated: Option<bool>,
    pub(crate) millis: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    Record(Line),
    Begin(String),
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _infallible = write!(text, "{byte:02x}");
    }
    text
}

impl fmt::Display for Line {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn or_dash(value: Option<impl fmt::Display>) -> String {
            value.map_or_else(|| "-".to_owned(), |value| value.to_string())
        }
        write!(
            formatter,
            "{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}",
            self.shard,
            self.sequence_number,
            or_dash(self.sub_sequence_number),
            self.key,
            or_dash(self.explicit_hash_key),
            self.data,
            match self.is_aggregated {
                None => "-",
                Some(true) => "aggregated",
                Some(false) => "plain",
            },
            self.millis
        )
    }
}

impl Line {
    /// For messages: the data of a record may fill pages.
    pub(crate) fn short(&self) -> String {
        self.to_string().chars().take(200).collect()
    }
}

/// Every entry of a file. A last line without its end is what a killed program was about to write: it is left out.
pub(crate) fn read(path: &Path) -> Result<Vec<Entry>, Problem> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let whole = text.rfind('\n').map_or("", |end| text.get(..end).unwrap_or_default());
    let mut entries = Vec::new();
    for (number, text) in whole.lines().enumerate() {
        if let Some(event) = text.strip_prefix('#') {
            let mut words = event.split_whitespace();
            if words.next() == Some("begin") {
                entries.push(Entry::Begin(words.next().unwrap_or_default().to_owned()));
            }
        } else {
            let line = parse(text)
                .ok_or_else(|| format!("{}:{}: not a record: {text:.200}", path.display(), number + 1))?;
            entries.push(Entry::Record(line));
        }
    }
    Ok(entries)
}

fn parse(text: &str) -> Option<Line> {
    let mut fields = text.split('\t');
    let mut next = || fields.next();
    let line = Line {
        shard: next()?.to_owned(),
        sequence_number: next()?.parse().ok()?,
        sub_sequence_number: optional(next()?, |text| text.parse().ok())?,
        key: next()?.to_owned(),
        explicit_hash_key: optional(next()?, |text| HashKey::parse_explicit(text).ok())?,
        data: next()?.to_owned(),
        is_aggregated: match next()? {
            "-" => None,
            "aggregated" => Some(true),
            "plain" => Some(false),
            _ => return None,
        },
        millis: next()?.parse().ok()?,
    };
    fields.next().is_none().then_some(line)
}

/// `None`: broken. `Some(None)`: a dash.
#[expect(clippy::option_option, reason = "private, and said in the line above")]
fn optional<T>(text: &str, parse: impl Fn(&str) -> Option<T>) -> Option<Option<T>> {
    if text == "-" { Some(None) } else { parse(text).map(Some) }
}
