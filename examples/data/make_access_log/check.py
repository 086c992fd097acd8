#!/usr/bin/env python3
"""Prints what an access log in the combined format (plain or .gz) holds; fails if a line is none."""

import collections
import gzip
import re
import sys

LINE = re.compile(
    r'(?P<client>\S+) - (?P<user>\S+) \[(?P<time>\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] '
    r'"(?P<request>[^"]*)" (?P<status>\d{3}) (?P<bytes>\d+) "(?P<referer>[^"]*)" "(?P<agent>[^"]*)"'
)
REQUEST = re.compile(r"(?P<method>[A-Za-z]+) (?P<path>\S+) HTTP/\d\.\d")
OURS = re.compile(r"(192\.0\.2|198\.51\.100|203\.0\.113)\.\d+|2001:db8:.*")


def table(title, counts, most=None):
    print(title + ": " + ", ".join(f"{name} {count}" for name, count in counts.most_common(most)))


def main():
    path = sys.argv[1]
    with gzip.open(path, "rb") if path.endswith(".gz") else open(path, "rb") as log:
        lines = log.read().decode("ascii").splitlines()
    bad, statuses, methods, clients, agents, pages, not_http = [], *(collections.Counter() for _ in range(6))
    for number, line in enumerate(lines, 1):
        parsed = LINE.fullmatch(line)
        if not parsed or not OURS.fullmatch(parsed["client"]):
            bad.append(f"line {number}: {line}")
            continue
        statuses[parsed["status"]] += 1
        clients[parsed["client"]] += 1
        agents[parsed["agent"]] += 1
        request = REQUEST.fullmatch(parsed["request"])
        if request:
            methods[request["method"]] += 1
            pages[request["path"]] += 1
        else:
            not_http[parsed["request"][:40]] += 1
    print(f"{len(lines)} lines, {len(clients)} clients, {len(pages)} paths, {len(agents)} user agents, {sum(map(len, lines)) + len(lines)} bytes")
    print(f"longest line {max(map(len, lines))} bytes, first {LINE.match(lines[0])['time']}, last {LINE.match(lines[-1])['time']}")
    table("status", statuses)
    table("method", methods)
    table("busiest clients", clients, 5)
    table("busiest paths", pages, 5)
    table("requests that are not HTTP", not_http)
    for line in bad[:20]:
        print("not in the combined format:", line)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
