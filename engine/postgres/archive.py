"""Follows a pg_dump archive in custom format as it streams by: proves that it is complete, counts the rows of every
table exactly, and notes where each table's data lies. Nothing of it is kept but the table of contents.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.errors import SourceError
from engine.postgres.rows import END_OF_ROWS, NEWLINES_AFTER_ROWS, PREFIX_BYTES, count_newlines
from engine.postgres.toc import Toc, TocEntry, TocParser, UnknownArchive

TABLE_DATA = "TABLE DATA"
LARGE_OBJECTS = "BLOBS"
DATA_BLOCK = 1
LARGE_OBJECTS_BLOCK = 3
BLOCK_HEAD_BYTES = 1 + PREFIX_BYTES
# The last pg_dump whose uncompressed archives hold one row a chunk; newer ones fill chunks of 128 KiB.
LAST_ROW_PER_CHUNK = 18


@dataclass(frozen=True)
class DataBlock:
    """The data of one entry: `length` bytes from `offset`, from the block's type up to and with its terminator.

    `rows` is exact for a table and None where the block does not end as pg_dump ends COPY text; `large_objects` is 0
    but for blocks of these.
    """

    entry: TocEntry
    offset: int
    length: int
    rows: int | None
    large_objects: int


@dataclass(frozen=True)
class Archive:
    """A complete archive of `size` bytes. Without a `toc` its version is unknown and nothing else is known of it."""

    toc: Toc | None
    blocks: tuple[DataBlock, ...]
    size: int
    version: str

    @property
    def rows_known(self) -> bool:
        """Whether every table's rows were counted in the stream."""
        return self.toc is not None and all(
            block.rows is not None for block in self.blocks if block.entry.description == TABLE_DATA
        )


class ArchiveReader:
    """`feed` takes the bytes in pieces of any size, `finish` says what the stream was."""

    def __init__(self) -> None:
        self._size = 0
        self._parser: TocParser | None = TocParser()
        self._toc: Toc | None = None
        self._unknown_version = ""
        self._entries: dict[int, TocEntry] = {}
        self._row_per_chunk = False
        self._blocks: dict[int, DataBlock] = {}
        self._carry = b""
        self._block: _Block | None = None

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """The next bytes. Raises SourceError when they cannot belong to an archive that pg_dump writes."""
        self._size += len(data)
        if self._unknown_version or not data:
            return
        if self._parser is not None:
            data = self._feed_toc(self._parser, bytes(data))
            if self._toc is None:
                return
        buffer = self._carry + data
        position = self._read_blocks(buffer, self._size - len(buffer))
        self._carry = buffer[position:]

    def finish(self) -> Archive:
        """What the archive holds. Raises SourceError unless every entry with data has its complete block and nothing
        follows the last one."""
        if self._unknown_version:
            return Archive(None, (), self._size, self._unknown_version)
        if self._toc is None:
            raise SourceError("The dump ended inside of its table of contents: pg_dump did not finish.")
        if self._block is not None:
            entry = self._block.entry
            raise SourceError(f"The dump ended inside of the data of {_spell(entry)}: pg_dump did not finish.")
        missing = [entry for entry in self._toc.entries if entry.has_data and entry.id not in self._blocks]
        if missing:
            more = f" and of {len(missing) - 1} more" if len(missing) > 1 else ""
            raise SourceError(f"The dump ended before the data of {_spell(missing[0])}{more}: pg_dump did not finish.")
        if self._carry:
            raise _foreign_bytes()
        return Archive(self._toc, tuple(self._blocks.values()), self._size, self._toc.header.version_text)

    def _feed_toc(self, parser: TocParser, data: bytes) -> bytes:
        """What of `data` lies behind the table of contents."""
        try:
            parser.feed(data)
        except UnknownArchive as unknown:
            self._unknown_version = str(unknown)
            self._parser = None
            return b""
        if parser.toc is None:
            return b""
        self._toc = parser.toc
        self._entries = {entry.id: entry for entry in parser.toc.entries}
        self._row_per_chunk = 0 < parser.toc.header.client_major <= LAST_ROW_PER_CHUNK
        self._parser = None
        return parser.rest

    def _read_blocks(self, buffer: bytes, base: int) -> int:
        """Reads on as far as the buffer goes, whose first byte is byte `base` of the archive; where it stopped."""
        position = 0
        while position < len(buffer):
            if self._block is None:
                if len(buffer) - position < BLOCK_HEAD_BYTES:
                    return position
                self._block = self._open_block(buffer, position, base + position)
                position += BLOCK_HEAD_BYTES
            position, ended = self._block.read(buffer, position)
            if not ended:
                return position
            self._blocks[self._block.entry.id] = self._block.close(base + position)
            self._block = None
        return position

    def _open_block(self, buffer: bytes, position: int, offset: int) -> _Block:
        kind = buffer[position]
        identity = int.from_bytes(buffer[position + 2 : position + BLOCK_HEAD_BYTES], "little")
        entry = self._entries.get(identity)
        if kind not in (DATA_BLOCK, LARGE_OBJECTS_BLOCK) or buffer[position + 1] or entry is None or not entry.has_data:
            raise _foreign_bytes()
        if identity in self._blocks:
            raise SourceError(f"The dump has the data of {_spell(entry)} twice.", hint="Run the backup again.")
        if kind == LARGE_OBJECTS_BLOCK:
            return _LargeObjectsBlock(entry, offset)
        if entry.description == TABLE_DATA:
            return _TableBlock(entry, offset, row_per_chunk=self._row_per_chunk)
        return _ChunksBlock(entry, offset)


def _spell(entry: TocEntry) -> str:
    return f"{entry.schema}.{entry.name}" if entry.schema else entry.name or entry.description


def _foreign_bytes() -> SourceError:
    return SourceError("The dump has bytes behind its data that do not belong there.", hint="Run the backup again.")


class _Block:
    """A data block whose end was not yet seen."""

    def __init__(self, entry: TocEntry, offset: int) -> None:
        self.entry = entry
        self.offset = offset

    def read(self, buffer: bytes, position: int) -> tuple[int, bool]:
        """Reads on from `position`; where it stopped and whether the block ended there. What is not read is offered
        again with more bytes behind it."""
        raise NotImplementedError

    def close(self, end: int) -> DataBlock:
        return DataBlock(self.entry, self.offset, end - self.offset, None, 0)


class _TableBlock(_Block):
    """COPY text: chunks up to one of length 0."""

    def __init__(self, entry: TocEntry, offset: int, *, row_per_chunk: bool) -> None:
        super().__init__(entry, offset)
        self._row_per_chunk = row_per_chunk
        self._newlines = 0
        self._tail = b""

    def read(self, buffer: bytes, position: int) -> tuple[int, bool]:
        counted = count_newlines(buffer, position, row_per_chunk=self._row_per_chunk)
        self._newlines += counted.newlines
        tail_from = max(position, counted.position - len(END_OF_ROWS))
        self._tail = (self._tail + buffer[tail_from : counted.position])[-len(END_OF_ROWS) :]
        return (counted.position + PREFIX_BYTES if counted.ended else counted.position), counted.ended

    def close(self, end: int) -> DataBlock:
        rows: int | None = self._newlines - NEWLINES_AFTER_ROWS
        # A NUL there is a length between the last bytes: chunks that are cut elsewhere than at rows' ends.
        if 0 not in self._tail and self._tail != END_OF_ROWS:
            rows = None
        return DataBlock(self.entry, self.offset, end - self.offset, rows, 0)


class _ChunksBlock(_Block):
    """Bytes of any kind: chunks up to one of length 0, passed over by their lengths."""

    def __init__(self, entry: TocEntry, offset: int) -> None:
        super().__init__(entry, offset)
        self._skip = 0

    def read(self, buffer: bytes, position: int) -> tuple[int, bool]:
        end = len(buffer)
        while True:
            if self._skip:
                step = min(self._skip, end - position)
                self._skip -= step
                position += step
            if end - position < PREFIX_BYTES:
                return position, False
            length = int.from_bytes(buffer[position + 1 : position + PREFIX_BYTES], "little")
            position += PREFIX_BYTES
            if not length:
                return position, True
            self._skip = length


class _LargeObjectsBlock(_Block):
    """For each large object its number and its chunks; the number 0 ends the block."""

    def __init__(self, entry: TocEntry, offset: int) -> None:
        super().__init__(entry, offset)
        self._count = 0
        self._object: _ChunksBlock | None = None

    def read(self, buffer: bytes, position: int) -> tuple[int, bool]:
        while True:
            if self._object is not None:
                position, ended = self._object.read(buffer, position)
                if not ended:
                    return position, False
                self._object = None
            if len(buffer) - position < PREFIX_BYTES:
                return position, False
            number = int.from_bytes(buffer[position + 1 : position + PREFIX_BYTES], "little")
            position += PREFIX_BYTES
            if not number:
                return position, True
            self._count += 1
            self._object = _ChunksBlock(self.entry, self.offset)

    def close(self, end: int) -> DataBlock:
        return DataBlock(self.entry, self.offset, end - self.offset, None, self._count)
