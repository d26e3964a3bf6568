"""The head of a pg_dump archive in custom format: its header and its table of contents.

`TocParser` takes the bytes as they come and says when the contents are complete; `parse_toc` does it in one call.
Known are the archive versions 1.12 to 1.16 (pg_dump 9.0 to 19); others raise `UnknownArchive`.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

from engine.errors import SourceError

MAGIC = b"PGDMP"
OLDEST = (1, 12)
NEWEST = (1, 16)
# Since 1.15 the header names the algorithm, before that the level; nothing, and level 0, mean uncompressed.
VERSION_WITH_ALGORITHM = (1, 15)
VERSION_WITH_ACCESS_METHOD = (1, 14)
VERSION_WITH_RELATION_KIND = (1, 16)
CUSTOM_FORMAT = 1
INT_BYTES = 4
TEXT_LIMIT = 1 << 30  # PostgreSQL's own limit of one value
FIXED_HEAD = len(MAGIC) + 6
# Descriptions in which the raw bytes of a name are not UTF-8 are still shown, if not exactly.
UNDECODABLE = "backslashreplace"


class UnknownArchive(Exception):
    """The archive is of a kind that this reader does not know; not an error of the dump."""


class _Incomplete(Exception):
    """More bytes are needed to read on."""


@dataclass(frozen=True)
class Header:
    """What the archive says of itself: the versions of pg_dump and of the server as they print them, and more."""

    version: tuple[int, int, int]
    offset_bytes: int
    database: str
    server_version: str
    client_version: str
    entry_count: int

    @property
    def version_text(self) -> str:
        """`1.16`, with the revision only where it is not 0."""
        return ".".join(map(str, self.version if self.version[2] else self.version[:2]))

    @property
    def client_major(self) -> int:
        """Major version of the pg_dump that wrote the archive, 0 when it cannot be told."""
        digits = re.match(r"\d+", self.client_version)
        return int(digits.group()) if digits else 0


@dataclass(frozen=True, slots=True)
class TocEntry:
    """One object of the dump. `id` is its dump id, `description` its kind in pg_dump's words (`TABLE DATA`),
    `place_field` the position in the archive of the field that can say where its data lies."""

    id: int
    description: str
    schema: str
    name: str
    owner: str
    has_data: bool
    dependencies: tuple[int, ...]
    copy_statement: str
    place_field: int


@dataclass(frozen=True)
class Toc:
    """Header and contents; `length` is the number of bytes they take at the start of the archive."""

    header: Header
    entries: tuple[TocEntry, ...]
    length: int
    encoding: str


def parse_toc(data: bytes) -> Toc:
    """The contents from the first bytes of an archive (more may follow). Raises SourceError, UnknownArchive."""
    parser = TocParser()
    parser.feed(data)
    if parser.toc is None:
        raise SourceError("The table of contents of the dump is not complete.")
    return parser.toc


class TocParser:
    """Collects the head of an archive; `toc` is None until all of it was fed."""

    def __init__(self) -> None:
        self.toc: Toc | None = None
        self._buffer = bytearray()
        self._position = 0
        self._header: Header | None = None
        self._raw: list[_RawEntry] = []

    @property
    def rest(self) -> bytes:
        """What was fed beyond the end of the contents."""
        return bytes(self._buffer[self._position :])

    def feed(self, data: bytes) -> None:
        """Takes the next bytes. Raises SourceError when they cannot be the head of an archive, UnknownArchive."""
        self._buffer += data
        try:
            if self._header is None:
                self._header, self._position = _read_header(self._buffer)
            while len(self._raw) < self._header.entry_count:
                entry, self._position = _read_entry(self._buffer, self._position, self._header)
                self._raw.append(entry)
        except _Incomplete:
            return
        encoding = next((found for entry in self._raw if (found := entry.encoding())), "UTF8")
        codec = python_codec(encoding)
        entries = tuple(entry.decode(codec) for entry in self._raw)
        self.toc = Toc(self._header, entries, self._position, encoding)


def python_codec(encoding: str) -> str:
    """The name of Python's codec for one of PostgreSQL's encodings; UTF-8 where there is none."""
    lower = encoding.lower()
    candidate = {"koi8r": "koi8_r", "koi8u": "koi8_u", "sql_ascii": "utf-8"}.get(lower, lower)
    if lower.startswith("win"):
        candidate = "cp" + lower.removeprefix("win")
    try:
        return codecs.lookup(candidate).name
    except LookupError:
        return "utf-8"


@dataclass(slots=True)
class _RawEntry:
    id: int
    has_data: bool
    texts: dict[str, bytes]
    dependencies: tuple[int, ...]
    place_field: int

    def encoding(self) -> str:
        """The encoding that the dump's own ENCODING entry sets, else nothing."""
        if self.texts["description"] != b"ENCODING":
            return ""
        found = re.search(rb"client_encoding = '([^']+)'", self.texts["definition"])
        return found.group(1).decode("ascii", "replace") if found else ""

    def decode(self, codec: str) -> TocEntry:
        texts = {key: value.decode(codec, UNDECODABLE) for key, value in self.texts.items() if key != "definition"}
        return TocEntry(
            id=self.id,
            description=texts["description"],
            schema=texts["schema"],
            name=texts["name"],
            owner=texts["owner"],
            has_data=self.has_data,
            dependencies=self.dependencies,
            copy_statement=texts["copy_statement"],
            place_field=self.place_field,
        )


def _read_header(buffer: bytearray) -> tuple[Header, int]:
    if buffer[: len(MAGIC)] != MAGIC[: len(buffer)]:
        raise SourceError(
            "What pg_dump wrote is not an archive in its custom format.",
            hint="Check which program is used as pg_dump: HOLDFAST_PG_BIN names its folder.",
        )
    if len(buffer) < FIXED_HEAD:
        raise _Incomplete
    major, minor, revision, int_bytes, offset_bytes, archive_format = buffer[len(MAGIC) : FIXED_HEAD]
    if not OLDEST <= (major, minor) <= NEWEST or int_bytes != INT_BYTES or archive_format != CUSTOM_FORMAT:
        raise UnknownArchive(f"{major}.{minor}")
    position = FIXED_HEAD
    if (major, minor) >= VERSION_WITH_ALGORITHM:
        compression, position = _read_byte(buffer, position)
    else:
        compression, position = _read_int(buffer, position)
    if compression:
        raise SourceError(
            "The dump is compressed by pg_dump, so its rows cannot be followed.",
            hint="Holdfast asks for --compress=0: check which program is used as pg_dump.",
        )
    for _ in range(7):  # the time of the dump: seconds, minutes, hours, day, month, year, daylight saving
        _, position = _read_int(buffer, position)
    database, position = _read_text(buffer, position)
    server_version, position = _read_text(buffer, position)
    client_version, position = _read_text(buffer, position)
    entry_count, position = _read_int(buffer, position)
    if entry_count < 0:
        raise _damaged()
    header = Header(
        version=(major, minor, revision),
        offset_bytes=offset_bytes,
        database=database.decode("utf-8", UNDECODABLE),
        server_version=server_version.decode("utf-8", "replace"),
        client_version=client_version.decode("utf-8", "replace"),
        entry_count=entry_count,
    )
    return header, position


def _read_entry(buffer: bytearray, position: int, header: Header) -> tuple[_RawEntry, int]:
    """One entry from `position`; the position behind it."""
    texts: dict[str, bytes] = {}

    def text(name: str) -> None:
        nonlocal position
        texts[name], position = _read_text(buffer, position)

    entry_id, position = _read_int(buffer, position)
    has_data, position = _read_int(buffer, position)
    for unused in ("table oid", "oid"):
        text(unused)
    text("name")
    text("description")
    _, position = _read_int(buffer, position)  # the section
    text("definition")
    text("drop statement")
    text("copy_statement")
    text("schema")
    text("tablespace")
    if header.version >= VERSION_WITH_ACCESS_METHOD:
        text("access method")
    if header.version >= VERSION_WITH_RELATION_KIND:
        _, position = _read_int(buffer, position)
    text("owner")
    text("with oids")
    dependencies, position = _read_dependencies(buffer, position)
    place_field = position
    position += 1 + header.offset_bytes  # where the data lies: unknown to a pg_dump that writes into a pipe
    if position > len(buffer):
        raise _Incomplete
    if entry_id <= 0:
        raise _damaged()
    kept = {key: texts[key] for key in ("name", "description", "copy_statement", "schema", "owner")}
    # Only the encoding's definition is needed here; the others can take most of a large dump's contents.
    kept["definition"] = texts["definition"] if texts["description"] == b"ENCODING" else b""
    return _RawEntry(entry_id, bool(has_data), kept, dependencies, place_field), position


def _read_dependencies(buffer: bytearray, position: int) -> tuple[tuple[int, ...], int]:
    """Dump ids as decimal texts up to the first absent one."""
    found: list[int] = []
    while True:
        length, after = _read_int(buffer, position)
        if length < 0:
            return tuple(found), after
        value, position = _read_text(buffer, position)
        if not value.isdigit():
            raise _damaged()
        found.append(int(value))


def _read_byte(buffer: bytearray, position: int) -> tuple[int, int]:
    if position >= len(buffer):
        raise _Incomplete
    return buffer[position], position + 1


def _read_int(buffer: bytearray, position: int) -> tuple[int, int]:
    """A sign byte and four bytes, the lowest first."""
    after = position + 1 + INT_BYTES
    if after > len(buffer):
        raise _Incomplete
    value = int.from_bytes(buffer[position + 1 : after], "little")
    return (-value if buffer[position] else value), after


def _read_text(buffer: bytearray, position: int) -> tuple[bytes, int]:
    """A length and so many bytes; an absent text (length -1) is empty here."""
    length, position = _read_int(buffer, position)
    if length < 0:
        return b"", position
    if length > TEXT_LIMIT:
        raise _damaged()
    after = position + length
    if after > len(buffer):
        raise _Incomplete
    return bytes(buffer[position:after]), after


def _damaged() -> SourceError:
    return SourceError("The table of contents of the dump makes no sense.", hint="Run the backup again.")
