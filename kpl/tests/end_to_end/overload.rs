//! Far more than the stream takes, for minutes.

use std::time::Duration;

use kpl::{TryPutError, UserRecord};

use crate::common::{Stopwatch, config, sim, start};

const BOUND: usize = 8 * 1024 * 1024;
const RECORD: usize = 10_000;
/// What one shard takes.
const SHARD_BYTES_PER_SECOND: u64 = 1024 * 1024;
const OVERLOAD: Duration = Duration::from_mins(3);

/// 10 MB/s are offered to a shard that takes 1 MiB/s: what does not fit into the bound is handed back, what does is delivered at the
/// shard's rate, and what is left when the overload ends follows at that rate too.
#[tokio::test(start_paused = true)]
async fn overload_stays_within_the_bound_and_drains_at_the_rate_of_the_stream() {
    let sim = sim(7, 1);
    let producer = start(&sim, config().with_max_outstanding_bytes(BOUND));
    producer.ready().await.unwrap();
    let (mut offered, mut refused, mut most) = (0_u64, 0_u64, 0);
    let began = Stopwatch::start();
    while began.elapsed() < OVERLOAD {
        tokio::time::sleep(Duration::from_millis(1)).await;
        offered += 1;
        let record = UserRecord::new(format!("key-{offered}"), vec![7; RECORD]);
        match producer.try_put(record) {
            Ok(_ticket) => {}
            Err(TryPutError::Full(_)) => refused += 1,
            Err(other) => panic!("{other}"),
        }
        most = most.max(producer.stats().outstanding_bytes);
    }
    let stats = producer.stats();
    let during = stats.user_records_put * RECORD as u64;
    let left = stats.outstanding_bytes;
    let stopped = Stopwatch::start();
    producer.flush().await;
    let drained = stopped.elapsed();
    let stats = producer.stats();

    assert!(refused > offered * 8 / 10, "{refused} of {offered} were handed back");
    assert!(most <= BOUND as u64, "{most} bytes were held, {BOUND} are allowed");
    assert_eq!(stats.user_records_failed, 0);
    assert_eq!(stats.user_records_put, offered - refused);
    let possible = SHARD_BYTES_PER_SECOND * OVERLOAD.as_secs();
    assert!(during * 20 >= possible * 19, "{during} bytes were delivered, {possible} were possible");
    let needed = Duration::from_secs(left) / u32::try_from(SHARD_BYTES_PER_SECOND).unwrap();
    assert!(drained <= needed.mul_f64(1.1), "{left} bytes took {drained:?}, {needed:?} were needed");
}
