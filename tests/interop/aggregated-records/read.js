// A consumer: every record of every shard, de-aggregated, one line each (../helper/line.rs). Usage: read.js ENDPOINT STREAM
"use strict";

const {
  KinesisClient,
  ListShardsCommand,
  GetShardIteratorCommand,
  GetRecordsCommand,
} = require("@aws-sdk/client-kinesis");
const { deaggregateSync } = require("aws-kinesis-agg");

const [endpoint, StreamName] = process.argv.slice(2);
const client = new KinesisClient({ endpoint });

/** The package wants a record as a Lambda function gets it. */
function deaggregate({ PartitionKey, SequenceNumber, Data }) {
  const outer = { partitionKey: PartitionKey, sequenceNumber: SequenceNumber, data: Buffer.from(Data).toString("base64") };
  let records;
  deaggregateSync(outer, true, (error, members) => {
    // It takes what begins like an aggregate for a broken one; its users go on with the record as it came.
    records = error ? [outer] : members;
  });
  return records;
}

async function main() {
  const lines = [];
  const { Shards } = await client.send(new ListShardsCommand({ StreamName }));
  for (const { ShardId } of Shards) {
    lines.push(`# begin ${ShardId}`);
    let { ShardIterator } = await client.send(
      new GetShardIteratorCommand({ StreamName, ShardId, ShardIteratorType: "TRIM_HORIZON" }),
    );
    while (ShardIterator) {
      const page = await client.send(new GetRecordsCommand({ ShardIterator }));
      for (const record of page.Records.flatMap(deaggregate)) {
        const isAggregated = record.subSequenceNumber !== undefined;
        lines.push(
          [
            ShardId,
            record.sequenceNumber,
            isAggregated ? record.subSequenceNumber : 0,
            record.partitionKey,
            isAggregated ? (record.explicitPartitionKey ?? "-") : "-",
            Buffer.from(record.data, "base64").toString("hex"),
            isAggregated ? "aggregated" : "plain",
            0,
          ].join("\t"),
        );
      }
      ShardIterator = page.MillisBehindLatest || page.Records.length ? page.NextShardIterator : undefined;
    }
  }
  console.log(lines.join("\n"));
  client.destroy();
}

main();
