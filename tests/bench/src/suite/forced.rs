//! How much of a record's time is work that format and protocol force on everyone: the limits measured in the same run, times
//! what a record needs of each.

use serde_json::{Value, json};

use crate::measured::Figures;

/// A data record of 100 bytes under a key of 20 takes so many bytes in an aggregate.
const AGGREGATED: f64 = 129.0;

/// So many of this limit's units in a record.
type Part = (&'static str, &'static str, f64);

#[derive(Debug)]
pub(crate) struct Share {
    pub(crate) what: &'static str,
    pub(crate) takes: f64,
    /// Name and nanoseconds of each part.
    pub(crate) parts: Vec<(&'static str, f64)>,
}

impl Share {
    pub(crate) fn forced(&self) -> f64 {
        self.parts.iter().map(|(_, nanos)| nanos).sum()
    }

    pub(crate) fn json(&self) -> Value {
        let parts: Vec<_> =
            self.parts.iter().map(|(name, nanos)| json!({"work": name, "ns": nanos})).collect();
        json!({"what": self.what, "ns": self.takes, "forced_ns": self.forced(), "parts": parts})
    }
}

const KEY_ALONE: &str = "codecs/hash: a key";
const KEY_OF_MANY: &str = "codecs/hash: a key of many";
const MD5: &str = "codecs/limit: MD5 of 1 kB, 64 blocks at once";
const SHA: &str = "codecs/limit: SHA-256 of 1 kB";
const COPY: &str = "codecs/limit: memcpy of 1 kB";
const WRITE_BASE64: &str = "codecs/limit: base64 of 1 kB, written";
const READ_BASE64: &str = "codecs/limit: base64 of 1 kB, read";
const READ_AGGREGATES: &str = "codecs/limit: JSON of 1 kB of aggregates, read";
const READ_ENTRY: &str = "codecs/limit: JSON of a put entry of 100 B, read";

/// Everything of which all parts were measured.
pub(crate) fn shares(figures: &Figures) -> Vec<Share> {
    let kilobytes = AGGREGATED / 1000.0;
    let body =
        |case: &str| figures.value(&format!("producer/{case}#body bytes")).unwrap_or(f64::NAN) / 1000.0;
    let signed = |key, case| -> Vec<Part> {
        vec![
            ("MD5 of the key", key, 1.0),
            ("MD5 of the aggregate", MD5, kilobytes),
            ("copying in and out", COPY, 2.0 * kilobytes),
            ("base64", WRITE_BASE64, kilobytes),
            ("SHA-256 of the body", SHA, body(case)),
        ]
    };
    let read: Vec<Part> = vec![
        ("base64", READ_BASE64, kilobytes),
        ("JSON", READ_AGGREGATES, kilobytes),
        ("MD5 of the aggregate", MD5, kilobytes),
        ("copying", COPY, kilobytes),
    ];
    let put: Vec<Part> = vec![
        ("JSON of the entry", READ_ENTRY, 1.0),
        ("base64", READ_BASE64, 0.1),
        ("MD5 of the key", KEY_OF_MANY, 1.0),
        ("copying", COPY, 0.108),
    ];
    let get: Vec<Part> = vec![("base64", WRITE_BASE64, 0.1), ("copying", COPY, 0.35)];
    [
        (
            "producer: put to the signed request",
            "producer/body: put, 64 shards",
            signed(KEY_ALONE, "body: put, 64 shards"),
        ),
        (
            "producer: put_many to the signed request",
            "producer/body: put_many, 64 shards",
            signed(KEY_OF_MANY, "body: put_many, 64 shards"),
        ),
        ("consumer: polling, engine and SDK included", "consumer/delivered polling shards 1 of 3200", read),
        ("engine: PutRecords below HTTP", "engine/engine: PutRecords of 500", put),
        ("engine: GetRecords below HTTP", "engine/engine: GetRecords of 1000", get),
    ]
    .into_iter()
    .filter_map(|(what, case, parts)| {
        let part = |(name, limit, count): &Part| Some((*name, figures.value(limit)? * count));
        let parts: Option<Vec<_>> = parts.iter().map(part).collect();
        Some(Share { what, takes: figures.value(case)?, parts: parts? })
    })
    .collect()
}

/// What a record of so many bytes cannot cost less than, in nanoseconds: by name of the plot.
pub(crate) fn floor_of(figures: &Figures, plot: &str, bytes: f64) -> Option<f64> {
    let each = |limit: &str| figures.value(limit);
    let kilobytes = bytes / 1000.0;
    // What is larger than an aggregate goes without one, and without its digest.
    let digested = if bytes < 50_000.0 { kilobytes } else { 0.0 };
    Some(match plot {
        "producer-size" => {
            let body = kilobytes * 4.0 / 3.0;
            each(KEY_ALONE)?
                + digested * each(MD5)?
                + kilobytes * (2.0 * each(COPY)? + each(WRITE_BASE64)?)
                + body * each(SHA)?
        }
        "consumer-size" => {
            digested * each(MD5)? + kilobytes * (each(READ_BASE64)? + each(READ_AGGREGATES)? + each(COPY)?)
        }
        "engine-size" => each(KEY_OF_MANY)? + kilobytes * (each(READ_BASE64)? + each(COPY)?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measured::Measured;

    #[test]
    fn a_share_is_the_sum_of_its_parts_and_missing_ones_leave_none() {
        let row = |program, name: &str, value| Measured::of_rounds(program, name.into(), "ns", vec![value]);
        let mut figures = Figures::default();
        figures.rows.push(row("engine", "engine: GetRecords of 1000", 100.0));
        figures.rows.push(row("codecs", "limit: base64 of 1 kB, written", 80.0));
        assert!(shares(&figures).is_empty());
        figures.rows.push(row("codecs", "limit: memcpy of 1 kB", 20.0));
        let shares = shares(&figures);
        assert_eq!(shares.len(), 1);
        assert!((shares[0].forced() - 15.0).abs() < 1e-9);
    }
}
