"""A repository: opening, creating, and the objects that it keeps. Writers are in writer.py, readers in reader.py."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgpack

from engine import chunker, crypto
from engine import keyring as keys
from engine.errors import (
    AlreadyExists,
    Corrupt,
    NotARepository,
    NotFound,
    RepositoryError,
    StorageError,
    UnsupportedVersion,
    WrongKey,
)
from engine.ids import new_id
from engine.keyring import Keyring
from engine.model import manifest as manifests
from engine.model.manifest import Manifest
from engine.repository import box, index, layout, mark, reserve
from engine.repository.pack import PackInfo
from engine.storage.base import Storage


@dataclass(frozen=True)
class Stored:
    """A manifest as a destination holds it; `hash` is the SHA-256 of its stored bytes."""

    manifest: Manifest
    hash: bytes


@dataclass(frozen=True)
class Head:
    """The newest restore point of one configuration at a destination; `missing` numbers never arrived there."""

    config_id: str
    sequence: int
    manifest: bytes
    hash: bytes
    missing: tuple[int, ...] = ()


class Repository:
    """Everything Holdfast keeps at one destination, opened with the installation's keyring."""

    def __init__(self, storage: Storage, keyring: Keyring, identity: bytes, *, suite: int = crypto.AES_256_GCM) -> None:
        self.storage = storage
        self.keyring = keyring
        self.id = identity
        self.suite = suite

    def describe(self) -> str:
        """For people."""
        return self.storage.describe()

    def index_names(self) -> list[str]:
        """The index objects."""
        return [item.name for item, _ in layout.named(self.storage.list(layout.INDEX), layout.HASH_BYTES)]

    def read_index(self, name: str) -> list[PackInfo]:
        """The sections of one index object. Raises NotFound when it was replaced meanwhile, Corrupt, WrongKey."""
        data = self.storage.get(name)
        self._check_hash(name, data)
        return list(index.decode(box.open_box(self.keyring, box.INDEX, data, name), name))

    def write_index(self, packs: Iterable[PackInfo]) -> str:
        """Publish an index object for packs that are confirmed at this destination. Returns its name."""
        sealed = box.seal_box(self.keyring, box.INDEX, index.encode(packs), self.suite)
        name = layout.index(crypto.sha256(sealed))
        self.storage.put(name, sealed)
        return name

    def list_packs(self) -> dict[bytes, int]:
        """Names and sizes in bytes of the packs that exist."""
        return {name: item.size for item, name in layout.named(self.storage.list(layout.PACKS), layout.HASH_BYTES)}

    def marked_packs(self) -> set[bytes]:
        """Packs that some pruner is about to delete: not to be referred to any more. Raises Corrupt."""
        return {name for each in mark.read_all(self) for name in each.packs}

    def manifest_ids(self) -> list[bytes]:
        """Identities of all restore points here."""
        return [identity for _, identity in layout.named(self.storage.list(layout.MANIFESTS), layout.ID_BYTES)]

    def fenced_sessions(self) -> set[bytes]:
        """Sessions that lost their rights: what they committed may lack packs."""
        return {identity for _, identity in layout.named(self.storage.list(layout.FENCES), layout.ID_BYTES)}

    def removed_ids(self) -> set[bytes]:
        """Restore points that have a tombstone here: removed lawfully, or in the trash if their manifest is there."""
        return {identity for _, identity in layout.named(self.storage.list(layout.TOMBSTONES), layout.ID_BYTES)}

    def seal_manifest(self, manifest: Manifest) -> bytes:
        """The bytes of a manifest object; the same ones go to every destination."""
        return box.seal_box(self.keyring, box.MANIFEST, manifests.encode(manifest), self.suite)

    def commit(self, manifest: Manifest, sealed: bytes) -> None:
        """Create the manifest object, then read it back and compare: from here on the restore point exists. One that
        comes back wrong is taken away again: as long as an unreadable manifest is there, nothing can be cleaned up."""
        name = layout.manifest(manifest.id)
        self.storage.put(name, sealed)
        try:
            stored = self.read_manifest(manifest.id)
            same = manifests.encode(stored.manifest) == manifests.encode(manifest)
            if not same or stored.hash != crypto.sha256(sealed):
                raise Corrupt(f"{self.describe()} gave back another manifest than it was given.", name=name)
        except RepositoryError:
            with suppress(StorageError):
                self.storage.delete(name)
            raise

    def read_manifest(self, identity: bytes) -> Stored:
        """Raises NotFound, Corrupt, WrongKey, UnsupportedVersion."""
        name = layout.manifest(identity)
        data = self.storage.get(name)
        manifest = manifests.decode(box.open_box(self.keyring, box.MANIFEST, data, name))
        if manifest.id != identity:
            raise Corrupt(f"{name} is another restore point under a false name.", name=name)
        return Stored(manifest, crypto.sha256(data))

    def write_head(self, head: Head) -> None:
        """Record the newest restore point of a configuration here."""
        plain = msgpack.packb(
            {
                "configId": head.config_id,
                "sequence": head.sequence,
                "manifest": head.manifest,
                "hash": head.hash,
                "missing": head.missing,
            }
        )
        self.storage.put(self._head_name(head.config_id), self._seal(box.HEAD, plain), create=False)

    def read_head(self, config_id: str) -> Head | None:
        """The head of a configuration, None when it has none here. Raises Corrupt."""
        try:
            return self.open_head(self._head_name(config_id))
        except NotFound:
            return None

    def open_head(self, name: str) -> Head:
        """The head in an object. Raises NotFound, Corrupt."""
        raw: dict[str, Any] = msgpack.unpackb(box.open_box(self.keyring, box.HEAD, self.storage.get(name), name))
        if self._head_name(raw["configId"]) != name:
            raise Corrupt(f"{name} belongs to another configuration.", name=name)
        return Head(raw["configId"], raw["sequence"], raw["manifest"], raw["hash"], tuple(raw["missing"]))

    def _head_name(self, config_id: str) -> str:
        return layout.head(crypto.keyed_hash(self.keyring.head_key, config_id.encode()))

    def _seal(self, kind: int, plain: bytes) -> bytes:
        return box.seal_box(self.keyring, kind, plain, self.suite)

    def _check_hash(self, name: str, data: bytes) -> None:
        if crypto.sha256(data) != layout.last_part(name):
            raise Corrupt(f"{name} is damaged: its bytes do not fit its name.", name=name)


def read_slots(storage: Storage) -> list[keys.Slot]:
    """All key slots at a destination. Raises Corrupt when none is readable."""
    slots, damage = [], None
    for item in storage.list(layout.KEYS):
        try:
            slots.append(keys.read_slot(item.name, storage.get(item.name)))
        except Corrupt as error:
            damage = error
    if damage and not slots:
        raise damage
    return slots


def create(storage: Storage, keyring: Keyring, slots: dict[str, bytes], *, program: str, suite: int) -> Repository:
    """A new repository in an empty place. Its description is written last, so a crash leaves an empty place.

    Raises AlreadyExists when a repository or anything else is there."""
    storage.initialise()
    _require_empty(storage)
    for name, data in slots.items():
        try:
            storage.put(name, data)
        except AlreadyExists:
            continue
    identity = new_id()
    write_description(storage, keyring, identity, program=program)
    reserve.keep(storage)
    return open_repository(storage, keyring, expected=identity, suite=suite)


def write_description(storage: Storage, keyring: Keyring, identity: bytes, *, program: str) -> None:
    """Makes a place a repository, of this identity. Raises AlreadyExists, StorageError."""
    storage.put(layout.DESCRIPTION, _describe(keyring, identity, program))


def open_repository(
    storage: Storage, keyring: Keyring, *, expected: bytes | None, suite: int = crypto.AES_256_GCM
) -> Repository:
    """The repository that is there. `expected` is the identity it had before; None if it is met for the first time.

    Raises NotARepository, WrongKey, Corrupt, UnsupportedVersion, StorageError."""
    identity, vault = read_identity(storage)
    if vault != keyring.vault:
        raise WrongKey(
            f"{storage.describe()} holds the repository of another installation.",
            hint="Use its key, or choose another place for this destination.",
        )
    if expected is not None and identity != expected:
        raise NotARepository(
            f"{storage.describe()} holds another repository than it did before.",
            hint="Is the right disk mounted? If this is meant, remove the destination and add it again.",
        )
    description = keys.read_checksummed(layout.DESCRIPTION, storage.get(layout.DESCRIPTION))
    mac = str(description.pop("mac", "")).encode()
    expected_mac = crypto.keyed_hash(keyring.description_key, keys.canonical(description)).hex().encode()
    if not hmac.compare_digest(mac, expected_mac):
        raise WrongKey(f"{storage.describe()} was not written with this installation's keys.")
    return Repository(storage, keyring, identity, suite=suite)


def read_identity(storage: Storage) -> tuple[bytes, bytes]:
    """Repository and vault identity of what is there, unauthenticated.

    Raises NotARepository, Corrupt, UnsupportedVersion."""
    try:
        raw = keys.read_checksummed(layout.DESCRIPTION, storage.get(layout.DESCRIPTION))
    except UnsupportedVersion as error:
        raise UnsupportedVersion(f"{storage.describe()}: {error.message}", hint=error.hint) from error
    except NotFound:
        raise NotARepository(
            f"{storage.describe()} holds no repository.", hint="Was it emptied, or is its disk not mounted?"
        ) from None
    try:
        return bytes.fromhex(raw["repository"]), bytes.fromhex(raw["vault"])
    except (KeyError, ValueError, TypeError) as error:
        raise Corrupt(f"{layout.DESCRIPTION} is not readable.", name=layout.DESCRIPTION) from error


def exists(storage: Storage) -> bool:
    """Whether a repository's description is there. Raises StorageError when that cannot be told."""
    try:
        storage.stat(layout.DESCRIPTION)
    except NotFound:
        return False
    return True


def _describe(keyring: Keyring, identity: bytes, program: str) -> bytes:
    document: dict[str, Any] = {
        "format": 1,
        "repository": identity.hex(),
        "vault": keyring.vault.hex(),
        "createdBy": program,
        "chunker": chunker.DESCRIPTION,
    }
    document["mac"] = crypto.keyed_hash(keyring.description_key, keys.canonical(document)).hex()
    return keys.with_checksum(document)


def _require_empty(storage: Storage) -> None:
    """Only what an interrupted creation leaves may be there."""
    for item in storage.list(""):
        if not item.name.startswith((layout.KEYS, "tmp/")) and item.name != layout.RESERVE:
            raise AlreadyExists(
                f"{storage.describe()} is not empty and holds no repository of ours ({item.name}).",
                hint="Choose an empty folder.",
            )
