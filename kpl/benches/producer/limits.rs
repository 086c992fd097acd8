//! What the format and the protocol force on everyone, on this machine: the floor below every producer.

use std::hint::black_box;

use sha2::{Digest, Sha256};

use bench::Report;

const BODY: usize = 51_200;

pub(crate) fn run(report: &mut Report) {
    let keys: Vec<String> = (0..1024).map(|number| format!("customer-{number:011}")).collect();
    report.time("limit: MD5 of a 20-byte key", "ns", 1024.0, || {
        for key in &keys {
            black_box(kinesis_shard::md5(black_box(key.as_bytes())));
        }
    });
    report.time("ours: hash key of a 20-byte key", "ns", 1024.0, || {
        for key in &keys {
            black_box(kinesis_shard::HashKey::of_partition_key(black_box(key)));
        }
    });
    let slices: Vec<&[u8]> = keys.iter().map(String::as_bytes).collect();
    let mut digests = vec![[0; 16]; slices.len()];
    report.time("limit: MD5 of a 20-byte key, in lanes", "ns", 1024.0, || {
        kinesis_shard::md5_many(black_box(&slices), &mut digests);
        black_box(&digests);
    });
    let body: Vec<u8> = (0..BODY).map(|index| (index * 7 % 251).to_le_bytes()[0]).collect();
    let kilobytes = BODY as f64 / 1000.0;
    report.time("limit: MD5 of 1 kB of a body", "ns", kilobytes, || {
        black_box(kinesis_shard::md5(black_box(&body)));
    });
    // As many as there are in a request.
    report.time("limit: MD5 of 1 kB of a body, in lanes", "ns", 96.0 * kilobytes, || {
        kinesis_shard::md5_many(black_box(&[body.as_slice(); 96]), &mut digests[..96]);
        black_box(&digests);
    });
    let mut copy = vec![0; BODY];
    report.time("limit: memcpy of 1 kB", "ns", kilobytes, || {
        copy.copy_from_slice(black_box(&body));
        black_box(&copy);
    });
    let mut text = vec![0; BODY * 2];
    report.time("limit: base64 of 1 kB", "ns", kilobytes, || {
        let out = base64_simd::Out::from_slice(&mut text);
        black_box(base64_simd::STANDARD.encode(black_box(&body), out));
    });
    report.time("limit: SHA-256 of 1 kB", "ns", kilobytes, || {
        black_box(Sha256::digest(black_box(&body)));
    });
}
