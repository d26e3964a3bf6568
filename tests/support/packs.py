"""Packs and restore points made by hand from docs/format.md: what our own writer does not make, or never would."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace

import zstandard

from engine import crypto
from engine.ids import new_id
from engine.model.manifest import FilesRoot, Manifest, StreamRoot
from engine.repository import box, layout
from engine.repository.pack import PackInfo
from engine.repository.repository import Repository
from tests.support.repositories import Clock

DATA, TREE, LIST, DIRECTORY = 1, 2, 3, 255
ZSTD = 1


@dataclass(frozen=True)
class Blob:
    """`base` makes it a difference to that plaintext, which must be stored with a lower depth."""

    type: int
    plain: bytes
    base: bytes | None = None
    depth: int = 0


def blob_id(repository: Repository, blob: Blob, suite: int = crypto.AES_256_GCM) -> bytes:
    """What names the blob."""
    keyring = repository.keyring
    if blob.type != DATA:
        return crypto.keyed_hash(keyring.tree_key, blob.plain)
    return crypto.keyed_hash(keyring.plain_key if suite == crypto.NONE else keyring.data_key, blob.plain)


def store(
    repository: Repository,
    *blobs: Blob,
    suite: int = crypto.AES_256_GCM,
    indexed: bool = True,
    claims: Mapping[bytes, bytes] | None = None,
) -> list[bytes]:
    """One pack that holds the blobs, all of one kind; their ids. `claims` are ids that plaintexts get instead of their
    own."""
    kind = box.DATA_PACK if blobs[0].type == DATA else box.TREE_PACK
    header = box.new_header(repository.keyring, box.PACK_MAGIC, kind, suite)
    body, entries, bases, ids = bytearray(header.raw), b"", b"", []
    for blob in blobs:
        id = (claims or {}).get(blob.plain) or blob_id(repository, blob, suite)
        base = b"\0" * 32 if blob.base is None else blob_id(repository, replace(blob, plain=blob.base), suite)
        known = None if blob.base is None else zstandard.ZstdCompressionDict(blob.base, zstandard.DICT_TYPE_RAWCONTENT)
        payload = zstandard.ZstdCompressor(level=3, dict_data=known).compress(blob.plain)
        bound = header.bound(len(body), blob.type, ZSTD, len(blob.plain), id=id, depth=blob.depth, base=base)
        sealed = header.cipher.seal(payload, bound)
        entries += struct.pack("<32sIIIBBBx", id, len(body), len(sealed), len(blob.plain), blob.type, ZSTD, blob.depth)
        bases += struct.pack("<32sI", base, 0) if blob.depth else b""
        body += sealed
        ids.append(id)
    directory = struct.pack("<I", len(blobs)) + entries + bases
    sealed = header.sealing_cipher.seal(directory, header.bound(len(body), DIRECTORY, 0, len(directory)))
    body += sealed + struct.pack("<II4s", len(sealed), len(directory), b"HFEN")
    name = crypto.sha256(bytes(body))
    repository.storage.put(layout.pack(name), bytes(body))
    if indexed:
        repository.write_index([PackInfo(name, len(body), header.raw, directory)])
    return ids


def commit(
    repository: Repository, *roots: FilesRoot | StreamRoot, config_id: str = "test", sequence: int = 1
) -> Manifest:
    """A restore point with these roots."""
    clock = Clock()
    manifest = Manifest(
        id=new_id(),
        session=new_id(),
        config_id=config_id,
        config={"id": config_id},
        sequence=sequence,
        previous=None,
        started_at=clock(),
        finished_at=clock(),
        type="files",
        suite=crypto.AES_256_GCM,
        parent=None,
        roots=roots,
        totals={},
        problems=(),
        tags={},
        program="test 1",
        host="here",
    )
    repository.commit(manifest, repository.seal_manifest(manifest))
    return manifest
