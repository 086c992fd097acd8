#!/usr/bin/env python3
"""Visits the pages that nginx serves, the way a few hundred people and programs would.

Every visitor has a random generator of its own, drawn from the seed, so what each one asks for
repeats from run to run; only the times and the order between visitors differ.
"""

import argparse
import base64
import heapq
import http.client
import ipaddress
import itertools
import random
import re
import socket
import threading
import time
from urllib.parse import urldefrag, urljoin, urlsplit

SITE = "http://docs.example.net"
PORT = 8080
THREADS = 8

STARTS = [
    "/std/index.html", "/std/index.html", "/book/", "/book/title-page.html", "/index.html", "/", "/std/vec/struct.Vec.html",
    "/std/option/enum.Option.html", "/std/string/struct.String.html", "/std/collections/index.html", "/reference/",
    "/rust-by-example/", "/cargo/", "/nomicon/", "/std/iter/trait.Iterator.html", "/std/result/", "/error_codes/E0382.html",
    "/alloc/", "/core/", "/edition-guide/", "/rustc/", "/clippy/", "/latest", "/std", "/book", "/std/sync",
]
MISSING = [
    "/favicon.ico", "/apple-touch-icon.png", "/std/vector.html", "/book/chapter-12.html", "/sitemap.xml", "/std/old/index.html",
    "/style.css", "/ads.txt", "/book/ch04-99-nothing-here.html", "/downloads/latest.zip",
]
ODD = [
    "/std/?search=vec", "/std/index.html?search=%E2%88%9E", "/std/?search=Result%3CVec%3Cu8%3E%3E%20-%3E%20Option&go_to_first=true",
    "//std//vec/struct.Vec.html", "/book/../std/index.html", "/%E2%9C%93/%D0%BF%D1%83%D1%82%D1%8C", "/std/%76ec/index.html",
    "/book/?utm_source=letter&utm_campaign=spring%20%26%20summer", "/caf%C3%A9.html", "/broken%FFbytes", "/std/vec/index.html?a=%22quoted%22",
    "/std/?q=" + "a+very+long+query+" * 120, "/%2e%2e/%2e%2e/etc/hosts", "/std/;jsessionid=0123456789ABCDEF?x=[1]&y={2}|3",
]
PROBES = [
    "/.env", "/.git/config", "/wp-login.php", "/admin/", "/cgi-bin/test.cgi", "/phpmyadmin/index.php", "/.well-known/security.txt",
    "/backup.tar.gz", "/server-status", "/.htaccess", "/config.json", "/api/v1/users?limit=1000", "/.aws/credentials", "/static.files/",
]
REFERERS = [
    "https://search.example.com/?q=how+to+borrow+twice", "https://news.example.org/item?id=4711", "https://forum.example.net/t/lifetimes/88?page=2",
    "https://search.example.com/?q=%22cannot+move+out+of%22", "https://example.com/blog/2024/a%20week%20of%20rust",
]
BROWSERS = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:14.0) Fernwood/14.0", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Harbour/9.2 (like Fernwood)",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Kestrel/122.0.0.1 Harbour/9.4", "Mozilla/5.0 (Macintosh; Desktop 14_4) Kestrel/121.5.2 Orchard/17.3",
    "Mozilla/5.0 (Phone; like Desktop 17_2) Orchard/17.2 Mobile/15E1", "Mozilla/5.0 (Tablet; U; en-gb) Lantern/3.1 Mobile",
    "Mozilla/5.0 (Android 14; Mobile; rv:13.0) Fernwood/13.0", "Mozilla/5.0 (X11; BSD amd64) Harbour/8.8",
    'Reader "Night Owl" 3.0 (for "quiet" hours)', "Papierkorb/1.0 (Größe: klein)", "textview/2.9.0dev.12 libhttp/1.1 TLS/3.0", "C:\\Tools\\Browse\\7.1",
]


class Server:
    """One visitor's kept-alive connection, made from the visitor's own address."""

    def __init__(self, address, agent):
        self.address, self.agent, self.connection = address, agent, None

    def connect(self):
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        connected = socket.socket(family, socket.SOCK_STREAM)
        connected.settimeout(20)
        if family == socket.AF_INET6:
            connected.setsockopt(socket.IPPROTO_IP, 15, 1)  # IP_FREEBIND: the range is routed to lo, not assigned
        connected.bind((self.address, 0))
        connected.connect(("2001:db8::1" if family == socket.AF_INET6 else "127.0.0.1", PORT))
        return connected

    def ask(self, path, method="GET", **headers):
        """One request and its whole answer: status, headers, body."""
        sent = {"Host": "docs.example.net", "Accept-Encoding": "identity"}
        if self.agent:
            sent["User-Agent"] = self.agent.encode()
        sent.update({name.replace("_", "-"): value for name, value in headers.items() if value is not None})
        for last_try in (False, True):
            if self.connection is None:
                self.connection = http.client.HTTPConnection("unused")
                self.connection.sock = self.connect()
            try:
                self.connection.request(method, path, headers=sent)
                answer = self.connection.getresponse()
                body = answer.read()
            except (http.client.HTTPException, OSError):
                self.connection.close()
                self.connection = None  # the server closed an idle connection
                if last_try:
                    return 0, {}, b""
                continue
            if answer.will_close:
                self.connection = None
            return answer.status, answer.headers, body
        raise AssertionError("unreachable")

    def raw(self, data, wait):
        """Bytes as they are; with `wait` until the server answers or gives up, else hang up at once."""
        with self.connect() as connected:
            connected.sendall(data)
            if wait:
                connected.recv(4096)


def links(page, body):
    """The pages and the files that a page of this site names."""
    text = body[:400_000].decode("utf-8", "replace")
    pages, files = [], []
    for tag, rest in re.findall(r"<(a|link|script|img)\b([^>]*)>", text):
        named = re.search(r'\b(?:href|src)="([^"]+)"', rest)
        if not named:
            continue
        url = urldefrag(urljoin(SITE + page, named.group(1).replace("&amp;", "&")))[0]
        if not url.startswith(SITE + "/") or "${" in url:
            continue  # another site, or a template inside a script
        path = url[len(SITE):].replace(" ", "%20")
        target = pages if tag == "a" else files
        if 'rel="canonical"' not in rest and path not in target:
            target.append(path)
    return pages, files


def reader(rng, server, requests, pause):
    """A person with a browser: a page, what it needs, a while of reading, one of its links."""
    cache, page, referer, known = {}, rng.choice(STARTS), rng.choice([None, None, *REFERERS]), []
    while requests > 0:
        if page in cache and rng.random() < 0.3:
            known, page = cache[page][1], rng.choice(STARTS)  # shown from the cache, not requested
            continue
        status, headers, body = server.ask(page, Referer=referer, If_None_Match=cache.get(page, [None])[0])
        requests -= 1
        for _ in range(3):
            if status in (301, 302) and requests > 0:
                page = urljoin(page, headers["Location"])
                status, headers, body = server.ask(page, Referer=referer, If_None_Match=cache.get(page, [None])[0])
                requests -= 1
        files = []
        if status == 200 and headers.get("Content-Type", "").startswith("text/html"):
            known, files = links(urlsplit(page).path, body)
            cache[page] = (headers.get("ETag"), known)
        for file in files:
            if requests <= 0 or (file in cache and rng.random() < 0.97):
                continue
            yield rng.uniform(0.0, 0.08)
            status, headers, _ = server.ask(file, Referer=SITE + page, If_None_Match=cache.get(file, [None])[0])
            requests -= 1
            if status == 200:
                cache[file] = (headers.get("ETag"), [])
        yield rng.expovariate(1 / pause)
        turn = rng.random()
        referer = SITE + page
        if turn < 0.015:
            page = rng.choice(MISSING)
        elif turn < 0.03:
            page = rng.choice(ODD)
        elif turn < 0.09 and cache:
            page = rng.choice([path for path in cache if path.endswith((".html", "/"))] or STARTS)  # reload: 304
        elif turn < 0.2 or not known:
            page, referer = rng.choice(STARTS), rng.choice([None, *REFERERS])
        else:
            page = rng.choice(known[:40] if rng.random() < 0.7 else known)


def crawler(rng, server, requests, pause):
    """Follows every link breadth first, obeys robots.txt, and comes back to check what it has."""
    server.ask("/robots.txt")
    queue, seen, tags = ["/index.html", "/std/index.html", "/book/"], set(), {}
    for turn in range(requests - 1):
        if tags and turn % 12 == 0:
            page = rng.choice(list(tags))
        else:
            page = queue.pop(0) if queue else rng.choice(list(tags))
        status, headers, body = server.ask(page, If_None_Match=tags.get(page))
        if status == 200 and headers.get("Content-Type", "").startswith("text/html"):
            tags[page] = headers.get("ETag")
            for link in links(urlsplit(page).path, body)[0][:200]:
                if link not in seen and not link.startswith(("/src/", "/drafts/")):
                    seen.add(link)
                    queue.append(link)
        elif status in (301, 302):
            queue.insert(0, urljoin(page, headers["Location"]))
        elif status == 429:
            queue.append(page)
            yield 2.0
        yield 0.0 if rng.random() < 0.5 else rng.expovariate(1 / pause)


def watcher(rng, server, requests, pause):
    """Asks every few seconds whether the site is there."""
    for _ in range(requests):
        server.ask(rng.choice(["/", "/", "/", "/std/index.html"]), method="HEAD")
        yield rng.uniform(0.9, 1.1) * pause


def downloader(rng, server, requests, pause):
    """Fetches large files in parts; some parts lie past the end."""
    large = ["/std/all.html", "/releases.html", "/std/iter/trait.Iterator.html", "/rustc/print.html", "/reference/print.html"]
    while requests > 0:
        path, start = rng.choice(large), 0
        for _ in range(rng.randint(2, 8)):
            if rng.random() < 0.05:
                start = 10**9
            server.ask(path, Range=f"bytes={start}-{start + 65535}")
            start, requests = start + 65536, requests - 1
            yield rng.expovariate(2 / pause)


def editor(rng, server, requests, pause):
    """Reads the drafts, at first without a name."""
    name = rng.choice(["editor", "night-shift"])
    page = "/drafts/index.html"
    for turn in range(requests):
        login = base64.b64encode(f"{name}:not-a-secret".encode()).decode()
        _, _, body = server.ask(page, Authorization=None if turn == 0 else "Basic " + login)
        pages = [path for path in links(page, body)[0] if path.startswith("/drafts/")]
        page = rng.choice(pages) if pages else "/drafts/index.html"
        yield rng.expovariate(1 / pause)


def prober(rng, server, requests, pause):
    """Looks for what should not be there, and uses methods that static pages refuse."""
    for turn in range(requests):
        method = rng.choice(["GET", "GET", "GET", "POST", "OPTIONS", "PUT", "DELETE", "TRACE", "PROPFIND"])
        path = rng.choice(PROBES if method in ("GET", "POST") else ["/", "/std/", "/upload"])
        server.ask(path, method=method, Content_Length=str(10**7) if turn % 9 == 8 else None)
        yield rng.expovariate(1 / pause)


def breaker(rng, server, requests, pause):
    """Sends what is not HTTP, or not all of it."""
    kinds = [
        (b"GET / HTTP/1.1\r\n\r\n", True), (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", True), (b"GET /std/ind", False),
        (b"GET / HTTP/9.9\r\n\r\n", True), (b"\x00\x01\x02\x03\r\n\r\n", True), (b'GET /"quoted" path HTTP/1.1\r\n\r\n', True),
        (b"GET /std/index.html HTTP/1.0\r\nUser-Agent: old \"thing\"\r\n\r\n", True), (b"get / http/1.1\r\n\r\n", True),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", True), (b"GET /book/ HTTP/1.1\r\nHost:", True),
        (b"GET /index.html\r\n", True), (b"\r\n", False), (b"CONNECT mail.example.com:25 HTTP/1.1\r\n\r\n", True), (b"HELO there\r\n", True),
    ]
    for turn in range(requests):
        server.raw(*kinds[turn % len(kinds)])
        yield rng.expovariate(1 / pause)


def addresses(rng):
    """Addresses of the ranges that are kept for documentation, none twice."""
    used = set()
    while True:
        if rng.random() < 0.25:
            address = str(ipaddress.IPv6Address((0x20010DB8 << 96) + (rng.getrandbits(16) << 80) + rng.getrandbits(rng.choice([16, 64]))))
        else:
            address = rng.choice(["192.0.2.", "198.51.100.", "203.0.113."]) + str(rng.randint(2, 254))
        if address not in used:
            used.add(address)
            yield address


def people(seed, seconds):
    """All visitors as (time of the first request, generator of pauses)."""
    rng = random.Random(seed)
    address = addresses(rng)
    office = next(address)

    def visitor(life, agent, requests, start, pause, source=None):
        own = random.Random(rng.getrandbits(64))
        return start, life(own, Server(source or next(address), agent), requests, pause)

    weights = [1 / (rank + 3) ** 0.85 for rank in range(420)]
    for rank, weight in enumerate(weights):
        requests = max(1, round(21_500 * weight / sum(weights)))
        start = rng.triangular(0, seconds * 0.9, seconds * 0.6) * (1 if requests < 100 else 0.3)
        # A page costs about three requests; the visit should end when the log does.
        pause = min(40.0, (seconds - start) * 0.75 / max(1, requests / 3))
        yield visitor(reader, rng.choice(BROWSERS), requests, start, pause, office if rank % 35 == 7 else None)
    bot = "Mozilla/5.0 (compatible; Snailbot/2.3; +http://snailbot.example/about.html)"
    yield visitor(crawler, bot, 3_600, 5, seconds / 2_400)
    yield visitor(crawler, "tinyindex/0.4 (contact: robots@tinyindex.example)", 700, seconds * 0.2, seconds / 600)
    yield visitor(crawler, "mirror-all/1.0", 500, seconds * 0.5, 0.01)
    yield visitor(watcher, "uptime-check/1.1", 300, 0, seconds / 320)
    for agent in ("fetch/8.5.0", "Resume \"Plus\" 2", "fetch/7.1.4"):
        yield visitor(downloader, agent, 120, rng.uniform(0, seconds / 2), seconds / 300)
    for _ in range(4):
        yield visitor(editor, rng.choice(BROWSERS), 60, rng.uniform(0, seconds / 3), seconds / 120)
    for agent in ("", "scan me/1.0", "Mozilla/5.0 zgrab-like/0.x"):
        yield visitor(prober, agent, 50, rng.uniform(0, seconds / 2), seconds / 120)
    for _ in range(3):
        yield visitor(breaker, None, 14, rng.uniform(0, seconds / 2), seconds / 40)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=900)
    parser.add_argument("--seed", type=int, default=2024)
    options = parser.parse_args()
    turn, began, lock = itertools.count(), time.monotonic(), threading.Lock()
    due = [(start, next(turn), life) for start, life in people(options.seed, options.seconds)]
    heapq.heapify(due)
    busy = [0]

    def work():
        while True:
            with lock:
                now = time.monotonic() - began
                if not due and not busy[0]:
                    return
                ready = due and due[0][0] <= now
                if ready:
                    _, _, life = heapq.heappop(due)
                    busy[0] += 1
            if not ready:
                time.sleep(0.01)
                continue
            pause = next(life, None)
            with lock:
                busy[0] -= 1
                if pause is not None:
                    heapq.heappush(due, (time.monotonic() - began + pause, next(turn), life))

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
