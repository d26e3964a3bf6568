"""An HTTP proxy before a store that does what networks and stores do on bad days, where it is told to.

A fault that was planned but did not happen makes the test fail."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

ALWAYS = 1 << 30
_HANG_SECONDS = 60
_HOP_BY_HOP = {"connection", "expect", "keep-alive", "transfer-encoding", "content-length"}


class Exchange(BaseHTTPRequestHandler):
    """One request on its way to the store. Faults are functions of it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms for an acknowledgement
    server: FaultProxy

    def handle_any(self) -> None:
        self.body_left = int(self.headers.get("Content-Length", 0))
        act = self.server.choose(self.command, self.path)
        try:
            act(self)
        except ConnectionError:
            self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any

    def read_body(self, limit: int | None = None) -> bytes:
        count = self.body_left if limit is None else min(limit, self.body_left)
        self.body_left -= count
        return self.rfile.read(count)

    def forward(self, body: bytes | None = None, *, without: str = "") -> tuple[int, dict[str, str], bytes]:
        """The store's own answer: status, headers, body."""
        content = self.read_body() if body is None else body
        upstream = http.client.HTTPConnection(self.server.host, timeout=30)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in _HOP_BY_HOP | {without.lower()}:
                    upstream.putheader(name, value)
            if content or self.command == "PUT":
                upstream.putheader("Content-Length", str(len(content)))
            upstream.endheaders(content)
            answer = upstream.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            upstream.close()

    def reply(self, status: int, headers: Mapping[str, str], body: bytes, *, sent: int | None = None) -> None:
        """Answer the client; only the first `sent` bytes of the body when that is given."""
        self.read_body()
        length = len(body)
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() == "content-length" and self.command == "HEAD":
                length = int(value)
            elif name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body[:sent])
        if sent is not None:
            self.close_connection = True

    def reset(self) -> None:
        """Breaks the connection off by a RST."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        self.connection.close()

    def log_message(self, format: str, *args: Any) -> None:
        """Tests do not talk."""


Act = Callable[[Exchange], None]


@dataclass
class Fault:
    """What happens to requests that match: to `times` of them after the first `skip`, and with `each` only to the first
    request of each method and name."""

    act: Act
    methods: str = ".*"
    path: str = ""
    times: int = ALWAYS
    skip: int = 0
    each: bool = False
    hits: int = 0
    _seen: set[tuple[str, str]] = field(default_factory=set)

    def takes(self, method: str, path: str) -> bool:
        if not re.fullmatch(self.methods, method) or not re.search(self.path, path):
            return False
        if self.each and (method, path) in self._seen:
            return False
        self._seen.add((method, path))
        if self.skip:
            self.skip -= 1
            return False
        if self.hits >= self.times:
            return False
        self.hits += 1
        return True


class FaultProxy(ThreadingHTTPServer):
    """Listens at `url` and passes everything on to the store, but for what is planned."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, endpoint: str) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        self.host = urlsplit(endpoint).netloc
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []
        self.released = threading.Event()
        self._lock = threading.Lock()

    def plan(self, act: Act, **where: Any) -> Fault:
        """Plan a fault; see Fault. Its `hits` tell how often it happened."""
        fault = Fault(act, **where)
        self.faults.append(fault)
        return fault

    def choose(self, method: str, path: str) -> Act:
        with self._lock:
            self.requests.append((method, path))
            for fault in self.faults:
                if fault.takes(method, path):
                    return fault.act
        return pass_on

    def count(self, method: str, path: str) -> int:
        """How many requests there were."""
        return sum(m == method and re.search(path, p) is not None for m, p in self.requests)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that give up are what these tests are about."""


@contextlib.contextmanager
def fault_proxy(endpoint: str) -> Iterator[FaultProxy]:
    """A proxy that runs for the block; afterwards every planned fault must have happened."""
    proxy = FaultProxy(endpoint)
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.released.set()
        proxy.shutdown()
        proxy.server_close()
        thread.join()
    missed = [fault for fault in proxy.faults if not fault.hits or fault.hits < fault.times < ALWAYS]
    assert not missed, f"planned but not met: {missed}"


def pass_on(exchange: Exchange) -> None:
    exchange.reply(*exchange.forward())


def answer(status: int, code: str = "", *, extra: str = "", headers: Mapping[str, str] | None = None) -> Act:
    """The proxy answers itself, as a store does; the store sees nothing."""
    text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>planned</Message>{extra}</Error>" if code else ""
    return lambda exchange: exchange.reply(
        status, {"Content-Type": "application/xml", **(headers or {})}, text.encode()
    )


def reset_in_the_middle(exchange: Exchange) -> None:
    """Of the request where it has a body, else of the answer."""
    if exchange.body_left:
        exchange.read_body(exchange.body_left // 2)
    else:
        status, headers, body = exchange.forward()
        exchange.reply(status, headers, body, sent=len(body) // 2)
    exchange.reset()


def lose_the_answer(exchange: Exchange) -> None:
    """The store did it, but nobody hears of it."""
    exchange.forward()
    exchange.reset()


def hang(exchange: Exchange) -> None:
    """Nothing is heard until the client gives up."""
    exchange.read_body()
    exchange.server.released.wait(_HANG_SECONDS)
    exchange.reset()


def truncate(exchange: Exchange) -> None:
    """The answer ends early."""
    status, headers, body = exchange.forward()
    exchange.reply(status, headers, body, sent=len(body) // 2)


def ignore_the_condition(exchange: Exchange) -> None:
    """As stores do that do not know If-None-Match: they overwrite."""
    exchange.reply(*exchange.forward(without="If-None-Match"))


def spoil(exchange: Exchange) -> None:
    """One bit of the object is changed on its way."""
    body = bytearray(exchange.read_body())
    if body:
        body[len(body) // 2] ^= 1
    exchange.reply(*exchange.forward(bytes(body)))
