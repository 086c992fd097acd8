"""The PyPI package aws_kinesis_agg, in both directions.

Usage: aggregate.py write <cases.json> <vectors to write>
       aggregate.py read  <cases.json> <our vectors>
"""

import base64
import importlib.metadata
import json
import pathlib
import sys

from aws_kinesis_agg.aggregator import RecordAggregator
from aws_kinesis_agg.deaggregator import iter_deaggregate_records

PACKAGE = "aws_kinesis_agg (PyPI)"


def load(path):
    return json.loads(pathlib.Path(path).read_text(encoding="utf-8"))


def write(cases_path, vectors_path):
    vectors = []
    for case in load(cases_path)["cases"]:
        if PACKAGE in case.get("not_written_by", []):
            continue
        aggregator = RecordAggregator()
        for record in case["records"]:
            full = aggregator.add_user_record(
                record["partition_key"], bytes.fromhex(record["data"]), record.get("explicit_hash_key")
            )
            assert full is None, f"{case['name']} does not fit one Kinesis record"
        _, _, blob = aggregator.clear_and_get().get_contents()
        vectors.append({"name": case["name"], "blob": blob.hex()})
    version = importlib.metadata.version("aws_kinesis_agg")
    made = {"made_by": PACKAGE, "version": version, "vectors": vectors}
    pathlib.Path(vectors_path).write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    print(f"{PACKAGE} {version}: wrote {len(vectors)} aggregates")


def read(cases_path, ours_path):
    blobs = {vector["name"]: bytes.fromhex(vector["blob"]) for vector in load(ours_path)["vectors"]}
    cases = load(cases_path)["cases"]
    assert sorted(blobs) == sorted(case["name"] for case in cases), "our vectors are not those of the cases"
    count = 0
    for case in cases:
        outer = {
            "SequenceNumber": "1",
            "PartitionKey": "a",
            "ApproximateArrivalTimestamp": 0,
            "Data": blobs[case["name"]],
        }
        got = [user_record["kinesis"] for user_record in iter_deaggregate_records([outer], data_format="Boto3")]
        expected = case["records"]
        assert len(got) == len(expected), f"{case['name']}: {len(got)} records instead of {len(expected)}"
        # The package gives a record without an explicit hash key the first one in the table, if there is any.
        first = next((record["explicit_hash_key"] for record in expected if "explicit_hash_key" in record), None)
        for index, (mine, theirs) in enumerate(zip(expected, got)):
            where = f"{case['name']}, record {index}"
            assert theirs["aggregated"] is True and theirs["subSequenceNumber"] == index, where
            assert theirs["partitionKey"] == mine["partition_key"], where
            assert theirs["explicitHashKey"] == mine.get("explicit_hash_key", first), where
            assert base64.b64decode(theirs["data"]) == bytes.fromhex(mine["data"]), where
            count += 1
    print(f"{PACKAGE}: read {len(cases)} of our aggregates, {count} records equal")


if __name__ == "__main__":
    {"write": write, "read": read}[sys.argv[1]](*sys.argv[2:])
