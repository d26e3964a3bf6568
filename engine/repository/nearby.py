"""Reads small blobs together with what lies around them, for places where a request costs more than its bytes.

The differences of a dump lie beside each other, each some kilobytes long: one request brings those of some dozen
chunks, in place of one request for each."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future

_CELL_BYTES = 512 << 10
_KEPT_CELLS = 32

# (name, offset, length in bytes) -> the bytes; raises StorageError.
Get = Callable[[str, int, int], bytes]


class Nearby:
    """Cells of packs of half a megabyte, those that were used last; each is fetched by one thread, for all."""

    def __init__(self, get: Get) -> None:
        self._get = get
        self._kept: OrderedDict[tuple[str, int], Future[bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str, size: int, position: int, length: int) -> bytes | memoryview:
        """`length` bytes, at least one, at `position` of an object of `size` bytes. Raises what `get` raises."""
        first, last = position // _CELL_BYTES, (position + length - 1) // _CELL_BYTES
        cells = [self._cell(name, size, number) for number in range(first, last + 1)]
        start = position - first * _CELL_BYTES
        return memoryview(cells[0] if len(cells) == 1 else b"".join(cells))[start : start + length]

    def _cell(self, name: str, size: int, number: int) -> bytes:
        made: Future[bytes] | None = None
        with self._lock:
            found = self._kept.get((name, number))
            if found is None:
                found = made = self._kept[name, number] = Future()
                if len(self._kept) > _KEPT_CELLS:
                    self._kept.popitem(last=False)
            self._kept.move_to_end((name, number))
        if made is not None:
            start = number * _CELL_BYTES
            try:
                made.set_result(self._get(name, start, min(_CELL_BYTES, size - start)))
            except BaseException as error:  # noqa: BLE001 - others wait for it, whatever it is
                with self._lock:
                    self._kept.pop((name, number), None)
                made.set_exception(error)
        return found.result()
