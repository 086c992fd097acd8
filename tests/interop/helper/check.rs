//! What was put against what was read: every record, where its producer was told it is, as it was put, and in order.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use aws_sdk_kinesis::Client;
use kinesis_shard::{HashKey, SequenceNumber};

use crate::line::{self, Entry, Line};
use crate::{Problem, StreamOption};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What a producer wrote down; may be given several times.
    #[arg(long, required = true)]
    put: Vec<PathBuf>,
    /// What a reader wrote down; may be given several times, for readers that shared the shards.
    #[arg(long, required = true)]
    got: Vec<PathBuf>,
    /// The reader gives members without an explicit hash key the first one of their aggregate.
    #[arg(long)]
    borrowed_hash_keys: bool,
    /// Where to ask for the lineage: no child may have been begun before its parents were read to their end.
    #[command(flatten)]
    stream: StreamOption,
}

/// Where one record is: members of one aggregate differ in the last number.
type Place = (String, SequenceNumber, u64);

#[derive(Debug, Default)]
pub(crate) struct Check {
    /// By key and data.
    put: BTreeMap<(String, String), Line>,
    delivered: BTreeSet<(String, String)>,
    /// The first explicit hash key of each Kinesis record, for readers that lend it to the other members.
    lent: Option<BTreeMap<(String, SequenceNumber), (u64, HashKey)>>,
    /// When each place was first read.
    first_read: BTreeMap<Place, u64>,
    holdings: u64,
    aggregated: u64,
    repeated: u64,
    /// Read at a place that nobody was told of: an attempt that was made again elsewhere.
    copies: u64,
    problems: Vec<String>,
}

pub(crate) async fn run(arguments: Arguments) -> Result<String, Problem> {
    let mut check = Check { lent: arguments.borrowed_hash_keys.then(BTreeMap::new), ..Check::default() };
    for path in &arguments.put {
        check.add_put(path)?;
    }
    for path in &arguments.got {
        check.add_got(path)?;
    }
    check.judge();
    if let Some(client) = arguments.stream.client() {
        let stream = arguments.stream.stream.as_deref().unwrap_or_default();
        check.judge_lineage(&lineage(&client, stream).await?);
    }
    let summary = check.summary();
    if check.problems.is_empty() { Ok(summary) } else { Err(format!("{summary}\n{}", check.told()).into()) }
}

impl Check {
    pub(crate) fn add_put(&mut self, path: &Path) -> Result<(), Problem> {
        for entry in line::read(path)? {
            let Entry::Record(line) = entry else { continue };
            if let (Some(lent), Some(key), Some(sub)) =
                (&mut self.lent, line.explicit_hash_key, line.sub_sequence_number)
            {
                let first = lent.entry((line.shard.clone(), line.sequence_number)).or_insert((sub, key));
                *first = (*first).min((sub, key));
            }
            let identity = (line.key.clone(), line.data.clone());
            if let Some(other) = self.put.insert(identity, line) {
                return Err(format!("{}: two records are alike: {}", path.display(), other.short()).into());
            }
        }
        Ok(())
    }

    pub(crate) fn add_got(&mut self, path: &Path) -> Result<(), Problem> {
        let mut last: BTreeMap<String, (SequenceNumber, u64)> = BTreeMap::new();
        for entry in line::read(path)? {
            let line = match entry {
                Entry::Begin(shard) => {
                    last.remove(&shard);
                    self.holdings += 1;
                    continue;
                }
                Entry::Record(line) => line,
            };
            let position = (line.sequence_number, line.sub_sequence_number.unwrap_or(0));
            if let Some(before) = last.insert(line.shard.clone(), position)
                && before >= position
            {
                let (number, sub) = before;
                self.problems.push(format!("{}: {} came after {number}/{sub}", path.display(), line.short()));
            }
            self.got(&line);
        }
        Ok(())
    }

    fn got(&mut self, line: &Line) {
        let identity = (line.key.clone(), line.data.clone());
        let Some(put) = self.put.get(&identity) else {
            self.problems.push(format!("nobody put {}", line.short()));
            return;
        };
        self.aggregated += u64::from(line.is_aggregated == Some(true));
        let sub = line.sub_sequence_number.unwrap_or(0);
        let place = (line.shard.clone(), line.sequence_number, sub);
        if let Some(first) = self.first_read.get_mut(&place) {
            self.repeated += 1;
            *first = line.millis.min(*first);
        } else {
            self.first_read.insert(place, line.millis);
        }
        let is_where_told = (&put.shard, put.sequence_number) == (&line.shard, line.sequence_number)
            && put.sub_sequence_number.is_none_or(|told| told == sub);
        let lent = match &self.lent {
            // Of a copy's aggregate nobody knows the members.
            Some(_) if !is_where_told && put.explicit_hash_key.is_none() => line.explicit_hash_key,
            Some(lent) => lent.get(&(line.shard.clone(), line.sequence_number)).map(|(_, key)| *key),
            None => None,
        };
        // The service returns no explicit hash key; inside an aggregate it is kept.
        let is_kept = line.is_aggregated != Some(false);
        if is_kept && put.explicit_hash_key.or(lent) != line.explicit_hash_key {
            self.problems.push(format!(
                "another explicit hash key than in {}: {}",
                put.short(),
                line.short()
            ));
        }
        if is_where_told {
            self.delivered.insert(identity);
        } else {
            self.copies += 1;
        }
    }

    pub(crate) fn judge(&mut self) {
        for (identity, put) in &self.put {
            if !self.delivered.contains(identity) {
                self.problems.push(format!("lost, or not where its producer was told: {}", put.short()));
            }
        }
        // Members are numbered from 0 without a hole.
        let mut members: BTreeMap<(&String, SequenceNumber), (u64, u64)> = BTreeMap::new();
        for (shard, number, sub) in self.first_read.keys() {
            let (count, greatest) = members.entry((shard, *number)).or_default();
            *count += 1;
            *greatest = (*greatest).max(*sub);
        }
        for ((shard, number), (count, greatest)) in members {
            if count != greatest + 1 {
                self.problems
                    .push(format!("{shard} {number}: {count} members, the last is number {greatest}"));
            }
        }
    }

    /// Children with their parents.
    pub(crate) fn judge_lineage(&mut self, lineage: &[(String, String)]) {
        for (child, parent) in lineage {
            let times = |shard| self.first_read.iter().filter(move |((of, ..), _)| of == shard);
            let began = times(child).map(|(_, millis)| *millis).min();
            let ended = times(parent).map(|(_, millis)| *millis).max();
            if let (Some(began), Some(ended)) = (began, ended)
                && began < ended
            {
                let early = ended - began;
                self.problems.push(format!("{child} was begun {early} ms before {parent} had been read"));
            }
        }
    }

    /// Whether a record is still missing.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.delivered.len() < self.put.len()
    }

    pub(crate) fn problems(&self) -> &[String] {
        &self.problems
    }

    /// The first problems, one a line.
    pub(crate) fn told(&self) -> String {
        let first: Vec<_> = self.problems.iter().take(20).map(String::as_str).collect();
        let more = self.problems.len() - first.len();
        if more == 0 { first.join("\n") } else { format!("{}\n({more} more)", first.join("\n")) }
    }

    pub(crate) fn summary(&self) -> String {
        let shards: BTreeSet<_> = self.first_read.keys().map(|(shard, ..)| shard).collect();
        let mut text =
            format!("{} of {} records read where they were put", self.delivered.len(), self.put.len());
        for (count, what) in [
            (shards.len() as u64, "shards"),
            (self.holdings, "holdings"),
            (self.aggregated, "out of aggregates"),
            (self.repeated, "read again"),
            (self.copies, "copies elsewhere"),
        ] {
            if count > 0 {
                let _infallible = write!(text, ", {count} {what}");
            }
        }
        text
    }
}

pub(crate) async fn lineage(client: &Client, stream: &str) -> Result<Vec<(String, String)>, Problem> {
    let mut pairs = Vec::new();
    // One page holds up to 1,000 shards, which is more than any of these streams has.
    for shard in client.list_shards().stream_name(stream).send().await?.shards() {
        for parent in [shard.parent_shard_id(), shard.adjacent_parent_shard_id()].into_iter().flatten() {
            pairs.push((shard.shard_id().to_owned(), parent.to_owned()));
        }
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const PUT: &str = "\
s-0\t10\t0\tann\t-\t00\t-\t0
s-0\t10\t1\tbob\t5\t01\t-\t0
s-0\t11\t0\tann\t-\t02\t-\t0
s-1\t12\t0\tcyd\t7\t03\t-\t0
";
    const GOT: &str = "\
# begin s-0
s-0\t10\t0\tann\t-\t00\taggregated\t100
s-0\t10\t1\tbob\t5\t01\taggregated\t100
s-0\t11\t0\tann\t-\t02\tplain\t110
# begin s-1
s-1\t12\t0\tcyd\t-\t03\tplain\t120
";

    /// What is said of these lines, when the second shard is the child of the first.
    fn judged(put: &str, got: &[&str]) -> Vec<String> {
        let file = |text: &str| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file
        };
        let mut check = Check::default();
        check.add_put(file(put).path()).unwrap();
        for text in got {
            check.add_got(file(text).path()).unwrap();
        }
        check.judge();
        check.judge_lineage(&[("s-1".to_owned(), "s-0".to_owned())]);
        check.problems
    }

    fn with(from: &str, to: &str) -> String {
        assert!(GOT.contains(from));
        GOT.replace(from, to)
    }

    #[test]
    fn what_was_put_and_read_is_accepted() {
        assert_eq!(judged(PUT, &[GOT]), Vec::<String>::new());
    }

    #[test]
    fn a_second_reader_may_read_again_what_the_first_one_did_not_checkpoint() {
        let again = "# begin s-0\ns-0\t11\t0\tann\t-\t02\tplain\t115\n";
        assert_eq!(judged(PUT, &[GOT, again]), Vec::<String>::new());
    }

    #[test]
    fn a_line_that_a_killed_reader_did_not_finish_does_not_count() {
        assert_eq!(judged(PUT, &[GOT, "# begin s-0\ns-0\t11\t0\tann\t-"]), Vec::<String>::new());
    }

    #[test]
    fn a_producer_that_knows_no_sub_sequence_numbers_is_believed_the_rest() {
        let put = PUT.replace("\t10\t0\t", "\t10\t-\t").replace("\t10\t1\t", "\t10\t-\t");
        assert_eq!(judged(&put, &[GOT]), Vec::<String>::new());
    }

    #[test]
    fn every_difference_is_found() {
        let swapped =
            "# begin s-0\ns-0\t11\t0\tann\t-\t02\tplain\t100\ns-0\t10\t0\tann\t-\t00\taggregated\t110\n";
        let rest =
            "s-0\t10\t1\tbob\t5\t01\taggregated\t110\n# begin s-1\ns-1\t12\t0\tcyd\t-\t03\tplain\t120\n";
        let cases = [
            ("lost", with("s-0\t11\t0\tann\t-\t02\tplain\t110\n", "")),
            ("lost", with("s-1\t12\t", "s-1\t13\t")),
            ("lost", with("s-1\t12\t0\tcyd", "s-2\t12\t0\tcyd")),
            ("nobody put", with("\tcyd\t", "\tdan\t")),
            ("nobody put", with("\t03\t", "\t04\t")),
            ("another explicit hash key", with("\tbob\t5\t", "\tbob\t-\t")),
            ("another explicit hash key", with("\tann\t-\t00", "\tann\t5\t00")),
            ("1 members, the last is number 1", with("s-0\t10\t0\tann\t-\t00\taggregated\t100\n", "")),
            ("came after", format!("{swapped}{rest}")),
            ("came after", with("# begin s-1", "s-0\t11\t0\tann\t-\t02\tplain\t110")),
            ("was begun 10 ms before", with("\t03\tplain\t120", "\t03\tplain\t100")),
        ];
        for (problem, got) in cases {
            let found = judged(PUT, &[&got]);
            assert!(found.iter().any(|text| text.contains(problem)), "{problem}: {found:?}\n{got}");
        }
    }
}
