"""Puts 100-byte records with aws_kinesis_agg and boto3; prints what kpl/examples/load.rs prints.

The aggregator knows nothing of shards: an aggregate is put under its first record's key, whatever the others hash to.

Arguments: the endpoint, the stream, how many records.
"""

import resource
import sys
import time

import boto3
from aws_kinesis_agg.aggregator import RecordAggregator

KEYS = 262_144
DATA = bytes(index * 37 % 256 for index in range(100))


def send(client, stream, aggregate):
    if aggregate is not None:
        partition_key, _, data = aggregate.get_contents()
        client.put_record(StreamName=stream, PartitionKey=partition_key, Data=data)


def put(client, stream, first, last):
    aggregator = RecordAggregator()
    for number in range(first, last):
        key = f"customer-{number * 0x9E3779B97F4A7C15 % 2**64 % KEYS:011}"
        send(client, stream, aggregator.add_user_record(key, DATA))
    send(client, stream, aggregator.clear_and_get())


def main():
    endpoint, stream, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    client = boto3.client("kinesis", endpoint_url=endpoint)
    put(client, stream, 0, count // 4)
    cpu, began = time.process_time(), time.monotonic()
    put(client, stream, count // 4, count + count // 4)
    seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"result aws-kinesis-agg {count} {seconds:.3f} {cpu:.3f} {peak:.1f}", flush=True)


main()
