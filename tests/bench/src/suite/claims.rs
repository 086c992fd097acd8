//! What is claimed, beside what, and where the bar is.

use serde_json::{Value, json};

use crate::measured::Figures;

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Better {
    Less,
    More,
}

use Better::{Less, More};

/// Where the bar is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Bar {
    /// None: the figure stands for itself.
    Open,
    /// On our own figure.
    AtMost(f64),
    /// On how many times better ours is than what stands beside it.
    TimesBetter(f64),
}

use Bar::{AtMost, Open, TimesBetter};

/// What, ours, beside what, the bar. Figures as `Figures::value` finds them; an empty name: nothing stands beside it.
type Claim = (&'static str, Better, &'static str, &'static str, Bar);

#[rustfmt::skip]
const CLAIMS: &[Claim] = &[
    ("hash of a key among many, ns, beside one alone", Less, "codecs/hash: a key of many", "codecs/hash: a key", Open),
    ("aggregate written, ns a record", Less, "codecs/aggregate: write, digest included", "", Open),
    ("aggregate read, ns a record", Less, "codecs/aggregate: read many, digests in lanes", "", Open),
    ("shard of a key among 10,000, ns, beside 100", Less, "codecs/predict: one of 10000 shards", "codecs/predict: one of 100 shards", Open),
    ("producer: put to the sealed request, 64 shards, ns", Less, "producer/seal: put, 64 shards", "", AtMost(250.0)),
    ("producer: put_many to the sealed request, 64 shards, ns", Less, "producer/seal: put_many, 64 shards", "", AtMost(125.0)),
    ("producer: put to the signed request, ns", Less, "producer/body: put, 64 shards", "", AtMost(500.0)),
    ("producer: put_many to the signed request, ns", Less, "producer/body: put_many, 64 shards", "", AtMost(250.0)),
    ("producer: allocations a record, put, sealed", Less, "producer/seal: put, 64 shards#allocations", "", AtMost(0.01)),
    ("producer: allocations a record, put_many, sealed", Less, "producer/seal: put_many, 64 shards#allocations", "", AtMost(0.01)),
    ("producer: allocations a record, put, signed", Less, "producer/body: put, 64 shards#allocations", "", AtMost(0.15)),
    ("producer: put, 10,000 shards beside 64, ns", Less, "producer/seal: put, 10000 shards", "producer/seal: put, 64 shards", TimesBetter(1.0 / 3.0)),
    ("producer: put_many, 10,000 shards beside 64, ns", Less, "producer/seal: put_many, 10000 shards", "producer/seal: put_many, 64 shards", TimesBetter(1.0 / 3.0)),
    ("producer: two threads beside one, put, ns", Less, "producer/threads: put, 2", "producer/threads: put, 1", TimesBetter(1.6)),
    ("producer: two threads beside one, put_many, ns", Less, "producer/threads: put_many, 2", "producer/threads: put_many, 1", TimesBetter(1.6)),
    ("producer: a record of ten million beside one of the first million, ns", Less, "producer/grow: records so far: put, 10000000", "producer/grow: records so far: put, 1000000", TimesBetter(0.9)),
    ("producer end to end, records/s, beside the SDK loop", More, "producers/kpl-http: records/s", "producers/sdk-http: records/s", Open),
    ("producer end to end over TLS, records/s, beside the Java KPL", More, "producers/kpl-tls: records/s", "producers/java-kpl-tls: records/s", Open),
    ("producer end to end over TLS, CPU us a record, beside the Java KPL", Less, "producers/kpl-tls: CPU us a record", "producers/java-kpl-tls: CPU us a record", Open),
    ("producer end to end over TLS, peak MiB, beside the Java KPL", Less, "producers/kpl-tls: peak MiB", "producers/java-kpl-tls: peak MiB", Open),
    ("producer end to end, CPU us a record, beside aws_kinesis_agg with boto3", Less, "producers/kpl-http: CPU us a record", "producers/agg-http: CPU us a record", Open),
    ("producer end to end, records/s, beside aiokpl", More, "producers/kpl-http: records/s", "producers/aiokpl-http: records/s", Open),
    ("producer end to end, CPU us a record, beside aiokpl", Less, "producers/kpl-http: CPU us a record", "producers/aiokpl-http: CPU us a record", Open),
    ("consumer: delivered by polling, 1 shard, ns, beside the SDK alone", Less, "consumer/delivered polling shards 1 of 3200", "consumer/floor shards 1 of 3200", AtMost(333.0)),
    ("consumer: delivered by fan-out, 1 shard, ns, beside the SDK alone", Less, "consumer/delivered fanout shards 1 of 3200", "consumer/floor shards 1 of 3200", AtMost(333.0)),
    ("consumer: polling, 1,000 shards beside 1, ns", Less, "consumer/delivered polling shards 1000 of 16", "consumer/delivered polling shards 1 of 3200", TimesBetter(0.9)),
    ("consumer: ten million records in a shard beside a million, ns", Less, "consumer/grow: records: 10000000", "consumer/grow: records: 1000000", TimesBetter(0.9)),
    ("consumer: the most memory, ten million records beside a million, MiB", Less, "consumer/grow: records: 10000000: the most memory", "consumer/grow: records: 1000000: the most memory", TimesBetter(0.9)),
    ("consumer: 1,000 idle shards, % of a core", Less, "consumer/idle: 1000 shards polled over HTTP: CPU", "", AtMost(10.0)),
    ("consumer: 1,000 idle shards, MiB", Less, "consumer/idle: 1000 shards polled over HTTP: memory", "", AtMost(60.0)),
    ("consumer end to end, aggregated, records/s, beside the SDK loop", More, "consumers/kcl, aggregated: records_per_s", "consumers/sdk-loop, aggregated: records_per_s", Open),
    ("consumer end to end, aggregated, CPU s, beside the SDK loop", Less, "consumers/kcl, aggregated: cpu_s", "consumers/sdk-loop, aggregated: cpu_s", Open),
    ("consumer end to end, aggregated, records/s, beside the Java KCL", More, "consumers/kcl, aggregated: records_per_s", "consumers/java-kcl, aggregated: records_per_s", Open),
    ("consumer end to end, aggregated, CPU s, beside the Java KCL", Less, "consumers/kcl, aggregated: cpu_s", "consumers/java-kcl, aggregated: cpu_s", Open),
    ("consumer end to end, aggregated, records/s, beside kcl-rs", More, "consumers/kcl, aggregated: records_per_s", "consumers/kcl-rs, aggregated: records_per_s", Open),
    ("consumer end to end, aggregated, CPU s, beside kcl-rs", Less, "consumers/kcl, aggregated: cpu_s", "consumers/kcl-rs, aggregated: cpu_s", Open),
    ("consumer end to end, aggregated, records/s, beside Go's harlow", More, "consumers/kcl, aggregated: records_per_s", "consumers/go-harlow, aggregated: records_per_s", Open),
    ("consumer end to end, aggregated, CPU s, beside Go's harlow", Less, "consumers/kcl, aggregated: cpu_s", "consumers/go-harlow, aggregated: cpu_s", Open),
    ("lease table: writes a shard and minute, beside Java's", Less, "leases/lease table: 4 workers, 100 shards, renewed each 3.308 s: writes", "leases/lease table: 4 workers, 100 shards, renewed each 3.308 s: writes#Java's", TimesBetter(1.0 / 0.75)),
    ("the same, longest renewal interval", Less, "leases/lease table: 4 workers, 100 shards, renewed each 5.9 s: writes", "leases/lease table: 4 workers, 100 shards, renewed each 5.9 s: writes#Java's", TimesBetter(2.0)),
    ("lease table: listings a worker and minute, beside Java's", Less, "leases/lease table: 4 workers, 400 shards, renewed each 3.308 s: listings", "leases/lease table: 4 workers, 400 shards, renewed each 3.308 s: listings#Java's", TimesBetter(1.0)),
    ("lease table: read units, 100 shards, beside Java's", Less, "leases/lease table: 4 workers, 100 shards, renewed each 3.308 s: read units", "leases/lease table: 4 workers, 100 shards, renewed each 3.308 s: read units#Java's", TimesBetter(1.0)),
    ("clean stop to the successor, 50 shards, worst, s", Less, "leases/gap: clean stop, 50 shards#max", "", AtMost(1.5)),
    ("kill to the successor, 50 shards, worst, s", Less, "leases/gap: kill, 50 shards#max", "", AtMost(11.0)),
    ("planning of 10,000 leases, ms", Less, "leases/planning: 10000 leases, 500 workers", "", AtMost(50.0)),
    ("engine below HTTP: PutRecords, ns a record, beside through the SDK", Less, "engine/engine: PutRecords of 500", "engine/sdk: PutRecords of 500", Open),
    ("engine below HTTP: GetRecords, ns a record, beside through the SDK", Less, "engine/engine: GetRecords of 1000", "engine/sdk: GetRecords of 1000", Open),
    ("engine: a put with ten million stored beside one million, ns", Less, "engine/grow: engine records so far: put, 10000000", "engine/grow: engine records so far: put, 1000000", TimesBetter(0.9)),
    ("engine: a put into 10,000 shards beside 100, ns", Less, "engine/grow: engine put, 10000 shards", "engine/grow: engine put, 100 shards", Open),
    ("server: start to the first answer, ms, beside ferrokinesis", Less, "server/kinesis-sim: start to first answer, ms", "server/ferrokinesis: start to first answer, ms", AtMost(5.0)),
    ("server: idle, MiB, beside ferrokinesis", Less, "server/kinesis-sim: idle, MiB", "server/ferrokinesis: idle, MiB", AtMost(8.0)),
    ("server: PutRecords, records/s, beside ferrokinesis", More, "server/kinesis-sim: PutRecords, records/s", "server/ferrokinesis: PutRecords, records/s", TimesBetter(8.0)),
    ("server: PutRecords, us of CPU a record, beside ferrokinesis", Less, "server/kinesis-sim: PutRecords, us of server CPU a record", "server/ferrokinesis: PutRecords, us of server CPU a record", Open),
    ("server: PutRecords, records/s, beside kinesalite", More, "server/kinesis-sim: PutRecords, records/s", "server/kinesalite: PutRecords, records/s", Open),
    ("server: PutRecords, records/s, beside moto", More, "server/kinesis-sim: PutRecords, records/s", "server/moto: PutRecords, records/s", Open),
    ("server: PutRecords, records/s, beside kinesis-local", More, "server/kinesis-sim: PutRecords, records/s", "server/kinesis-local: PutRecords, records/s", Open),
    ("server: PutRecords, records/s, beside the loopback alone", More, "server/kinesis-sim: PutRecords, records/s", "server/loopback alone: PutRecords, records/s", Open),
    ("server: GetRecords, records/s, beside ferrokinesis", More, "server/kinesis-sim: GetRecords, records/s", "server/ferrokinesis: GetRecords, records/s", TimesBetter(4.0)),
    ("server: GetRecords, us of CPU a record, beside ferrokinesis", Less, "server/kinesis-sim: GetRecords, us of server CPU a record", "server/ferrokinesis: GetRecords, us of server CPU a record", Open),
    ("server: memory a record, bytes, beside ferrokinesis", Less, "server/kinesis-sim: memory, bytes a record", "server/ferrokinesis: memory, bytes a record", Open),
    ("server: PutRecord p50, ms, beside ferrokinesis", Less, "server/kinesis-sim: PutRecord, ms p50", "server/ferrokinesis: PutRecord, ms p50", AtMost(0.1)),
    ("server: CPU a record, last fifth of the run beside the first", Less, "server/kinesis-sim: PutRecords, server CPU a record, last fifth / first", "", AtMost(1.1)),
];

/// A claim with its figures.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) what: &'static str,
    pub(crate) ours: f64,
    pub(crate) beside: Option<f64>,
    /// How many times better ours is than what stands beside it.
    pub(crate) ratio: Option<f64>,
    pub(crate) target: String,
    /// None: no bar, or no figure to hold it to.
    pub(crate) met: Option<bool>,
}

impl Judged {
    pub(crate) fn json(&self) -> Value {
        let Self { what, ours, beside, ratio, target, met } = self;
        json!({"what": what, "ours": ours, "beside": beside, "ratio": ratio, "target": target, "met": met})
    }
}

/// Every claim of which our own figure was measured.
pub(crate) fn judge(figures: &Figures) -> Vec<Judged> {
    CLAIMS.iter().filter_map(|claim| judge_one(figures, claim)).collect()
}

fn judge_one(figures: &Figures, &(what, better, ours, beside, bar): &Claim) -> Option<Judged> {
    let ours = figures.value(ours)?;
    let beside = figures.value(beside);
    let ratio = beside.map(|beside| if better == More { ours / beside } else { beside / ours });
    let (target, met) = match bar {
        Open => (String::new(), None),
        AtMost(bar) => (format!("at most {bar}"), Some(ours <= bar)),
        TimesBetter(bar) => (format!("ratio {bar:.2}"), ratio.map(|ratio| ratio >= bar)),
    };
    Some(Judged { what, ours, beside, ratio, target, met })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measured::Measured;

    fn figures() -> Figures {
        let row = |name: &str, value| Measured::of_rounds("p", name.into(), "ns", vec![value]);
        Figures { rows: vec![row("ours", 50.0), row("theirs", 100.0)], skipped: Vec::new() }
    }

    #[test]
    fn a_claim_is_met_only_if_the_figures_say_so() {
        let met = |better, bar| judge_one(&figures(), &("x", better, "p/ours", "p/theirs", bar)).unwrap().met;
        assert_eq!(met(Less, TimesBetter(2.0)), Some(true));
        assert_eq!(met(Less, TimesBetter(2.1)), Some(false));
        assert_eq!(met(More, TimesBetter(0.6)), Some(false));
        assert_eq!(met(Less, AtMost(49.0)), Some(false));
        assert_eq!(met(Less, Open), None);
    }

    #[test]
    fn what_was_not_measured_is_not_met() {
        let alone = judge_one(&figures(), &("x", Less, "p/ours", "p/nobody", TimesBetter(1.0))).unwrap();
        assert_eq!((alone.beside, alone.met), (None, None));
        assert!(judge_one(&figures(), &("x", Less, "p/nobody", "p/theirs", Open)).is_none());
    }
}
