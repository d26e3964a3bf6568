"""Plans which blob goes where, then reads each blob once in the order of the packs; threads decode and write."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from engine.errors import Corrupt, EngineError
from engine.model import content as contents
from engine.progress import Progress
from engine.repository.reader import BlobReader
from engine.targets.directory import DirectoryTarget, OpenFile

# What is planned before it is carried out: bounds memory and the number of files that are open at once, for which only
# those in chunks count. At the end of each batch a processor waits for the other, so few large ones are better.
_PIECES, _BYTES, _CHUNKED_FILES = 20_000, 1 << 30, 400


class _Piece(NamedTuple):
    """`length` bytes at `start` of a blob belong at `offset` of a file."""

    file: OpenFile
    offset: int
    start: int
    length: int


class PiecePlan:
    """Collects the contents of files and writes them in batches."""

    def __init__(self, reader: BlobReader, target: DirectoryTarget, progress: Progress) -> None:
        self._reader = reader
        self._target = target
        self._progress = progress
        self._pieces: dict[bytes, list[_Piece]] = {}
        self._count = self._bytes = self._chunked = 0

    @property
    def is_full(self) -> bool:
        """Time to `run`."""
        return self._count >= _PIECES or self._bytes >= _BYTES or self._chunked >= _CHUNKED_FILES

    def add(self, file: OpenFile) -> None:
        """Plan a file; a very large one is partly written at once."""
        content, size = file.node.content, file.node.size
        if content is None and not file.missing:
            self._target.complete(file)
        elif content is not None and content[0] == contents.BUNDLE:
            self._plan(content[1], _Piece(file, 0, content[2], size))
        else:
            self._chunked += 1
            try:
                self._add_chunks(file)
            except EngineError as error:
                self._target.fail(file, error)

    def run(self) -> None:
        """Carry out what is planned. Raises TargetError when the disk failed, Cancelled."""
        places = {id: self._reader.table.find(id) for id in self._pieces}
        order = sorted(places, key=lambda id: (p.pack.name, p.entry.position) if (p := places[id]) else (b"", 0))
        pieces, self._pieces = self._pieces, {}
        self._count = self._bytes = self._chunked = 0
        with ThreadPoolExecutor(self._reader.threads, thread_name_prefix="restore") as pool:
            futures = [pool.submit(self._write, id, pieces[id]) for id in order]
            try:
                for future in futures:
                    future.result()
                    self._progress.checkpoint()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _add_chunks(self, file: OpenFile) -> None:
        offset, holes = 0, iter(file.node.holes)
        hole = next(holes, None)
        for chunk in self._reader.chunks(file.node.content):
            while hole is not None and hole[0] == offset:
                offset, hole = offset + hole[1], next(holes, None)
            self._plan(chunk.id, _Piece(file, offset, 0, chunk.length))
            offset += chunk.length
            if self.is_full:
                self.run()
        while hole is not None and hole[0] == offset:
            offset, hole = offset + hole[1], next(holes, None)
        if offset != file.node.size:
            raise Corrupt(f"A file of {file.node.size} bytes is recorded with {offset} bytes of content.")

    def _plan(self, id: bytes, piece: _Piece) -> None:
        self._pieces.setdefault(id, []).append(piece)
        self._count += 1
        self._bytes += piece.length

    def _write(self, id: bytes, pieces: Sequence[_Piece]) -> None:
        try:
            plain = self._reader.read(id)
        except EngineError as error:
            for piece in pieces:
                self._target.fail(piece.file, error)
            return
        for piece in pieces:
            part = plain[piece.start : piece.start + piece.length]  # of the whole, no copy
            if len(part) == piece.length:
                self._target.write(piece.file, piece.offset, part)
            else:
                self._target.fail(piece.file, Corrupt("A blob is shorter than its record says."))
