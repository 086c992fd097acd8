//! The least that any server costs: it reads whole requests and writes answers made before, of the size of ours. What
//! is left of a measurement against it is the client, HTTP's heads and the loopback.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

/// Serves for ever on this port, one thread for each connection.
pub(crate) fn serve(port: u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    std::thread::scope(|scope| {
        for stream in listener.incoming() {
            scope.spawn(|| answer(stream.unwrap()));
        }
    });
}

fn answer(mut stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let number = "49670000000000000000000000000000000000000000000000000000";
    let entry = format!(r#"{{"SequenceNumber":"{number}","ShardId":"shardId-000000000000"}}"#);
    let put = format!(r#"{{"FailedRecordCount":0,"Records":[{}]}}"#, vec![entry.as_str(); 500].join(","));
    let data = "QUFB".repeat(33) + "QQ==";
    let record = format!(
        r#"{{"SequenceNumber":"{number}","ApproximateArrivalTimestamp":1700000000.123,"Data":"{data}","PartitionKey":"key-12345"}}"#
    );
    let records = vec![record.as_str(); 1000].join(",");
    let iterator = "A".repeat(204);
    let get =
        format!(r#"{{"Records":[{records}],"MillisBehindLatest":1000,"NextShardIterator":"{iterator}"}}"#);
    let answers = [
        ("PutRecords\r", put),
        ("GetRecords\r", get),
        ("PutRecord\r", entry),
        ("GetShardIterator\r", format!(r#"{{"ShardIterator":"{iterator}"}}"#)),
        ("", r#"{"StreamDescription":{"StreamStatus":"ACTIVE"}}"#.to_owned()),
    ];
    let answers = answers.map(|(name, body)| {
        (
            name,
            format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            ),
        )
    });
    let mut buffer = vec![0; 1 << 20];
    loop {
        let mut filled = 0;
        let head = loop {
            match stream.read(&mut buffer[filled..]) {
                Ok(0) | Err(_) => return,
                Ok(count) => filled += count,
            }
            if let Some(end) = buffer[..filled].windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let text = String::from_utf8_lossy(&buffer[..head]).into_owned();
        let length = text.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap_or("0");
        let end = head + length.parse::<usize>().unwrap();
        while filled < end {
            match stream.read(&mut buffer[filled..]) {
                Ok(0) | Err(_) => return,
                Ok(count) => filled += count,
            }
        }
        let (_, answer) = answers.iter().find(|(name, _)| text.contains(name)).unwrap();
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}
