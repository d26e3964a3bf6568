"""What the libraries alone take for the uploads of `./run bench`: `python -m benchmarks.floor` prints the processor
seconds a gigabyte of each step that a backup, a restore or a check needs, in one thread and without Holdfast."""

from __future__ import annotations

import hashlib
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import zstandard
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks import data

BYTES = 150_000_000
CHUNK = 1 << 20
LEVEL = 2  # what engine/compress.py uses
NONCE = bytes(12)
TRIES = 5


def main() -> int:
    """The exit code is 0."""
    with tempfile.TemporaryDirectory(prefix="holdfast-floor-") as folder:
        source = Path(folder) / "uploads"
        data.make(source, data.uploads(BYTES))
        chunks = [piece for file in sorted(data.walk(source)) for piece in _pieces(file)]
        compressor, decompressor = zstandard.ZstdCompressor(level=LEVEL), zstandard.ZstdDecompressor()
        seal = AESGCM(bytes(32))
        frames = [compressor.compress(chunk) for chunk in chunks]
        sealed = [seal.encrypt(NONCE, frame, None) for frame in frames]
        steps: dict[str, Callable[[], object]] = {
            "compress (zstd)": lambda: [compressor.compress(chunk) for chunk in chunks],
            "decompress (zstd)": lambda: [decompressor.decompress(frame) for frame in frames],
            "hash (SHA-256)": lambda: [hashlib.sha256(chunk).digest() for chunk in chunks],
            "seal (AES-256-GCM)": lambda: [seal.encrypt(NONCE, frame, None) for frame in frames],
            "open (AES-256-GCM)": lambda: [seal.decrypt(NONCE, each, None) for each in sealed],
            "write": lambda: _write(Path(folder) / "copy", chunks),
        }
        size = sum(map(len, chunks))
        print("| Step | Processor seconds a GB |\n|---|---:|")
        for name, step in steps.items():
            print(f"| {name} | {min(_seconds(step) for _ in range(TRIES)) / size * 1e9:.2f} |")
    return 0


def _pieces(file: Path) -> list[bytes]:
    content = file.read_bytes()
    return [content[start : start + CHUNK] for start in range(0, len(content), CHUNK)]


def _write(place: Path, chunks: list[bytes]) -> None:
    with place.open("wb") as copy:
        copy.writelines(chunks)


def _seconds(step: Callable[[], object]) -> float:
    began = time.process_time()
    step()
    return time.process_time() - began


if __name__ == "__main__":
    sys.exit(main())
