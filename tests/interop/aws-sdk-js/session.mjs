// Puts, gets and subscribes with @aws-sdk/client-kinesis v3. Usage: node session.mjs ENDPOINT STREAM CONTROL
// Over http:// the SDK speaks HTTP/2 without TLS; over https:// it trusts what NODE_EXTRA_CA_CERTS names.
import { createRequire } from 'node:module';
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';

// The packages lie outside of this folder: NODE_PATH names them, which `import` does not ask.
const sdk = createRequire(import.meta.url)('@aws-sdk/client-kinesis');
const {
  KinesisClient, CreateStreamCommand, DescribeStreamSummaryCommand, GetRecordsCommand, GetShardIteratorCommand, ListShardsCommand,
  PutRecordCommand, PutRecordsCommand, RegisterStreamConsumerCommand, DescribeStreamConsumerCommand, SplitShardCommand,
  SubscribeToShardCommand, ResourceInUseException, ResourceNotFoundException, waitUntilStreamExists,
} = sdk;

const [endpoint, stream, control] = process.argv.slice(2);
const client = new KinesisClient({ endpoint });
const send = (command) => client.send(command);
const text = (record) => Buffer.from(record.Data).toString();

async function active() {
  await waitUntilStreamExists({ client, maxWaitTime: 20, minDelay: 1, maxDelay: 1 }, { StreamName: stream });
  return (await send(new DescribeStreamSummaryCommand({ StreamName: stream }))).StreamDescriptionSummary;
}

async function registered(arn, name) {
  const { Consumer } = await send(new RegisterStreamConsumerCommand({ StreamARN: arn, ConsumerName: name }));
  for (;;) {
    const { ConsumerDescription } = await send(new DescribeStreamConsumerCommand({ ConsumerARN: Consumer.ConsumerARN }));
    if (ConsumerDescription.ConsumerStatus === 'ACTIVE') return Consumer.ConsumerARN;
    await sleep(100);
  }
}

async function put(from, to) {
  const data = Array.from({ length: to - from }, (_, i) => `order-${String(from + i).padStart(5, '0')}`);
  let entries = data.map((line) => ({ Data: Buffer.from(line), PartitionKey: line }));
  while (entries.length > 0) {
    const answer = await send(new PutRecordsCommand({ StreamName: stream, Records: entries }));
    const refused = entries.filter((_, i) => answer.Records[i].ErrorCode !== undefined);
    assert.equal(refused.length, answer.FailedRecordCount);
    entries = refused;
  }
  return data;
}

async function readShard(shard) {
  const data = [];
  let { ShardIterator } = await send(new GetShardIteratorCommand({
    StreamName: stream, ShardId: shard, ShardIteratorType: 'TRIM_HORIZON',
  }));
  while (ShardIterator !== undefined) {
    const page = await send(new GetRecordsCommand({ ShardIterator, Limit: 60 }));
    data.push(...page.Records.map(text));
    assert.equal(page.NextShardIterator === undefined, (page.ChildShards ?? []).length > 0);
    if (page.Records.length === 0 && page.MillisBehindLatest === 0) break;
    ShardIterator = page.NextShardIterator;
    await sleep(210);
  }
  return data;
}

async function readAll() {
  const shards = [];
  for (let page = { StreamName: stream }; page !== undefined;) {
    const { Shards, NextToken } = await send(new ListShardsCommand({ ...page, MaxResults: 3 }));
    shards.push(...Shards.map((shard) => shard.ShardId));
    page = NextToken && { NextToken };
  }
  assert.equal(shards.length, 4);
  return (await Promise.all(shards.map(readShard))).flat();
}

async function subscribe(consumer, shard) {
  return (await send(new SubscribeToShardCommand({
    ConsumerARN: consumer, ShardId: shard, StartingPosition: { Type: 'TRIM_HORIZON' },
  }))).EventStream;
}

// Reads a shard's subscription until it ends or `isEnough`, then its children.
async function follow(consumer, shard, take, isEnough) {
  let children = [];
  for await (const { SubscribeToShardEvent: event } of await subscribe(consumer, shard)) {
    event.Records.forEach((record) => take(text(record)));
    children = (event.ChildShards ?? []).map((child) => child.ShardId);
    assert.equal(event.ContinuationSequenceNumber === undefined, children.length > 0);
    if (isEnough()) return;
  }
  await Promise.all(children.map((child) => follow(consumer, child, take, isEnough)));
}

await send(new CreateStreamCommand({ StreamName: stream, ShardCount: 2 }));
const { StreamARN } = await active();
const consumer = await registered(StreamARN, 'pushed');
const want = await put(0, 300);
await send(new SplitShardCommand({
  StreamName: stream, ShardToSplit: 'shardId-000000000000', NewStartingHashKey: '85070591730234615865843651857942052864',
}));
await active();
await sleep(1000);
want.push(...await put(300, 600));

assert.deepEqual((await readAll()).sort(), want);

const pushed = [];
const first = ['shardId-000000000000', 'shardId-000000000001'];
await Promise.all(first.map((shard) => follow(consumer, shard, (data) => pushed.push(data), () => pushed.length >= want.length)));
assert.deepEqual(pushed.sort(), want);

// The same consumer and shard again: refused at once, taken over after five seconds, and the first is told in its stream.
const held = (await subscribe(await registered(StreamARN, 'held'), 'shardId-000000000001'))[Symbol.asyncIterator]();
const { ConsumerARN } = (await send(new DescribeStreamConsumerCommand({ StreamARN, ConsumerName: 'held' }))).ConsumerDescription;
await held.next();
await assert.rejects(subscribe(ConsumerARN, 'shardId-000000000001'), ResourceInUseException);
await sleep(5100);
const taken = await subscribe(ConsumerARN, 'shardId-000000000001');
await assert.rejects(async () => {
  while (!(await held.next()).done);
}, ResourceInUseException);
for await (const { SubscribeToShardEvent: event } of taken) {
  assert.ok(event.Records.length > 0);
  break;
}

await assert.rejects(send(new ListShardsCommand({ StreamName: 'nowhere' })), (error) => {
  assert.ok(error instanceof ResourceNotFoundException);
  assert.equal(error.message, 'Stream nowhere under account 000000000000 not found.');
  return true;
});
await assert.rejects(send(new PutRecordCommand({ StreamName: stream, PartitionKey: '', Data: Buffer.from('x') })), { name: 'ValidationException' });

// The SDK retries what it should: one strike each, then the put goes through.
for (const verdict of ['throttle', 'fail', 'lose_request', 'lose_answer', 'lose_request', 'lose_answer']) {
  const rule = { operation: 'PutRecord', stream, times: 1, verdict };
  const added = await fetch(`${control}/_sim/rules`, { method: 'POST', body: JSON.stringify(rule) });
  assert.equal(added.status, 201);
  const answer = await send(new PutRecordCommand({ StreamName: stream, PartitionKey: 'k', Data: Buffer.from(verdict) }));
  assert.equal(answer.$metadata.attempts, 2, verdict);
}
const stored = await (await fetch(`${control}/_sim/streams/${stream}/records`)).json();
const puts = (verdict) => stored.records.filter((record) => Buffer.from(record.data, 'base64').toString() === verdict).length;
assert.deepEqual(['throttle', 'fail', 'lose_request', 'lose_answer'].map(puts), [1, 1, 2, 4]);

console.log(`${want.length} records by GetRecords and by SubscribeToShard, through a split; 6 faults retried`);
client.destroy();
process.exit(0);
