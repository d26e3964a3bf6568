"""Gets backups back with a repository and its key alone: Holdfast itself is not needed, nor anything of its service.

    python rescue.py list|check|restore --repository FOLDER|s3://BUCKET/PREFIX (--key-file F|--recovery-code CODE)

Needs Python 3.11, `cryptography`, `zstandard` (`boto3` for S3). Written from docs/format.md, as its second reader."""

from __future__ import annotations

import argparse
import base64
import bisect
import bz2
import contextlib
import errno
import getpass
import hashlib
import hmac
import itertools
import json
import os
import stat
import struct
import sys
import zlib
from collections import namedtuple
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

try:
    import zstandard
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
except ImportError as missing:
    raise SystemExit(f"{missing}. Install what is missing: python -m pip install cryptography zstandard") from None

DONE, FAILED, WARNINGS, DAMAGE, NOT_FOUND, WRONG_KEY, INTERRUPTED = 0, 1, 3, 6, 10, 12, 130
FILE, DIRECTORY, SYMLINK, FIFO, SOCKET, CHARACTER, BLOCK = range(1, 8)
DATA, PACK_DIRECTORY, INDEX, MANIFEST, TOMBSTONE = 1, 255, 16, 17, 19
HEADER_BYTES, BOX_BYTES, TRAILER_BYTES, MAX_BLOB, MAX_BOX = 96, 104, 12, 16 << 20, 256 << 20
ENTRY, BASE, CHUNK = struct.Struct("<32sIIIBBBx"), struct.Struct("<32sI"), struct.Struct("<32sI8x")
SECTION, RECORD = struct.Struct("<32sI96sI"), struct.Struct(">32sII")
KEPT, AHEAD, NO_ID = 48, 16, bytes(32)
FATAL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE)
hmac256 = partial(hmac.digest, digest="sha256")
Pack = tuple[str, bytes, bytes]  # the name of its object, its header, the plaintext of its directory
Outcome = tuple[int, str, dict[str, Any]]  # the exit code, and what happened for people and for programs


class Trouble(Exception):
    """What ends the program, or one item of its work: a sentence, and the exit code that it means."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


class Damaged(Trouble):
    """Stored bytes are not what was written, or are not there; exit code 6."""


class WrongKey(Trouble):
    """The key is not the one that sealed this, and nothing is damaged; exit code 12."""


def note(message: str) -> None:
    """A warning, or a line of progress."""
    sys.stderr.write(message + "\n")


@contextlib.contextmanager
def noted() -> Iterator[None]:
    """What is damaged, or sealed with another key, is told and passed over."""
    try:
        yield
    except (Damaged, WrongKey) as error:
        note(str(error))


class Folder:
    """A repository in a folder. Names of objects are those of docs/format.md, section 2."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """The object, or `length` bytes of it, fewer where it ends. Raises Damaged when it cannot be read."""
        try:
            descriptor = os.open(self.root / name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(descriptor, "rb") as file:
                file.seek(offset)
                return file.read(-1 if length is None else length)
        except OSError as error:
            raise Damaged(f"{name} cannot be read: {error.strerror}.") from None

    def names(self, prefix: str) -> list[str]:
        """The objects below a folder such as `packs/`."""
        folders = os.walk(self.root / prefix)
        return sorted(Path(at, name).relative_to(self.root).as_posix() for at, _, names in folders for name in names)


class Bucket:
    """A repository in a bucket; credentials come from the AWS variables, as for every program that uses boto3."""

    def __init__(self, location: str, endpoint: str | None) -> None:
        try:
            import boto3
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError, ClientError
        except ImportError:
            raise Trouble("For S3 one more package is needed: python -m pip install boto3") from None
        self._bucket, _, prefix = location.removeprefix("s3://").partition("/")
        self._prefix, self._errors = f"{prefix.strip('/')}/".lstrip("/"), (BotoCoreError, ClientError)
        checks = dict.fromkeys(("request_checksum_calculation", "response_checksum_validation"), "when_required")
        style = {"addressing_style": "path" if endpoint else "auto"}
        settings = Config(retries={"max_attempts": 8}, max_pool_connections=AHEAD, s3=style, **checks)
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        self._client = boto3.client("s3", region_name=region, endpoint_url=endpoint, config=settings)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        wanted = {} if length is None else {"Range": f"bytes={offset}-{offset + length - 1}"}
        try:
            with self._client.get_object(Bucket=self._bucket, Key=self._prefix + name, **wanted)["Body"] as body:
                return bytes(body.read())
        except self._errors as error:
            if getattr(error, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode") in (404, 416):
                raise Damaged(f"{name} is missing.") from None
            raise Trouble(f"The store did not give {name}: {shown(str(error))}") from None

    def names(self, prefix: str) -> list[str]:
        pages = self._client.get_paginator("list_objects_v2")
        try:
            found = pages.paginate(Bucket=self._bucket, Prefix=self._prefix + prefix)
            keys = [each["Key"].removeprefix(self._prefix) for page in found for each in page.get("Contents", ())]
        except self._errors as error:
            raise Trouble(f"The store cannot be listed: {shown(str(error))}") from None
        return sorted(key for key in keys if not key.endswith("/"))


def identity(name: str, length: int) -> bytes:
    """The identity or hash that the last part of an object's name spells; nothing for what is not ours."""
    digits = name.rpartition("/")[2].partition(".")[0]
    try:
        return bytes.fromhex(digits) if len(digits) == 2 * length else b""
    except ValueError:
        return b""


def shown(text: bytes | str) -> str:
    """A name for people: what is no text, and control characters, as escapes."""
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
    plain = data.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in plain)


_NUMBERS = dict(zip(range(0xCA, 0xD4), (">f", ">d", ">B", ">H", ">I", ">Q", ">b", ">h", ">i", ">q"), strict=True))
_LENGTHS = {0xC4: "bin1", 0xC5: "bin2", 0xC6: "bin4", 0xD9: "str1", 0xDA: "str2", 0xDB: "str4"}
_LENGTHS |= {0xDC: "arr2", 0xDD: "arr4", 0xDE: "map2", 0xDF: "map4"}


def unpack(data: bytes, name: str) -> Any:
    """The one MessagePack value in `data`. Raises Damaged."""
    at = 0

    def take(count: int) -> bytes:
        nonlocal at
        at += count
        if at > len(data):
            raise ValueError("it is cut off")
        return data[at - count : at]

    def value() -> Any:
        first = take(1)[0]
        if first < 0x80 or first >= 0xE0:
            return first if first < 0x80 else first - 256
        if first in (0xC0, 0xC2, 0xC3):
            return {0xC0: None, 0xC2: False, 0xC3: True}[first]
        if first in _NUMBERS:
            return struct.unpack(_NUMBERS[first], take(struct.calcsize(_NUMBERS[first])))[0]
        if first in _LENGTHS:
            kind, count = _LENGTHS[first][:3], int.from_bytes(take(int(_LENGTHS[first][3])), "big")
        elif first < 0xC0:
            kind = "map" if first < 0x90 else "arr" if first < 0xA0 else "str"
            count = first & (0x1F if kind == "str" else 0x0F)
        else:
            raise ValueError("it holds what the format does not use")
        if kind == "bin":
            return take(count)
        if kind == "str":
            return take(count).decode("utf-8", "replace")
        if kind == "arr":
            return [value() for _ in range(count)]
        return {value(): value() for _ in range(count)}

    try:
        whole = value()
        if at != len(data):
            raise ValueError("something follows")
        return whole
    except (ValueError, TypeError, RecursionError) as error:
        raise Damaged(f"{name} is not readable: {error}.") from error


def hkdf(key: bytes, salt: bytes, info: bytes) -> bytes:
    """HKDF-SHA256 (RFC 5869), 32 bytes."""
    return hmac256(hmac256(salt or bytes(32), key), info + b"\x01")


def canonical(document: dict[str, Any]) -> bytes:
    """Canonical JSON, docs/format.md, section 1."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def checked(name: str, data: bytes) -> dict[str, Any]:
    """A JSON object of the repository without its checksum. Raises Damaged."""
    try:
        document: dict[str, Any] = json.loads(data)
        checksum, version = document.pop("checksum"), document["format"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged(f"{name} is damaged.") from error
    if hashlib.sha256(canonical(document)).hexdigest() != checksum:
        raise Damaged(f"{name} is damaged: its checksum does not fit.")
    if version != 1:
        raise Trouble(f"{name} has format {shown(str(version))}; this program reads format 1. Use a newer one.")
    return document


Keys = namedtuple("Keys", "vault id epochs")  # the keyring: K_id, and K_enc by the number of its epoch


def read_secret(kind: str, text: str) -> bytes:
    """The 32 bytes that a recovery code or a key of 64 hexadecimal digits spells. Raises WrongKey."""
    letters = "".join(text.split()).replace("-", "").upper()
    with contextlib.suppress(ValueError):
        if kind == "service" and len(letters) == 64:
            return bytes.fromhex(letters)
        raw = base64.b32decode(letters.translate(str.maketrans("018", "OIB")))
        if len(letters) == 56 and hashlib.sha256(raw[:32]).digest()[:3] == raw[32:]:
            return raw[:32]
    if kind == "service":
        raise WrongKey("That is no key: a key is 64 hexadecimal digits, and nothing else is in its file.")
    raise WrongKey("The recovery code was mistyped: it has 14 groups of four letters or digits (A to Z, 2 to 7).")


def open_keys(place: Folder | Bucket, kind: str, secret: bytes, vault: str = "") -> Keys:
    """The keyring from all slots of one vault, whose id may begin with `vault`, that the secret opens. Raises Trouble
    when there are several: without an intact holdfast.json nothing says whose place this is."""
    names, description = place.names("keys/"), {"mac": ""}
    try:
        description = checked("holdfast.json", place.get("holdfast.json"))
    except Damaged as error:
        if not names:
            raise Trouble("There is no repository here: neither holdfast.json nor keys.", NOT_FOUND) from None
        note(f"{error} Going on without it.")
    stated, told = description.pop("mac", None), canonical(description)
    vaults, intact = dict[str, Keys](), 0
    for name in names:
        with noted():
            slot = checked(name, place.get(name))
            intact += slot.get("kind") == kind
            keys = _open_slot(name, slot, secret) if slot.get("kind") == kind else None
            if keys and stated in ("", hmac256(hkdf(keys.id, b"", b"holdfast-1 description"), told).hex()):
                vaults.setdefault(keys.vault.hex(), keys).epochs.update(keys.epochs)
    if len(chosen := [keys for id, keys in vaults.items() if id.startswith(vault.lower())]) == 1:
        return chosen[0]
    if vaults:
        raise Trouble(f"Say with --vault which one you mean: this key opens the vault {' and '.join(vaults)} here.")
    if not intact:
        raise Damaged(f"No key slot of the kind {kind} can be read here.")
    what = "recovery code" if kind == "recovery-code" else "key"
    raise WrongKey(f"This {what} does not open the repository. Is it an older one, or that of another installation?")


def _open_slot(name: str, slot: dict[str, Any], secret: bytes) -> Keys | None:
    try:
        vault, own, salt = (bytes.fromhex(text) for text in (slot["vault"], slot["slot"], slot["parameters"]["salt"]))
        kind, sealed = slot["kind"].encode(), base64.b64decode(slot["sealed"])
        key = hkdf(secret, salt, b"holdfast-1 slot " + kind + b" " + vault)
        bound = b"holdfast-1 slot" + vault + own + kind + b"\0" + canonical(slot["parameters"])
        raw = unpack(AESGCM(key).decrypt(sealed[:12], sealed[12:], bound), name)
        return Keys(vault, raw["id"], dict(raw["epochs"]))
    except InvalidTag:
        return None
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise Damaged(f"{name} is damaged.") from error


class Header:
    """The first 96 bytes of a pack or box, checked, with the keys that they lead to."""

    def __init__(self, keys: Keys, raw: bytes, magic: bytes, name: str) -> None:
        if len(raw) < HEADER_BYTES or raw[:4] != magic or hashlib.sha256(raw[:80]).digest()[:16] != raw[80:96]:
            raise Damaged(f"{name} is damaged: its header does not fit its checksum.")
        self.raw, self.suite, self.kind = raw[:HEADER_BYTES], raw[5], raw[6]
        if raw[4] != 1 or self.suite > 2:
            raise Trouble(f"{name} was written by a newer Holdfast. Use its rescue program.")
        secret = keys.epochs.get(int.from_bytes(raw[8:12], "little"))
        self._secret, self._vault = secret or bytes(32), keys.vault
        if secret is None or not hmac.compare_digest(self.key(b"commitment"), raw[48:80]):
            raise WrongKey(f"{name} was sealed with another key, or with a newer one than this key slot holds.")

    def key(self, label: bytes) -> bytes:
        """A key of this object."""
        return hkdf(self._secret, self.raw[16:48], b"holdfast-1 " + label + b" " + bytes([self.suite]) + self._vault)

    def open(
        self, sealed: bytes, name: str, *, position: int, type: int, codec: int, plain: int,
        depth: int = 0, id: bytes = NO_ID, base: bytes = NO_ID,
    ) -> bytes:  # fmt: skip
        """The payload of a sealed piece, docs/format.md, sections 5.1 and 5.2. Raises Damaged."""
        bound = self.raw + struct.pack("<IBBBxI", position, type, codec, depth, plain) + id + base
        try:
            if self.suite == 1 or (self.suite == 0 and type == PACK_DIRECTORY):
                return AESGCM(self.key(b"gcm")).decrypt(sealed[:12], sealed[12:], bound)
            body, said = sealed[:-32], bytes([self.suite]) + len(bound).to_bytes(4, "little") + bound
            if not hmac.compare_digest(hmac256(self.key(b"hmac"), said + body), sealed[-32:]):
                raise Damaged(f"{name} is damaged.")
            if self.suite == 0:
                return body
            decryptor = Cipher(algorithms.AES(self.key(b"cbc")), modes.CBC(body[:16])).decryptor()
            padded: bytes = decryptor.update(body[16:]) + decryptor.finalize()
            return padded[: -padded[-1]]
        except (InvalidTag, ValueError) as error:
            raise Damaged(f"{name} is damaged.") from error


def decompress(codec: int, payload: bytes, length: int, base: bytes | None, name: str) -> bytes:
    """Exactly `length` bytes, never more. Raises Damaged."""
    try:
        if codec == 0:
            plain = payload
        elif codec == 1 and zstandard.frame_content_size(payload) == length:
            known = None if base is None else zstandard.ZstdCompressionDict(base, zstandard.DICT_TYPE_RAWCONTENT)
            plain = zstandard.ZstdDecompressor(dict_data=known).decompress(payload, length, allow_extra_data=False)
        elif codec == 2:
            plain = zlib.decompressobj(31).decompress(payload, length + 1)
        elif codec == 3:
            plain = bz2.BZ2Decompressor().decompress(payload, length + 1)
        else:
            raise Damaged(f"{name} is damaged, or uses a codec that only a newer program knows.")
    except (zstandard.ZstdError, OSError, EOFError, ValueError, zlib.error) as error:
        raise Damaged(f"{name} is damaged.") from error
    if len(plain) != length:
        raise Damaged(f"{name} is damaged: it is not as long as it says.")
    return plain


def open_box(keys: Keys, kind: int, data: bytes, name: str) -> bytes:
    """The plaintext of a box. Raises Damaged, WrongKey."""
    header = Header(keys, data, b"HFBX", name)
    if header.kind != kind or header.suite == 0 or len(data) < BOX_BYTES or data[97:100] != bytes(3):
        raise Damaged(f"{name} is damaged: it is not what its place says.")
    codec, length = data[96], int.from_bytes(data[100:BOX_BYTES], "little")
    if length > MAX_BOX:
        raise Damaged(f"{name} is damaged: it claims an absurd length.")
    payload = header.open(data[BOX_BYTES:], name, position=BOX_BYTES, type=kind, codec=codec, plain=length)
    return decompress(codec, payload, length, None, name)


Point = dict[str, Any]  # a manifest; `name` is its id for people, `state` why only its id chooses it, or nothing
Node = namedtuple("Node", "kind name mode uid gid size mtime ctime inode content extras")  # docs/format.md, 8.1


class Repository:
    """Everything at one place. Every plaintext that leaves it was compared with its id; `problems` were met."""

    def __init__(self, place: Folder | Bucket, keys: Keys) -> None:
        self._place, self._keys, self.problems = place, keys, list[dict[str, str]]()
        self._id_keys = [hkdf(keys.id, b"", b"holdfast-1 id " + kind) for kind in (b"plain", b"data", b"tree")]
        self._headers: dict[int, Header] = {}
        self._pool = ThreadPoolExecutor(AHEAD)
        self.read = lru_cache(KEPT)(self._read)
        self._packs = list(self._load())
        entries = (
            RECORD.pack(directory[4 + ENTRY.size * at :][:32], number, at)
            for number, (_, _, directory) in enumerate(self._packs)
            for at in range(int.from_bytes(directory[:4], "little"))
        )
        self._records = b"".join(sorted(entries))

    def problem(self, kind: str, path: bytes, reason: object) -> None:
        """Tells of one item that is `lost`, `damaged`, or has an `attribute` that is not quite as it was."""
        self.problems.append({"kind": kind, "path": shown(path), "reason": str(reason)})
        note(f"{kind}: {shown(path)}: {reason}")

    def _load(self) -> Iterator[Pack]:
        """What every pack holds, by an index or by itself; good blobs of packs that were set aside count too."""
        listed = [*self._place.names("quarantine/"), *self._place.names("packs/")]
        packs = {identity(name, 32): name for name in listed if identity(name, 32)}
        for name in self._place.names("index/"):
            with noted():
                for id, pack in self._sections(name):
                    if id in packs:
                        yield (packs.pop(id), *pack)
        for name in packs.values():
            with noted():
                yield self._read_pack(name)

    def _sections(self, name: str) -> Iterator[tuple[bytes, tuple[bytes, bytes]]]:
        data = self._place.get(name)
        if hashlib.sha256(data).digest() != identity(name, 32):
            raise Damaged(f"{name} is damaged: its bytes do not fit its name.")
        plain, at = open_box(self._keys, INDEX, data, name), 0
        while at < len(plain):
            id, _, header, length = SECTION.unpack_from(plain, at)
            at += SECTION.size + length
            yield id, (header, plain[at - length : at])

    def _read_pack(self, name: str) -> Pack:
        data = self._place.get(name)
        header, size = Header(self._keys, data, b"HFPK", name), len(data) - TRAILER_BYTES
        length, plain = struct.unpack("<II", data[-12:-4])
        if data[-4:] != b"HFEN" or size - length < HEADER_BYTES:
            raise Damaged(f"{name} is damaged: it does not end as a pack does.")
        sealed, at = data[size - length : size], size - length
        return name, header.raw, header.open(sealed, name, position=at, type=PACK_DIRECTORY, codec=0, plain=plain)

    def copies(self, id: bytes) -> list[tuple[Any, ...]]:
        """Every copy of a blob: (is set aside, depth, pack, place in its directory); the best one first."""
        size, found, count = RECORD.size, [], len(self._records) // RECORD.size
        at = bisect.bisect_left(range(count), id, key=lambda at: self._records[at * size : at * size + 32])
        while at < count and self._records[at * size : at * size + 32] == id:
            _, number, place = RECORD.unpack_from(self._records, at * size)
            name, _, directory = self._packs[number]
            found.append((name.startswith("quarantine/"), directory[4 + ENTRY.size * place + 46], number, place))
            at += 1
        return sorted(found)

    def _read(self, id: bytes, below: int = 256) -> bytes:
        """The plaintext of a blob, from its first good copy of a depth less than `below`. Raises Damaged."""
        trouble = Damaged(f"The blob {id.hex()} is in no pack.")
        for _, depth, number, place in self.copies(id):
            if depth < below:
                try:
                    return self._open(number, place)
                except Damaged as error:
                    trouble = error
        raise trouble

    def _open(self, number: int, place: int) -> bytes:
        name, raw, directory = self._packs[number]
        id, position, stored, length, type, codec, depth = ENTRY.unpack_from(directory, 4 + ENTRY.size * place)
        if length > MAX_BLOB:
            raise Damaged(f"{name} is damaged: a blob claims an absurd length.")
        header = self._headers.get(number) or self._headers.setdefault(number, Header(self._keys, raw, b"HFPK", name))
        base, end = NO_ID, 4 + ENTRY.size * int.from_bytes(directory[:4], "little")
        if depth:  # the bases of all differences follow the entries, in the same order
            base = directory[end + BASE.size * sum(map(bool, directory[50 : 4 + ENTRY.size * place : 48])) :][:32]
        payload = header.open(
            self._place.get(name, position, stored), name,
            position=position, type=type, codec=codec, plain=length, depth=depth, id=id, base=base,
        )  # fmt: skip
        known = self.read(base, depth) if depth else None
        plain = decompress(codec, payload, length, known, name)
        if hmac256(self._id_keys[min(header.suite, 1) if type == DATA else 2], plain) != id:
            raise Damaged(f"A blob in {name} is not what its id says.")
        return plain

    def ahead(self, ids: Iterator[bytes]) -> Iterator[bytes]:
        """The plaintexts in order; a slow store is asked for several at once."""
        while some := list(itertools.islice(ids, AHEAD)):
            yield from self._pool.map(self.read, some)

    def _boxes(self, prefix: str, kind: int) -> Iterator[tuple[bytes, dict[str, Any]]]:
        """(identity, document) of the boxes below a prefix; those that cannot be read are told."""
        for name in self._place.names(prefix):
            try:
                yield identity(name, 16), unpack(open_box(self._keys, kind, self._place.get(name), name), name)
            except (Damaged, WrongKey) as error:
                self.problem("damaged", name.encode(), error)

    def points(self) -> list[Point]:
        """All restore points, newest first."""
        states = {identity(name, 16): "unfinished" for name in self._place.names("fences/")}
        states |= {raw["manifest"]: "in the trash" for _, raw in self._boxes("tombstones/", TOMBSTONE)}
        found = []
        for own, point in self._boxes("manifests/", MANIFEST):
            try:
                point["name"] = "bk_" + base64.b32encode(own).decode().rstrip("=").lower()
                if point["v"] != 1:
                    raise Trouble(f"{point['name']} was written by a newer Holdfast. Use its rescue program.")
                if point["id"] != own:
                    raise ValueError("another restore point under a false name")
                point["order"] = -point["finishedAt"], -point["sequence"]
                point["at"] = f"{datetime.fromtimestamp(point['finishedAt'] / 1_000_000, UTC):%Y-%m-%dT%H:%M:%SZ}"
                point["holds"] = [shown(root.get("path", root.get("name", ""))) for root in point["roots"]]
                point["state"] = states.get(own) or states.get(point["session"], "")
                found.append(point)
            except (AttributeError, KeyError, TypeError, ValueError, OverflowError, OSError) as error:
                self.problem("damaged", b"manifests/" + own.hex().encode(), f"its record makes no sense: {error}")
        return sorted(found, key=lambda point: point["order"])

    def walk(self, root: dict[str, Any]) -> Iterator[tuple[bytes, Node]]:
        """(path, node) of a folder and every entry below it, a directory before what is in it; or a dump as a file."""
        if root["kind"] != "files":
            yield os.fsencode(root["name"]), Node(FILE, b"", 0o600, 0, 0, root["size"], 0, 0, 0, root["content"], None)
            return
        stack: list[tuple[bytes, Iterator[Node]]] = [(root["path"], iter([Node._make(root["node"][:11])]))]
        while stack:
            path, nodes = stack[-1]
            node = next(nodes, None)
            if node is None:
                stack.pop()
                continue
            below = path if len(stack) == 1 else path.rstrip(b"/") + b"/" + node.name
            yield below, node
            if node.kind == DIRECTORY:
                stack.append((below, self._nodes(below, node.content or b"")))

    def _nodes(self, path: bytes, ids: bytes) -> Iterator[Node]:
        last = b""
        try:
            for id in split(ids):
                for node in map(Node._make, unpack(self.read(id), "A directory's record")):
                    if not safe(node.name) or node.name <= last:
                        raise Damaged(f"A directory's record holds the impossible name {shown(node.name)}.")
                    last = node.name
                    yield node
        except Damaged as error:
            self.problem("damaged", path, error)

    def chunks(self, content: Any) -> Iterator[tuple[bytes, int]]:
        """(id, length) of the chunks of a content that is no bundle."""
        content = content or (2, b"")
        for part in [content[1]] if content[0] == 2 else map(self.read, split(content[1])):
            if len(part) % CHUNK.size:
                raise Damaged("A list of chunks is cut off.")
            yield from CHUNK.iter_unpack(part)

    def stream(self, content: Any, size: int) -> Iterator[bytes]:
        """All bytes of a content. Raises Damaged when they are not `size`."""
        sent = 0
        if content is not None and content[0] == 1:
            parts: Iterable[bytes] = [self.read(content[1])[content[2] : content[2] + size]]
        else:
            parts = self.ahead(id for id, _ in self.chunks(content))
        for part in parts:
            sent += len(part)
            yield part
        if sent != size:
            raise Damaged(f"{size} bytes came back as {sent}.")


def split(ids: bytes) -> list[bytes]:
    """The 32-byte ids that were stored one after another."""
    return [ids[at : at + 32] for at in range(0, len(ids), 32)]


def safe(name: bytes) -> bool:
    """Whether a name is a single, harmless component of a path."""
    return name not in (b"", b".", b"..") and b"/" not in name and b"\0" not in name


def choose(points: Sequence[Point], wanted: str | None) -> Sequence[Point]:
    """The one restore point whose id begins so, or `CONFIG@latest`; else the newest of each configuration."""
    newest = {point["configId"]: point for point in reversed(points) if not point["state"]}
    if wanted is None:
        return list(newest.values())
    found = [newest[name] for name in newest if wanted == f"{name}@latest"]
    found = found or [point for point in points if len(wanted) > 6 and point["name"].startswith(wanted)]
    if len(found) != 1:
        raise Trouble(f"{'More than one' if found else 'No'} restore point is {shown(wanted)}; see `list`.", NOT_FOUND)
    return found


class Target:
    """A new folder, and nothing beside it: each step goes through a directory's descriptor and follows no link."""

    _FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    _NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

    def __init__(self, path: Path, source: Repository, *, special: bool) -> None:
        self._source, self._special = source, special
        self.files = self.bytes = 0
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise Trouble(f"{shown(str(path))} is not empty. Restore into a new folder.")
            self._root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise Trouble(f"{shown(str(path))} cannot be used: {error.strerror}.") from error

    @contextlib.contextmanager
    def enter(self, names: Sequence[bytes]) -> Iterator[int]:
        """A descriptor of a folder below the target; it and those above it are made where they are missing."""
        at = os.dup(self._root)
        try:
            for name in names:
                if not safe(name):
                    raise Damaged(f"The name {shown(name)} could lead elsewhere.")
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=at)
                above, at = at, os.open(name, self._FOLDER, dir_fd=at)
                os.close(above)
            yield at
        finally:
            os.close(at)

    def stream(self, above: bytes, name: str, root: dict[str, Any], made_at: int) -> None:
        """A dump or SQLite file in the folder `above`, under a name that is still free."""
        stem, dot, kind = name.replace("/", "_").replace("\0", "_").rpartition(".")
        for path, node in self._source.walk(root):
            with self._told(path), self.enter([above]) as at:
                for number in itertools.count(1):
                    free = os.fsencode(f"{stem}{f'-{number}' if number > 1 else ''}{dot}{kind}")
                    with contextlib.suppress(FileExistsError):
                        self._write(node._replace(name=free, mtime=made_at), at, [above, free])
                        break

    def folder(self, above: bytes, root: dict[str, Any]) -> None:
        """A folder of the source with everything in it, at its own path below the folder `above`."""
        firsts: dict[tuple[int, ...], list[bytes]] = {}
        folders: list[tuple[list[bytes], Node]] = []
        for path, node in self._source.walk(root):
            names = [above, *filter(None, path.split(b"/"))]
            with self._told(path), self.enter(names[:-1] if node.kind != DIRECTORY else names) as at:
                if node.kind == DIRECTORY:
                    folders.append((names, node))
                else:
                    self._put(node._replace(name=names[-1]), at, names, firsts)
        for names, node in reversed(folders):  # when nothing is written below it any more
            with self._told(b"/".join(names)), self.enter(names) as at:
                self._finish(node, at, names)

    def _put(self, node: Node, at: int, names: list[bytes], firsts: dict[Any, list[bytes]]) -> None:
        group = tuple((node.extras or {}).get("l") or ())
        if node.kind == FILE and group in firsts:
            with self.enter(firsts[group][:-1]) as first:
                os.link(firsts[group][-1], node.name, src_dir_fd=first, dst_dir_fd=at, follow_symlinks=False)
        elif node.kind == FILE:
            self._write(node, at, names)
            if group:
                firsts[group] = names
        else:
            self._make(node, at)
        self.files += 1

    def _write(self, node: Node, at: int, names: Sequence[bytes]) -> None:
        """A new file with all its bytes, or none: half a file is worse."""
        holes, position = list((node.extras or {}).get("h") or ()), 0
        with open(os.open(node.name, self._NEW, 0o600, dir_fd=at), "wb") as file:
            try:
                for part in self._source.stream(node.content, node.size - sum(length for _, length in holes)):
                    while holes and holes[0][0] == position:
                        position = file.seek(holes.pop(0)[1], os.SEEK_CUR)
                    position += file.write(part)
                    self.bytes += len(part)
                file.truncate(node.size)
                self._finish(node, file.fileno(), names)
            except BaseException:
                os.unlink(node.name, dir_fd=at)
                raise

    def _make(self, node: Node, at: int) -> None:
        if node.kind == SYMLINK:
            os.symlink(node.content or b"", node.name, dir_fd=at)
        elif node.kind in (CHARACTER, BLOCK) and not self._special:
            raise Trouble("devices come back only with --special")
        else:
            kind = {FIFO: stat.S_IFIFO, SOCKET: stat.S_IFSOCK, CHARACTER: stat.S_IFCHR, BLOCK: stat.S_IFBLK}[node.kind]
            device = os.makedev(*node.content) if node.content else 0
            os.mknod(node.name, 0o600 | kind, device, dir_fd=at)
        if os.geteuid() == 0:
            os.chown(node.name, node.uid, node.gid, dir_fd=at, follow_symlinks=False)
        if node.kind != SYMLINK:
            os.chmod(node.name, node.mode & 0o7777, dir_fd=at)
        os.utime(node.name, ns=(node.mtime, node.mtime), dir_fd=at, follow_symlinks=False)

    def _finish(self, node: Node, descriptor: int, names: Sequence[bytes]) -> None:
        """Owner, attributes, mode and times, as far as they may be set."""
        path, mode = b"/".join(names), node.mode & 0o7777
        if os.geteuid() == 0:
            os.fchown(descriptor, node.uid, node.gid)
        for name, value in ((node.extras or {}).get("x") or {}).items():
            try:
                if name == b"security.capability" and not self._special:
                    raise OSError(0, "capabilities come back only with --special")
                os.setxattr(descriptor, name, value)
            except OSError as error:
                self._source.problem("attribute", path, f"{shown(name)} was left out: {error.strerror}")
        if node.kind == FILE and mode & 0o6000 and not self._special:
            self._source.problem("attribute", path, "setuid and setgid come back only with --special")
            mode &= 0o1777
        os.fchmod(descriptor, mode)
        os.utime(descriptor, ns=(node.mtime, node.mtime))

    @contextlib.contextmanager
    def _told(self, path: bytes) -> Iterator[None]:
        """One item that cannot be put back is told and costs nothing else, unless the disk itself has failed."""
        try:
            yield
        except (OSError, Trouble) as error:
            if isinstance(error, OSError) and error.errno in FATAL:
                raise Trouble(f"The target cannot be written any more: {error.strerror}.") from error
            self._source.problem("lost", path, error.strerror if isinstance(error, OSError) else error)


def list_points(repository: Repository, points: Sequence[Point]) -> Outcome:
    """`list`."""
    found = [{key: point[key] for key in ("name", "at", "configId", "holds", "state")} for point in points]
    lines = [f"{p['name']}  {p['at']}  {shown(p['configId'])}  {', '.join(p['holds'])}  {p['state']}" for p in found]
    note(f"{len(points)} restore points, {len(repository.problems)} problems.")
    code, text = DAMAGE if repository.problems else DONE, "\n".join(map(str.rstrip, lines))
    return code, text, {"restorePoints": found, "problems": repository.problems}


def check_points(repository: Repository, points: Sequence[Point]) -> Outcome:
    """`check`: reads every blob that the restore points need."""
    good, met = set[bytes](), repository.problems
    for point in points:
        note(f"{point['name']} of {shown(point['configId'])} …")
        for path, node in itertools.chain.from_iterable(map(repository.walk, point["roots"])):
            try:
                content = node.content if node.kind == FILE else None
                chunks = [content[1:]] if content and content[0] == 1 else repository.chunks(content)
                for id in {id for id, _ in chunks} - good:
                    repository.read(id)
                    good.add(id)
            except Damaged as error:
                repository.problem("damaged", path, error)
    text = f"{len(points)} restore points, {len(good)} pieces, {len(met)} problems."
    return DAMAGE if met else DONE, text, {"backupsChecked": len(points), "objectsChecked": len(good), "problems": met}


def restore_points(repository: Repository, points: Sequence[Point], target: Target) -> Outcome:
    """`restore`: each restore point to a folder of the target that is named by its configuration."""
    before = len(repository.problems)
    for point in points:
        for root, what in zip(point["roots"], point["holds"], strict=True):
            note(f"{point['name']} of {shown(point['configId'])}: {what} …")
            if root["kind"] == "files":
                target.folder(os.fsencode(point["configId"]), root)
            else:
                name = root["name"] + ".dump" if root["kind"] == "postgres" else os.path.basename(root["name"])
                target.stream(os.fsencode(point["configId"]), name, root, point["finishedAt"] * 1000)
    met = repository.problems[before:]
    code = FAILED if any(problem["kind"] != "attribute" for problem in met) else WARNINGS if met else DONE
    document = {"files": target.files, "bytes": target.bytes, "problems": met}
    return code, f"{target.files} files, {target.bytes} bytes, {len(met)} problems.", document


def _arguments(arguments: Sequence[str] | None, program: str | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=program, description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=("list", "check", "restore"))
    parser.add_argument("--repository", required=True, metavar="LOCATION", help="a folder, or s3://BUCKET/PREFIX")
    key = parser.add_mutually_exclusive_group(required=True)
    key.add_argument("--key-file", metavar="FILE", help="holds the encryption key: 64 hexadecimal digits; - to type it")
    key.add_argument("--recovery-code", metavar="CODE", help="- to type it, so that no list of processes shows it")
    parser.add_argument("--backup", metavar="ID", help="one restore point: its id or CONFIG@latest")
    parser.add_argument("--to", metavar="DIR", type=Path, default=Path("rescued"), help="a new folder; else ./rescued")
    parser.add_argument("--special", action="store_true", help="also devices, setuid and capabilities")
    parser.add_argument("--vault", metavar="ID", default="", help="the first digits of its id, if several lie here")
    parser.add_argument("--endpoint", metavar="URL", help="of a store that is not Amazon's")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None, program: str | None = None) -> int:
    """The program; its exit code."""
    options = _arguments(arguments, program)
    try:
        kind = "service" if options.recovery_code is None else "recovery-code"
        typed = options.key_file if options.recovery_code is None else options.recovery_code
        if kind == "service" and typed != "-":
            typed = Path(typed).read_text("latin-1")
        while typed.endswith("-"):  # on its page a code stands in two lines
            typed = typed[:-1] + (getpass.getpass("Key: ") if sys.stdin.isatty() else sys.stdin.readline()).strip()
        is_bucket = options.repository.startswith("s3://")
        place = Bucket(options.repository, options.endpoint) if is_bucket else Folder(Path(options.repository))
        repository = Repository(place, open_keys(place, kind, read_secret(kind, typed), options.vault))
        points: Sequence[Point] = repository.points()
        if options.backup or options.what == "restore":
            points = choose(points, options.backup)
        if options.what != "restore":
            code, text, document = (list_points if options.what == "list" else check_points)(repository, points)
        elif not points:
            raise Trouble("There are no restore points here.", NOT_FOUND)
        else:
            target = Target(options.to, repository, special=options.special)
            code, text, document = restore_points(repository, points, target)
        sys.stdout.write((json.dumps(document) if options.json else text) + "\n")
        return code
    except Trouble as error:
        note(f"Error: {error}")
        return DAMAGE if isinstance(error, Damaged) else WRONG_KEY if isinstance(error, WrongKey) else error.code
    except OSError as error:
        note(f"Error: {shown(str(error.filename or ''))}: {error.strerror}.")
        return FAILED
    except KeyboardInterrupt:
        note("Interrupted.")
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
