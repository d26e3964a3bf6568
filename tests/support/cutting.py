"""A TCP proxy that breaks every connection through it after a number of bytes, as a failing network does."""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_RESET = struct.pack("ii", 1, 0)


class CuttingProxy(socketserver.ThreadingTCPServer):
    """Passes on what goes to and comes from `upstream`. Of what comes back, over all connections, only the first
    `limit` bytes get through; then everything is reset and nobody gets through any more. `sent` counts them."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, upstream: tuple[str, int], limit: int) -> None:
        super().__init__(("127.0.0.1", 0), _Link)
        self.upstream = upstream
        self.limit = limit
        self.sent = 0
        self._lock = threading.Lock()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    def allow(self, count: int) -> int:
        """How many of so many further bytes may pass."""
        with self._lock:
            allowed = min(count, self.limit - self.sent)
            self.sent += allowed
        return allowed

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is none of our business."""


class _Link(socketserver.BaseRequestHandler):
    server: CuttingProxy

    def handle(self) -> None:
        client = self.request
        with socket.create_connection(self.server.upstream) as far:
            upwards = threading.Thread(target=_pump, args=(client, far, lambda count: count), daemon=True)
            upwards.start()
            _pump(far, client, self.server.allow)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            for end in (client, far):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            upwards.join()


def _pump(source: socket.socket, target: socket.socket, allow: Callable[[int], int]) -> None:
    """Until the source ends, or no more may pass."""
    with suppress(OSError):
        while data := source.recv(65_536):
            allowed = allow(len(data))
            target.sendall(data[:allowed])
            if allowed < len(data):
                return
        target.shutdown(socket.SHUT_WR)


@contextmanager
def cutting_proxy(upstream: tuple[str, int], limit: int) -> Iterator[CuttingProxy]:
    """A proxy at work for the time of the block."""
    with CuttingProxy(upstream, limit) as proxy:
        serving = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        serving.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            serving.join()
