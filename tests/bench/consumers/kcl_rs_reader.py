"""A worker of kcl-rs. Counts what it gets and prints what kcl/examples/drain/tally.rs prints, or notes when it got what as worker.rs does.

Arguments: the stream, the application, the worker, POLLING or FANOUT; then `read` and how many records there are, or `work`, seconds
between checkpoints and the file to write. Its own option takes one endpoint for everything, so the environment gives them:
AWS_ENDPOINT_URL_KINESIS, AWS_ENDPOINT_URL_DYNAMODB, AWS_ENDPOINT_URL_CLOUDWATCH.
"""

import signal
import sys
import threading
import time
import zlib

from kcl_rs import CheckpointError, RecordProcessorBase, Scheduler

stream, application, worker, mode, what, amount = sys.argv[1:7]


def now_millis():
    return int(time.time() * 1000)


class Tally:
    def __init__(self, expected):
        self.expected, self.lock, self.enough = expected, threading.Lock(), threading.Event()
        self.count = self.digest = self.first = self.last = 0

    def add(self, records):
        digest = sum(zlib.crc32(record.data, zlib.crc32(record.partition_key.encode())) for record in records)
        with self.lock:
            if self.count == 0:
                self.first = now_millis()
            self.digest = (self.digest + digest) % 2**64
            self.count += len(records)
            if self.count >= self.expected and self.last == 0:
                self.last = now_millis()
                self.enough.set()


class Processor(RecordProcessorBase):
    def initialize(self, initialize_input):
        self.shard, self.checkpointed = initialize_input.shard_id, time.monotonic()

    def process_records(self, process_records_input):
        records = process_records_input.records
        if not records:
            return
        if what == "read":
            tally.add(records)
            self.checkpoint(process_records_input)
            return
        out.write(f"{self.shard}\t{now_millis()}\n")
        out.flush()
        if time.monotonic() - self.checkpointed >= float(amount):
            self.checkpointed = time.monotonic()
            self.checkpoint(process_records_input)

    def checkpoint(self, given):
        try:
            given.checkpointer.checkpoint()
        except CheckpointError as error:
            print(f"# checkpoint: {error.value}", file=sys.stderr, flush=True)

    def lease_lost(self, lease_lost_input):
        pass

    def shard_ended(self, shard_ended_input):
        self.checkpoint(shard_ended_input)

    def shutdown_requested(self, shutdown_requested_input):
        self.checkpoint(shutdown_requested_input)


polling = {"max_records": 10_000, "idle_time_between_reads_millis": 200 if what == "read" else 1_000}
scheduler = Scheduler(
    stream_name=stream,
    application_name=application,
    record_processor_factory=Processor,
    worker_identifier=worker,
    region="us-east-1",
    initial_position="TRIM_HORIZON",
    retrieval_mode=mode,
    **(polling if mode == "POLLING" else {}),
)
if what == "read":
    tally = Tally(int(amount))
    scheduler.start()
    tally.enough.wait()
    # For copies; then whoever measures reads the counters of the process and ends it.
    time.sleep(0.5)
    print(f"result {tally.count} {tally.digest} {tally.first} {tally.last}", flush=True)
    time.sleep(30)
else:
    out = open(sys.argv[7], "a", encoding="utf-8")
    asked = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked.set())
    scheduler.start()
    while not asked.wait(0.2):
        pass
    scheduler.shutdown()
