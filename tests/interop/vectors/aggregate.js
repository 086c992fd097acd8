// The npm package aws-kinesis-agg, in both directions.
//
// Usage: node aggregate.js write <cases.json> <vectors to write>
//        node aggregate.js read  <cases.json> <our vectors>
"use strict";

const assert = require("assert");
const fs = require("fs");
const { createRequire } = require("module");
const path = require("path");

// The package is installed in the current directory, not beside this file.
const requireHere = createRequire(path.join(process.cwd(), "aggregate.js"));
const { RecordAggregator, deaggregateSync } = requireHere("aws-kinesis-agg");
const { version } = requireHere("aws-kinesis-agg/package.json");

const PACKAGE = "aws-kinesis-agg (npm)";

const load = (file) => JSON.parse(fs.readFileSync(file, "utf8"));

function write(casesPath, vectorsPath) {
  const vectors = [];
  for (const { name, records, not_written_by: notWrittenBy = [] } of load(casesPath).cases) {
    if (notWrittenBy.includes(PACKAGE)) continue;
    const aggregator = new RecordAggregator();
    for (const record of records) {
      aggregator.addUserRecord({
        partitionKey: record.partition_key,
        explicitHashKey: record.explicit_hash_key,
        data: Buffer.from(record.data, "hex"),
      });
    }
    vectors.push({ name, blob: aggregator.build().data.toString("hex") });
  }
  fs.writeFileSync(vectorsPath, JSON.stringify({ made_by: PACKAGE, version, vectors }, null, 1) + "\n");
  console.log(`${PACKAGE} ${version}: wrote ${vectors.length} aggregates`);
}

function deaggregate(blob) {
  let records;
  const outer = { partitionKey: "a", sequenceNumber: "1", data: blob.toString("base64") };
  deaggregateSync(outer, true, (error, userRecords) => {
    if (error) throw error;
    records = userRecords;
  });
  return records;
}

function read(casesPath, oursPath) {
  const blobs = new Map(load(oursPath).vectors.map(({ name, blob }) => [name, Buffer.from(blob, "hex")]));
  const { cases } = load(casesPath);
  assert.deepStrictEqual([...blobs.keys()].sort(), cases.map(({ name }) => name).sort());
  let count = 0;
  for (const { name, records: expected } of cases) {
    const got = deaggregate(blobs.get(name));
    assert.strictEqual(got.length, expected.length, `${name}: number of records`);
    // The package gives a record without an explicit hash key the first one in the table, if there is any.
    const first = expected.map((record) => record.explicit_hash_key).find((key) => key !== undefined);
    expected.forEach((mine, index) => {
      const theirs = got[index];
      const where = `${name}, record ${index}`;
      assert.strictEqual(theirs.subSequenceNumber, index, where);
      assert.strictEqual(theirs.partitionKey, mine.partition_key, where);
      assert.strictEqual(theirs.explicitPartitionKey, mine.explicit_hash_key ?? first, where);
      assert.strictEqual(Buffer.from(theirs.data, "base64").toString("hex"), mine.data, where);
      count += 1;
    });
  }
  console.log(`${PACKAGE}: read ${cases.length} of our aggregates, ${count} records equal`);
}

const [command, ...files] = process.argv.slice(2);
({ write, read })[command](...files);
