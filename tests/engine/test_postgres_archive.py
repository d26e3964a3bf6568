"""The reader of pg_dump's custom format: complete archives are described exactly, all others refused."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import SourceError
from engine.postgres.archive import Archive, ArchiveReader
from engine.postgres.toc import parse_toc, python_codec
from tests.engine.pgfakes.archives import (
    END_OF_ROWS,
    Entry,
    archive,
    head,
    objects_block,
    rows_block,
    table_block,
)

VERSIONS = [
    ((1, 12, 0), "9.6.24"),
    ((1, 13, 0), "11.22"),
    ((1, 14, 0), "15.18"),
    ((1, 15, 0), "16.14"),
    ((1, 16, 0), "18.4"),
]
ENCODING = Entry(1, "ENCODING", "", "ENCODING", definition="SET client_encoding = 'UTF8';\n")


def sample() -> list[Entry]:
    """Two tables, one without rows or columns, one view, large objects that hold NULs."""
    binary = [b"\x00" * 300 + b"\n\x00", bytes(range(256)) * 8]
    return [
        ENCODING,
        Entry(7, "TABLE", "public", "orders"),
        Entry(8, "VIEW", "public", "v", dependencies=(7,)),
        Entry(20, "TABLE DATA", 'odd "s".x', "a.b\nc", rows_block(20, [b"1\tx\n", b"2\t\\\\.\n", b"\\N\t\\N\n"]), (7,)),
        Entry(21, "TABLE DATA", "public", "no columns", rows_block(21, [b"\n", b"\n"])),
        Entry(22, "TABLE DATA", "public", "empty", rows_block(22, [])),
        Entry(30, "BLOBS", "", "BLOBS", objects_block(30, [binary, [], [b"\x00"]])),
    ]


def read(data: bytes, cuts: list[int] | None = None) -> Archive:
    reader = ArchiveReader()
    for start, stop in itertools.pairwise([0, *sorted(cuts or []), len(data)]):
        reader.feed(memoryview(data)[start:stop])
    return reader.finish()


@pytest.mark.parametrize(("version", "client"), VERSIONS)
def test_every_version_is_described(version: tuple[int, int, int], client: str) -> None:
    data = archive(sample(), version=version, client=client)
    found = read(data)
    assert found.toc is not None
    assert (found.size, found.toc.length) == (len(data), len(head(sample(), version=version, client=client)))
    assert found.toc.header.client_version == client
    assert found.version == f"1.{version[1]}"
    assert [(block.entry.id, block.rows, block.large_objects) for block in found.blocks] == [
        (20, 3, 0), (21, 2, 0), (22, 0, 0), (30, None, 3),
    ]  # fmt: skip
    for block, entry in zip(found.blocks, sample()[3:], strict=True):
        assert data[block.offset : block.offset + block.length] == entry.block
        assert (block.entry.schema, block.entry.name) == (entry.schema, entry.name)
    assert found.rows_known
    assert parse_toc(data).entries == found.toc.entries


@given(st.data())
@settings(max_examples=80)
def test_splits_do_not_matter(data: st.DataObject) -> None:
    whole = archive(sample())
    cuts = data.draw(st.lists(st.integers(0, len(whole)), max_size=12))
    assert read(whole, cuts) == read(whole)


@pytest.mark.parametrize(("version", "client"), VERSIONS[-3:])
def test_cut_at_any_byte_it_is_refused(version: tuple[int, int, int], client: str) -> None:
    data = archive(sample(), version=version, client=client)
    for length in range(len(data)):
        with pytest.raises(SourceError, match=r"pg_dump did not finish|belong"):
            read(data[:length])


def test_bytes_behind_the_end_are_refused() -> None:
    data = archive(sample())
    for tail in (b"\x00", b"\x01" * 6, rows_block(20, [b"1\n"]), rows_block(99, []), rows_block(8, [])):
        with pytest.raises(SourceError, match=r"do not belong|twice"):
            read(data + tail)


def test_blocks_may_come_in_any_order_but_all_must_come() -> None:
    entries = sample()
    start, blocks = head(entries), [entry.block for entry in entries if entry.block is not None]
    assert {block.entry.id for block in read(start + b"".join(reversed(blocks))).blocks} == {20, 21, 22, 30}
    for left_out in range(len(blocks)):
        with pytest.raises(SourceError, match="ended before the data of"):
            read(start + b"".join(blocks[:left_out] + blocks[left_out + 1 :]))


def test_chunks_of_several_rows_are_counted_as_pg_dump_19_writes_them() -> None:
    content = b"".join(b"%d\tsome text\n" % number for number in range(50_000)) + END_OF_ROWS
    pieces = [content[start : start + 131_072] for start in range(0, len(content), 131_072)]
    data = archive([ENCODING, Entry(5, "TABLE DATA", "public", "t", table_block(5, pieces))], client="19.1")
    found = read(data, list(range(0, len(data), 70_001)))
    assert [block.rows for block in found.blocks] == [50_000]
    assert found.rows_known


def test_a_table_whose_text_ends_in_another_way_has_unknown_rows() -> None:
    odd = Entry(5, "TABLE DATA", "public", "t", table_block(5, [b"1\n", b"2\n", b"the end\n"]))
    usual = Entry(6, "TABLE DATA", "public", "u", rows_block(6, [b"a row of some length\n"] * 20))
    found = read(archive([ENCODING, odd, usual]))
    assert [block.rows for block in found.blocks] == [None, 20]
    assert not found.rows_known


def test_other_kinds_of_data_are_passed_over_by_their_lengths() -> None:
    block = table_block(5, [b"\x00" * 50, b"\n\x00\n"])
    found = read(archive([ENCODING, Entry(5, "SOMETHING NEW", "", "x", block)]), [600, 601, 640])
    assert [(each.length, each.rows) for each in found.blocks] == [(len(block), None)]


@pytest.mark.parametrize("version", [(1, 17, 0), (2, 0, 0), (1, 11, 0)])
def test_an_unknown_version_is_said_not_guessed(version: tuple[int, int, int]) -> None:
    found = read(archive(sample(), version=version), [3, 9, 200])
    assert (found.toc, found.blocks, found.rows_known) == (None, (), False)
    assert found.version == f"{version[0]}.{version[1]}"


@pytest.mark.parametrize("version", [(1, 14, 0), (1, 16, 0)])
def test_a_compressed_dump_is_refused(version: tuple[int, int, int]) -> None:
    with pytest.raises(SourceError, match="compressed"):
        read(archive(sample(), version=version, compression=1))


@pytest.mark.parametrize("data", [b"--\n-- PostgreSQL database dump\n--\n", b"PGCOPY", b"<html>"])
def test_what_is_no_archive_is_refused(data: bytes) -> None:
    with pytest.raises(SourceError, match="not an archive"):
        read(data)


def test_a_length_beyond_all_sense_is_refused_at_once() -> None:
    start = head([])[: 12 + 7 * 5]
    with pytest.raises(SourceError, match="makes no sense"):
        read(start + b"\x00\xff\xff\xff\x7f")


def test_names_are_read_in_the_encoding_of_the_dump() -> None:
    entry = Entry(2, "TABLE", "public", "straße")
    latin = archive([Entry(1, "ENCODING", "", "E", definition="SET client_encoding = 'LATIN1';\n"), entry])
    found = read(latin.replace("straße".encode(), "stra\xdfe?".encode("latin-1")))
    assert found.toc is not None
    assert (found.toc.encoding, found.toc.entries[1].name) == ("LATIN1", "straße?")


@pytest.mark.parametrize(
    ("encoding", "codec"),
    [("UTF8", "utf-8"), ("LATIN9", "iso8859-15"), ("WIN1252", "cp1252"), ("KOI8R", "koi8-r"), ("SQL_ASCII", "utf-8"),
     ("EUC_JP", "euc_jp"), ("ISO_8859_5", "iso8859-5"), ("MULE_INTERNAL", "utf-8")],
)  # fmt: skip
def test_encodings_have_codecs(encoding: str, codec: str) -> None:
    assert python_codec(encoding) == codec
