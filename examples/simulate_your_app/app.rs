//! The application under test, as it would run in production: it is given a client, and knows nothing of a simulation.
//! Orders are put by a desk and booked by workers, which share their leases.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_kinesis::Client;
use kcl::lease::LeaseStore;
use kcl::{
    BoxError, ConsumerConfig, InitialPosition, InitializationInput, LeaseLostInput, ProcessRecordsInput,
    RecordProcessor, Scheduler, ShardEndedInput, ShutdownRequestedInput, UserRecord as Received,
};
use kpl::{Producer, ProducerConfig, UserRecord};
use serde::{Deserialize, Serialize};

pub(crate) const STREAM: &str = "orders";

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) number: u32,
    pub(crate) customer: String,
    pub(crate) cents: u64,
}

/// Where orders end up: a database, in production. An order that comes twice is booked once, as its number is known.
#[derive(Debug, Clone, Default)]
pub(crate) struct Books {
    orders: Arc<Mutex<BTreeMap<u32, u64>>>,
}

impl Books {
    fn book(&self, order: &Order) {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).insert(order.number, order.cents);
    }

    pub(crate) fn total_cents(&self) -> u64 {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }
}

/// Puts the orders, one every `pause`, and tells which of them are written for good; answers how many times the desk had
/// to put again what was refused.
pub(crate) async fn take_orders(
    client: &Client,
    seed: u64,
    orders: &[Order],
    pause: Duration,
    acknowledged: impl Fn(&Order),
) -> Result<u64, BoxError> {
    let config = ProducerConfig::new(STREAM).with_seed(seed);
    let producer = Producer::start(client, config)?;
    let mut tickets = Vec::new();
    for order in orders {
        let record = UserRecord::new(order.customer.clone(), serde_json::to_vec(order)?);
        tickets.push((order, producer.put(record).await?));
        tokio::time::sleep(pause).await;
    }
    for (order, ticket) in tickets {
        ticket.await?;
        acknowledged(order);
    }
    let stats = producer.stats();
    producer.close(Duration::from_secs(30)).await;
    Ok(stats.retries)
}

/// What all workers share.
pub(crate) struct Office {
    pub(crate) leases: Arc<dyn LeaseStore>,
    pub(crate) books: Books,
    pub(crate) seed: u64,
}

/// Starts a worker that books orders; `booked` is told of each, with where it was found.
pub(crate) async fn start_worker(
    client: &Client,
    office: &Office,
    name: &'static str,
    booked: impl Fn(&Received, &Order) + Clone + Send + Sync + 'static,
) -> Result<Scheduler, BoxError> {
    let config = ConsumerConfig::new("billing", STREAM, name)
        .with_initial_position(InitialPosition::TrimHorizon)
        .with_seed(office.seed);
    let books = office.books.clone();
    let factory =
        move |_: kcl::StreamShard| Biller { books: books.clone(), booked: booked.clone(), batches: 0 };
    Ok(Scheduler::start(client, config, Arc::clone(&office.leases), factory).await?)
}

struct Biller<F> {
    books: Books,
    booked: F,
    batches: u32,
}

#[async_trait]
impl<F: Fn(&Received, &Order) + Send + Sync> RecordProcessor for Biller<F> {
    async fn initialize(&mut self, _: InitializationInput) -> Result<(), BoxError> {
        Ok(())
    }

    async fn process_records(&mut self, input: ProcessRecordsInput) -> Result<(), BoxError> {
        for record in input.records.iter() {
            let order = serde_json::from_slice(record.data())?;
            self.books.book(&order);
            (self.booked)(record, &order);
        }
        // Every third batch only, to have something to do again after a crash.
        self.batches += 1;
        if self.batches.is_multiple_of(3) {
            input.checkpointer.checkpoint().await?;
        }
        Ok(())
    }

    async fn lease_lost(&mut self, _: LeaseLostInput) {}

    async fn shard_ended(&mut self, input: ShardEndedInput) -> Result<(), BoxError> {
        Ok(input.checkpointer.checkpoint().await?)
    }

    async fn shutdown_requested(&mut self, input: ShutdownRequestedInput) -> Result<(), BoxError> {
        Ok(input.checkpointer.checkpoint().await?)
    }
}
