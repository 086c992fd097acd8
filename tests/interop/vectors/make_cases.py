"""Writes what every implementation aggregates, and the hashes and ranges of Python's standard library.

Usage: make_cases.py <directory of the vectors>
"""

import hashlib
import json
import pathlib
import sys

MAX = 2**128 - 1


def record(partition_key, data, explicit_hash_key=None):
    made = {"partition_key": partition_key, "data": data.hex()}
    if explicit_hash_key is not None:
        made["explicit_hash_key"] = str(explicit_hash_key)
    return made


def case(name, records, **more):
    return {"name": name, "records": records, **more}


def cases():
    yield case("shared_key", [record("user-1", b"line %d" % i) for i in range(10)])
    yield case("distinct_keys", [record(f"user-{i}", b"line %d" % i) for i in range(10)])
    yield case(
        "explicit_hash_keys",
        [
            record("a", b"first", 0),
            record("b", b"second", MAX),
            record("c", b"third", 2**127),
            record("a", b"fourth", MAX),
        ],
    )
    yield case(
        "some_explicit_hash_keys",
        [record("a", b"with", 2**100), record("b", b"without"), record("a", b"with", 2**100 + 1), record("c", b"")],
    )
    yield case("empty_data", [record("a", b""), record("b", b""), record("a", b"")])
    yield case(
        "multi_byte_keys",
        [
            record("schlüssel", "größe".encode()),
            record("鍵", "値".encode()),
            record("🔑" * 256, b"the longest key there is, in bytes"),
            record("schlüssel", bytes(range(256))),
        ],
    )
    yield case("400_distinct_keys", [record(f"client-{i:03}", b"GET /%d" % i) for i in range(400)])
    yield case(
        "400_records_200_keys",
        [record(f"client-{i % 200:03}", b"GET /%d" % i) for i in range(400)],
        byte_identical=False,
        why="keys that share a slot of our key table are written again, which the format allows",
    )
    yield case(
        "large_data",
        [record("large", bytes([i % 251]) * length) for i, length in enumerate((0, 1, 127, 128, 16_383, 16_384))],
    )
    yield case(
        "numeric_keys",
        [record(str(number), b"%d" % number) for number in (10, 9, 2, 1, 10)],
        not_written_by=["aws-kinesis-agg (npm)"],
        why="the package sorts keys that look like array indexes, and so gives records the keys of others",
    )


def hashes():
    keys = ["", "a", "pk1", "abcd", "203.0.113.7", "schlüssel", "鍵", "🔑" * 256, "0", " ", "a" * 64]
    return [{"partition_key": key, "hash_key": str(int(hashlib.md5(key.encode()).hexdigest(), 16))} for key in keys]


def ranges():
    for count in (1, 2, 3, 4, 5, 7, 10, 64, 100, 1000):
        step = 2**128 // count
        ends = [(i + 1) * step - 1 for i in range(count - 1)] + [MAX]
        yield {"count": count, "ends": [str(end) for end in ends] if count <= 100 else [str(end) for end in ends[-3:]]}


def main():
    directory = pathlib.Path(sys.argv[1])
    made_by = "tests/interop/vectors/make_cases.py"
    write(directory / "cases.json", {"made_by": made_by, "cases": list(cases())})
    write(
        directory / "python_standard_library.json",
        {"made_by": made_by, "hashes": hashes(), "ranges": list(ranges())},
    )


def write(path, value):
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
