//! The consumers of ours, and the floor: a plain loop of GetRecords with the SDK.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::SdkError;
use aws_sdk_kinesis::types::{Record, ShardIteratorType};
use bytes::Bytes;
use kcl::lease::NewLease;
use kcl::lease::{DynamoDbLeaseStore, LeaseStore, MemoryLeaseStore, SqliteLeaseStore};
use kcl::{
    BoxError, ConsumerConfig, InitializationInput, LeaseKey, LeaseLostInput, ProcessRecordsInput,
    RecordProcessor, RetrievalMode, Scheduler, ShardEndedInput, ShutdownRequestedInput,
};
use kinesis_shard::{Checkpoint, ParsedRecord, ShardFilter, StreamName, list_shards, parse_many_aggregated};
use tokio::task::JoinSet;

use crate::Outcome;
use crate::tally::{Tally, digest};

/// What to read, and under which name.
pub(crate) struct Source<'a> {
    pub(crate) kinesis: Client,
    pub(crate) dynamodb: aws_sdk_dynamodb::Client,
    pub(crate) stream: &'a str,
    pub(crate) application: &'a str,
}

/// Makes the lease table of an application, with a lease for each shard that nobody holds: as all workers that stopped leave
/// it, but that nothing was read. Libraries wait for up to half a minute when they find no table.
pub(crate) async fn make_leases(source: &Source<'_>) -> Outcome<()> {
    let store = DynamoDbLeaseStore::new(&source.dynamodb, source.application);
    store.prepare().await?;
    for shard in
        list_shards(&source.kinesis, &StreamName::from(source.stream), ShardFilter::default()).await?
    {
        store
            .create_if_absent(NewLease {
                key: LeaseKey::from(&shard.id),
                checkpoint: Checkpoint::TrimHorizon,
                parents: Vec::new(),
                hash_key_range: Some(shard.hash_key_range),
                stream: None,
                pinned_at: None,
            })
            .await?;
    }
    Ok(())
}

pub(crate) async fn read(way: &str, source: &Source<'_>, expected: u64) -> Outcome<()> {
    let Source { kinesis, dynamodb, stream, application } = source;
    let tally = Tally::new(expected);
    let table = || Arc::new(DynamoDbLeaseStore::new(dynamodb, *application));
    let config = ConsumerConfig::new(*application, *stream, "worker");
    match way {
        "sdk-loop" => sdk_loop(kinesis, stream, &tally).await,
        "kcl" => worker(kinesis, config, table(), &tally).await,
        "kcl-memory" => worker(kinesis, config, Arc::new(MemoryLeaseStore::new()), &tally).await,
        "kcl-sqlite" => {
            let store = SqliteLeaseStore::open(std::env::temp_dir().join("leases"), *application)?;
            worker(kinesis, config, Arc::new(store), &tally).await
        }
        "kcl-fan-out" => {
            worker(kinesis, config.with_retrieval_mode(RetrievalMode::FanOut), table(), &tally).await
        }
        "scan" => scan(source, table(), &tally).await,
        other => Err(format!("there is no way to read called {other}").into()),
    }
}

async fn worker(
    kinesis: &Client,
    config: ConsumerConfig,
    store: Arc<dyn LeaseStore>,
    tally: &Arc<Tally>,
) -> Outcome<()> {
    let shared = Arc::clone(tally);
    let factory = move |_| Processor(Arc::clone(&shared));
    let scheduler = Scheduler::start(kinesis, config, store, factory).await?;
    tokio::select! {
        biased; // what was counted is the news
        () = tally.finish() => Ok(()),
        error = scheduler.wait() => Err(error.into()),
    }
}

struct Processor(Arc<Tally>);

#[async_trait]
impl RecordProcessor for Processor {
    async fn initialize(&mut self, _: InitializationInput) -> Result<(), BoxError> {
        Ok(())
    }

    async fn process_records(&mut self, input: ProcessRecordsInput) -> Result<(), BoxError> {
        let digests = input.records.iter().map(|record| digest(record.partition_key(), record.data()));
        self.0.add(input.records.len() as u64, digests.fold(0, u64::wrapping_add));
        Ok(input.checkpointer.checkpoint().await?)
    }

    async fn lease_lost(&mut self, _: LeaseLostInput) {}

    async fn shard_ended(&mut self, input: ShardEndedInput) -> Result<(), BoxError> {
        Ok(input.checkpointer.checkpoint().await?)
    }

    async fn shutdown_requested(&mut self, input: ShutdownRequestedInput) -> Result<(), BoxError> {
        Ok(input.checkpointer.checkpoint().await?)
    }
}

async fn scan(source: &Source<'_>, store: Arc<dyn LeaseStore>, tally: &Arc<Tally>) -> Outcome<()> {
    let shared = Arc::clone(tally);
    let scan = kcl::scan(&source.kinesis, source.stream).store(store).application(source.application);
    let scan = scan.run(move |record| {
        shared.add(1, digest(record.partition_key(), record.data()));
        std::future::ready(Ok(()))
    });
    tokio::select! {
        biased; // what was counted is the news
        () = tally.finish() => Ok(()),
        outcome = scan => Ok(outcome.map(drop)?),
    }
}

/// One task for each shard, 10,000 records a call, no pause while there are records; aggregates are taken apart, nothing is
/// checkpointed.
async fn sdk_loop(client: &Client, stream: &str, tally: &Arc<Tally>) -> Outcome<()> {
    let shards = client.list_shards().stream_name(stream).send().await?.shards.unwrap_or_default();
    let mut loops = JoinSet::new();
    for shard in shards {
        let (client, stream, tally) = (client.clone(), stream.to_owned(), Arc::clone(tally));
        loops.spawn(async move { read_shard(&client, &stream, shard.shard_id(), &tally).await });
    }
    tokio::select! {
        biased; // what was counted is the news
        () = tally.finish() => Ok(()),
        Some(done) = loops.join_next() => done?,
    }
}

async fn read_shard(client: &Client, stream: &str, shard: &str, tally: &Tally) -> Outcome<()> {
    let opened = client
        .get_shard_iterator()
        .stream_name(stream)
        .shard_id(shard)
        .shard_iterator_type(ShardIteratorType::TrimHorizon)
        .send()
        .await?;
    let mut next = opened.shard_iterator;
    while let Some(iterator) = next {
        let call = client.get_records().shard_iterator(&iterator).limit(10_000);
        let answer = match call.send().await.map_err(SdkError::into_service_error) {
            Ok(answer) => answer,
            // As soon as the service may let it read again; the iterator is still good.
            Err(error) if error.is_provisioned_throughput_exceeded_exception() => {
                tokio::time::sleep(Duration::from_millis(200)).await;
                next = Some(iterator);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let caught_up = answer.records.is_empty();
        count(answer.records, tally);
        next = answer.next_shard_iterator;
        if caught_up {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    Ok(())
}

fn count(records: Vec<Record>, tally: &Tally) {
    let (keys, data): (Vec<_>, Vec<_>) = records
        .into_iter()
        .map(|record| (record.partition_key.unwrap_or_default(), Bytes::from(record.data.into_inner())))
        .unzip();
    let (mut many, mut sum) = (0, 0_u64);
    for ((key, data), parsed) in keys.iter().zip(&data).zip(parse_many_aggregated(&data)) {
        match parsed {
            ParsedRecord::Plain(_) => {
                many += 1;
                sum = sum.wrapping_add(digest(key, data));
            }
            ParsedRecord::Aggregated(members) => {
                many += members.len() as u64;
                let digests = members.iter().map(|member| digest(&member.partition_key, &member.data));
                sum = digests.fold(sum, u64::wrapping_add);
            }
        }
    }
    tally.add(many, sum);
}
