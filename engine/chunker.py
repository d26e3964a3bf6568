"""Content-defined cut points (FastCDC 2020, Xia et al., IEEE TPDS 2020) behind one function."""

from __future__ import annotations

from collections.abc import Callable

from pyfastcdc import FastCDC

MINIMUM, AVERAGE, MAXIMUM = 256 << 10, 1 << 20, 4 << 20
DESCRIPTION = {"name": "fastcdc-2020", "min": MINIMUM, "average": AVERAGE, "max": MAXIMUM}

Cutter = Callable[[memoryview], list[tuple[int, int]]]


def make_cutter(seed: int) -> Cutter:
    """A function from a buffer to its (offset, length) pieces, in order and without gaps. One per thread.

    The last piece ends where the buffer ends; it is a true cut only if nothing follows the buffer."""
    if not FastCDC.__module__.startswith("pyfastcdc.cy"):
        raise ImportError("pyfastcdc's compiled part is missing; its pure Python part is 200 times slower.")
    chunker = FastCDC(AVERAGE, min_size=MINIMUM, max_size=MAXIMUM, seed=seed)

    def cut(buffer: memoryview) -> list[tuple[int, int]]:
        return [(piece.offset, piece.length) for piece in chunker.cut_buf(buffer)]

    return cut
