"""Puts a stock tick every so often, as the first program of many people does."""

import datetime
import json
import random
import sys
import time

import boto3

STREAM = sys.argv[1]


def tick():
    return {
        "event_time": datetime.datetime.now().isoformat(),
        "ticker": random.choice(["AAPL", "AMZN", "MSFT", "INTC", "TBV"]),
        "price": round(random.random() * 100, 2),
    }


def main():
    kinesis = boto3.client("kinesis")
    while True:
        data = json.dumps(tick())
        print(data, flush=True)
        kinesis.put_record(StreamName=STREAM, Data=data, PartitionKey="partitionkey")
        time.sleep(0.1)


if __name__ == "__main__":
    main()
