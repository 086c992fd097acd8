//! Work that nobody can avoid who speaks this protocol, done by the usual libraries and by the system.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use bench::{Report, Row};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Bytes of one block: an aggregate.
const BLOCK: usize = 51_200;

pub(crate) fn run(report: &mut Report) {
    blocks(report);
    json(report);
    loopback(report, 1);
    loopback(report, 68_000);
}

fn blocks(report: &mut Report) {
    let block: Vec<u8> = (0..BLOCK).map(|index| (index * 7 % 251).to_le_bytes()[0]).collect();
    let kilobytes = BLOCK as f64 / 1000.0;
    report.time("limit: MD5 of 1 kB", "ns", kilobytes, || {
        black_box(kinesis_shard::md5(black_box(&block)));
    });
    let mut digests = vec![[0; 16]; 64];
    report.time("limit: MD5 of 1 kB, 64 blocks at once", "ns", 64.0 * kilobytes, || {
        kinesis_shard::md5_many(black_box(&[block.as_slice(); 64]), &mut digests);
        black_box(&digests);
    });
    report.time("limit: SHA-256 of 1 kB", "ns", kilobytes, || {
        black_box(Sha256::digest(black_box(&block)));
    });
    let mut copy = vec![0; BLOCK];
    report.time("limit: memcpy of 1 kB", "ns", kilobytes, || {
        copy.copy_from_slice(black_box(&block));
        black_box(&copy);
    });
    let mut text = vec![0; BLOCK * 2];
    report.time("limit: base64 of 1 kB, written", "ns", kilobytes, || {
        let out = base64_simd::Out::from_slice(&mut text);
        black_box(base64_simd::STANDARD.encode(black_box(&block), out));
    });
    let encoded = base64_simd::STANDARD.encode_to_string(&block);
    report.time("limit: base64 of 1 kB, read", "ns", kilobytes, || {
        let out = base64_simd::Out::from_slice(&mut text);
        black_box(base64_simd::STANDARD.decode(black_box(encoded.as_bytes()), out).unwrap());
    });
    report.time("limit: an allocation of 100 bytes and back", "ns", 1.0, || {
        black_box(Vec::<u8>::with_capacity(black_box(100)));
    });
}

/// One entry of each of the two large documents, read into `serde_json`'s tree.
fn json(report: &mut Report) {
    let data = base64_simd::STANDARD.encode_to_string([b'A'; 100]);
    let entry = |number: usize| format!(r#"{{"Data":"{data}","PartitionKey":"key-{number}"}}"#);
    let entries: Vec<_> = (0..500).map(entry).collect();
    let put = format!(r#"{{"StreamName":"load","Records":[{}]}}"#, entries.join(","));
    report.time("limit: JSON of a put entry of 100 B, read", "ns", 500.0, || {
        black_box(serde_json::from_slice::<Value>(black_box(put.as_bytes())).unwrap());
    });
    let aggregate = base64_simd::STANDARD.encode_to_string(vec![b'A'; BLOCK]);
    let record = format!(
        r#"{{"SequenceNumber":"49670000000000000000000000000000000000000000000000000000","ApproximateArrivalTimestamp":1700000000.123,"Data":"{aggregate}","PartitionKey":"a"}}"#
    );
    let get = format!(
        r#"{{"Records":[{}],"MillisBehindLatest":1000,"NextShardIterator":"A"}}"#,
        vec![record.as_str(); 32].join(",")
    );
    let kilobytes = 32.0 * BLOCK as f64 / 1000.0;
    report.time("limit: JSON of 1 kB of aggregates, read", "ns", kilobytes, || {
        black_box(serde_json::from_slice::<Value>(black_box(get.as_bytes())).unwrap());
    });
}

/// Real time of a round trip on one connection: so many bytes there, one back.
fn loopback(report: &mut Report, bytes: usize) {
    let name = format!("limit: loopback round trip, {bytes} B there");
    if !report.wants(&name) {
        return;
    }
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let mut there = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    there.set_nodelay(true).unwrap();
    let (mut here, _) = listener.accept().unwrap();
    here.set_nodelay(true).unwrap();
    let answering = std::thread::spawn(move || {
        let mut buffer = vec![0; bytes];
        while here.read_exact(&mut buffer).is_ok() {
            here.write_all(&[1]).unwrap();
        }
    });
    let request = vec![0; bytes];
    let rounds = (0..report.choose(3, 15))
        .map(|_| {
            let began = Instant::now();
            for _ in 0..500 {
                there.write_all(&request).unwrap();
                there.read_exact(&mut [0]).unwrap();
            }
            began.elapsed().as_secs_f64() * 1e6 / 500.0
        })
        .collect();
    report.row(Row::new(name, "us, real", rounds));
    drop(there);
    answering.join().unwrap();
}
