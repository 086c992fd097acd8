"""Puts 100-byte records with aiokpl as fast as it goes; prints what kpl/examples/load.rs prints.

Arguments: the endpoint, the stream, how many records.
"""

import asyncio
import resource
import sys
import time
from collections import deque

from aiokpl import Config, Producer

KEYS = 262_144
WINDOW = 20_000
DATA = bytes(index * 37 % 256 for index in range(100))


async def settle(outcome):
    result = await outcome.wait()
    if not result.success:
        raise SystemExit(f"a record failed: {result}")


async def put(producer, stream, first, last):
    window = deque()
    for number in range(first, last):
        key = f"customer-{number * 0x9E3779B97F4A7C15 % 2**64 % KEYS:011}"
        window.append(await producer.put_record(stream=stream, partition_key=key, data=DATA))
        if len(window) > WINDOW:
            await settle(window.popleft())
    await producer.flush()
    for outcome in window:
        await settle(outcome)


async def main():
    endpoint, stream, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    config = Config(
        region="us-east-1",
        endpoint_url=endpoint,
        aws_access_key_id="any",
        aws_secret_access_key="any",
        # The engine's limits are off, and so are everybody's own.
        rate_limit_records_per_sec_per_shard=1e9,
        rate_limit_bytes_per_sec_per_shard=1e12,
    )
    async with Producer(config) as producer:
        await put(producer, stream, 0, count // 4)
        cpu, began = time.process_time(), time.monotonic()
        await put(producer, stream, count // 4, count + count // 4)
        seconds, cpu = time.monotonic() - began, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"result aiokpl {count} {seconds:.3f} {cpu:.3f} {peak:.1f}", flush=True)


asyncio.run(main())
