//! One distribution for each metric, in all and by shard.

use std::collections::BTreeMap;
use std::sync::Arc;

use kinesis_shard::{ShardId, ShardMap};

use crate::stats::metric::{Distribution, Metric};

type Row = [Distribution; Metric::COUNT];

/// Bounded: shards that no map names any more are dropped.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct MetricTable {
    totals: Row,
    by_shard: BTreeMap<ShardId, Box<Row>>,
    errors: BTreeMap<(Arc<str>, Option<ShardId>), u64>,
}

impl MetricTable {
    /// Takes some samples of one moment in.
    pub(crate) fn add(&mut self, shard: Option<&ShardId>, samples: &[(Metric, f64, u64)]) {
        let mut row = shard.map(|shard| self.by_shard.entry(shard.clone()).or_default());
        for (metric, value, count) in samples {
            cell(&mut self.totals, *metric).add(*value, *count);
            if let Some(row) = &mut row {
                cell(row, *metric).add(*value, *count);
            }
        }
    }

    /// A failed attempt with this code.
    pub(crate) fn error(&mut self, code: &Arc<str>, shard: Option<&ShardId>) {
        *self.errors.entry((Arc::clone(code), shard.cloned())).or_default() += 1;
    }

    /// A gauge as it is now.
    pub(crate) fn gauge(&mut self, metric: Metric, value: f64) {
        let gauge = cell(&mut self.totals, metric);
        *gauge = Distribution::default();
        gauge.add(value, 1);
    }

    pub(crate) fn total(&self, metric: Metric) -> Distribution {
        self.totals.get(metric as usize).copied().unwrap_or_default()
    }

    pub(crate) fn of_shard(&self, shard: &ShardId, metric: Metric) -> Distribution {
        self.by_shard.get(shard).and_then(|row| row.get(metric as usize)).copied().unwrap_or_default()
    }

    pub(crate) fn shards(&self) -> impl Iterator<Item = &ShardId> {
        self.by_shard.keys()
    }

    pub(crate) fn errors(&self) -> impl Iterator<Item = (&Arc<str>, Option<&ShardId>, u64)> {
        self.errors.iter().map(|((code, shard), count)| (code, shard.as_ref(), *count))
    }

    /// Forgets shards that neither map names; their errors stay, without the shard.
    pub(crate) fn keep_shards_of(&mut self, maps: [Option<&ShardMap>; 2]) {
        let named = |shard: &ShardId| maps.iter().flatten().any(|map| map.get(shard).is_some());
        self.by_shard.retain(|shard, _| named(shard));
        for ((code, shard), count) in std::mem::take(&mut self.errors) {
            *self.errors.entry((code, shard.filter(&named))).or_default() += count;
        }
    }
}

fn cell(row: &mut Row, metric: Metric) -> &mut Distribution {
    row.get_mut(metric as usize).expect("a row has a cell for each metric")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::shard_map;

    #[test]
    fn samples_count_in_all_and_for_their_shard_while_a_map_names_it() {
        let mut table = MetricTable::default();
        let [zero, gone] = [ShardId::from_index(0), ShardId::from_index(9)];
        table.add(Some(&zero), &[(Metric::UserRecordsPut, 1.0, 3)]);
        table.add(Some(&gone), &[(Metric::UserRecordsPut, 0.0, 2)]);
        table.add(None, &[(Metric::UserRecordsPut, 1.0, 1)]);
        table.error(&"Code".into(), Some(&zero));
        table.error(&"Code".into(), Some(&gone));
        let put = |table: &MetricTable, shard| table.of_shard(shard, Metric::UserRecordsPut);
        assert_eq!((table.total(Metric::UserRecordsPut).count, put(&table, &zero).count), (6, 3));
        table.keep_shards_of([Some(&shard_map(2)), None]);
        assert_eq!(table.shards().collect::<Vec<_>>(), [&zero]);
        assert_eq!((table.total(Metric::UserRecordsPut).sum, put(&table, &gone).count), (4.0, 0));
        let errors: Vec<_> = table.errors().map(|(_, shard, count)| (shard.cloned(), count)).collect();
        assert_eq!(errors, [(None, 1), (Some(zero), 1)]);
    }

    #[test]
    fn a_gauge_holds_its_last_value() {
        let mut table = MetricTable::default();
        table.gauge(Metric::RequestsInFlight, 7.0);
        table.gauge(Metric::RequestsInFlight, 2.0);
        assert_eq!(
            table.total(Metric::RequestsInFlight),
            Distribution { count: 1, sum: 2.0, min: 2.0, max: 2.0 }
        );
    }
}
