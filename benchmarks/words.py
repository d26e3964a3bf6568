"""Text that compresses as business data does (about 3 : 1), made quickly and always the same for the same seed."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence

WORDS = tuple(
    """
    account order invoice payment refund customer address street city status pending shipped cancelled login logout
    session token error warning notice debug request response timeout retry cache database index query insert update
    delete select product category price discount total shipping warehouse inventory supplier contract agreement period
    renewal monthly yearly report summary detail message attachment upload download file folder user manager group role
    permission created changed expired active disabled enabled waiting verified counter drawer receipt till voucher
    branch region country delivery return exchange deposit balance credit debit transfer station shift cashier the of
    and to in a is that for it as was with be by on not this but at are from or had an they which one you were all
    """.split()
)
LINES = 4096  # made at once: long enough for speed, short enough to keep little in memory
KINDS = ("csv", "json", "log", "txt")


def numbers(rng: random.Random, count: int) -> tuple[int, ...]:
    """`count` numbers of 32 bits."""
    return struct.unpack(f"<{count}I", rng.randbytes(4 * count))


def words(rng: random.Random, count: int) -> list[str]:
    """`count` words."""
    return rng.choices(WORDS, k=count)


def text(rng: random.Random, kind: str, size: int) -> bytes:
    """Exactly `size` bytes of one of KINDS."""
    maker = {"csv": _csv, "json": _json, "log": _log, "txt": _prose}[kind]
    parts: list[bytes] = []
    have = 0
    while have < size:
        lines = min(LINES, (size - have) // 60 + 8)
        parts.append("".join(maker(rng, lines)).encode())
        have += len(parts[-1])
    return b"".join(parts)[:size]


def _csv(rng: random.Random, count: int) -> Sequence[str]:
    a, b, c = (words(rng, count) for _ in range(3))
    first = rng.getrandbits(20)
    n, m = numbers(rng, count), numbers(rng, count)
    return [
        f"{first + i},{x},{y} {z},{p % 100000 / 100},{q & 65535},2026-{1 + p % 12:02}-{1 + q % 28:02}T{p % 24:02}:"
        f"{q % 60:02}:{p % 60:02}Z,{p ^ q:08x}\n"
        for i, x, y, z, p, q in zip(range(count), a, b, c, n, m, strict=True)
    ]


def _json(rng: random.Random, count: int) -> Sequence[str]:
    a, b, c = (words(rng, count) for _ in range(3))
    first = rng.getrandbits(20)
    n, m = numbers(rng, count), numbers(rng, count)
    return [
        f'{{"id":{first + i},"user":"{x}_{p & 16383}","event":"{y}","amount":{q % 100000 / 1000},"tags":["{z}","{x}"],'
        f'"trace":"{p:08x}{q:08x}","ok":{"true" if p & 1 else "false"}}}\n'
        for i, x, y, z, p, q in zip(range(count), a, b, c, n, m, strict=True)
    ]


def _log(rng: random.Random, count: int) -> Sequence[str]:
    a, b, c = (words(rng, count) for _ in range(3))
    n, m = numbers(rng, count), numbers(rng, count)
    return [
        f"10.{p & 63}.{p >> 8 & 255}.{q & 255} - - [12/Oct/2026:{p % 24:02}:{q % 60:02}:{p % 60:02} +0000] "
        f'"GET /{x}/{y}/{q & 1048575} HTTP/1.1" {(200, 200, 200, 304, 404, 500)[p % 6]} {q & 65535} "-" "Till ({z})" '
        f"{p % 1000 / 1000}\n"
        for x, y, z, p, q in zip(a, b, c, n, m, strict=True)
    ]


def _prose(rng: random.Random, count: int) -> Sequence[str]:
    drawn = words(rng, 14 * count)
    ends = rng.choices((".\n", ". "), k=count)
    return [" ".join(drawn[14 * i : 14 * i + 14]) + ends[i] for i in range(count)]
