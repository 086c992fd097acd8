"""The steps of run.sh: each function is one, each gets a stream of its own. Usage: session.py ENDPOINT TLS_ENDPOINT CA_FILE"""

import datetime
import hashlib
import json
import sys
import time
import urllib.request

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError, HTTPClientError, SSLError

ENDPOINT, TLS_ENDPOINT, CA_FILE = sys.argv[1:4]
MIDDLE = str(1 << 127)


def client(endpoint=ENDPOINT, attempts=1, **more):
    config = Config(retries={"total_max_attempts": attempts, "mode": "standard"}, **more.pop("config", {}))
    return boto3.client("kinesis", endpoint_url=endpoint, config=config, **more)


kinesis = client()


def control(method, path, body=None):
    """The control endpoint, as a test in any language would use it."""
    request = urllib.request.Request(ENDPOINT + path, method=method)
    if body is not None:
        request.data = json.dumps(body).encode()
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


class Rule:
    """In force inside a `with`; knows how often it struck."""

    def __init__(self, verdict, **conditions):
        self.form = {"verdict": verdict, **conditions}

    def __enter__(self):
        self.id = control("POST", "/_sim/rules", self.form)["id"]
        return self

    def __exit__(self, *_):
        control("DELETE", f"/_sim/rules/{self.id}")

    def hits(self):
        return control("GET", f"/_sim/rules/{self.id}")["hits"]


def refused(code, text, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error
        assert text in error.response["Error"]["Message"], error
        return error.response
    raise AssertionError(f"not refused with {code}")


def active(stream):
    kinesis.get_waiter("stream_exists").wait(StreamName=stream, WaiterConfig={"Delay": 1})
    return kinesis.describe_stream(StreamName=stream)["StreamDescription"]


def created(stream, shards=1, **more):
    kinesis.create_stream(StreamName=stream, ShardCount=shards, **more)
    return active(stream)


def shard_id(index):
    return f"shardId-{index:012}"


def iterator(stream, shard, kind="TRIM_HORIZON", **more):
    return kinesis.get_shard_iterator(StreamName=stream, ShardId=shard, ShardIteratorType=kind, **more)["ShardIterator"]


def read_to_end(stream, shard):
    """All records, and the last page: without a next iterator where the shard has ended."""
    records, at = [], iterator(stream, shard)
    while True:
        page = kinesis.get_records(ShardIterator=at)
        records += page["Records"]
        at = page.get("NextShardIterator")
        if at is None or (not page["Records"] and page["MillisBehindLatest"] == 0):
            return records, page
        time.sleep(0.21)


def streams_are_named_by_name_or_arn():
    description = created("named", 2, Tags={"made": "by boto3"})
    arn = description["StreamARN"]
    assert arn == "arn:aws:kinesis:us-east-1:000000000000:stream/named", arn
    assert kinesis.describe_stream_summary(StreamARN=arn)["StreamDescriptionSummary"]["OpenShardCount"] == 2
    put = kinesis.put_record(StreamARN=arn, Data=b"\x00\xff payload", PartitionKey="k\u00e9y")
    at = kinesis.get_shard_iterator(StreamARN=arn, ShardId=put["ShardId"], ShardIteratorType="AT_SEQUENCE_NUMBER",
                                    StartingSequenceNumber=put["SequenceNumber"])["ShardIterator"]
    [record] = kinesis.get_records(ShardIterator=at, StreamARN=arn)["Records"]
    assert (record["Data"], record["PartitionKey"]) == (b"\x00\xff payload", "k\u00e9y")
    assert record["SequenceNumber"] == put["SequenceNumber"] and "EncryptionType" not in record
    age = datetime.datetime.now(datetime.timezone.utc) - record["ApproximateArrivalTimestamp"]
    assert datetime.timedelta(0) <= age < datetime.timedelta(seconds=30), age
    lost = arn.replace("named", "lost")
    refused("ResourceNotFoundException", "Stream lost under account 000000000000 not found.", kinesis.describe_stream, StreamARN=lost)
    refused("ValidationException", "Member must satisfy regular expression pattern", kinesis.describe_stream, StreamName="a b")
    assert all("StreamId" not in page for page in (description, kinesis.list_streams()))


def keys_reach_the_shard_whose_range_holds_their_hash():
    shards = created("hashed", 4)["Shards"]
    keys = [f"key-{number}" for number in range(60)]
    answer = kinesis.put_records(StreamName="hashed", Records=[{"Data": key, "PartitionKey": key} for key in keys])
    assert answer["FailedRecordCount"] == 0
    ranges = {shard["ShardId"]: [int(bound) for bound in shard["HashKeyRange"].values()] for shard in shards}
    for key, entry in zip(keys, answer["Records"]):
        low, high = sorted(ranges[entry["ShardId"]])
        assert low <= int(hashlib.md5(key.encode()).hexdigest(), 16) <= high, key
    ends = [(str(bound), name) for name, bounds in ranges.items() for bound in bounds]
    for bound, name in ends:
        put = kinesis.put_record(StreamName="hashed", Data=b"x", PartitionKey="k", ExplicitHashKey=bound)
        assert put["ShardId"] == name, bound
    read = [record["PartitionKey"] for name in ranges for record in read_to_end("hashed", name)[0]]
    assert sorted(read) == sorted(keys + ["k"] * len(ends))


def refused_entries_are_told_apart():
    created("partial", 2)
    records = [{"Data": b"%d" % number, "PartitionKey": str(number)} for number in range(100)]
    half = {"fail_entries": {"probability": 0.5, "error": "throttled"}}
    with Rule(half, operation="PutRecords", stream="partial", times=1) as rule:
        answer = kinesis.put_records(StreamName="partial", Records=records)
        assert rule.hits() == 1
    entries = answer["Records"]
    failed = [number for number, entry in enumerate(entries) if "ErrorCode" in entry]
    assert answer["FailedRecordCount"] == len(failed) and 20 < len(failed) < 80, len(failed)
    for entry in entries:
        wanted = {"ErrorCode", "ErrorMessage"} if "ErrorCode" in entry else {"SequenceNumber", "ShardId"}
        assert set(entry) == wanted, entry
    assert {entries[number]["ErrorCode"] for number in failed} == {"ProvisionedThroughputExceededException"}
    again = kinesis.put_records(StreamName="partial", Records=[records[number] for number in failed])
    assert again["FailedRecordCount"] == 0
    read = [record["Data"] for index in (0, 1) for record in read_to_end("partial", shard_id(index))[0]]
    assert sorted(read) == sorted(record["Data"] for record in records)
    only_one = {"operation": "PutRecords", "stream": "partial", "shard": shard_id(1), "times": 1}
    with Rule("fail", **only_one):
        entries = kinesis.put_records(StreamName="partial", Records=records[:40])["Records"]
    assert {entry.get("ErrorCode") for entry in entries} == {None, "InternalFailure"}
    assert {entry["ShardId"] for entry in entries if "ShardId" in entry} == {shard_id(0)}


def boto3_retries_what_it_should():
    created("retried")
    patient = client(attempts=4, config={"read_timeout": 1})
    put = {"StreamName": "retried", "Data": b"x", "PartitionKey": "k"}
    for verdict in ("throttle", "fail", "lose_request", "lose_answer"):
        with Rule(verdict, operation="PutRecord", stream="retried", times=2) as rule:
            answer = patient.put_record(**put)
            assert rule.hits() == 2 and answer["ResponseMetadata"]["RetryAttempts"] == 2, verdict
    # Each of the two lost answers belonged to a put that took effect.
    assert len(read_to_end("retried", shard_id(0))[0]) == 4 + 2
    with Rule("throttle", operation="PutRecord", stream="retried", times=1):
        refused("ProvisionedThroughputExceededException", "Rate exceeded for shard", kinesis.put_record, **put)
    with Rule("fail", operation="PutRecord", stream="retried", times=1):
        status = refused("InternalFailure", "", kinesis.put_record, **put)["ResponseMetadata"]["HTTPStatusCode"]
        assert status == 500
    with Rule({"delay": {"ms": 400}}, operation="PutRecord", stream="retried"):
        began = time.monotonic()
        patient.put_record(**put)
        assert time.monotonic() - began >= 0.4
    with Rule("expire_iterator", operation="GetRecords", stream="retried", times=1):
        at = iterator("retried", shard_id(0))
        refused("ExpiredIteratorException", "Iterator expired.", kinesis.get_records, ShardIterator=at)
    kinesis.get_records(ShardIterator=at)


def limits_are_the_service_s():
    created("limited")
    kib = b"x" * 1024
    answer = kinesis.put_records(StreamName="limited", Records=[{"Data": kib * 600, "PartitionKey": "k"}] * 3)
    codes = [entry.get("ErrorCode") for entry in answer["Records"]]
    assert codes[0] is None and codes[2] == "ProvisionedThroughputExceededException", codes
    text = answer["Records"][2]["ErrorMessage"]
    assert text == "Rate exceeded for shard shardId-000000000000 in stream limited under account 000000000000.", text
    at = iterator("limited", shard_id(0))
    outcomes = []
    for _ in range(8):
        try:
            kinesis.get_records(ShardIterator=at, Limit=1)
            outcomes.append("ok")
        except kinesis.exceptions.ProvisionedThroughputExceededException:
            outcomes.append("throttled")
    assert "throttled" in outcomes and outcomes[0] == "ok", outcomes
    oversized = {"StreamName": "limited", "PartitionKey": "k", "Data": kib * 1024 + b"x"}
    refused("ValidationException", "Member must have length less than or equal to 1048576", kinesis.put_record, **oversized)
    arn = kinesis.describe_stream_summary(StreamName="limited")["StreamDescriptionSummary"]["StreamARN"]
    kinesis.update_max_record_size(StreamARN=arn, MaxRecordSizeInKiB=2048)
    active("limited")
    time.sleep(2)
    kinesis.put_record(**oversized)


def iterators_of_every_kind():
    created("placed")
    newest = iterator("placed", shard_id(0), "LATEST")
    numbers = [kinesis.put_record(StreamName="placed", Data=b"%d" % n, PartitionKey="k")["SequenceNumber"] for n in range(3)]
    assert numbers == sorted(numbers, key=int) and len(set(numbers)) == 3
    first_page = kinesis.get_records(ShardIterator=newest)
    first = first_page["Records"][0]["ApproximateArrivalTimestamp"]

    def data(kind, **more):
        time.sleep(0.21)
        page = kinesis.get_records(ShardIterator=iterator("placed", shard_id(0), kind, **more))
        assert page["NextShardIterator"] and page["MillisBehindLatest"] == 0 and "ChildShards" not in page
        return b"".join(record["Data"] for record in page["Records"])

    assert b"".join(record["Data"] for record in first_page["Records"]) == b"012", "LATEST on an empty shard"
    assert data("TRIM_HORIZON") == b"012"
    assert data("LATEST") == b""
    assert data("AT_SEQUENCE_NUMBER", StartingSequenceNumber=numbers[1]) == b"12"
    assert data("AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=numbers[1]) == b"2"
    assert data("AT_TIMESTAMP", Timestamp=first - datetime.timedelta(days=2)) == b"012"
    assert data("AT_TIMESTAMP", Timestamp=first) == b"012"
    assert data("AT_TIMESTAMP", Timestamp=datetime.datetime.now(datetime.timezone.utc)) == b""
    with_limit = kinesis.get_records(ShardIterator=iterator("placed", shard_id(0)), Limit=2)
    assert len(with_limit["Records"]) == 2 and with_limit["MillisBehindLatest"] > 0
    refused("InvalidArgumentException", "", kinesis.get_shard_iterator, StreamName="placed", ShardId=shard_id(0),
            ShardIteratorType="AT_SEQUENCE_NUMBER", StartingSequenceNumber="123")
    refused("ResourceNotFoundException", shard_id(7), kinesis.get_shard_iterator, StreamName="placed", ShardId=shard_id(7),
            ShardIteratorType="LATEST")
    refused("InvalidArgumentException", "Invalid ShardIterator.", kinesis.get_records, ShardIterator="AAAA")


def shards_split_and_merge():
    created("reshaped")
    kinesis.put_record(StreamName="reshaped", Data=b"before", PartitionKey="k")
    kinesis.split_shard(StreamName="reshaped", ShardToSplit=shard_id(0), NewStartingHashKey=MIDDLE)
    refused("ResourceInUseException", "", kinesis.split_shard, StreamName="reshaped", ShardToSplit=shard_id(0),
            NewStartingHashKey=MIDDLE)
    active("reshaped")
    records, last = read_to_end("reshaped", shard_id(0))
    assert [record["Data"] for record in records] == [b"before"] and "NextShardIterator" not in last
    assert [(child["ShardId"], child["ParentShards"]) for child in last["ChildShards"]] == [
        (shard_id(1), [shard_id(0)]), (shard_id(2), [shard_id(0)])]
    time.sleep(1)
    kinesis.merge_shards(StreamName="reshaped", ShardToMerge=shard_id(1), AdjacentShardToMerge=shard_id(2))
    active("reshaped")
    for index in (1, 2):
        [child] = read_to_end("reshaped", shard_id(index))[1]["ChildShards"]
        assert (child["ShardId"], sorted(child["ParentShards"])) == (shard_id(3), [shard_id(1), shard_id(2)])
    # How some consumers learn of children: LATEST of a closed shard, and one call.
    page = kinesis.get_records(ShardIterator=iterator("reshaped", shard_id(0), "LATEST"))
    assert len(page["ChildShards"]) == 2 and "NextShardIterator" not in page and page["Records"] == []
    filters = {"AT_LATEST": [3], "FROM_TRIM_HORIZON": [0, 1, 2, 3], "AT_TRIM_HORIZON": [0]}
    for kind, indexes in filters.items():
        shards = kinesis.list_shards(StreamName="reshaped", ShardFilter={"Type": kind})["Shards"]
        assert [shard["ShardId"] for shard in shards] == [shard_id(index) for index in indexes], kind
    shards = kinesis.list_shards(StreamName="reshaped", ShardFilter={"Type": "AFTER_SHARD_ID", "ShardId": shard_id(1)})["Shards"]
    assert [shard["ShardId"] for shard in shards] == [shard_id(2), shard_id(3)]
    merged = shards[1]
    assert (merged["ParentShardId"], merged["AdjacentParentShardId"]) == (shard_id(1), shard_id(2))
    closed = shards[0]["SequenceNumberRange"]
    assert int(closed["EndingSequenceNumber"]) > int(closed["StartingSequenceNumber"])
    assert "EndingSequenceNumber" not in merged["SequenceNumberRange"]


def shard_counts_are_updated():
    created("counted", 2)
    answer = kinesis.update_shard_count(StreamName="counted", TargetShardCount=4, ScalingType="UNIFORM_SCALING")
    del answer["ResponseMetadata"]
    assert answer == {"StreamName": "counted", "CurrentShardCount": 2, "TargetShardCount": 4,
                      "StreamARN": "arn:aws:kinesis:us-east-1:000000000000:stream/counted"}, answer
    assert len(active("counted")["Shards"]) == 6
    refused("LimitExceededException", "cannot scale up over double", kinesis.update_shard_count, StreamName="counted",
            TargetShardCount=9, ScalingType="UNIFORM_SCALING")
    # A paginator: its pages join to the whole.
    pages = list(kinesis.get_paginator("describe_stream").paginate(StreamName="counted", PaginationConfig={"PageSize": 2}))
    assert [len(page["StreamDescription"]["Shards"]) for page in pages] == [2, 2, 2]
    listed, more = [], {"StreamName": "counted"}
    while more:
        page = kinesis.list_shards(MaxResults=4, **more)
        listed += [shard["ShardId"] for shard in page["Shards"]]
        more = {"NextToken": page["NextToken"]} if "NextToken" in page else None
    assert listed == [shard_id(index) for index in range(6)]


def tags_retention_and_settings():
    description = created("kept")
    arn = description["StreamARN"]
    assert description["EnhancedMonitoring"] == [{"ShardLevelMetrics": []}] and description["RetentionPeriodHours"] == 24
    kinesis.add_tags_to_stream(StreamName="kept", Tags={"a": "1", "b": "2"})
    kinesis.tag_resource(ResourceARN=arn, Tags={"c": ""})
    kinesis.remove_tags_from_stream(StreamName="kept", TagKeys=["a"])
    wanted = [{"Key": "b", "Value": "2"}, {"Key": "c", "Value": ""}]
    assert kinesis.list_tags_for_stream(StreamName="kept")["Tags"] == wanted
    assert kinesis.list_tags_for_resource(ResourceARN=arn)["Tags"] == wanted
    kinesis.untag_resource(ResourceARN=arn, TagKeys=["b", "c"])
    assert kinesis.list_tags_for_resource(ResourceARN=arn)["Tags"] == []
    kinesis.increase_stream_retention_period(StreamName="kept", RetentionPeriodHours=8760)
    active("kept")
    refused("InvalidArgumentException", "Maximum allowed retention period is 8760 hours.",
            kinesis.increase_stream_retention_period, StreamName="kept", RetentionPeriodHours=8761)
    kinesis.decrease_stream_retention_period(StreamName="kept", RetentionPeriodHours=25)
    active("kept")
    kinesis.start_stream_encryption(StreamName="kept", EncryptionType="KMS", KeyId="alias/aws/kinesis")
    description = active("kept")
    time.sleep(0.5)
    description = active("kept")
    assert (description["EncryptionType"], description["KeyId"], description["RetentionPeriodHours"]) == (
        "KMS", "alias/aws/kinesis", 25)
    put = kinesis.put_record(StreamName="kept", Data=b"x", PartitionKey="k")
    assert put["EncryptionType"] == "KMS"
    metrics = kinesis.enable_enhanced_monitoring(StreamName="kept", ShardLevelMetrics=["IncomingBytes"])
    assert (metrics["CurrentShardLevelMetrics"], metrics["DesiredShardLevelMetrics"]) == ([], ["IncomingBytes"])
    policy = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*",
                                                                  "Action": "kinesis:PutRecord", "Resource": arn}]})
    assert kinesis.get_resource_policy(ResourceARN=arn)["Policy"] == "{}"
    kinesis.put_resource_policy(ResourceARN=arn, Policy=policy)
    assert json.loads(kinesis.get_resource_policy(ResourceARN=arn)["Policy"]) == json.loads(policy)
    kinesis.delete_resource_policy(ResourceARN=arn)
    limits = kinesis.describe_limits()
    assert limits["ShardLimit"] >= limits["OpenShardCount"] > 0


def consumers_come_and_go():
    arn = created("joined")["StreamARN"]
    consumer = registered(arn, "reader")
    refused("ResourceInUseException", "reader", kinesis.register_stream_consumer, StreamARN=arn, ConsumerName="reader")
    description = kinesis.describe_stream_consumer(StreamARN=arn, ConsumerName="reader")["ConsumerDescription"]
    assert (description["ConsumerARN"], description["StreamARN"]) == (consumer, arn)
    assert consumer.startswith(arn + "/consumer/reader:")
    refused("ResourceInUseException", "", kinesis.delete_stream, StreamName="joined")
    kinesis.deregister_stream_consumer(ConsumerARN=consumer)
    for _ in range(50):
        if not kinesis.list_stream_consumers(StreamARN=arn)["Consumers"]:
            break
        time.sleep(0.25)
    else:
        raise AssertionError("the consumer did not go")
    refused("ResourceNotFoundException", "", kinesis.describe_stream_consumer, ConsumerARN=consumer)
    kinesis.delete_stream(StreamName="joined")
    kinesis.get_waiter("stream_not_exists").wait(StreamName="joined", WaiterConfig={"Delay": 1})


def registered(arn, name):
    consumer = kinesis.register_stream_consumer(StreamARN=arn, ConsumerName=name)["Consumer"]
    assert consumer["ConsumerStatus"] == "CREATING", consumer
    for _ in range(50):
        consumer = kinesis.describe_stream_consumer(ConsumerARN=consumer["ConsumerARN"])["ConsumerDescription"]
        if consumer["ConsumerStatus"] == "ACTIVE":
            return consumer["ConsumerARN"]
        time.sleep(0.1)
    raise AssertionError(f"{name} does not become ACTIVE")


def subscribed(consumer, shard, position, through=None):
    answer = (through or kinesis).subscribe_to_shard(ConsumerARN=consumer, ShardId=shard, StartingPosition=position)
    return answer["EventStream"]


def events(stream):
    return (event["SubscribeToShardEvent"] for event in stream)


def fan_out_follows_a_split():
    arn = created("fanned")["StreamARN"]
    consumer = registered(arn, "pushed")
    stream = subscribed(consumer, shard_id(0), {"Type": "TRIM_HORIZON"})
    refused("ResourceInUseException", "Another active subscription exists for this consumer: 000000000000:fanned:shardId-000000000000:pushed",
            kinesis.subscribe_to_shard, ConsumerARN=consumer, ShardId=shard_id(0), StartingPosition={"Type": "LATEST"})
    put = [b"%d" % number for number in range(20)]
    kinesis.put_records(StreamName="fanned", Records=[{"Data": data, "PartitionKey": "k"} for data in put])
    got, pushed = [], events(stream)
    while len(got) < 20:
        event = next(pushed)
        assert "ChildShards" not in event or not event["ChildShards"]
        got += [record["Data"] for record in event["Records"]]
        continuation = event["ContinuationSequenceNumber"]
    assert got == put
    # An idle stream speaks at least every five seconds, and its continuation moves on.
    began = time.monotonic()
    idle = next(pushed)
    assert time.monotonic() - began < 5.5 and idle["Records"] == [] and idle["MillisBehindLatest"] == 0
    assert int(idle["ContinuationSequenceNumber"]) > int(continuation)
    kinesis.split_shard(StreamName="fanned", ShardToSplit=shard_id(0), NewStartingHashKey=MIDDLE)
    rest = list(pushed)
    assert "ContinuationSequenceNumber" not in rest[-1], rest[-1]
    assert [child["ShardId"] for child in rest[-1]["ChildShards"]] == [shard_id(1), shard_id(2)]
    assert all("ContinuationSequenceNumber" in event for event in rest[:-1])
    # A continuation is a place to go on from, also through TLS.
    kinesis.put_record(StreamName="fanned", Data=b"after", PartitionKey="k", ExplicitHashKey="0")
    secure = client(TLS_ENDPOINT, verify=CA_FILE)
    stream = subscribed(consumer, shard_id(1), {"Type": "TRIM_HORIZON"}, secure)
    event = next(event for event in events(stream) if event["Records"])
    assert [record["Data"] for record in event["Records"]] == [b"after"]
    continuation = event["ContinuationSequenceNumber"]
    kinesis.put_record(StreamName="fanned", Data=b"later", PartitionKey="k", ExplicitHashKey="0")
    time.sleep(5.1)
    # Five seconds on, a new call takes over, and the old stream is told.
    taken = subscribed(consumer, shard_id(1), {"Type": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": continuation})
    try:
        list(stream)
        raise AssertionError("the old subscription was not ended by the new one")
    except EventStreamError as error:
        assert error.response["Error"]["Code"] == "ResourceInUseException", error
    event = next(events(taken))
    assert [record["Data"] for record in event["Records"]] == [b"later"]
    taken.close()


def a_cut_subscription_breaks():
    arn = created("cut")["StreamARN"]
    consumer = registered(arn, "pushed")
    with Rule({"cut_subscription": {"after_ms": 300}}, consumer="pushed", times=1):
        began = time.monotonic()
        stream = subscribed(consumer, shard_id(0), {"Type": "LATEST"})
        try:
            list(stream)
            raise AssertionError("it ended as if nothing had happened")
        except HTTPClientError:
            assert 0.2 < time.monotonic() - began < 3
        except Exception as error:  # botocore passes urllib3's own errors on from event streams
            assert type(error).__module__.startswith("urllib3"), repr(error)


def everything_works_through_tls():
    secure = client(TLS_ENDPOINT, verify=CA_FILE)
    secure.create_stream(StreamName="secure", ShardCount=1)
    active("secure")
    put = secure.put_record(StreamName="secure", Data=b"x" * 100_000, PartitionKey="k")
    at = secure.get_shard_iterator(StreamName="secure", ShardId=put["ShardId"], ShardIteratorType="TRIM_HORIZON")
    assert len(secure.get_records(ShardIterator=at["ShardIterator"])["Records"][0]["Data"]) == 100_000
    try:
        client(TLS_ENDPOINT).list_streams()
        raise AssertionError("a certificate of nobody's was trusted")
    except SSLError as error:
        assert "CERTIFICATE_VERIFY_FAILED" in str(error), error


def streams_are_listed_in_pages():
    control("POST", "/_sim/reset")
    names = [f"listed-{number:02}" for number in range(7)]
    for batch in (names[:4], names[4:]):
        for stream in batch:
            kinesis.create_stream(StreamName=stream, StreamModeDetails={"StreamMode": "ON_DEMAND"})
        active(batch[-1])
        time.sleep(1)
    pages = list(kinesis.get_paginator("list_streams").paginate(PaginationConfig={"PageSize": 3}))
    assert [name for page in pages for name in page["StreamNames"]] == names and len(pages) == 3
    summaries = [summary for page in pages for summary in page["StreamSummaries"]]
    assert {summary["StreamModeDetails"]["StreamMode"] for summary in summaries} == {"ON_DEMAND"}
    refused("ValidationException", "Stream listed-00 under account 000000000000 is in On-Demand mode.",
            kinesis.update_shard_count, StreamName="listed-00", TargetShardCount=2, ScalingType="UNIFORM_SCALING")
    kinesis.update_stream_mode(StreamARN=summaries[0]["StreamARN"], StreamModeDetails={"StreamMode": "PROVISIONED"})
    active("listed-00")
    time.sleep(0.5)
    assert active("listed-00")["StreamModeDetails"] == {"StreamMode": "PROVISIONED"}
    if "create_queue" in dir(kinesis):
        refused("UnknownOperationException", "", kinesis.list_queues)


STEPS = [
    streams_are_named_by_name_or_arn,
    keys_reach_the_shard_whose_range_holds_their_hash,
    refused_entries_are_told_apart,
    boto3_retries_what_it_should,
    limits_are_the_service_s,
    iterators_of_every_kind,
    shards_split_and_merge,
    shard_counts_are_updated,
    tags_retention_and_settings,
    consumers_come_and_go,
    fan_out_follows_a_split,
    a_cut_subscription_breaks,
    everything_works_through_tls,
    streams_are_listed_in_pages,
]

for step in STEPS:
    try:
        step()
    except BaseException:
        print(f"boto3: {step.__name__} differed", file=sys.stderr)
        raise
print(f"boto3: {len(STEPS)} steps (fan-out, consumers, faults, limits, resharding, tags, TLS) went as in the service")
