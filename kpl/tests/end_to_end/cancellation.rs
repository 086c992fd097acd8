//! Every future that the producer hands out is dropped at every poll: nothing is held afterwards, nothing is put that was not accepted,
//! and the producer works on.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures::SinkExt;
use kinesis_sim::{Rule, RuleGuard, Sim, Verdict};
use kpl::{Producer, UserRecord};
use tokio::time::timeout;

use crate::common::{SECOND, STREAM, config, read, record, settled, sim, start};

/// A slow service, and little memory that is taken for the first while.
fn world(seed: u64) -> (Sim, Producer, [RuleGuard; 3]) {
    let sim = sim(seed, 2);
    let slow = |operation, millis| {
        sim.rule(Rule::operation(operation).then(Verdict::Delay(Duration::from_millis(millis))))
    };
    let guards = [slow("ListShards", 35), slow("DescribeStreamSummary", 55), slow("PutRecords", 45)];
    let producer = start(&sim, config().with_max_outstanding_bytes(1_100_000));
    (sim, producer, guards)
}

fn large() -> UserRecord {
    UserRecord::new("large", vec![b'x'; 1_000_000])
}

/// Polls a future so many times, 10 ms apart, then drops it. What it gave, if it came to that.
async fn dropped_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    for _ in 0..polls {
        if let Poll::Ready(output) = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await {
            return Some(output);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    None
}

/// Whatever was dropped: all that was accepted is answered, nothing is held, and the next record goes through.
async fn works_on(producer: &Producer) {
    timeout(60 * SECOND, producer.flush()).await.expect("a flush ends");
    settled(producer);
    let ticket = timeout(60 * SECOND, producer.put(large())).await.expect("there is room").expect("accepted");
    ticket.await.expect("delivered");
    settled(producer);
}

const MOST_POLLS: usize = 30;

#[tokio::test(start_paused = true)]
async fn put_is_all_or_nothing_at_every_poll() {
    let mut finished = 0;
    for polls in 0..MOST_POLLS {
        let (sim, producer, _guards) = world(1);
        // Room for one of them: the other waits for the shards, then for the first one's answer.
        let first = producer.put(large());
        let second = dropped_after(polls, producer.put(UserRecord::new("second", vec![b'y'; 900_000])));
        let (first, second) = futures::future::join(first, second).await;
        first.expect("accepted").await.expect("delivered");
        let accepted = second.is_some();
        finished += usize::from(accepted);
        if let Some(ticket) = second {
            ticket.expect("accepted").await.expect("delivered");
        }
        let stored = read(&sim).iter().filter(|read| read.record.partition_key() == "second").count();
        assert_eq!(stored, usize::from(accepted), "after {polls} polls");
        works_on(&producer).await;
    }
    assert!(finished > 3 && finished < MOST_POLLS - 3, "both ends were reached: {finished}");
}

#[tokio::test(start_paused = true)]
async fn put_of_a_record_whose_limit_is_not_known_yet_is_all_or_nothing_at_every_poll() {
    for polls in 0..MOST_POLLS {
        let (_sim, producer, _guards) = world(2);
        let over = UserRecord::new("k", vec![b'x'; 1 << 20]);
        if let Some(answer) = dropped_after(polls, producer.put(over)).await {
            answer.expect_err("too large for this stream");
        }
        works_on(&producer).await;
    }
}

#[tokio::test(start_paused = true)]
async fn put_many_accepts_a_first_part_at_most() {
    for polls in 0..MOST_POLLS {
        let (sim, producer, _guards) = world(3);
        let records: Vec<_> =
            (0..2000).map(|n| UserRecord::new(format!("k{n:04}"), vec![b'x'; 1000])).collect();
        let all = dropped_after(polls, producer.put_many(records)).await.is_some();
        producer.flush().await;
        let mut numbers: Vec<usize> = read(&sim)
            .iter()
            .map(|read| read.record.partition_key()[1..].parse().expect("a number"))
            .collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..numbers.len()).collect::<Vec<_>>(), "a first part, each once");
        assert!(!all || numbers.len() == 2000);
        works_on(&producer).await;
    }
}

#[tokio::test(start_paused = true)]
async fn reserve_ready_flush_and_tickets_hold_nothing_at_any_poll() {
    for polls in 0..MOST_POLLS {
        let (sim, producer, _guards) = world(4);
        drop(dropped_after(polls, producer.ready()).await);
        let taken = producer.put(large()).await.expect("accepted");
        drop(dropped_after(polls, producer.reserve(900_000)).await);
        dropped_after(polls, producer.flush()).await;
        drop(dropped_after(polls, taken).await);
        let many = producer.put_many(vec![large()]).await.expect("accepted");
        drop(dropped_after(polls, many).await);
        works_on(&producer).await;
        assert_eq!(sim.stored(STREAM).len(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn close_that_is_dropped_leaves_a_closed_producer_that_delivers_the_rest() {
    for polls in 0..MOST_POLLS {
        let (sim, producer, _guards) = world(5);
        let ticket = producer.put(record(1)).await.expect("accepted");
        dropped_after(polls, producer.close(20 * SECOND)).await;
        if polls > 0 {
            assert!(producer.put(record(2)).await.is_err(), "closed");
        }
        timeout(60 * SECOND, ticket).await.expect("answered").expect("delivered");
        settled(&producer);
        assert_eq!(sim.stored(STREAM).len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_is_dropped_puts_what_it_accepted_and_nothing_else() {
    for polls in 0..MOST_POLLS {
        let (sim, producer, _guards) = world(6);
        let mut sink = producer.sink();
        let sent = async {
            for number in 0..4 {
                sink.send(UserRecord::new(format!("k{number}"), vec![b'x'; 500_000])).await.expect("sent");
            }
        };
        let all = dropped_after(polls, sent).await.is_some();
        drop(sink);
        works_on(&producer).await;
        let stored = read(&sim).iter().filter(|read| read.record.partition_key() != "large").count();
        assert!(stored <= 4 && (!all || stored == 4), "{stored} after {polls} polls");
    }
}
