"""Reads a stream's first shard from its beginning, for ever."""

import sys
import time

import boto3

STREAM = sys.argv[1]


def main():
    kinesis = boto3.client("kinesis")
    description = kinesis.describe_stream(StreamName=STREAM)
    shard = description["StreamDescription"]["Shards"][0]["ShardId"]
    iterator = kinesis.get_shard_iterator(
        StreamName=STREAM, ShardId=shard, ShardIteratorType="TRIM_HORIZON"
    )["ShardIterator"]
    while iterator:
        answer = kinesis.get_records(ShardIterator=iterator, Limit=2)
        for record in answer["Records"]:
            print(record["Data"].decode(), flush=True)
        iterator = answer["NextShardIterator"]
        time.sleep(0.2)


if __name__ == "__main__":
    main()
