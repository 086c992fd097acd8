//! Records through a producer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bench::{Report, Row, allocations, process_time, thread_time};
use bytes::Bytes;
use kpl::{Producer, ProducerConfig, Ticket, Tickets, UserRecord};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::connector::Connector;

pub(crate) const RECORD_BYTES: usize = 100;
const KEYS: u32 = 262_144;
pub(crate) const SHARDS: u32 = 64;
/// Records of one round.
const ROUND: usize = 262_144;
const ROUNDS: usize = 8;
/// Records of one `put_many`.
const MANY: usize = 4_096;
/// Tickets that are held before the oldest is awaited: more than what fills the aggregates of 64 shards and a request, so that nothing
/// waits for time.
const WINDOW: usize = 131_072;
/// The same where the shards are so many that the byte budget does not fill their aggregates.
const LARGE_WINDOW: usize = 393_216;

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum By {
    Put,
    /// Each call's records are looked at together.
    PutMany,
    /// Each record's own answer is read.
    PutManyEach,
}

pub(crate) fn run(report: &mut Report) {
    for (by, name) in [(By::Put, "put"), (By::PutMany, "put_many")] {
        for shards in [1, 8, SHARDS, 1_000, 10_000] {
            one_thread(report, &format!("seal: {name}, {shards} shards"), by, shards, false);
        }
        one_thread(report, &format!("body: {name}, {SHARDS} shards"), by, SHARDS, true);
        for threads in [1, 2] {
            several_threads(report, &format!("threads: {name}, {threads}"), by, threads);
        }
    }
    one_thread(
        report,
        &format!("seal: put_many, {SHARDS} shards, each answer"),
        By::PutManyEach,
        SHARDS,
        false,
    );
    one_thread(
        report,
        &format!("body: put_many, {SHARDS} shards, each answer"),
        By::PutManyEach,
        SHARDS,
        true,
    );
}

pub(crate) fn config(shards: u32) -> ProducerConfig {
    // Aggregates are to be sealed because they are full, also where other programs take most of the machine; of very many shards the byte
    // budget fills none.
    let linger = if shards > SHARDS { Duration::from_secs(1) } else { Duration::from_secs(5) };
    // No shard may hold the producer back: what is measured is work, not the service's limits.
    ProducerConfig::new("measured")
        .with_rate_limit(100_000)
        .with_seed(1)
        .with_record_max_buffered_time(linger)
        .with_record_ttl(Duration::from_hours(1))
}

pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// What a caller has before it calls; made outside of what is measured.
pub(crate) struct Source {
    rng: SmallRng,
    record_bytes: usize,
    data: Bytes,
}

impl Source {
    pub(crate) fn new(seed: u64, record_bytes: usize) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let data = (0..64 * record_bytes).map(|_| rng.random()).collect::<Vec<u8>>();
        Self { rng, record_bytes, data: data.into() }
    }

    pub(crate) fn records(&mut self, count: usize) -> Vec<UserRecord> {
        (0..count)
            .map(|_| {
                let key = self.rng.random_range(0..KEYS);
                let start = self.rng.random_range(0..63) * self.record_bytes;
                let data = self.data.slice(start..start + self.record_bytes);
                UserRecord::new(format!("customer-{key:011}"), data)
            })
            .collect()
    }

    fn chunks(&mut self, count: usize) -> Vec<Vec<UserRecord>> {
        (0..count / MANY).map(|_| self.records(MANY)).collect()
    }
}

/// Tickets that wait for their answers.
pub(crate) struct Window {
    tickets: usize,
    each: bool,
    single: VecDeque<Ticket>,
    many: VecDeque<Tickets>,
}

impl Window {
    fn new(shards: u32, by: By) -> Self {
        let tickets = if shards > SHARDS { LARGE_WINDOW } else { WINDOW };
        Self { each: by == By::PutManyEach, ..Self::of(tickets) }
    }

    pub(crate) fn of(tickets: usize) -> Self {
        Self { tickets, each: false, single: VecDeque::new(), many: VecDeque::new() }
    }

    pub(crate) async fn put(&mut self, producer: &Producer, records: Vec<UserRecord>) {
        for record in records {
            self.single.push_back(producer.put(record).await.unwrap());
            if self.single.len() > self.tickets {
                self.single.pop_front().unwrap().await.unwrap();
            }
        }
    }

    async fn put_many(&mut self, producer: &Producer, chunks: Vec<Vec<UserRecord>>) {
        for records in chunks {
            self.many.push_back(producer.put_many(records).await.unwrap());
            if self.many.len() > self.tickets / MANY {
                let answers = self.many.pop_front().unwrap().await;
                if self.each {
                    for answer in answers {
                        answer.unwrap();
                    }
                } else {
                    answers.all_delivered().unwrap();
                }
            }
        }
    }

    pub(crate) async fn finish(self, producer: &Producer) {
        producer.flush().await;
        for ticket in self.single {
            ticket.await.unwrap();
        }
        for tickets in self.many {
            tickets.await.all_delivered().unwrap();
        }
    }
}

fn one_thread(report: &mut Report, name: &str, by: By, shards: u32, body: bool) {
    if !report.wants(name) {
        return;
    }
    let connector = Connector::new(shards);
    runtime().block_on(async {
        let producer = if body {
            Producer::start(&connector.client(), config(shards)).unwrap()
        } else {
            kpl::bench::start_sealing(config(shards), shards).unwrap()
        };
        producer.ready().await.unwrap();
        let (mut source, mut window) = (Source::new(7, RECORD_BYTES), Window::new(shards, by));
        let (mut rounds, mut allocated) = (Vec::new(), Vec::new());
        // The first rounds fill the window.
        let warm = 2;
        // Where time alone seals aggregates, all of a window's are sealed together: each round has its share of that.
        let size = ROUND.max(window.tickets);
        for round in 0..warm + report.choose(1, ROUNDS) {
            let singles = if by == By::Put { source.records(size) } else { Vec::new() };
            let chunks = if by == By::Put { Vec::new() } else { source.chunks(size) };
            let (started, far) = (thread_time(), connector.time());
            let before = allocations();
            window.put(&producer, singles).await;
            window.put_many(&producer, chunks).await;
            let worked = thread_time() - started - (connector.time() - far);
            if round >= warm {
                rounds.push(worked as f64 / size as f64);
                allocated.push((allocations() - before) as f64 / size as f64);
            }
        }
        let stats = producer.stats();
        let full = stats.kinesis_records_data_put as f64 / stats.kinesis_records_put as f64 / 51_200.0;
        window.finish(&producer).await;
        allocated.sort_by(f64::total_cmp);
        let bytes = connector.body_bytes() as f64 / stats.user_records_put.max(1) as f64;
        let row = Row::new(name, "ns a record", rounds)
            .also("allocations", allocated[allocated.len() / 2])
            .also("filled", full)
            .also("body bytes", bytes);
        let line = name.split(',').next().unwrap_or(name);
        report.row(if by == By::PutManyEach {
            row
        } else {
            row.at("producer-shards", line, f64::from(shards))
        });
        producer.close(Duration::from_mins(1)).await;
    });
}

/// One producer, several threads, the driver and its calls among them. The times are real, so only the best rounds mean something on a
/// busy machine; `cpu` is the CPU time of all threads for one record, and `ideal` how many millions a second that makes if each thread
/// had a core.
fn several_threads(report: &mut Report, name: &str, by: By, threads: usize) {
    if !report.wants(name) {
        return;
    }
    let runtime = Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap();
    let producer = {
        let _runtime = runtime.enter();
        kpl::bench::start_sealing(config(SHARDS), SHARDS).unwrap()
    };
    let mut putting: Vec<_> = (0..threads)
        .map(|thread| (Source::new(thread as u64, RECORD_BYTES), Window::new(SHARDS, by)))
        .collect();
    let (mut rounds, mut cpu) = (Vec::new(), Vec::new());
    for round in 0..=report.choose(1, ROUNDS * 2) {
        let mut putters = JoinSet::new();
        let start = Arc::new(Barrier::new(threads + 1));
        for (mut source, mut window) in putting.drain(..) {
            let (producer, start) = (producer.clone(), Arc::clone(&start));
            putters.spawn_on(
                async move {
                    // Here, so that the threads need not share an arena of the allocator to give them back.
                    let singles = if by == By::Put { source.records(ROUND) } else { Vec::new() };
                    let chunks = if by == By::Put { Vec::new() } else { source.chunks(ROUND) };
                    start.wait().await;
                    window.put(&producer, singles).await;
                    window.put_many(&producer, chunks).await;
                    (source, window)
                },
                runtime.handle(),
            );
        }
        runtime.block_on(async {
            start.wait().await;
            let (began, worked) = (Instant::now(), process_time());
            while let Some(put) = putters.join_next().await {
                putting.push(put.unwrap());
            }
            if round > 0 {
                rounds.push(began.elapsed().as_secs_f64() * 1e9 / (ROUND * threads) as f64);
                cpu.push((process_time() - worked) as f64 / (ROUND * threads) as f64);
            }
        });
    }
    runtime.block_on(async {
        for (_, window) in putting {
            window.finish(&producer).await;
        }
        let stats = producer.stats();
        let full = stats.kinesis_records_data_put as f64 / stats.kinesis_records_put as f64 / 51_200.0;
        cpu.sort_by(f64::total_cmp);
        let cpu = cpu[cpu.len() / 2];
        let ideal = threads as f64 * 1000.0 / cpu;
        let row = Row::new(name, "ns a record, real", rounds);
        report.row(row.also("CPU ns", cpu).also("ideal M/s", ideal).also("filled", full));
        producer.close(Duration::from_mins(1)).await;
    });
}
