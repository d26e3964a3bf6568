"""The installation's keys, and the slots that wrap them for one secret each (docs/format.md, 4)."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from typing import Any

import msgpack

from engine import crypto
from engine.errors import Corrupt, NotARepository, UnsupportedVersion, WrongKey
from engine.ids import new_id, random_bytes

SERVICE, RECOVERY_CODE = "service", "recovery-code"
KINDS = (SERVICE, RECOVERY_CODE)
KEY_BYTES = 32
_CODE_CHECK_BYTES = 3
_CODE_LETTERS = 56
# Numbers of epochs are drawn within so many above the newest: two homes that change the keys of one installation at the
# same time take the same one once in a million times, and 4,096 changes fit into 32 bits at the least.
_EPOCH_STEP, _LAST_EPOCH = 1 << 20, (1 << 32) - 1
_SEED_MASK = (1 << 63) - 1


@dataclass(frozen=True)
class Keyring:
    """All keys of one installation. `vault` names it; `epochs` maps epoch numbers to sealing keys."""

    vault: bytes
    identity_key: bytes = field(repr=False)
    chunker_key: bytes = field(repr=False)
    epochs: dict[int, bytes] = field(repr=False)

    @staticmethod
    def generate() -> Keyring:
        """A new random keyring with epoch 1."""
        return Keyring(new_id(), random_bytes(KEY_BYTES), random_bytes(KEY_BYTES), {1: random_bytes(KEY_BYTES)})

    def with_new_epoch(self) -> Keyring:
        """The same keys and one more epoch, which writers use from now on; what is stored stays readable. Another home
        that makes one without knowing of it gives it another number, so nobody takes one key for the other."""
        step = min(_EPOCH_STEP, _LAST_EPOCH - self.epoch)
        number = self.epoch + 1 + int.from_bytes(random_bytes(8), "little") % step
        return replace(self, epochs={**self.epochs, number: random_bytes(KEY_BYTES)})

    def joined(self, other: Keyring) -> Keyring:
        """With the epochs of both. Raises WrongKey when they are not of one installation, or give one number to two
        keys: who took one of these for the other would lose what is sealed with it."""
        if (self.vault, self.identity_key, self.chunker_key) != (other.vault, other.identity_key, other.chunker_key):
            raise WrongKey("Two key slots hold keys of different installations.")
        if any(self.epochs.get(number, key) != key for number, key in other.epochs.items()):
            raise WrongKey(
                "Two installations changed the keys at the same time and gave both the same number.",
                hint="Both keep what they need in their home: restore with each, and back up to new places.",
            )
        return self if other.epochs.keys() <= self.epochs.keys() else replace(self, epochs=self.epochs | other.epochs)

    @property
    def epoch(self) -> int:
        """The epoch that writers use."""
        return max(self.epochs)

    @cached_property
    def data_key(self) -> bytes:
        """Ids of data blobs in encrypted packs."""
        return self._derive(b"id data")

    @cached_property
    def plain_key(self) -> bytes:
        """Ids of data blobs in packs of suite 0."""
        return self._derive(b"id plain")

    @cached_property
    def tree_key(self) -> bytes:
        """Ids of tree and list blobs."""
        return self._derive(b"id tree")

    @cached_property
    def tail_key(self) -> bytes:
        """Tail fingerprints of chunks."""
        return self._derive(b"tail")

    @cached_property
    def description_key(self) -> bytes:
        """Authenticates holdfast.json."""
        return self._derive(b"description")

    @cached_property
    def head_key(self) -> bytes:
        """Names of heads."""
        return self._derive(b"head")

    @cached_property
    def chunker_seed(self) -> int:
        """Seed of the chunker, 63 bits; never 0, which would mean the public gear table."""
        drawn = int.from_bytes(crypto.hkdf(self.chunker_key, b"", b"holdfast-1 fastcdc")[:8], "little")
        return drawn & _SEED_MASK | 1

    def _derive(self, label: bytes) -> bytes:
        return crypto.hkdf(self.identity_key, b"", b"holdfast-1 " + label)


def new_recovery_code() -> str:
    """A recovery code of 256 random bits as people write it down."""
    secret = random_bytes(KEY_BYTES)
    letters = base64.b32encode(secret + hashlib.sha256(secret).digest()[:_CODE_CHECK_BYTES]).decode()
    return "-".join(letters[i : i + 4] for i in range(0, _CODE_LETTERS, 4))


def read_recovery_code(text: str) -> bytes:
    """The secret behind a typed recovery code. Raises WrongKey with the reason when it was mistyped."""
    letters = "".join(text.split()).replace("-", "").upper().translate(str.maketrans("018", "OIB"))
    if len(letters) != _CODE_LETTERS:
        raise WrongKey(f"A recovery code has {_CODE_LETTERS} letters and digits; this one has {len(letters)}.")
    try:
        raw = base64.b32decode(letters)
    except ValueError:
        raise WrongKey("A recovery code holds only the letters A to Z and the digits 2 to 7.") from None
    secret, check = raw[:KEY_BYTES], raw[KEY_BYTES:]
    if hashlib.sha256(secret).digest()[:_CODE_CHECK_BYTES] != check:
        raise WrongKey("The recovery code was mistyped: its check letters do not fit.")
    return secret


def wrap(keyring: Keyring, kind: str, secret: bytes) -> tuple[str, bytes]:
    """A new slot: the name of its object and its bytes."""
    slot = new_id()
    parameters = {"salt": random_bytes(32).hex(), "epochs": " ".join(map(str, sorted(keyring.epochs)))}
    bound = _bound(keyring.vault, slot, kind, parameters)
    plain = msgpack.packb(
        {"id": keyring.identity_key, "cdc": keyring.chunker_key, "epochs": sorted(keyring.epochs.items())}
    )
    sealed = crypto.Gcm(_wrapping_key(secret, keyring.vault, kind, parameters)).seal(plain, bound)
    return f"keys/{slot.hex()}", with_checksum(
        {
            "format": 1,
            "vault": keyring.vault.hex(),
            "slot": slot.hex(),
            "kind": kind,
            "parameters": parameters,
            "sealed": base64.b64encode(sealed).decode(),
        }
    )


@dataclass(frozen=True)
class Slot:
    """A slot as it was read; opening it needs its secret."""

    vault: bytes
    slot: bytes
    kind: str
    parameters: dict[str, str]
    sealed: bytes

    @property
    def epochs(self) -> frozenset[int]:
        """Numbers of the epochs that it holds, as it says itself: so whoever cannot open it can tell whether it holds
        keys that he lacks. Slots from before that was noted hold the first one."""
        return frozenset(int(number) for number in self.parameters.get("epochs", "1").split())


def read_slot(name: str, data: bytes) -> Slot:
    """The slot in the object `name`. Raises Corrupt or UnsupportedVersion."""
    raw = read_checksummed(name, data)
    try:
        bytes.fromhex(raw["parameters"]["salt"])
        slot = Slot(
            bytes.fromhex(raw["vault"]),
            bytes.fromhex(raw["slot"]),
            raw["kind"],
            raw["parameters"],
            base64.b64decode(raw["sealed"]),
        )
        _ = slot.epochs
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise Corrupt(f"The key slot {name} is not readable.", name=name) from error
    if name != f"keys/{slot.slot.hex()}":
        raise Corrupt(f"The key slot {name} belongs under another name.", name=name)
    return slot


def unlock(slots: Iterable[Slot], kind: str, secret: bytes, *, vault: bytes | None = None) -> Keyring:
    """The keyring that the slots of `kind` wrap; with `vault` only that one's slots count. Of several that the secret
    opens the epochs of all: while keys are changed, slots from before lie beside new ones, and where two homes changed
    them at once, each slot holds an epoch that the other lacks.

    Raises NotARepository when there is no slot of the kind, WrongKey when the secret fits none of them."""
    candidates = [slot for slot in slots if slot.kind == kind and vault in (None, slot.vault)]
    if not candidates:
        raise NotARepository(f"There is no key slot of the kind {kind}.")
    opened = [keyring for slot in candidates if (keyring := open_slot(slot, secret)) is not None]
    if not opened:
        raise WrongKey("The key does not open this repository.")
    newest = max(opened, key=lambda keyring: keyring.epoch)
    return reduce(Keyring.joined, (each for each in opened if each.vault == newest.vault), newest)


def open_slot(slot: Slot, secret: bytes) -> Keyring | None:
    """The keyring in one slot, None when this is not the slot's secret."""
    try:
        plain = crypto.Gcm(_wrapping_key(secret, slot.vault, slot.kind, slot.parameters)).open(
            slot.sealed, _bound(slot.vault, slot.slot, slot.kind, slot.parameters)
        )
    except crypto.OpenFailed:
        return None
    raw = msgpack.unpackb(plain, strict_map_key=False)
    return Keyring(slot.vault, raw["id"], raw["cdc"], dict(raw["epochs"]))


def with_checksum(document: dict[str, Any]) -> bytes:
    """Canonical JSON with the checksum that tells damage from a wrong key."""
    return canonical(document | {"checksum": hashlib.sha256(canonical(document)).hexdigest()})


def read_checksummed(name: str, data: bytes) -> dict[str, Any]:
    """The document without its checksum. Raises Corrupt, or UnsupportedVersion for a newer format."""
    try:
        document = json.loads(data)
        checksum = document.pop("checksum")
        intact = hashlib.sha256(canonical(document)).hexdigest() == checksum
        version = document["format"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Corrupt(f"The object {name} is damaged.", name=name) from error
    if not intact:
        raise Corrupt(f"The object {name} is damaged: its checksum does not fit.", name=name)
    if version != 1:
        raise UnsupportedVersion(
            f"The repository has format {version}; this Holdfast reads format 1.", hint="Use a newer Holdfast."
        )
    return dict(document)


def canonical(document: dict[str, Any]) -> bytes:
    """Canonical JSON as the format defines it."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _wrapping_key(secret: bytes, vault: bytes, kind: str, parameters: dict[str, str]) -> bytes:
    salt = bytes.fromhex(parameters["salt"])
    return crypto.hkdf(secret, salt, b"holdfast-1 slot " + kind.encode() + b" " + vault)


def _bound(vault: bytes, slot: bytes, kind: str, parameters: dict[str, str]) -> bytes:
    return b"holdfast-1 slot" + vault + slot + kind.encode() + b"\0" + canonical(parameters)
