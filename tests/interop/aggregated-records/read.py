"""A consumer: every record of every shard, de-aggregated, one line each (../helper/line.rs). Usage: read.py ENDPOINT STREAM"""

import base64
import sys

import boto3
from aws_kinesis_agg.deaggregator import iter_deaggregate_records

endpoint, stream = sys.argv[1:]
kinesis = boto3.client("kinesis", endpoint_url=endpoint)
for shard in kinesis.list_shards(StreamName=stream)["Shards"]:
    iterator = kinesis.get_shard_iterator(
        StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    print("# begin", shard["ShardId"])
    while iterator:
        page = kinesis.get_records(ShardIterator=iterator)
        for record in iter_deaggregate_records(page["Records"], data_format="Boto3"):
            record = record["kinesis"]
            is_aggregated = record.get("aggregated", False)
            print(
                shard["ShardId"],
                record["sequenceNumber"],
                record["subSequenceNumber"] if is_aggregated else 0,
                record["partitionKey"],
                (record.get("explicitHashKey") or "-") if is_aggregated else "-",
                # The package encodes the data of members, and leaves that of plain records as boto3 gave it.
                (base64.b64decode(record["data"]) if is_aggregated else record["data"]).hex(),
                "aggregated" if is_aggregated else "plain",
                0,
                sep="\t",
            )
        iterator = page.get("NextShardIterator") if page["MillisBehindLatest"] or page["Records"] else None
