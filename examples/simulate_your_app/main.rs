//! An application of yours on the engine, on virtual time: a throttled shard, lost answers, a shard split, expired iterators
//! and a worker that crashes without a word, half a minute of it in a fraction of a second. Run it with other seeds; copy
//! it, and put your own application in the place of `app.rs`.

#![allow(clippy::print_stdout, reason = "an example talks to its user")]

mod app;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use app::{Books, Office, Order, STREAM, start_worker, take_orders};
use clap::Parser;
use kcl::{BoxError, MemoryLeaseStore};
use kinesis_sim::{History, Judgement, Rule, RuleGuard, Sim, Verdict};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

#[derive(Parser)]
struct Arguments {
    /// Decides everything that is drawn: orders, faults, and the jitter of every retry.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// How many orders to put, one every 10 ms.
    #[arg(long, default_value_t = 3000)]
    orders: u32,
    /// Prints every call that reached the engine and every event of the history.
    #[arg(long)]
    verbose: bool,
}

/// What one run came to.
struct Outcome {
    judgement: Judgement,
    expected_cents: u64,
    booked_cents: u64,
    retries: u64,
    /// What struck, and how often.
    strikes: Vec<(&'static str, u64)>,
    virtual_time: Duration,
    trace: Vec<String>,
    history: Vec<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runs = simulate(arguments.seed, arguments.orders)
        .and_then(|first| Ok((first, simulate(arguments.seed, arguments.orders)?)));
    match runs {
        Ok((first, again)) => report(&arguments, &first, &again),
        Err(problem) => {
            eprintln!("simulate_your_app: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// One run, in a runtime of its own whose clock jumps to the next timer when nothing else is left to do.
fn simulate(seed: u64, count: u32) -> Result<Outcome, BoxError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    runtime.block_on(run(seed, count))
}

async fn run(seed: u64, count: u32) -> Result<Outcome, BoxError> {
    let sim = Sim::new(seed);
    sim.create_stream(STREAM, 2);
    let history = sim.history();
    let faults = faults(&sim);

    let orders = orders(seed, count);
    let office = Office { leases: Arc::new(MemoryLeaseStore::new()), books: Books::default(), seed };
    let start = |name: &'static str| {
        let (client, told) = (sim.client_named(name), history.clone());
        let booked = move |record: &kcl::UserRecord, order: &Order| {
            told.processed(name, record.shard_id(), record.position(), id(order));
        };
        let office = &office;
        async move { start_worker(&client, office, name, booked).await }
    };
    let victim = start("billing-a").await?;
    let survivor = start("billing-b").await?;

    let desk = sim.client_named("desk");
    let acknowledged = |order: &Order| history.acknowledged(id(order));
    let putting = take_orders(&desk, seed, &orders, Duration::from_millis(10), acknowledged);
    let (put, ()) = tokio::join!(putting, async {
        tokio::time::sleep(Duration::from_secs(8)).await;
        history.note("split of shardId-000000000000");
        sim.split_shard(STREAM, "shardId-000000000000");
        tokio::time::sleep(Duration::from_secs(7)).await;
        history.note("crash of billing-a");
        drop(victim);
    });
    let retries = put?;
    until_complete(&history).await;
    survivor.shutdown(Duration::from_secs(30)).await;

    Ok(Outcome {
        judgement: history.judge(),
        expected_cents: orders.iter().map(|order| order.cents).sum(),
        booked_cents: office.books.total_cents(),
        retries,
        strikes: faults.iter().map(|(name, guard)| (*name, guard.hits())).collect(),
        virtual_time: Duration::from_millis(sim.elapsed_millis()),
        trace: sim.trace(),
        history: history.lines(),
    })
}

/// In force until the guards are dropped.
fn faults(sim: &Sim) -> [(&'static str, RuleGuard); 4] {
    let seconds = Duration::from_secs;
    let put = || Rule::operation("PutRecords");
    let get = || Rule::operation("GetRecords");
    [
        (
            "a shard throttles for two seconds",
            put().shard("shardId-000000000001").window(seconds(3)..seconds(5)).then(Verdict::Throttle),
        ),
        (
            "puts take effect, but their answers are lost",
            put().probability(0.05).times(3).then(Verdict::LoseAnswer),
        ),
        ("iterators expire", get().probability(0.1).times(4).then(Verdict::ExpireIterator)),
        ("answers come late", get().probability(0.2).then(Verdict::Delay(Duration::from_millis(700)))),
    ]
    .map(|(name, rule)| (name, sim.rule(rule)))
}

fn orders(seed: u64, count: u32) -> Vec<Order> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut order = |number| Order {
        number,
        customer: format!("customer-{}", random.random_range(0..50)),
        cents: random.random_range(100..10_000),
    };
    (0..count).map(&mut order).collect()
}

fn id(order: &Order) -> String {
    format!("order-{:06}", order.number)
}

/// Gives up after ten minutes, which pass in no time; the judgement then says what is missing.
async fn until_complete(history: &History) {
    for _ in 0..6_000 {
        if history.is_complete() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn report(arguments: &Arguments, first: &Outcome, again: &Outcome) -> ExitCode {
    if arguments.verbose {
        println!("Calls\n{}\n\nHistory\n{}\n", first.trace.join("\n"), first.history.join("\n"));
    }
    let Outcome { judgement, strikes, .. } = first;
    println!("seed {}: {:.1} s of virtual time", arguments.seed, first.virtual_time.as_secs_f64());
    for (name, count) in strikes {
        println!("  {count:>5}  times, {name}");
    }
    println!("  {:>5}  orders acknowledged, {} records put again", judgement.acknowledged, first.retries);
    println!(
        "  {:>5}  orders booked, {} of them more than once",
        judgement.processed,
        judgement.repeated.len()
    );
    println!("  {:>5}  lost", judgement.lost.len());
    println!("  {:>5}  out of order", judgement.out_of_order.len());
    println!("  {:>5}  cents short in the books", first.expected_cents.abs_diff(first.booked_cents));
    let is_same = (&first.trace, &first.history) == (&again.trace, &again.history);
    let same = if is_same { "the same, byte for byte" } else { "NOT the same" };
    println!("The seed again: {} calls and {} events, {same}.", again.trace.len(), again.history.len());

    let is_right = judgement.lost.is_empty()
        && judgement.out_of_order.is_empty()
        && first.expected_cents == first.booked_cents
        && is_same;
    if is_right {
        return ExitCode::SUCCESS;
    }
    for line in judgement.lost.iter().chain(&judgement.out_of_order).take(20) {
        println!("wrong: {line}");
    }
    println!("Repeat it with: cargo run --example simulate_your_app -- --seed {} --verbose", arguments.seed);
    ExitCode::FAILURE
}
